"""The Responses API through OpenAI's SDK, with every provider behind it."""

import json

import openai
import pytest
from clients import openai_client
from script import call, note

SECRET = "The heron lands at dawn."  # what `world.mjs` wrote into note.txt
MODELS = [f"{name}/scripted-small" for name in ("openai", "anthropic", "gemini", "bedrock", "cohere")]
each_model = pytest.mark.parametrize("model", MODELS)
each_way = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
BOOK = {
    "type": "function",
    "name": "book_table",
    "description": "Books a table",
    "parameters": {"type": "object", "properties": {"table": {"type": "integer"}}, "required": ["table"]},
    "strict": False,
}


def ask(oai, stream, **request):
    if not stream:
        return oai.responses.create(**request)
    with oai.responses.stream(**request) as events:
        return events.get_final_response()


@each_way
@each_model
def test_text_thinking_and_counts(oai, model, stream):
    script = "[think: Hm, so.][say: Hello h\u00e9llo][usage: in=9 out=5 reasoning=2]"
    reply = ask(oai, stream, model=model, input=script, reasoning={"summary": "auto"})
    assert (reply.output_text, reply.status) == ("Hello h\u00e9llo", "completed")
    thoughts = [part.text for item in reply.output if item.type == "reasoning" for part in item.summary]
    assert thoughts == ["Hm, so."]
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.total_tokens) == (9, 5, 14)


@each_way
@each_model
def test_a_loop_of_the_application_with_tools_of_the_gateway(world, oai, model, stream):
    note = call("files-read_text_file", path=f"{world.files}/note.txt")
    script = f"[think: Both.]{note}{call('book_table', table=4)}{call('book_table', table=5)}[then][say: {{results}}]"
    request = {"model": model, "tools": [BOOK], "store": False, "include": ["reasoning.encrypted_content"]}
    items = [{"role": "user", "content": script}]
    first = ask(oai, stream, input=items, **request)
    calls = [item for item in first.output if item.type == "function_call"]
    assert [json.loads(made.arguments) for made in calls] == [{"table": 4}, {"table": 5}]
    items += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
    items += [{"type": "function_call_output", "call_id": made.call_id, "output": made.arguments} for made in calls]
    told = ask(oai, stream, input=items, **request).output_text
    assert sorted(told.split("; ")) == sorted([SECRET, *(made.arguments for made in calls)])


@each_model
def test_errors_have_their_classes(oai, model):
    for script, kind in [("[fail: 400 no]", openai.BadRequestError), ("[fail: 503 no]", openai.InternalServerError)]:
        with pytest.raises(kind):
            oai.responses.create(model=model, input=script)
    with pytest.raises(openai.APIError):
        for _ in oai.responses.create(model=model, input="[say: one two three][chunks: 3][error-after: 5]", stream=True):
            pass


@pytest.mark.parametrize("path", ["/v1", "/openai", "/openai/v1", "/litellm/v1", "/langchain/v1", "/pydanticai"])
def test_every_base_url(world, path):
    reply = openai_client(world, path=path).responses.create(model="openai/scripted-small", input="[say: Hi]")
    assert reply.output_text == "Hi"


@each_way
def test_a_stored_response_is_found_and_continued_by_its_id_alone(world, oai, stream):
    model = "openai/scripted-small"
    first = ask(oai, stream, model=model, input=f"{note(world)}[then][say: {{results}}]")
    assert first.output_text == SECRET
    assert oai.responses.retrieve(first.id).output_text == SECRET
    assert oai.responses.input_items.list(first.id).data
    again = ask(oai, stream, model=model, previous_response_id=first.id, input="[echo]")
    seen = json.loads(again.output_text)["roles"]
    assert seen == ["user", "function_call", "function_call_output", "assistant", "user"]
    oai.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        oai.responses.retrieve(first.id)


def test_a_batch_is_made_of_a_file_and_read_by_their_ids_alone(oai):
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions"}
    line["body"] = {"model": "scripted-small", "messages": [{"role": "user", "content": "[say: done]"}]}
    upload = ("requests.jsonl", json.dumps(line).encode())
    file = oai.files.create(file=upload, purpose="batch", extra_query={"provider": "openai"})
    assert oai.files.retrieve(file.id).filename == "requests.jsonl"
    batch = oai.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    results = oai.batches.retrieve(batch.id).output_file_id
    assert "chat.completion" in oai.files.content(results).text
