//! Sources of a text, both ways: Cohere's citations as canonical ones.
//!
//! A citation of Cohere's quotes documents and tools' answers of the request; a canonical one has an address. So only sources
//! that say one cross, and all of a citation goes back to its own dialect raw.

use serde_json::value::RawValue;

use super::wire::fields_of;
use crate::Text;
use crate::chat::{Part, PartKind};
use crate::json::{self, Array, Object, Str, wire};
use crate::reply::Citation;

/// What is cited: the answer, rather than a plan or a thought (SDK, `CitationType`).
const TEXT_CONTENT: &str = "TEXT_CONTENT";

wire! {
    struct CitationWire<'a> {
        "start" => start: usize,
        "end" => end: usize,
        "text" => text: Text,
        "sources" => sources: Vec<SourceWire<'a>>,
        "type" => kind: Str<'a>,
    }
}

wire! {
    struct SourceWire<'a> {
        "document" => document: &'a RawValue,
    }
}

/// The text that sources are said of: the answer without its thoughts.
pub(super) fn answer<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Text {
    let mut whole = Text::default();
    for part in parts {
        if let PartKind::Text(text) = &part.kind {
            whole.push(text);
        }
    }
    whole
}

// === Reading ===

/// The sources with an address that these citations name.
pub(super) fn decode<'a>(citations: impl IntoIterator<Item = &'a RawValue>, answer: &Text) -> Vec<Citation> {
    let mut found = Vec::new();
    for raw in citations {
        let Ok(wire) = json::decode_at::<CitationWire<'_>>(raw, "") else { continue };
        if wire.kind.as_ref().is_some_and(|kind| kind.as_str() != TEXT_CONTENT) {
            continue;
        }
        let span = span(&answer.to_plain(), &wire);
        let sources = wire.sources.into_iter().flatten().filter_map(|source| address(source.document?));
        found.extend(sources.map(|(url, title)| Citation { span, url, title }));
    }
    found
}

fn address(document: &RawValue) -> Option<(Text, Option<Text>)> {
    let fields = fields_of(document);
    let text = |key| fields.find(key).and_then(Text::from_raw);
    Some((text("url")?, text("title")))
}

/// The place of the passage. It may have been counted within one of several texts: then the passage itself is looked for.
fn span(answer: &str, wire: &CitationWire<'_>) -> Option<(u64, u64)> {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let said = wire.start.zip(wire.end).filter(|(start, end)| start <= end);
    let Some(quoted) = wire.text.as_ref().map(Text::to_plain).filter(|text| !text.is_empty()) else {
        return said.map(|(start, end)| (count(start), count(end)));
    };
    let holds = |(start, end): &(usize, usize)| answer.chars().skip(*start).take(end - start).eq(quoted.chars());
    if let Some((start, end)) = said.filter(holds) {
        return Some((count(start), count(end)));
    }
    let before = answer.get(..answer.find(quoted.as_ref())?)?.chars().count();
    Some((count(before), count(before.saturating_add(quoted.chars().count()))))
}

// === Writing ===

/// Canonical citations, one for each passage with all of its sources.
pub(super) fn encode(citations: &[Citation], answer: &Text) -> Vec<Vec<u8>> {
    let answer = answer.to_plain();
    let mut numbers = 0_u32..;
    let same_passage = |one: &Citation, other: &Citation| one.span == other.span;
    citations.chunk_by(same_passage).map(|sources| encode_passage(sources, &answer, &mut numbers)).collect()
}

fn encode_passage(sources: &[Citation], answer: &str, numbers: &mut impl Iterator<Item = u32>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    if let Some((start, end)) = sources.first().and_then(|source| source.span) {
        let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let passage: String = answer.chars().skip(index(start)).take(index(end.saturating_sub(start))).collect();
        object.number("start", start).number("end", end).str("text", &passage);
    }
    let mut array = Array::new(object.key("sources"));
    for (source, number) in sources.iter().zip(numbers) {
        let mut entry = Object::new(array.item());
        entry.str("type", "document").str("id", &format!("source_{number}"));
        let mut document = Object::new(entry.key("document"));
        document.text("url", &source.url);
        if let Some(title) = &source.title {
            document.text("title", title);
        }
        document.end();
        entry.end();
    }
    array.end();
    object.str("type", TEXT_CONTENT);
    object.end();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(citation: &str, answer: &str) -> Vec<Citation> {
        decode([&*json::raw(citation.to_owned())], &Text::from_plain(answer))
    }

    #[test]
    fn only_sources_with_an_address_cross_and_places_are_checked() {
        let url = |citation: &str, answer| {
            read(citation, answer).first().map(|found| (found.url.to_plain().into_owned(), found.span))
        };
        let of = |place: &str, kind: &str| {
            format!(
                r#"{{{place},"sources":[{{"type":"tool","id":"t","tool_output":{{}}}},{{"type":"document","id":"d","document":{{"url":"https://a.example","title":"A"}}}}],"type":"{kind}"}}"#
            )
        };
        let there = of(r#""start":2,"end":5,"text":"née""#, TEXT_CONTENT);
        assert_eq!(url(&there, "a née b"), Some(("https://a.example".into(), Some((2, 5)))));
        assert_eq!(url(&there, "behind another text: née"), Some(("https://a.example".into(), Some((21, 24)))));
        assert_eq!(url(&there, "gone"), Some(("https://a.example".into(), None)));
        assert_eq!(url(&of(r#""start":0,"end":1"#, "PLAN"), "a"), None);
        assert_eq!(
            url(r#"{"start":0,"end":1,"sources":[{"type":"document","id":"d","document":{"text":"t"}}]}"#, "a"),
            None
        );
    }

    #[test]
    fn sources_of_one_passage_are_one_citation() {
        let cite = |span, url: &'static str| Citation { span, url: url.into(), title: None };
        let written = encode(&[cite(Some((2, 5)), "u"), cite(Some((2, 5)), "v"), cite(None, "w")], &"a née b".into());
        let written: Vec<serde_json::Value> =
            written.iter().map(|json| serde_json::from_slice(json).unwrap()).collect();
        assert_eq!(written.len(), 2);
        assert_eq!((&written[0]["text"], &written[0]["sources"][1]["document"]["url"]), (&"née".into(), &"v".into()));
        assert_eq!(
            (&written[1]["text"], &written[1]["sources"][0]["id"]),
            (&serde_json::Value::Null, &"source_2".into())
        );
    }
}
