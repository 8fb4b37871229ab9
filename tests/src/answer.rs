//! What came back over the socket, and a parser for server-sent events that shares nothing with the gateway's.

use bifrost_fixtures::Style;
use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use crate::dialect::{self, Failed};
use crate::told::Told;
use crate::{OrFail as _, frames};

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
    /// `error.type`, or what the dialect has in its place; empty where it has nothing.
    pub kind: String,
    /// `error.message`.
    pub message: String,
}

impl Event {
    /// Its data as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_default()
    }
}

impl Fault {
    /// Kind and message, both of which must be text.
    pub(crate) fn of(kind: &Value, message: &Value, whole: &Value) -> Self {
        let text = |field: &Value| field.as_str().or_fail(&format!("kind and message of {whole}")).to_owned();
        Self { kind: text(kind), message: text(message) }
    }
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
        self.is_binary() || self.header("content-type").starts_with("text/event-stream")
    }

    fn is_binary(&self) -> bool {
        self.header("content-type") == "application/vnd.amazon.eventstream"
    }

    /// What the model said, read strictly by the grammar of the client's dialect. Fails the test on anything else.
    pub fn told(&self) -> Told {
        assert_eq!(self.status, 200, "{}", self.text());
        assert!(!self.broken, "the connection broke after {}", self.text());
        let dialect = dialect::of(self.style);
        if self.is_stream() { dialect.stream(&self.events()) } else { dialect.whole(&self.json()) }
    }

    /// The error, in exactly the shape that a client of the dialect understands: a whole body, or a stream's last event.
    pub fn fault(&self) -> Fault {
        let last = self.is_stream().then(|| self.events().pop().or_fail("an error event"));
        if last.is_none() {
            assert!(self.status >= 400, "no error: {} {}", self.status, self.text());
            assert_eq!(self.header("content-type"), "application/json");
        }
        let data = last.as_ref().map_or_else(|| self.json(), Event::json);
        dialect::of(self.style).fault(&Failed { headers: &self.headers, event: last.as_ref(), data: &data })
    }

    /// The events of a stream, comments left out. An unfinished last event fails the test.
    pub fn events(&self) -> Vec<Event> {
        if self.is_binary() {
            return frames::events(&self.body);
        }
        let text = self.text().replace("\r\n", "\n");
        assert!(text.ends_with("\n\n"), "the stream ends inside an event: {text}");
        text.split("\n\n").filter_map(event).collect()
    }

    /// How many events of a stream are errors, in whichever dialect.
    pub fn faults(&self) -> usize {
        let dialect = dialect::of(self.style);
        self.events().iter().filter(|event| dialect.is_fault(event)).count()
    }

    /// Does any event of a stream say that the reply came to its end?
    pub fn ended(&self) -> bool {
        let dialect = dialect::of(self.style);
        self.events().iter().any(|event| dialect.is_end(event))
    }

    /// The comments of a stream.
    pub fn comments(&self) -> Vec<String> {
        self.text().lines().filter(|line| line.starts_with(':')).map(str::to_owned).collect()
    }
}

fn event(block: &str) -> Option<Event> {
    let field = |name: &str| {
        let lines = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        lines.map(|value| value.strip_prefix(' ').unwrap_or(value).to_owned()).reduce(|all, line| all + "\n" + &line)
    };
    Some(Event { name: field("event"), data: field("data")? })
}
