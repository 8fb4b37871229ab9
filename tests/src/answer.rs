//! What came back over the socket, and a parser for server-sent events that shares nothing with the gateway's.

#![expect(clippy::indexing_slicing, reason = "JSON that lacks what it must have fails the test")]

use bifrost_fixtures::Style;
use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use crate::OrFail as _;
use crate::told::{self, Told};

/// A complete HTTP answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The connection broke before the body was complete.
    pub broken: bool,
    /// The dialect of the client that asked.
    pub style: Style,
}

/// One server-sent event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its `event:` line.
    pub name: Option<String>,
    /// Its `data:` line.
    pub data: String,
}

/// An error as a client of the dialect reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `error.type`, or what the dialect has in its place.
    pub kind: String,
    /// `error.message`.
    pub message: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).or_fail(&format!("reading {} as JSON", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header as text; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Is it a stream?
    pub fn is_stream(&self) -> bool {
        self.header("content-type").starts_with("text/event-stream")
    }

    /// What the model said, read strictly by the grammar of the client's dialect. Fails the test on anything else.
    pub fn told(&self) -> Told {
        assert_eq!(self.status, 200, "{}", self.text());
        assert!(!self.broken, "the connection broke after {}", self.text());
        told::read(self)
    }

    /// The error, in exactly the shape that a client of the dialect understands: a whole body, or a stream's last event.
    pub fn fault(&self) -> Fault {
        let (place, value) = if self.is_stream() {
            let last = self.events().pop().or_fail("an error event");
            (Place::Event(last.name), serde_json::from_str(&last.data).or_fail("an error event's data"))
        } else {
            assert!(self.status >= 400, "no error: {} {}", self.status, self.text());
            assert_eq!(self.header("content-type"), "application/json");
            (Place::Body, self.json())
        };
        fault(self.style, &place, &value)
    }

    /// The events of a stream, comments left out. An unfinished last event fails the test.
    pub fn events(&self) -> Vec<Event> {
        let text = self.text().replace("\r\n", "\n");
        assert!(text.ends_with("\n\n"), "the stream ends inside an event: {text}");
        text.split("\n\n").filter_map(event).collect()
    }

    /// How many events of a stream are errors, in whichever dialect.
    pub fn faults(&self) -> usize {
        let is_error = |event: &Event| {
            let value: Value = serde_json::from_str(&event.data).unwrap_or_default();
            value["type"] == "error" || value["error"].is_object()
        };
        self.events().iter().filter(|event| is_error(event)).count()
    }

    /// The comments of a stream.
    pub fn comments(&self) -> Vec<String> {
        self.text().lines().filter(|line| line.starts_with(':')).map(str::to_owned).collect()
    }
}

/// Where an error stands.
enum Place {
    Body,
    /// In an event, which may have a name.
    Event(Option<String>),
}

/// Reads an error.
fn fault(style: Style, place: &Place, value: &Value) -> Fault {
    let error = &value["error"];
    let (expected, kind, message) = match style {
        Style::Anthropic => {
            assert_eq!(value["type"], "error", "{value}");
            (Some("error"), &error["type"], &error["message"])
        }
        Style::Responses if matches!(place, Place::Event(_)) => {
            assert!(value["type"] == "error" && value["sequence_number"].is_u64(), "{value}");
            // OpenAI's documents have the fields in the event, its servers have them in an object within.
            let error = if error.is_object() { error } else { value };
            (
                Some("error"),
                error.get("code").filter(|code| code.is_string()).unwrap_or(&error["type"]),
                &error["message"],
            )
        }
        Style::OpenAi | Style::Responses => {
            assert!(error.get("param").is_some(), "OpenAI's SDK reads error.param: {value}");
            (None, &error["type"], &error["message"])
        }
        Style::Gemini => {
            assert!(error["code"].is_u64(), "Google's SDK reads error.code: {value}");
            (None, &error["status"], &error["message"])
        }
        other => return None.or_fail(&format!("a reader of {other:?}'s errors")),
    };
    if let Place::Event(name) = place {
        assert_eq!(name.as_deref(), expected, "the name of the error event");
    }
    let text = |field: &Value| field.as_str().or_fail(&format!("kind and message of {value}")).to_owned();
    Fault { kind: text(kind), message: text(message) }
}

fn event(block: &str) -> Option<Event> {
    let field = |name: &str| {
        let lines = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        lines.map(|value| value.strip_prefix(' ').unwrap_or(value).to_owned()).reduce(|all, line| all + "\n" + &line)
    };
    Some(Event { name: field("event"), data: field("data")? })
}
