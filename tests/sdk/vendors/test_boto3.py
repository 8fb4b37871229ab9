"""Amazon's SDK, at the gateway's `/bedrock`, with every provider behind it.

Its requests are signed, and the access key that signs is the virtual key.
"""

import json

import boto3
import pytest
from botocore import UNSIGNED, exceptions
from botocore.config import Config
from script import call, note

SECRET = "The heron lands at dawn."  # what `world.mjs` wrote into note.txt
PROVIDERS = ["openai", "anthropic", "gemini", "cohere", "bedrock"]
each_model = pytest.mark.parametrize("model", [f"{provider}/scripted-small" for provider in PROVIDERS])
# Who signs thinking: it must come back as it was said.
SIGNING = [f"{provider}/scripted-small" for provider in ("anthropic", "bedrock")]
PIXEL = b"\x89PNG\r\n\x1a\n"
BOOK = {
    "toolSpec": {
        "name": "book_table",
        "description": "Books a table",
        "inputSchema": {"json": {"type": "object", "properties": {"table": {"type": "integer"}}}},
    }
}


def connect(world, key="vk-all", secret="unused", **config):
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=f"{world.gateway}/bedrock",
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}, **config),
    )


@pytest.fixture(scope="session")
def client(world):
    return connect(world)


def user(*blocks):
    return [{"role": "user", "content": [{"text": block} if isinstance(block, str) else block for block in blocks]}]


def whole(client, **request):
    reply = client.converse(**request)
    return {"message": reply["output"]["message"], "stopReason": reply["stopReason"], "usage": reply["usage"]}


def streamed(client, **request):
    """The stream put together, block by block, as an application does it."""
    reply, blocks = {}, {}
    for event in client.converse_stream(**request)["stream"]:
        ((kind, said),) = event.items()
        if kind == "contentBlockStart":
            blocks[said["contentBlockIndex"]] = {"toolUse": {**said["start"]["toolUse"], "input": ""}}
        elif kind == "contentBlockDelta":
            grow(blocks.setdefault(said["contentBlockIndex"], {}), said["delta"])
        elif kind in ("messageStop", "metadata"):
            reply.update(said)
    content = [blocks[at] for at in sorted(blocks)]
    for block in content:
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"] or "{}")
    return {"message": {"role": "assistant", "content": content}, "stopReason": reply["stopReason"], "usage": reply["usage"]}


def grow(block, delta):
    if "text" in delta:
        block["text"] = block.get("text", "") + delta["text"]
    elif "toolUse" in delta:
        block["toolUse"]["input"] += delta["toolUse"]["input"]
    elif "redactedContent" in delta["reasoningContent"]:
        block["reasoningContent"] = delta["reasoningContent"]
    else:
        thought = block.setdefault("reasoningContent", {"reasoningText": {}})["reasoningText"]
        for field, piece in delta["reasoningContent"].items():
            thought[field] = thought.get(field, "") + piece


each_way = pytest.mark.parametrize("ask", [whole, streamed])


def text(reply):
    return "".join(block.get("text", "") for block in reply["message"]["content"])


def calls(reply):
    return [block["toolUse"] for block in reply["message"]["content"] if "toolUse" in block]


def answered(call, said, **more):
    return {"toolResult": {"toolUseId": call["toolUseId"], "content": [{"text": said}], **more}}


@each_way
@each_model
def test_text_and_its_count(client, ask, model):
    said = 'Hello h\u00e9llo \U0001f980 "quoted"\nand more'
    reply = ask(client, modelId=model, messages=user(f"[split: 1][chunks: 4][say: {said}][usage: in=9 out=3]"))
    assert (text(reply), reply["stopReason"]) == (said, "end_turn")
    usage = reply["usage"]
    assert (usage["inputTokens"], usage["outputTokens"], usage["totalTokens"]) == (9, 3, 12)


@each_model
def test_text_arrives_in_pieces(client, model):
    events = client.converse_stream(modelId=model, messages=user("[chunks: 3][say: one two three]"))["stream"]
    kinds = [kind for event in events for kind in event]
    assert kinds[0] == "messageStart" and kinds[-2:] == ["messageStop", "metadata"]
    assert kinds.count("contentBlockDelta") >= 3 and kinds.count("contentBlockStop") == 1


@each_way
@pytest.mark.parametrize("model", [f"{provider}/scripted-small" for provider in PROVIDERS if provider != "cohere"])
def test_what_is_cached_is_counted_apart(client, ask, model):
    """Here `inputTokens` leaves out what was read from a cache. (Cohere's number is no part of its input tokens.)"""
    usage = ask(client, modelId=model, messages=user("[say: hi][usage: in=9 out=3 cached=4]"))["usage"]
    assert (usage["inputTokens"], usage["cacheReadInputTokens"], usage["outputTokens"]) == (5, 4, 3)


@each_model
def test_settings_reach_the_model(client, model):
    said = client.converse(
        modelId=model,
        system=[{"text": "Be brief."}],
        messages=user("[echo]"),
        inferenceConfig={"maxTokens": 99, "temperature": 0.5, "stopSequences": ["END"]},
    )
    seen = json.loads(said["output"]["message"]["content"][0]["text"])
    assert (seen["model"], seen["system"]) == ("scripted-small", "Be brief.")
    params = json.dumps(seen["params"])
    assert all(wanted in params for wanted in ("99", "0.5", "END")), params
    assert "vk-all" not in json.dumps(seen), "the virtual key went to the provider"


@each_way
@each_model
def test_the_end_has_its_reason(client, ask, model):
    for script, reason in (("[say: cut sho][finish: length]", "max_tokens"), (call("book_table", table=4), "tool_use")):
        reply = ask(client, modelId=model, messages=user(script), toolConfig={"tools": [BOOK]})
        assert reply["stopReason"] == reason


@each_way
@each_model
def test_tools_of_the_application(client, ask, model):
    """Two calls at once, answered in the next message."""
    script = f"[say: Both.]{call('book_table', table=4)}{call('book_table', table=5)}[then][say: {{results}}]"
    request = {"modelId": model, "toolConfig": {"tools": [BOOK]}}
    first = ask(client, messages=user(script), **request)
    assert [(made["name"], made["input"]) for made in calls(first)] == [
        ("book_table", {"table": 4}),
        ("book_table", {"table": 5}),
    ]
    done = [answered(made, f"Table {made['input']['table']} is yours.", status="success") for made in calls(first)]
    reply = ask(client, messages=[*user(script), first["message"], {"role": "user", "content": done}], **request)
    assert text(reply) == "Table 4 is yours.; Table 5 is yours."


@each_way
@each_model
def test_tools_of_the_gateway_are_run(world, client, ask, model):
    script = f"[usage: in=10 out=5]{note(world)}[then][usage: in=20 out=7][say: It says: {{results}}]"
    reply = ask(client, modelId=model, messages=user(script))
    assert (text(reply), reply["stopReason"], calls(reply)) == (f"It says: {SECRET}", "end_turn", [])
    assert (reply["usage"]["inputTokens"], reply["usage"]["outputTokens"]) == (30, 12), "all turns are counted"


@each_way
@each_model
def test_tools_of_both_sides_in_one_turn(world, client, ask, model):
    script = f"[think: Both.]{note(world)}{call('book_table', table=4)}[then][say: {{results}}]"
    request = {"modelId": model, "toolConfig": {"tools": [BOOK]}}
    first = ask(client, messages=user(script), **request)
    assert [(made["name"], made["input"]) for made in calls(first)] == [("book_table", {"table": 4})]
    done = {"role": "user", "content": [answered(calls(first)[0], "Table 4 is yours.")]}
    assert text(ask(client, messages=[*user(script), first["message"], done], **request)) == f"{SECRET}; Table 4 is yours."


@each_way
@each_model
def test_reasoning(client, ask, model):
    """What was thought is shown, apart from what is said."""
    reply = ask(client, modelId=model, messages=user("[think: let me see][say: yes]"), additionalModelRequestFields=THINKING)
    thoughts = [
        block["reasoningContent"]["reasoningText"]["text"]
        for block in reply["message"]["content"]
        if "reasoningContent" in block
    ]
    assert (thoughts, text(reply)) == (["let me see"], "yes")


# Anthropic's own field, as Converse takes it.
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}


@each_way
@pytest.mark.parametrize("script", ["[think: let me see]", "[redacted]"])
@pytest.mark.parametrize("model", SIGNING)
def test_signed_reasoning_goes_back(client, ask, model, script):
    """The provider refuses a second turn whose thinking was dropped or altered."""
    script = f"{script}{call('book_table', table=4)}[then][say: {{results}}]"
    request = {"modelId": model, "toolConfig": {"tools": [BOOK]}, "additionalModelRequestFields": THINKING}
    first = ask(client, messages=user(script), **request)
    done = {"role": "user", "content": [answered(calls(first)[0], "Yours.")]}
    assert text(ask(client, messages=[*user(script), first["message"], done], **request)) == "Yours."


@each_model
def test_an_image_crosses(client, model):
    image = {"image": {"format": "png", "source": {"bytes": PIXEL}}}
    assert text(whole(client, modelId=model, messages=user(image, "[say: I see]"))) == "I see"


@each_way
def test_errors_have_their_classes(client, ask):
    """The class is that of the provider's own word, where it speaks the dialect, and that of the status elsewhere."""
    for model in ("bedrock/scripted-small", "anthropic/scripted-small"):
        with pytest.raises(client.exceptions.ValidationException) as failure:
            ask(client, modelId=model, messages=user("[fail: 400 no such thing]"))
        said = failure.value.response
        assert (said["Error"]["Code"], said["ResponseMetadata"]["HTTPStatusCode"]) == ("ValidationException", 400)
        assert "no such thing" in said["Error"]["Message"]
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="missing-model"):
        ask(client, modelId="openai/missing-model", messages=user("hi"))


ADDING = f"[say: Adding.]{call('pipe-get-sum', a=1, b=2)}[then][fail: 503 gone for lunch]"


@each_model
def test_an_error_in_the_second_turn_of_a_loop(client, model):
    """Whole, it is a status; in a stream, an exception after the text of the first turn."""
    with pytest.raises(client.exceptions.ServiceUnavailableException, match="gone for lunch"):
        client.converse(modelId=model, messages=user(ADDING))
    events = iter(client.converse_stream(modelId=model, messages=user(ADDING))["stream"])
    with pytest.raises(exceptions.EventStreamError, match="gone for lunch"):
        text = ""
        for event in events:
            text += event.get("contentBlockDelta", {}).get("delta", {}).get("text", "")
    # What Cohere's models say before their calls is a plan, and no text.
    assert text.strip() == ("" if model.startswith("cohere/") else "Adding.")


def test_a_key_that_the_provider_refuses_is_not_the_callers_fault(client):
    with pytest.raises(exceptions.ClientError) as failure:
        client.converse(modelId="revoked/scripted-small", messages=user("hi"))
    assert failure.value.response["ResponseMetadata"]["HTTPStatusCode"] == 502
    assert "bad-key" not in str(failure.value)


def test_virtual_keys_sign(world):
    """Whoever signs with a virtual key as its access key is its holder; the secret beside it may be anything."""
    refused = [
        ("vk-gone", "bedrock/scripted-small"),
        ("vk-narrow", "openai/scripted-large"),
        ("AKIAIOSFODNN7EXAMPLE", "bedrock/scripted-small"),
    ]
    for key, model in refused:
        client = connect(world, key=key)
        with pytest.raises(client.exceptions.AccessDeniedException) as failure:
            client.converse(modelId=model, messages=user("hi"))
        assert key not in str(failure.value)
    for secret in ("anything", "else"):
        assert (
            text(
                whole(
                    connect(world, key="vk-plain", secret=secret),
                    modelId="openai/scripted-large",
                    messages=user("[say: hi]"),
                )
            )
            == "hi"
        )


def test_a_virtual_key_in_its_own_header(world):
    """For an application that keeps its signature, or signs nothing."""
    for client in (connect(world, key="AKIAIOSFODNN7EXAMPLE"), connect(world, signature_version=UNSIGNED)):
        client.meta.events.register(
            "before-sign.bedrock-runtime", lambda request, **_: request.headers.add_header("x-bf-vk", "vk-plain")
        )
        assert text(whole(client, modelId="bedrock/scripted-small", messages=user("[say: hi]"))) == "hi"


def test_a_bearer_token_needs_tls(world, monkeypatch):
    """So it is no way to a gateway on plain HTTP, and the SDK says so itself. Over TLS the token is the virtual key."""
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "vk-all")
    client = boto3.client("bedrock-runtime", endpoint_url=f"{world.gateway}/bedrock", region_name="us-east-1")
    with pytest.raises(exceptions.InvalidEndpointConfigurationError, match="requires an HTTPS endpoint"):
        client.converse(modelId="bedrock/scripted-small", messages=user("hi"))


def test_an_unprefixed_model_is_bedrocks(client):
    reply = client.converse(modelId="eu.amazon.scripted-v1:0", messages=user("[say: {model}]"))
    assert reply["output"]["message"]["content"] == [{"text": "eu.amazon.scripted-v1:0"}]
    assert reply["ResponseMetadata"]["HTTPHeaders"]["x-bifrost-provider"] == "bedrock"
