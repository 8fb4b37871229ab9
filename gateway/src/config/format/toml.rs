//! TOML with positions, from the spans its parser keeps.

use serde_json::{Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::finding::Finding;
use crate::config::tree::{Kind, Lines, Member, Node};

/// Parses TOML text; reports every grammar error, since the parser recovers.
pub(super) fn parse(text: &str) -> Result<Node, Vec<Finding>> {
    let lines = Lines::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(errors.iter().map(|error| syntax(error, &lines)).collect());
    }
    Ok(Node { at: lines.place(0), kind: members(table.get_ref(), &lines) })
}

fn syntax(error: &toml::de::Error, lines: &Lines<'_>) -> Finding {
    let place = error.span().map(|span| lines.place(span.start));
    Finding::unreadable_at(place, format!("not valid TOML: {}", error.message()))
}

fn members(table: &DeTable<'_>, lines: &Lines<'_>) -> Kind {
    let member = |(key, value): (&Spanned<_>, _)| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        Member::new(name.to_string(), lines.place(key.span().start), node(value, lines))
    };
    Kind::Map(table.iter().map(member).collect())
}

fn node(value: &Spanned<DeValue<'_>>, lines: &Lines<'_>) -> Node {
    let kind = match value.get_ref() {
        DeValue::String(text) => Kind::Leaf(Value::String(text.to_string())),
        DeValue::Boolean(flag) => Kind::Leaf(Value::Bool(*flag)),
        DeValue::Integer(digits) => Kind::Leaf(integer(digits.as_str(), digits.radix())),
        DeValue::Float(digits) => Kind::Leaf(float(digits.as_str())),
        DeValue::Datetime(time) => Kind::Leaf(Value::String(time.to_string())),
        DeValue::Array(items) => Kind::List(items.iter().map(|item| node(item, lines)).collect()),
        DeValue::Table(table) => members(table, lines),
    };
    Node { at: lines.place(value.span().start), kind }
}

/// A number that JSON cannot hold stays text, so that the schema refuses it with its place.
fn integer(digits: &str, radix: u32) -> Value {
    i64::from_str_radix(digits, radix).map_or_else(|_| Value::from(digits), Value::from)
}

fn float(digits: &str) -> Value {
    digits.parse().ok().and_then(Number::from_f64).map_or_else(|| Value::from(digits), Value::Number)
}
