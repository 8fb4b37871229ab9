//! How many tokens a chat request has, asked of a provider: the request is one of chat in its own dialect, the answer a number.
//!
//! Only what counts is sent: the endpoints refuse the rest (sampling, limits, streams).

use serde_json::value::RawValue;

use crate::dialect::raw::need;
use crate::json::{self, AnyObject, Object, Sheet, fields, wire};
use crate::{Dialect, Losses, Malformed, Text};

/// The fields that Anthropic counts (SDK, `types/message_count_tokens_params.py`).
const ANTHROPIC: &[&str] = &[
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "cache_control",
    "mcp_servers",
];

/// The fields that OpenAI counts (SDK, `types/responses/input_token_count_params.py`).
const OPENAI: &[&str] = &[
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "reasoning",
    "truncation",
    "conversation",
    "previous_response_id",
];

/// The fields that Google Cloud counts (`projects.locations.publishers.models/countTokens`).
const GOOGLE_CLOUD: &[&str] = &["contents", "systemInstruction", "tools", "generationConfig"];

/// Where Google's request may stand whole, with its tools and its system instruction.
const WHOLE: &str = "generateContentRequest";

wire! {
    struct WholeWire<'a> {
        "generateContentRequest" | "generate_content_request" => request: &'a RawValue,
    }
}

wire! {
    struct ReplyWire<'a> {
        "input_tokens" | "totalTokens" => tokens: &'a RawValue,
    }
}

/// The request in the other dialect.
pub(super) fn request(
    (from, to): (Dialect, Dialect),
    body: &[u8],
    model: Text,
    losses: &mut Losses,
) -> Result<Vec<u8>, Malformed> {
    let mut chat = decode(from, body)?;
    chat.model = model;
    let encoded = to.codec().encode_request(&chat, losses);
    let fields: AnyObject<'_> = json::decode(&encoded)?;
    let mut out = Vec::with_capacity(encoded.len() + 64);
    let mut sheet = Sheet::new(&mut out);
    if to == Dialect::Gemini {
        let mut whole = Object::new(sheet.key(WHOLE));
        let plain = chat.model.to_plain();
        whole.str("model", &format!("models/{}", plain.strip_prefix("models/").unwrap_or(&plain)));
        whole.extras_except(&fields.extras, &["model"]);
        whole.end();
    } else {
        let counted = if to == Dialect::AnthropicMessages { ANTHROPIC } else { OPENAI };
        for (key, value) in counted.iter().filter_map(|key| Some((*key, fields.extras.find(key)?))) {
            sheet.raw(key, value.get());
        }
    }
    sheet.end();
    Ok(out)
}

/// The fields alone that Google Cloud counts; `None` where they stand alone already.
pub(super) fn alone(body: &[u8]) -> Option<Vec<u8>> {
    let whole: WholeWire<'_> = json::decode(body).ok()?;
    let fields = fields(Some(whole.request?));
    let mut out = Vec::with_capacity(body.len());
    let mut sheet = Sheet::new(&mut out);
    for (key, value) in GOOGLE_CLOUD.iter().filter_map(|key| Some((*key, fields.find(key)?))) {
        sheet.raw(key, value.get());
    }
    sheet.end();
    Some(out)
}

fn decode(from: Dialect, body: &[u8]) -> Result<crate::ChatRequest, Malformed> {
    if from == Dialect::Gemini
        && let WholeWire { request: Some(request), .. } = json::decode(body)?
    {
        return from
            .codec()
            .decode_request(request.get().as_bytes())
            .map_err(|fault| Malformed { pointer: format!("/{WHOLE}{}", fault.pointer), ..fault });
    }
    from.codec().decode_request(body)
}

/// The number in the client's words.
pub(super) fn reply((from, to): (Dialect, Dialect), body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let wire: ReplyWire<'_> = json::decode(body)?;
    let key = if to == Dialect::Gemini { "totalTokens" } else { "input_tokens" };
    let tokens = need(wire.tokens.and_then(|raw| json::count(raw.get())), &String::new, key, "a number of tokens")?;
    let mut out = Vec::with_capacity(64);
    let mut object = Object::new(&mut out);
    match from {
        Dialect::Gemini => _ = object.number("totalTokens", tokens),
        Dialect::AnthropicMessages => _ = object.number("input_tokens", tokens),
        _ => _ = object.str("object", "response.input_tokens").number("input_tokens", tokens),
    }
    object.end();
    Ok(out)
}
