//! What could not cross from one dialect to another: what, where, why. Nothing is dropped without a line here.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::Dialect;
use crate::chat::Extras;
use crate::dialect::raw::pointer_key;
use crate::json::{Index, utf8};

/// Where fields of the canonical model stand in a dialect's bodies: rows of a place in the model and the place there. The first row
/// whose place is the beginning of a pointer counts, or of several spellings that a body may have, the one that is in it; `*` is any
/// one segment, and what follows is kept. Fields that stand where the model has them need no row.
pub type Places = &'static [(&'static str, &'static str)];

/// One thing that the target dialect cannot say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Loss {
    /// JSON pointer (RFC 6901) into the body it was taken from, such as `/messages/2/content/0/cache_control`.
    pub pointer: String,
    /// Why, in words a caller understands: `anthropic_messages has no counterpart`.
    pub reason: Cow<'static, str>,
}

/// The losses of one crossing, in the order they were met, each once.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    list: Vec<Loss>,
    /// What the list holds, once that is much: a flood of calls may lose something in each.
    known: Option<Box<Known>>,
}

impl PartialEq for Losses {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl Eq for Losses {}

/// Apart, because it is rarely there.
#[derive(Clone, Debug, Default)]
struct Known(HashSet<Loss>);

/// Fewer are compared with a new one one by one.
const MANY: usize = 16;

impl Losses {
    pub fn push(&mut self, pointer: impl Into<String>, reason: impl Into<Cow<'static, str>>) {
        let loss = Loss { pointer: pointer.into(), reason: reason.into() };
        if self.is_new(&loss) {
            self.list.push(loss);
        }
    }

    fn is_new(&mut self, loss: &Loss) -> bool {
        if self.list.len() < MANY {
            return !self.list.contains(loss);
        }
        let list = &self.list;
        self.known.get_or_insert_with(|| Box::new(Known(list.iter().cloned().collect()))).0.insert(loss.clone())
    }

    /// Notes every telling field of an object that stood at `pointer`.
    pub(crate) fn fields(&mut self, extras: &Extras, pointer: &str, reason: impl Into<Cow<'static, str>>) {
        let reason = reason.into();
        for key in extras.telling() {
            self.push(format!("{pointer}/{}", pointer_key(key)), reason.clone());
        }
    }

    pub fn extend(&mut self, other: Self) {
        for loss in other.list {
            self.push(loss.pointer, loss.reason);
        }
    }

    /// These losses, their places told as they stand in a body of this dialect rather than in the canonical model.
    #[must_use]
    pub fn in_a_body_of(mut self, source: Dialect) -> Self {
        let places = source.codec().places();
        self.known = None;
        for loss in &mut self.list {
            if let Some(place) = places.iter().find_map(|(model, own)| moved(&loss.pointer, model, own)) {
                loss.pointer = place;
            }
        }
        self
    }

    /// The same for the body of a request that is here: a place that is not in it is told as the nearest one around it that is.
    #[must_use]
    pub fn in_the_body(self, source: Dialect, body: &[u8]) -> Self {
        let Some(body) = utf8(body) else { return self.in_a_body_of(source) };
        let (places, mut index, mut told) = (source.codec().places(), Index::of(body), Self::default());
        for loss in self.list {
            let spelt = places.iter().filter_map(|(model, own)| moved(&loss.pointer, model, own));
            let candidates: Vec<String> = spelt.chain([loss.pointer.clone()]).collect();
            let there = candidates.iter().find(|place| index.find(place).is_some()).cloned();
            let place = there.unwrap_or_else(|| around(&mut index, candidates.first().unwrap_or(&loss.pointer)));
            told.push(place, loss.reason);
        }
        told
    }

    pub fn iter(&self) -> impl Iterator<Item = &Loss> {
        self.list.iter()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// The innermost value of the body that such a place would be in.
fn around(body: &mut Index<'_>, place: &str) -> String {
    let mut place = place;
    while body.find(place).is_none() {
        let Some((outer, _)) = place.rsplit_once('/') else { break };
        place = outer;
    }
    place.to_owned()
}

/// The pointer with its beginning `model` said as `own`, if it begins so. The stars of `own` stand for the last segments that those of
/// `model` stood for.
fn moved(pointer: &str, model: &str, own: &str) -> Option<String> {
    let mut rest = pointer;
    let mut segments = Vec::new();
    for expected in model.split('/').skip(1) {
        let end = rest.get(1..)?.find('/').map_or(rest.len(), |end| end + 1);
        let (segment, after) = rest.split_at(end);
        match expected {
            "*" => segments.push(segment),
            _ if segment.get(1..) == Some(expected) => {}
            _ => return None,
        }
        rest = after;
    }
    let stars = own.matches("/*").count();
    let mut kept = segments.into_iter().rev().take(stars).rev();
    let mut moved = String::new();
    for segment in own.split('/').skip(1) {
        match segment {
            "*" => moved.push_str(kept.next()?),
            segment => moved.extend(["/", segment]),
        }
    }
    moved.push_str(rest);
    Some(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_one_that_the_body_has() {
        let places = |source: Dialect, body: &str, pointer: &str| {
            let mut losses = Losses::default();
            losses.push(pointer, "x");
            losses.in_the_body(source, body.as_bytes()).iter().map(|loss| loss.pointer.clone()).collect::<Vec<_>>()
        };
        let body = r#"{"a/b":[1,{"c~":2}],"reasoning":{"effort":"low"},"messages":[{"content":null}]}"#;
        for (pointer, told) in [
            ("/a~1b/1/c~0", "/a~1b/1/c~0"),
            ("/a~1b/2", "/a~1b"),
            ("/a~1b/1/d/e", "/a~1b/1"),
            ("/reasoning_effort", "/reasoning/effort"),
            ("/messages/0/content/3", "/messages/0/content"),
            ("/tools/0", ""),
        ] {
            assert_eq!(places(Dialect::OpenAiChat, body, pointer), [told], "{pointer}");
        }
        let flat = r#"{"reasoning_effort":"low"}"#;
        assert_eq!(places(Dialect::OpenAiChat, flat, "/reasoning_effort"), ["/reasoning_effort"]);
        assert_eq!(places(Dialect::OpenAiChat, "no JSON", "/x"), [""]);
    }

    #[test]
    fn each_loss_is_told_once_however_many_there_are() {
        let mut losses = Losses::default();
        for at in (0..3 * MANY).chain(0..3 * MANY) {
            losses.push(format!("/tools/{at}/strict"), "no");
            losses.push("/seed", "no");
        }
        let pointers: Vec<&str> = losses.iter().map(|loss| loss.pointer.as_str()).collect();
        assert_eq!(
            (pointers.len(), &pointers[..3]),
            (3 * MANY + 1, &["/tools/0/strict", "/seed", "/tools/1/strict"][..])
        );
        // In another body's words they are other losses.
        let mut moved = losses.clone().in_a_body_of(Dialect::OpenAiChat);
        moved.extend(losses.clone().in_a_body_of(Dialect::OpenAiChat));
        assert_eq!(moved.len(), losses.len());
    }

    #[test]
    fn a_place_is_told_in_the_words_of_another_body() {
        for (pointer, model, own, wanted) in [
            ("/tool_choice", "/tool_choice", "/toolConfig/toolChoice", Some("/toolConfig/toolChoice")),
            ("/tools/3/strict", "/tools/*/strict", "/tools/*/function/strict", Some("/tools/3/function/strict")),
            ("/choices/0/message/content/2/x", "/choices/*/message/content/*", "/content/*", Some("/content/2/x")),
            ("/choices/1", "/choices/*", "/candidates/*", Some("/candidates/1")),
            ("/tool_choices", "/tool_choice", "/x", None),
            ("/tools", "/tools/*", "/x/*", None),
            ("", "/tools", "/x", None),
        ] {
            assert_eq!(moved(pointer, model, own).as_deref(), wanted, "{pointer}");
        }
    }
}
