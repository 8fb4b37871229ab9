//! Sources of a text: Google's grounding and citation metadata as canonical citations. They come with the last event of a
//! stream, and count in bytes of UTF-8 where the canonical model counts characters.

use serde_json::value::RawValue;

use crate::Text;
use crate::chat::{Extras, Part, PartKind};
use crate::json::{self, wire};
use crate::reply::Citation;

/// The fields of a candidate that say sources.
const GROUNDING: &str = "groundingMetadata";
const CITATIONS: &str = "citationMetadata";

wire! {
    struct GroundingWire<'a> {
        "groundingChunks" => chunks: Vec<ChunkWire<'a>>,
        "groundingSupports" => supports: Vec<SupportWire<'a>>,
    }
}

wire! {
    /// One source: a page, a document of the caller's own, a place.
    struct ChunkWire<'a> {
        "web" => web: SourceWire<'a>,
        "retrievedContext" => retrieved: SourceWire<'a>,
        "maps" => maps: SourceWire<'a>,
        "image" => image: SourceWire<'a>,
    }
}

wire! {
    struct SourceWire<'a> {
        "uri" | "sourceUri" => uri: Text,
        "title" => title: Text,
    }
}

wire! {
    struct SupportWire<'a> {
        "segment" => segment: SegmentWire<'a>,
        "groundingChunkIndices" => chunks: Vec<usize>,
    }
}

wire! {
    struct SegmentWire<'a> {
        "startIndex" => start: usize,
        "endIndex" => end: usize,
        "text" => text: Text,
    }
}

wire! {
    struct CitationsWire<'a> {
        "citations" => citations: Vec<CitationWire<'a>>,
    }
}

wire! {
    struct CitationWire<'a> {
        "startIndex" => start: usize,
        "endIndex" => end: usize,
        "uri" => uri: Text,
        "title" => title: Text,
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

/// The citations that a candidate's fields make of its answer. A source that no passage rests on is cited without one.
pub(super) fn citations(extras: &Extras, answer: &Text) -> Vec<Citation> {
    let (grounding, citations) = (extras.find(GROUNDING), extras.find(CITATIONS));
    if grounding.is_none() && citations.is_none() {
        return Vec::new();
    }
    let answer = answer.to_plain();
    let mut found = grounding.map(|raw| of_grounding(raw, &answer)).unwrap_or_default();
    found.extend(citations.map(|raw| of_citations(raw, &answer)).unwrap_or_default());
    found
}

fn of_grounding(raw: &RawValue, answer: &str) -> Vec<Citation> {
    let wire: GroundingWire<'_> = json::decode(raw.get().as_bytes()).unwrap_or_default();
    let sources: Vec<Option<Citation>> = wire.chunks.unwrap_or_default().into_iter().map(ChunkWire::source).collect();
    let mut found = Vec::new();
    let mut used = Vec::new();
    for support in wire.supports.into_iter().flatten() {
        let segment = support.segment.unwrap_or_default();
        let span = span(answer, segment.start.unwrap_or(0), segment.end, segment.text.as_ref());
        for at in support.chunks.unwrap_or_default() {
            if let Some(Some(source)) = sources.get(at) {
                used.push(at);
                found.push(Citation { span, ..source.clone() });
            }
        }
    }
    let unused = sources.into_iter().enumerate().filter(|(at, _)| !used.contains(at));
    found.extend(unused.filter_map(|(_, source)| source));
    found
}

fn of_citations(raw: &RawValue, answer: &str) -> Vec<Citation> {
    let wire: CitationsWire<'_> = json::decode(raw.get().as_bytes()).unwrap_or_default();
    let citation = |wire: CitationWire<'_>| {
        let span = span(answer, wire.start.unwrap_or(0), wire.end, None);
        Some(Citation { span, url: wire.uri?, title: wire.title })
    };
    wire.citations.unwrap_or_default().into_iter().filter_map(citation).collect()
}

impl ChunkWire<'_> {
    fn source(self) -> Option<Citation> {
        let source = self.web.or(self.retrieved).or(self.maps).or(self.image)?;
        Some(Citation { span: None, url: source.uri?, title: source.title })
    }
}

/// Bytes to characters. Where the bytes are not those of the passage, which may have been counted within one part of several,
/// the passage itself is looked for.
fn span(answer: &str, start: usize, end: Option<usize>, passage: Option<&Text>) -> Option<(u64, u64)> {
    let passage = passage.map(Text::to_plain).filter(|passage| !passage.is_empty());
    let counted =
        end.and_then(|end| answer.get(start..end)).filter(|text| passage.as_ref().is_none_or(|it| it == text));
    let (start, text) = match counted {
        Some(text) => (start, text),
        None => (answer.find(passage.as_deref()?)?, passage.as_deref()?),
    };
    let characters = |text: &str| u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
    let before = characters(answer.get(..start)?);
    Some((before, before.saturating_add(characters(text))))
}
