//! Google's embeddings: `embedContent` and `batchEmbedContents` (API reference; SDK, `EmbedContentConfig`). Providers are always
//! asked for a batch, which also says what one would.

use serde_json::value::RawValue;

use super::EmbedForm;
use crate::chat::{Extras, Media, MediaSource, Part, PartKind};
use crate::dialect::gemini::usage;
use crate::dialect::raw::{need, sniff};
use crate::embed::{Content, EmbedReply, EmbedRequest, Input, Purpose, Vector};
use crate::endpoint::Endpoint;
use crate::json::{self, Array, Object, Sheet, wire};
use crate::{Dialect, Losses, Malformed, Text};

pub(super) const MANY: EmbedForm = EmbedForm {
    decode_request: decode_many,
    encode_request,
    decode_reply,
    encode_reply: |reply, _, losses| Ok(encode_reply(reply, false, losses)),
};

pub(super) const ONE: EmbedForm = EmbedForm {
    decode_request: decode_one,
    encode_reply: |reply, _, losses| Ok(encode_reply(reply, true, losses)),
    ..MANY
};

/// Why a thing of another form stays behind.
const NO_COUNTERPART: &str = "Google's embeddings have no counterpart";

/// What an embedding is for, in Google's words (API reference, `TaskType`).
const PURPOSES: &[(&str, Purpose)] = &[
    ("RETRIEVAL_DOCUMENT", Purpose::Document),
    ("RETRIEVAL_QUERY", Purpose::Query),
    ("CLASSIFICATION", Purpose::Classification),
    ("CLUSTERING", Purpose::Clustering),
];

/// The spelling that is remembered: the content as its own form gave it.
const CONTENT: &str = "content";

wire! {
    struct BatchWire<'a> {
        "requests" => requests: Vec<&'a RawValue>,
    }
}

wire! {
    struct RequestWire<'a> {
        "model" => model: Text,
        "content" => content: &'a RawValue,
        "taskType" | "task_type" => purpose: Text,
        "title" => title: Text,
        "outputDimensionality" | "output_dimensionality" => dimensions: u64,
    }
}

wire! {
    struct ContentWire<'a> {
        "parts" => parts: Vec<&'a RawValue>,
    }
}

wire! {
    struct PartWire<'a> {
        "text" => text: Text,
        "inlineData" | "inline_data" => inline: BlobWire<'a>,
    }
}

wire! {
    struct BlobWire<'a> {
        "mimeType" | "mime_type" => mime: Text,
        "data" => data: Text,
    }
}

wire! {
    struct ReplyWire<'a> {
        "embeddings" => embeddings: Vec<ValuesWire<'a>>,
        "embedding" => embedding: ValuesWire<'a>,
        "usageMetadata" => usage: &'a RawValue,
    }
}

wire! {
    struct ValuesWire<'a> {
        "values" => values: &'a RawValue,
    }
}

// === Requests ===

fn decode_many(body: &[u8]) -> Result<EmbedRequest, Malformed> {
    let wire: BatchWire<'_> = json::decode(body)?;
    let requests = need(wire.requests, &String::new, "requests", "a list of requests")?;
    let input = |(at, raw): (usize, &&RawValue)| {
        decode_input(json::decode_at(raw, &format!("/requests/{at}"))?, format!("/requests/{at}"))
    };
    let inputs = requests.iter().enumerate().map(input).collect::<Result<Vec<_>, _>>()?;
    Ok(request(Endpoint::BatchEmbedContents, inputs, wire.extras))
}

fn decode_one(body: &[u8]) -> Result<EmbedRequest, Malformed> {
    let input = decode_input(json::decode(body)?, String::new())?;
    Ok(request(Endpoint::EmbedContent, vec![input], Extras::default()))
}

fn request(source: Endpoint, inputs: Vec<Input>, extras: Extras) -> EmbedRequest {
    let (model, single) = (Text::default(), source == Endpoint::EmbedContent);
    EmbedRequest { source, model, inputs, single, encodings: Vec::new(), truncate: None, user: None, extras }
}

fn decode_input(wire: RequestWire<'_>, pointer: String) -> Result<Input, Malformed> {
    let raw = need(wire.content, &|| pointer.clone(), CONTENT, "a content")?;
    let place = format!("{pointer}/{CONTENT}");
    let ContentWire { parts, .. } = json::decode_at(raw, &place)?;
    let parts = need(parts, &|| place.clone(), "parts", "a list of parts")?;
    let mut extras = wire.extras;
    extras.remember(CONTENT, raw.to_owned());
    let purpose = wire.purpose.map(|word| {
        let known = PURPOSES.iter().find(|(name, _)| *name == word.as_escaped());
        known.map_or(Purpose::Other(word), |(_, purpose)| purpose.clone())
    });
    let content = Content::of(parts.into_iter().map(decode_part).collect());
    Ok(Input { content, purpose, title: wire.title, dimensions: wire.dimensions, pointer, extras })
}

/// A text or inline bytes; anything else is kept whole.
fn decode_part(raw: &RawValue) -> Part {
    let wire: PartWire<'_> = json::decode_at(raw, "").unwrap_or_default();
    let kind = match (wire.text, wire.inline) {
        (Some(text), None) if wire.extras.is_empty() => PartKind::Text(text),
        (None, Some(BlobWire { mime, data: Some(data), .. })) if wire.extras.is_empty() => {
            PartKind::Image(Media { source: MediaSource::Base64(data), mime, ..Media::default() })
        }
        _ => PartKind::Foreign(Dialect::Gemini, raw.to_owned()),
    };
    kind.into()
}

fn is_own(source: Endpoint) -> bool {
    matches!(source, Endpoint::EmbedContent | Endpoint::BatchEmbedContents)
}

fn encode_request(request: &EmbedRequest, losses: &mut Losses) -> Result<Vec<u8>, Malformed> {
    let own = is_own(request.source);
    let mut out = Vec::with_capacity(256);
    let mut sheet = Sheet::new(&mut out);
    let mut array = Array::new(sheet.key("requests"));
    for input in &request.inputs {
        encode_input(request, input, array.item(), losses)?;
    }
    array.end();
    if own {
        sheet.extras(&request.extras);
    } else {
        losses.fields(&request.extras, "", NO_COUNTERPART);
        for (pointer, given) in [("/user", request.user.is_some()), ("/truncate", request.truncate.is_some())] {
            if given {
                losses.push(pointer, NO_COUNTERPART);
            }
        }
    }
    sheet.end();
    Ok(out)
}

fn encode_input(
    request: &EmbedRequest,
    input: &Input,
    out: &mut Vec<u8>,
    losses: &mut Losses,
) -> Result<(), Malformed> {
    let own = is_own(request.source);
    let mut sheet = Sheet::new(out);
    let plain = request.model.to_plain();
    sheet.str("model", &format!("models/{}", plain.strip_prefix("models/").unwrap_or(&plain)));
    match input.extras.recall(CONTENT).filter(|_| own) {
        Some(content) => _ = sheet.raw(CONTENT, content.get()),
        None => encode_content(input, sheet.key(CONTENT))?,
    }
    match &input.purpose {
        Some(Purpose::Other(word)) if own => _ = sheet.text("taskType", word),
        Some(Purpose::Other(word)) => {
            losses.push("/input_type", format!("Google has no purpose `{}`", word.to_plain()));
        }
        Some(purpose) => {
            let word = PURPOSES.iter().find(|(_, known)| known == purpose).map(|(word, _)| *word);
            sheet.str("taskType", word.unwrap_or("TASK_TYPE_UNSPECIFIED"));
        }
        None => {}
    }
    sheet.optional_text("title", input.title.as_ref()).optional_number("outputDimensionality", input.dimensions);
    if own {
        sheet.extras(&input.extras);
    } else {
        losses.fields(&input.extras, &input.pointer, NO_COUNTERPART);
    }
    sheet.end();
    Ok(())
}

fn encode_content(input: &Input, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let refused = |expected: &str| Malformed { pointer: input.pointer.clone(), expected: expected.into() };
    let mut content = Object::new(out);
    let mut parts = Array::new(content.key("parts"));
    let text_part = |text: &Text, out: &mut Vec<u8>| {
        let mut part = Object::new(out);
        part.text("text", text);
        part.end();
    };
    match &input.content {
        Content::Text(text) => text_part(text, parts.item()),
        Content::Tokens(_) => return Err(refused("text: this provider takes no token numbers")),
        Content::Parts(list) => {
            for part in list {
                match &part.kind {
                    PartKind::Text(text) => text_part(text, parts.item()),
                    PartKind::Image(Media { source: MediaSource::Base64(data), mime, .. }) => {
                        encode_inline(data, mime.as_ref(), parts.item());
                    }
                    _ => return Err(refused("texts and inline images: this provider embeds nothing else")),
                }
            }
        }
    }
    parts.end();
    content.end();
    Ok(())
}

fn encode_inline(data: &Text, mime: Option<&Text>, out: &mut Vec<u8>) {
    let mut part = Object::new(out);
    let mut blob = Object::new(part.key("inlineData"));
    match mime {
        Some(mime) => _ = blob.text("mimeType", mime),
        None => _ = blob.str("mimeType", sniff(data)),
    }
    blob.text("data", data);
    blob.end();
    part.end();
}

// === Replies ===

fn decode_reply(body: &[u8], inputs: usize) -> Result<EmbedReply, Malformed> {
    let wire: ReplyWire<'_> = json::decode(body)?;
    let list = wire.embeddings.or(wire.embedding.map(|only| vec![only]));
    let list = need(list, &String::new, "embeddings", "a list of embeddings")?;
    let mut vectors = Vec::with_capacity(list.len());
    for (at, entry) in list.into_iter().enumerate() {
        let place = || format!("/embeddings/{at}");
        let values = need(entry.values, &place, "values", "a list of numbers")?;
        vectors.push(Vector::read(values, &format!("{}/values", place()))?);
    }
    let usage = wire.usage.and_then(usage::decode);
    EmbedReply { vectors, usage, ..EmbedReply::default() }.checked("/embeddings", inputs)
}

fn encode_reply(reply: &EmbedReply, single: bool, losses: &mut Losses) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let mut sheet = Sheet::new(&mut out);
    let values = |vector: &Vector, out: &mut Vec<u8>| {
        let mut embedding = Object::new(out);
        embedding.raw("values", vector.numbers());
        embedding.end();
    };
    match (single, reply.vectors.as_slice()) {
        (true, [only]) => values(only, sheet.key("embedding")),
        (_, vectors) => {
            let mut array = Array::new(sheet.key("embeddings"));
            for vector in vectors {
                values(vector, array.item());
            }
            array.end();
        }
    }
    match &reply.usage {
        Some(usage) if usage.raw.is_some() => usage::encode(usage, sheet.key("usageMetadata")),
        Some(usage) => {
            let mut counts = Object::new(sheet.key("usageMetadata"));
            counts.number("promptTokenCount", usage.input).number("totalTokenCount", usage.total());
            counts.end();
        }
        None => {}
    }
    if !reply.model.is_empty() {
        losses.push("/model", NO_COUNTERPART);
    }
    sheet.end();
    out
}
