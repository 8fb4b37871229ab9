"""Python's SDKs, each as a column of `failures.json`: its ways of asking, and how its exceptions tell what they know.

A way takes the address of the gateway, a model and a script, and gives the text piece by piece; what it raises is the test's.
"""

import dataclasses
import importlib.util
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass
class Column:
    # As it is imported.
    name: str
    # Where its exceptions are defined.
    package: str
    # Styles of providers behind: the SDK's own, which is relayed, and another, which is translated.
    behind: tuple[str, str]
    # Makes a client of the gateway at this address, which asks so many times at most, with this key.
    connect: Callable[[str, int, str], Any]
    whole: dict[str, Callable]
    streamed: dict[str, Callable]
    # The status that an exception tells.
    status: Callable[[Exception], int | None]
    # One of its headers.
    header: Callable[[Exception, str], str | None]


class ToldInStream(Exception):
    """What an application makes of a last event that says the stream has failed, where the SDK raises nothing."""


KEY = "vk-all"


def user(content):
    return [{"role": "user", "content": content}]


# === openai ===


def openai(gateway, attempts, key=KEY):
    import openai

    return openai.OpenAI(base_url=f"{gateway}/v1", api_key=key, max_retries=attempts - 1, timeout=30)


def chat_whole(client, model, script):
    yield client.chat.completions.create(model=model, messages=user(script)).choices[0].message.content


def chat_streamed(client, model, script):
    for chunk in client.chat.completions.create(model=model, messages=user(script), stream=True):
        yield (chunk.choices[0].delta.content or "") if chunk.choices else ""


def responses_whole(client, model, script):
    yield client.responses.create(model=model, input=script).output_text


def responses_streamed(client, model, script):
    for event in client.responses.create(model=model, input=script, stream=True):
        yield event.delta if event.type == "response.output_text.delta" else ""


def responses_helper(client, model, script):
    with client.responses.stream(model=model, input=script) as stream:
        for event in stream:
            yield event.delta if event.type == "response.output_text.delta" else ""
        stream.get_final_response()


# === anthropic ===


def anthropic(gateway, attempts, key=KEY):
    import anthropic

    return anthropic.Anthropic(base_url=f"{gateway}/anthropic", api_key=key, max_retries=attempts - 1, timeout=30)


def messages_whole(client, model, script):
    yield client.messages.create(model=model, max_tokens=4096, messages=user(script)).content[0].text


def messages_streamed(client, model, script):
    with client.messages.stream(model=model, max_tokens=4096, messages=user(script)) as stream:
        yield from stream.text_stream


# === google-genai ===


def genai(gateway, attempts, key=KEY):
    from google.genai import Client, types

    retries = types.HttpRetryOptions(attempts=attempts, initial_delay=0.5, jitter=0.1) if attempts > 1 else None
    options = types.HttpOptions(base_url=f"{gateway}/genai", timeout=30_000, retry_options=retries)
    return Client(api_key=key, http_options=options)


def genai_whole(client, model, script):
    yield client.models.generate_content(model=model, contents=script).text


def genai_streamed(client, model, script):
    for chunk in client.models.generate_content_stream(model=model, contents=script):
        yield chunk.text or ""


# === boto3 ===


def boto3(gateway, attempts, key=KEY):
    import boto3
    from botocore.config import Config

    return boto3.client(
        "bedrock-runtime",
        endpoint_url=f"{gateway}/bedrock",
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key="unused",
        config=Config(retries={"total_max_attempts": attempts, "mode": "standard"}, read_timeout=30),
    )


def bedrock_messages(script):
    return [{"role": "user", "content": [{"text": script}]}]


def converse(client, model, script):
    yield client.converse(modelId=model, messages=bedrock_messages(script))["output"]["message"]["content"][0]["text"]


def converse_stream(client, model, script):
    for event in client.converse_stream(modelId=model, messages=bedrock_messages(script))["stream"]:
        yield event.get("contentBlockDelta", {}).get("delta", {}).get("text", "")


def bedrock_status(error):
    return getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode")


def bedrock_header(error, name):
    return error.response["ResponseMetadata"]["HTTPHeaders"].get(name)


# === cohere ===


def cohere(gateway, attempts, key=KEY):
    import cohere

    return cohere.ClientV2(api_key=key, base_url=f"{gateway}/cohere", max_retries=attempts - 1, timeout=30)


def cohere_whole(client, model, script):
    yield client.chat(model=model, messages=user(script)).message.content[0].text


def cohere_streamed(client, model, script):
    for event in client.chat_stream(model=model, messages=user(script)):
        yield event.delta.message.content.text if event.type == "content-delta" else ""
        if event.type == "message-end" and event.delta.finish_reason == "ERROR":
            raise ToldInStream(event.delta.error)


# === what exceptions tell ===


def status_code(error):
    return getattr(error, "status_code", None)


def response_header(error, name):
    return error.response.headers.get(name)


COLUMNS = [
    Column(
        "openai",
        "openai",
        ("openai", "anthropic"),
        openai,
        {"chat": chat_whole, "responses": responses_whole},
        {"chat, streamed": chat_streamed, "responses, streamed": responses_streamed, "responses, helper": responses_helper},
        status_code,
        response_header,
    ),
    Column(
        "anthropic",
        "anthropic",
        ("anthropic", "openai"),
        anthropic,
        {"messages": messages_whole},
        {"messages, streamed": messages_streamed},
        status_code,
        response_header,
    ),
    Column(
        "google.genai",
        "google.genai",
        ("gemini", "openai"),
        genai,
        {"generate": genai_whole},
        {"generate, streamed": genai_streamed},
        lambda error: getattr(error, "code", None),
        response_header,
    ),
    Column(
        "boto3",
        "botocore",
        ("bedrock", "anthropic"),
        boto3,
        {"converse": converse},
        {"converse, streamed": converse_stream},
        bedrock_status,
        bedrock_header,
    ),
    Column(
        "cohere",
        "cohere",
        ("cohere", "openai"),
        cohere,
        {"chat": cohere_whole},
        {"chat, streamed": cohere_streamed},
        status_code,
        lambda error, name: error.headers.get(name),
    ),
]


def installed():
    """The columns of this environment."""
    return [column for column in COLUMNS if importlib.util.find_spec(column.name.split(".")[0])]
