//! Log-probabilities, both ways: Cohere's of chunks of text, which may be several tokens, against OpenAI's of single tokens.
//!
//! A chunk is one entry of the canonical list, with the sum of its tokens; what Cohere says of the tokens stands beside it.

use serde_json::value::RawValue;

use super::wire::{Crossing, object_of};
use crate::Text;
use crate::chat::{Extras, Raw};
use crate::json::{self, Array, Object, wire};

/// Fields by their names on the wire.
const IDS: &str = "token_ids";
const PROBABILITIES: &str = "logprobs";

wire! {
    struct ItemWire<'a> {
        "text" => text: Text,
        "token_ids" => ids: Raw,
        "logprobs" => probabilities: Vec<f64>,
    }
}

wire! {
    struct ListWire<'a> {
        "content" => content: Vec<EntryWire<'a>>,
        "refusal" => refusal: Vec<EntryWire<'a>>,
    }
}

wire! {
    struct EntryWire<'a> {
        "token" => token: Text,
        "logprob" => logprob: Raw,
        "top_logprobs" => top: Vec<&'a RawValue>,
        "token_ids" => ids: Raw,
        "logprobs" => probabilities: Raw,
    }
}

// === Reading ===

/// Canonical log-probabilities of these chunks; `None` where there are none.
pub(super) fn decode(items: &[&RawValue]) -> Option<Raw> {
    if items.is_empty() {
        return None;
    }
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    let mut array = Array::new(object.key("content"));
    for item in items {
        decode_item(item, array.item());
    }
    array.end();
    object.end();
    Some(json::written(out))
}

fn decode_item(raw: &RawValue, out: &mut Vec<u8>) {
    let wire: ItemWire<'_> = json::decode_at(raw, "").unwrap_or_default();
    let spelt = super::wire::fields_of(raw);
    let text = wire.text.unwrap_or_default();
    let mut entry = Object::new(out);
    entry.text("token", &text);
    match (wire.probabilities.as_deref(), spelt.find(PROBABILITIES)) {
        (Some([_]), Some(list)) => _ = entry.raw("logprob", list.get().trim_matches(['[', ']', ' '])),
        (Some(list), _) => _ = entry.serialized("logprob", &list.iter().sum::<f64>()),
        (None, _) => {}
    }
    entry.serialized("bytes", &text.to_plain().as_bytes()).raw("top_logprobs", "[]");
    for (key, value) in spelt.iter().filter(|(key, _)| *key != "text") {
        entry.raw(key, value.get());
    }
    entry.end();
}

// === Writing ===

/// Cohere's chunks of a canonical list, each as JSON.
pub(super) fn encode(logprobs: &RawValue, crossing: &mut Crossing<'_>) -> Vec<Raw> {
    let list: ListWire<'_> = json::decode_at(logprobs, "").unwrap_or_default();
    let entries = list.content.into_iter().chain(list.refusal).flatten();
    entries.map(|entry| encode_entry(entry, crossing)).collect()
}

fn encode_entry(entry: EntryWire<'_>, crossing: &mut Crossing<'_>) -> Raw {
    if entry.top.is_some_and(|top| !top.is_empty()) {
        crossing.lose("/choices/0/logprobs/content/top_logprobs");
    }
    let mut item = Extras::default();
    if let Some(token) = entry.token.as_ref().filter(|token| !token.is_empty()) {
        item.push("text", super::wire::quoted(token));
    }
    let is_ours = entry.ids.is_some();
    item.push(IDS, entry.ids.unwrap_or_else(|| json::raw("[]".into())));
    let sum = entry.logprob.filter(|_| !is_ours).map(|sum| json::raw(format!("[{}]", sum.get())));
    if let Some(probabilities) = entry.probabilities.or(sum) {
        item.push(PROBABILITIES, probabilities);
    }
    object_of(&item)
}

/// Several chunks as the one that an event of a stream has room for.
pub(super) fn joined(items: &[Raw]) -> Raw {
    if let [only] = items {
        return only.clone();
    }
    let mut text = Text::default();
    let (mut ids, mut probabilities) = (Vec::new(), Vec::new());
    for item in items {
        let fields = super::wire::fields_of(item);
        if let Some(more) = fields.find("text").and_then(Text::from_raw) {
            text.push(&more);
        }
        for (key, list) in [(IDS, &mut ids), (PROBABILITIES, &mut probabilities)] {
            let elements: Vec<&RawValue> =
                fields.find(key).and_then(|raw| json::decode_at(raw, "").ok()).unwrap_or_default();
            list.extend(elements.into_iter().map(RawValue::to_owned));
        }
    }
    let list = |elements: &[Raw]| super::message::list(&elements.iter().map(|raw| &**raw).collect::<Vec<_>>());
    let mut joined = Extras::default();
    joined.push("text", super::wire::quoted(&text));
    joined.push(IDS, list(&ids));
    joined.push(PROBABILITIES, list(&probabilities));
    object_of(&joined)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::Losses;

    fn raw(value: &Value) -> Raw {
        json::raw(value.to_string())
    }

    fn value(raw: &RawValue) -> Value {
        serde_json::from_str(raw.get()).unwrap()
    }

    #[test]
    fn chunks_go_back_as_they_came_and_are_sums_to_others() {
        let items = [
            json!({"text": "Hé", "token_ids": [7], "logprobs": [-0.25]}),
            json!({"text": "llo", "token_ids": [1, 2], "logprobs": [-0.5, -1.0]}),
        ];
        let raws: Vec<Raw> = items.iter().map(raw).collect();
        let canonical = decode(&raws.iter().map(|raw| &**raw).collect::<Vec<_>>()).unwrap();
        let list = value(&canonical);
        assert_eq!((&list["content"][0]["logprob"], &list["content"][1]["logprob"]), (&json!(-0.25), &json!(-1.5)));
        assert_eq!(list["content"][0]["bytes"], json!([72, 195, 169]));
        let mut losses = Losses::default();
        let back = encode(&canonical, &mut Crossing { native: true, losses: &mut losses });
        assert_eq!(back.iter().map(|raw| value(raw)).collect::<Vec<_>>(), items);
        let one = value(&joined(&back));
        assert_eq!(one, json!({"text": "Héllo", "token_ids": [7, 1, 2], "logprobs": [-0.25, -0.5, -1.0]}));
        assert!(losses.is_empty());
    }

    #[test]
    fn alternatives_cannot_be_said() {
        let openai =
            json!({"content": [{"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": [{"token": "b"}]}]});
        let mut losses = Losses::default();
        let items = encode(&raw(&openai), &mut Crossing { native: false, losses: &mut losses });
        assert_eq!(value(&items[0]), json!({"text": "a", "token_ids": [], "logprobs": [-1]}));
        assert_eq!(losses.len(), 1);
    }
}
