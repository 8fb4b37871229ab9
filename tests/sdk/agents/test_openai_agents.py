"""OpenAI's agent framework, over Responses and over chat completions, with tools of its own beside the gateway's."""

import asyncio

import pytest
from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from script import call

SECRET = "The heron lands at dawn."  # what `world.mjs` wrote into note.txt
MODELS = ["openai/scripted-small", "anthropic/scripted-small", "gemini/scripted-small"]
set_tracing_disabled(True)


@function_tool
def book_table(table: int) -> str:
    """Books a table."""
    return f"Table {table} is yours."


def run(world, kind, model, script, stream):
    async def ask():
        async with AsyncOpenAI(base_url=f"{world.gateway}/v1", api_key="vk-all", max_retries=0) as client:
            agent = Agent(name="waiter", tools=[book_table], model=kind(model=model, openai_client=client))
            config = RunConfig(tracing_disabled=True)
            if not stream:
                return (await Runner.run(agent, script, run_config=config)).final_output
            running = Runner.run_streamed(agent, script, run_config=config)
            async for _ in running.stream_events():
                pass
            return running.final_output

    return asyncio.run(ask())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", [OpenAIResponsesModel, OpenAIChatCompletionsModel], ids=["responses", "chat"])
class TestAgent:
    def test_its_own_tools(self, world, kind, model, stream):
        script = f"{call('book_table', table=4)}{call('book_table', table=5)}[then]{call('book_table', table=6)}[then][say: {{results}}]"
        told = run(world, kind, model, script, stream)
        assert told == "Table 4 is yours.; Table 5 is yours.; Table 6 is yours."

    def test_the_gateways_tools(self, world, kind, model, stream):
        script = call("files-read_text_file", path=f"{world.files}/note.txt") + "[then][say: It says: {results}]"
        assert run(world, kind, model, script, stream) == f"It says: {SECRET}"

    def test_tools_of_both_in_one_turn(self, world, kind, model, stream):
        note = call("files-read_text_file", path=f"{world.files}/note.txt")
        told = run(world, kind, model, f"[think: Both.]{note}{call('book_table', table=4)}[then][say: {{results}}]", stream)
        assert sorted(told.split("; ")) == ["Table 4 is yours.", SECRET]
