//! Token counts: input includes what was read from a cache, output includes reasoning, as in the canonical [`Usage`].

use serde_json::value::RawValue;

use super::wire::OWN;
use crate::json::{Sheet, count, pick};
use crate::reply::Usage;

/// Reads a usage object. `None` where it is not an object at all.
pub(super) fn decode_usage(raw: &RawValue) -> Option<Usage> {
    let usage = count_usage(raw.get())?;
    Some(Usage { raw: Some((OWN, raw.to_owned())), ..usage })
}

/// The counts alone.
pub(crate) fn count_usage(json: &str) -> Option<Usage> {
    let fields = ["input_tokens", "output_tokens", "total_tokens", "input_tokens_details", "output_tokens_details"];
    let [input, output, total, of_input, of_output] = pick(json, fields)?;
    let [cached, cache_write] = details(of_input, ["cached_tokens", "cache_write_tokens"]);
    let [reasoning] = details(of_output, ["reasoning_tokens"]);
    Some(Usage {
        input: input.and_then(count).unwrap_or(0),
        output: output.and_then(count).unwrap_or(0),
        total: total.and_then(count),
        cache_read: cached,
        cache_write,
        reasoning,
        ..Usage::default()
    })
}

fn details<const N: usize>(object: Option<&str>, names: [&str; N]) -> [Option<u64>; N] {
    object.and_then(|object| pick(object, names)).unwrap_or([None; N]).map(|number| number.and_then(count))
}

/// Writes a usage object: the provider's own where it is of this dialect, else one of its shape with every count that clients
/// are promised.
pub(super) fn encode_usage(out: &mut Vec<u8>, usage: &Usage) {
    if let Some((OWN, raw)) = &usage.raw {
        return out.extend_from_slice(raw.get().as_bytes());
    }
    let mut sheet = Sheet::new(out);
    sheet.number("input_tokens", usage.input);
    let mut details = Sheet::new(sheet.key("input_tokens_details"));
    details.number("cached_tokens", usage.cache_read.unwrap_or(0));
    details.number("cache_write_tokens", usage.cache_write.unwrap_or(0));
    details.end();
    sheet.number("output_tokens", usage.output);
    let mut details = Sheet::new(sheet.key("output_tokens_details"));
    details.number("reasoning_tokens", usage.reasoning.unwrap_or(0));
    details.end();
    sheet.number("total_tokens", usage.total());
    sheet.end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn odd_counts_never_fail_and_are_never_negative() {
        let odd = decode_usage(&json::raw(
            r#"{"input_tokens":12.9,"output_tokens":-3,"total_tokens":"x","input_tokens_details":null}"#.into(),
        ))
        .unwrap();
        assert_eq!((odd.input, odd.output, odd.total, odd.cache_read), (12, 0, None, None));
        assert!(decode_usage(&json::raw("7".into())).is_none());
    }

    #[test]
    fn oai_resp_usage_input_output_details() {
        let source = r#"{"input_tokens":20,"input_tokens_details":{"cached_tokens":5,"cache_write_tokens":3},"output_tokens":9,"output_tokens_details":{"reasoning_tokens":4},"total_tokens":29}"#;
        let usage = decode_usage(&json::raw(source.into())).unwrap();
        let counts = (usage.input, usage.output, usage.total, usage.cache_read, usage.cache_write, usage.reasoning);
        assert_eq!(counts, (20, 9, Some(29), Some(5), Some(3), Some(4)));
        let mut out = Vec::new();
        encode_usage(&mut out, &Usage { raw: None, ..usage });
        assert_eq!(String::from_utf8(out).unwrap(), source);
    }
}
