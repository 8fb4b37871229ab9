//! OpenAI's Responses: the gateway's tools are items that its clients see, send back, and have a word on.

use bifrost_tests::{Gateway, Setup};
use serde_json::{Value, json};

const ADD: &str = r#"[call: demo-add {"a":1,"b":2}][then][say: It is {results}]"#;

async fn respond(gateway: &Gateway, body: &Value) -> Value {
    let answer = gateway.post("/v1/responses", &[], body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn kinds(response: &Value) -> Vec<&str> {
    response["output"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect()
}

fn item<'a>(response: &'a Value, kind: &str) -> &'a Value {
    response["output"].as_array().unwrap().iter().find(|item| item["type"] == kind).unwrap()
}

/// The conversation so far, as a client without a store at the provider has it.
fn and_then(said: &str, response: &Value, more: &Value) -> Vec<Value> {
    let mut input = vec![json!({"role": "user", "content": said})];
    input.extend(response["output"].as_array().unwrap().iter().cloned());
    input.push(more.clone());
    input
}

#[tokio::test]
async fn calls_are_shown_and_understood_when_they_come_back() {
    let gateway = Gateway::both().tool("demo", "demo").await;
    for (model, provider) in [("openai/x", "openai"), ("anthropic/x", "anthropic")] {
        let first = respond(&gateway, &json!({"model": model, "input": ADD})).await;
        assert_eq!(kinds(&first), ["mcp_list_tools", "mcp_call", "message"], "{model}");
        let call = item(&first, "mcp_call");
        assert_eq!(
            (&call["server_label"], &call["name"], &call["output"]),
            (&json!("demo"), &json!("add"), &json!("3"))
        );

        let input = and_then("add", &first, &json!({"role": "user", "content": "[say: and?]"}));
        let second = respond(&gateway, &json!({"model": model, "input": input})).await;
        assert_eq!(kinds(&second), ["message"], "{model}: tools once shown are not shown again");
        let asked = gateway.asked(provider).pop().unwrap().to_string();
        assert!(asked.contains(r#""name":"demo-add""#) && !asked.contains("mcp_list_tools"), "{asked}");
        assert!(asked.contains(call["id"].as_str().unwrap()), "the call went back with its result: {asked}");
    }
}

#[tokio::test]
async fn a_stream_shows_the_same_items_as_a_whole_reply() {
    let gateway = Gateway::both().tool("demo", "demo").await;
    let body = json!({"model": "anthropic/x", "input": ADD, "stream": true});
    let answer = gateway.post("/v1/responses", &[], body.to_string()).await;
    let events: Vec<Value> = answer
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let numbers: Vec<u64> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    let last = &events[events.len() - 1]["response"];
    assert_eq!(kinds(last), ["mcp_list_tools", "mcp_call", "message"]);
    let done: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "response.output_item.done")
        .map(|event| &event["item"])
        .collect();
    assert_eq!(done, last["output"].as_array().unwrap().iter().collect::<Vec<_>>());
}

/// A tool that the operator did not mark as automatic.
fn by_hand() -> Setup {
    Gateway::both().tool_with("demo", "demo", &json!({"tools_to_auto_execute": []}))
}

#[tokio::test]
async fn a_call_that_needs_the_users_word_waits_for_it_and_runs_once() {
    let gateway = by_hand().await;
    let tools = json!([{"type": "mcp", "server_label": "demo"}]);
    let body = json!({"model": "openai/x", "input": ADD, "tools": tools});
    let first = respond(&gateway, &body).await;
    assert_eq!(kinds(&first), ["mcp_list_tools", "mcp_approval_request"]);
    assert_eq!(gateway.tools("demo").calls().len(), 0, "nothing ran yet");
    let request = item(&first, "mcp_approval_request");
    assert_eq!((&request["server_label"], &request["name"]), (&json!("demo"), &json!("add")));

    let answer = |approve: bool| json!({"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": approve});
    let input = and_then(ADD, &first, &answer(true));
    let second = respond(&gateway, &json!({"model": "openai/x", "input": input, "tools": tools})).await;
    assert_eq!(kinds(&second), ["mcp_call", "message"]);
    let call = item(&second, "mcp_call");
    assert_eq!((&call["approval_request_id"], &call["output"]), (&request["id"], &json!("3")));
    assert_eq!(item(&second, "message")["content"][0]["text"], "It is 3");
    assert_eq!(second["extra_fields"]["mcp"]["executed"][0]["name"], "demo-add");

    let mut input = input;
    input.extend(second["output"].as_array().unwrap().iter().cloned());
    input.push(json!({"role": "user", "content": "[say: done]"}));
    respond(&gateway, &json!({"model": "openai/x", "input": input, "tools": tools})).await;
    assert_eq!(gateway.tools("demo").calls().len(), 1, "approved once, run once");

    let refused = and_then(ADD, &first, &answer(false));
    let third = respond(&gateway, &json!({"model": "openai/x", "input": refused, "tools": tools})).await;
    assert_eq!(kinds(&third), ["message"]);
    assert!(item(&third, "message")["content"][0]["text"].as_str().unwrap().contains("did not approve"), "{third}");
    assert_eq!(gateway.tools("demo").calls().len(), 1);
}

/// As OpenAI's guide has it: <https://platform.openai.com/docs/guides/tools-connectors-mcp#approvals>.
#[tokio::test]
async fn a_word_behind_previous_response_id_is_on_the_call_that_waits() {
    let gateway = by_hand().await;
    let tools = json!([{"type": "mcp", "server_label": "demo"}]);
    for stream in [false, true] {
        let before = gateway.tools("demo").calls().len();
        let body = json!({"model": "openai/x", "input": ADD, "tools": tools, "stream": stream});
        let answer = gateway.post("/v1/responses", &[], body.to_string()).await;
        let first = if stream { last_response(&answer.text()) } else { answer.json() };
        let word = |approve: bool| {
            let id = &item(&first, "mcp_approval_request")["id"];
            let word = json!({"type": "mcp_approval_response", "approval_request_id": id, "approve": approve});
            json!({"model": "openai/x", "previous_response_id": first["id"], "input": [word], "tools": tools})
        };
        let second = respond(&gateway, &word(true)).await;
        assert_eq!(kinds(&second), ["mcp_list_tools", "mcp_call", "message"]);
        assert_eq!(item(&second, "mcp_call")["output"], "3");
        assert_eq!(item(&second, "message")["content"][0]["text"], "It is 3");
        let asked = gateway.asked("openai").pop().unwrap();
        let input = asked["input"].as_array().unwrap();
        assert_eq!(
            input.iter().map(|item| item["type"].as_str().unwrap()).collect::<Vec<_>>(),
            ["function_call_output"]
        );
        assert_eq!(asked["previous_response_id"], first["id"]);

        let third = respond(&gateway, &word(false)).await;
        assert!(item(&third, "message")["content"][0]["text"].as_str().unwrap().contains("did not approve"), "{third}");
        assert_eq!(gateway.tools("demo").calls().len(), before + 1, "only what was approved has run");
    }
}

fn last_response(stream: &str) -> Value {
    let last = stream.lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap();
    serde_json::from_str::<Value>(last).unwrap()["response"].clone()
}

#[tokio::test]
async fn a_client_that_declares_no_server_runs_such_calls_itself() {
    let gateway = by_hand().await;
    let first = respond(&gateway, &json!({"model": "openai/x", "input": ADD})).await;
    assert_eq!(kinds(&first), ["mcp_list_tools", "function_call"]);
    assert_eq!(item(&first, "function_call")["name"], "demo-add");
}

#[tokio::test]
async fn what_only_its_own_provider_keeps_is_refused_elsewhere() {
    let gateway = Gateway::both().await;
    let body = json!({"model": "anthropic/x", "previous_response_id": "resp_1", "input": "and?"});
    let answer = gateway.post("/v1/responses", &[], body.to_string()).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.fault().message.contains("previous_response_id"), "{}", answer.text());
    assert_eq!(gateway.asked("anthropic").len(), 0);
}
