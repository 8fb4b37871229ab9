"""SDK clients of the gateway. The virtual key goes where the SDK puts its own `api_key`: nothing else is configured."""

import functools

import anthropic
import openai

EVERYTHING = "vk-all"


# Making a client costs more than most requests (certificates), so the synchronous ones are shared.
@functools.cache
def _shared(kind, base_url, key):
    return kind(base_url=base_url, api_key=key, max_retries=0, timeout=40)


def openai_client(world, key=EVERYTHING, path="/v1"):
    return _shared(openai.OpenAI, world.gateway + path, key)


def anthropic_client(world, key=EVERYTHING):
    return _shared(anthropic.Anthropic, f"{world.gateway}/anthropic", key)


def async_openai_client(world, key=EVERYTHING):
    """To be used with `async with`: it belongs to one event loop."""
    return openai.AsyncOpenAI(base_url=f"{world.gateway}/v1", api_key=key, max_retries=0, timeout=40)


def async_anthropic_client(world, key=EVERYTHING):
    """To be used with `async with`: it belongs to one event loop."""
    return anthropic.AsyncAnthropic(base_url=f"{world.gateway}/anthropic", api_key=key, max_retries=0, timeout=40)
