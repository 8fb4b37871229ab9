//! Bedrock Converse.

use super::{Facts, Seen, Whole, failure, strange, text};
use crate::dialect::bedrock_converse::usage::count_usage;
use crate::dialect::{Dialect, Frame};
use crate::eventstream::EXCEPTION;
use crate::json::pick;

const OWN: Dialect = Dialect::BedrockConverse;

/// Growth that brings nothing, as it is written.
const EMPTY: &[&str] = &[r#"{"text":""}"#, "{}"];

pub(super) fn event(frame: &Frame, content: bool, facts: &mut Facts) -> Seen {
    let name = frame.event.as_deref().unwrap_or_default();
    if name.starts_with(EXCEPTION.as_bytes()) {
        return Seen::Error(exception(frame));
    }
    match name {
        b"contentBlockDelta" if content => return Seen::Content,
        b"messageStart" | b"contentBlockStop" => return Seen::Preamble,
        _ => {}
    }
    let data = str::from_utf8(&frame.data).ok().and_then(|data| pick(data, ["delta", "stopReason", "usage"]));
    let Some([delta, stop_reason, usage]) = data.filter(|_| !name.is_empty()) else {
        return strange(OWN, frame, content);
    };
    match name {
        b"contentBlockDelta" if delta.is_none_or(|delta| EMPTY.contains(&delta)) => Seen::Preamble,
        b"messageStop" => {
            facts.finish = text(stop_reason);
            Seen::Finish
        }
        b"metadata" => {
            if let Some(usage) = usage.and_then(count_usage) {
                facts.usage = Some(usage);
                facts.is_usage_final = true;
            }
            // What it cost is said last.
            if facts.finish.is_some() { Seen::Terminal } else { Seen::Preamble }
        }
        // A block that has a start is a call, or something only the client understands.
        _ => Seen::Content,
    }
}

/// The reader knows what it means.
fn exception(frame: &Frame) -> Box<crate::Failure> {
    let read = OWN.codec().reader().read(frame, &mut Vec::new());
    read.err().unwrap_or_else(|| failure(OWN, &frame.data))
}

/// `None` where the body is no reply and no error: no JSON object, or one without an output.
pub(super) fn whole(body: &str) -> Option<Whole> {
    let [output, usage, stop_reason, kind] = pick(body, ["output", "usage", "stopReason", "__type"])?;
    let error = (output.is_none() && kind.is_some()).then(|| failure(OWN, body.as_bytes()));
    let is_reply = output.is_some_and(|output| output.starts_with('{'));
    (is_reply || error.is_some()).then(|| Whole {
        kept: None,
        usage: usage.and_then(count_usage),
        finish: text(stop_reason),
        model: None,
        error,
    })
}
