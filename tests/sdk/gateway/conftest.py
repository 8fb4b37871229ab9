"""One world for all gateway tests: scripted providers, real tool servers, and the real gateway between them (`world.mjs`)."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import types

import pytest
from clients import anthropic_client, openai_client

HERE = pathlib.Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def world():
    """`world.gateway` (URL), `world.files` (the folder of the file tools), `world.endless` (the URL of a talkative provider)."""
    clock = pathlib.Path(sys.executable).parent / "mcp-server-time"
    with tempfile.TemporaryFile(mode="w+") as said:
        process = subprocess.Popen(
            ["node", HERE / "world.mjs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env={"MCP_SERVER_TIME": str(clock), **os.environ},
        )
        line = process.stdout.readline()
        if not line:
            said.seek(0)
            pytest.exit(f"the world of the gateway tests did not start:\n{said.read()}", 2)
        yield types.SimpleNamespace(**json.loads(line))
        process.stdin.close()
        assert process.wait(timeout=30) == 0, "the gateway did not stop in order"


@pytest.fixture(scope="session")
def oai(world):
    return openai_client(world)


@pytest.fixture(scope="session")
def ant(world):
    return anthropic_client(world)
