//! How an item was spelt: which parts are one item, and what its own fields were.
//!
//! The canonical model has parts; this dialect has items, most of which are one part, and messages and reasoning, which may be
//! several. A part that begins an item says so with a mark under [`SPELLING`]: the item's quiet fields (`id`, `status`, ..),
//! which nobody misses in another dialect. A part without a mark belongs to the item before it, if that can hold it.
//!
//! Items that the gateway makes itself get ids that can be told from a provider's, because a provider looks ids up and refuses
//! those it does not know.

use serde_json::value::RawValue;

use super::wire::OWN;
use crate::chat::{Extras, Part, Raw, SPELLING};
use crate::json::{self, Array, fields, object};
use crate::seal::Origin;
use crate::{Text, chat::PartKind};

/// Fields of an item that only its own dialect has a use for.
const QUIET: [&str; 5] = ["id", "status", "phase", "created_by", "format"];

/// Within the mark: the item's quiet fields as they began, and what they became.
pub(super) const ITEM: &str = "item";
const DONE: &str = "done";
/// Within the mark: a part's type where it is not the usual one, and whether reasoning stood in `content`.
pub(super) const TYPE: &str = "type";
pub(super) const IN: &str = "in";
/// Within the mark: an item only this dialect knows, as it was when it was done.
const WHOLE: &str = "whole";

/// Key of the telling fields of a message item, on its first part.
pub(super) const MESSAGE: &str = "message";

/// After the item's prefix, the sign of an id that the gateway made.
const OURS: &str = "bf";

/// What a part remembers of how it was spelt.
#[derive(Clone, Debug, Default)]
pub(super) struct Mark(Extras);

impl Mark {
    pub(super) fn of(extras: &Extras) -> Self {
        Self(fields(extras.find(SPELLING)))
    }

    /// Does a new item begin here?
    pub(super) fn begins_item(&self) -> bool {
        self.0.find(ITEM).is_some()
    }

    /// Did the item end with this part?
    pub(super) fn is_done(&self) -> bool {
        self.0.find(DONE).is_some()
    }

    /// The quiet fields of the item, the latest of each.
    pub(super) fn item(&self) -> Extras {
        let mut item = fields(self.0.find(ITEM));
        overlay(&mut item, &self.done());
        item
    }

    pub(super) fn done(&self) -> Extras {
        fields(self.0.find(DONE))
    }

    pub(super) fn find(&self, key: &str) -> Option<&RawValue> {
        self.0.find(key)
    }

    pub(super) fn set(&mut self, key: &str, value: Raw) -> &mut Self {
        self.0.remove(key);
        self.0.push(key, value);
        self
    }

    /// Puts the mark where it belongs, unless it says nothing.
    pub(super) fn put(&self, extras: &mut Extras) {
        if !self.0.is_empty() {
            extras.remove(SPELLING);
            extras.push(SPELLING, object(&self.0));
        }
    }

    /// Takes over what the other says.
    pub(super) fn join(&mut self, other: &Self) {
        overlay(&mut self.0, &other.0);
    }

    /// The mark without what it says of the item.
    pub(super) fn of_part(mut self) -> Self {
        for key in [ITEM, DONE] {
            self.0.remove(key);
        }
        self
    }

    /// Marks the beginning of an item.
    pub(super) fn begin(item: &Extras) -> Self {
        let mut mark = Self::default();
        mark.set(ITEM, object(item));
        mark
    }
}

/// The growth of a part that says what its item became.
pub(super) fn done(late: &Extras) -> Raw {
    let mut mark = Extras::default();
    mark.push(DONE, object(late));
    grown(&mark)
}

/// The growth of a foreign part that says what it became.
pub(super) fn whole(item: &RawValue) -> Raw {
    let mut mark = Extras::default();
    mark.push(WHOLE, item.to_owned());
    grown(&mark)
}

fn grown(mark: &Extras) -> Raw {
    let mut extras = Extras::default();
    extras.push(SPELLING, object(mark));
    object(&extras)
}

/// A part of this dialect alone, as it is now.
pub(super) fn latest(part: &Part) -> Option<Raw> {
    match &part.kind {
        PartKind::Foreign(OWN, raw) => {
            Some(Mark::of(&part.extras).find(WHOLE).map_or_else(|| raw.clone(), RawValue::to_owned))
        }
        _ => None,
    }
}

/// The quiet fields of an item, and those worth a loss. A `null` says nothing.
pub(super) fn split(all: &Extras) -> (Extras, Extras) {
    let (mut quiet, mut telling) = (Extras::default(), Extras::default());
    for (key, value) in all.iter() {
        let side = if QUIET.contains(&key) || value.get() == "null" { &mut quiet } else { &mut telling };
        side.push(key, value.to_owned());
    }
    (quiet, telling)
}

/// Lays newer fields over older ones.
pub(super) fn overlay(base: &mut Extras, newer: &Extras) {
    for (key, value) in newer.iter() {
        base.remove(key);
        base.push(key, value.to_owned());
    }
}

/// The id of the item at this place of a reply, where its maker gave it none. The same reply always gets the same one.
pub(super) fn made_id(prefix: &str, reply: &Text, at: usize) -> String {
    // 64-bit FNV-1a: stable over releases, and short enough for OpenAI, which takes 64 characters.
    let hash = reply
        .as_escaped()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{prefix}_{OURS}{hash:016x}_{at}")
}

/// Did the gateway make this id?
pub(super) fn is_made(id: &RawValue) -> bool {
    let id = id.get().trim_matches('"');
    let Some((_, rest)) = id.split_once('_') else { return false };
    let Some((hash, at)) = rest.strip_prefix(OURS).and_then(|rest| rest.split_once('_')) else { return false };
    hash.len() == 16
        && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        && at.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whose seals OpenAI cannot open.
const STRANGERS: [Origin; 3] = [Origin::Anthropic, Origin::AnthropicRedacted, Origin::Google];

/// Does this body hold an id that the gateway made, or a seal that it took from another provider? Told from its bytes.
pub(super) fn has_made(body: &[u8]) -> bool {
    let ids = memchr::memmem::find_iter(body, b"_bf").any(|at| {
        let hash = body.get(at.saturating_add(3)..at.saturating_add(19));
        hash.is_some_and(|hash| hash.iter().all(u8::is_ascii_hexdigit))
            && body.get(at.saturating_add(19)) == Some(&b'_')
    });
    ids || crate::seal::is_marked_by(body, &STRANGERS) || memchr::memmem::find(body, b"\"thought_signature\"").is_some()
}

/// The item's quiet fields as they may go to a provider: without the gateway's own ids, and the status that stood beside one.
pub(super) fn sendable(mut item: Extras) -> Extras {
    if item.find("id").is_some_and(is_made) {
        item.remove("id");
        item.remove("status");
    }
    item
}

/// A raw list of these elements.
pub(super) fn list<'a>(elements: impl IntoIterator<Item = &'a RawValue>) -> Raw {
    let mut out = Vec::new();
    let mut array = Array::new(&mut out);
    for element in elements {
        array.raw(element.get());
    }
    array.end();
    json::written(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateways_own_ids_are_told_from_a_providers() {
        let reply: Text = "msg_013Zva2CMHLNnXjNJJKqJ2EF".into();
        let made = made_id("fc", &reply, 12);
        assert_eq!(made, made_id("fc", &reply, 12));
        assert!(made.len() <= 64);
        assert!(is_made(&json::raw(format!("\"{made}\""))), "{made}");
        for theirs in ["msg_68a", "rs_bf", "\"fc_bf0123456789abcdef\"", "fc_bf0123456789abcdefg_1", "", "7"] {
            assert!(!is_made(&json::raw(format!("\"{}\"", theirs.trim_matches('"')))), "{theirs}");
        }
    }
}
