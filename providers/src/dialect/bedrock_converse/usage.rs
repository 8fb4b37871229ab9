//! Token counts: Bedrock reports `inputTokens` *without* what was read from or written to the prompt cache; the canonical [`Usage`]
//! includes both.

use serde_json::value::RawValue;

use super::wire::OWN;
use crate::json::{self, Array, Fault, Object, Reader};
use crate::reply::Usage;

/// The counts of a usage object.
#[derive(Default)]
struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_5m: Option<u64>,
    cache_write_1h: Option<u64>,
}

/// Reads a usage object. `None` where it is not an object at all.
pub(crate) fn decode(raw: &RawValue) -> Option<Usage> {
    Some(Usage { raw: Some((OWN, raw.to_owned())), ..count_usage(raw.get())? })
}

/// The counts alone, from the text of a usage object.
pub(crate) fn count_usage(usage: &str) -> Option<Usage> {
    let mut counts = Counts::default();
    let read = Reader::new(usage).by(|reader| reader.object(|reader, key| counts.note(key, reader)));
    read.is_ok_and(|is_object| is_object).then(|| counts.usage())
}

// === impl Counts ===

impl Counts {
    fn note(&mut self, key: &str, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let count = match key {
            "inputTokens" => &mut self.input,
            "outputTokens" => &mut self.output,
            "totalTokens" => &mut self.total,
            // The second spellings stood in the first models of the cache.
            "cacheReadInputTokens" | "cacheReadInputTokenCount" => &mut self.cache_read,
            "cacheWriteInputTokens" | "cacheWriteInputTokenCount" => &mut self.cache_write,
            "cacheDetails" => return reader.array(|reader| self.detail(reader)).map(|_| ()),
            _ => return reader.raw().map(|_| ()),
        };
        let number = json::count(reader.raw()?);
        *count = number.or(*count);
        Ok(())
    }

    /// What was written to the cache, by how long it stays.
    fn detail(&mut self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let (mut ttl, mut tokens) = (None, None);
        reader.object(|reader, key| {
            match key {
                "ttl" => ttl = Some(reader.raw()?),
                "inputTokens" => tokens = json::count(reader.raw()?),
                _ => _ = reader.raw()?,
            }
            Ok(())
        })?;
        match ttl {
            Some(r#""5m""#) => self.cache_write_5m = tokens,
            Some(r#""1h""#) => self.cache_write_1h = tokens,
            _ => {}
        }
        Ok(())
    }

    fn usage(self) -> Usage {
        // The sum is what is billed; the breakdown only stands in for it where the sum was left out.
        let breakdown = match (self.cache_write_5m, self.cache_write_1h) {
            (None, None) => None,
            (five, one) => Some(five.unwrap_or(0).saturating_add(one.unwrap_or(0))),
        };
        let cache_write = self.cache_write.or(breakdown);
        let cached = self.cache_read.unwrap_or(0).saturating_add(cache_write.unwrap_or(0));
        let input = self.input.unwrap_or(0).saturating_add(cached);
        let output = self.output.unwrap_or(0);
        Usage {
            input,
            output,
            // Never less than its parts: a total without the cache would contradict them.
            total: self.total.map(|total| total.max(input.saturating_add(output))),
            cache_read: self.cache_read,
            cache_write,
            cache_write_5m: self.cache_write_5m,
            cache_write_1h: self.cache_write_1h,
            reasoning: None,
            raw: None,
        }
    }
}

// === Writing ===

/// Writes a usage object: the provider's own where it is of this dialect, else one made of the canonical counts.
pub(super) fn encode(usage: Option<&Usage>, out: &mut Vec<u8>) {
    let Some(usage) = usage else {
        return out.extend_from_slice(br#"{"inputTokens":0,"outputTokens":0,"totalTokens":0}"#);
    };
    if let Some((OWN, raw)) = &usage.raw {
        return out.extend_from_slice(raw.get().as_bytes());
    }
    let cached = usage.cache_read.unwrap_or(0).saturating_add(usage.cache_write.unwrap_or(0));
    let mut object = Object::new(out);
    object
        .number("inputTokens", usage.input.saturating_sub(cached))
        .number("outputTokens", usage.output)
        .number("totalTokens", usage.total());
    for (key, count) in [("cacheReadInputTokens", usage.cache_read), ("cacheWriteInputTokens", usage.cache_write)] {
        if let Some(count) = count {
            object.number(key, count);
        }
    }
    // The longest first, as the service has them.
    let details = [("1h", usage.cache_write_1h), ("5m", usage.cache_write_5m)];
    let written = details.map(|(ttl, count)| (ttl, count.unwrap_or(0)));
    if written.iter().any(|(_, count)| *count > 0) {
        let mut array = Array::new(object.key("cacheDetails"));
        for (ttl, count) in written.into_iter().filter(|(_, count)| *count > 0) {
            let mut detail = Object::new(array.item());
            detail.str("ttl", ttl).number("inputTokens", count);
            detail.end();
        }
        array.end();
    }
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(json: &str) -> Usage {
        decode(&json::raw(json.to_owned())).unwrap()
    }

    #[test]
    fn bdk_usage_cache_read_write_excluded_from_input() {
        let whole = usage(
            r#"{"inputTokens":3,"cacheReadInputTokens":10,"cacheWriteInputTokens":7,"cacheDetails":[{"ttl":"1h","inputTokens":2},{"ttl":"5m","inputTokens":5}],"outputTokens":4,"totalTokens":24,"serverToolUsage":{}}"#,
        );
        assert_eq!((whole.input, whole.output, whole.total), (20, 4, Some(24)));
        assert_eq!((whole.cache_read, whole.cache_write), (Some(10), Some(7)));
        assert_eq!((whole.cache_write_5m, whole.cache_write_1h), (Some(5), Some(2)));
        let without = usage(r#"{"inputTokens":3,"cacheReadInputTokens":10,"outputTokens":4,"totalTokens":7}"#);
        assert_eq!((without.input, without.total()), (13, 17), "a total is never less than its parts");
        let parts = usage(r#"{"inputTokens":3,"cacheDetails":[{"ttl":"5m","inputTokens":5},7,{}]}"#);
        assert_eq!((parts.input, parts.cache_write), (8, Some(5)));
    }

    #[test]
    fn odd_counts_never_fail_and_are_never_negative() {
        let odd = usage(r#"{"inputTokens":12.0,"outputTokens":-3,"cacheReadInputTokens":null,"totalTokens":"x"}"#);
        assert_eq!((odd.input, odd.output, odd.cache_read, odd.total), (12, 0, None, None));
        assert_eq!(usage(r#"{"inputTokens":1e300}"#).input, u64::MAX);
    }

    #[test]
    fn encoding_takes_the_cache_out_of_the_input_again() {
        let foreign = Usage {
            input: 20,
            output: 4,
            cache_read: Some(10),
            cache_write: Some(7),
            cache_write_1h: Some(7),
            ..Usage::default()
        };
        let mut out = Vec::new();
        encode(Some(&foreign), &mut out);
        let back = usage(std::str::from_utf8(&out).unwrap());
        assert_eq!((back.input, back.cache_read, back.cache_write, back.total()), (20, Some(10), Some(7), 24));
        assert_eq!((back.cache_write_1h, back.cache_write_5m), (Some(7), None));
    }
}
