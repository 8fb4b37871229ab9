//! OpenAI's embeddings (API reference; SDK, `types/embedding_create_params.py`), and those of the servers of its school.

use serde_json::value::RawValue;

use super::EmbedForm;
use crate::chat::{Extras, Raw};
use crate::dialect::openai_chat::reply::{decode_usage, encode_usage};
use crate::dialect::raw::need;
use crate::embed::{Content, EmbedReply, EmbedRequest, Encoding, Input, Vector};
use crate::endpoint::Endpoint;
use crate::json::{self, Array, Sheet, wire};
use crate::reply::Usage;
use crate::{Losses, Malformed, Text};

pub(super) const FORM: EmbedForm = EmbedForm { decode_request, encode_request, decode_reply, encode_reply };

/// Why a thing of another form stays behind.
const NO_COUNTERPART: &str = "OpenAI's embeddings have no counterpart";

/// A field that some servers of this school take: what the embedding is for, in Cohere's words.
const INPUT_TYPE: &str = "input_type";

wire! {
    struct RequestWire<'a> {
        "model" => model: Text,
        "input" => input: &'a RawValue,
        "encoding_format" => encoding: Text,
        "dimensions" => dimensions: u64,
        "user" => user: Text,
        "input_type" => purpose: Text,
    }
}

wire! {
    struct ReplyWire<'a> {
        "id" => id: Text,
        "model" => model: Text,
        "data" => data: Vec<EntryWire<'a>>,
        "usage" => usage: &'a RawValue,
    }
}

wire! {
    struct EntryWire<'a> {
        "index" => index: u64,
        "embedding" => embedding: &'a RawValue,
    }
}

// === Requests ===

fn decode_request(body: &[u8]) -> Result<EmbedRequest, Malformed> {
    let wire: RequestWire<'_> = json::decode(body)?;
    let (contents, single) = decode_input(need(wire.input, &String::new, "input", "a string or a list")?)?;
    let purpose = wire.purpose.map(|word| super::embed_cohere::purpose(&word));
    let input = |(at, content): (usize, Content)| Input {
        content,
        purpose: purpose.clone(),
        title: None,
        dimensions: wire.dimensions,
        pointer: if single { "/input".into() } else { format!("/input/{at}") },
        extras: Extras::default(),
    };
    let encoding = wire.encoding.as_ref().map(|word| Encoding::read(word, "/encoding_format")).transpose()?;
    Ok(EmbedRequest {
        source: Endpoint::Embeddings,
        model: wire.model.unwrap_or_default(),
        inputs: contents.into_iter().enumerate().map(input).collect(),
        single,
        encodings: encoding.into_iter().collect(),
        truncate: None,
        user: wire.user,
        extras: wire.extras,
    })
}

/// A text, a list of token numbers, or a list of either.
fn decode_input(raw: &RawValue) -> Result<(Vec<Content>, bool), Malformed> {
    let expected = "a string, a list of token numbers, or a list of these";
    let malformed = |pointer: String| Malformed { pointer, expected: expected.into() };
    if let Some(text) = Text::from_raw(raw) {
        return Ok((vec![Content::Text(text)], true));
    }
    let elements: Vec<&RawValue> = json::decode(raw.get().as_bytes()).map_err(|_| malformed("/input".into()))?;
    if elements.first().is_some_and(|first| is_number(first)) {
        return Ok((vec![Content::Tokens(raw.to_owned())], true));
    }
    let content = |(at, element): (usize, &&RawValue)| match Text::from_raw(element) {
        Some(text) => Ok(Content::Text(text)),
        None if element.get().starts_with('[') => Ok(Content::Tokens((*element).to_owned())),
        None => Err(malformed(format!("/input/{at}"))),
    };
    Ok((elements.iter().enumerate().map(content).collect::<Result<_, _>>()?, false))
}

fn is_number(raw: &RawValue) -> bool {
    raw.get().starts_with(|first: char| first.is_ascii_digit())
}

fn encode_request(request: &EmbedRequest, losses: &mut Losses) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(256);
    let mut sheet = Sheet::new(&mut out);
    sheet.text("model", &request.model);
    encode_inputs(request, sheet.key("input"))?;
    // Base64 is made here of what every server of this school gives.
    sheet.str("encoding_format", "float");
    let dimensions = request.common("dimensions", |input| input.dimensions)?;
    sheet.optional_number("dimensions", dimensions).optional_text("user", request.user.as_ref());
    for input in &request.inputs {
        for (key, given) in [(INPUT_TYPE, input.purpose.is_some()), ("title", input.title.is_some())] {
            if given {
                losses.push(format!("{}/{key}", input.pointer), NO_COUNTERPART);
            }
        }
        losses.fields(&input.extras, &input.pointer, NO_COUNTERPART);
    }
    if request.truncate.is_some() {
        losses.push("/truncate", NO_COUNTERPART);
    }
    losses.fields(&request.extras, "", NO_COUNTERPART);
    sheet.end();
    Ok(out)
}

fn encode_inputs(request: &EmbedRequest, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut array = Array::new(out);
    for input in &request.inputs {
        match &input.content {
            Content::Text(text) => json::write_text(array.item(), text),
            Content::Tokens(tokens) => _ = array.raw(tokens.get()),
            Content::Parts(_) => {
                let expected = "one text: this provider embeds nothing else".into();
                return Err(Malformed { pointer: input.pointer.clone(), expected });
            }
        }
    }
    array.end();
    Ok(())
}

// === Replies ===

/// The entries in the order of their indexes; those without one in the order in which they came.
fn decode_reply(body: &[u8], inputs: usize) -> Result<EmbedReply, Malformed> {
    let wire: ReplyWire<'_> = json::decode(body)?;
    let data = need(wire.data, &String::new, "data", "a list of embeddings")?;
    let mut vectors = Vec::with_capacity(data.len());
    for (at, entry) in data.into_iter().enumerate() {
        let place = || format!("/data/{at}");
        let raw = need(entry.embedding, &place, "embedding", "an embedding")?;
        let index = entry.index.unwrap_or_else(|| u64::try_from(at).unwrap_or(u64::MAX));
        vectors.push((index, Vector::read(raw, &format!("{}/embedding", place()))?));
    }
    vectors.sort_by_key(|(index, _)| *index);
    let counts_up = (0_u64..).zip(&vectors).all(|(at, (index, _))| at == *index);
    if !counts_up {
        return Err(Malformed { pointer: "/data".into(), expected: "every index once".into() });
    }
    let reply = EmbedReply {
        id: wire.id.unwrap_or_default(),
        model: wire.model.unwrap_or_default(),
        vectors: vectors.into_iter().map(|(_, vector)| vector).collect(),
        usage: wire.usage.and_then(decode_usage),
    };
    reply.checked("/data", inputs)
}

fn encode_reply(reply: &EmbedReply, request: &EmbedRequest, losses: &mut Losses) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(1024);
    let mut sheet = Sheet::new(&mut out);
    sheet.str("object", "list");
    let mut array = Array::new(sheet.key("data"));
    for (at, vector) in reply.vectors.iter().enumerate() {
        let mut entry = Sheet::new(array.item());
        entry.str("object", "embedding").number("index", u64::try_from(at).unwrap_or(u64::MAX));
        if request.wants_base64() {
            entry.str("embedding", &vector.base64(&format!("/data/{at}/embedding"))?);
        } else {
            entry.raw("embedding", vector.numbers());
        }
        entry.end();
    }
    array.end();
    sheet.text("model", if reply.model.is_empty() { &request.model } else { &reply.model });
    let nothing = Usage::default();
    let usage = reply.usage.as_ref().unwrap_or_else(|| {
        // SDKs demand the object.
        losses.push("/usage", "the provider does not say what it used");
        &nothing
    });
    encode_counts(usage, sheet.key("usage"));
    sheet.end();
    Ok(out)
}

/// Embeddings have no output to count.
fn encode_counts(usage: &Usage, out: &mut Vec<u8>) {
    if usage.raw.is_some() {
        return encode_usage(out, usage);
    }
    let mut counts = Sheet::new(out);
    counts.number("prompt_tokens", usage.input).number("total_tokens", usage.total());
    counts.end();
}

/// The answer with every embedding that is a list of numbers as base64, where the request wants that.
pub(super) fn as_base64(request: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    let request: RequestWire<'_> = json::decode(request).ok()?;
    if request.encoding?.as_escaped() != "base64" {
        return None;
    }
    let whole: json::AnyObject<'_> = json::decode(body).ok()?;
    let entries: Vec<&RawValue> = json::decode_at(whole.extras.find("data")?, "").ok()?;
    let mut out = Vec::with_capacity(body.len());
    let mut sheet = Sheet::new(&mut out);
    let mut array = Array::new(sheet.key("data"));
    let mut changed = false;
    for raw in entries {
        let mut entry = json::fields(Some(raw));
        let list = entry.find("embedding").filter(|embedding| embedding.get().starts_with('['));
        if let Some(base64) = list.and_then(|list| Vector::read(list, "").ok()?.base64("").ok()) {
            entry.remove("embedding");
            entry.push("embedding", string(&base64));
            changed = true;
        }
        array.raw(json::object(&entry).get());
    }
    array.end();
    sheet.extras(&whole.extras);
    sheet.end();
    changed.then_some(out)
}

fn string(plain: &str) -> Raw {
    json::quoted(&Text::from_plain(plain))
}
