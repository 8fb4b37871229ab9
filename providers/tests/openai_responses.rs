//! Replays recorded OpenAI Responses traffic through the codec, against readers of plain JSON that share nothing with it, and
//! holds it to the named promises of this dialect.
#![cfg(test)]

#[path = "support/fold.rs"]
mod fold;
#[path = "support/frames.rs"]
mod frames;
#[path = "support/recorded.rs"]
mod recorded;
#[path = "support/replay.rs"]
mod replay;

use bifrost_providers::dialect::openai_responses::OpenAiResponses;
use bifrost_providers::dialect::{Frame, Problem, WriterOptions};
use bifrost_providers::event::unfold;
use bifrost_providers::failure::FailureKind;
use bifrost_providers::reply::FinishReason;
use bifrost_providers::sse::Splitter;
use bifrost_providers::{ChatEvent, ChatReply, Codec, Dialect, Losses};
use fold::fold;
use http::StatusCode;
use recorded::Recording;
use replay::read;
use serde_json::{Value, json};

const CODEC: OpenAiResponses = OpenAiResponses;

// === Tools of the tests ===

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(bytes)))
}

/// A request, decoded and encoded again for its own dialect.
fn again(request: &str) -> Value {
    let mut losses = Losses::default();
    let decoded = CODEC.decode_request(request.as_bytes()).unwrap_or_else(|fault| panic!("{fault}: {request}"));
    let encoded = CODEC.encode_request(&decoded, &mut losses);
    assert!(losses.is_empty(), "{losses:?}");
    value(&encoded)
}

fn reply_again(reply: &ChatReply) -> Value {
    let mut losses = Losses::default();
    let encoded = CODEC.encode_reply(reply, None, &mut losses);
    assert!(losses.is_empty(), "{losses:?}");
    value(&encoded)
}

/// All events of a stream, up to the failure that ended it.
fn write(events: &[ChatEvent]) -> String {
    let mut writer = CODEC.writer(WriterOptions::default());
    let mut out = Vec::new();
    for event in events {
        writer.write(event, None, &mut out);
    }
    assert!(writer.losses().is_empty(), "{:?}", writer.losses());
    String::from_utf8(out).unwrap()
}

fn data(body: &str) -> Vec<Value> {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    data.map(|data| value(data.as_bytes())).collect()
}

/// An independent reading of a stream: the response that its events make, by what its items say when they are done, checked
/// against what the deltas said on the way.
fn oracle(body: &str, name: &str) -> Value {
    let mut items: Vec<Value> = Vec::new();
    let mut said: Vec<Value> = Vec::new();
    let (mut response, mut id) = (Value::Null, Value::Null);
    for event in data(body) {
        let at = |key: &str| usize::try_from(event[key].as_u64().unwrap_or(0)).unwrap();
        let index = at("output_index");
        match event["type"].as_str().unwrap() {
            // Copilot gives the same response, and the same item, another id in every event: the first counts.
            "response.created" => id = event["response"]["id"].clone(),
            "response.output_item.added" => {
                assert_eq!(items.len(), index, "{name}: items come in order");
                items.push(Value::Null);
                said.push(json!({}));
            }
            "response.output_item.done" => items[index] = event["item"].clone(),
            kind @ ("response.completed" | "response.incomplete") => {
                response = event["response"].clone();
                for (key, beside) in event.as_object().unwrap() {
                    if !["type", "sequence_number", "response"].contains(&key.as_str()) {
                        response[key] = beside.clone();
                    }
                }
                assert_eq!(kind.strip_prefix("response."), response["status"].as_str(), "{name}");
            }
            kind => {
                if let Some(growing) = kind.strip_suffix(".delta") {
                    let key = format!("{growing}/{}/{}", at("content_index"), at("summary_index"));
                    let more = format!(
                        "{}{}",
                        said[index][&key].as_str().unwrap_or_default(),
                        event["delta"].as_str().unwrap()
                    );
                    said[index][key] = more.into();
                } else if let Some(growing) = kind.strip_suffix(".done") {
                    let key = format!("{growing}/{}/{}", at("content_index"), at("summary_index"));
                    let whole = ["text", "refusal", "arguments", "input"].iter().find_map(|key| event[key].as_str());
                    if let (Some(whole), Some(said)) = (whole, said[index][&key].as_str()) {
                        assert_eq!(said, whole, "{name}: {kind}");
                    }
                }
            }
        }
    }
    response["output"] = items.into();
    response["id"] = id;
    response
}

/// What SDKs and validators promise themselves of a stream.
fn check_lifecycle(body: &str, name: &str) {
    let events = data(body);
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds[..2], ["response.created", "response.in_progress"], "{name}");
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{name}: {event}");
    }
    for (line, event) in body.lines().filter_map(|line| line.strip_prefix("event: ")).zip(&events) {
        assert_eq!(event["type"], line, "{name}");
    }
    for event in events.iter().filter(|event| event.get("item_id").is_some()) {
        let index = &event["output_index"];
        let item = events
            .iter()
            .find(|added| added["type"] == "response.output_item.added" && added["output_index"] == *index);
        let added = item.unwrap_or_else(|| panic!("{name}: {event} of no item"));
        assert_eq!(added["item"]["id"], event["item_id"], "{name}: {event}");
    }
    let last = &events[events.len() - 1];
    assert!(last["response"]["output"].is_array(), "{name}: {last}");
    let done: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "response.output_item.done")
        .map(|event| &event["item"])
        .collect();
    assert_eq!(done.len(), last["response"]["output"].as_array().unwrap().len(), "{name}");
    for item in done {
        assert!(last["response"]["output"].as_array().unwrap().contains(item), "{name}: {item}");
    }
}

#[expect(clippy::print_stderr, reason = "a test that replays traffic says how much")]
fn report(what: &str, count: usize) {
    eprintln!("replayed {count} {what}");
}

fn recordings() -> Vec<Recording> {
    recorded::recordings("/responses")
}

fn replies() -> impl Iterator<Item = Recording> {
    recordings().into_iter().filter(|recording| recording.is_ok() && !recording.is_stream())
}

fn streams() -> impl Iterator<Item = Recording> {
    recordings().into_iter().filter(Recording::is_stream)
}

// === Recorded traffic ===

#[test]
fn every_recorded_request_is_the_same_after_a_round_trip() {
    // The others are handshakes of web sockets, which send no body.
    let recordings: Vec<Recording> =
        recordings().into_iter().filter(|recording| !recording.request.is_empty()).collect();
    for recording in &recordings {
        let source: Value = serde_json::from_str(&recording.request).unwrap();
        assert_eq!(again(&recording.request), source, "{}", recording.name);
    }
    report("requests", recordings.len());
}

#[test]
fn every_recorded_reply_is_the_same_after_a_round_trip() {
    let mut count = 0;
    for recording in replies() {
        let source = value(recording.response.as_bytes());
        let reply = CODEC.decode_reply(recording.response.as_bytes()).unwrap();
        assert_eq!(reply_again(&reply), source, "{}", recording.name);
        assert_eq!(reply_again(&fold(&unfold(&reply))), source, "{} unfolded", recording.name);
        count += 1;
    }
    report("replies", count);
}

#[test]
fn every_recorded_stream_folds_to_what_an_independent_reader_makes_of_it() {
    let mut count = 0;
    for recording in streams() {
        let (events, end) = read(&CODEC, frames::frames(recording.response.as_bytes()));
        end.unwrap_or_else(|failure| panic!("{}: {failure}", recording.name));
        let expected = oracle(&recording.response, &recording.name);
        assert_eq!(reply_again(&fold(&events)), expected, "{}", recording.name);
        count += 1;
    }
    report("streams", count);
}

#[test]
fn every_recorded_stream_survives_being_written_and_read_again() {
    let mut count = 0;
    for recording in streams() {
        let (events, _) = read(&CODEC, frames::frames(recording.response.as_bytes()));
        let written = write(&events);
        check_lifecycle(&written, &recording.name);
        let expected = oracle(&recording.response, &recording.name);
        assert_eq!(oracle(&written, &recording.name), expected, "{}", recording.name);
        let (second, end) = read(&CODEC, frames::frames(written.as_bytes()));
        end.unwrap();
        assert_eq!(reply_again(&fold(&second)), expected, "{}", recording.name);
        count += 1;
    }
    report("streams, written and read again", count);
}

/// Event by event, item by item: the reader waits with reasoning until it has words or is done.
#[test]
fn every_recorded_stream_is_written_as_it_was_recorded() {
    let mut count = 0;
    for recording in streams() {
        let (events, _) = read(&CODEC, frames::frames(recording.response.as_bytes()));
        let (written, source) = (data(&write(&events)), data(&recording.response));
        let kinds = |events: &[Value]| -> Vec<String> {
            let mut events: Vec<&Value> = events.iter().collect();
            let last = events.pop();
            events.sort_by_key(|event| event["output_index"].as_u64());
            let spell = |event: &Value| format!("{} {} {}", event["type"], event["output_index"], event["obfuscation"]);
            events.into_iter().chain(last).map(spell).collect()
        };
        assert_eq!(kinds(&written), kinds(&source), "{}", recording.name);
        count += 1;
    }
    report("streams, event by event", count);
}

#[test]
fn every_recorded_stream_is_the_same_however_it_is_cut() {
    let mut count = 0;
    for recording in streams() {
        let whole = format!("{:?}", read(&CODEC, frames::frames(recording.response.as_bytes())).0);
        // The reader only ever sees whole frames, and a cut only concerns the events around it.
        let bytes = bytes::Bytes::from(recording.response.clone());
        let events: Vec<bytes::Bytes> = whole_events(&bytes);
        for pair in events.windows(2) {
            let pair = bytes::Bytes::from(pair.concat());
            let frames = frames::frames(&pair);
            let near = (0..pair.len()).filter(|at| pair.len() < 1200 || at % 97 == 0);
            for at in near {
                assert_eq!(split(&[pair.slice(..at), pair.slice(at..)]), frames, "{} cut at {at}", recording.name);
            }
        }
        let pieces: Vec<bytes::Bytes> = (0..bytes.len()).map(|at| bytes.slice(at..=at)).collect();
        assert_eq!(format!("{:?}", read(&CODEC, split(&pieces)).0), whole, "{} bytewise", recording.name);
        count += 1;
    }
    report("streams, cut at every byte", count);
}

fn whole_events(body: &bytes::Bytes) -> Vec<bytes::Bytes> {
    let mut splitter = Splitter::new(1 << 24);
    splitter.push(body.clone());
    let mut events: Vec<_> = splitter.by_ref().map(|event| event.unwrap().raw).collect();
    events.extend(splitter.finish().map(|event| event.raw));
    events
}

fn split(pieces: &[bytes::Bytes]) -> Vec<Frame> {
    let mut splitter = Splitter::new(1 << 24);
    let mut frames = Vec::new();
    for piece in pieces {
        splitter.push(piece.clone());
        frames
            .extend(splitter.by_ref().map(|event| event.unwrap()).filter(|event| !event.is_comment()).map(|e| e.frame));
    }
    frames.extend(splitter.finish().filter(|event| !event.is_comment()).map(|event| event.frame));
    frames
}

#[test]
fn every_recorded_error_says_whose_fault_it_is() {
    let mut count = 0;
    for recording in recordings().iter().filter(|recording| !recording.is_ok()) {
        let status = StatusCode::from_u16(recording.status).unwrap();
        let failure = CODEC.decode_error(status, recording.response.as_bytes());
        let source = value(recording.response.as_bytes());
        let kind = if recording.status == 401 { FailureKind::Credential } else { FailureKind::Rejected };
        assert_eq!(failure.kind, kind, "{}", recording.name);
        let message = [&source["error"]["message"], &source["error"], &source["detail"]];
        assert_eq!(failure.message, message.into_iter().find_map(Value::as_str).unwrap(), "{}", recording.name);
        count += 1;
    }
    report("errors", count);
}

// === Requests ===

fn request(fields: &Value) -> Value {
    let mut request = json!({"model":"m"});
    for (key, field) in fields.as_object().unwrap() {
        request[key] = field.clone();
    }
    request
}

/// Everything this dialect can say comes back as it was said. Each row: a name, and fields of a request.
#[test]
fn requests_of_every_form_are_the_same_after_a_round_trip() {
    for row in include_str!("tables/responses_forms.jsonl").lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let source = request(&row["fields"]);
        assert_eq!(again(&source.to_string()), source, "{row}");
    }
}

#[test]
fn x_key_order_and_unicode_escape_stable() {
    let items = r#"[{"type":"message","role":"user","content":[{"type":"input_text","text":"caf\u00e9 \ud83d \/ é"}]},{"type":"function_call","call_id":"c","name":"f","arguments":"{\"b\": \"\\u00e9\",\"a\":1.0}"}]"#;
    let body = format!(r#"{{"model":"m","input":{items}}}"#);
    let decoded = CODEC.decode_request(body.as_bytes()).unwrap();
    let encoded = String::from_utf8(CODEC.encode_request(&decoded, &mut Losses::default())).unwrap();
    assert_eq!(encoded, body);
}

#[test]
fn malformed_requests_name_the_place() {
    for (body, pointer) in [
        (r#"{"input":"x"}"#, "/model"),
        (r#"{"model":"m","input":7}"#, "/input"),
        (r#"{"model":"m","input":[7]}"#, "/input/0"),
        (r#"{"model":"m","input":[{"role":"robot","content":""}]}"#, "/input/0/role"),
        (r#"{"model":"m","input":[{"role":"user"}]}"#, "/input/0/content"),
        (
            r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":1}]}]}"#,
            "/input/0/content/0/text",
        ),
        (r#"{"model":"m","input":[{"type":"function_call","name":"f"}]}"#, "/input/0/call_id"),
        (r#"{"model":"m","input":[{"type":"function_call_output","call_id":"c"}]}"#, "/input/0/output"),
        (r#"{"model":"m","tools":[{"type":"function"}]}"#, "/tools/0/name"),
        (r#"{"model":"m","max_output_tokens":"many"}"#, "/max_output_tokens"),
        (r#"{"model":"m","model":"n"}"#, ""),
    ] {
        let fault = CODEC.decode_request(body.as_bytes()).unwrap_err();
        assert_eq!(fault.pointer, pointer, "{body}: {fault}");
    }
}

/// The tool loop appends what the model made, reasoning first, and the results; none of it may lose its partner or gain a role.
#[test]
fn oai_resp_reasoning_item_pairs_with_following_item() {
    use bifrost_providers::chat::{ContentForm, Extras, Message, Part, PartKind, Role, ToolResult};
    let made = json!([{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"x"},
        {"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[
            {"type":"output_text","text":"a","annotations":[],"logprobs":[]},
            {"type":"output_text","text":"b","annotations":[],"logprobs":[]}]},
        {"type":"function_call","id":"fc_1","call_id":"c","name":"f","arguments":"{}","status":"completed"},
        {"type":"function_call","id":"fc_2","call_id":"d","name":"f","arguments":"{}","status":"completed"}]);
    let reply = CODEC.decode_reply(response(&made).to_string().as_bytes()).unwrap();
    let mut chat = CODEC.decode_request(request(&json!({"input":"hi"})).to_string().as_bytes()).unwrap();
    let message = |role, parts: Vec<Part>| Message {
        role,
        parts,
        content: ContentForm::Parts,
        name: None,
        extras: Extras::default(),
        pointer: String::new(),
    };
    chat.messages.push(message(Role::Assistant, reply.choices[0].parts.clone()));
    for id in ["c", "d"] {
        let parts = vec![PartKind::Text("ok".into()).into()];
        let result = ToolResult { call_id: id.into(), parts, content: ContentForm::Plain, is_error: Some(false) };
        chat.messages.push(message(Role::Tool, vec![PartKind::ToolResult(result).into()]));
    }
    let sent = value(&CODEC.encode_request(&chat, &mut Losses::default()));
    let mut expected = vec![json!({"type":"message","role":"user","content":"hi"})];
    expected.extend(made.as_array().unwrap().iter().cloned());
    expected.extend(["c", "d"].map(|id| json!({"type":"function_call_output","call_id":id,"output":"ok"})));
    assert_eq!(sent["input"], json!(expected));
}

#[test]
fn oai_resp_item_status_and_generated_ids_stripped_for_openai_fallback() {
    use bifrost_providers::dialect::anthropic_messages::AnthropicMessages;
    let holds_items_of_ours = |body: &[u8]| Dialect::OpenAiResponses.holds_what_was_made_here(body);
    let theirs = recordings();
    assert!(!theirs.iter().any(|recording| holds_items_of_ours(recording.request.as_bytes())));
    let claude = json!({"id":"msg_01","type":"message","role":"assistant","model":"claude","stop_reason":"tool_use","content":[
        {"type":"thinking","thinking":"hm","signature":"c2ln"},{"type":"text","text":"so"},
        {"type":"tool_use","id":"toolu_1","name":"f","input":{}}],"usage":{"input_tokens":1,"output_tokens":2}});
    let reply = AnthropicMessages.decode_reply(claude.to_string().as_bytes()).unwrap();
    let shown = value(&CODEC.encode_reply(&reply, None, &mut Losses::default()));
    assert_eq!(shown["output"][0]["encrypted_content"], "anthropic-claude-v1:c2ln");
    let asked = request(&json!({"input":shown["output"]}));
    assert!(holds_items_of_ours(asked.to_string().as_bytes()));
    let decoded = CODEC.decode_request(asked.to_string().as_bytes()).unwrap();
    let mut losses = Losses::default();
    let sent = value(&CODEC.encode_request(&decoded, &mut losses));
    // OpenAI has neither made these ids nor sealed this reasoning, and would refuse both.
    assert_eq!(
        sent["input"],
        json!([
        {"type":"message","role":"assistant","content":[{"type":"output_text","text":"so","annotations":[],"logprobs":[]}]},
        {"type":"function_call","call_id":"toolu_1","name":"f","arguments":"{}"}])
    );
    assert_eq!(losses.iter().map(|loss| loss.pointer.as_str()).collect::<Vec<_>>(), ["/input/0"]);
    // Its own provider gets it back as it was.
    let back = value(&AnthropicMessages.encode_request(&decoded, &mut Losses::default()));
    assert_eq!(back["messages"][1]["content"], claude["content"]);
}

#[test]
fn oai_resp_previous_response_id_sticky_or_expanded() {
    use bifrost_providers::dialect::openai_responses::depends_on_provider;
    let field = |fields: Value| {
        let decoded = CODEC.decode_request(request(&fields).to_string().as_bytes()).unwrap();
        depends_on_provider(&decoded).map(|(field, _)| field)
    };
    assert_eq!(field(json!({"input":"x"})), None);
    assert_eq!(field(json!({"input":"x","previous_response_id":null,"background":false,"store":true})), None);
    assert_eq!(field(json!({"input":"x","previous_response_id":"resp_1"})), Some("previous_response_id"));
    assert_eq!(field(json!({"input":"x","conversation":"conv_1"})), Some("conversation"));
    assert_eq!(field(json!({"input":"x","prompt":{"id":"p"}})), Some("prompt"));
    assert_eq!(field(json!({"input":"x","background":true})), Some("background"));
    assert_eq!(field(json!({"input":[{"type":"item_reference","id":"msg_1"}]})), Some("input"));
    assert_eq!(field(json!({"input":[{"id":"msg_1"}]})), Some("input"));
}

// === Replies ===

fn response(output: &Value) -> Value {
    json!({"id":"resp_1","object":"response","created_at":7,"status":"completed","error":null,"incomplete_details":null,
        "model":"m","output":output,"usage":{"input_tokens":3,"input_tokens_details":{"cached_tokens":1},"output_tokens":2,
        "output_tokens_details":{"reasoning_tokens":1},"total_tokens":5},"tools":[],"metadata":{}})
}

#[test]
fn replies_of_every_form_are_the_same_after_a_round_trip() {
    let text = |text: &str| json!({"type":"output_text","text":text,"annotations":[],"logprobs":[]});
    let cited = json!({"type":"output_text","text":"a","annotations":[{"type":"url_citation","url":"u","title":"t","start_index":0,"end_index":1},
        {"type":"file_citation","file_id":"f","filename":"n","index":0}],"logprobs":[{"token":"a","logprob":-0.50,"bytes":[97],"top_logprobs":[]}]});
    for output in [
        json!([]),
        json!([{"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[cited, text("b"), {"type":"refusal","refusal":"no"}],"phase":"final_answer"}]),
        json!([{"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[text("a")]},
            {"type":"message","id":"msg_2","role":"assistant","status":"completed","content":[text("b")],"of_tomorrow":[1]}]),
        json!([{"type":"message","id":"msg_1","role":"assistant","status":"incomplete","content":[]},
            {"type":"message","id":"msg_2","role":"assistant","content":[{"type":"output_text","text":""}]}]),
        json!([{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"a"},{"type":"summary_text","text":"b"}]},
            {"type":"reasoning","id":"rs_2","summary":[],"content":[{"type":"reasoning_text","text":"c"}],"encrypted_content":"x","format":"xai-responses-v1"},
            {"type":"reasoning","id":"rs_3","summary":[],"encrypted_content":"y","content":null},
            {"type":"reasoning","id":"rs_4","summary":[]}]),
        json!([{"type":"function_call","id":"fc_1","call_id":"c","name":"f","arguments":"","status":"completed","namespace":"n"},
            {"type":"custom_tool_call","id":"ctc_1","call_id":"d","name":"sh","input":"ls","status":"completed"}]),
        json!([{"type":"web_search_call","id":"ws_1","status":"completed","action":{"type":"search","query":"q"}},
            {"type":"image_generation_call","id":"ig_1","status":"completed","result":"iVBORw0KGgo="}]),
    ] {
        let source = response(&output);
        let reply = CODEC.decode_reply(source.to_string().as_bytes()).unwrap();
        assert_eq!(reply_again(&reply), source);
        assert_eq!(reply_again(&fold(&unfold(&reply))), source, "unfolded");
        let written = write(&unfold(&reply));
        check_lifecycle(&written, "written");
        assert_eq!(oracle(&written, "written"), source, "streamed");
        let (events, end) = read(&CODEC, frames::frames(written.as_bytes()));
        end.unwrap();
        assert_eq!(reply_again(&fold(&events)), source, "streamed and read again");
    }
}

/// A whole reply keeps it in its message; a stream, which has no event for it, shows it as a message of its own.
#[test]
fn a_part_of_a_kind_not_known_is_kept() {
    let news = json!({"type":"of_tomorrow","x":1});
    let text = json!({"type":"output_text","text":"a","annotations":[],"logprobs":[]});
    for content in [json!([text, news]), json!([news]), json!([news, text])] {
        let source = response(
            &json!([{"type":"message","id":"msg_1","role":"assistant","status":"completed","content":content}]),
        );
        let reply = CODEC.decode_reply(source.to_string().as_bytes()).unwrap();
        assert_eq!(reply_again(&reply), source);
        assert_eq!(reply_again(&fold(&unfold(&reply))), source);
        let written = write(&unfold(&reply));
        check_lifecycle(&written, "news");
        let items = oracle(&written, "news")["output"].clone();
        let shown: Vec<&Value> =
            items.as_array().unwrap().iter().flat_map(|item| item["content"].as_array().unwrap()).collect();
        assert_eq!(json!(shown), content, "{items}");
    }
}

#[test]
fn why_a_response_ended_is_told_and_its_own_word_is_kept() {
    let call =
        json!([{"type":"function_call","id":"fc_1","call_id":"c","name":"f","arguments":"{}","status":"completed"}]);
    for (status, reason, output, expected) in [
        ("completed", Value::Null, json!([]), FinishReason::Stop),
        ("completed", Value::Null, call, FinishReason::ToolCalls),
        ("incomplete", json!("max_output_tokens"), json!([]), FinishReason::Length),
        ("incomplete", json!("content_filter"), json!([]), FinishReason::ContentFilter),
        ("incomplete", json!("max_messages"), json!([]), FinishReason::Other),
        ("queued", Value::Null, json!([]), FinishReason::Other),
    ] {
        let mut source = response(&output);
        source["status"] = status.into();
        if !reason.is_null() {
            source["incomplete_details"] = json!({"reason":reason});
        }
        let reply = CODEC.decode_reply(source.to_string().as_bytes()).unwrap();
        assert_eq!(reply.choices[0].finish.reason, expected, "{status} {reason}");
        assert_eq!(reply_again(&reply), source);
        let last = data(&write(&unfold(&reply))).pop().unwrap();
        let terminal = if status == "incomplete" { "response.incomplete" } else { "response.completed" };
        assert_eq!((&last["type"], &last["response"]), (&json!(terminal), &source));
    }
}

#[test]
fn a_failed_response_is_no_reply() {
    let mut failed = response(&json!([]));
    failed["status"] = "failed".into();
    failed["error"] = json!({"code":"server_error","message":"m"});
    assert_eq!(CODEC.decode_reply(failed.to_string().as_bytes()).unwrap_err().pointer, "/error");
    let failure = CODEC.decode_error(StatusCode::OK, failed.to_string().as_bytes());
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Unavailable, "m"));
}

/// Bodies cut anywhere are refused, and none makes the codec panic.
#[test]
fn cut_bodies_are_refused() {
    let short = |recording: &&Recording| recording.request.len() < 3000 && recording.response.len() < 4000;
    for recording in recordings().iter().filter(short).take(20) {
        let end = recording.request.trim_end().len();
        for at in (0..end).step_by(13).filter(|at| recording.request.is_char_boundary(*at)) {
            assert!(
                CODEC.decode_request(&recording.request.as_bytes()[..at]).is_err(),
                "{} cut at {at}",
                recording.name
            );
        }
        for at in (0..recording.response.trim_end().len()).step_by(7) {
            let cut = &recording.response.as_bytes()[..at];
            assert!(CODEC.decode_reply(cut).is_err(), "{} cut at {at}", recording.name);
            CODEC.decode_error(StatusCode::BAD_GATEWAY, cut);
        }
    }
}

// === Streams ===

fn body(events: &[Value]) -> String {
    let mut body = String::new();
    for event in events {
        body.extend(["event: ", event["type"].as_str().unwrap(), "\ndata: ", &event.to_string(), "\n\n"]);
    }
    body
}

fn started() -> Value {
    let mut begun = response(&json!([]));
    begun["status"] = "in_progress".into();
    begun["usage"] = Value::Null;
    json!({"type":"response.created","sequence_number":0,"response":begun})
}

fn ended(output: &Value) -> Value {
    json!({"type":"response.completed","response":response(output)})
}

fn added(index: u32, item: &Value) -> Value {
    json!({"type":"response.output_item.added","output_index":index,"item":item})
}

fn done(index: u32, item: &Value) -> Value {
    json!({"type":"response.output_item.done","output_index":index,"item":item})
}

/// A stream of these events, read and folded.
fn streamed(events: &[Value], output: &Value) -> Value {
    let mut all = vec![started()];
    all.extend_from_slice(events);
    all.push(ended(output));
    let (events, end) = read(&CODEC, frames::frames(body(&all).as_bytes()));
    end.unwrap();
    reply_again(&fold(&events))["output"].clone()
}

/// Servers say some things only once, and not all of them as deltas: whatever was not said is taken from what is done.
#[test]
fn what_no_delta_brought_is_taken_from_the_end() {
    let message = json!({"type":"message","id":"msg_1","role":"assistant","status":"completed",
        "content":[{"type":"output_text","text":"hi","annotations":[{"type":"file_path","file_id":"f","index":0}],"logprobs":[]}]});
    let call =
        json!({"type":"function_call","id":"fc_1","call_id":"c","name":"f","arguments":"{}","status":"completed"});
    let thought =
        json!({"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"x"});
    let output = json!([thought, message, call]);
    let empty = |item: &Value, key: &str, value: Value| {
        let mut begun = item.clone();
        begun[key] = value;
        begun
    };
    let begun = [
        empty(&thought, "summary", json!([])),
        empty(&message, "content", json!([])),
        empty(&call, "arguments", json!("")),
    ];
    let items = [thought, message, call];
    let all = (0..).zip(begun.iter().zip(&items));
    let both: Vec<Value> = all.clone().flat_map(|(at, (begun, item))| [added(at, begun), done(at, item)]).collect();
    let starts: Vec<Value> = all.clone().map(|(at, (begun, _))| added(at, begun)).collect();
    let ends: Vec<Value> = all.map(|(at, (_, item))| done(at, item)).collect();
    for events in [vec![], both, ends] {
        assert_eq!(streamed(&events, &output), output, "{events:?}");
    }
    // A call is told at once, prose when it has words.
    let mut late = streamed(&starts, &output);
    late.as_array_mut().unwrap().rotate_left(1);
    assert_eq!(late, output);
}

#[test]
fn oai_resp_output_index_content_index_summary_index() {
    let delta = |kind: &str, key: &str, at: u32, more: &str| json!({"type":kind,"output_index":0,key:at,"item_id":"i","delta":more});
    let thought = json!({"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"a"},{"type":"summary_text","text":"b"}],
        "content":[{"type":"reasoning_text","text":"c"}],"encrypted_content":"z"});
    let begun = json!({"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"y"});
    let events = [
        added(0, &begun),
        delta("response.reasoning_summary_text.delta", "summary_index", 0, "a"),
        delta("response.reasoning_summary_text.delta", "summary_index", 1, "b"),
        delta("response.reasoning_text.delta", "content_index", 0, "c"),
        done(0, &thought),
    ];
    assert_eq!(streamed(&events, &json!([])), json!([thought]));
    let reply = CODEC.decode_reply(response(&json!([thought])).to_string().as_bytes()).unwrap();
    let written = write(&unfold(&reply));
    let places: Vec<String> = data(&written)
        .iter()
        .filter(|event| event["type"].as_str().unwrap().rsplit('.').next() == Some("delta"))
        .map(|event| {
            format!(
                "{} {} {} {}",
                event["output_index"], event["summary_index"], event["content_index"], event["delta"]
            )
        })
        .collect();
    assert_eq!(places, ["0 0 null \"a\"", "0 1 null \"b\"", "0 null 0 \"c\""]);
}

#[test]
fn events_of_items_that_only_this_dialect_knows_are_passed_on_in_their_place() {
    let begun = json!({"type":"web_search_call","id":"ws_1","status":"in_progress"});
    let search = json!({"type":"web_search_call","id":"ws_1","status":"completed","action":{"type":"search","query":"q"},"x":null});
    let about = |kind: &str| json!({"type":kind,"output_index":0,"item_id":"ws_1","sequence_number":99});
    let events = [
        started(),
        added(0, &begun),
        about("response.web_search_call.in_progress"),
        about("response.web_search_call.completed"),
        done(0, &search),
        json!({"type":"response.of_tomorrow","odd":[1.5]}),
        ended(&json!([search])),
    ];
    let (events, end) = read(&CODEC, frames::frames(body(&events).as_bytes()));
    end.unwrap();
    let written = write(&events);
    check_lifecycle(&written, "search");
    let kinds: Vec<String> =
        data(&written).iter().skip(2).map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        kinds,
        [
            "response.output_item.added",
            "response.web_search_call.in_progress",
            "response.web_search_call.completed",
            "response.output_item.done",
            "response.of_tomorrow",
            "response.completed"
        ]
    );
    assert!(written.contains("[1.5]"), "{written}");
    assert_eq!(oracle(&written, "search")["output"], json!([search]));
}

#[test]
fn citations_and_probabilities_grow_with_their_text() {
    let citation = |at: u32| json!({"type":"url_citation","url":"u","title":"t","start_index":at,"end_index":2});
    let token = json!({"token":"hi","logprob":-0.1,"bytes":[104,105],"top_logprobs":[]});
    let message = json!({"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[
        {"type":"output_text","text":"hi","annotations":[citation(0), citation(1)],"logprobs":[token]}]});
    let begun = json!({"type":"message","id":"msg_1","role":"assistant","status":"in_progress","content":[]});
    let at = |kind: &str, key: &str, field: Value| json!({"type":kind,"output_index":0,"content_index":0,"item_id":"msg_1",key:field});
    let mut delta = at("response.output_text.delta", "delta", json!("hi"));
    delta["logprobs"] = json!([token]);
    let events = [
        started(),
        added(0, &begun),
        at("response.content_part.added", "part", json!({"type":"output_text","text":"","annotations":[]})),
        delta,
        at("response.output_text.annotation.added", "annotation", citation(0)),
        at("response.output_text.annotation.added", "annotation", citation(1)),
        done(0, &message),
        ended(&json!([message])),
    ];
    let (events, end) = read(&CODEC, frames::frames(body(&events).as_bytes()));
    end.unwrap();
    assert_eq!(reply_again(&fold(&events))["output"], json!([message]));
    let written = data(&write(&events));
    let of = |kind: &str| written.iter().filter(|event| event["type"] == kind).collect::<Vec<_>>();
    assert_eq!(of("response.output_text.delta")[0]["logprobs"], json!([token]));
    let numbers: Vec<&Value> =
        of("response.output_text.annotation.added").iter().map(|event| &event["annotation_index"]).collect();
    assert_eq!(numbers, [0, 1]);
    assert_eq!(of("response.output_item.done")[0]["item"], message);
    // Chat has both, beside the message.
    let chat = bifrost_providers::dialect::openai_chat::OpenAiChat;
    let mut losses = Losses::default();
    let whole = value(&chat.encode_reply(&fold(&events), None, &mut losses));
    let nested =
        |at: u32| json!({"type":"url_citation","url_citation":{"url":"u","title":"t","start_index":at,"end_index":2}});
    assert_eq!(whole["choices"][0]["message"]["annotations"], json!([nested(0), nested(1)]));
    assert_eq!(whole["choices"][0]["logprobs"], json!({"content":[token],"refusal":null}));
    assert!(losses.is_empty(), "{losses:?}");
    let back = chat.decode_reply(whole.to_string().as_bytes()).unwrap();
    let again = value(&CODEC.encode_reply(&back, None, &mut Losses::default()));
    assert_eq!(again["output"][0]["content"], message["content"]);
    let mut writer = chat.writer(WriterOptions::default());
    let mut out = Vec::new();
    for event in &events {
        writer.write(event, None, &mut out);
    }
    assert!(writer.losses().is_empty(), "{:?}", writer.losses());
    let chunks = String::from_utf8(out).unwrap();
    assert!(
        chunks.contains(&format!(r#""annotations":[{}]"#, nested(0))) && chunks.contains("\"logprobs\":{\"content\""),
        "{chunks}"
    );
}

#[test]
fn oai_resp_incomplete_and_failed_terminal_events() {
    let text = json!({"type":"message","id":"msg_1","role":"assistant","status":"incomplete","content":[{"type":"output_text","text":"a","annotations":[],"logprobs":[]}]});
    let mut last = ended(&json!([text]));
    last["type"] = "response.incomplete".into();
    last["response"]["status"] = "incomplete".into();
    last["response"]["incomplete_details"] = json!({"reason":"max_output_tokens"});
    let (events, end) = read(&CODEC, frames::frames(body(&[started(), last]).as_bytes()));
    end.unwrap();
    assert_eq!(fold(&events).choices[0].finish.reason, FinishReason::Length);
    let failed = json!({"type":"response.failed","response":{"status":"failed","error":{"code":"rate_limit_exceeded","message":"m"}}});
    let flat = json!({"type":"error","code":"rate_limit_exceeded","message":"m","param":null,"sequence_number":3});
    let nested =
        json!({"type":"error","error":{"type":"tokens","code":"rate_limit_exceeded","message":"m","param":null}});
    for event in [failed, flat, nested] {
        for before in [vec![], vec![started(), added(0, &text)]] {
            let mut all = before;
            all.push(event.clone());
            let (_, end) = read(&CODEC, frames::frames(body(&all).as_bytes()));
            let failure = end.unwrap_err();
            assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::RateLimited, "m"), "{event}");
            assert_eq!(failure.status.unwrap().as_u16(), 429);
        }
    }
    let (_, cut) = read(&CODEC, frames::frames(body(&[started(), added(0, &text)]).as_bytes()));
    assert_eq!(cut.unwrap_err().kind, FailureKind::Broken);
}

#[test]
fn an_error_in_mid_stream_is_one_event_that_sdks_raise() {
    let problem = Problem {
        status: StatusCode::TOO_MANY_REQUESTS,
        kind: "rate_limit".into(),
        code: None,
        param: None,
        message: "slow \"down\"".into(),
        annex: None,
    };
    let mut writer = CODEC.writer(WriterOptions::default());
    let mut out = Vec::new();
    let (events, _) = read(&CODEC, frames::frames(body(&[started()]).as_bytes()));
    for event in &events {
        writer.write(event, None, &mut out);
    }
    writer.fail(&problem, &mut out);
    let last = data(&String::from_utf8(out.clone()).unwrap()).pop().unwrap();
    let said = json!({"code":"rate_limit","message":"slow \"down\"","param":null});
    for (key, field) in said.as_object().unwrap() {
        assert_eq!((&last[key], &last["error"][key]), (field, field));
    }
    assert_eq!((&last["type"], &last["sequence_number"]), (&json!("error"), &json!(2)));
    let (_, end) = read(&CODEC, frames::frames(&out));
    assert_eq!(end.unwrap_err().kind, FailureKind::RateLimited);
}

#[test]
fn hostile_frames_are_failures_and_never_panics() {
    for hostile in ["{", "null", "[]", "\"x\"", r#"{"type":"response.output_text.delta","output_index":-1}"#, "{}"] {
        let all = body(&[started()]) + &format!("data: {hostile}\n\n");
        let (_, end) = read(&CODEC, frames::frames(all.as_bytes()));
        assert_eq!(end.unwrap_err().kind, FailureKind::Unreadable, "{hostile}");
    }
    let early = body(&[added(0, &json!({"type":"message"}))]);
    let (_, end) = read(&CODEC, frames::frames(early.as_bytes()));
    assert_eq!(end.unwrap_err().kind, FailureKind::Unreadable);
}

// === Whatever a server sends ===

/// Pieces of a stream, whole and damaged, that are put together at random.
const PIECES: [&str; 20] = [
    r#"{"type":"response.created","response":{"id":"r","model":"m","status":"in_progress"}}"#,
    r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"a","content":[]}}"#,
    r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"reasoning","id":"b","summary":[]}}"#,
    r#"{"type":"response.output_item.added","output_index":2,"item":{"type":"function_call","id":"c","call_id":"d","name":"f"}}"#,
    r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"web_search_call","id":"e"}}"#,
    r#"{"type":"response.output_item.added","item":{"type":"custom_tool_call"}}"#,
    r#"{"type":"response.content_part.added","output_index":0,"content_index":0,"part":{"type":"output_text","text":""}}"#,
    r#"{"type":"response.content_part.added","output_index":0,"content_index":1,"part":{"type":"refusal"}}"#,
    r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"x","logprobs":[{"token":"x"}]}"#,
    r#"{"type":"response.refusal.delta","output_index":0,"content_index":1,"delta":"y"}"#,
    r#"{"type":"response.reasoning_summary_text.delta","output_index":1,"summary_index":0,"delta":"z"}"#,
    r#"{"type":"response.reasoning_text.delta","output_index":1,"content_index":0,"delta":"z"}"#,
    r#"{"type":"response.function_call_arguments.delta","output_index":2,"delta":"{}"}"#,
    r#"{"type":"response.output_text.annotation.added","output_index":0,"content_index":0,"annotation":{"type":"x"}}"#,
    r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"message","id":"a","status":"completed","content":[{"type":"output_text","text":"xq"},{"type":"odd"}]}}"#,
    r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"reasoning","id":"b","summary":[{"type":"summary_text","text":"z"}],"encrypted_content":"s"}}"#,
    r#"{"type":"response.output_item.done","output_index":2,"item":{"type":"function_call","id":"c","call_id":"d","name":"f","arguments":"{}"}}"#,
    r#"{"type":"response.content_part.done","output_index":0,"content_index":0,"part":{"type":"output_text","text":"x","annotations":[{"type":"x"}]}}"#,
    r#"{"type":"response.tomorrow","x":1}"#,
    r#"{"type":"response.completed","response":{"id":"r","status":"completed","output":[{"type":"reasoning","id":"b","summary":[]},{"type":"function_call","call_id":"q","name":"g","arguments":""}]}}"#,
];

proptest::proptest! {
    /// Events in any order, left out or repeated, are a lawful reply or a failure (the reader checks itself here), and what
    /// was read so far can be written to a client, whole lives and all.
    #[test]
    fn any_order_of_events_is_lawful_or_refused(order in proptest::collection::vec(0..PIECES.len(), 0..24)) {
        let frames = std::iter::once(&0).chain(&order).map(|at| Frame { event: None, data: PIECES[*at].into() });
        let (mut events, end) = read(&CODEC, frames);
        if let Err(failure) = end {
            assert!(!failure.message.contains("out of order"), "{failure}");
            // What was open when it broke stays open; a client is told by an error event.
            events.retain(|event| !matches!(event, ChatEvent::Stop { .. }));
        } else {
            check_lifecycle(&write(&events), "any order");
        }
        fold(&events);
    }

    /// No single changed byte makes reader, decoder or writer panic.
    #[test]
    fn damaged_events_never_panic(which in 0..PIECES.len(), at: proptest::sample::Index, byte: u8) {
        let mut damaged = PIECES[which].as_bytes().to_vec();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        let frames = [PIECES[0].into(), PIECES[1].into(), bytes::Bytes::from(damaged.clone()), PIECES[19].into()];
        let (events, end) = read(&CODEC, frames.map(|data| Frame { event: None, data }));
        if end.is_ok() {
            write(&events);
        }
        let _ = (CODEC.decode_reply(&damaged), CODEC.decode_request(&damaged));
        CODEC.decode_error(StatusCode::OK, &damaged);
    }
}

#[test]
fn an_item_of_a_kind_that_is_no_word_is_refused_with_its_place() {
    let reply = |kind: Value| response(&json!([{"type": kind, "x": 1}])).to_string();
    assert!(CODEC.decode_reply(reply(json!("of_tomorrow")).as_bytes()).is_ok());
    let fault = CODEC.decode_reply(reply(json!([{"type": "output_text"}])).as_bytes()).unwrap_err();
    assert_eq!(fault.pointer, "/output/0/type");
}
