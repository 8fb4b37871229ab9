//! Remembers turns that mixed the gateway's tools with the caller's, until the caller comes back.
//!
//! A mixed turn is answered with the pending calls only. When the caller sends their results, the whole stretch of the
//! conversation that it never saw (executed calls, their results, signed thinking) is put back by call id, so that an
//! unmodified SDK loses nothing.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bifrost_providers::Text;
use bifrost_providers::chat::Message;
use moka::sync::Cache;

/// The messages that the caller's one assistant message stands for, in order.
pub type Stretch = Arc<Vec<Message>>;

/// Where stretches are kept. `owner` keeps one caller's call ids apart from another's.
pub trait Journal: Send + Sync + Debug {
    fn keep(&self, owner: &str, call_ids: &[String], stretch: Stretch);
    fn find(&self, owner: &str, call_id: &str) -> Option<Stretch>;
}

/// How long a caller may take to run its own tools: an hour, as generous as provider-side conversation state.
const LIFETIME: Duration = Duration::from_hours(1);
/// Bound on what is kept, in bytes of message text.
const CAPACITY_BYTES: u64 = 64 << 20;

/// In the memory of this process.
#[derive(Debug)]
pub struct MemoryJournal(Cache<(String, String), Stretch>);

impl Default for MemoryJournal {
    fn default() -> Self {
        let cache = Cache::builder()
            .max_capacity(CAPACITY_BYTES)
            .weigher(|_key, stretch: &Stretch| u32::try_from(weight(stretch)).unwrap_or(u32::MAX))
            .time_to_live(LIFETIME)
            .build();
        Self(cache)
    }
}

impl Journal for MemoryJournal {
    fn keep(&self, owner: &str, call_ids: &[String], stretch: Stretch) {
        for id in call_ids {
            self.0.insert((owner.to_owned(), id.clone()), stretch.clone());
        }
    }

    fn find(&self, owner: &str, call_id: &str) -> Option<Stretch> {
        self.0.get(&(owner.to_owned(), call_id.to_owned()))
    }
}

fn weight(stretch: &[Message]) -> usize {
    use bifrost_providers::chat::PartKind;
    fn of(kind: &PartKind) -> usize {
        match kind {
            PartKind::Text(text) | PartKind::Refusal(text) | PartKind::Redacted { data: text } => text.len(),
            PartKind::Thinking { text, signature } => text.len() + signature.as_ref().map_or(0, Text::len),
            PartKind::ToolCall(call) => call.arguments.len() + call.name.len(),
            PartKind::ToolResult(result) => result.parts.iter().map(|part| of(&part.kind)).sum(),
            PartKind::Foreign(_, raw) => raw.get().len(),
            PartKind::Image(media) | PartKind::Audio(media) | PartKind::File(media) => media_weight(media),
        }
    }
    stretch.iter().flat_map(|message| &message.parts).map(|part| of(&part.kind) + 64).sum::<usize>() + 256
}

fn media_weight(media: &bifrost_providers::chat::Media) -> usize {
    use bifrost_providers::chat::MediaSource;
    match &media.source {
        MediaSource::Base64(text) | MediaSource::Url(text) | MediaSource::FileId(text) | MediaSource::Plain(text) => {
            text.len()
        }
        MediaSource::Absent => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_found_by_each_of_its_calls_and_only_by_its_owner() {
        let journal = MemoryJournal::default();
        journal.keep("vk-a", &["c1".into(), "c2".into()], Arc::new(Vec::new()));
        assert!(journal.find("vk-a", "c1").is_some());
        assert!(journal.find("vk-a", "c2").is_some());
        assert!(journal.find("vk-b", "c1").is_none());
        assert!(journal.find("vk-a", "c3").is_none());
    }
}
