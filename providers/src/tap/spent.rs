//! What an answer that is no chat says of its cost: embeddings, pictures, transcripts.

use serde::Deserialize;

use crate::reply::Usage;

#[derive(Default, Deserialize)]
struct Wire {
    #[serde(default)]
    usage: Option<Counts>,
    #[serde(default)]
    meta: Option<Meta>,
}

/// OpenAI's two spellings (<https://platform.openai.com/docs/api-reference/embeddings/object>,
/// <https://platform.openai.com/docs/api-reference/images/object>).
#[derive(Default, Deserialize)]
struct Counts {
    #[serde(default, rename = "input_tokens", alias = "prompt_tokens")]
    input: Option<u64>,
    #[serde(default, rename = "output_tokens", alias = "completion_tokens")]
    output: Option<u64>,
    #[serde(default, rename = "total_tokens")]
    total: Option<u64>,
}

/// Cohere's (<https://docs.cohere.com/reference/embed>).
#[derive(Default, Deserialize)]
struct Meta {
    #[serde(default)]
    billed_units: Option<Counts>,
}

/// Tokens, where the answer is JSON that tells them. `None` where it says nothing that can be counted.
pub fn spent(body: &[u8]) -> Option<Usage> {
    let wire: Wire = serde_json::from_slice(body).ok()?;
    let counts = wire.usage.or_else(|| wire.meta?.billed_units)?;
    let told = counts.input.is_some() || counts.output.is_some() || counts.total.is_some();
    let output = counts.output.unwrap_or_default();
    let input = counts.input.or_else(|| counts.total?.checked_sub(output)).unwrap_or_default();
    told.then(|| Usage { input, output, total: counts.total, ..Usage::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_in_every_spelling() {
        for (body, want) in [
            (r#"{"data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}"#, Some((8, 0, Some(8)))),
            (r#"{"usage":{"input_tokens":50,"output_tokens":20,"total_tokens":70}}"#, Some((50, 20, Some(70)))),
            (r#"{"meta":{"billed_units":{"input_tokens":3}}}"#, Some((3, 0, None))),
            (r#"{"usage":{"total_tokens":5}}"#, Some((5, 0, Some(5)))),
            (r#"{"usage":{"type":"duration","seconds":3}}"#, None),
            (r#"{"usage":{"prompt_tokens":-1}}"#, None),
            ("ID3", None),
        ] {
            let usage = spent(body.as_bytes()).map(|usage| (usage.input, usage.output, usage.total));
            assert_eq!(usage, want, "{body}");
        }
    }
}
