//! Log-probabilities: Google's `logprobsResult` against the canonical shape, which is OpenAI's.

use serde_json::value::RawValue;

use super::wire::{overlay, written};
use crate::Text;
use crate::chat::{Extras, Raw};
use crate::json::{self, Array, Object, wire};

wire! {
    struct ResultWire<'a> {
        "chosenCandidates" => chosen: Vec<TokenWire<'a>>,
        "topCandidates" => top: Vec<TopWire<'a>>,
    }
}

wire! {
    struct TopWire<'a> {
        "candidates" => candidates: Vec<TokenWire<'a>>,
    }
}

wire! {
    /// A token in Google's words. Its number (`tokenId`) is kept beside OpenAI's fields.
    struct TokenWire<'a> {
        "token" => token: Text,
        "logProbability" => probability: &'a RawValue,
    }
}

wire! {
    struct LogprobsWire<'a> {
        "content" => content: Vec<LogprobWire<'a>>,
    }
}

wire! {
    struct LogprobWire<'a> {
        "token" => token: Text,
        "logprob" => probability: &'a RawValue,
        "bytes" => bytes: &'a RawValue,
        "top_logprobs" => top: Vec<LogprobWire<'a>>,
    }
}

/// A `logprobsResult` as OpenAI's `logprobs` object, and what only Google says of the whole. `None` where it cannot be read.
pub(super) fn decode(raw: &RawValue) -> Option<(Raw, Extras)> {
    let wire: ResultWire<'_> = json::decode(raw.get().as_bytes()).ok()?;
    let mut top = wire.top.unwrap_or_default().into_iter();
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    let mut content = Array::new(object.key("content"));
    for chosen in wire.chosen.unwrap_or_default() {
        let mut token = Object::new(content.item());
        decode_token(&chosen, &mut token);
        let mut others = Array::new(token.key("top_logprobs"));
        for other in top.next().and_then(|top| top.candidates).unwrap_or_default() {
            let mut token = Object::new(others.item());
            decode_token(&other, &mut token);
            token.end();
        }
        others.end();
        token.end();
    }
    content.end();
    object.end();
    Some((written(out), wire.extras))
}

fn decode_token(from: &TokenWire<'_>, object: &mut Object<'_>) {
    object.text("token", from.token.as_ref().unwrap_or(&Text::default()));
    object.raw("logprob", from.probability.map_or("null", RawValue::get)).null("bytes").extras(&from.extras);
}

/// The reverse. `rest`: the other fields of the result.
pub(super) fn encode(logprobs: &RawValue, rest: &Extras, out: &mut Vec<u8>) {
    let wire: LogprobsWire<'_> = json::decode(logprobs.get().as_bytes()).unwrap_or_default();
    let tokens = wire.content.unwrap_or_default();
    let mut result = Object::new(out);
    let mut chosen = Array::new(result.key("chosenCandidates"));
    for token in &tokens {
        encode_token(token, chosen.item());
    }
    chosen.end();
    if tokens.iter().any(|token| token.top.as_ref().is_some_and(|top| !top.is_empty())) {
        let mut top = Array::new(result.key("topCandidates"));
        for token in &tokens {
            let mut object = Object::new(top.item());
            let mut candidates = Array::new(object.key("candidates"));
            for other in token.top.iter().flatten() {
                encode_token(other, candidates.item());
            }
            candidates.end();
            object.end();
        }
        top.end();
    }
    result.extras(rest);
    result.end();
}

fn encode_token(from: &LogprobWire<'_>, out: &mut Vec<u8>) {
    let mut object = Object::new(out);
    object.text("token", from.token.as_ref().unwrap_or(&Text::default()));
    object.raw("logProbability", from.probability.map_or("null", RawValue::get));
    let mut rest = Extras::default();
    overlay(&mut rest, &from.extras);
    rest.remove("bytes");
    object.extras(&rest);
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gem_logprobs_result() {
        let token = |word: &str, probability: &str| {
            format!(r#"{{"token":"{word}","logProbability":{probability},"tokenId":7}}"#)
        };
        let raw = json::raw(format!(
            r#"{{"chosenCandidates":[{},{}],"topCandidates":[{{"candidates":[{},{}]}},{{"candidates":[]}}],"logProbabilitySum":-0.75}}"#,
            token("a", "-0.5"),
            token("b", "-0.25"),
            token("a", "-0.5"),
            token("c", "-1e1"),
        ));
        let (logprobs, rest) = decode(&raw).unwrap();
        let openai = r#"{"content":[{"token":"a","logprob":-0.5,"bytes":null,"tokenId":7,"top_logprobs":[{"token":"a","logprob":-0.5,"bytes":null,"tokenId":7},{"token":"c","logprob":-1e1,"bytes":null,"tokenId":7}]},{"token":"b","logprob":-0.25,"bytes":null,"tokenId":7,"top_logprobs":[]}]}"#;
        assert_eq!(logprobs.get(), openai);
        let mut out = Vec::new();
        encode(&logprobs, &rest, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), raw.get());
    }
}
