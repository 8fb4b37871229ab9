//! What the end of a reply says that a dialect has no word for.

use crate::reply::{Finish, FinishReason, Usage};
use crate::{Dialect, Losses, Text};

/// A count that some dialects do not report: its name, and where it is.
pub(crate) type Count = (&'static str, fn(&Usage) -> Option<u64>);

pub(crate) const CACHE_WRITES: Count = ("cache_write", |usage| usage.cache_write);
pub(crate) const REASONING: Count = ("reasoning", |usage| usage.reasoning);

/// Reasons that most dialects have no word for.
pub(crate) const UNCOMMON: [FinishReason; 2] = [FinishReason::Pause, FinishReason::Other];

/// Notes that a finish of another dialect is one of those for which this one has no word.
pub(crate) fn lose_reason(to: Dialect, finish: &Finish, wordless: &[FinishReason], losses: &mut Losses) {
    if wordless.contains(&finish.reason) {
        let raw = finish.raw.as_ref().map(Text::to_plain).unwrap_or_default();
        losses.push("/stop_reason", format!("{} has no finish reason `{raw}`", to.name()));
    }
}

/// Notes that this dialect does not say which stop sequence was met.
pub(crate) fn lose_sequence(to: Dialect, finish: &Finish, losses: &mut Losses) {
    if finish.stop_sequence.is_some() {
        losses.push("/stop_sequence", format!("{} does not say which sequence was met", to.name()));
    }
}

/// Notes counts of another dialect that this one does not report.
pub(crate) fn lose_counts(to: Dialect, usage: Option<&Usage>, unreported: &[Count], losses: &mut Losses) {
    let Some(usage) = usage.filter(|usage| usage.raw.as_ref().is_none_or(|(owner, _)| *owner != to)) else { return };
    for (name, count) in unreported {
        if count(usage).is_some_and(|count| count > 0) {
            losses.push(format!("/usage/{name}"), format!("{} does not count it", to.name()));
        }
    }
}
