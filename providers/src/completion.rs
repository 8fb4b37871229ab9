//! Text completions over chat: for models, and providers, that only chat.
//!
//! A prompt becomes a user's message and the answer a text again. What cannot be had of a chat model (a prompt of tokens,
//! several prompts, a suffix, an echo) is refused with its place; what can be left out is a loss.
//!
//! Source of every name here: OpenAI's API reference and SDK (`types/completion*.py`).

mod logprobs;
mod writer;

use serde_json::value::RawValue;

use crate::chat::{ContentForm, Extras, MaxTokens, Message, PartKind, Raw, Role, Sampling, Stop};
use crate::dialect::WriterOptions;
use crate::dialect::openai_chat::OpenAiChat;
use crate::dialect::openai_chat::reply::encode_usage;
use crate::json::{self, Array, Sheet, wire};
use crate::reply::{Choice, FinishReason};
use crate::{ChatReply, ChatRequest, Codec, Dialect, EventWriter, Losses, Malformed, Text};

/// Why a thing that a chat may say is lost in a text.
const TEXT_ONLY: &str = "a text completion is text only";

wire! {
    struct RequestWire<'a> {
        "model" => model: Text,
        "prompt" => prompt: &'a RawValue,
        "best_of" => best_of: u32,
        "echo" => echo: bool,
        "suffix" => suffix: Text,
        "logprobs" => logprobs: u32,
        "max_tokens" => max_tokens: u64,
        "n" => n: u32,
        "temperature" => temperature: Raw,
        "top_p" => top_p: Raw,
        "frequency_penalty" => frequency_penalty: Raw,
        "presence_penalty" => presence_penalty: Raw,
        "seed" => seed: Raw,
        "stop" => stop: &'a RawValue,
        "stream" => stream: bool,
        "stream_options" => stream_options: OptionsWire<'a>,
        "user" => user: Text,
    }
}

wire! {
    struct OptionsWire<'a> {
        "include_usage" => include_usage: bool,
    }
}

// === Requests ===

/// A request for a completion as one for chat, in OpenAI's dialect: fields that both have go on as they are.
pub fn decode_request(body: &[u8], losses: &mut Losses) -> Result<ChatRequest, Malformed> {
    let wire: RequestWire<'_> = json::decode(body)?;
    refuse(&wire)?;
    let prompt = wire.prompt.ok_or_else(|| malformed("/prompt", "missing; expected a string"))?;
    if wire.best_of.is_some_and(|best| best > wire.n.unwrap_or(1)) {
        losses.push("/best_of", "a chat model has no best of several");
    }
    let mut extras = wire.extras;
    if let Some(alternatives) = wire.logprobs {
        extras.push("logprobs", json::raw("true".into()));
        extras.push("top_logprobs", json::raw(alternatives.to_string()));
    }
    let stream = wire.stream.unwrap_or(false);
    Ok(ChatRequest {
        source: Dialect::OpenAiChat,
        model: wire.model.ok_or_else(|| malformed("/model", "a model"))?,
        messages: vec![message(decode_prompt(prompt)?)],
        tools: Vec::new(),
        tool_choice: None,
        parallel_tool_calls: None,
        max_tokens: wire.max_tokens.map(|value| MaxTokens { value, legacy: true }),
        sampling: Sampling {
            temperature: wire.temperature,
            top_p: wire.top_p,
            frequency_penalty: wire.frequency_penalty,
            presence_penalty: wire.presence_penalty,
            seed: wire.seed,
            choices: wire.n,
            top_k: None,
        },
        stop: wire.stop.map(decode_stop).transpose()?.unwrap_or_default(),
        response_format: None,
        reasoning: None,
        user: wire.user,
        stream,
        include_usage: stream && wire.stream_options.is_some_and(|options| options.include_usage == Some(true)),
        extras,
    })
}

/// What a chat model cannot do at all.
fn refuse(wire: &RequestWire<'_>) -> Result<(), Malformed> {
    if wire.echo == Some(true) {
        return Err(malformed("/echo", "false: a chat model does not echo its prompt"));
    }
    if wire.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
        return Err(malformed("/suffix", "none: a chat model writes no text before a suffix"));
    }
    Ok(())
}

/// One string, or a list of one.
fn decode_prompt(raw: &RawValue) -> Result<Text, Malformed> {
    let expected = "one string, or a list of one: a chat model takes no tokens and no second prompt";
    let refused = || malformed("/prompt", expected);
    if let Some(text) = Text::from_raw(raw) {
        return Ok(text);
    }
    let prompts: Vec<&RawValue> = json::decode(raw.get().as_bytes()).map_err(|_| refused())?;
    match prompts.as_slice() {
        [only] => Text::from_raw(only).ok_or_else(refused),
        _ => Err(refused()),
    }
}

fn decode_stop(raw: &RawValue) -> Result<Stop, Malformed> {
    match Text::from_raw(raw) {
        Some(text) => Ok(Stop { sequences: vec![text], plain: true }),
        None => Ok(Stop { sequences: json::decode_at(raw, "/stop")?, plain: false }),
    }
}

fn message(prompt: Text) -> Message {
    Message {
        role: Role::User,
        parts: vec![PartKind::Text(prompt).into()],
        content: ContentForm::Plain,
        name: None,
        extras: Extras::default(),
        pointer: "/prompt".into(),
    }
}

fn malformed(pointer: &str, expected: &str) -> Malformed {
    Malformed { pointer: pointer.into(), expected: expected.into() }
}

// === Replies ===

/// A chat's reply as a `text_completion`. `annex`: a JSON object of the gateway's own facts, written as `extra_fields`.
pub fn encode_reply(reply: &ChatReply, annex: Option<&str>, losses: &mut Losses) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let mut sheet = Sheet::new(&mut out);
    sheet.text("id", &reply.id).str("object", "text_completion").number("created", reply.created.unwrap_or(0));
    sheet.text("model", &reply.model);
    let mut array = Array::new(sheet.key("choices"));
    for choice in &reply.choices {
        encode_choice(choice, reply.source, array.item(), losses);
    }
    array.end();
    if let Some(usage) = &reply.usage {
        encode_usage(sheet.key("usage"), usage);
    }
    let mut rest = reply.extras.clone();
    if let Some(fingerprint) = rest.remove(FINGERPRINT) {
        sheet.raw(FINGERPRINT, fingerprint.get());
    }
    losses.fields(&rest, "", TEXT_ONLY);
    if let Some(annex) = annex {
        sheet.raw("extra_fields", annex);
    }
    sheet.end();
    out
}

/// A field of a reply that completions have, too.
const FINGERPRINT: &str = "system_fingerprint";

fn encode_choice(choice: &Choice, source: Dialect, out: &mut Vec<u8>, losses: &mut Losses) {
    let pointer = format!("/choices/{}", choice.index);
    let mut text = Text::default();
    for (at, part) in choice.parts.iter().enumerate() {
        match &part.kind {
            PartKind::Text(more) | PartKind::Refusal(more) => text.push(more),
            _ => losses.push(format!("{pointer}/message/content/{at}"), TEXT_ONLY),
        }
        if source != Dialect::OpenAiChat {
            losses.fields(&part.extras, &format!("{pointer}/message/content/{at}"), TEXT_ONLY);
        }
    }
    let mut sheet = Sheet::new(out);
    sheet.text("text", &text).number("index", choice.index.into());
    match &choice.logprobs {
        Some(measured) => logprobs::encode(measured, 0, sheet.key("logprobs")),
        None => _ = sheet.raw("logprobs", "null"),
    }
    sheet.str("finish_reason", finish(choice.finish.reason));
    sheet.end();
    if !choice.citations.is_empty() {
        losses.push(format!("{pointer}/citations"), TEXT_ONLY);
    }
    losses.fields(&choice.extras, &pointer, TEXT_ONLY);
    let mut rest = choice.message_extras.clone();
    rest.remove("content");
    losses.fields(&rest, &format!("{pointer}/message"), TEXT_ONLY);
}

/// The three reasons that completions know.
fn finish(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Length => "length",
        FinishReason::ContentFilter | FinishReason::Refusal => "content_filter",
        FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Pause | FinishReason::Other => "stop",
    }
}

/// Events of a chat to `text_completion` chunks, with `[DONE]` behind the last.
pub fn writer(options: WriterOptions) -> Box<dyn EventWriter> {
    Box::new(writer::Writer::new(options))
}

/// An error as clients of this endpoint read it.
pub fn encode_error(problem: &crate::dialect::Problem) -> Vec<u8> {
    OpenAiChat.encode_error(problem)
}
