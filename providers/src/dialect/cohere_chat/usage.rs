//! Token counts. Cohere reports what it bills (`billed_units`) beside what went through the model (`tokens`), which counts its
//! own templates too. What is billed counts here.
//!
//! `cached_tokens` are of the latter kind and may be more than all that is billed, so that they are nobody's discount: they go
//! back to this dialect only.

use serde_json::value::RawValue;

use super::wire::OWN;
use crate::json::{self, Fault, Object, Reader};
use crate::reply::Usage;

/// The counts of a usage object.
#[derive(Default)]
struct Counts {
    billed: Side,
    tokens: Side,
}

/// Input, output, and how much of the output was reasoning.
#[derive(Default)]
struct Side {
    input: Option<u64>,
    /// Of images to embed, which are counted apart.
    images: Option<u64>,
    output: Option<u64>,
    reasoning: Option<u64>,
}

/// Reads a usage object. `None` where it is not an object at all.
pub(crate) fn decode(raw: &RawValue) -> Option<Usage> {
    Some(Usage { raw: Some((OWN, raw.to_owned())), ..count_usage(raw.get())? })
}

/// The counts alone, from the text of a usage object.
pub(crate) fn count_usage(usage: &str) -> Option<Usage> {
    let mut counts = Counts::default();
    let read = Reader::new(usage).by(|reader| {
        reader.object(|reader, key| {
            let side = match key {
                "billed_units" => &mut counts.billed,
                "tokens" => &mut counts.tokens,
                _ => return reader.raw().map(|_| ()),
            };
            reader.object(|reader, key| side.note(key, reader)).map(|_| ())
        })
    });
    read.is_ok_and(|is_object| is_object).then(|| counts.usage())
}

impl Side {
    fn note(&mut self, key: &str, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let number = reader.raw()?;
        let count = match key {
            "input_tokens" => &mut self.input,
            "image_tokens" => &mut self.images,
            "output_tokens" => &mut self.output,
            "reasoning_tokens" => &mut self.reasoning,
            _ => return Ok(()),
        };
        *count = json::count(number);
        Ok(())
    }

    fn all_input(&self) -> Option<u64> {
        let images = self.images.unwrap_or(0);
        self.input.or(self.images.map(|_| 0)).map(|input| input.saturating_add(images))
    }
}

impl Counts {
    fn usage(self) -> Usage {
        let output = self.billed.output.or(self.tokens.output).unwrap_or(0);
        Usage {
            input: self.billed.all_input().or(self.tokens.all_input()).unwrap_or(0),
            output,
            reasoning: self.tokens.reasoning.or(self.billed.reasoning).map(|reasoning| reasoning.min(output)),
            ..Usage::default()
        }
    }
}

/// Writes a usage object: the provider's own where it is of this dialect, else one made of the canonical counts.
pub(super) fn encode(usage: &Usage, out: &mut Vec<u8>) {
    if let Some((OWN, raw)) = &usage.raw {
        return out.extend_from_slice(raw.get().as_bytes());
    }
    let mut object = Object::new(out);
    for key in ["billed_units", "tokens"] {
        let mut side = Object::new(object.key(key));
        side.number("input_tokens", usage.input).number("output_tokens", usage.output);
        if let Some(reasoning) = usage.reasoning.filter(|_| key == "tokens") {
            side.number("reasoning_tokens", reasoning);
        }
        side.end();
    }
    if let Some(cached) = usage.cache_read {
        object.number("cached_tokens", cached);
    }
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(json: &str) -> (u64, u64, Option<u64>, Option<u64>) {
        let usage = decode(&json::raw(json.to_owned())).unwrap();
        (usage.input, usage.output, usage.cache_read, usage.reasoning)
    }

    #[test]
    fn coh_usage_billed_vs_tokens() {
        let both = r#"{"billed_units":{"input_tokens":27,"output_tokens":68},"cached_tokens":480,"tokens":{"input_tokens":556,"output_tokens":71}}"#;
        assert_eq!(counted(both), (27, 68, None, None));
        assert_eq!(counted(r#"{"tokens":{"input_tokens":556,"output_tokens":71}}"#), (556, 71, None, None));
        let thought = r#"{"billed_units":{"input_tokens":84,"output_tokens":314},"tokens":{"input_tokens":1501,"output_tokens":346,"reasoning_tokens":304}}"#;
        assert_eq!(counted(thought), (84, 314, None, Some(304)));
    }

    #[test]
    fn odd_counts_never_fail_and_are_never_negative() {
        let odd = r#"{"billed_units":{"input_tokens":12.0,"output_tokens":-3,"search_units":1},"tokens":null}"#;
        assert_eq!(counted(odd), (12, 0, None, None));
        assert_eq!(counted(r#"{"billed_units":null}"#), (0, 0, None, None));
        assert!(count_usage("[]").is_none());
    }
}
