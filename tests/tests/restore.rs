//! What the caller never saw of its own conversation is put back when it returns, and what a loop spent is told however it ends.

use std::time::Duration;

use bifrost_tests::{Cell, Chat, Gateway, Setup, Style, cells, eventually, few};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Both providers, and the good tool server under the name `demo`.
fn world() -> Setup {
    Gateway::both().tool("demo", "demo")
}

fn ran(gateway: &Gateway) -> usize {
    gateway.tools("demo").calls().len()
}

#[tokio::test]
async fn a_clients_call_after_a_round_of_ours_is_restored_with_the_round() {
    let gateway = world().await;
    for cell in few() {
        let before = ran(&gateway);
        let script = r#"[call: demo-echo {"text":"first"}][then][call: mine {"q":"x"}][then][say: {results}]"#;
        let chat = cell.chat(script).tool("mine");
        let first = cell.told(&gateway, &chat).await;
        assert_eq!(first.called(), ["mine"], "{cell:?}");
        let told = cell.told(&gateway, &chat.results(&first, |_| "from me".into())).await;
        assert_eq!(told.text, "first; from me", "{cell:?}");
        assert_eq!(ran(&gateway), before + 1, "{cell:?}: nothing runs twice");
    }
}

#[tokio::test]
async fn a_clients_calls_of_two_rounds_are_restored_together() {
    let gateway = world().await;
    for cell in few() {
        let script = r#"[call: demo-echo {"text":"a"}][call: mine {"q":"1"}][then]
            [call: demo-echo {"text":"c"}][call: mine {"q":"2"}][then][say: {results}]"#;
        let chat = cell.chat(script).tool("mine");
        let first = cell.told(&gateway, &chat).await;
        let chat = chat.results(&first, |_| "b".into());
        let second = cell.told(&gateway, &chat).await;
        assert_eq!(second.called(), ["mine"], "{cell:?}");
        let told = cell.told(&gateway, &chat.results(&second, |_| "d".into())).await;
        assert_eq!(told.text, "a; b; c; d", "{cell:?}");
    }
}

/// What frameworks that rebuild a conversation from their own types leave out: fields that are not their dialect's own.
fn rebuilt(message: &mut Value) {
    match message {
        Value::Object(fields) => {
            for others in ["extra_content", "reasoning_content", "reasoning_details", "reasoningContent"] {
                fields.remove(others);
            }
            fields.values_mut().for_each(rebuilt);
        }
        Value::Array(items) => {
            items.iter_mut().for_each(rebuilt);
            items.retain(|item| *item != json!({}));
        }
        _ => {}
    }
}

#[tokio::test]
async fn seals_over_calls_come_back_to_their_provider_from_clients_that_leave_them_out() {
    let gateway = Gateway::every().await;
    let signs = |cell: &Cell| matches!(cell.provider, Style::Anthropic | Style::Gemini | Style::Bedrock);
    for cell in cells().filter(|cell| cell.client != cell.provider).filter(signs) {
        // The provider refuses a call without the thinking, or the signature, that it sealed.
        let chat = cell.chat(r#"[think: Hm.][call: mine {"q":"x"}][then][say: {results}]"#).tool("mine");
        let mut first = cell.told(&gateway, &chat).await;
        assert_eq!((first.called(), first.thinking.as_str()), (vec!["mine"], "Hm."), "{cell:?}");
        rebuilt(&mut first.message);
        let told = cell.told(&gateway, &chat.results(&first, |_| "theirs".into())).await;
        assert_eq!(told.text, "theirs", "{cell:?}");
    }
}

/// A turn as Vercel's `ai` brings it back: ids in the place of items, but for the calls of functions.
fn by_reference(items: &Value) -> Value {
    let refer = |item: &Value| match item["type"].as_str() {
        Some("function_call") => item.clone(),
        _ => json!({"type": "item_reference", "id": item["id"]}),
    };
    items.as_array().unwrap().iter().map(refer).collect()
}

#[tokio::test]
async fn items_may_be_referred_to_over_providers_that_keep_none() {
    let gateway = world().provider("gemini", Style::Gemini).provider("cohere", Style::Cohere).await;
    let keeps_none = |cell: &Cell| matches!(cell.provider, Style::Anthropic | Style::Gemini | Style::Cohere);
    for cell in cells().filter(|cell| cell.client == Style::Responses).filter(keeps_none) {
        for hidden in ["", r#"[call: demo-echo {"text":"ours"}]"#] {
            let script = format!(r#"[think: Hm.][say: Look.]{hidden}[call: mine {{"q":"x"}}][then][say: {{results}}]"#);
            let chat = cell.chat(&script).tool("mine");
            let mut first = cell.told(&gateway, &chat).await;
            first.message = by_reference(&first.message);
            let chat = chat.results(&first, |_| "theirs".into());
            let mut second = cell.told(&gateway, &chat).await;
            // Google's results stand in the order of the calls, wherever these stand.
            let mut results: Vec<&str> = second.text.split("; ").collect();
            results.sort_unstable();
            let wanted: &[&str] = if hidden.is_empty() { &["theirs"] } else { &["ours", "theirs"] };
            assert_eq!(results, wanted, "{cell:?}");
            second.message = by_reference(&second.message);
            let next = chat.results(&second, |_| String::new()).say("[say: Again.]");
            assert_eq!(cell.told(&gateway, &next).await.text, "Again.", "{cell:?}");
            let sent = gateway.asked(cell.provider.name()).pop().unwrap().to_string();
            assert!(sent.contains("Look.") && sent.contains("theirs"), "{cell:?}: the model sees what it said: {sent}");
        }
    }
}

#[tokio::test]
async fn an_item_that_was_not_to_be_kept_or_is_anothers_is_not_found() {
    let keys = |name: &str| json!({"name": name, "value": name});
    let gateway = Gateway::both().virtual_key(keys("vk-one")).virtual_key(keys("vk-two")).await;
    let chat = Chat::new(Style::Responses, "anthropic/scripted-small", "[say: Hi.]");
    for (kept, first, second, status) in [
        (json!(true), "vk-one", "vk-one", 200),
        (json!(true), "vk-one", "vk-two", 400),
        (json!(false), "vk-one", "vk-one", 400),
    ] {
        let chat = chat.clone().set("store", kept);
        let mut told = gateway.ask(&chat.clone().header("x-bf-vk", first)).await.told();
        told.message = by_reference(&told.message);
        let next = chat.results(&told, |_| String::new()).say("[say: Bye.]").header("x-bf-vk", second);
        let answer = gateway.ask(&next).await;
        assert_eq!(answer.status, status, "{first} {second}: {}", answer.text());
    }
}

/// Ways to be offered none of the gateway's tools: a header, or a field.
fn narrowed(chat: Chat, how: &str) -> Chat {
    match how {
        "n" => chat.set("n", json!(2)),
        header => chat.header(header, ""),
    }
}

#[tokio::test]
async fn a_follow_up_that_narrows_the_tools_to_nothing_is_restored_all_the_same() {
    for cell in few() {
        for how in ["x-bf-mcp-include-tools", "x-bf-mcp-include-clients", "n"] {
            // Anthropic has no `n`, and the reader of streams follows one choice.
            if how == "n" && (cell.client == Style::Anthropic || cell.stream) {
                continue;
            }
            let gateway = world().await;
            let script = r#"[call: demo-echo {"text":"ours"}][call: mine {"q":"x"}][then][say: {results}]"#;
            let chat = cell.chat(script).tool("mine");
            let first = cell.told(&gateway, &chat).await;
            assert_eq!(first.called(), ["mine"], "{cell:?}");
            let told = cell.told(&gateway, &narrowed(chat.results(&first, |_| "theirs".into()), how)).await;
            assert_eq!(told.text, "ours; theirs", "{cell:?} {how}: the model sees both results");
            assert_eq!(ran(&gateway), 1, "{cell:?} {how}: nothing runs twice");
            let last = gateway.asked(cell.provider.name()).pop().unwrap();
            assert_eq!(last["tools"].as_array().map(Vec::len), Some(1), "{cell:?} {how}: only the caller's own tool");
        }
    }
}

#[tokio::test]
async fn a_restored_call_that_is_made_again_is_answered_and_not_shown() {
    let gateway = world().await;
    for cell in few() {
        let before = ran(&gateway);
        let script = r#"[call: demo-echo {"text":"ours"}][call: mine {"q":"x"}][then]
            [call: demo-echo {"text":"again"}][then][say: {results}]"#;
        let chat = cell.chat(script).tool("mine");
        let first = cell.told(&gateway, &chat).await;
        let next = chat.results(&first, |_| "theirs".into()).header("x-bf-mcp-include-tools", "");
        let told = cell.told(&gateway, &next).await;
        assert_eq!(told.called(), [""; 0], "{cell:?}");
        assert!(told.text.contains("filtered by request context"), "{cell:?}: {}", told.text);
        assert_eq!(ran(&gateway), before + 1, "{cell:?}: what is not offered does not run");
    }
}

#[tokio::test]
async fn a_conversation_that_lacks_nothing_stays_on_the_relay_lane() {
    let gateway = world().await;
    let script = r#"[call: demo-echo {"text":"ours"}][call: mine {"q":"x"}][then][say: {results}]"#;
    let kept = Chat::openai("openai/scripted-small", script).tool("mine");
    gateway.ask(&kept).await.told();
    // Not of this gateway's making, and with a field that only a relayed request keeps as it is written.
    let chat = Chat::openai("openai/scripted-small", r#"[call: mine {"q":"x"}][then][say: {results}]"#).tool("mine");
    let chat = chat.header("x-bf-mcp-include-tools", "");
    let first = gateway.ask(&chat).await.told();
    let next = chat.results(&first, |_| "theirs".into()).set("temperature", json!(0.50));
    let body = next.body.to_string().replace("\"temperature\":0.5", "\"temperature\" : 0.50");
    let answer = gateway.post(&next.path(), &[("x-bf-mcp-include-tools", "")], body).await;
    assert_eq!(answer.told().text, "theirs");
    let sent = gateway.upstream("openai").requests().pop().unwrap();
    assert!(String::from_utf8_lossy(&sent.body).contains("\"temperature\" : 0.50"), "{:?}", sent.body);
}

#[tokio::test]
async fn after_a_limit_the_caller_can_go_on_by_hand() {
    let gateway = world().loop_settings(&json!({"max_agent_depth": 1})).await;
    for cell in few() {
        let script = r#"[call: demo-echo {"text":"one"}][then][call: demo-echo {"text":"two"}][then][say: {results}]"#;
        let chat = cell.chat(script);
        let first = cell.told(&gateway, &chat).await;
        assert_eq!(first.called(), ["demo-echo"], "{cell:?}");
        if cell.has_extra_fields() {
            assert_eq!(first.extra["mcp"]["stopped"], "max_agent_depth", "{cell:?}");
        }
        let told = cell.told(&gateway, &chat.results(&first, |_| "two by hand".into())).await;
        assert_eq!(told.text, "one; two by hand", "{cell:?}");
    }
}

#[tokio::test]
async fn when_time_is_up_what_has_run_is_told_and_only_the_rest_is_left_to_the_caller() {
    let gateway = world().loop_settings(&json!({"agent_deadline": "500ms"})).await;
    for cell in few() {
        let script = r#"[call: demo-echo {"text":"quick"}][call: demo-slow {"ms":60000}]"#;
        let told = cell.told(&gateway, &cell.chat(script)).await;
        assert_eq!(told.called(), ["demo-slow"], "{cell:?}");
        if cell.has_extra_fields() {
            assert_eq!(told.executed(), ["demo-echo"], "{cell:?}");
            assert_eq!(told.extra["mcp"]["stopped"], "agent_deadline", "{cell:?}");
        }
    }
}

#[tokio::test]
async fn the_loops_time_is_not_a_streams_time() {
    // Without tools there is no loop, and a long answer is only long.
    let gateway = Gateway::both().loop_settings(&json!({"agent_deadline": "100ms"})).await;
    for cell in few().filter(|cell| cell.stream) {
        let told = cell.told(&gateway, &cell.chat("[say: one two three][chunks: 10][drip: 30ms]")).await;
        assert_eq!(told.text, "one two three", "{cell:?}");
    }
}

#[tokio::test]
async fn tools_run_without_holding_the_providers_place() {
    // Otherwise a tool that asks this very gateway would wait for itself.
    let narrow = json!({"concurrency_and_buffer_size": {"concurrency": 1, "buffer_size": 10}});
    let gateway = Gateway::start()
        .provider_with("openai", bifrost_tests::Style::OpenAi, &narrow)
        .provider_with("anthropic", bifrost_tests::Style::Anthropic, &narrow)
        .tool("demo", "demo")
        .await;
    for cell in few() {
        let before = ran(&gateway);
        let mut running = JoinSet::new();
        let (client, chat) = ((*gateway).clone(), cell.chat(r#"[call: demo-slow {"ms":60000}]"#));
        running.spawn(async move { client.ask(&chat).await });
        eventually("the tool runs", || ran(&gateway) == before + 1).await;
        let other = cell.chat("[say: Meanwhile]");
        let answer = tokio::time::timeout(Duration::from_secs(5), gateway.ask(&other)).await;
        assert_eq!(answer.map(|answer| answer.told().text), Ok("Meanwhile".to_owned()), "{cell:?}");
    }
}

/// The JSON of an error, whole or as the last event.
async fn error(gateway: &Gateway, cell: Cell, script: &str) -> Value {
    let answer = gateway.ask(&cell.chat(script)).await;
    answer.fault();
    let last = answer.is_stream().then(|| answer.events().pop()).flatten();
    last.map_or_else(|| answer.json(), |event| serde_json::from_str(&event.data).unwrap())
}

#[tokio::test]
async fn a_loop_that_fails_tells_what_it_ran_and_counts_what_it_spent() {
    let gateway = world().await;
    for cell in few() {
        let script = r#"[call: demo-add {"a":1,"b":2}][usage: in=10 out=4][then][fail: 503 gone fishing]"#;
        let error = error(&gateway, cell, script).await;
        if cell.has_extra_fields() && cell.stream {
            let executed = &error["extra_fields"]["mcp"]["executed"];
            assert_eq!(executed[0]["name"], "demo-add", "{cell:?}: {error}");
        }
    }
    for provider in ["openai", "anthropic"] {
        let labels = [("provider", provider)];
        gateway.metric_becomes("bifrost_input_tokens_total", &labels, 40.0).await;
        gateway.metric_becomes("bifrost_output_tokens_total", &labels, 16.0).await;
    }
}

#[tokio::test]
async fn the_loop_itself_loses_nothing() {
    let gateway = world().await;
    for cell in few() {
        let script = r#"[call: demo-add {"a":1,"b":2}][then][say: It is {results}.]"#;
        let told = cell.told(&gateway, &cell.chat(script).header("x-bf-strict", "true")).await;
        assert_eq!(told.text, "It is 3.", "{cell:?}");
        assert_eq!(told.extra.get("losses"), None, "{cell:?}: {}", told.extra);
    }
}
