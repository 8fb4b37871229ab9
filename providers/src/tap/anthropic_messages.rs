//! Anthropic Messages.

use super::{Facts, Seen, Whole, failure, has_substance, strange, text};
use crate::dialect::anthropic_messages::usage::{count_usage, merge};
use crate::dialect::{Dialect, Frame};
use crate::json::{self, Reader, pick};

/// Fields of a block or delta that every one of them has, and so are no content. Citations of an empty block are `[]`.
const HEADS: &[&str] = &["type"];

/// Blocks that begin empty. A tool call has its name from the start, and any other block its content.
const EMPTY_AT_FIRST: &[&str] = &[r#""text""#, r#""thinking""#];

pub(super) fn event(frame: &Frame, content: bool, facts: &mut Facts) -> Seen {
    match frame.event.as_deref() {
        Some(b"content_block_delta") if content => return Seen::Content,
        Some(b"ping" | b"content_block_stop") => return Seen::Preamble,
        _ => {}
    }
    let fields = ["type", "message", "content_block", "delta", "usage", "error"];
    let data = str::from_utf8(&frame.data).ok().and_then(|data| pick(data, fields));
    let Some([kind, message, block, delta, usage, error]) = data else {
        return strange(Dialect::AnthropicMessages, frame, content);
    };
    // The name is said twice, and each of the two is left out by somebody.
    let name = match &frame.event {
        Some(name) => name.as_ref(),
        None => kind.unwrap_or_default().trim_matches('"').as_bytes(),
    };
    match name {
        b"ping" | b"content_block_stop" => Seen::Preamble,
        b"message_start" => {
            if let Some([model, usage]) = message.and_then(|message| pick(message, ["model", "usage"])) {
                facts.model = text(model);
                facts.report(usage);
            }
            Seen::Preamble
        }
        b"content_block_start" => content_if(begins_with_content(block)),
        b"content_block_delta" => content_if(delta.is_some_and(holds_something)),
        b"message_delta" => message_delta(delta, usage, facts),
        b"message_stop" => Seen::Terminal,
        _ if name == b"error" || error.is_some() => Seen::Error(failure(Dialect::AnthropicMessages, &frame.data)),
        _ => Seen::Content,
    }
}

/// `None` where the body is no reply and no error: no JSON object, or one without a list of content.
pub(super) fn whole(body: &str) -> Option<Whole> {
    let fields = ["type", "model", "usage", "stop_reason", "content", "error"];
    let [kind, model, usage, stop_reason, content, error] = pick(body, fields)?;
    let is_error = error.is_some() || kind == Some(r#""error""#);
    let has_content = content.is_some_and(|content| content.starts_with('['));
    (is_error || has_content).then(|| Whole {
        kept: None,
        usage: usage.and_then(count_usage),
        finish: text(stop_reason),
        model: text(model),
        error: is_error.then(|| failure(Dialect::AnthropicMessages, body.as_bytes())),
    })
}

fn message_delta(delta: Option<&str>, usage: Option<&str>, facts: &mut Facts) -> Seen {
    facts.report(usage);
    facts.is_usage_final |= usage.is_some();
    let stop_reason = delta.and_then(|delta| pick(delta, ["stop_reason"])).and_then(|[reason]| text(reason));
    match stop_reason {
        Some(reason) => {
            facts.finish = Some(reason);
            Seen::Finish
        }
        None => Seen::Preamble,
    }
}

fn begins_with_content(block: Option<&str>) -> bool {
    let kind = block.and_then(|block| pick(block, ["type"])).and_then(|[kind]| kind);
    !kind.is_some_and(|kind| EMPTY_AT_FIRST.contains(&kind)) || block.is_some_and(holds_something)
}

fn holds_something(object: &str) -> bool {
    Reader::new(object).by(|reader| has_substance(reader, HEADS)).unwrap_or(true)
}

fn content_if(condition: bool) -> Seen {
    if condition { Seen::Content } else { Seen::Preamble }
}

impl Facts {
    /// `message_start` and `message_delta` both report, each some of the counts.
    fn report(&mut self, usage: Option<&str>) {
        let Some(usage) = usage.map(json::copy) else { return };
        let report = match &self.report {
            Some(earlier) => merge(earlier, &usage),
            None => usage,
        };
        self.usage = count_usage(report.get());
        self.report = Some(report);
    }
}
