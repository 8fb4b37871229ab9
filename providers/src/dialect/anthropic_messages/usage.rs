//! Token counts: Anthropic reports `input_tokens` *without* what was read from or written to the prompt cache; the canonical
//! [`Usage`] includes both.

use serde_json::value::RawValue;

use super::wire::{OWN, fields_of, object_of, overlay};
use crate::chat::{Extras, Raw};
use crate::json::{self, Fault, Object, Reader};
use crate::reply::Usage;

/// The counts of a usage object.
#[derive(Default)]
struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_5m: Option<u64>,
    cache_write_1h: Option<u64>,
    thinking: Option<u64>,
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
            match key {
                "cache_creation" | "output_tokens_details" => {
                    reader.object(|reader, key| counts.note(key, reader))?;
                }
                _ => counts.note(key, reader)?,
            }
            Ok(())
        })
    });
    read.is_ok_and(|is_object| is_object).then(|| counts.usage())
}

// === impl Counts ===

impl Counts {
    /// No name means one thing in the object and another in its details.
    fn note(&mut self, key: &str, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let number = reader.raw()?;
        let count = match key {
            "input_tokens" => &mut self.input,
            "output_tokens" => &mut self.output,
            "cache_read_input_tokens" => &mut self.cache_read,
            "cache_creation_input_tokens" => &mut self.cache_write,
            "ephemeral_5m_input_tokens" => &mut self.cache_write_5m,
            "ephemeral_1h_input_tokens" => &mut self.cache_write_1h,
            "thinking_tokens" => &mut self.thinking,
            _ => return Ok(()),
        };
        *count = json::count(number);
        Ok(())
    }

    fn usage(self) -> Usage {
        // The total is what is billed; the breakdown only stands in for it where a provider leaves the total out.
        let breakdown = match (self.cache_write_5m, self.cache_write_1h) {
            (None, None) => None,
            (five, one) => Some(five.unwrap_or(0).saturating_add(one.unwrap_or(0))),
        };
        let cache_write = self.cache_write.or(breakdown);
        let cached = self.cache_read.unwrap_or(0).saturating_add(cache_write.unwrap_or(0));
        Usage {
            input: self.input.unwrap_or(0).saturating_add(cached),
            output: self.output.unwrap_or(0),
            total: None,
            cache_read: self.cache_read,
            cache_write,
            cache_write_5m: self.cache_write_5m,
            cache_write_1h: self.cache_write_1h,
            reasoning: self.thinking,
            raw: None,
        }
    }
}

// === Reports of a stream, and what is written ===

/// A later report over an earlier one: the latest count wins, and a `null` says nothing.
pub(crate) fn merge(earlier: &RawValue, later: &RawValue) -> Raw {
    let mut fields = fields_of(earlier);
    let mut news = Extras::default();
    for (key, value) in fields_of(later).iter() {
        if value.get() != "null" || fields.find(key).is_none() {
            news.push(key, value.to_owned());
        }
    }
    overlay(&mut fields, &news);
    object_of(&fields)
}

/// Writes a usage object: the provider's own where it is of this dialect, else one made of the canonical counts.
pub(super) fn encode(usage: Option<&Usage>, out: &mut Vec<u8>) {
    let Some(usage) = usage else {
        return out.extend_from_slice(br#"{"input_tokens":0,"output_tokens":0}"#);
    };
    if let Some((OWN, raw)) = &usage.raw {
        return out.extend_from_slice(raw.get().as_bytes());
    }
    let (read, write) = (usage.cache_read.unwrap_or(0), usage.cache_write.unwrap_or(0));
    let mut object = Object::new(out);
    object
        .number("input_tokens", usage.input.saturating_sub(read.saturating_add(write)))
        .number("cache_creation_input_tokens", write)
        .number("cache_read_input_tokens", read);
    if usage.cache_write_5m.is_some() || usage.cache_write_1h.is_some() {
        let mut creation = Object::new(object.key("cache_creation"));
        creation
            .number("ephemeral_5m_input_tokens", usage.cache_write_5m.unwrap_or(0))
            .number("ephemeral_1h_input_tokens", usage.cache_write_1h.unwrap_or(0));
        creation.end();
    }
    object.number("output_tokens", usage.output);
    if let Some(reasoning) = usage.reasoning {
        let mut details = Object::new(object.key("output_tokens_details"));
        details.number("thinking_tokens", reasoning);
        details.end();
    }
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn usage(json: &str) -> Usage {
        decode(&json::raw(json.to_owned())).unwrap()
    }

    #[test]
    fn anth_cache_creation_breakdown_5m_1h_total() {
        let whole = usage(
            r#"{"input_tokens":3,"cache_read_input_tokens":10,"cache_creation_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":5,"ephemeral_1h_input_tokens":2},"output_tokens":4}"#,
        );
        assert_eq!((whole.input, whole.output, whole.cache_write), (20, 4, Some(7)));
        assert_eq!((whole.cache_write_5m, whole.cache_write_1h), (Some(5), Some(2)));
        let parts = usage(r#"{"input_tokens":3,"cache_creation":{"ephemeral_5m_input_tokens":5}}"#);
        assert_eq!((parts.input, parts.cache_write), (8, Some(5)));
    }

    #[test]
    fn odd_counts_never_fail_and_are_never_negative() {
        let odd = usage(r#"{"input_tokens":12.0,"output_tokens":-3,"cache_read_input_tokens":null}"#);
        assert_eq!((odd.input, odd.output, odd.cache_read), (12, 0, None));
        assert_eq!(usage(r#"{"input_tokens":1e300}"#).input, u64::MAX);
    }

    #[test]
    fn encoding_takes_the_cache_out_of_the_input_again() {
        let foreign = Usage { input: 20, output: 4, cache_read: Some(10), cache_write: Some(7), ..Usage::default() };
        let mut out = Vec::new();
        encode(Some(&foreign), &mut out);
        let back = usage(std::str::from_utf8(&out).unwrap());
        assert_eq!((back.input, back.cache_read, back.cache_write), (20, Some(10), Some(7)));
    }

    #[test]
    fn the_latest_report_wins_and_null_says_nothing() {
        let raw = |text: &str| json::raw(text.to_owned());
        let merged = merge(
            &raw(r#"{"input_tokens":5,"cache_read_input_tokens":2,"service_tier":"standard","x":null}"#),
            &raw(r#"{"output_tokens":9,"input_tokens":6,"cache_read_input_tokens":null}"#),
        );
        assert_eq!(
            merged.get(),
            r#"{"cache_read_input_tokens":2,"service_tier":"standard","x":null,"output_tokens":9,"input_tokens":6}"#
        );
    }
}
