"""Google's SDK, at the gateway's `/genai`, with every provider behind it. It asks below `/v1`; the major before it asked below `/v1beta`."""

import asyncio

import pytest
from google import genai
from google.genai import errors, types
from script import call

SECRET = "The heron lands at dawn."  # what `world.mjs` wrote into note.txt
MODELS = [f"{name}/scripted-small" for name in ("openai", "anthropic", "gemini", "bedrock", "cohere")]
each_model = pytest.mark.parametrize("model", MODELS)


@pytest.fixture(scope="session", params=["v1", "v1beta"])
def client(world, request):
    options = types.HttpOptions(base_url=f"{world.gateway}/genai", api_version=request.param, timeout=40_000)
    return genai.Client(api_key="vk-all", http_options=options)


def book_table(table: int) -> str:
    """Books a table."""
    return f"Table {table} is yours."


WITH_TOOL = types.GenerateContentConfig(tools=[book_table])


@each_model
def test_text_and_its_count(client, model):
    text = 'Hello h\u00e9llo \U0001f980 "quoted"'
    reply = client.models.generate_content(model=model, contents=f"[split: 1][say: {text}][usage: in=9 out=3]")
    assert (reply.text, reply.candidates[0].finish_reason) == (text, types.FinishReason.STOP)
    usage = reply.usage_metadata
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count) == (9, 3, 12)


@each_model
def test_streamed(client, model):
    chunks = list(client.models.generate_content_stream(model=model, contents="[say: one two three][chunks: 3]"))
    assert "".join(chunk.text or "" for chunk in chunks) == "one two three"
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP


@each_model
def test_asynchronous(world, model):
    async def ask():
        options = types.HttpOptions(base_url=f"{world.gateway}/genai")
        client = genai.Client(api_key="vk-all", http_options=options).aio
        whole = await client.models.generate_content(model=model, contents="[say: Hi]")
        stream = await client.models.generate_content_stream(model=model, contents="[say: Hi there]")
        return whole.text, "".join([chunk.text or "" async for chunk in stream])

    assert asyncio.run(ask()) == ("Hi", "Hi there")


@each_model
def test_tools_of_the_gateway_are_run(world, client, model):
    script = call("files-read_text_file", path=f"{world.files}/note.txt") + "[then][say: It says: {results}]"
    assert client.models.generate_content(model=model, contents=script).text == f"It says: {SECRET}"
    chunks = list(client.models.generate_content_stream(model=model, contents=script))
    assert "".join(chunk.text or "" for chunk in chunks) == f"It says: {SECRET}"
    assert not any(chunk.function_calls for chunk in chunks)


@each_model
def test_a_chat_runs_its_own_tools_beside_the_gateways(world, client, model):
    """Automatic function calling, in parallel with a tool of the gateway; thinking comes back as the SDK keeps it."""
    note = call("files-read_text_file", path=f"{world.files}/note.txt")
    chat = client.chats.create(model=model, config=WITH_TOOL)
    reply = chat.send_message(f"[think: Both.]{note}{call('book_table', table=4)}[then][say: {{results}}]")
    assert sorted(reply.text.split("; ")) == ["Table 4 is yours.", SECRET]
    assert chat.send_message("[say: And {user}]").text.startswith("And")


@each_model
def test_calls_are_read_from_a_stream(client, model):
    off = types.AutomaticFunctionCallingConfig(disable=True)
    config = types.GenerateContentConfig(tools=[book_table], automatic_function_calling=off)
    script = call("book_table", table=4) + call("book_table", table=5)
    chunks = client.models.generate_content_stream(model=model, contents=script, config=config)
    calls = [made for chunk in chunks for made in chunk.function_calls or []]
    assert [(made.name, made.args) for made in calls] == [("book_table", {"table": 4}), ("book_table", {"table": 5})]


@each_model
def test_errors_have_their_classes(client, model):
    ask = client.models.generate_content
    for script, kind, code in [("[fail: 400 no]", errors.ClientError, 400), ("[fail: 503 no]", errors.ServerError, 503)]:
        with pytest.raises(kind) as failure:
            ask(model=model, contents=script)
        assert failure.value.code == code and "no" in failure.value.message
    with pytest.raises(errors.APIError):
        list(client.models.generate_content_stream(model=model, contents="[say: one two three][chunks: 3][error-after: 4]"))


@each_model
def test_an_error_in_the_second_turn_of_a_loop(client, model):
    """Whole, it is a status; in a stream, an exception after the text of the first turn."""
    script = f"[say: Adding.]{call('pipe-get-sum', a=1, b=2)}[then][fail: 503 gone for lunch]"
    with pytest.raises(errors.ServerError, match="gone for lunch") as failure:
        client.models.generate_content(model=model, contents=script)
    assert failure.value.code == 503
    text = ""
    with pytest.raises(errors.ServerError, match="gone for lunch"):
        for chunk in client.models.generate_content_stream(model=model, contents=script):
            text += chunk.text or ""
    # What Cohere's models say before their calls is a plan, and no text.
    assert text.strip() == ("" if model.startswith("cohere/") else "Adding.")


def test_a_key_that_nobody_knows(world):
    stranger = genai.Client(api_key="vk-unknown", http_options=types.HttpOptions(base_url=f"{world.gateway}/genai"))
    with pytest.raises(errors.ClientError) as failure:
        stranger.models.generate_content(model=MODELS[0], contents="hi")
    assert failure.value.code in (401, 403)


def test_models_are_listed(client):
    names = [model.name for model in client.models.list()]
    assert any(name.endswith("scripted-small") for name in names), names
