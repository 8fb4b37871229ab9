"""Starts the simulated world for the SDK suites.

BIFROST_FIXTURES_BIN names the `bifrost-fixtures` binary; without it the debug build in ./target is used.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import types

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def fixtures_binary() -> str:
    binary = os.environ.get("BIFROST_FIXTURES_BIN", str(ROOT / "target" / "debug" / "bifrost-fixtures"))
    if not os.access(binary, os.X_OK):
        pytest.exit(f"no fixtures binary at {binary}: cargo build -p bifrost-fixtures, or set BIFROST_FIXTURES_BIN", 2)
    return binary


class Fixture:
    """A running fixture; it ends when its standard input is closed."""

    def __init__(self, *arguments: str):
        self.process = subprocess.Popen(
            [fixtures_binary(), *arguments, "--parent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url = json.loads(self.process.stdout.readline())["url"]

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=10)
        self.process.stdout.close()


@pytest.fixture
def start_fixture():
    """Starts a fixture that lives as long as the test: `start_fixture("tools", "--http", "0")`."""
    started = []

    def start(*arguments: str) -> Fixture:
        started.append(Fixture(*arguments))
        return started[-1]

    yield start
    for fixture in started:
        fixture.stop()


@pytest.fixture(scope="session")
def fixtures_path() -> str:
    return fixtures_binary()


@pytest.fixture(scope="session")
def openai_fixture():
    fixture = Fixture("provider", "--style", "openai")
    yield fixture
    fixture.stop()


@pytest.fixture(scope="session")
def anthropic_fixture():
    fixture = Fixture("provider", "--style", "anthropic")
    yield fixture
    fixture.stop()


@pytest.fixture(scope="session")
def world():
    """Scripted providers, real tool servers, and the real gateway between them (`gateway/world.mjs`).

    `world.gateway` (URL), `world.files` (the folder of the file tools), `world.endless` (the URL of a talkative provider).
    """
    with started(HERE / "gateway" / "world.mjs") as places:
        yield places


@pytest.fixture(scope="session")
def failing():
    """Providers that fail, behind the real gateway (`failures/world.mjs`).

    `failing.gateway` (URL), `failing.case()` (a model with a key of its own, which may rest).
    """
    with started(HERE / "failures" / "world.mjs") as places:
        cases = iter(range(places.cases))
        places.case = lambda: f"case-{next(cases)}"
        yield places


@contextlib.contextmanager
def started(world: pathlib.Path):
    """What a world says of itself, while it runs."""
    clock = pathlib.Path(sys.executable).parent / "mcp-server-time"
    with tempfile.TemporaryFile(mode="w+") as said:
        process = subprocess.Popen(
            ["node", world],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env={"MCP_SERVER_TIME": str(clock), **os.environ},
        )
        line = process.stdout.readline()
        if not line:
            said.seek(0)
            pytest.exit(f"{world} did not start:\n{said.read()}", 2)
        yield types.SimpleNamespace(**json.loads(line))
        process.stdin.close()
        assert process.wait(timeout=30) == 0, "the gateway did not stop in order"
