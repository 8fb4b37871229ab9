//! Events to the reply that they say.

use bifrost_providers::event::Fold;
use bifrost_providers::{ChatEvent, ChatReply};

pub(crate) fn fold(events: &[ChatEvent]) -> ChatReply {
    let mut fold = Fold::new();
    for event in events {
        fold.push(event);
    }
    fold.finish()
}
