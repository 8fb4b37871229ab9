//! The tool loop: the model calls the gateway's tools, the gateway runs them, and the client sees one reply.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bifrost_tests::{BOTH, Cell, Chat, Gateway, Setup, Style, Told, cells, clients, eventually, few, streams};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// A provider of every dialect, and the good tool server under the name `demo`.
fn world() -> Setup {
    Gateway::every().tool("demo", "demo")
}

/// Names of the tools in a provider request, in order.
fn tool_names(request: &Value) -> Vec<String> {
    let tools = [&request["tools"], &request["toolConfig"]["tools"]].into_iter().filter_map(Value::as_array).flatten();
    let declared =
        tools.flat_map(|tool| tool["functionDeclarations"].as_array().map_or(vec![tool], |all| all.iter().collect()));
    let places = ["/function/name", "/toolSpec/name", "/name"];
    let name = |tool: &Value| places.iter().find_map(|place| tool.pointer(place)?.as_str()).unwrap().to_owned();
    declared.map(name).collect()
}

/// The tools that ran, by name, in the order of arrival.
fn ran(gateway: &Gateway, server: &str) -> Vec<String> {
    gateway.tools(server).calls().into_iter().map(|call| call.tool).collect()
}

const SUM: &str = r#"[say: Let me add.][call: demo-add {"a":19,"b":23}][then][say: It is {results}.]"#;

#[tokio::test]
async fn the_loop_runs_tools_and_answers_in_every_combination() {
    let gateway = world().await;
    for cell in cells() {
        let before = (ran(&gateway, "demo").len(), gateway.asked(cell.provider.name()).len());
        let told = cell.told(&gateway, &cell.chat(SUM)).await;
        // The texts of two turns are two blocks, or one string with a blank line between.
        let texts = match (cell.client, cell.provider) {
            // Here the first is no answer, but a plan.
            (_, Style::Cohere) => "It is 42.",
            (Style::OpenAi, _) => "Let me add.\n\nIt is 42.",
            _ => "Let me add.It is 42.",
        };
        assert_eq!(told.text, texts, "{cell:?}");
        assert!(cell.said_before_calls(&told).starts_with("Let me add."), "{cell:?}: {told:?}");
        assert_eq!(told.calls, [], "{cell:?}: no call of the gateway's tools is shown");
        assert_eq!(told.finish, cell.word("stop"), "{cell:?}");
        assert_eq!(ran(&gateway, "demo")[before.0..], ["add"], "{cell:?}");
        assert_eq!(gateway.asked(cell.provider.name()).len(), before.1 + 2, "{cell:?}");
        if cell.has_extra_fields() {
            assert_eq!(told.executed(), ["demo-add"], "{cell:?}");
            assert_eq!(told.extra["mcp"]["turns"], 2, "{cell:?}");
            let call = &told.extra["mcp"]["executed"][0];
            assert_eq!(
                (&call["server"], &call["result"], &call["is_error"]),
                (&json!("demo"), &json!("42"), &json!(false))
            );
        }
    }
}

#[tokio::test]
async fn usage_is_the_sum_of_all_turns() {
    let gateway = world().await;
    for cell in cells() {
        let script = r#"[call: demo-add {"a":1,"b":2}][usage: in=10 out=4][then][say: {results}][usage: in=20 out=5]"#;
        assert_eq!(cell.told(&gateway, &cell.chat(script)).await.tokens(), (30, 9), "{cell:?}");
    }
}

#[tokio::test]
async fn calls_of_one_turn_run_at_the_same_time() {
    let gateway = world().await;
    for cell in few() {
        let before = ran(&gateway, "demo").len();
        let (client, chat) = ((*gateway).clone(), cell.chat(&r#"[call: demo-slow {"ms":60000}]"#.repeat(3)));
        let mut asking = JoinSet::new();
        asking.spawn(async move { client.ask(&chat).await });
        eventually("all three run while none has ended", || ran(&gateway, "demo").len() == before + 3).await;
    }
}

#[tokio::test]
async fn results_stand_in_the_order_of_the_calls_whichever_ended_first() {
    let gateway = world().await;
    for cell in cells() {
        let script = r#"[call: demo-slow {"ms":60}][call: demo-echo {"text":"b"}][call: demo-slow {"ms":30}][then][say: {results}]"#;
        assert_eq!(cell.told(&gateway, &cell.chat(script)).await.text, "slept 60 ms; b; slept 30 ms", "{cell:?}");
    }
}

#[tokio::test]
async fn signed_thinking_goes_back_to_the_provider_that_signed_it() {
    let gateway = world().await;
    for cell in cells() {
        // The provider refuses the second turn with 400 if the first turn's thinking is missing or altered.
        let script =
            r#"[think: Add them.][redacted][call: demo-add {"a":1,"b":2}][then][think: Now say it.][say: {results}]"#;
        let told = cell.told(&gateway, &cell.chat(script)).await;
        assert_eq!(told.text, "3", "{cell:?}");
        assert!(told.thinking.contains("Add them.") && told.thinking.contains("Now say it."), "{cell:?}: {told:?}");
    }
}

#[tokio::test]
async fn many_rounds_end_in_one_reply() {
    for cell in clients() {
        let gateway = world().await;
        let round = |n: usize| format!(r#"[call: demo-echo {{"text":"{n}"}}][then]"#);
        let script = (0..6).map(round).collect::<String>() + "[say: {results}]";
        let told = cell.told(&gateway, &cell.chat(&script)).await;
        assert_eq!(told.text, "0; 1; 2; 3; 4; 5", "{cell:?}");
        assert_eq!(ran(&gateway, "demo").len(), 6, "{cell:?}");
    }
}

#[tokio::test]
async fn text_of_a_stream_arrives_before_the_tools_have_run() {
    let gateway = world().await;
    for cell in streams() {
        let script = r#"[say: Looking.][chunks: 1][call: demo-slow {"ms":60000}][then][say: never]"#;
        let mut live = gateway.open(&cell.chat(script)).await;
        live.until("Looking.").await;
        drop(live);
    }
}

// === whose call is it ===

#[tokio::test]
async fn a_mixed_turn_runs_ours_shows_theirs_and_is_restored() {
    let gateway = world().await;
    for cell in cells() {
        let before = ran(&gateway, "demo").len();
        let script = r#"[think: Both.][say: One moment.][call: demo-add {"a":1,"b":2}][call: mine {"q":"x"}][call: demo-echo {"text":"e"}]
            [then][say: Got {results}.]"#;
        let chat = cell.chat(script).tool("mine");
        let first = cell.told(&gateway, &chat).await;
        assert_eq!(first.called(), ["mine"], "{cell:?}: only the client's call is shown");
        let said = if cell.provider == Style::Cohere { "Both.One moment." } else { "One moment." };
        assert_eq!(cell.said_before_calls(&first), said, "{cell:?}: no prose is added");
        assert_eq!(first.finish, cell.word("tool_calls"), "{cell:?}");
        assert_eq!(ran(&gateway, "demo").len(), before + 2, "{cell:?}");
        if cell.has_extra_fields() {
            assert_eq!(first.executed(), ["demo-add", "demo-echo"], "{cell:?}");
        }

        let told = cell.told(&gateway, &chat.results(&first, |_| "from me".into())).await;
        let mut results: Vec<&str> = told.text.trim_start_matches("Got ").trim_end_matches('.').split("; ").collect();
        results.sort_unstable();
        assert_eq!(results, ["3", "e", "from me"], "{cell:?}: the model sees all three results: {}", told.text);
        assert_eq!(ran(&gateway, "demo").len(), before + 2, "{cell:?}: nothing runs twice");
        if cell.provider == Style::Anthropic {
            let last = gateway.asked("anthropic").pop().unwrap();
            let turn = &last["messages"][1]["content"];
            assert_eq!((&turn[0]["type"], &turn[0]["thinking"]), (&json!("thinking"), &json!("Both.")), "{turn}");
        }
    }
}

#[tokio::test]
async fn a_mixed_turn_after_other_rounds_is_restored_whole() {
    let gateway = world().await;
    for cell in cells() {
        let script = r#"[call: demo-echo {"text":"first"}][then][call: demo-echo {"text":"second"}][call: mine {"q":"x"}]
            [then][say: {results}]"#;
        let chat = cell.chat(script).tool("mine");
        let first = cell.told(&gateway, &chat).await;
        assert_eq!(first.called(), ["mine"], "{cell:?}");
        let told = cell.told(&gateway, &chat.results(&first, |_| "third".into())).await;
        let mut results: Vec<&str> = told.text.split("; ").collect();
        if cell.client == Style::Responses {
            // It has our calls behind its own: they came when they had run.
            results.sort_unstable();
        }
        assert_eq!(results, ["first", "second", "third"], "{cell:?}");
    }
}

#[tokio::test]
async fn one_callers_turns_are_not_restored_for_another() {
    let gateway = world()
        .virtual_key(json!({"name": "a", "value": "vk-a", "mcp_configs": [{"mcp_client_name": "demo", "tools_to_execute": ["*"]}]}))
        .virtual_key(json!({"name": "b", "value": "vk-b", "mcp_configs": [{"mcp_client_name": "demo", "tools_to_execute": ["*"]}]}))
        .await;
    let script = r#"[call: demo-echo {"text":"secret"}][call: mine {"q":"x"}][then][say: {results}]"#;
    let chat = Chat::openai("openai/scripted-small", script).tool("mine");
    let first = gateway.ask(&chat.clone().header("x-bf-vk", "vk-a")).await.told();
    assert_eq!(first.called(), ["mine"]);
    let next = chat.results(&first, |_| "answer".into());
    assert_eq!(gateway.ask(&next.clone().header("x-bf-vk", "vk-b")).await.told().text, "answer");
    assert_eq!(gateway.ask(&next.header("x-bf-vk", "vk-a")).await.told().text, "secret; answer");
}

#[tokio::test]
async fn the_old_prose_form_is_there_for_those_who_ask_for_it() {
    let gateway = world().loop_settings(&json!({"mixed_turns": "bifrost"})).await;
    for stream in [false, true] {
        let script = r#"[call: demo-add {"a":1,"b":2}][call: mine {"q":"x"}]"#;
        let chat = Chat::openai("openai/scripted-small", script).tool("mine").streamed(stream);
        let told = gateway.ask(&chat).await.told();
        let prose =
            "The Output from allowed tools calls is - {\"demo-add\":\"3\"}\n\nNow I shall call these tools next...";
        assert_eq!(
            (told.text.as_str(), told.called(), told.finish.as_str()),
            (prose, vec!["mine"], "stop"),
            "{stream}"
        );
        // What the model said itself, in this turn or an earlier one, keeps a line's distance.
        let before = r#"[say: Well.][call: demo-echo {"text":"x"}][then][say: Now.]"#;
        let chat = Chat::openai("openai/scripted-small", &format!("{before}{script}")).tool("mine").streamed(stream);
        assert_eq!(gateway.ask(&chat).await.told().text, format!("Well.\n\nNow.\n\n{prose}"), "{stream}");
    }
}

#[tokio::test]
async fn tools_that_are_not_automatic_are_the_clients_to_approve() {
    let gateway = Gateway::every().tool_with("demo", "demo", &json!({"tools_to_auto_execute": ["echo"]})).await;
    for cell in cells() {
        let before = ran(&gateway, "demo").len();
        let script = r#"[call: demo-add {"a":1,"b":2}][then][say: {results}]"#;
        let chat = cell.chat(script);
        let first = cell.told(&gateway, &chat).await;
        assert_eq!(first.called(), ["demo-add"], "{cell:?}");
        assert_eq!(ran(&gateway, "demo").len(), before, "{cell:?}");
        // The documented flow: approve, have it executed, go on.
        let call = &first.calls[0];
        let body =
            json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}});
        let result = gateway.post("/v1/mcp/tool/execute", &[], body.to_string()).await.json();
        assert_eq!(result, json!({"role": "tool", "content": "3", "tool_call_id": call.id}), "{cell:?}");
        let told = cell.told(&gateway, &chat.results(&first, |_| "3".into())).await;
        assert_eq!(told.text, "3", "{cell:?}");
    }
}

#[tokio::test]
async fn the_callers_own_tool_wins_where_names_clash() {
    for cell in few() {
        let gateway = world().await;
        let chat = cell.chat(r#"[call: demo-add {"a":1,"b":2}][then][say: {results}]"#).tool("demo-add");
        let told = cell.told(&gateway, &chat).await;
        assert_eq!(told.called(), ["demo-add"], "{cell:?}");
        assert_eq!(ran(&gateway, "demo"), [""; 0], "{cell:?}");
        let names = tool_names(&gateway.asked(cell.provider.name())[0]);
        assert_eq!(names.iter().filter(|name| *name == "demo-add").count(), 1, "{cell:?}");
        assert_eq!(names[0], "demo-add", "{cell:?}: the caller's tools come first");
    }
}

#[tokio::test]
async fn nothing_of_a_hidden_call_leaks_into_the_stream() {
    let gateway = world().await;
    // Responses have items in which such calls are shown.
    for cell in cells().filter(|cell| cell.client != Style::Responses) {
        let script = r#"[say: Well.][call: demo-echo {"text":"XYZZY-secret"}][then][say: Done.]"#;
        let answer = gateway.ask(&cell.chat(script)).await;
        answer.told();
        let text = answer.text();
        let (visible, _) = text.split_once("\"extra_fields\"").unwrap_or((&text, ""));
        assert!(!visible.contains("XYZZY") && !visible.contains("demo-echo"), "{cell:?}: {visible}");
        let ids = ["call_", "toolu_", "tooluse_"];
        assert!(!ids.iter().any(|id| visible.contains(id)), "{cell:?}: {visible}");
    }
}

// === what goes wrong inside ===

#[tokio::test]
async fn the_model_is_told_what_is_wrong_with_a_call() {
    // The script, and what the model must read as the result.
    let cases = [
        (r#"[call: demo-add {"a":"one","b":2}]"#, "demo-add"),
        (r#"[call: demo-add {"a":1}]"#, "b"),
        ("[call: demo-nothing {}]", "not available or not permitted"),
        ("[call: nowhere {}]", "not available or not permitted"),
        (r#"[call: demo-fail {"message":"out of ink"}]"#, "out of ink"),
    ];
    for cell in few() {
        let gateway = world().await;
        for (script, wanted) in cases {
            let told = cell.told(&gateway, &cell.chat(&format!("{script}[then][say: I read: {{results}}]"))).await;
            assert!(
                told.text.starts_with("I read: ") && told.text.contains(wanted),
                "{cell:?} {script}: {}",
                told.text
            );
        }
        assert_eq!(ran(&gateway, "demo"), ["fail"], "{cell:?}: bad calls never reach the tool server");
    }
}

#[tokio::test]
async fn arguments_that_are_no_json_are_told_to_the_model() {
    for client in BOTH {
        for stream in [false, true] {
            let cell = Cell { client, provider: Style::OpenAi, stream };
            let gateway = world().await;
            let told = cell.told(&gateway, &cell.chat("[call: demo-add raw:{\"a\":1,][then][say: {results}]")).await;
            assert!(told.text.contains("failed to parse tool arguments"), "{cell:?}: {}", told.text);
            assert_eq!(ran(&gateway, "demo"), [""; 0], "{cell:?}");
        }
    }
}

#[tokio::test]
async fn a_tool_that_the_caller_may_not_run_is_refused_to_the_model() {
    let gateway = Gateway::every().tool_with("demo", "demo", &json!({"tools_to_execute": ["echo"]})).await;
    for cell in few() {
        let told = cell.told(&gateway, &cell.chat(r#"[call: demo-add {"a":1,"b":2}][then][say: {results}]"#)).await;
        assert!(told.text.contains("not permitted"), "{cell:?}: {}", told.text);
        assert_eq!(ran(&gateway, "demo"), [""; 0]);
    }
    assert_eq!(tool_names(&gateway.asked("openai")[0]), ["demo-echo"]);
}

#[tokio::test]
async fn a_big_result_is_cut_and_says_so() {
    let gateway = world().loop_settings(&json!({"max_result_bytes": 2048})).await;
    for cell in few() {
        let told = cell.told(&gateway, &cell.chat(r#"[call: demo-big {"bytes":100000}][then][say: {results}]"#)).await;
        assert!(told.text.len() < 2500, "{cell:?}: {} bytes", told.text.len());
        assert!(told.text.contains("[The result was cut: it has 100000 bytes"), "{cell:?}: {}", told.text);
        if cell.has_extra_fields() {
            assert_eq!(told.extra["mcp"]["executed"][0]["truncated_from_bytes"], 100_000, "{cell:?}");
        }
    }
}

#[tokio::test]
async fn an_image_from_a_tool_stays_an_image_where_the_provider_can_see() {
    let gateway = world().await;
    let chat = Chat::anthropic("anthropic/scripted-small", "[call: demo-image {}][then][say: Red.]");
    assert_eq!(gateway.ask(&chat).await.told().text, "Red.");
    let last = gateway.asked("anthropic").pop().unwrap();
    let result = &last["messages"][2]["content"][0];
    assert_eq!((&result["type"], &result["content"][0]["type"]), (&json!("tool_result"), &json!("image")), "{result}");
}

#[tokio::test]
async fn a_tool_server_that_dies_in_the_loop_is_an_answer_to_the_model() {
    for cell in few() {
        let gateway = Gateway::every().tool("frail", "dies:2").await;
        let script =
            r#"[call: frail-echo {"text":"alive"}][then][call: frail-echo {"text":"dead"}][then][say: {results}]"#;
        let told = cell.told(&gateway, &cell.chat(script)).await;
        assert!(told.text.starts_with("alive; "), "{cell:?}: {}", told.text);
        assert!(told.text.contains("frail-echo") && told.text.contains("failed"), "{cell:?}: {}", told.text);
    }
}

#[tokio::test]
async fn a_tool_that_hangs_is_timed_out() {
    let gateway = Gateway::every().tool_with("stuck", "hangs:call", &json!({"tool_execution_timeout": "200ms"})).await;
    for cell in few() {
        let told = cell.told(&gateway, &cell.chat(r#"[call: stuck-echo {"text":"x"}][then][say: {results}]"#)).await;
        assert!(told.text.contains("timed out after 200ms"), "{cell:?}: {}", told.text);
    }
}

#[tokio::test]
async fn a_provider_that_fails_in_a_later_turn_is_an_error_of_the_whole_reply() {
    let gateway = world().await;
    for cell in cells() {
        let script = r#"[call: demo-add {"a":1,"b":2}][then][fail: 503 gone fishing]"#;
        let answer = gateway.ask(&cell.chat(script)).await;
        assert!(answer.fault().message.contains("gone fishing"), "{cell:?}: {}", answer.text());
        if !cell.stream {
            assert_eq!(answer.status, 503, "{cell:?}");
        }
        assert!(!(cell.stream && answer.ended()), "{cell:?}: {}", answer.text());
    }
}

// === limits ===

const FOREVER: &str = r#"[call: demo-echo {"text":"again"}][forever]"#;

/// Which limit ended the loop, and that the unanswered call is reported rather than hidden.
fn stopped(cell: Cell, told: &Told, limit: &str) {
    if cell.has_extra_fields() {
        assert_eq!(told.extra["mcp"]["stopped"], limit, "{cell:?}");
    }
    assert_eq!(told.called(), ["demo-echo"], "{cell:?}: the last call is left to the caller");
    assert_eq!(told.finish, cell.word("tool_calls"), "{cell:?}");
}

#[tokio::test]
async fn the_depth_of_a_loop_is_bounded() {
    for cell in few() {
        let gateway = world().loop_settings(&json!({"max_agent_depth": 3})).await;
        let told = cell.told(&gateway, &cell.chat(FOREVER)).await;
        stopped(cell, &told, "max_agent_depth");
        assert_eq!((ran(&gateway, "demo").len(), gateway.asked(cell.provider.name()).len()), (3, 4), "{cell:?}");
    }
}

#[tokio::test]
async fn the_calls_of_a_loop_are_bounded() {
    for cell in few() {
        let gateway = world().loop_settings(&json!({"max_tool_calls": 2})).await;
        let told = cell.told(&gateway, &cell.chat(FOREVER)).await;
        stopped(cell, &told, "max_tool_calls");
        assert_eq!(ran(&gateway, "demo").len(), 2, "{cell:?}");
    }
}

#[tokio::test]
async fn the_time_of_a_loop_is_bounded() {
    for cell in few() {
        let gateway = world().loop_settings(&json!({"agent_deadline": "400ms"})).await;
        let began = Instant::now();
        let told = cell.told(&gateway, &cell.chat(r#"[call: demo-slow {"ms":60000}][then][say: never]"#)).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{cell:?}");
        assert_eq!(told.called(), ["demo-slow"], "{cell:?}");
        if cell.has_extra_fields() {
            assert_eq!(told.extra["mcp"]["stopped"], "agent_deadline", "{cell:?}");
        }
    }
}

#[tokio::test]
async fn a_model_that_hangs_in_the_loop_is_bounded_too() {
    for cell in clients() {
        let gateway = world().loop_settings(&json!({"agent_deadline": "400ms"})).await;
        let answer = gateway.ask(&cell.chat(r#"[call: demo-add {"a":1,"b":2}][then][hang]"#)).await;
        let fault = answer.fault();
        assert!(fault.message.contains("400ms"), "{cell:?}: {fault:?}");
        if !cell.stream {
            assert_eq!((answer.status, fault.kind.as_str()), (504, cell.word("request_timed_out")), "{cell:?}");
        }
        let upstream = gateway.upstream(cell.provider.name());
        eventually("the hanging provider is let go", || upstream.in_flight() == 0).await;
    }
}

// === what is offered ===

#[tokio::test]
async fn a_choice_that_forces_a_call_forces_only_the_first() {
    let gateway = world().await;
    for cell in cells() {
        let before = gateway.asked(cell.provider.name()).len();
        let told = cell.told(&gateway, &cell.chat(SUM).must_call()).await;
        assert!(told.text.ends_with("It is 42."), "{cell:?}");
        let choices: Vec<String> =
            gateway.asked(cell.provider.name())[before..].iter().map(|asked| choice(cell.provider, asked)).collect();
        let wanted = match cell.provider {
            Style::Anthropic | Style::Bedrock => ["any", "auto"],
            Style::Gemini => ["ANY", "AUTO"],
            // It has no word for what it does unasked.
            Style::Cohere => ["REQUIRED", ""],
            Style::OpenAi | Style::Responses => ["required", "auto"],
        };
        assert_eq!(choices, wanted, "{cell:?}");
    }
}

/// The word by which a provider of this dialect was told whether to call.
fn choice(provider: Style, asked: &Value) -> String {
    let word = match provider {
        Style::Anthropic => asked["tool_choice"]["type"].as_str(),
        Style::Gemini => asked["toolConfig"]["functionCallingConfig"]["mode"].as_str(),
        Style::Bedrock => {
            let choice = asked["toolConfig"]["toolChoice"].as_object();
            choice.and_then(|choice| choice.keys().next()).map(String::as_str)
        }
        _ => asked["tool_choice"].as_str(),
    };
    word.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn tools_are_offered_in_the_same_order_to_the_byte() {
    let gateway = world().tool("alpha", "long-names").tool("zulu", "demo").await;
    let chat = Chat::openai("openai/scripted-small", "[say: Hi]").tool("mine");
    let mut bodies = BTreeSet::new();
    for _ in 0..20 {
        gateway.ask(&chat).await.told();
    }
    for request in gateway.upstream("openai").requests() {
        bodies.insert(request.body.to_vec());
    }
    assert_eq!(bodies.len(), 1, "twenty requests, one sequence of bytes");
    let names = tool_names(&gateway.asked("openai")[0]);
    let servers: Vec<&str> = names[1..].iter().map(|name| name.split('-').next().unwrap()).collect();
    assert!(servers.is_sorted(), "{names:?}");
}

#[tokio::test]
async fn long_names_are_offered_short_and_can_be_called() {
    let gateway = Gateway::every().tool("lengthy", "long-names").await;
    gateway.ask(&Chat::openai("openai/scripted-small", "[say: Hi]")).await.told();
    let names = tool_names(&gateway.asked("openai")[0]);
    assert_eq!(names.len(), 4);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 4, "{names:?}");
    for name in names {
        assert!(name.len() <= 64, "{name}");
        let script = format!("[call: {name} {{}}][then][say: called {{results}}]");
        let told = gateway.ask(&Chat::openai("openai/scripted-small", &script)).await.told();
        assert_eq!(told.executed(), [name.as_str()]);
        assert!(told.text.starts_with("called "), "{}", told.text);
    }
    let lengths: BTreeSet<usize> = ran(&gateway, "lengthy").iter().map(String::len).collect();
    assert_eq!(lengths, BTreeSet::from([64, 65, 128, 200]), "the server hears its own names");
}

#[tokio::test]
async fn headers_narrow_what_is_offered() {
    let gateway = world().tool("other", "demo").await;
    let cases: [(&str, &str, Option<&[&str]>); 5] = [
        ("x-bf-mcp-include-clients", "other", None),
        ("x-bf-mcp-include-tools", "demo-add, other-echo", Some(&["demo-add", "other-echo"])),
        ("x-bf-mcp-include-tools", "other-*", None),
        ("x-bf-mcp-include-clients", "", Some(&[])),
        ("x-bf-mcp-include-tools", "nothing-like-it", Some(&[])),
    ];
    for (header, value, wanted) in cases {
        let chat = Chat::openai("openai/scripted-small", "[say: Hi]").header(header, value);
        gateway.ask(&chat).await.told();
        let names = tool_names(gateway.asked("openai").last().unwrap());
        if let Some(wanted) = wanted {
            assert_eq!(names, wanted, "{header}: {value}");
        } else {
            assert_eq!(names.len(), 10, "{header}: {value}");
            assert!(names.iter().all(|name| name.starts_with("other-")), "{header}: {value}: {names:?}");
        }
    }
    // What was narrowed away cannot be run either.
    let chat = Chat::openai("openai/scripted-small", r#"[call: demo-add {"a":1,"b":2}][then][say: {results}]"#);
    let told = gateway.ask(&chat.header("x-bf-mcp-include-clients", "other")).await.told();
    assert!(told.text.contains("not permitted"), "{}", told.text);
    assert_eq!(ran(&gateway, "demo"), [""; 0]);
}

#[tokio::test]
async fn a_virtual_key_has_exactly_the_tools_it_was_granted() {
    let granted = |tools: Value| json!([{"mcp_client_name": "demo", "tools_to_execute": tools}]);
    let gateway = world()
        .tool_with("open", "demo", &json!({"allow_on_all_virtual_keys": true, "tools_to_execute": ["echo"]}))
        .virtual_key(json!({"name": "none", "value": "vk-none"}))
        .virtual_key(json!({"name": "some", "value": "vk-some", "mcp_configs": granted(json!(["add", "echo"]))}))
        .virtual_key(json!({"name": "all", "value": "vk-all", "mcp_configs": granted(json!(["*"]))}))
        .await;
    let cases: [(&str, &[&str]); 2] =
        [("vk-none", &["open-echo"]), ("vk-some", &["demo-add", "demo-echo", "open-echo"])];
    for (key, wanted) in cases {
        gateway.ask(&Chat::openai("openai/scripted-small", "[say: Hi]").header("x-bf-vk", key)).await.told();
        assert_eq!(tool_names(gateway.asked("openai").last().unwrap()), wanted, "{key}");
    }
    gateway.ask(&Chat::openai("openai/scripted-small", "[say: Hi]").header("x-bf-vk", "vk-all")).await.told();
    assert_eq!(tool_names(gateway.asked("openai").last().unwrap()).len(), 11);

    let chat = Chat::openai("openai/scripted-small", r#"[call: demo-big {"bytes":1}][then][say: {results}]"#);
    let wide = chat.header("x-bf-vk", "vk-some").header("x-bf-mcp-include-tools", "demo-*");
    let told = gateway.ask(&wide).await.told();
    assert!(told.text.contains("not available or not permitted"), "headers never widen: {}", told.text);
    assert_eq!(ran(&gateway, "demo"), [""; 0]);
}

#[tokio::test]
async fn tools_on_demand_are_offered_only_to_those_who_ask() {
    let gateway = world().loop_settings(&json!({"disable_auto_tool_inject": true})).await;
    let chat = Chat::openai("openai/scripted-small", "[say: Hi]");
    gateway.ask(&chat).await.told();
    gateway.ask(&chat.header("x-bf-mcp-include-clients", "*")).await.told();
    let offered: Vec<usize> = gateway.asked("openai").iter().map(|asked| tool_names(asked).len()).collect();
    assert_eq!(offered, [0, 10]);
}

#[tokio::test]
async fn several_choices_and_the_gateways_tools_do_not_mix() {
    let gateway = world().await;
    let chat = Chat::openai("openai/scripted-small", "[say: Hi]").set("n", json!(2));
    let answer = gateway.ask(&chat).await;
    assert_eq!(answer.json()["choices"].as_array().unwrap().len(), 2);
    assert_eq!(tool_names(&gateway.asked("openai")[0]), [""; 0]);
    assert!(answer.json()["extra_fields"]["losses"][0]["pointer"] == "/n", "{}", answer.text());
}

#[tokio::test]
async fn tool_servers_on_every_transport_serve_the_loop() {
    let gateway = Gateway::every()
        .stdio_tool("piped", "demo")
        .tool_with("old", "demo", &json!({"connection_type": "sse"}))
        .tool("new", "demo")
        .await;
    let script = r#"[call: piped-echo {"text":"a"}][call: old-echo {"text":"b"}][call: new-echo {"text":"c"}][then][say: {results}]"#;
    assert_eq!(gateway.ask(&Chat::openai("openai/scripted-small", script)).await.told().text, "a; b; c");
    gateway.stop(Duration::from_secs(5)).await;
}
