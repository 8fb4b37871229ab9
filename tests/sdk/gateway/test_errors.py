"""What goes wrong arrives as the SDK's own exception class, with what the class promises: status, code, retry advice."""

import asyncio
import json
import time
import urllib.request

import anthropic
import openai
import pytest
from clients import anthropic_client, async_anthropic_client, async_openai_client, openai_client
from talk import EVERY_WAY, named, request, speaks_openai, user

SDK = {True: openai, False: anthropic}
each_provider = pytest.mark.parametrize("provider", ["openai", "anthropic"])
# (status the provider answers with, exception class, status the caller sees)
STATUSES = [
    (400, "BadRequestError", 400),
    (404, "NotFoundError", 404),
    (413, "APIStatusError", 413),
    (422, "UnprocessableEntityError", 422),
    (500, "InternalServerError", 500),
    (503, "InternalServerError", 503),
    (529, "InternalServerError", 529),
]


def ask(client, model, script="hi", **more):
    """Asks in the client's own dialect and throws the answer away."""
    if isinstance(client, openai.OpenAI):
        return client.chat.completions.create(model=model, messages=user(script), **more)
    return client.messages.create(model=model, max_tokens=99, messages=user(script), **more)


def drain(client, model, script):
    for _ in ask(client, model, script, stream=True):
        pass


@pytest.mark.parametrize(("status", "error", "seen"), STATUSES)
@each_provider
def test_statuses_of_the_provider(oai, ant, provider, status, error, seen):
    for sdk, client in ((openai, oai), (anthropic, ant)):
        for send in (ask, drain):
            with pytest.raises(getattr(sdk, error)) as caught:
                send(client, f"{provider}/scripted-small", f"[fail: {status} it went wrong]")
            assert caught.value.status_code == seen
            assert "it went wrong" in str(caught.value)


@pytest.mark.parametrize("model", ["limited/scripted-small", "limited-anthropic/scripted-small"])
def test_a_rate_limit_says_when_to_come_back(oai, ant, model):
    for sdk, client in ((openai, oai), (anthropic, ant)):
        with pytest.raises(sdk.RateLimitError) as caught:
            ask(client, model)
        assert int(caught.value.response.headers["retry-after"]) >= 1


def test_a_key_that_the_provider_refuses_is_not_the_callers_fault(oai, ant):
    for sdk, client in ((openai, oai), (anthropic, ant)):
        with pytest.raises(sdk.InternalServerError) as caught:
            ask(client, "revoked/scripted-small")
        assert caught.value.status_code == 502
        assert "bad-key" not in str(caught.value), "the provider's key was told to the caller"


@pytest.mark.parametrize("streamed", [False, True])
def test_virtual_keys_in_the_sdks_own_place(world, streamed):
    send = drain if streamed else ask
    for sdk, make in ((openai, openai_client), (anthropic, anthropic_client)):
        with pytest.raises(sdk.AuthenticationError):
            send(make(world, key="vk-nobody"), "openai/scripted-small", "hi")
        with pytest.raises(sdk.PermissionDeniedError):
            send(make(world, key="vk-gone"), "openai/scripted-small", "hi")
        with pytest.raises(sdk.PermissionDeniedError, match="scripted-large"):
            send(make(world, key="vk-narrow"), "openai/scripted-large", "hi")
        with pytest.raises(sdk.PermissionDeniedError):
            send(make(world, key="vk-narrow"), "endless/scripted-small", "hi")
        send(make(world, key="vk-narrow"), "anthropic/scripted-small", "hi")


def test_a_refusal_has_its_word_and_no_retries(world):
    """Under another header a value is a virtual key only if it is known; `x-bf-vk` always holds one."""
    client = openai_client(world, key="not-a-virtual-key").with_options(max_retries=5)
    began = time.monotonic()
    for headers, word in (({}, "virtual_key_required"), ({"x-bf-vk": "vk-nobody"}, "virtual_key_not_found")):
        with pytest.raises(openai.AuthenticationError) as caught:
            ask(client, "openai/scripted-small", extra_headers=headers)
        assert caught.value.type == word
    assert time.monotonic() - began < 2
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_bad_requests(oai, ant):
    for sdk, client in ((openai, oai), (anthropic, ant)):
        with pytest.raises(sdk.BadRequestError):
            ask(client, "")
        with pytest.raises(sdk.BadRequestError, match="messages"):
            ask(client, "openai/scripted-small", extra_body={"messages": "not a list"})
    with pytest.raises(openai.BadRequestError, match="provider/model"):
        ask(oai, "scripted-small")
    with pytest.raises(openai.BadRequestError, match="unknown provider 'nowhere'"):
        ask(oai, "nowhere/model")
    with pytest.raises(anthropic.NotFoundError, match="missing/model"):  # this route has a provider for any other name
        ask(ant, "missing/model")


def test_the_provider_explains_a_bad_parameter(oai):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(oai, "openai/scripted-small", temperature=99)
    assert (caught.value.param, caught.value.code) == ("temperature", "decimal_above_max_value")


@pytest.mark.parametrize("at", [3, 5])
@each_provider
def test_a_stream_that_breaks_midway_raises(oai, ant, provider, at):
    """The part before is read, then the error is raised: a cut answer is never taken for a whole one."""
    model = f"{provider}/scripted-small"
    script = f"[chunks: 16][error-after: {at}][say: one two three four five six seven eight nine ten]"
    for sdk, client in ((openai, oai), (anthropic, ant)):
        with pytest.raises(sdk.APIError):
            drain(client, model, script)
    with pytest.raises(openai.APIError):
        with oai.chat.completions.stream(model=model, messages=user(script)) as stream:
            stream.get_final_completion()
    with pytest.raises(anthropic.APIError):
        with ant.messages.stream(model=model, max_tokens=99, messages=user(script)) as stream:
            stream.get_final_message()


@each_provider
def test_a_connection_that_is_cut_midway_raises(oai, ant, provider):
    script = "[chunks: 16][cut: 1500][say: one two three four five six seven eight nine ten]"
    for sdk, client in ((openai, oai), (anthropic, ant)):
        with pytest.raises(sdk.APIError):
            drain(client, f"{provider}/scripted-small", script)


@each_provider
def test_an_error_as_the_first_event_is_a_status(oai, ant, provider):
    for sdk, client in ((openai, oai), (anthropic, ant)):
        with pytest.raises(sdk.APIStatusError) as caught:
            drain(client, f"{provider}/scripted-small", "[error-event][say: hi]")
        assert caught.value.status_code >= 500


@pytest.mark.parametrize(("way", "provider"), EVERY_WAY, ids=named)
def test_an_error_in_the_second_turn_of_a_loop(world, way, provider):
    script = '[say: Adding.][call: pipe-get-sum {"a": 1, "b": 2}][then][fail: 503 gone for lunch]'
    with pytest.raises(SDK[speaks_openai(way)].APIError, match="gone for lunch"):
        way(world, request(way, provider, script))


@each_provider
def test_the_sdks_own_retries_work_through_the_gateway(world, provider):
    for make in (openai_client, anthropic_client):
        client = make(world).with_options(max_retries=2)
        script = f"[fail: 503 times=1 retry-after=0 key={provider}-{make.__name__}][say: second time lucky]"
        assert "second time lucky" in ask(client, f"{provider}/scripted-small", script).model_dump_json()


def test_fallbacks_hide_a_failure(oai):
    script = "[only: style=openai][fail: 503][say: from the other one]"
    reply = ask(oai, "openai/scripted-small", script, extra_body={"fallbacks": ["anthropic/scripted-small"]})
    assert reply.choices[0].message.content == "from the other one"
    assert reply.extra_fields["routing_info"]["fallback_index"] == 1


@each_provider
def test_a_client_that_gives_up_is_not_kept(world, provider):
    for sdk, make in ((openai, openai_client), (anthropic, anthropic_client)):
        with pytest.raises(sdk.APITimeoutError):
            ask(make(world).with_options(timeout=0.3), f"{provider}/scripted-small", "[hang]")


def streams(world):
    with urllib.request.urlopen(f"{world.endless}/streams") as reply:
        return json.load(reply)


def wait_for(condition, what, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_closing_a_stream_ends_it_at_the_provider(world, oai, ant):
    """Relayed, translated, and in the loop; by leaving the stream and by closing the client."""
    plain, model = openai_client(world, key="vk-plain"), "endless/m"
    for client in (plain, oai, anthropic_client(world, key="vk-plain"), ant):
        begun = streams(world)["begun"]
        with ask(client, model, stream=True) as stream:
            for _, _ in zip(range(5), stream):
                pass
            assert streams(world)["begun"] == begun + 1
            assert streams(world)["open"] == 1
        wait_for(lambda: streams(world)["open"] == 0, "the provider is still being read")


def test_a_cancelled_task_ends_its_stream_at_the_provider(world):
    async def cancelled(ask):
        read = asyncio.Event()

        async def listen():
            async for _ in await ask:
                read.set()

        task = asyncio.create_task(listen())
        await asyncio.wait_for(read.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def both():
        async with async_openai_client(world) as oai:
            await cancelled(oai.chat.completions.create(model="endless/m", messages=user("hi"), stream=True))
        async with async_anthropic_client(world) as ant:
            await cancelled(ant.messages.create(model="endless/m", max_tokens=9, messages=user("hi"), stream=True))

    asyncio.run(both())
    wait_for(lambda: streams(world)["open"] == 0, "the provider is still being read")
