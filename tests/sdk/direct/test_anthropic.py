"""The official Anthropic SDK, pointed straight at the scripted provider: if it is content, the fixture is believable."""

import anthropic
import pytest

TOOLS = [{"name": "add", "input_schema": {"type": "object", "properties": {"a": {"type": "number"}}}}]
SCRIPT = '[think: two sums, then][call: add {"a": 1, "b": 2}][call: add {"a": 30, "b": 4}][then][say: Got {results}]'
THINKING = {"type": "enabled", "budget_tokens": 1024}


@pytest.fixture
def client(anthropic_fixture):
    with anthropic.Anthropic(base_url=anthropic_fixture.url, api_key="sk-test", max_retries=0, timeout=20) as client:
        yield client


def ask(client, script, **more):
    messages = [{"role": "user", "content": script}]
    return client.messages.create(model="scripted-small", max_tokens=2048, messages=messages, **more)


def results(reply):
    calls = [block for block in reply.content if block.type == "tool_use"]
    return [
        {"type": "tool_result", "tool_use_id": call.id, "content": str(call.input["a"] + call.input["b"])} for call in calls
    ]


def test_text(client):
    reply = ask(client, "[say: Hello there][usage: in=9 out=3 cached=4]", system="be brief")
    assert [block.text for block in reply.content] == ["Hello there"]
    assert reply.stop_reason == "end_turn"
    assert (reply.usage.input_tokens, reply.usage.cache_read_input_tokens, reply.usage.output_tokens) == (5, 4, 3)
    assert reply._request_id.startswith("req_")


def test_text_streamed(client):
    messages = [{"role": "user", "content": "[say: Hello h\u00e9 \U0001f980][split: 1]"}]
    with client.messages.stream(model="m", max_tokens=100, messages=messages) as stream:
        assert "".join(stream.text_stream) == "Hello h\u00e9 \U0001f980"
        assert stream.get_final_message().stop_reason == "end_turn"


def test_thinking_and_a_whole_tool_loop(client):
    for streamed in (False, True):
        messages = [{"role": "user", "content": SCRIPT}]
        more = {"model": "m", "max_tokens": 2048, "messages": messages, "tools": TOOLS, "thinking": THINKING}
        if streamed:
            with client.messages.stream(**more) as stream:
                first = stream.get_final_message()
        else:
            first = client.messages.create(**more)
        assert [block.type for block in first.content] == ["thinking", "tool_use", "tool_use"]
        assert first.content[0].thinking == "two sums, then" and first.content[0].signature
        assert first.stop_reason == "tool_use"
        messages.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]})
        messages.append({"role": "user", "content": results(first)})
        second = client.messages.create(**more)
        assert second.content[-1].text == "Got 3; 34"


def test_altered_and_dropped_thinking_are_refused(client):
    first = ask(client, SCRIPT, tools=TOOLS, thinking=THINKING)
    blocks = [block.model_dump(exclude_none=True) for block in first.content]
    for content in ([{**blocks[0], "thinking": "other"}, *blocks[1:]], blocks[1:]):
        messages = [
            {"role": "user", "content": SCRIPT},
            {"role": "assistant", "content": content},
            {"role": "user", "content": results(first)},
        ]
        with pytest.raises(anthropic.BadRequestError):
            client.messages.create(model="m", max_tokens=2048, messages=messages, tools=TOOLS, thinking=THINKING)


def test_redacted_thinking_and_refusal(client):
    assert [block.type for block in ask(client, "[redacted][say: ok]").content] == ["redacted_thinking", "text"]
    assert ask(client, "[refuse: no]").stop_reason == "refusal"
    stopped = ask(client, "[say: ok][stop-sequence]", stop_sequences=["END"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "END")


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (401, anthropic.AuthenticationError, "authentication_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (404, anthropic.NotFoundError, "not_found_error"),
        (413, anthropic.RequestTooLargeError, "request_too_large"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (529, anthropic.OverloadedError, "overloaded_error"),
    ],
)
def test_statuses_become_exceptions(client, status, error, kind):
    with pytest.raises(error) as caught:
        ask(client, f"[fail: {status} it went wrong]")
    assert caught.value.status_code == status
    assert caught.value.body["error"] == {"type": kind, "message": "it went wrong"}
    assert caught.value.request_id.startswith("req_")


def test_an_error_event_is_an_exception(client):
    messages = [{"role": "user", "content": "[error-after: 4][say: hello]"}]
    with pytest.raises(anthropic.APIStatusError) as caught:
        with client.messages.stream(model="m", max_tokens=100, messages=messages) as stream:
            list(stream)
    assert caught.value.body["error"]["type"] == "overloaded_error"


def test_the_sdk_retries_as_told(anthropic_fixture):
    client = anthropic.Anthropic(base_url=anthropic_fixture.url, api_key="sk-test", max_retries=2)
    assert ask(client, "[fail: 529 times=2 retry-after=0][say: third time lucky]").content[0].text == "third time lucky"


def test_count_tokens_and_models(client):
    counted = client.messages.count_tokens(model="m", messages=[{"role": "user", "content": "hi"}])
    assert counted.input_tokens > 0
    assert "demo-agent" in [model.id for model in client.models.list()]
