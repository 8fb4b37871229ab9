//! Cohere's embeddings, version 2 (API reference; SDK, `v2/client.py`); answers of version 1 are read, too.

use serde_json::value::RawValue;

use super::EmbedForm;
use crate::chat::{Extras, MediaSource, Part, PartKind};
use crate::dialect::cohere_chat::{decode_content, usage};
use crate::dialect::openai_chat::media::write_url;
use crate::dialect::raw::need;
use crate::embed::{Content, EmbedReply, EmbedRequest, Encoding, Input, Purpose, Vector};
use crate::endpoint::Endpoint;
use crate::json::{self, Array, Object, Sheet, wire};
use crate::{Losses, Malformed, Text};

pub(super) const FORM: EmbedForm = EmbedForm { decode_request, encode_request, decode_reply, encode_reply };

/// Why a thing of another form stays behind.
const NO_COUNTERPART: &str = "Cohere's embeddings have no counterpart";

/// What an embedding is for, in Cohere's words (SDK, `EmbedInputType`).
const PURPOSES: &[(&str, Purpose)] = &[
    ("search_document", Purpose::Document),
    ("search_query", Purpose::Query),
    ("classification", Purpose::Classification),
    ("clustering", Purpose::Clustering),
];

/// The API demands a purpose; most of what is embedded without one is stored to be searched.
const DEFAULT_PURPOSE: &str = "search_document";

wire! {
    struct RequestWire<'a> {
        "model" => model: Text,
        "texts" => texts: Vec<Text>,
        "images" => images: Vec<Text>,
        "inputs" => inputs: Vec<InputWire<'a>>,
        "input_type" => purpose: Text,
        "output_dimension" => dimensions: u64,
        "embedding_types" => encodings: Vec<Text>,
        "truncate" => truncate: Text,
    }
}

wire! {
    struct InputWire<'a> {
        "content" => content: &'a RawValue,
    }
}

wire! {
    struct ReplyWire<'a> {
        "id" => id: Text,
        "embeddings" => embeddings: &'a RawValue,
        "meta" => meta: &'a RawValue,
    }
}

wire! {
    struct TypedWire<'a> {
        "float" => float: Vec<&'a RawValue>,
        "base64" => base64: Vec<&'a RawValue>,
    }
}

/// The purpose that this word means.
pub(super) fn purpose(word: &Text) -> Purpose {
    let known = PURPOSES.iter().find(|(name, _)| *name == word.as_escaped());
    known.map_or_else(|| Purpose::Other(word.clone()), |(_, purpose)| purpose.clone())
}

// === Requests ===

fn decode_request(body: &[u8]) -> Result<EmbedRequest, Malformed> {
    let wire: RequestWire<'_> = json::decode(body)?;
    let purpose = wire.purpose.as_ref().map(purpose);
    let mut inputs = Vec::new();
    let mut push = |content: Content, pointer: String| {
        let (purpose, extras) = (purpose.clone(), Extras::default());
        inputs.push(Input { content, purpose, title: None, dimensions: wire.dimensions, pointer, extras });
    };
    for (at, text) in wire.texts.into_iter().flatten().enumerate() {
        push(Content::Text(text), format!("/texts/{at}"));
    }
    for (at, url) in wire.images.into_iter().flatten().enumerate() {
        push(Content::Parts(vec![image(url)]), format!("/images/{at}"));
    }
    for (at, input) in wire.inputs.into_iter().flatten().enumerate() {
        let pointer = format!("/inputs/{at}");
        let raw = need(input.content, &|| pointer.clone(), "content", "a list of texts and images")?;
        push(Content::of(decode_content(raw, &format!("{pointer}/content"))?), pointer);
    }
    if inputs.is_empty() {
        return Err(Malformed { pointer: "/texts".into(), expected: "texts, images or inputs to embed".into() });
    }
    let encodings = wire.encodings.into_iter().flatten();
    Ok(EmbedRequest {
        source: Endpoint::CohereEmbed,
        model: wire.model.unwrap_or_default(),
        inputs,
        single: false,
        encodings: encodings.map(|word| Encoding::read(&word, "/embedding_types")).collect::<Result<_, _>>()?,
        truncate: wire.truncate,
        user: None,
        extras: wire.extras,
    })
}

fn image(url: Text) -> Part {
    let (source, mime) = crate::dialect::openai_chat::media::from_url(url);
    PartKind::Image(crate::chat::Media { source, mime, ..crate::chat::Media::default() }).into()
}

fn encode_request(request: &EmbedRequest, losses: &mut Losses) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(256);
    let mut sheet = Sheet::new(&mut out);
    sheet.text("model", &request.model);
    if request.inputs.iter().all(|input| matches!(input.content, Content::Text(_))) {
        let mut array = Array::new(sheet.key("texts"));
        for input in &request.inputs {
            if let Content::Text(text) = &input.content {
                json::write_text(array.item(), text);
            }
        }
        array.end();
    } else {
        encode_inputs(&request.inputs, sheet.key("inputs"))?;
    }
    encode_purpose(request, &mut sheet, losses)?;
    sheet.raw("embedding_types", r#"["float"]"#);
    sheet.optional_number("output_dimension", request.common("dimensions", |input| input.dimensions)?);
    sheet.optional_text("truncate", request.truncate.as_ref());
    sheet.end();
    for input in &request.inputs {
        if input.title.is_some() {
            losses.push(format!("{}/title", input.pointer), NO_COUNTERPART);
        }
        losses.fields(&input.extras, &input.pointer, NO_COUNTERPART);
    }
    if request.user.is_some() {
        losses.push("/user", NO_COUNTERPART);
    }
    losses.fields(&request.extras, "", NO_COUNTERPART);
    Ok(out)
}

fn encode_purpose(request: &EmbedRequest, sheet: &mut Sheet<'_>, losses: &mut Losses) -> Result<(), Malformed> {
    let word = match request.common("input_type", |input| input.purpose.clone())? {
        None => DEFAULT_PURPOSE,
        Some(Purpose::Other(word)) if request.source == Endpoint::Embeddings => {
            sheet.text("input_type", &word);
            return Ok(());
        }
        Some(Purpose::Other(word)) => {
            let reason = format!("Cohere has no purpose `{}`: said as `{DEFAULT_PURPOSE}`", word.to_plain());
            losses.push("/taskType", reason);
            DEFAULT_PURPOSE
        }
        Some(purpose) => PURPOSES.iter().find(|(_, known)| *known == purpose).map_or(DEFAULT_PURPOSE, |(word, _)| word),
    };
    sheet.str("input_type", word);
    Ok(())
}

fn encode_inputs(inputs: &[Input], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut array = Array::new(out);
    for input in inputs {
        let mut object = Object::new(array.item());
        let mut list = Array::new(object.key("content"));
        match &input.content {
            Content::Text(text) => encode_text(text, list.item()),
            Content::Tokens(_) => {
                let expected = "text: this provider takes no token numbers".into();
                return Err(Malformed { pointer: input.pointer.clone(), expected });
            }
            Content::Parts(parts) => {
                for part in parts {
                    encode_part(part, input, list.item())?;
                }
            }
        }
        list.end();
        object.end();
    }
    array.end();
    Ok(())
}

fn encode_text(text: &Text, out: &mut Vec<u8>) {
    let mut object = Object::new(out);
    object.str("type", "text").text("text", text);
    object.end();
}

fn encode_part(part: &Part, input: &Input, out: &mut Vec<u8>) -> Result<(), Malformed> {
    match &part.kind {
        PartKind::Text(text) => encode_text(text, out),
        PartKind::Image(media) if matches!(media.source, MediaSource::Base64(_) | MediaSource::Url(_)) => {
            let mut object = Object::new(out);
            let mut address = Object::new(object.str("type", "image_url").key("image_url"));
            write_url(address.key("url"), media);
            address.end();
            object.end();
        }
        _ => {
            let expected = "texts and images: this provider embeds nothing else".into();
            return Err(Malformed { pointer: input.pointer.clone(), expected });
        }
    }
    Ok(())
}

// === Replies ===

/// Embeddings by their type, or a plain list of them (version 1).
fn decode_reply(body: &[u8], inputs: usize) -> Result<EmbedReply, Malformed> {
    let wire: ReplyWire<'_> = json::decode(body)?;
    let embeddings = need(wire.embeddings, &String::new, "embeddings", "embeddings")?;
    let (list, pointer) = if embeddings.get().starts_with('[') {
        (json::decode_at(embeddings, "/embeddings")?, "/embeddings")
    } else {
        let typed: TypedWire<'_> = json::decode_at(embeddings, "/embeddings")?;
        match (typed.float, typed.base64) {
            (Some(list), _) => (list, "/embeddings/float"),
            (None, list) => (need(list, &|| "/embeddings".into(), "float", "a list")?, "/embeddings/base64"),
        }
    };
    let read = |(at, raw): (usize, &&RawValue)| Vector::read(raw, &format!("{pointer}/{at}"));
    let vectors = list.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    let usage = wire.meta.and_then(|meta| usage::count_usage(meta.get()));
    EmbedReply { id: wire.id.unwrap_or_default(), model: Text::default(), vectors, usage }.checked(pointer, inputs)
}

fn encode_reply(reply: &EmbedReply, request: &EmbedRequest, losses: &mut Losses) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(1024);
    let mut sheet = Sheet::new(&mut out);
    sheet.text("id", &reply.id);
    let mut typed = Object::new(sheet.key("embeddings"));
    let usual = [Encoding::Float];
    for encoding in if request.encodings.is_empty() { &usual } else { request.encodings.as_slice() } {
        encode_vectors(reply, *encoding, &mut typed)?;
    }
    typed.end();
    let mut texts = Array::new(sheet.key("texts"));
    for input in &request.inputs {
        if let Content::Text(text) = &input.content {
            json::write_text(texts.item(), text);
        }
    }
    texts.end();
    let mut meta = Object::new(sheet.key("meta"));
    meta.raw("api_version", r#"{"version":"2"}"#);
    match &reply.usage {
        Some(usage) => {
            let mut billed = Object::new(meta.key("billed_units"));
            billed.number("input_tokens", usage.input);
            billed.end();
        }
        None => losses.push("/meta/billed_units", "the provider does not say what it used"),
    }
    meta.end();
    sheet.str("response_type", "embeddings_by_type");
    sheet.end();
    Ok(out)
}

fn encode_vectors(reply: &EmbedReply, encoding: Encoding, typed: &mut Object<'_>) -> Result<(), Malformed> {
    let key = match encoding {
        Encoding::Float => "float",
        Encoding::Base64 => "base64",
    };
    let mut array = Array::new(typed.key(key));
    for (at, vector) in reply.vectors.iter().enumerate() {
        match encoding {
            Encoding::Float => _ = array.raw(vector.numbers()),
            Encoding::Base64 => json::write_str(array.item(), &vector.base64(&format!("/embeddings/{at}"))?),
        }
    }
    array.end();
    Ok(())
}
