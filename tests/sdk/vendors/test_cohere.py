"""Cohere's SDK (its second API), at the gateway's `/cohere`, with every provider behind it."""

import asyncio
import base64
import json

import cohere
import pytest
from script import call, note

SECRET = "The heron lands at dawn."  # what `world.mjs` wrote into note.txt
PROVIDERS = ["openai", "anthropic", "gemini", "bedrock", "cohere"]
each_model = pytest.mark.parametrize("model", [f"{provider}/scripted-small" for provider in PROVIDERS])
BOOK = {
    "type": "function",
    "function": {
        "name": "book_table",
        "description": "Books a table",
        "parameters": {"type": "object", "properties": {"table": {"type": "integer"}}, "required": ["table"]},
    },
}


def connect(world, key="vk-all", kind=cohere.ClientV2):
    return kind(api_key=key, base_url=f"{world.gateway}/cohere", max_retries=0, timeout=40)


@pytest.fixture(scope="session")
def client(world):
    return connect(world)


def user(content):
    return [{"role": "user", "content": content}]


def whole(client, **request):
    reply = client.chat(**request)
    message = reply.message.model_dump(exclude_none=True)
    return {"message": message, "finish": reply.finish_reason, "usage": reply.usage}


def streamed(client, **request):
    """The stream put together, as an application does it."""
    message, content, made, reply = {"role": "assistant"}, {}, {}, {}
    for event in client.chat_stream(**request):
        delta = getattr(event, "delta", None)
        if event.type == "content-start":
            content[event.index] = {"type": delta.message.content.type}
        elif event.type == "content-delta":
            block = content[event.index]
            block[block["type"]] = block.get(block["type"], "") + getattr(delta.message.content, block["type"])
        elif event.type == "tool-plan-delta":
            message["tool_plan"] = message.get("tool_plan", "") + delta.message.tool_plan
        elif event.type == "tool-call-start":
            made[event.index] = delta.message.tool_calls.model_dump(exclude_none=True)
        elif event.type == "tool-call-delta":
            made[event.index]["function"]["arguments"] += delta.message.tool_calls.function.arguments
        elif event.type == "message-end":
            reply = {"finish": delta.finish_reason, "usage": delta.usage}
    if content:
        message["content"] = list(content.values())
    if made:
        message["tool_calls"] = list(made.values())
    return {"message": message, **reply}


each_way = pytest.mark.parametrize("ask", [whole, streamed])


def said(reply, kind="text"):
    return "".join(block.get(kind, "") for block in reply["message"].get("content", []) if block["type"] == kind)


def calls(reply):
    return [
        (made["function"]["name"], json.loads(made["function"]["arguments"]))
        for made in reply["message"].get("tool_calls", [])
    ]


def results(reply, *answers):
    made = [call["id"] for call in reply["message"]["tool_calls"]]
    return [{"role": "tool", "tool_call_id": call, "content": answer} for call, answer in zip(made, answers, strict=True)]


@each_way
@each_model
def test_text_and_its_count(client, ask, model):
    text = 'Hello h\u00e9llo \U0001f980 "quoted"\nand more'
    reply = ask(client, model=model, messages=user(f"[split: 1][chunks: 4][say: {text}][usage: in=9 out=3 cached=4]"))
    assert (said(reply), reply["finish"]) == (text, "COMPLETE")
    tokens = reply["usage"].tokens
    assert (tokens.input_tokens, tokens.output_tokens, reply["usage"].cached_tokens) == (9, 3, 4)


@each_model
def test_text_arrives_in_pieces(client, model):
    kinds = [event.type for event in client.chat_stream(model=model, messages=user("[chunks: 3][say: one two three]"))]
    assert kinds[:2] == ["message-start", "content-start"] and kinds[-2:] == ["content-end", "message-end"]
    assert kinds.count("content-delta") >= 3


@each_model
def test_asynchronous(world, model):
    async def ask():
        client = connect(world, kind=cohere.AsyncClientV2)
        reply = await client.chat(model=model, messages=user("[say: Hi]"))
        events = [event async for event in client.chat_stream(model=model, messages=user("[say: Hi there]"))]
        deltas = [event.delta.message.content.text for event in events if event.type == "content-delta"]
        return reply.message.content[0].text, "".join(deltas)

    assert asyncio.run(ask()) == ("Hi", "Hi there")


@each_model
def test_settings_reach_the_model(client, model):
    messages = [{"role": "system", "content": "Be brief."}, *user("[echo]")]
    reply = whole(client, model=model, messages=messages, max_tokens=99, temperature=0.5, stop_sequences=["END"])
    seen = json.loads(said(reply))
    assert (seen["model"], seen["system"]) == ("scripted-small", "Be brief.")
    params = json.dumps(seen["params"])
    assert all(wanted in params for wanted in ("99", "0.5", "END")), params
    assert "vk-all" not in json.dumps(seen), "the virtual key went to the provider"


@each_way
@each_model
def test_the_end_has_its_reason(client, ask, model):
    assert ask(client, model=model, messages=user("[say: cut sho][finish: length]"))["finish"] == "MAX_TOKENS"
    assert ask(client, model=model, messages=user(call("book_table", table=4)), tools=[BOOK])["finish"] == "TOOL_CALL"


@each_way
@each_model
def test_tools_of_the_application(client, ask, model):
    """Two calls at once, answered one message each. Cohere's models plan; what others say before their calls is content."""
    script = f"[say: Both.]{call('book_table', table=4)}{call('book_table', table=5)}[then][say: {{results}}]"
    request = {"model": model, "tools": [BOOK]}
    first = ask(client, messages=user(script), **request)
    assert calls(first) == [("book_table", {"table": 4}), ("book_table", {"table": 5})]
    told = (first["message"].get("tool_plan"), said(first))
    assert told == (("Both.", "") if model.startswith("cohere/") else (None, "Both."))
    done = results(first, "Table 4 is yours.", "Table 5 is yours.")
    assert (
        said(ask(client, messages=[*user(script), first["message"], *done], **request))
        == "Table 4 is yours.; Table 5 is yours."
    )


@each_way
@each_model
def test_tools_of_the_gateway_are_run(world, client, ask, model):
    script = f"[usage: in=10 out=5]{note(world)}[then][usage: in=20 out=7][say: It says: {{results}}]"
    reply = ask(client, model=model, messages=user(script))
    assert (said(reply), reply["finish"], calls(reply)) == (f"It says: {SECRET}", "COMPLETE", [])
    tokens = reply["usage"].tokens
    assert (tokens.input_tokens, tokens.output_tokens) == (30, 12), "all turns are counted"


@each_way
@each_model
def test_tools_of_both_sides_in_one_turn(world, client, ask, model):
    script = f"[think: Both.]{note(world)}{call('book_table', table=4)}[then][say: {{results}}]"
    request = {"model": model, "tools": [BOOK]}
    first = ask(client, messages=user(script), **request)
    assert calls(first) == [("book_table", {"table": 4})]
    messages = [*user(script), first["message"], *results(first, "Table 4 is yours.")]
    assert said(ask(client, messages=messages, **request)) == f"{SECRET}; Table 4 is yours."


@each_way
@each_model
def test_reasoning(client, ask, model):
    """What was thought is shown, apart from what is said."""
    thinking = {"type": "enabled", "token_budget": 1024}
    reply = ask(client, model=model, messages=user("[think: let me see][say: yes]"), thinking=thinking, max_tokens=4096)
    assert (said(reply, "thinking"), said(reply)) == ("let me see", "yes")


@each_model
def test_an_image_crosses(client, model):
    pixel = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{pixel}"}}
    reply = client.chat(model=model, messages=user([image, {"type": "text", "text": "[say: I see]"}]))
    assert reply.message.content[0].text == "I see"


@each_way
@each_model
def test_errors_have_their_classes(client, ask, model):
    table = [
        ("[fail: 400 no such thing]", cohere.BadRequestError),
        ("[fail: 503 no such thing]", cohere.ServiceUnavailableError),
    ]
    for script, kind in table:
        with pytest.raises(kind) as failure:
            ask(client, model=model, messages=user(script))
        assert "no such thing" in failure.value.body["message"]


ADDING = f"[say: Adding.]{call('pipe-get-sum', a=1, b=2)}[then][fail: 503 gone for lunch]"


@each_model
def test_an_error_in_the_second_turn_of_a_loop(client, model):
    """Whole, it is a status; in a stream, where this SDK raises nothing, it is what the last event says."""
    with pytest.raises(cohere.ServiceUnavailableError) as failure:
        client.chat(model=model, messages=user(ADDING))
    assert "gone for lunch" in failure.value.body["message"]
    *_, last = client.chat_stream(model=model, messages=user(ADDING))
    assert (last.type, last.delta.finish_reason) == ("message-end", "ERROR")
    assert "gone for lunch" in last.delta.error


def test_a_key_that_the_provider_refuses_is_not_the_callers_fault(client):
    with pytest.raises(cohere.core.ApiError) as failure:
        client.chat(model="revoked/scripted-small", messages=user("hi"))
    assert failure.value.status_code == 502
    assert "bad-key" not in str(failure.value.body)


def test_virtual_keys_in_the_sdks_own_place(world):
    table = [
        ("vk-nobody", "cohere/scripted-small", cohere.UnauthorizedError),
        ("vk-gone", "cohere/scripted-small", cohere.ForbiddenError),
        ("vk-narrow", "openai/scripted-large", cohere.ForbiddenError),
    ]
    for key, model, kind in table:
        with pytest.raises(kind):
            connect(world, key).chat(model=model, messages=user("hi"))
    assert (
        connect(world, "vk-plain").chat(model="openai/scripted-large", messages=user("[say: hi]")).message.content[0].text
        == "hi"
    )


def test_an_unprefixed_model_is_coheres(client):
    reply = client.chat(model="command-scripted", messages=user("[say: {model}]"))
    assert reply.message.content[0].text == "command-scripted"


@pytest.mark.parametrize("provider", ["cohere", "openai", "gemini"])
def test_embeddings(client, provider):
    """Equal texts have equal vectors, whoever makes them."""
    texts = ["one", "two", "one"]
    reply = client.embed(
        model=f"{provider}/scripted-small", texts=texts, input_type="search_document", embedding_types=["float"]
    )
    vectors = reply.embeddings.float_
    assert len(vectors) == 3 and vectors[0] == vectors[2] != vectors[1]


def test_reranking(client):
    documents = ["a boat", "the heron lands", "dawn"]
    reply = client.rerank(model="cohere/scripted-small", query="where does the heron land?", documents=documents, top_n=2)
    assert [found.index for found in reply.results][0] == 1 and len(reply.results) == 2
    assert reply.results[0].relevance_score > reply.results[1].relevance_score


def test_tokens(client):
    assert client.tokenize(text="the heron lands", model="cohere/scripted-small").tokens
