//! Log-probabilities of chat as those of completions: lists beside each other instead of a list of objects.

use serde_json::value::RawValue;

use crate::Text;
use crate::json::{self, Array, Object, wire, write_text};

wire! {
    struct ListWire<'a> {
        "content" => content: Vec<EntryWire<'a>>,
        "refusal" => refusal: Vec<EntryWire<'a>>,
    }
}

wire! {
    struct EntryWire<'a> {
        "token" => token: Text,
        "logprob" => logprob: &'a RawValue,
        "top_logprobs" => top: Vec<EntryWire<'a>>,
    }
}

/// Writes `{"tokens","token_logprobs","top_logprobs","text_offset"}`. `offset`: how many characters of the text came before.
pub(super) fn encode(measured: &RawValue, offset: u64, out: &mut Vec<u8>) {
    let list: ListWire<'_> = json::decode_at(measured, "").unwrap_or_default();
    let entries: Vec<EntryWire<'_>> = list.content.into_iter().chain(list.refusal).flatten().collect();
    let mut object = Object::new(out);
    fill(object.key("tokens"), &entries, |entry, out| write_text(out, &entry.token.clone().unwrap_or_default()));
    fill(object.key("token_logprobs"), &entries, |entry, out| out.extend_from_slice(number(entry)));
    fill(object.key("top_logprobs"), &entries, |entry, out| {
        let mut object = Object::new(out);
        // Of two that read the same the likelier stands, which comes first.
        let mut seen: Vec<&Text> = Vec::new();
        for (token, likely) in entry.top.iter().flatten().filter_map(|top| Some((top.token.as_ref()?, top))) {
            if !seen.contains(&token) {
                seen.push(token);
                object.key(token.as_escaped()).extend_from_slice(number(likely));
            }
        }
        object.end();
    });
    let mut at = offset;
    fill(object.key("text_offset"), &entries, |entry, out| {
        out.extend_from_slice(itoa::Buffer::new().format(at).as_bytes());
        at = at.saturating_add(entry.token.as_ref().map_or(0, characters));
    });
    object.end();
}

/// How many characters this text has.
pub(super) fn characters(text: &Text) -> u64 {
    u64::try_from(text.to_plain().chars().count()).unwrap_or(u64::MAX)
}

fn number<'a>(entry: &EntryWire<'a>) -> &'a [u8] {
    entry.logprob.map_or(b"null", |number| number.get().as_bytes())
}

fn fill(out: &mut Vec<u8>, entries: &[EntryWire<'_>], mut write: impl FnMut(&EntryWire<'_>, &mut Vec<u8>)) {
    let mut array = Array::new(out);
    for entry in entries {
        write(entry, array.item());
    }
    array.end();
}
