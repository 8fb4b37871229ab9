"""Clients that most tests of the gateway share."""

import pytest
from clients import anthropic_client, openai_client


@pytest.fixture(scope="session")
def oai(world):
    return openai_client(world)


@pytest.fixture(scope="session")
def ant(world):
    return anthropic_client(world)
