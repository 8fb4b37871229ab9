//! Token counts: Google counts thoughts beside the candidates and tool prompts beside the prompt; the canonical [`Usage`]
//! includes both. What was read from a cache is part of the prompt here, too.

use serde_json::value::RawValue;

use super::wire::OWN;
use crate::json::{self, Object, pick};
use crate::reply::Usage;

/// Reads a `usageMetadata`. `None` where it is not an object at all.
pub(crate) fn decode(raw: &RawValue) -> Option<Usage> {
    Some(Usage { raw: Some((OWN, raw.to_owned())), ..count_usage(raw.get())? })
}

/// The counts alone, from the text of a `usageMetadata`.
pub(crate) fn count_usage(usage: &str) -> Option<Usage> {
    let [prompt, tool_prompt, candidates, thoughts, cached, total] = pick(
        usage,
        [
            "promptTokenCount",
            "toolUsePromptTokenCount",
            "candidatesTokenCount",
            "thoughtsTokenCount",
            "cachedContentTokenCount",
            "totalTokenCount",
        ],
    )?;
    // protobuf's JSON writes large numbers as strings.
    let count = |number: Option<&str>| number.and_then(|number| json::count(number.trim_matches('"')));
    let (candidates, thoughts, total) = (count(candidates).unwrap_or(0), count(thoughts), count(total));
    let input = count(prompt).unwrap_or(0).saturating_add(count(tool_prompt).unwrap_or(0));
    // Should a server count thoughts among the candidates after all, its total tells.
    let within = total == Some(input.saturating_add(candidates)) && candidates >= thoughts.unwrap_or(0);
    let beside = if within { 0 } else { thoughts.unwrap_or(0) };
    Some(Usage {
        input,
        output: candidates.saturating_add(beside),
        total,
        cache_read: count(cached),
        reasoning: thoughts,
        ..Usage::default()
    })
}

/// Writes a `usageMetadata`: the provider's own where it is of this dialect, else one made of the canonical counts.
pub(crate) fn encode(usage: &Usage, out: &mut Vec<u8>) {
    if let Some((OWN, raw)) = &usage.raw {
        return out.extend_from_slice(raw.get().as_bytes());
    }
    let mut object = Object::new(out);
    object
        .number("promptTokenCount", usage.input)
        .number("candidatesTokenCount", usage.output.saturating_sub(usage.reasoning.unwrap_or(0)));
    for (key, count) in [("cachedContentTokenCount", usage.cache_read), ("thoughtsTokenCount", usage.reasoning)] {
        if let Some(count) = count {
            object.number(key, count);
        }
    }
    object.number("totalTokenCount", usage.total());
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
    fn gem_usage_cached_thoughts_tooluse_modality_details() {
        let details = r#"{"promptTokenCount":1107,"cachedContentTokenCount":1081,"toolUsePromptTokenCount":1171,"candidatesTokenCount":21,"thoughtsTokenCount":41,"totalTokenCount":2340,"promptTokensDetails":[{"modality":"TEXT","tokenCount":1107}]}"#;
        let whole = usage(details);
        assert_eq!((whole.input, whole.output, whole.total), (2278, 62, Some(2340)));
        assert_eq!((whole.cache_read, whole.reasoning), (Some(1081), Some(41)));
        let mut out = Vec::new();
        encode(&whole, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), details);
    }

    #[test]
    fn thoughts_among_the_candidates_are_not_counted_twice() {
        let within =
            usage(r#"{"promptTokenCount":5,"candidatesTokenCount":60,"thoughtsTokenCount":40,"totalTokenCount":65}"#);
        assert_eq!((within.output, within.reasoning), (60, Some(40)));
        // All of the output may be thought.
        let only = usage(r#"{"promptTokenCount":12,"thoughtsTokenCount":84,"totalTokenCount":96}"#);
        assert_eq!((only.output, only.reasoning), (84, Some(84)));
    }

    #[test]
    fn odd_counts_never_fail_and_are_never_negative() {
        let odd = usage(
            r#"{"promptTokenCount":-5,"candidatesTokenCount":12.9,"totalTokenCount":"17","thoughtsTokenCount":[]}"#,
        );
        assert_eq!((odd.input, odd.output, odd.total, odd.reasoning), (0, 12, Some(17), None));
        assert_eq!(usage(r#"{"promptTokenCount":1e300,"toolUsePromptTokenCount":3}"#).input, u64::MAX);
    }

    #[test]
    fn another_dialects_counts_are_the_same_when_they_are_read_again() {
        let foreign = Usage { input: 20, output: 9, cache_read: Some(10), reasoning: Some(4), ..Usage::default() };
        let mut out = Vec::new();
        encode(&foreign, &mut out);
        let back = usage(std::str::from_utf8(&out).unwrap());
        assert_eq!((back.input, back.output, back.cache_read, back.reasoning), (20, 9, Some(10), Some(4)));
    }
}
