//! One tool call: its limits, its outcome, and how an outcome reads as text.
//!
//! A failed call is not an error of this crate: the model gets a text that says what went wrong and can act on it, so
//! every way a call can end is an [`Outcome`].

use std::{fmt::Write as _, sync::Arc, time::Duration};

use serde_json::{Map, Value, json};

use crate::source::{Answer, SourceError};

/// Bounds of one call.
#[derive(Debug, Clone, Copy)]
pub struct CallLimits {
    /// At most this long; the tool server's own `call_timeout` holds as well, whichever is shorter.
    pub timeout: Option<Duration>,
    /// More text and media than this, in bytes, is cut with a notice.
    pub max_result_bytes: usize,
}

/// How a call ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The name the tool was offered under.
    pub tool: Arc<str>,
    pub content: Vec<Piece>,
    /// The call failed, or the tool says that it did.
    pub is_error: bool,
    /// The bytes of the whole result, where it was cut.
    pub truncated: Option<usize>,
    pub duration: Duration,
    /// What failed, for metrics; `None` for a call that went well.
    pub error: Option<CallError>,
}

/// A part of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    /// `data` is base64, as the tool server sent it.
    Image {
        mime: String,
        data: String,
    },
    Audio {
        mime: String,
        data: String,
    },
    /// An embedded resource; binary ones have no text.
    Resource {
        uri: String,
        mime: Option<String>,
        text: Option<String>,
    },
    /// Everything else, resource links and blocks of later protocol revisions, as the JSON that came.
    Other {
        kind: String,
        json: String,
    },
}

/// What made a call fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallError {
    /// Nobody may run this tool for this caller; nothing was sent.
    NotPermitted,
    /// The arguments are no JSON object, or do not match the schema; nothing was sent.
    Arguments,
    /// The tool server is not connected; nothing was sent.
    Unavailable,
    Timeout,
    /// The connection failed; the tool may have run.
    Transport,
    /// The tool server answered with a protocol error.
    Protocol,
    TooLarge,
    /// The tool asked for input that only a person could give.
    NeedsInput,
    /// The tool ran and reports a failure.
    Tool,
}

/// A call that failed, with the text for the model.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: CallError,
    pub(crate) text: String,
}

// === impl CallLimits ===

impl Default for CallLimits {
    fn default() -> Self {
        Self { timeout: None, max_result_bytes: 256 * 1024 }
    }
}

// === arguments ===

/// The arguments of a call as the model wrote them. Models write nothing, or `null`, for a tool without parameters.
pub(crate) fn parse_arguments(tool: &str, arguments: &str) -> Result<Map<String, Value>, Failed> {
    let text = arguments.trim();
    if text.is_empty() || text == "null" {
        return Ok(Map::new());
    }
    let complaint = match serde_json::from_str(text) {
        Ok(Value::Object(object)) => return Ok(object),
        Ok(_) => "they must be a JSON object".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Failed {
        error: CallError::Arguments,
        text: format!("failed to parse tool arguments for '{tool}': {complaint}"),
    })
}

// === impl Outcome ===

impl Outcome {
    pub(crate) fn new(tool: &Arc<str>, answer: Result<Answer, Failed>, max_bytes: usize, duration: Duration) -> Self {
        let (content, is_error, error) = match answer {
            Ok(answer) => (answer.content, answer.is_error, answer.is_error.then_some(CallError::Tool)),
            Err(failed) => (vec![Piece::Text(failed.text)], true, Some(failed.error)),
        };
        let (content, truncated) = cap(content, max_bytes);
        Self { tool: Arc::clone(tool), content, is_error, truncated, duration, error }
    }

    /// The answer to a call that is not run at all, with the reason as the text for the model.
    pub fn refused(tool: &str, reason: String) -> Self {
        let failed = Failed { error: CallError::NotPermitted, text: reason };
        Self::new(&Arc::from(tool), Err(failed), usize::MAX, Duration::ZERO)
    }

    /// The result for dialects whose tool messages are text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (at, piece) in self.content.iter().enumerate() {
            if at > 0 {
                text.push('\n');
            }
            piece.write_to(&mut text);
        }
        let text = text.trim();
        if text.is_empty() { format!("MCP tool '{}' executed successfully", self.tool) } else { text.to_owned() }
    }
}

/// Cuts what is over the limit and says so. Media is kept whole or left out: half an image is none.
fn cap(content: Vec<Piece>, max_bytes: usize) -> (Vec<Piece>, Option<usize>) {
    let total: usize = content.iter().map(Piece::bytes).sum();
    if total <= max_bytes {
        return (content, None);
    }
    let mut left = max_bytes;
    let mut kept = Vec::new();
    for piece in content {
        let bytes = piece.bytes();
        let piece = if bytes <= left { piece } else { piece.shortened(left) };
        left = left.saturating_sub(bytes);
        kept.push(piece);
        if left == 0 {
            break;
        }
    }
    kept.push(Piece::Text(format!("[The result was cut: it has {total} bytes, the limit is {max_bytes}.]")));
    (kept, Some(total))
}

/// The longest start of the text that has at most `max` bytes and ends at a character boundary.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

// === impl Piece ===

impl Piece {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Image { mime, data } | Self::Audio { mime, data } => mime.len() + data.len(),
            Self::Resource { uri, text, .. } => uri.len() + text.as_ref().map_or(0, String::len),
            Self::Other { json, .. } => json.len(),
        }
    }

    fn shortened(self, max: usize) -> Self {
        match self {
            Self::Text(text) => Self::Text(cut(&text, max).to_owned()),
            Self::Image { mime, data } | Self::Audio { mime, data } => {
                Self::Text(format!("[{mime} of {} base64 characters left out]", data.len()))
            }
            Self::Resource { uri, mime, text } => {
                Self::Resource { uri, mime, text: text.map(|text| cut(&text, max).to_owned()) }
            }
            Self::Other { kind, json } => Self::Text(format!("[{kind} block of {} bytes left out]", json.len())),
        }
    }

    /// The wording of Bifrost, except that the text of an embedded resource is told as well.
    fn write_to(&self, out: &mut String) {
        let _infallible = match self {
            Self::Text(text) => out.write_str(text),
            Self::Image { mime, data } => write!(out, "[Image Response: {data}, MIME: {mime}]"),
            Self::Audio { mime, data } => write!(out, "[Audio Response: {data}, MIME: {mime}]"),
            Self::Resource { uri, mime, text } => {
                let kind = mime.as_deref().unwrap_or(uri);
                write!(out, "[Embedded Resource Response: {kind}]").and_then(|()| match text {
                    Some(text) => write!(out, "\n{text}"),
                    None => Ok(()),
                })
            }
            Self::Other { json, .. } => out.write_str(json),
        };
    }

    /// A block nobody knows, kept so that the model at least sees it.
    pub(crate) fn other(block: &Value) -> Self {
        let kind = block.get("type").and_then(Value::as_str).unwrap_or("unknown").to_owned();
        Self::Other { kind, json: block.to_string() }
    }

    pub(crate) fn structured(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text.clone()),
            other => Self::Text(json!(other).to_string()),
        }
    }
}

impl std::fmt::Display for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        self.write_to(&mut text);
        f.write_str(&text)
    }
}

// === impl CallError ===

impl CallError {
    /// A label for metrics: few, stable values.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotPermitted => "not_permitted",
            Self::Arguments => "arguments",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Transport => "transport",
            Self::Protocol => "protocol",
            Self::TooLarge => "too_large",
            Self::NeedsInput => "needs_input",
            Self::Tool => "tool",
        }
    }
}

// === impl Failed ===

impl Failed {
    pub(crate) fn of_source(tool: &str, error: &SourceError) -> Self {
        let kind = match error {
            SourceError::Unavailable(_) => CallError::Unavailable,
            SourceError::Transport(_) => CallError::Transport,
            SourceError::Protocol(_) => CallError::Protocol,
            SourceError::TooLarge { .. } => CallError::TooLarge,
            SourceError::NeedsInput(_) => CallError::NeedsInput,
            SourceError::TimedOut => CallError::Timeout,
        };
        Self { error: kind, text: format!("MCP tool '{tool}' failed: {error}") }
    }

    pub(crate) fn timed_out(tool: &str, after: Duration) -> Self {
        Self { error: CallError::Timeout, text: format!("MCP tool call timed out after {after:?}: {tool}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(content: Vec<Piece>, max_bytes: usize) -> Outcome {
        let answer = Answer { content, is_error: false };
        Outcome::new(&Arc::from("s-t"), Ok(answer), max_bytes, Duration::ZERO)
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    #[test]
    fn results_read_as_text() {
        let image = Piece::Image { mime: "image/png".to_owned(), data: "aGk=".to_owned() };
        let audio = Piece::Audio { mime: "audio/wav".to_owned(), data: "aGk=".to_owned() };
        let note = Piece::Resource {
            uri: "a://b".to_owned(),
            mime: Some("text/plain".to_owned()),
            text: Some("hi".to_owned()),
        };
        let blob = Piece::Resource { uri: "a://b".to_owned(), mime: None, text: None };
        let cases = [
            (vec![], "MCP tool 's-t' executed successfully"),
            (vec![text("  a "), text("b\n")], "a \nb"),
            (vec![image], "[Image Response: aGk=, MIME: image/png]"),
            (vec![audio], "[Audio Response: aGk=, MIME: audio/wav]"),
            (vec![note], "[Embedded Resource Response: text/plain]\nhi"),
            (vec![blob], "[Embedded Resource Response: a://b]"),
            (vec![Piece::other(&json!({"type": "hologram", "x": 1}))], r#"{"type":"hologram","x":1}"#),
        ];
        for (content, expected) in cases {
            assert_eq!(outcome(content, 1000).text(), expected);
        }
    }

    #[test]
    fn a_cut_result_says_how_large_it_was() {
        let outcome = outcome(vec![text("ééééé"), text("never seen")], 5);
        assert_eq!(outcome.truncated, Some(20));
        assert_eq!(outcome.text(), "éé\n[The result was cut: it has 20 bytes, the limit is 5.]");
    }

    #[test]
    fn media_is_kept_whole_or_left_out() {
        let image = Piece::Image { mime: "image/png".to_owned(), data: "a".repeat(100) };
        let outcome = outcome(vec![text("before"), image, text("after")], 50);
        assert_eq!(outcome.truncated, Some(120));
        assert!(outcome.text().starts_with("before\n[image/png of 100 base64 characters left out]"));
    }

    #[test]
    fn arguments_are_an_object_or_nothing() {
        for nothing in ["", "  ", "null", "{}"] {
            assert!(parse_arguments("t", nothing).unwrap().is_empty());
        }
        assert_eq!(parse_arguments("t", r#"{"a":1}"#).unwrap().get("a"), Some(&json!(1)));
        for (bad, why) in [("[1]", "must be a JSON object"), ("{\"a\":", "EOF while parsing")] {
            let failed = parse_arguments("t", bad).unwrap_err();
            assert!(failed.text.starts_with("failed to parse tool arguments for 't': "), "{}", failed.text);
            assert!(failed.text.contains(why), "{}", failed.text);
        }
    }
}
