"""Tools that the application never declared: real tool servers from npm and PyPI, run by the gateway inside the conversation."""

import json

import anthropic
import openai
import pytest
from clients import anthropic_client, openai_client
from script import call
from talk import ANTHROPIC, EVERY_WAY, OPENAI, named, request, results, speaks_openai, user

SECRET = "The heron lands at dawn."  # what `world.mjs` wrote into note.txt
BOOK = {
    "name": "book_table",
    "description": "Books a table",
    "parameters": {"type": "object", "properties": {"table": {"type": "integer"}}, "required": ["table"]},
}
DONE = {True: "stop", False: "end_turn"}
PENDING = {True: "tool_calls", False: "tool_use"}
every_way = pytest.mark.parametrize(("way", "provider"), EVERY_WAY, ids=named)
each_provider = pytest.mark.parametrize("provider", ["openai", "anthropic"])


def read_note(world):
    return call("files-read_text_file", path=f"{world.files}/note.txt")


@every_way
def test_a_file_is_read_and_told(world, way, provider):
    answer = way(world, request(way, provider, f"{read_note(world)}[then][say: It says: {{results}}]"))
    assert answer.text == f"It says: {SECRET}"
    assert (answer.calls, answer.finish) == ([], DONE[speaks_openai(way)])


@each_provider
@pytest.mark.parametrize("way", [OPENAI[0], OPENAI[1], ANTHROPIC[0], ANTHROPIC[1]], ids=named)
def test_several_servers_in_parallel_over_every_transport(world, way, provider):
    """stdio, Streamable HTTP, legacy SSE, Node and Python: five servers in one turn, answers in the order of the calls."""
    calls = [
        call("pipe-get-sum", a=1, b=2),
        call("web-get-sum", a=30, b=4),
        call("events-get-sum", a=500, b=6),
        call("clock-convert_time", source_timezone="UTC", time="12:00", target_timezone="Asia/Tokyo"),
        read_note(world),
    ]
    answer = way(world, request(way, provider, f"{''.join(calls)}[then][say: {{results}}]"))
    for expected in ["is 3.", "is 34.", "is 506.", "21:00", SECRET]:
        assert expected in answer.text
    assert answer.text.index("is 3.") < answer.text.index("is 34.") < answer.text.index("is 506.") < answer.text.index(SECRET)


@pytest.mark.parametrize("server", ["pipe", "web", "events"])
def test_one_turn_after_another(world, oai, server):
    script = (
        f"[say: First.]{call(f'{server}-echo', message='one')}[then]"
        f"[say: Second.]{call(f'{server}-get-sum', a=2, b=2)}[then][say: Got {{results}}]"
    )
    reply = oai.chat.completions.create(model="openai/scripted-small", messages=user(script))
    text = reply.choices[0].message.content
    assert text.endswith("Got Echo: one; The sum of 2 and 2 is 4."), text
    assert text.index("First.") < text.index("Second.") < text.index("Got")
    facts = reply.extra_fields["mcp"]
    assert facts["turns"] == 3
    assert [(run["name"], run["server"], run["is_error"]) for run in facts["executed"]] == [
        (f"{server}-echo", server, False),
        (f"{server}-get-sum", server, False),
    ]
    assert json.loads(facts["executed"][1]["arguments"]) == {"a": 2, "b": 2}
    assert facts["executed"][1]["duration_ms"] > 0


@each_provider
def test_text_of_every_turn_is_live_and_calls_are_not_shown(oai, ant, provider):
    """Text before the call arrives; the call itself never does; the reply ends once."""
    model = f"{provider}/scripted-small"
    script = user(f"[say: Let me add.]{call('pipe-get-sum', a=1, b=2)}[then][say: Done.]")
    options = {"include_usage": True}
    chunks = list(oai.chat.completions.create(model=model, messages=script, stream=True, stream_options=options))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert not any(delta.tool_calls for delta in deltas)
    assert "".join(delta.content or "" for delta in deltas) == "Let me add.\n\nDone."
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason] == ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert [run["result"] for chunk in chunks for run in mcp_facts(chunk)] == ["The sum of 1 and 2 is 3."]
    with ant.messages.stream(model=model, max_tokens=999, messages=script) as stream:
        kinds = [event.type for event in stream if event.type.startswith("message_")]
        final = stream.get_final_message()
    assert [block.text for block in final.content] == ["Let me add.", "Done."]
    assert kinds.count("message_start") == kinds.count("message_stop") == 1


def mcp_facts(chunk):
    fields = (chunk.model_extra or {}).get("extra_fields") or {}
    return (fields.get("mcp") or {}).get("executed", [])


@each_provider
def test_usage_is_the_sum_of_all_turns(oai, provider):
    script = f"[usage: in=10 out=5]{call('pipe-get-sum', a=1, b=2)}[then][usage: in=20 out=7][say: 3]"
    usage = oai.chat.completions.create(model=f"{provider}/scripted-small", messages=user(script)).usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (30, 12, 42)


@every_way
def test_signed_thinking_survives_the_loop(world, way, provider):
    """The Anthropic upstream refuses a second turn whose thinking was dropped or altered."""
    more = {} if speaks_openai(way) else {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    script = f"[think: I should look.]{read_note(world)}[then][think: There it is.][say: {{results}}]"
    assert way(world, request(way, provider, script, **more)).text == SECRET


@every_way
def test_tools_of_both_sides_in_one_turn(world, way, provider):
    """The application sees its own call only, answers it, and the model then knows the results of both."""
    script = f"{read_note(world)}{call('book_table', table=4)}[then][say: {{results}}]"
    first = way(world, request(way, provider, script, tools=[BOOK]))
    assert first.finish == PENDING[speaks_openai(way)]
    assert [(name, arguments) for _, name, arguments in first.calls] == [("book_table", {"table": 4})]
    follow_up = [*user(script), first.message, *results(way, [(first.calls[0][0], "Table 4 is yours.")])]
    second = way(world, request(way, provider, follow_up, tools=[BOOK]))
    assert second.text == f"{SECRET}; Table 4 is yours."


@pytest.mark.parametrize("way", ANTHROPIC, ids=named)
def test_a_mixed_turn_keeps_its_signed_thinking(world, way):
    script = f"[think: Both.]{read_note(world)}{call('book_table', table=4)}[then][say: {{results}}]"
    more = {"tools": [BOOK], "thinking": {"type": "enabled", "budget_tokens": 1024}}
    first = way(world, request(way, "anthropic", script, **more))
    assert [block["type"] for block in first.message["content"]] == ["thinking", "tool_use"]
    follow_up = [*user(script), first.message, *results(way, [(first.calls[0][0], "Yours.")])]
    assert way(world, request(way, "anthropic", follow_up, **more)).text == f"{SECRET}; Yours."


@every_way
def test_a_tool_that_needs_approval(world, way, provider):
    """The model asks to write a file; the application sees it, approves, has it run, and goes on."""
    path = f"{world.files}/{way.__name__}-{provider}.txt"
    script = f"{call('files-write_file', path=path, content='approved')}[then][say: {{results}}]"
    first = way(world, request(way, provider, script))
    assert (first.finish, len(first.calls)) == (PENDING[speaks_openai(way)], 1)
    call_id, name, arguments = first.calls[0]
    assert name == "files-write_file"
    with pytest.raises(FileNotFoundError):
        open(path)
    done = execute(world, {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}})
    assert done["tool_call_id"] == call_id
    assert open(path).read() == "approved"
    follow_up = [*user(script), first.message, *results(way, [(call_id, done["content"])])]
    second = way(world, request(way, provider, follow_up))
    assert second.text == f"Successfully wrote to {path}"


def execute(world, tool_call, key="vk-all", form="chat"):
    """Runs a call that the application has approved, through the SDK's door for endpoints it does not know."""
    client = openai_client(world, key=key)
    return client.post("/mcp/tool/execute", body=tool_call, options={"params": {"format": form}}, cast_to=object)


def test_execute_in_the_responses_format(world):
    tool_call = {"type": "function_call", "call_id": "c1", "name": "web-echo", "arguments": '{"message": "hi"}'}
    done = execute(world, tool_call, form="responses")
    assert done == {"type": "function_call_output", "call_id": "c1", "output": "Echo: hi"}


def test_what_may_not_be_executed(world):
    read = {"name": "files-read_text_file", "arguments": {"path": f"{world.files}/note.txt"}}
    assert execute(world, read)["content"] == SECRET
    with pytest.raises((openai.PermissionDeniedError, openai.NotFoundError)):
        execute(world, read, key="vk-narrow")
    with pytest.raises(openai.AuthenticationError):
        execute(world, read, key="vk-nobody")
    with pytest.raises((openai.PermissionDeniedError, openai.NotFoundError)):  # not in tools_to_execute
        execute(world, {"name": "files-move_file", "arguments": {"source": world.files, "destination": world.files}})
    with pytest.raises(openai.BadRequestError, match="path"):
        execute(world, {"name": "files-read_text_file", "arguments": {}})


def test_the_openai_sdk_runs_its_own_tool_beside_the_gateways(world, oai):
    """The SDK's stream helper folds the pending call's arguments; the gateway's call is not among its events."""
    tools = [{"type": "function", "function": BOOK}]
    script = user(f"{read_note(world)}{call('book_table', table=4)}[then][say: ok]")
    with oai.chat.completions.stream(model="openai/scripted-small", messages=script, tools=tools) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
    assert [(event.name, event.index, json.loads(event.arguments)) for event in done] == [("book_table", 0, {"table": 4})]


@pytest.mark.parametrize("streamed", [False, True])
@each_provider
def test_the_anthropic_tool_runner(world, ant, provider, streamed):
    """Anthropic's own loop runs the application's tool, inside of which the gateway's loop runs the others."""
    @anthropic.beta_tool
    def book_table(table: int) -> str:
        """Books a table.

        Args:
            table: Which one.
        """
        return f"Table {table} is yours."

    script = f"{read_note(world)}{call('book_table', table=4)}[then][say: {{results}}]"
    request = {"model": f"{provider}/scripted-small", "max_tokens": 999, "tools": [book_table], "messages": user(script)}
    if streamed:
        *_, last = (stream.get_final_message() for stream in ant.beta.messages.tool_runner(**request, stream=True))
    else:
        last = ant.beta.messages.tool_runner(**request).until_done()
    assert last.content[-1].text == f"{SECRET}; Table 4 is yours."


def test_a_name_that_both_sides_use_is_the_applications(world, oai):
    own = {"name": "pipe-echo", "description": "Mine", "parameters": {"type": "object"}}
    script = user(call("pipe-echo", message="hi"))
    tools = [{"type": "function", "function": own}]
    reply = oai.chat.completions.create(model="openai/scripted-small", messages=script, tools=tools)
    assert reply.choices[0].message.tool_calls[0].function.name == "pipe-echo"
    assert "mcp" not in reply.extra_fields or reply.extra_fields["mcp"]["executed"] == []


@each_provider
def test_bad_arguments_are_told_to_the_model(oai, provider):
    script = f"{call('pipe-get-sum', a='one', b=2)}[then][say: {{results}}]"
    reply = oai.chat.completions.create(model=f"{provider}/scripted-small", messages=user(script))
    assert reply.extra_fields["mcp"]["executed"][0]["is_error"] is True
    assert "/a" in reply.choices[0].message.content


def test_a_tool_that_fails_is_told_to_the_model(world, oai):
    script = f"{call('files-read_text_file', path='/etc/passwd')}[then][say: {{results}}]"
    reply = oai.chat.completions.create(model="openai/scripted-small", messages=user(script))
    assert "Access denied" in reply.choices[0].message.content
    assert reply.extra_fields["mcp"]["executed"][0]["is_error"] is True


@each_provider
def test_an_image_from_a_tool_reaches_the_model(oai, provider):
    script = f"{call('web-get-tiny-image')}[then][say: seen]"
    reply = oai.chat.completions.create(model=f"{provider}/scripted-small", messages=user(script))
    assert reply.choices[0].message.content == "seen"


def offered(client, **headers):
    """The names of the tools that the provider was offered, in order."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = client.chat.completions.create(model="openai/scripted-small", messages=user("[echo]"), extra_headers=headers)
    return json.loads(reply.choices[0].message.content)["tools"]


def test_who_is_offered_what(world, oai):
    everything = offered(oai)
    assert {"files-read_text_file", "files-write_file", "clock-convert_time", "web-echo", "events-echo"} <= set(everything)
    assert "files-move_file" not in everything, "not in tools_to_execute"
    assert everything == offered(oai), "the order is stable, so that prompt caches stay warm"
    assert offered(openai_client(world, key="vk-narrow")) == ["clock-convert_time"]
    assert offered(openai_client(world, key="vk-plain")) == []
    assert offered(oai, x_bf_mcp_include_clients="clock") == ["clock-convert_time", "clock-get_current_time"]
    assert offered(oai, x_bf_mcp_include_tools="web-echo,clock-*") == [
        "clock-convert_time",
        "clock-get_current_time",
        "web-echo",
    ]
    assert offered(oai, x_bf_mcp_include_tools="") == []


def test_a_forbidden_tool_is_not_run(world):
    """The model calls what this virtual key was never offered: it is told so, and nothing is read."""
    ant = anthropic_client(world, key="vk-narrow")
    script = f"{read_note(world)}[then][say: {{results}}]"
    reply = ant.messages.create(model="anthropic/scripted-small", max_tokens=99, messages=user(script))
    assert "not available or not permitted" in reply.content[-1].text
    assert SECRET not in reply.content[-1].text


@pytest.mark.parametrize("way", ANTHROPIC, ids=named)
def test_redacted_thinking_survives_the_loop(world, way):
    script = f"[redacted]{read_note(world)}[then][redacted][say: {{results}}]"
    more = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    assert way(world, request(way, "anthropic", script, **more)).text == SECRET


@every_way
def test_mixed_turns_twice_and_a_turn_of_the_gateways_alone_between(world, way, provider):
    """Two visits to the application, with executed turns before, between and inside them: nothing is lost."""
    book, sums = call("book_table", table=4), [call("pipe-get-sum", a=number, b=0) for number in (1, 2, 3, 4)]
    script = f"{sums[0]}[then]{sums[1]}{book}[then]{sums[2]}[then]{sums[3]}{book}[then][say: {{results}}]"
    messages = user(script)
    for visit in ("first visit", "second visit"):
        answer = way(world, request(way, provider, messages, tools=[BOOK]))
        assert [name for _, name, _ in answer.calls] == ["book_table"]
        messages = [*messages, answer.message, *results(way, [(answer.calls[0][0], visit)])]
    said = [f"The sum of {number} and 0 is {number}." for number in (1, 2, 3, 4)]
    expected = [said[0], said[1], "first visit", said[2], said[3], "second visit"]
    assert way(world, request(way, provider, messages, tools=[BOOK])).text == "; ".join(expected)
