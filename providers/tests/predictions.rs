//! Replicate's predictions as a codec: requests of every dialect, replies of every shape, and streams however they are cut.
#![cfg(test)]

#[path = "support/fold.rs"]
mod fold;
#[path = "support/replay.rs"]
mod replay;

use bifrost_providers::dialect::Frame;
use bifrost_providers::failure::FailureKind;
use bifrost_providers::sse::Splitter;
use bifrost_providers::tap::{self, Seen, Tap};
use bifrost_providers::{ChatReply, Dialect, Losses};
use bytes::Bytes;
use fold::fold;
use http::StatusCode;
use serde_json::{Value, json};

const OWN: Dialect = Dialect::Predictions;

fn prediction(status: &str, output: &Value) -> Value {
    json!({"id": "p1", "model": "meta/llama", "version": "hidden", "status": status, "created_at": "2024-02-29T23:59:59.123Z",
        "input": {"prompt": "x"}, "output": output, "error": null, "logs": "", "urls": {},
        "metrics": {"input_token_count": 7, "output_token_count": 3.0, "predict_time": 0.5}})
}

fn decoded(prediction: &Value) -> ChatReply {
    OWN.codec().decode_reply(prediction.to_string().as_bytes()).unwrap()
}

/// The reply in OpenAI's words.
fn said(reply: &ChatReply) -> Value {
    let body = Dialect::OpenAiChat.codec().encode_reply(reply, None, &mut Losses::default());
    serde_json::from_slice(&body).unwrap()
}

/// A stream as the codec gets it, and what follows `output` in it.
fn stream(end: &str) -> String {
    let begun = prediction("starting", &Value::Null);
    let output = "event: output\nid: 1:0\ndata: Hel\n\n: hi\n\nevent: output\ndata: lo\ndata:  \"\u{fc}\"\n\nevent: logs\ndata: x\n\n";
    format!("event: prediction\ndata: {begun}\n\n{output}{end}")
}

fn ended() -> String {
    format!(
        "event: done\ndata: {{}}\n\nevent: prediction\ndata: {}\n\n",
        prediction("succeeded", &json!("Hello\n \u{fc}"))
    )
}

/// The frames of a stream that comes in pieces of this size.
fn frames(stream: &str, size: usize) -> Vec<Frame> {
    let mut splitter = Splitter::new(1 << 20);
    let mut frames = Vec::new();
    for piece in stream.as_bytes().chunks(size) {
        splitter.push(Bytes::copy_from_slice(piece));
        frames.extend(splitter.by_ref().map(|event| event.unwrap()).filter(|event| !event.is_comment()));
    }
    frames.into_iter().map(|event| event.frame).collect()
}

fn folded(stream: &str, size: usize) -> ChatReply {
    let (events, end) = replay::read(OWN.codec(), frames(stream, size));
    end.unwrap();
    fold(&events)
}

#[test]
fn a_stream_is_the_same_as_the_whole_however_it_is_cut() {
    let whole = said(&decoded(&prediction("succeeded", &json!(["Hel", "lo\n \"\u{fc}\""]))));
    assert_eq!(whole["choices"][0]["message"]["content"], "Hello\n \"\u{fc}\"");
    assert_eq!((&whole["created"], &whole["usage"]["prompt_tokens"]), (&json!(1_709_251_199), &json!(7)));
    let stream = stream(&ended());
    for size in 1..stream.len() {
        assert_eq!(said(&folded(&stream, size)), whole, "in pieces of {size}");
    }
}

#[test]
fn every_shape_of_output_has_words() {
    for (output, text) in [
        (json!("one"), "one"),
        (json!(["o", "ne"]), "one"),
        (json!({"text": "one", "response_id": "r"}), "one"),
        (json!({"x": [1]}), "{\"x\":[1]}"),
        (json!(null), ""),
    ] {
        assert_eq!(
            said(&decoded(&prediction("succeeded", &output)))["choices"][0]["message"]["content"],
            text,
            "{output}"
        );
    }
    let running = prediction("processing", &Value::Null).to_string();
    let fault = OWN.codec().decode_reply(running.as_bytes()).unwrap_err();
    assert_eq!((fault.pointer.as_str(), fault.expected.as_str()), ("/status", "\"succeeded\", not \"processing\""));
}

#[test]
fn a_stream_that_fails_or_breaks_off_never_ends_well() {
    let failed = json!({"id": "p1", "status": "failed", "error": "out of memory"});
    for (end, kind, message) in [
        (
            "event: error\ndata: {\"detail\":\"out of memory\"}\n\n".to_owned(),
            FailureKind::Unavailable,
            "out of memory",
        ),
        ("event: error\ndata: out of\ndata: memory\n\n".to_owned(), FailureKind::Unavailable, "out of\nmemory"),
        (
            "event: done\ndata: {\"reason\":\"canceled\"}\n\n".to_owned(),
            FailureKind::Unavailable,
            "the prediction is canceled",
        ),
        (format!("event: prediction\ndata: {failed}\n\n"), FailureKind::Unavailable, "out of memory"),
        // It ended as it should, but some of its words may be missing here.
        (ended().replace("event: done", "event: x"), FailureKind::Broken, "the stream ended before done"),
        (String::new(), FailureKind::Broken, "the stream ended before done"),
        ("event: prediction\ndata: []\n\n".to_owned(), FailureKind::Unreadable, "not a prediction"),
    ] {
        let (_, outcome) = replay::read(OWN.codec(), frames(&stream(&end), 7));
        let failure = outcome.unwrap_err();
        assert!(failure.kind == kind && failure.message.starts_with(message), "{end}: {failure:?}");
    }
    // What it cost is not known where it does not say.
    let untold = folded(&stream("event: done\ndata: {}\n\n"), 9);
    assert!(untold.usage.is_none());
}

#[test]
fn the_tap_tells_content_from_the_rest() {
    let mut splitter = Splitter::new(1 << 20);
    splitter.push(Bytes::from(stream(&ended())));
    let mut tap = Tap::new(OWN);
    let seen: Vec<&str> = splitter
        .map(|event| match tap.event(&event.unwrap()) {
            Seen::Preamble => "preamble",
            Seen::Content => "content",
            Seen::Terminal => "terminal",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(seen, ["preamble", "content", "preamble", "content", "preamble", "preamble", "terminal"]);
    assert_eq!(tap.usage().map(|usage| (usage.input, usage.output)), Some((7, 3)));
    let failed = tap::whole(OWN, br#"{"id":"p","status":"failed","error":"no \"memory\""}"#).error.unwrap();
    assert_eq!((failed.kind, failed.message.as_str()), (FailureKind::Unavailable, "no \"memory\""));
    assert_eq!(tap::whole(OWN, b"<html>").error.unwrap().kind, FailureKind::Unreadable);
}

#[test]
fn errors_are_told_by_their_status() {
    let body = br#"{"title":"Insufficient credit","detail":"You have insufficient credit","status":402}"#;
    for (status, kind) in [
        (401, FailureKind::Credential),
        (402, FailureKind::Credential),
        (404, FailureKind::Rejected),
        (422, FailureKind::Rejected),
        (429, FailureKind::RateLimited),
        (500, FailureKind::Unavailable),
    ] {
        let failure = OWN.codec().decode_error(StatusCode::from_u16(status).unwrap(), body);
        assert_eq!((failure.kind, failure.message.as_str()), (kind, "You have insufficient credit"));
        assert_eq!(failure.provider_type.as_deref(), Some("Insufficient credit"));
    }
    let page = OWN.codec().decode_error(StatusCode::BAD_GATEWAY, b"<html>busy</html>");
    assert!(page.message.contains("<html>busy"), "{page:?}");
}

/// Each owner's models call things by names of their own.
#[test]
fn inputs_are_called_as_the_model_calls_them() {
    let asked = |model: &str| {
        let body = json!({"model": "m", "max_tokens": 5, "top_k": 3, "reasoning_effort": "low", "stop": ["a,b"],
            "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": [{"type": "text", "text": "U"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]}]});
        let mut request = Dialect::OpenAiChat.codec().decode_request(body.to_string().as_bytes()).unwrap();
        request.model = model.into();
        let mut losses = Losses::default();
        let body: Value = serde_json::from_slice(&OWN.codec().encode_request(&request, &mut losses)).unwrap();
        (body["input"].clone(), losses.iter().map(|loss| loss.pointer.clone()).collect::<Vec<_>>())
    };
    let picture = "data:image/png;base64,aGk=";
    for (model, input, lost) in [
        (
            "meta/llama",
            json!({"system_prompt": "S", "prompt": "U", "image": picture, "max_tokens": 5, "top_k": 3}),
            vec!["/stop", "/reasoning_effort"],
        ),
        (
            "openai/gpt-5",
            json!({"system_prompt": "S", "prompt": "U", "image_input": [picture], "max_completion_tokens": 5, "reasoning_effort": "low"}),
            vec!["/top_k", "/stop"],
        ),
        (
            "google/gemini-2.5-flash",
            json!({"system_instruction": "S", "prompt": "U", "images": [picture], "max_output_tokens": 5}),
            vec!["/top_k", "/stop", "/reasoning_effort"],
        ),
        (
            "deepseek-ai/deepseek-r1",
            json!({"prompt": "S\n\nU", "image": picture, "max_tokens": 5}),
            vec!["/top_k", "/stop", "/reasoning_effort"],
        ),
    ] {
        assert_eq!(asked(model), (input, lost.into_iter().map(str::to_owned).collect()), "{model}");
    }
}

proptest::proptest! {
    /// Whatever comes: the grammar of events, which every reader checks in debug builds, holds.
    #[test]
    fn no_stream_breaks_the_grammar(frames in proptest::collection::vec((0..6_usize, "[ -~]{0,40}"), 0..20)) {
        const NAMES: [&str; 6] = ["prediction", "output", "error", "done", "logs", ""];
        let said = |kind: usize, text: &str| match kind {
            0 => json!({"id": text, "status": if text.len().is_multiple_of(3) { "succeeded" } else { "starting" }}).to_string(),
            _ => text.to_owned(),
        };
        let frames = frames.iter().map(|(kind, text)| Frame {
            event: Some(Bytes::from_static(NAMES[*kind].as_bytes())),
            data: said(*kind, text).into(),
        });
        drop(replay::read(OWN.codec(), frames));
    }
}
