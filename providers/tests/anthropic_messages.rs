//! Replays recorded Anthropic traffic through the codec, and holds it to the named promises of this dialect.
#![cfg(test)]

#[path = "support/fold.rs"]
mod fold;
#[path = "support/frames.rs"]
mod frames;
#[path = "support/recorded.rs"]
mod recorded;
#[path = "support/replay.rs"]
mod replay;

use bifrost_providers::dialect::anthropic_messages::AnthropicMessages;
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

const CODEC: AnthropicMessages = AnthropicMessages;

// === Tools of the tests ===

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(bytes)))
}

/// A request, decoded and encoded again for its own dialect.
fn again(request: &str) -> Value {
    let mut losses = Losses::default();
    let decoded = CODEC.decode_request(request.as_bytes()).unwrap();
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
fn write(events: &[ChatEvent]) -> Vec<u8> {
    let mut writer = CODEC.writer(WriterOptions::default());
    let mut out = Vec::new();
    for event in events {
        writer.write(event, None, &mut out);
    }
    assert!(writer.losses().is_empty(), "{:?}", writer.losses());
    out
}

fn body(events: &[Value]) -> String {
    let mut body = String::new();
    for event in events {
        let name = event["type"].as_str().unwrap();
        body.extend(["event: ", name, "\ndata: ", &event.to_string(), "\n\n"]);
    }
    body
}

fn started() -> Value {
    json!({"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],
        "stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":1}}})
}

fn block_start(index: u32, block: &Value) -> Value {
    json!({"type":"content_block_start","index":index,"content_block":block})
}

fn block_delta(index: u32, delta: &Value) -> Value {
    json!({"type":"content_block_delta","index":index,"delta":delta})
}

fn block_stop(index: u32) -> Value {
    json!({"type":"content_block_stop","index":index})
}

fn ended(reason: &str) -> [Value; 2] {
    [
        json!({"type":"message_delta","delta":{"stop_reason":reason,"stop_sequence":null},"usage":{"output_tokens":9}}),
        json!({"type":"message_stop"}),
    ]
}

/// A stream of one message with these block events, read and folded.
fn message(events: &[Value], reason: &str) -> ChatReply {
    let mut all = vec![started()];
    all.extend_from_slice(events);
    all.extend(ended(reason));
    let (events, end) = read(&CODEC, frames::frames(body(&all).as_bytes()));
    end.unwrap();
    fold(&events)
}

/// An independent reading of a stream, by the rules of the API reference: what official accumulators do.
fn oracle(body: &str) -> Value {
    let mut message = Value::Null;
    let mut json_text: Vec<String> = Vec::new();
    for line in body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]") {
        let event: Value = serde_json::from_str(line).unwrap();
        let at = usize::try_from(event["index"].as_u64().unwrap_or(0)).unwrap();
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
                json_text.push(String::new());
            }
            "content_block_delta" => grow(&mut message["content"][at], &mut json_text[at], &event["delta"]),
            "content_block_stop" if !json_text[at].is_empty() => {
                message["content"][at]["input"] = serde_json::from_str(&json_text[at]).unwrap();
            }
            "message_delta" => {
                for (key, field) in event["delta"].as_object().unwrap() {
                    message[key] = field.clone();
                }
                for (key, count) in event["usage"].as_object().unwrap() {
                    if !count.is_null() || message["usage"].get(key).is_none() {
                        message["usage"][key] = count.clone();
                    }
                }
                if let Some(context) = event.get("context_management") {
                    message["context_management"] = context.clone();
                }
            }
            _ => {}
        }
    }
    message
}

fn grow(block: &mut Value, json_text: &mut String, delta: &Value) {
    let mut append = |key: &str| {
        let grown = format!("{}{}", block[key].as_str().unwrap(), delta[key].as_str().unwrap());
        block[key] = grown.into();
    };
    match delta["type"].as_str().unwrap() {
        "text_delta" => append("text"),
        "thinking_delta" => append("thinking"),
        "signature_delta" => append("signature"),
        "input_json_delta" => json_text.push_str(delta["partial_json"].as_str().unwrap()),
        "citations_delta" => {
            if !block["citations"].is_array() {
                block["citations"] = json!([]);
            }
            block["citations"].as_array_mut().unwrap().push(delta["citation"].clone());
        }
        other => panic!("unknown delta {other}"),
    }
}

/// Empty text blocks say nothing, and a fold leaves them out.
fn without_void(mut message: Value) -> Value {
    if let Some(content) = message["content"].as_array_mut() {
        content.retain(|block| block["type"] != "text" || block["text"] != "");
    }
    message
}

#[expect(clippy::print_stderr, reason = "a test that replays traffic says how much")]
fn report(what: &str, count: usize) {
    eprintln!("replayed {count} {what}");
}

fn recordings() -> Vec<Recording> {
    recorded::recordings("/messages")
}

// === Recorded traffic ===

#[test]
fn every_recorded_request_is_the_same_after_a_round_trip() {
    let recordings = recordings();
    for recording in &recordings {
        let source: Value = serde_json::from_str(&recording.request).unwrap();
        assert_eq!(again(&recording.request), source, "{}", recording.name);
    }
    report("requests", recordings.len());
}

#[test]
fn every_recorded_reply_is_the_same_after_a_round_trip() {
    let mut count = 0;
    for recording in recordings().iter().filter(|recording| recording.is_ok() && !recording.is_stream()) {
        let source: Value = serde_json::from_str(&recording.response).unwrap();
        let reply = CODEC.decode_reply(recording.response.as_bytes()).unwrap();
        assert_eq!(reply_again(&reply), source, "{}", recording.name);
        let usage = reply.usage.as_ref().unwrap();
        let sum = ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"]
            .iter()
            .map(|key| source["usage"][key].as_u64().unwrap())
            .sum::<u64>();
        assert_eq!(usage.input, sum, "{}", recording.name);
        assert_eq!(reply_again(&fold(&unfold(&reply))), without_void(source), "{}", recording.name);
        count += 1;
    }
    report("replies", count);
}

#[test]
fn every_recorded_stream_folds_to_what_an_independent_reader_makes_of_it() {
    let mut count = 0;
    for recording in recordings().iter().filter(|recording| recording.is_stream()) {
        let (events, end) = read(&CODEC, frames::frames(recording.response.as_bytes()));
        end.unwrap();
        let folded = reply_again(&fold(&events));
        let expected = without_void(oracle(&recording.response));
        assert_eq!(folded, expected, "{}", recording.name);
        count += 1;
    }
    report("streams", count);
}

#[test]
fn every_recorded_stream_is_the_same_however_it_is_cut() {
    let mut count = 0;
    for recording in recordings().iter().filter(|recording| recording.is_stream()) {
        let whole = format!("{:?}", read(&CODEC, frames::frames(recording.response.as_bytes())).0);
        // The reader only ever sees whole frames, and a cut only concerns the events around it.
        let bytes = bytes::Bytes::from(recording.response.clone());
        let events: Vec<bytes::Bytes> = whole_events(&bytes);
        for pair in events.windows(2) {
            let pair = bytes::Bytes::from(pair.concat());
            let frames = frames::frames(&pair);
            for at in 0..pair.len() {
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
fn every_recorded_stream_survives_being_written_and_read_again() {
    let mut count = 0;
    for recording in recordings().iter().filter(|recording| recording.is_stream()) {
        let (events, _) = read(&CODEC, frames::frames(recording.response.as_bytes()));
        let written = write(&events);
        let (second, end) = read(&CODEC, frames::frames(&written));
        end.unwrap();
        assert_eq!(reply_again(&fold(&second)), reply_again(&fold(&events)), "{}", recording.name);
        let text = String::from_utf8(written).unwrap();
        assert_eq!(without_void(oracle(&text)), without_void(oracle(&recording.response)), "{}", recording.name);
        count += 1;
    }
    report("streams, written and read again", count);
}

#[test]
fn every_recorded_error_says_whose_fault_it_is() {
    let mut count = 0;
    for recording in recordings().iter().filter(|recording| !recording.is_ok()) {
        let status = StatusCode::from_u16(recording.status).unwrap();
        let failure = CODEC.decode_error(status, recording.response.as_bytes());
        let source: Value = serde_json::from_str(&recording.response).unwrap();
        let kind = if recording.status == 401 { FailureKind::Credential } else { FailureKind::Rejected };
        assert_eq!(failure.kind, kind, "{}", recording.name);
        assert_eq!(failure.message, source["error"]["message"], "{}", recording.name);
        assert_eq!(failure.provider_type.as_deref(), source["error"]["type"].as_str());
        count += 1;
    }
    report("errors", count);
}

// === Streams ===

#[test]
fn anth_stream_event_names_and_data_type_match() {
    let events = body(&[started()])
        + "event: ping\ndata: {\"type\": \"ping\"}\n\n"
        + &body(&[
            block_start(0, &json!({"type":"text","text":""})),
            block_delta(0, &json!({"type":"text_delta","text":"a"})),
        ])
        + "data: {\"type\": \"ping\"}\n\n"
        + "event: content_block_stop\ndata: {\"index\":0}\n\n"
        + &body(&ended("end_turn"));
    let (events, end) = read(&CODEC, frames::frames(events.as_bytes()));
    end.unwrap();
    let written = String::from_utf8(write(&events)).unwrap();
    let mut lines = written.lines();
    let mut names = Vec::new();
    while let (Some(event), Some(data), Some("")) = (lines.next(), lines.next(), lines.next()) {
        let name = event.strip_prefix("event: ").unwrap();
        assert_eq!(value(data.strip_prefix("data: ").unwrap().as_bytes())["type"], name);
        names.push(name.to_owned());
    }
    assert_eq!(
        names,
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
}

#[test]
fn anth_stream_block_index_strictly_increasing_with_server_tools() {
    let search = json!({"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}});
    let found = json!({"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[]});
    let reply = message(
        &[
            block_start(0, &search),
            block_delta(0, &json!({"type":"input_json_delta","partial_json":"{\"query\":"})),
            block_delta(0, &json!({"type":"input_json_delta","partial_json":"\"x\"}"})),
            block_stop(0),
            block_start(1, &found),
            block_stop(1),
            block_start(2, &json!({"type":"text","text":"so"})),
            block_stop(2),
        ],
        "end_turn",
    );
    let text = String::from_utf8(write(&unfold(&reply))).unwrap();
    let indexes: Vec<u64> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| value(data.as_bytes()))
        .filter(|event| event["type"] == "content_block_start")
        .map(|event| event["index"].as_u64().unwrap())
        .collect();
    assert_eq!(indexes, [0, 1, 2]);
    let content = &reply_again(&reply)["content"];
    assert_eq!(content[0]["input"], json!({"query":"x"}));
    assert_eq!(content[1], found);
    assert_eq!(content[2]["text"], "so");
}

#[test]
fn anth_stream_input_json_delta_empty_first() {
    let tool = json!({"type":"tool_use","id":"toolu_1","name":"f","input":{}});
    let empty = json!({"type":"input_json_delta","partial_json":""});
    let none = message(&[block_start(0, &tool), block_delta(0, &empty), block_stop(0)], "tool_use");
    assert_eq!(reply_again(&none)["content"][0]["input"], json!({}));
    let more = json!({"type":"input_json_delta","partial_json":"{\"a\":1}"});
    let some = [block_start(0, &tool), block_delta(0, &empty), block_delta(0, &more), block_stop(0)];
    assert_eq!(reply_again(&message(&some, "tool_use"))["content"][0]["input"], json!({"a":1}));
    let whole = json!({"type":"tool_use","id":"toolu_1","name":"f","input":{"b":2}});
    let at_once = message(&[block_start(0, &whole), block_stop(0)], "tool_use");
    assert_eq!(reply_again(&at_once)["content"][0]["input"], json!({"b":2}));
}

#[test]
fn anth_stream_usage_message_start_plus_delta_cumulative() {
    let mut start = started();
    start["message"]["usage"] = json!({"input_tokens":10,"cache_creation_input_tokens":5,"cache_read_input_tokens":7,
        "output_tokens":1,"service_tier":"standard"});
    let delta = |usage: Value| json!({"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":usage});
    let all = [
        start,
        delta(json!({"output_tokens":4})),
        delta(json!({"output_tokens":20,"input_tokens":12,"cache_read_input_tokens":null})),
        json!({"type":"message_stop"}),
    ];
    let (events, end) = read(&CODEC, frames::frames(body(&all).as_bytes()));
    end.unwrap();
    let usage = fold(&events).usage.unwrap();
    assert_eq!((usage.input, usage.output), (24, 20));
    assert_eq!((usage.cache_read, usage.cache_write), (Some(7), Some(5)));
    assert!(usage.raw.unwrap().1.get().contains("service_tier"));
}

#[test]
fn anth_stream_error_event_after_200() {
    let error = json!({"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}});
    for before in [vec![], vec![started(), block_start(0, &json!({"type":"text","text":"a"}))]] {
        let mut all = before;
        all.push(error.clone());
        let (_, end) = read(&CODEC, frames::frames(body(&all).as_bytes()));
        let failure = end.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unavailable);
        assert_eq!(failure.status.unwrap().as_u16(), 529);
        assert_eq!(failure.message, "Overloaded");
    }
    let mut out = Vec::new();
    let problem = Problem {
        status: StatusCode::from_u16(529).unwrap(),
        kind: "overloaded_error".into(),
        code: None,
        param: None,
        message: "Overloaded".into(),
        annex: None,
    };
    CODEC.writer(WriterOptions::default()).fail(&problem, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), format!("event: error\ndata: {error}\n\n"));
}

#[test]
fn anth_stream_unknown_event_forwarded() {
    let news = r#"{"type":"message_news","index":"odd","delta":[1.50]}"#;
    let all = body(&[started()]) + &format!("event: message_news\ndata: {news}\n\n") + &body(&ended("end_turn"));
    let (events, end) = read(&CODEC, frames::frames(all.as_bytes()));
    end.unwrap();
    let written = String::from_utf8(write(&events)).unwrap();
    assert!(written.contains(&format!("event: message_news\ndata: {news}\n\n")), "{written}");
}

#[test]
fn a_stream_that_ends_early_is_broken_unless_its_stop_reason_was_seen() {
    let text = block_start(0, &json!({"type":"text","text":"a"}));
    let (_, cut) = read(&CODEC, frames::frames(body(&[started(), text.clone()]).as_bytes()));
    assert_eq!(cut.unwrap_err().kind, FailureKind::Broken);
    let [delta, _] = ended("max_tokens");
    let (events, complete) = read(&CODEC, frames::frames(body(&[started(), text, delta]).as_bytes()));
    complete.unwrap();
    assert_eq!(fold(&events).choices[0].finish.reason, FinishReason::Length);
}

#[test]
fn hostile_frames_are_failures_and_never_panics() {
    for hostile in ["{", "null", "[]", "\"x\"", r#"{"type":"content_block_delta","index":-1}"#, "\u{feff}{}", "{}"] {
        let all = body(&[started()]) + &format!("data: {hostile}\n\n");
        let (_, end) = read(&CODEC, frames::frames(all.as_bytes()));
        assert_eq!(end.unwrap_err().kind, FailureKind::Unreadable, "{hostile}");
    }
    let stray = block_delta(4, &json!({"type":"input_json_delta","partial_json":"{"}));
    let (_, end) = read(&CODEC, frames::frames(body(&[started(), stray]).as_bytes()));
    assert_eq!(end.unwrap_err().kind, FailureKind::Unreadable);
}

#[test]
fn anth_thinking_signature_delta_before_block_stop() {
    let reply = message(
        &[
            block_start(0, &json!({"type":"thinking","thinking":"","signature":""})),
            block_delta(0, &json!({"type":"thinking_delta","thinking":"hm"})),
            block_delta(0, &json!({"type":"signature_delta","signature":"c2ln"})),
            block_stop(0),
            block_start(1, &json!({"type":"redacted_thinking","data":"b3BhcXVl"})),
            block_stop(1),
        ],
        "end_turn",
    );
    let written = String::from_utf8(write(&unfold(&reply))).unwrap();
    let signature = written.find("signature_delta").unwrap();
    assert!(signature < written.find("content_block_stop").unwrap());
    assert!(written.contains(r#"{"type":"redacted_thinking","data":"b3BhcXVl"}"#));
}

#[test]
fn anth_citations_delta_and_full() {
    let cited = |n: u32| json!({"type":"char_location","cited_text":"x","document_index":n});
    let reply = message(
        &[
            block_start(0, &json!({"type":"text","text":"","citations":[]})),
            block_delta(0, &json!({"type":"citations_delta","citation":cited(1)})),
            block_delta(0, &json!({"type":"text_delta","text":"so"})),
            block_delta(0, &json!({"type":"citations_delta","citation":cited(2)})),
            block_stop(0),
        ],
        "end_turn",
    );
    let full = json!([{"type":"text","text":"so","citations":[cited(1), cited(2)]}]);
    assert_eq!(reply_again(&reply)["content"], full);
}

// === Requests and replies ===

fn request(fields: &Value) -> Value {
    let mut request = json!({"model":"claude","max_tokens":64,"messages":[{"role":"user","content":"hi"}]});
    for (key, field) in fields.as_object().unwrap() {
        request[key] = field.clone();
    }
    request
}

/// Everything this dialect can say comes back as it was said. Each row: a name, and fields of a request.
#[test]
fn requests_of_every_form_are_the_same_after_a_round_trip() {
    for row in include_str!("tables/anthropic_forms.jsonl").lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let source = request(&row["fields"]);
        assert_eq!(again(&source.to_string()), source, "{row}");
    }
}

/// Bodies cut anywhere are refused, and none makes the codec panic.
#[test]
fn cut_bodies_are_refused() {
    // Every prefix is parsed, so only short bodies keep this quick.
    let short = |recording: &&Recording| recording.request.len() < 2000 && recording.response.len() < 2000;
    for recording in recordings().iter().filter(short).take(20) {
        for at in
            (0..recording.request.trim_end().len()).step_by(13).filter(|at| recording.request.is_char_boundary(*at))
        {
            assert!(
                CODEC.decode_request(&recording.request.as_bytes()[..at]).is_err(),
                "{} cut at {at}",
                recording.name
            );
        }
        for at in (0..recording.response.len()).step_by(7) {
            let cut = &recording.response.as_bytes()[..at];
            assert!(
                CODEC.decode_reply(cut).is_err() || recording.response[at..].trim().is_empty(),
                "{}",
                recording.name
            );
            CODEC.decode_error(StatusCode::BAD_GATEWAY, cut);
        }
    }
}

#[test]
fn x_key_order_and_unicode_escape_stable() {
    let content = r#"[{"type":"text","text":"caf\u00e9 \ud83d \/ é"},{"type":"tool_use","id":"t","name":"f","input":{"b":"\u00e9","a":1.0}}]"#;
    let body = format!(r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"assistant","content":{content}}}]}}"#);
    let decoded = CODEC.decode_request(body.as_bytes()).unwrap();
    let encoded = String::from_utf8(CODEC.encode_request(&decoded, &mut Losses::default())).unwrap();
    assert_eq!(encoded, body);
}

#[test]
fn malformed_requests_name_the_place() {
    for (body, pointer) in [
        (r#"{"max_tokens":1,"messages":[]}"#, "/model"),
        (r#"{"model":"m"}"#, "/messages"),
        (r#"{"model":"m","messages":[{"role":"robot","content":""}]}"#, "/messages/0/role"),
        (r#"{"model":"m","messages":[{"role":"user"}]}"#, "/messages/0/content"),
        (r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text"}]}]}"#, "/messages/0/content/0/text"),
        (
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":1}]}]}"#,
            "/messages/0/content/0/text",
        ),
        (r#"{"model":"m","messages":[],"max_tokens":"many"}"#, "/max_tokens"),
        (r#"{"model":"m","messages":[],"model":"n"}"#, ""),
        (r#"{"model":"m","messages":[],"tools":[{"input_schema":{}}]}"#, "/tools/0/name"),
        (r#"{"model":"m","messages":[],"thinking":{"budget_tokens":-1}}"#, "/thinking/budget_tokens"),
    ] {
        let fault = CODEC.decode_request(body.as_bytes()).unwrap_err();
        assert_eq!(fault.pointer, pointer, "{body}: {fault}");
    }
}

#[test]
fn anth_stop_reasons() {
    for (word, reason) in [
        ("end_turn", FinishReason::Stop),
        ("max_tokens", FinishReason::Length),
        ("stop_sequence", FinishReason::Stop),
        ("tool_use", FinishReason::ToolCalls),
        ("pause_turn", FinishReason::Pause),
        ("refusal", FinishReason::Refusal),
        ("model_context_window_exceeded", FinishReason::Length),
        ("something_new", FinishReason::Other),
    ] {
        let sequence = if word == "stop_sequence" { json!("END") } else { Value::Null };
        let source = json!({"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"a"}],
            "stop_reason":word,"stop_sequence":sequence,"stop_details":{"type":word},"container":{"id":"c"},
            "context_management":{"applied_edits":[]},"usage":{"input_tokens":1,"output_tokens":2,"server_tool_use":{"web_search_requests":1}}});
        let reply = CODEC.decode_reply(source.to_string().as_bytes()).unwrap();
        assert_eq!(reply.choices[0].finish.reason, reason, "{word}");
        assert_eq!(reply_again(&reply), source);
        let streamed = oracle(&String::from_utf8(write(&unfold(&reply))).unwrap());
        assert_eq!(streamed["stop_reason"], word);
        assert_eq!(streamed["stop_sequence"], source["stop_sequence"]);
    }
}

#[test]
fn anth_pause_turn_resume() {
    let paused = json!({"id":"msg_1","type":"message","role":"assistant","model":"m","stop_reason":"pause_turn","stop_sequence":null,
        "content":[{"type":"thinking","thinking":"t","signature":"s"},{"type":"server_tool_use","id":"s1","name":"web_search","input":{"query":"q"}}],
        "usage":{"input_tokens":1,"output_tokens":2}});
    let reply = CODEC.decode_reply(paused.to_string().as_bytes()).unwrap();
    let mut next = CODEC.decode_request(request(&json!({})).to_string().as_bytes()).unwrap();
    let mut again = next.messages[0].clone();
    again.role = bifrost_providers::chat::Role::Assistant;
    again.content = bifrost_providers::chat::ContentForm::Parts;
    again.parts.clone_from(&reply.choices[0].parts);
    next.messages.push(again);
    let sent = value(&CODEC.encode_request(&next, &mut Losses::default()));
    assert_eq!(sent["messages"][1]["content"], paused["content"]);
}

/// The tool loop appends one message for each result; they are one user turn on the wire, whatever the source.
#[test]
fn results_that_the_gateway_adds_stand_together() {
    use bifrost_providers::chat::{ContentForm, Extras, Message, Part, PartKind, Role, ToolResult};
    let asked = request(&json!({"messages":[{"role":"user","content":"q"},{"role":"assistant","content":[
        {"type":"tool_use","id":"a","name":"f","input":{}},{"type":"tool_use","id":"b","name":"f","input":{}}]}]}));
    let mut next = CODEC.decode_request(asked.to_string().as_bytes()).unwrap();
    for id in ["a", "b"] {
        let parts = vec![PartKind::Text(id.into()).into()];
        let content = ContentForm::Plain;
        let result = ToolResult { call_id: id.into(), parts, content, is_error: Some(false) };
        next.messages.push(Message {
            role: Role::Tool,
            parts: vec![Part::from(PartKind::ToolResult(result))],
            content: ContentForm::Parts,
            name: None,
            extras: Extras::default(),
            pointer: String::new(),
        });
    }
    let sent = value(&CODEC.encode_request(&next, &mut Losses::default()));
    assert_eq!(sent["messages"].as_array().unwrap().len(), 3);
    let result = |id: &str| json!({"type":"tool_result","tool_use_id":id,"content":id,"is_error":false});
    assert_eq!(sent["messages"][2], json!({"role":"user","content":[result("a"), result("b")]}));
}

/// A mixed turn: the gateway ran one call and put its result back, the client answers the other. Both stand in one user turn.
#[test]
fn the_clients_results_join_those_that_the_gateway_restored() {
    use bifrost_providers::chat::Role;
    let result = |id: &str| json!({"type":"tool_result","tool_use_id":id,"content":id});
    let call = |id: &str| json!({"type":"tool_use","id":id,"name":"f","input":{}});
    let whole = request(&json!({"messages":[
        {"role":"user","content":"q"},
        {"role":"assistant","content":[call("a"), call("b")]},
        {"role":"user","content":[result("a")]},
        {"role":"user","content":[result("b"), {"type":"text","text":"and?"}]},
    ]}));
    let mut chat = CODEC.decode_request(whole.to_string().as_bytes()).unwrap();
    assert_eq!(again(&whole.to_string()), whole, "a client's own turns stay apart");
    chat.messages[2].role = Role::Tool;
    let sent = value(&CODEC.encode_request(&chat, &mut Losses::default()));
    let joined = json!([result("a"), result("b"), {"type":"text","text":"and?"}]);
    assert_eq!(sent["messages"][2], json!({"role":"user","content":joined}));
    assert_eq!(sent["messages"].as_array().unwrap().len(), 3);
}

#[test]
fn an_error_code_is_told_where_official_sdks_look_for_it() {
    use bifrost_providers::dialect::Problem;
    let mut problem = Problem {
        status: http::StatusCode::BAD_REQUEST,
        kind: "invalid_request_error".into(),
        code: Some("thread_unsupported_request".into()),
        param: None,
        message: "no".into(),
        annex: None,
    };
    let body = value(&CODEC.encode_error(&problem));
    assert_eq!(body["error"]["details"], json!({"error_code": "thread_unsupported_request"}));
    problem.code = None;
    assert_eq!(
        value(&CODEC.encode_error(&problem))["error"],
        json!({"type": "invalid_request_error", "message": "no"})
    );
}

/// Reasoning that came of another provider's reply has no signature, or another's: Anthropic would refuse the whole request.
#[test]
fn reasoning_of_other_providers_is_not_sent_to_anthropic() {
    let request = json!({"model":"m","max_tokens":9,"messages":[{"role":"user","content":"q"},
        {"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":""},
            {"type":"thinking","thinking":"b","signature":"google-gemini-v1:QQ=="},
            {"type":"thinking","thinking":"c","signature":"EqQ="},{"type":"text","text":"t"}]},
        {"role":"user","content":"r"}]})
    .to_string();
    assert!(Dialect::AnthropicMessages.holds_what_was_made_here(request.as_bytes()));
    assert!(!Dialect::AnthropicMessages.holds_what_was_made_here(br#"{"signature" : "x"}"#));
    let chat = AnthropicMessages.decode_request(request.as_bytes()).unwrap();
    let mut losses = Losses::default();
    let sent: Value = serde_json::from_slice(&AnthropicMessages.encode_request(&chat, &mut losses)).unwrap();
    let kept = json!([{"type":"thinking","thinking":"c","signature":"EqQ="},{"type":"text","text":"t"}]);
    assert_eq!(sent["messages"][1]["content"], kept);
    let pointers: Vec<&str> = losses.iter().map(|loss| loss.pointer.as_str()).collect();
    assert_eq!(pointers, ["/messages/1/content/0", "/messages/1/content/1"]);
}
