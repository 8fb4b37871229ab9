//! How an exchange that failed ended, as a client of each of the six dialects reads it: strict about every rule of an error's
//! shape that SDKs rely on.
//!
//! Written against the providers' documentation, sharing nothing with the gateway's codecs.

#![expect(clippy::indexing_slicing, reason = "JSON that lacks what it must have fails the test")]

use bytes::Buf as _;
use serde_json::Value;

use crate::answer::{Answer, Event};
use crate::{OrFail as _, Style};

/// The end of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The dialect's machine-readable word. Cohere's errors have none.
    pub kind: String,
    /// For people.
    pub message: String,
    /// The text that came before it.
    pub text: String,
}

/// The types that an Anthropic error can have (<https://docs.anthropic.com/en/api/errors>).
const ANTHROPIC: [&str; 10] = [
    "invalid_request_error",
    "authentication_error",
    "billing_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "timeout_error",
    "api_error",
    "overloaded_error",
];

/// The words of `google.rpc.Code` that stand for errors.
const GOOGLE: [&str; 16] = [
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The exceptions that a stream of Converse can hold (AWS API reference, `ConverseStreamOutput`).
const EXCEPTIONS: [&str; 5] = [
    "internalServerException",
    "modelStreamErrorException",
    "serviceUnavailableException",
    "throttlingException",
    "validationException",
];

impl Ending {
    /// Of an answer that is an error and nothing else.
    pub fn whole(answer: &Answer) -> Self {
        assert!(answer.status >= 400 && !answer.broken, "no error: {} {}", answer.status, answer.text());
        let content_type = answer.header("content-type");
        assert!(content_type.starts_with("application/json"), "{content_type}: {}", answer.text());
        let body = answer.json();
        let error = &body["error"];
        let (kind, message) = match answer.style {
            Style::OpenAi | Style::Responses => openai(error),
            Style::Anthropic => anthropic(&body),
            Style::Gemini => {
                assert_eq!(error["code"], answer.status, "{body}");
                google(error)
            }
            Style::Bedrock => {
                let kind = answer.header("x-amzn-errortype").split(':').next().unwrap_or_default();
                assert!(kind.starts_with(|c: char| c.is_ascii_uppercase()), "{:?}: {body}", answer.headers);
                (kind.to_owned(), said(&body["message"]))
            }
            Style::Cohere => (String::new(), said(&body["message"])),
        };
        Self { kind, message, text: String::new() }
    }

    /// Of a stream that ended in an error: one error event, the last, and no end marker.
    pub fn streamed(answer: &Answer) -> Self {
        assert!(answer.status == 200 && !answer.broken, "{} {}", answer.status, answer.text());
        let mut events = events(answer);
        let last = events.pop().or_fail("an error event");
        let mut text = String::new();
        for (at, event) in events.iter().enumerate() {
            if answer.style == Style::Responses {
                assert_eq!(event.1["sequence_number"], at, "{}", answer.text());
            }
            assert!(!is_error(&event.1) && !is_end(event), "{event:?} before the end of {}", answer.text());
            text.push_str(text_of(answer.style, &event.1));
        }
        let (kind, message) = failed(answer.style, &last, events.len());
        Self { kind, message, text }
    }
}

/// A name and its data; the data of what is no JSON is a string.
type Said = (Option<String>, Value);

fn events(answer: &Answer) -> Vec<Said> {
    if answer.style == Style::Bedrock {
        assert_eq!(answer.header("content-type"), "application/vnd.amazon.eventstream");
        return messages(&answer.body);
    }
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let value = |data: String| serde_json::from_str(&data).unwrap_or(Value::String(data));
    answer.events().into_iter().map(|Event { name, data }| (name, value(data))).collect()
}

/// Cuts a stream of Amazon's messages, and checks both of their sums.
fn messages(mut body: &[u8]) -> Vec<Said> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        let size = |mut bytes: &[u8]| usize::try_from(bytes.get_u32()).or_fail("a length");
        let (length, head) = (size(&body[..4]), size(&body[4..8]));
        let (message, rest) = body.split_at(length);
        let (summed, mut sum) = message.split_at(length - 4);
        assert_eq!(crc32fast::hash(summed), sum.get_u32(), "the sum of a message");
        assert_eq!(crc32fast::hash(&message[..8]), (&message[8..12]).get_u32(), "the sum of a prelude");
        let (headers, payload) = summed[12..].split_at(head);
        let payload: Value = serde_json::from_slice(payload).or_fail("a payload");
        messages.push((Some(name(headers)), payload));
        body = rest;
    }
    messages
}

/// What a message is: its event's name, or `exception` and the exception's.
fn name(mut headers: &[u8]) -> String {
    let mut kind = String::new();
    let mut name = String::new();
    while !headers.is_empty() {
        let mut part = |length: usize| String::from_utf8(headers.copy_to_bytes(length).to_vec()).or_fail("a header");
        let length = usize::from(part(1).as_bytes()[0]);
        let header = part(length);
        assert_eq!(part(1), "\u{7}", "{header} is no string");
        let length = part(2).bytes().fold(0, |length, byte| length * 256 + usize::from(byte));
        match (header.as_str(), part(length)) {
            (":message-type", value) => kind = value,
            (":event-type" | ":exception-type", value) => name = value,
            _ => {}
        }
    }
    if kind == "event" { name } else { format!("{kind} {name}") }
}

/// The error event of a stream, `at` events after its beginning.
fn failed(style: Style, (name, data): &Said, at: usize) -> (String, String) {
    let name = name.as_deref();
    let error = &data["error"];
    match style {
        Style::OpenAi => {
            assert_eq!(name, None, "{data}");
            openai(error)
        }
        Style::Responses => {
            assert_eq!((name, &data["type"]), (Some("error"), &"error".into()), "{data}");
            assert_eq!(data["sequence_number"], at, "{data}");
            assert!(data.get("param").is_some() && error.get("param").is_some(), "{data}");
            assert_eq!((&data["code"], &data["message"]), (&error["code"], &error["message"]), "{data}");
            (said(&data["code"]), said(&data["message"]))
        }
        Style::Anthropic => {
            assert_eq!(name, Some("error"), "{data}");
            anthropic(data)
        }
        Style::Gemini => {
            assert_eq!(name, None, "{data}");
            assert!(error["code"].as_u64().is_some_and(|code| (400..600).contains(&code)), "{data}");
            google(error)
        }
        Style::Bedrock => {
            let exception = name.and_then(|name| name.strip_prefix("exception ")).or_fail(&format!("{name:?} {data}"));
            assert!(EXCEPTIONS.contains(&exception), "{exception}");
            (exception.to_owned(), said(&data["message"]))
        }
        Style::Cohere => {
            assert_eq!((name, &data["type"]), (Some("message-end"), &"message-end".into()), "{data}");
            (said(&data["delta"]["finish_reason"]), said(&data["delta"]["error"]))
        }
    }
}

fn openai(error: &Value) -> (String, String) {
    let nullable = |field: &str| error.get(field).is_some_and(|value| value.is_null() || value.is_string());
    assert!(nullable("param") && nullable("code"), "{error}");
    (said(&error["type"]), said(&error["message"]))
}

fn anthropic(body: &Value) -> (String, String) {
    assert_eq!(body["type"], "error", "{body}");
    let kind = said(&body["error"]["type"]);
    assert!(ANTHROPIC.contains(&kind.as_str()), "{body}");
    (kind, said(&body["error"]["message"]))
}

fn google(error: &Value) -> (String, String) {
    let word = said(&error["status"]);
    assert!(GOOGLE.contains(&word.as_str()), "{error}");
    (word, said(&error["message"]))
}

fn said(value: &Value) -> String {
    value.as_str().filter(|text| !text.is_empty()).or_fail(&format!("a text in place of {value}")).to_owned()
}

fn is_error(data: &Value) -> bool {
    data["type"] == "error" || data["error"].is_object()
}

/// Does it say that the reply is complete?
fn is_end((name, data): &Said) -> bool {
    const NAMES: [&str; 6] =
        ["message_stop", "response.completed", "response.incomplete", "message-end", "messageStop", "metadata"];
    let finish = ["/choices/0/finish_reason", "/candidates/0/finishReason", "/delta/stop_reason"];
    name.as_deref().is_some_and(|name| NAMES.contains(&name) || name.starts_with("exception"))
        || *data == "[DONE]"
        || finish.iter().any(|at| data.pointer(at).is_some_and(Value::is_string))
}

fn text_of(style: Style, data: &Value) -> &str {
    let at = match style {
        Style::OpenAi => "/choices/0/delta/content",
        Style::Responses => "/delta",
        Style::Anthropic | Style::Bedrock => "/delta/text",
        Style::Gemini => "/candidates/0/content/parts/0/text",
        Style::Cohere => "/delta/message/content/text",
    };
    data.pointer(at).and_then(Value::as_str).unwrap_or_default()
}
