//! The items in which clients of OpenAI Responses are shown the gateway's own tools, beside whatever a model says.
#![cfg(test)]

use bifrost_providers::chat::{PartKind, Role};
use bifrost_providers::dialect::WriterOptions;
use bifrost_providers::dialect::anthropic_messages::AnthropicMessages;
use bifrost_providers::dialect::openai_responses::OpenAiResponses;
use bifrost_providers::dialect::openai_responses::mcp::{
    McpAnswer, McpApproval, McpCall, McpOutcome, McpTool, McpTools, may_hold_items, settle_history, take_declared,
};
use bifrost_providers::event::{Fold, unfold};
use bifrost_providers::{ChatEvent, ChatReply, Codec, Losses, Text};
use serde_json::{Value, json};

const CODEC: OpenAiResponses = OpenAiResponses;

fn call() -> McpCall {
    McpCall {
        id: "mcp_1".into(),
        server_label: "files".into(),
        name: "read".into(),
        arguments: r#"{"path":"a"}"#.into(),
        approval_request_id: None,
    }
}

fn tools() -> McpTools {
    let tool = McpTool {
        name: "read".into(),
        description: Some("Reads".into()),
        input_schema: bifrost_providers::json::raw(r#"{"type":"object"}"#.into()),
    };
    McpTools { id: "mcpl_1".into(), server_label: "files".into(), tools: vec![tool] }
}

fn approval() -> McpApproval {
    McpApproval { id: "mcpr_1".into(), server_label: "files".into(), name: "read".into(), arguments: "{}".into() }
}

/// A reply of another dialect, with the gateway's items before what the model says at last.
fn claude() -> ChatReply {
    let said = json!({"id":"msg_1","type":"message","role":"assistant","model":"c","stop_reason":"end_turn",
        "content":[{"type":"text","text":"so"}],"usage":{"input_tokens":1,"output_tokens":2}});
    AnthropicMessages.decode_reply(said.to_string().as_bytes()).unwrap()
}

/// Its stream with the gateway's events put in front of the model's, whose blocks move on.
fn stream(front: Vec<ChatEvent>, blocks: u32) -> Vec<ChatEvent> {
    let mut events = unfold(&claude());
    for event in &mut events {
        match event {
            ChatEvent::Open { index, .. } | ChatEvent::Delta { index, .. } | ChatEvent::Close { index } => {
                *index += blocks;
            }
            _ => {}
        }
    }
    events.splice(1..1, front);
    events
}

fn write(events: &[ChatEvent]) -> Vec<Value> {
    let mut writer = CODEC.writer(WriterOptions::default());
    let mut out = Vec::new();
    for event in events {
        writer.write(event, None, &mut out);
    }
    assert!(writer.losses().is_empty(), "{:?}", writer.losses());
    let text = String::from_utf8(out).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

fn kinds(events: &[Value]) -> Vec<String> {
    let short = |event: &Value| event["type"].as_str().unwrap().trim_start_matches("response.").to_owned();
    events.iter().map(|event| format!("{} {}", short(event), event["output_index"])).collect()
}

#[test]
fn a_call_of_the_gateways_own_is_shown_step_by_step() {
    let (call, output) = (call(), McpOutcome::Output("text of a".into()));
    let mut front = tools().events(0);
    front.extend(call.begin(1));
    front.extend(call.end(1, &output));
    let events = stream(front, 2);
    let written = write(&events);
    assert_eq!(
        kinds(&written)[2..14],
        [
            "output_item.added 0",
            "mcp_list_tools.in_progress 0",
            "mcp_list_tools.completed 0",
            "output_item.done 0",
            "output_item.added 1",
            "mcp_call.in_progress 1",
            "mcp_call_arguments.delta 1",
            "mcp_call_arguments.done 1",
            "mcp_call.completed 1",
            "output_item.done 1",
            "output_item.added 2",
            "content_part.added 2",
        ]
    );
    for (number, event) in written.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    let output = &written[written.len() - 1]["response"]["output"];
    assert_eq!(
        output[1],
        json!({"type":"mcp_call","id":"mcp_1","server_label":"files","name":"read","arguments":"{\"path\":\"a\"}",
            "status":"completed","approval_request_id":null,"output":"text of a","error":null})
    );
    assert_eq!(output[0]["tools"], json!([{"name":"read","description":"Reads","input_schema":{"type":"object"}}]));
    // The same items in a reply that comes whole, and in one that is folded from the stream.
    let mut reply = claude();
    let parts = [tools().part(), call.part(&McpOutcome::Output("text of a".into()))];
    reply.choices[0].parts.splice(0..0, parts);
    let mut fold = Fold::new();
    for event in &events {
        fold.push(event);
    }
    for reply in [reply, fold.finish()] {
        let mut losses = Losses::default();
        let whole: Value = serde_json::from_slice(&CODEC.encode_reply(&reply, None, &mut losses)).unwrap();
        assert_eq!(&whole["output"], output);
        assert!(losses.is_empty(), "{losses:?}");
    }
}

#[test]
fn a_call_that_fails_says_so() {
    let call = call();
    let mut front = call.begin(0);
    front.extend(call.end(0, &McpOutcome::Error("no such file".into())));
    let written = write(&stream(front, 1));
    assert!(kinds(&written).contains(&"mcp_call.failed 0".to_owned()));
    let item = &written[written.len() - 1]["response"]["output"][0];
    assert_eq!(item["status"], "failed");
    assert_eq!(
        item["error"],
        json!({"type":"mcp_tool_execution_error","content":[{"type":"text","text":"no such file"}]})
    );
    assert!(item["output"].is_null());
}

#[test]
fn oai_resp_mcp_approval_request_and_response_items() {
    let written = write(&stream(approval().events(0), 1));
    let asked = written[written.len() - 1]["response"]["output"][0].clone();
    assert_eq!(
        asked,
        json!({"type":"mcp_approval_request","id":"mcpr_1","server_label":"files","name":"read","arguments":"{}"})
    );
    let request = json!({"model":"m","input":[{"role":"user","content":"q"}, asked,
        {"type":"mcp_approval_response","approval_request_id":"mcpr_1","approve":false,"reason":"not today"}]});
    assert!(may_hold_items(request.to_string().as_bytes()));
    let mut chat = CODEC.decode_request(request.to_string().as_bytes()).unwrap();
    let settled = settle_history(&mut chat, |_, name| Some(name.clone()));
    let [(call, answer)] = settled.answered.as_slice() else { panic!("{settled:?}") };
    let expected = McpAnswer { approval_request_id: "mcpr_1".into(), approve: false, reason: Some("not today".into()) };
    assert_eq!((answer, call.name.as_escaped(), call.arguments.as_escaped()), (&expected, "read", "{}"));
    assert_eq!((chat.messages.len(), settled.changed), (1, true));
}

/// An approved call that ran is in the conversation as a call; approving it once is not approving it again.
#[test]
fn what_was_approved_and_ran_does_not_run_again() {
    let ran = McpCall { approval_request_id: Some("mcpr_1".into()), ..call() }.part(&McpOutcome::Output("x".into()));
    let PartKind::Foreign(_, ran) = ran.kind else { panic!("{ran:?}") };
    let ran: Value = serde_json::from_str(ran.get()).unwrap();
    let request = json!({"model":"m","input":[
        {"type":"mcp_approval_request","id":"mcpr_1","server_label":"files","name":"read","arguments":"{}"},
        {"type":"mcp_approval_response","approval_request_id":"mcpr_1","approve":true}, ran]});
    let mut chat = CODEC.decode_request(request.to_string().as_bytes()).unwrap();
    let settled = settle_history(&mut chat, |_, name| Some(name.clone()));
    assert_eq!((settled.answered.len(), chat.messages.len()), (0, 2));
}

#[test]
fn a_server_declared_by_its_label_alone_is_the_gateways() {
    let request = json!({"model":"m","input":"q","tools":[
        {"type":"mcp","server_label":"files"}, {"type":"mcp","server_label":"files","server_url":"https://x"},
        {"type":"mcp","server_label":"nobody"}, {"type":"function","name":"files","parameters":{}}]});
    let mut chat = CODEC.decode_request(request.to_string().as_bytes()).unwrap();
    assert_eq!(take_declared(&mut chat, |label| label == "files"), ["files"]);
    assert_eq!(chat.tools.len(), 3);
}

/// Coming back, a call that the gateway ran is a call and its result to every model; what is not the gateway's stays.
#[test]
fn the_gateways_own_items_become_calls_and_results() {
    let done = |outcome: &McpOutcome| match call().part(outcome).kind {
        PartKind::Foreign(_, raw) => serde_json::from_str::<Value>(raw.get()).unwrap(),
        other => panic!("{other:?}"),
    };
    let theirs =
        json!({"type":"mcp_call","id":"mcp_9","server_label":"elsewhere","name":"x","arguments":"{}","output":"y"});
    let request = json!({"model":"m","input":[{"role":"user","content":"q"},
        {"type":"mcp_list_tools","id":"mcpl_1","server_label":"files","tools":[{"name":"read","input_schema":{}}]},
        {"type":"mcp_approval_request","id":"mcpr_1","server_label":"files","name":"read","arguments":"{}"},
        {"type":"mcp_approval_response","approval_request_id":"mcpr_1","approve":true},
        done(&McpOutcome::Output("text of a".into())), done(&McpOutcome::Error("gone".into())), theirs]});
    let mut chat = CODEC.decode_request(request.to_string().as_bytes()).unwrap();
    let known = |server: &Text, name: &Text| {
        (server.as_escaped() == "files").then(|| Text::from_plain(&format!("files-{}", name.to_plain())))
    };
    let settled = settle_history(&mut chat, known);
    assert_eq!((settled.changed, settled.listed.len(), settled.answered.len()), (true, 1, 1));
    let roles: Vec<Role> = chat.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool, Role::Assistant, Role::Tool, Role::Assistant]);
    let sent: Value = serde_json::from_slice(&CODEC.encode_request(&chat, &mut Losses::default())).unwrap();
    let ran = json!({"type":"function_call","call_id":"mcp_1","name":"files-read","arguments":"{\"path\":\"a\"}"});
    assert_eq!(sent["input"][1], ran);
    assert_eq!(sent["input"][2], json!({"type":"function_call_output","call_id":"mcp_1","output":"text of a"}));
    assert_eq!(sent["input"][5], theirs);
    let mut losses = Losses::default();
    let crossed: Value = serde_json::from_slice(&AnthropicMessages.encode_request(&chat, &mut losses)).unwrap();
    let result = &crossed["messages"][2]["content"][0];
    assert_eq!((&result["content"], &result["tool_use_id"]), (&json!("text of a"), &json!("mcp_1")));
    assert_eq!(losses.iter().map(|loss| loss.pointer.as_str()).collect::<Vec<_>>(), ["/input/6"]);
}

/// One turn of a model called the gateway's tools and the client's: all calls stand before all results.
#[test]
fn calls_of_one_turn_stand_before_their_results() {
    use Role::{Assistant as A, Tool as T, User as U};
    let done = |id: &str| match (McpCall { id: id.into(), ..call() }).part(&McpOutcome::Output("x".into())).kind {
        PartKind::Foreign(_, raw) => serde_json::from_str::<Value>(raw.get()).unwrap(),
        other => panic!("{other:?}"),
    };
    let request = json!({"model":"m","input":[{"role":"user","content":"q"},
        {"type":"function_call","call_id":"mine","name":"f","arguments":"{}"}, done("mcp_1"), done("mcp_2"),
        {"type":"function_call_output","call_id":"mine","output":"y"}, done("mcp_3")]});
    let mut chat = CODEC.decode_request(request.to_string().as_bytes()).unwrap();
    settle_history(&mut chat, |_, name| Some(name.clone()));
    let roles: Vec<Role> = chat.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [U, A, A, A, T, T, T, A, T]);
}
