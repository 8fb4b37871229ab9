//! The request, both ways, all but its messages (`turns`), tools (`tools`) and sampling (`config`).

use super::turns::{self, Conversation};
use super::wire::{Crossing, OWN, RequestWire, need};
use super::{config, content, tools};
use crate::chat::{Extras, MaxTokens, Sampling};
use crate::json::{self, Sheet};
use crate::{ChatRequest, Dialect, Losses, Malformed};

/// The spelling that is remembered of an empty list of documents.
const DOCUMENTS: &str = "documents";

/// A field of OpenAI chat's requests with the same name and meaning.
const LOGPROBS: &str = "logprobs";

// === Reading ===

pub(super) fn decode(body: &[u8]) -> Result<ChatRequest, Malformed> {
    let wire: RequestWire<'_> = json::decode(body)?;
    let root = String::new;
    let mut extras = wire.extras;
    content::remember_empty(&mut extras, DOCUMENTS, wire.documents.as_ref());
    let messages = need(wire.messages, &root, "messages", "a list of messages")?;
    let stop = config::decode_stop(wire.stop_sequences, &mut extras);
    let tools = tools::decode(wire.tools, wire.strict_tools, &mut extras)?;
    if wire.stream == Some(false) {
        // Remembers the spelling; it says what leaving it out says.
        extras.push("stream", json::raw("false".into()));
    }
    Ok(ChatRequest {
        source: OWN,
        model: need(wire.model, &root, "model", "a string")?,
        messages: turns::decode(&messages, &wire.documents.unwrap_or_default())?,
        tools,
        tool_choice: wire.tool_choice.map(tools::decode_choice),
        parallel_tool_calls: None,
        max_tokens: wire.max_tokens.map(|value| MaxTokens { value, legacy: true }),
        sampling: Sampling {
            temperature: wire.temperature,
            top_p: wire.top_p,
            top_k: wire.top_k,
            frequency_penalty: wire.frequency_penalty,
            presence_penalty: wire.presence_penalty,
            seed: wire.seed,
            choices: None,
        },
        stop,
        response_format: wire.response_format.map(config::decode_format),
        reasoning: wire.thinking.map(config::decode_reasoning).transpose()?,
        user: None,
        stream: wire.stream.unwrap_or(false),
        include_usage: true,
        extras,
    })
}

// === Writing ===

pub(super) fn encode(request: &ChatRequest, losses: &mut Losses) -> Vec<u8> {
    let mut crossing = Crossing { native: request.source == OWN, losses };
    let mut out = Vec::with_capacity(1024);
    let mut sheet = Sheet::new(&mut out);
    sheet.text("model", &request.model);
    Conversation::of(request, &mut crossing).write(&mut sheet, &mut crossing);
    if crossing.native && request.messages.iter().all(|message| message.pointer != turns::DOCUMENTS) {
        sheet.optional_raw(DOCUMENTS, request.extras.recall(DOCUMENTS));
    }
    tools::encode(request, &mut sheet, &mut crossing);
    config::encode(request, &mut sheet, &mut crossing);
    if request.user.is_some() {
        crossing.lose("/user");
    }
    if request.stream {
        sheet.bool("stream", true);
    }
    encode_extras(request, &mut sheet, &mut crossing);
    sheet.end();
    out
}

fn encode_extras(request: &ChatRequest, sheet: &mut Sheet<'_>, crossing: &mut Crossing<'_>) {
    if crossing.native {
        sheet.extras(&request.extras);
        return;
    }
    let mut rest: Extras = request.extras.clone();
    if request.source == Dialect::OpenAiChat
        && let Some(wanted) = rest.remove(LOGPROBS)
        && wanted.get() == "true"
    {
        sheet.raw(LOGPROBS, wanted.get());
    }
    crossing.lose_extras(&rest, &String::new);
}
