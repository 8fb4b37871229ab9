"""Plain conversation: every way of asking, every base URL, the SDKs' own helpers, relayed and translated."""

import asyncio
import base64
import json

import openai
import pydantic
import pytest
from clients import async_anthropic_client, async_openai_client, openai_client
from talk import EVERY_WAY, OPENAI, named, request, speaks_openai, user

TEXT = "Hello h\u00e9llo \U0001f980 \"quoted\"\nand more"
FINISHED = {True: "stop", False: "end_turn"}


@pytest.mark.parametrize(("way", "provider"), EVERY_WAY, ids=named)
def test_text(world, way, provider):
    answer = way(world, request(way, provider, f"[say: {TEXT}]"))
    assert (answer.text, answer.finish) == (TEXT, FINISHED[speaks_openai(way)])


@pytest.mark.parametrize(("way", "provider"), EVERY_WAY, ids=named)
def test_text_that_arrives_byte_by_byte(world, way, provider):
    assert way(world, request(way, provider, f"[split: 1][say: {TEXT}]")).text == TEXT


@pytest.mark.parametrize(("way", "provider"), EVERY_WAY, ids=named)
def test_the_end_has_its_reason(world, way, provider):
    try:
        finish = way(world, request(way, provider, "[say: cut sho][finish: length]")).finish
    except openai.LengthFinishReasonError as cut:  # how OpenAI's stream helper says it
        finish = cut.completion.choices[0].finish_reason
    assert finish == ("length" if speaks_openai(way) else "max_tokens")


@pytest.mark.parametrize("path", ["/v1", "/openai", "/openai/v1"])
def test_every_base_url_of_the_openai_sdk(world, path):
    client = openai_client(world, path=path)
    model = "scripted-small" if path.startswith("/openai") else "openai/scripted-small"
    reply = client.chat.completions.create(model=model, messages=user("[say: hi]"))
    assert reply.choices[0].message.content == "hi"
    chunks = list(client.chat.completions.create(model=model, messages=user("[say: hi]"), stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "hi"


def test_an_unprefixed_model_goes_to_the_dialects_own_provider(ant):
    raw = ant.messages.with_raw_response.create(model="scripted-small", max_tokens=9, messages=user("[say: hi]"))
    assert raw.headers["x-bifrost-provider"] == "anthropic"
    assert raw.parse().content[0].text == "hi"


def test_what_the_gateway_says_of_a_reply(oai):
    raw = oai.chat.completions.with_raw_response.create(model="anthropic/scripted-small", messages=user("[say: hi]"))
    assert raw.headers["x-bifrost-provider"] == "anthropic"
    assert raw.headers["x-bifrost-resolved-model"] == "scripted-small"
    fields = raw.parse().extra_fields
    assert (fields["provider"], fields["routing_info"]["is_fallback"]) == ("anthropic", False)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_usage_in_a_stream_is_sent_where_asked_for(oai, provider):
    def chunks(**more):
        script = user("[say: hi][usage: in=9 out=3 cached=4]")
        return list(oai.chat.completions.create(model=f"{provider}/scripted-small", messages=script, stream=True, **more))

    assert all(chunk.usage is None for chunk in chunks())
    asked = chunks(stream_options={"include_usage": True})
    assert asked[-1].choices == [] and all(chunk.usage is None for chunk in asked[:-1])
    usage = asked[-1].usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens) == (9, 3, 4)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_usage_of_an_anthropic_stream(ant, provider):
    script = user("[say: hi][usage: in=9 out=3 cached=4]")
    with ant.messages.stream(model=f"{provider}/scripted-small", max_tokens=99, messages=script) as stream:
        usage = stream.get_final_message().usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (5, 4, 3)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_text_arrives_while_the_model_still_speaks(oai, ant, provider):
    """The first delta is there although the stream never ends; closing it is all there is left to do."""
    script = user("[hang-after: 4][chunks: 8][say: one two three four five six seven eight]")
    model = f"{provider}/scripted-small"
    with oai.chat.completions.create(model=model, messages=script, stream=True) as stream:
        assert any(chunk.choices and chunk.choices[0].delta.content for chunk in stream)
    with ant.messages.stream(model=model, max_tokens=99, messages=script) as stream:
        assert next(iter(stream.text_stream))


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_stream_helpers_accept_every_event(oai, ant, provider):
    model = f"{provider}/scripted-small"
    with oai.chat.completions.stream(model=model, messages=user("[say: a b c]")) as stream:
        kinds = {event.type for event in stream}
    assert {"chunk", "content.delta", "content.done"} <= kinds
    with ant.messages.stream(model=model, max_tokens=99, messages=user("[say: a b c]")) as stream:
        kinds = [event.type for event in stream]
    assert kinds[:2] == ["message_start", "content_block_start"] and kinds[-1] == "message_stop"
    assert kinds.count("content_block_stop") == 1 and "text" in kinds


def test_raw_streaming_response(oai):
    create = oai.chat.completions.with_streaming_response.create
    with create(model="openai/scripted-small", messages=user("[say: hi]"), stream=True) as response:
        lines = [line for line in response.iter_lines() if line]
    assert response.headers["content-type"].startswith("text/event-stream")
    assert lines[-1] == "data: [DONE]" and lines.count("data: [DONE]") == 1


def test_beta_helpers(ant):
    reply = ant.beta.messages.create(
        model="anthropic/scripted-small", max_tokens=99, messages=user("[say: hi]"), betas=["token-efficient-tools-2025-02-19"]
    )
    assert reply.content[0].text == "hi"
    with ant.beta.messages.stream(model="openai/scripted-small", max_tokens=99, messages=user("[say: hi]")) as stream:
        assert stream.get_final_message().content[0].text == "hi"


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_parsed_output(oai, provider):
    class City(pydantic.BaseModel):
        name: str
        people: int

    script = user('[say: {"name": "Lyon", "people": 520774}]')
    reply = oai.chat.completions.parse(model=f"{provider}/scripted-small", messages=script, response_format=City)
    assert reply.choices[0].message.parsed == City(name="Lyon", people=520774)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_what_the_provider_receives(oai, provider):
    """`[echo]` answers with the request as the provider saw it."""
    messages = [{"role": "system", "content": "Be brief."}, *user("[echo]")]
    reply = oai.chat.completions.create(
        model=f"{provider}/scripted-small", messages=messages, temperature=0.5, extra_headers={"x-bf-mcp-include-tools": ""}
    )
    seen = json.loads(reply.choices[0].message.content)
    assert seen["model"] == "scripted-small"
    assert "vk-all" not in reply.choices[0].message.content, "the virtual key went to the provider"


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_an_image_crosses(oai, ant, provider):
    pixel = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
    model = f"{provider}/scripted-small"
    script = {"type": "text", "text": "[say: I see]"}
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{pixel}"}}
    reply = oai.chat.completions.create(model=model, messages=[{"role": "user", "content": [image, script]}])
    assert reply.choices[0].message.content == "I see"
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": pixel}}
    reply = ant.messages.create(model=model, max_tokens=99, messages=[{"role": "user", "content": [image, script]}])
    assert reply.content[0].text == "I see"


@pytest.mark.parametrize("way", OPENAI, ids=named)
def test_reasoning_reaches_the_openai_sdk(world, way):
    for provider in ("openai", "anthropic"):
        answer = way(world, request(way, provider, "[think: let me see][say: yes]", reasoning_effort="low", max_tokens=4096))
        assert answer.text == "yes"
        assert answer.message["reasoning_content"] == "let me see"


def test_models_are_listed_in_both_dialects(world, oai, ant):
    names = [model.id for model in oai.models.list()]
    assert {"openai/scripted-small", "anthropic/scripted-small"} <= set(names)
    assert "anthropic/demo-agent" in [model.id for model in ant.models.list()]
    narrow = openai_client(world, key="vk-narrow")
    assert [model.id for model in narrow.models.list()] == ["anthropic/scripted-small", "openai/scripted-small"]


def test_many_at_once(world):
    async def ask_all():
        async def one(oai, ant, number):
            script = user(f"[delay: 20ms][say: answer {number}]")
            if number % 2:
                reply = await oai.chat.completions.create(model="anthropic/scripted-small", messages=script)
                return reply.choices[0].message.content
            reply = await ant.messages.create(model="openai/scripted-small", max_tokens=99, messages=script)
            return reply.content[0].text

        async with async_openai_client(world) as oai, async_anthropic_client(world) as ant:
            return await asyncio.gather(*(one(oai, ant, number) for number in range(40)))

    assert asyncio.run(ask_all()) == [f"answer {number}" for number in range(40)]


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_refusals(oai, ant, provider):
    model, script = f"{provider}/scripted-small", user("[refuse: no, sorry]")
    reply = oai.chat.completions.create(model=model, messages=script).choices[0]
    assert "no, sorry" in (reply.message.refusal or reply.message.content)
    assert ant.messages.create(model=model, max_tokens=99, messages=script).content[0].text == "no, sorry"


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_stop_sequences(oai, ant, provider):
    model, script = f"{provider}/scripted-small", user("[say: so far][stop-sequence]")
    assert oai.chat.completions.create(model=model, messages=script, stop=["END"]).choices[0].finish_reason == "stop"
    reply = ant.messages.create(model=model, max_tokens=99, messages=script, stop_sequences=["END"])
    assert reply.stop_reason in ("stop_sequence", "end_turn")  # OpenAI does not say which of the two it was
    if provider == "anthropic":
        assert (reply.stop_reason, reply.stop_sequence) == ("stop_sequence", "END")


def test_several_choices_and_log_probabilities(oai):
    reply = oai.chat.completions.create(model="openai/scripted-small", messages=user("[say: yes]"), n=2, logprobs=True)
    assert [choice.message.content for choice in reply.choices] == ["yes", "yes"]
    assert reply.choices[0].logprobs.content[0].token == "yes"
    with oai.chat.completions.stream(model="openai/scripted-small", messages=user("[say: yes]"), n=2) as stream:
        assert [choice.message.content for choice in stream.get_final_completion().choices] == ["yes", "yes"]


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_long_conversation_goes_on(oai, ant, provider):
    """What the SDK gave is sent back as it came, turn after turn."""
    model, messages = f"{provider}/scripted-small", []
    for number in range(4):
        messages += user(f"[think: hm][say: {number}]")
        message = oai.chat.completions.create(model=model, messages=messages).choices[0].message
        assert message.content == str(number)
        messages.append(message)
    messages = []
    for number in range(4):
        messages += user(f"[think: hm][say: {number}]")
        thinking = {"type": "enabled", "budget_tokens": 1024}
        reply = ant.messages.create(model=model, max_tokens=2048, messages=messages, thinking=thinking)
        assert reply.content[-1].text == str(number)
        messages.append({"role": "assistant", "content": reply.content})
