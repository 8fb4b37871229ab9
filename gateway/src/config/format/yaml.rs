//! YAML with positions, from the spans its parser reports.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::{Location, Spanned};

use crate::config::finding::Finding;
use crate::config::tree::{Kind, Member, Node, Place};

/// Parses YAML text. Anchors are limited by the parser; a key written twice is a grammar error.
pub(super) fn parse(text: &str) -> Result<Node, Vec<Finding>> {
    let options = serde_saphyr::options! { with_snippet: false };
    let tree: Spanned<Kind> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| vec![syntax(&error)])?;
    Ok(node(tree))
}

fn syntax(error: &serde_saphyr::Error) -> Finding {
    let message = error.to_string();
    // The place is printed in front, and advice about the parser's programming interface helps nobody here.
    let end = [" at line ", ", set ", "; use ", "\n"].iter().filter_map(|mark| message.find(mark)).min();
    let message = end.and_then(|end| message.get(..end)).unwrap_or(&message);
    Finding::unreadable_at(error.location().as_ref().map(place), format!("not valid YAML: {message}"))
}

fn node(spanned: Spanned<Kind>) -> Node {
    Node { at: place(&spanned.referenced), kind: spanned.value }
}

fn place(location: &Location) -> Place {
    let count = |number: u64| usize::try_from(number).unwrap_or_default();
    Place { line: count(location.line()), column: count(location.column()) }
}

struct KindVisitor;

// === impl Kind ===

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Kind, E> {
        Ok(Kind::Leaf(Value::Bool(flag)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Kind, E> {
        Ok(Kind::Leaf(Value::from(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Kind, E> {
        Ok(Kind::Leaf(Value::from(number)))
    }

    /// A number that JSON cannot hold (`.inf`) stays text, so that the schema refuses it with its place.
    fn visit_f64<E>(self, number: f64) -> Result<Kind, E> {
        let text = || Value::from(number.to_string());
        Ok(Kind::Leaf(Number::from_f64(number).map_or_else(text, Value::Number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Kind, E> {
        Ok(Kind::Leaf(Value::from(text)))
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Leaf(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Leaf(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        Kind::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Kind>>()? {
            items.push(node(item));
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut members = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, Spanned<Kind>>()? {
            members.push(Member::new(key.value, place(&key.referenced), node(value)));
        }
        Ok(Kind::Map(members))
    }
}
