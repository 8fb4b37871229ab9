//! Reranking: as Jina began it and servers of OpenAI's school copied it (`/v1/rerank`, which is the gateway's own form, too), and
//! as Cohere's version 2 has it.
//!
//! Documents go out as strings, which is what all of them take; a client that wants them back gets what it sent.

use serde_json::value::RawValue;

use crate::chat::{Extras, Raw};
use crate::dialect::cohere_chat::usage::count_usage;
use crate::dialect::openai_chat::reply::{decode_usage, encode_usage};
use crate::dialect::raw::need;
use crate::endpoint::Endpoint;
use crate::json::{self, Array, Object, Sheet, fields, wire};
use crate::reply::Usage;
use crate::{Dialect, Losses, Malformed, Text};

/// Why a thing of one form stays behind in the other.
const NO_COUNTERPART: &str = "the provider's reranking has no counterpart";

/// Where Cohere says what it bills.
const META: &str = "meta";

/// The text of a document that is an object.
const TEXT: &str = "text";

/// One request, in either form.
#[derive(Clone, Debug)]
pub(super) struct Request {
    source: Endpoint,
    model: Text,
    query: Text,
    documents: Vec<Raw>,
    top_n: Option<u64>,
    max_tokens_per_doc: Option<u64>,
    return_documents: Option<bool>,
    extras: Extras,
}

/// One answer, in either form.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    source: Endpoint,
    id: Text,
    model: Text,
    /// The most relevant first.
    ranked: Vec<Ranked>,
    pub(super) usage: Option<Usage>,
    extras: Extras,
}

#[derive(Clone, Debug)]
struct Ranked {
    index: usize,
    score: Raw,
    document: Option<Raw>,
    extras: Extras,
}

wire! {
    struct RequestWire<'a> {
        "model" => model: &'a RawValue,
        "query" => query: Text,
        "documents" => documents: Vec<Raw>,
        "top_n" => top_n: u64,
        "max_tokens_per_doc" => max_tokens_per_doc: u64,
        "return_documents" => return_documents: bool,
    }
}

wire! {
    struct ReplyWire<'a> {
        "id" => id: Text,
        "model" => model: Text,
        "results" | "data" => results: Vec<&'a RawValue>,
        "usage" => usage: &'a RawValue,
    }
}

wire! {
    struct ResultWire<'a> {
        "index" => index: usize,
        "relevance_score" | "score" => score: Raw,
        "document" => document: Raw,
    }
}

// === Requests ===

pub(super) fn decode_request(source: Endpoint, body: &[u8], model: Text) -> Result<Request, Malformed> {
    let wire: RequestWire<'_> = json::decode(body)?;
    let root = String::new;
    Ok(Request {
        source,
        model,
        query: need(wire.query, &root, "query", "a string")?,
        documents: need(wire.documents, &root, "documents", "a list of documents")?,
        top_n: wire.top_n,
        max_tokens_per_doc: wire.max_tokens_per_doc,
        return_documents: wire.return_documents,
        extras: wire.extras,
    })
}

pub(super) fn encode_request(to: Endpoint, request: &Request, losses: &mut Losses) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let mut sheet = Sheet::new(&mut out);
    sheet.text("model", &request.model).text("query", &request.query);
    let mut array = Array::new(sheet.key("documents"));
    for document in &request.documents {
        json::write_text(array.item(), &as_text(document));
    }
    array.end();
    sheet.optional_number("top_n", request.top_n);
    let same = to == request.source;
    if same || to == Endpoint::CohereRerank {
        sheet.optional_number("max_tokens_per_doc", request.max_tokens_per_doc);
    } else if request.max_tokens_per_doc.is_some() {
        losses.push("/max_tokens_per_doc", NO_COUNTERPART);
    }
    if same {
        sheet.optional_bool("return_documents", request.return_documents).extras(&request.extras);
    } else {
        losses.fields(&request.extras, "", NO_COUNTERPART);
    }
    sheet.end();
    out
}

/// A document as text: itself, its text where it has nothing else, or its fields line by line, as YAML, which is what rerankers
/// are trained on (<https://docs.cohere.com/docs/reranking-with-cohere>).
fn as_text(document: &RawValue) -> Text {
    if let Some(text) = Text::from_raw(document) {
        return text;
    }
    let fields = fields(Some(document));
    if let (Some(text), 1) = (fields.find(TEXT).and_then(Text::from_raw), fields.iter().count()) {
        return text;
    }
    if fields.is_empty() {
        return Text::from_plain(document.get());
    }
    // JSON is YAML.
    let plain = |value: &RawValue| {
        Text::from_raw(value).map_or_else(|| value.get().to_owned(), |text| text.to_plain().into_owned())
    };
    let lines: Vec<String> = fields.iter().map(|(key, value)| format!("{key}: {}", plain(value))).collect();
    Text::from_plain(&lines.join("\n"))
}

// === Replies ===

/// Malformed where a result is of no document, or of one that had a result already.
pub(super) fn decode_reply(source: Endpoint, body: &[u8], request: &Request) -> Result<Reply, Malformed> {
    let wire: ReplyWire<'_> = json::decode(body)?;
    let results = need(wire.results, &String::new, "results", "a list of results")?;
    let mut ranked: Vec<Ranked> = Vec::with_capacity(results.len());
    for (at, raw) in results.into_iter().enumerate() {
        let one = decode_result(raw, &|| format!("/results/{at}"))?;
        if one.index >= request.documents.len() || ranked.iter().any(|other| other.index == one.index) {
            let expected = "the index of a document that has no other result".into();
            return Err(Malformed { pointer: format!("/results/{at}/index"), expected });
        }
        ranked.push(one);
    }
    // Not every server sorts, nor stops at the number that was asked for.
    ranked.sort_by(|one, other| value(&other.score).total_cmp(&value(&one.score)));
    if let Some(top) = request.top_n.and_then(|top| usize::try_from(top).ok()) {
        ranked.truncate(top);
    }
    let usage = match source {
        Endpoint::CohereRerank => wire.extras.find(META).and_then(|meta| count_usage(meta.get())),
        _ => wire.usage.and_then(decode_usage).map(counted),
    };
    let (id, model) = (wire.id.unwrap_or_default(), wire.model.unwrap_or_default());
    Ok(Reply { source, id, model, ranked, usage, extras: wire.extras })
}

fn decode_result(raw: &RawValue, place: &dyn Fn() -> String) -> Result<Ranked, Malformed> {
    let wire: ResultWire<'_> = json::decode_at(raw, &place())?;
    let score = need(wire.score, place, "relevance_score", "a number")?;
    Ok(Ranked {
        index: need(wire.index, place, "index", "a whole number")?,
        score,
        document: wire.document,
        extras: wire.extras,
    })
}

fn value(score: &RawValue) -> f64 {
    score.get().parse().unwrap_or(f64::NEG_INFINITY)
}

/// Jina says the total only; reranking has no output.
fn counted(usage: Usage) -> Usage {
    match usage {
        Usage { input: 0, output: 0, total: Some(total), .. } => Usage { input: total, ..usage },
        usage => usage,
    }
}

pub(super) fn encode_reply(to: Endpoint, reply: &Reply, request: &Request, losses: &mut Losses) -> Vec<u8> {
    let own = to == reply.source;
    let mut out = Vec::with_capacity(512);
    let mut sheet = Sheet::new(&mut out);
    if !reply.id.is_empty() {
        sheet.text("id", &reply.id);
    }
    if to == Endpoint::Rerank {
        sheet.text("model", if reply.model.is_empty() { &request.model } else { &reply.model });
    }
    let mut array = Array::new(sheet.key("results"));
    for one in &reply.ranked {
        encode_result(one, request, own, array.item(), losses);
    }
    array.end();
    match &reply.usage {
        Some(usage) if to == Endpoint::Rerank && is_openai(usage) => encode_usage(sheet.key("usage"), usage),
        Some(usage) if to == Endpoint::CohereRerank => encode_meta(usage, sheet.key(META)),
        _ => {}
    }
    // Cohere says what it bills in `meta`, as the gateway's own form may, too.
    if own || to == Endpoint::Rerank {
        sheet.extras(&reply.extras);
    } else {
        let mut rest = reply.extras.clone();
        rest.remove("object");
        losses.fields(&rest, "", NO_COUNTERPART);
    }
    sheet.end();
    out
}

fn is_openai(usage: &Usage) -> bool {
    matches!(usage.raw, Some((Dialect::OpenAiChat, _)))
}

fn encode_meta(usage: &Usage, out: &mut Vec<u8>) {
    let mut meta = Object::new(out);
    let mut tokens = Object::new(meta.raw("api_version", r#"{"version":"2"}"#).key("tokens"));
    tokens.number("input_tokens", usage.input);
    tokens.end();
    meta.end();
}

fn encode_result(one: &Ranked, request: &Request, own: bool, out: &mut Vec<u8>, losses: &mut Losses) {
    let mut sheet = Sheet::new(out);
    sheet.number("index", u64::try_from(one.index).unwrap_or(u64::MAX)).raw("relevance_score", one.score.get());
    let sent = request.documents.get(one.index).filter(|_| request.return_documents == Some(true));
    if let (Some(sent), true) = (sent, request.source == Endpoint::Rerank) {
        encode_document(sent, sheet.key("document"));
    } else if let Some(document) = one.document.as_ref().filter(|_| own) {
        sheet.raw("document", document.get());
    }
    if own || request.source == Endpoint::Rerank {
        sheet.extras(&one.extras);
    } else {
        losses.fields(&one.extras, "/results", NO_COUNTERPART);
    }
    sheet.end();
}

/// A document as its client sent it; a string stands in an object.
fn encode_document(document: &RawValue, out: &mut Vec<u8>) {
    match Text::from_raw(document) {
        None => out.extend_from_slice(document.get().as_bytes()),
        Some(text) => {
            let mut object = Object::new(out);
            object.text(TEXT, &text);
            object.end();
        }
    }
}
