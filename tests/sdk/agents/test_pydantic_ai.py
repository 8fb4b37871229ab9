"""pydantic-ai, below the prefix that its users are told of, over chat completions and Responses."""

import pytest
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from script import call

SECRET = "The heron lands at dawn."  # what `world.mjs` wrote into note.txt
MODELS = ["openai/scripted-small", "anthropic/scripted-small", "gemini/scripted-small"]


def book_table(table: int) -> str:
    """Books a table."""
    return f"Table {table} is yours."


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", [OpenAIChatModel, OpenAIResponsesModel], ids=["chat", "responses"])
class TestAgent:
    def agent(self, world, kind, model):
        provider = OpenAIProvider(base_url=f"{world.gateway}/pydanticai/v1", api_key="vk-all")
        return Agent(kind(model, provider=provider), tools=[book_table])

    def test_its_own_tools(self, world, kind, model):
        script = f"{call('book_table', table=4)}[then]{call('book_table', table=5)}[then][say: {{results}}]"
        told = self.agent(world, kind, model).run_sync(script).output
        assert told == "Table 4 is yours.; Table 5 is yours."

    def test_the_gateways_tools(self, world, kind, model):
        script = call("files-read_text_file", path=f"{world.files}/note.txt") + "[then][say: It says: {results}]"
        assert self.agent(world, kind, model).run_sync(script).output == f"It says: {SECRET}"

    def test_tools_of_both_in_one_turn(self, world, kind, model):
        note = call("files-read_text_file", path=f"{world.files}/note.txt")
        script = f"[think: Both.]{note}{call('book_table', table=4)}[then][say: {{results}}]"
        told = self.agent(world, kind, model).run_sync(script).output
        assert sorted(told.split("; ")) == ["Table 4 is yours.", SECRET]

    def test_streamed(self, world, kind, model):
        result = self.agent(world, kind, model).run_stream_sync(f"{call('book_table', table=4)}[then][say: {{results}}]")
        assert "".join(result.stream_text(delta=True)) == "Table 4 is yours."
        assert result.usage.input_tokens > 0
