"""LangChain's OpenAI client, below the prefix that its users are told of, over chat completions and Responses."""

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from script import call

SECRET = "The heron lands at dawn."  # what `world.mjs` wrote into note.txt
MODELS = ["openai/scripted-small", "anthropic/scripted-small", "gemini/scripted-small"]


@tool
def book_table(table: int) -> str:
    """Books a table."""
    return f"Table {table} is yours."


def invoke(model, messages, stream):
    if not stream:
        return model.invoke(messages)
    chunks = list(model.stream(messages))
    return sum(chunks[1:], chunks[0])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])
@pytest.mark.parametrize("model", MODELS)
def test_a_tool_loop(world, model, responses, stream):
    asked = ChatOpenAI(
        model=model,
        base_url=f"{world.gateway}/langchain/v1",
        api_key="vk-all",
        use_responses_api=responses,
        max_retries=0,
        stream_usage=True,
    ).bind_tools([book_table])
    note = call("files-read_text_file", path=f"{world.files}/note.txt")
    script = f"{note}{call('book_table', table=4)}[then]{call('book_table', table=5)}[then][say: {{results}}]"
    messages = [HumanMessage(script)]
    for _ in range(2):
        reply = invoke(asked, messages, stream)
        messages.append(reply)
        assert [made["name"] for made in reply.tool_calls] == ["book_table"]
        for made in reply.tool_calls:
            messages.append(ToolMessage(book_table.invoke(made["args"]), tool_call_id=made["id"]))
    last = invoke(asked, messages, stream)
    assert sorted(last.text.split("; ")) == ["Table 4 is yours.", "Table 5 is yours.", SECRET]
    assert last.usage_metadata["output_tokens"] > 0
