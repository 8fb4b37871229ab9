"""The official OpenAI SDK, pointed straight at the scripted provider: if it is content, the fixture is believable."""

import json

import openai
import pytest

TOOLS = [
    {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}}
]
TWO_CALLS = '[say: Two sums.][call: add {"a": 1, "b": 2}][call: add {"a": 30, "b": 4}][then][say: Got {results}]'


@pytest.fixture
def client(openai_fixture):
    with openai.OpenAI(base_url=f"{openai_fixture.url}/v1", api_key="sk-test", max_retries=0, timeout=20) as client:
        yield client


def ask(client, script, **more):
    return client.chat.completions.create(model="scripted-small", messages=[{"role": "user", "content": script}], **more)


def test_text(client):
    reply = ask(client, "[say: Hello there][usage: in=9 out=3 cached=4]")
    assert reply.choices[0].message.content == "Hello there"
    assert reply.choices[0].finish_reason == "stop"
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (9, 3, 12)
    assert reply.usage.prompt_tokens_details.cached_tokens == 4
    assert reply._request_id.startswith("req_")


def test_text_streamed(client):
    chunks = list(ask(client, "[say: Hello h\u00e9 \U0001f980]", stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "Hello h\u00e9 \U0001f980"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_every_byte_by_itself(client):
    chunks = list(ask(client, "[split: 1][say: h\u00e9llo \U0001f980]", stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "h\u00e9llo \U0001f980"


def test_a_whole_tool_loop(client):
    messages = [{"role": "user", "content": TWO_CALLS}]
    first = client.chat.completions.create(model="m", messages=messages, tools=TOOLS).choices[0]
    assert first.finish_reason == "tool_calls"
    messages.append(first.message.model_dump(exclude_none=True))
    for call in first.message.tool_calls:
        arguments = json.loads(call.function.arguments)
        messages.append({"role": "tool", "tool_call_id": call.id, "content": str(arguments["a"] + arguments["b"])})
    second = client.chat.completions.create(model="m", messages=messages, tools=TOOLS).choices[0]
    assert second.message.content == "Got 3; 34"


def test_interleaved_calls_fold_to_the_same(client):
    with client.chat.completions.stream(
        model="m", messages=[{"role": "user", "content": TWO_CALLS}], tools=TOOLS
    ) as stream:
        indexes = [
            event.chunk.choices[0].delta.tool_calls[0].index
            for event in stream
            if event.type == "chunk" and event.chunk.choices and event.chunk.choices[0].delta.tool_calls
        ]
        message = stream.get_final_completion().choices[0].message
    assert indexes[:4] == [0, 1, 0, 1]
    assert [call.function.arguments for call in message.tool_calls] == ['{"a": 1, "b": 2}', '{"a": 30, "b": 4}']
    assert len({call.id for call in message.tool_calls}) == 2


def test_reasoning_refusal_logprobs_and_choices(client):
    assert ask(client, "[think: hm][say: yes]").choices[0].message.reasoning_content == "hm"
    assert ask(client, "[refuse: no, sorry]").choices[0].message.refusal == "no, sorry"
    reply = ask(client, "[say: yes]", logprobs=True, n=2)
    assert [choice.index for choice in reply.choices] == [0, 1]
    assert reply.choices[0].logprobs.content[0].token == "yes"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_statuses_become_exceptions(client, status, error):
    with pytest.raises(error) as caught:
        ask(client, f"[fail: {status} it went wrong]")
    assert caught.value.status_code == status
    assert caught.value.body["message"] == "it went wrong"
    assert caught.value.request_id.startswith("req_")


def test_the_sdk_retries_as_told(openai_fixture):
    client = openai.OpenAI(base_url=f"{openai_fixture.url}/v1", api_key="sk-test", max_retries=2)
    assert ask(client, "[fail: 503 times=2 retry-after=0][say: third time lucky]").choices[0].message.content == "third time lucky"


def test_an_error_event_and_a_cut_stream(client):
    with pytest.raises(openai.APIError):
        list(ask(client, "[error-after: 3][say: hello]", stream=True))
    with pytest.raises(openai.APIConnectionError):
        list(ask(client, "[cut: 900][say: a rather long answer that is cut in the middle]", stream=True))


def test_a_hanging_provider_times_out(openai_fixture):
    client = openai.OpenAI(base_url=f"{openai_fixture.url}/v1", api_key="sk-test", max_retries=0, timeout=0.3)
    with pytest.raises(openai.APITimeoutError):
        ask(client, "[hang]")


def test_bad_requests_are_refused_with_param_and_code(client):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, "hi", temperature=99)
    assert (caught.value.param, caught.value.code) == ("temperature", "decimal_above_max_value")
    with pytest.raises(openai.AuthenticationError):
        ask(client.with_options(api_key="bad-key"), "hi")


def test_models(client):
    assert "demo-agent" in [model.id for model in client.models.list()]
