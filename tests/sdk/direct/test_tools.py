"""The official MCP client against the scripted tool server, in both eras of the protocol and on every transport."""

import asyncio
import json

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client


async def work(transport, mode):
    async with Client(transport, mode=mode) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        weather = await client.call_tool("get_weather", {"city": "Paris"})
        failed = await client.call_tool("fail", {"message": "no luck"})
        return tools, json.loads(weather.content[0].text), failed.is_error


def check(outcome):
    tools, weather, failed = outcome
    assert tools[:2] == ["get_weather", "convert_temperature"] and len(tools) == 10
    assert weather == {"city": "Paris", "temperature_c": 11.5, "sky": "light rain"}
    assert failed is True


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_streamable_http(start_fixture, mode):
    url = start_fixture("tools", "--http", "0").url
    check(asyncio.run(work(streamable_http_client(url), mode)))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_stdio(fixtures_path, mode):
    check(asyncio.run(work(stdio_client(StdioServerParameters(command=fixtures_path, args=["tools"])), mode)))


def test_legacy_sse(start_fixture):
    url = start_fixture("tools", "--sse", "0").url
    check(asyncio.run(work(sse_client(url), "legacy")))


def test_one_of_the_hand_written_servers(fixtures_path):
    async def pages():
        server = StdioServerParameters(command=fixtures_path, args=["tools", "--scenario", "paginate:3"])
        async with Client(stdio_client(server), mode="auto") as client:
            return (await client.list_tools()).next_cursor

    assert asyncio.run(pages()) == "1"
