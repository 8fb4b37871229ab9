"""The ways in which an application asks, as one function per SDK and way: each takes a script and gives what was answered.

`Answer.text` is what a person would read, `Answer.calls` are the tool calls left to the application, `Answer.message` is
what an application appends to its conversation.
"""

import asyncio
import dataclasses
import json
from typing import Any

from clients import anthropic_client, async_anthropic_client, async_openai_client, openai_client

MODELS = {name: f"{name}/scripted-small" for name in ("openai", "anthropic", "gemini", "bedrock", "cohere")}


@dataclasses.dataclass
class Answer:
    text: str
    calls: list[tuple[str, str, dict]]
    finish: str
    message: dict
    raw: Any


def user(script):
    return [{"role": "user", "content": script}]


def _openai_answer(reply):
    message = reply.choices[0].message
    calls = [(call.id, call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]
    appended = message.model_dump(exclude_none=True, exclude={"parsed"})
    return Answer(message.content or "", calls, reply.choices[0].finish_reason, appended, reply)


def _anthropic_answer(reply):
    text = "".join(block.text for block in reply.content if block.type == "text")
    calls = [(block.id, block.name, block.input) for block in reply.content if block.type == "tool_use"]
    appended = {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in reply.content]}
    return Answer(text, calls, reply.stop_reason, appended, reply)


def openai_whole(world, request):
    return _openai_answer(openai_client(world).chat.completions.create(**request))


def openai_streamed(world, request):
    with openai_client(world).chat.completions.stream(**request) as stream:
        return _openai_answer(stream.get_final_completion())


def openai_async(world, request):
    async def ask():
        async with async_openai_client(world) as client:
            return _openai_answer(await client.chat.completions.create(**request))

    return asyncio.run(ask())


def openai_async_streamed(world, request):
    async def ask():
        async with async_openai_client(world) as client, client.chat.completions.stream(**request) as stream:
            return _openai_answer(await stream.get_final_completion())

    return asyncio.run(ask())


def anthropic_whole(world, request):
    return _anthropic_answer(anthropic_client(world).messages.create(**request))


def anthropic_streamed(world, request):
    with anthropic_client(world).messages.stream(**request) as stream:
        return _anthropic_answer(stream.get_final_message())


def anthropic_async(world, request):
    async def ask():
        async with async_anthropic_client(world) as client:
            return _anthropic_answer(await client.messages.create(**request))

    return asyncio.run(ask())


def anthropic_async_streamed(world, request):
    async def ask():
        async with async_anthropic_client(world) as client, client.messages.stream(**request) as stream:
            return _anthropic_answer(await stream.get_final_message())

    return asyncio.run(ask())


OPENAI = [openai_whole, openai_streamed, openai_async, openai_async_streamed]
ANTHROPIC = [anthropic_whole, anthropic_streamed, anthropic_async, anthropic_async_streamed]
# Every way of asking with every provider behind it: both dialects, relayed and translated, whole and streamed.
EVERY_WAY = [(way, provider) for way in OPENAI + ANTHROPIC for provider in MODELS]


def named(value):
    """A readable test id for a way of asking."""
    return value.__name__ if callable(value) else str(value)


def speaks_openai(way):
    return way in OPENAI


def request(way, provider, script, tools=None, **more):
    """A request in the dialect of this way of asking. `tools` are OpenAI-shaped functions."""
    body = {"model": MODELS[provider], "messages": user(script) if isinstance(script, str) else script, **more}
    if not speaks_openai(way):
        body.setdefault("max_tokens", 4096)
    if tools:
        body["tools"] = [declared(way, tool) for tool in tools]
    return body


def declared(way, tool):
    if speaks_openai(way):
        return {"type": "function", "function": tool}
    return {"name": tool["name"], "description": tool["description"], "input_schema": tool["parameters"]}


def results(way, answers):
    """The messages that answer tool calls: `answers` is a list of (call id, text)."""
    if speaks_openai(way):
        return [{"role": "tool", "tool_call_id": call, "content": text} for call, text in answers]
    blocks = [{"type": "tool_result", "tool_use_id": call, "content": text} for call, text in answers]
    return [{"role": "user", "content": blocks}]
