//! Replicate's predictions.

use serde_json::value::RawValue;

use super::{Facts, Seen, Whole, strange, text};
use crate::dialect::predictions::{PREDICTION, State, count_usage, failed, failure_in};
use crate::dialect::{Dialect, Frame};
use crate::json::pick;

pub(super) fn event(frame: &Frame, content: bool, facts: &mut Facts) -> Seen {
    match frame.event.as_deref() {
        Some(b"output") if frame.data.is_empty() => Seen::Preamble,
        Some(b"output") => Seen::Content,
        Some(b"error") => Seen::Error(Box::new(failure_in(&frame.data))),
        Some(PREDICTION) => prediction(frame, content, facts),
        _ => Seen::Preamble,
    }
}

/// The first one says that it was made, the last how it ended.
fn prediction(frame: &Frame, content: bool, facts: &mut Facts) -> Seen {
    let Some(whole) = str::from_utf8(&frame.data).ok().and_then(whole) else {
        return strange(Dialect::Predictions, frame, content);
    };
    facts.model = whole.model;
    match (whole.error, whole.finish) {
        (Some(failure), _) => Seen::Error(failure),
        (None, Some(finish)) => {
            (facts.finish, facts.usage, facts.is_usage_final) = (Some(finish), whole.usage, true);
            Seen::Terminal
        }
        (None, None) => Seen::Preamble,
    }
}

/// `None` where the body is no prediction.
pub(super) fn whole(body: &str) -> Option<Whole> {
    let [status, model, metrics, error] = pick(body, ["status", "model", "metrics", "error"])?;
    let status = text(status)?;
    let state = State::of(&status.to_plain());
    let said = || error.and_then(|error| serde_json::from_str::<&RawValue>(error).ok());
    Some(Whole {
        usage: metrics.and_then(count_usage),
        finish: (state == State::Succeeded).then(|| status.clone()),
        model: text(model),
        kept: None,
        error: (state == State::Failed).then(|| Box::new(failed(&status.to_plain(), said()))),
    })
}
