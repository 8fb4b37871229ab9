//! JSON with positions, by way of `RawValue`: each nested value is a slice of the text, so its offset is known.

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::finding::Finding;
use crate::config::tree::{Kind, Lines, Member, Node, Place};

/// Parses JSON text. The first pass checks the grammar and the depth of the whole text, the second one finds positions.
pub(super) fn parse(text: &str) -> Result<Node, Vec<Finding>> {
    let walk = || {
        serde_json::from_str::<Value>(text)?;
        Walk { text, lines: Lines::of(text) }.node(serde_json::from_str(text)?)
    };
    walk().map_err(|error: serde_json::Error| vec![syntax(&error)])
}

fn syntax(error: &serde_json::Error) -> Finding {
    let place = Place { line: error.line(), column: error.column().max(1) };
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    Finding::unreadable_at(Some(place), format!("not valid JSON: {message}"))
}

struct Walk<'a> {
    text: &'a str,
    lines: Lines<'a>,
}

/// The members of an object in order, duplicates included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

struct MembersVisitor;

// === impl Walk ===

impl<'a> Walk<'a> {
    fn node(&self, raw: &'a RawValue) -> Result<Node, serde_json::Error> {
        let at = self.offset(raw);
        let kind = match raw.get().bytes().next() {
            Some(b'{') => Kind::Map(self.members(raw, at + 1)?),
            Some(b'[') => {
                let items: Vec<&'a RawValue> = serde_json::from_str(raw.get())?;
                Kind::List(items.into_iter().map(|item| self.node(item)).collect::<Result<_, _>>()?)
            }
            _ => Kind::Leaf(serde_json::from_str(raw.get())?),
        };
        Ok(Node { at: self.lines.place(at), kind })
    }

    /// Between the end of one value and the next key there is nothing but white space and a comma, so the next quote opens the key.
    fn members(&self, raw: &'a RawValue, mut cursor: usize) -> Result<Vec<Member>, serde_json::Error> {
        let Members(entries) = serde_json::from_str(raw.get())?;
        let mut members = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let quote = self.text.get(cursor..).and_then(|rest| rest.find('"')).unwrap_or_default();
            members.push(Member::new(key, self.lines.place(cursor + quote), self.node(value)?));
            cursor = self.offset(value) + value.get().len();
        }
        Ok(members)
    }

    fn offset(&self, raw: &RawValue) -> usize {
        raw.get().as_ptr().addr().saturating_sub(self.text.as_ptr().addr())
    }
}

// === impl Members ===

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(entry) = map.next_entry()? {
            members.push(entry);
        }
        Ok(Members(members))
    }
}
