//! The request, both ways. Its messages are in [`super::turns`], its tools in [`super::tools`], the rest in [`super::config`].

use super::block::decode_all;
use super::config::{self, ADDITIONAL, INFERENCE, OUTPUT};
use super::tools::{self, TOOL_CONFIG};
use super::turns::{Conversation, SYSTEM};
use super::wire::{Crossing, MessageWire, OWN, RequestWire, need};
use crate::chat::{ContentForm, Extras, Message, Role};
use crate::json::{self, Object};
use crate::{ChatRequest, Losses, Malformed, Text};

/// Lists that were left out, or that were there and empty, are remembered under their own keys.
const MESSAGES: &str = "messages";
const EMPTY_SYSTEM: &str = "system";

/// Fields of this API that callers of others may give as they are.
const SHARED_FIELDS: &[&str] = &[
    "additionalModelResponseFieldPaths",
    "guardrailConfig",
    "performanceConfig",
    "promptVariables",
    "requestMetadata",
    "serviceTier",
];

// === Reading ===

pub(super) fn decode(body: &[u8]) -> Result<ChatRequest, Malformed> {
    let wire: RequestWire<'_> = json::decode(body)?;
    let mut extras = wire.extras;
    let mut messages = Vec::new();
    match wire.system {
        Some(blocks) if blocks.is_empty() => extras.remember(EMPTY_SYSTEM, json::raw("[]".into())),
        Some(blocks) => {
            let parts = decode_all(blocks, &|| SYSTEM.to_owned())?;
            messages.push(message(Role::System, parts, SYSTEM.to_owned()));
        }
        None => {}
    }
    if wire.messages.is_none() {
        // A prompt that is kept at AWS brings its own.
        extras.remember(MESSAGES, json::null());
    }
    for (at, wire) in wire.messages.into_iter().flatten().enumerate() {
        messages.push(decode_message(wire, at)?);
    }
    let (tools, tool_choice) = match wire.tool_config {
        Some(wire) => tools::decode(wire, &mut extras)?,
        None => (Vec::new(), None),
    };
    let config = config::decode(wire.inference, wire.additional, wire.output_config, &mut extras)?;
    Ok(ChatRequest {
        source: OWN,
        model: Text::default(),
        messages,
        tools,
        tool_choice,
        parallel_tool_calls: None,
        max_tokens: config.max_tokens,
        sampling: config.sampling,
        stop: config.stop,
        response_format: config.response_format,
        reasoning: config.reasoning,
        user: None,
        stream: false,
        include_usage: true,
        extras,
    })
}

fn message(role: Role, parts: Vec<crate::chat::Part>, pointer: String) -> Message {
    Message { role, parts, content: ContentForm::Parts, name: None, extras: Extras::default(), pointer }
}

fn decode_message(wire: MessageWire<'_>, at: usize) -> Result<Message, Malformed> {
    let place = || format!("/messages/{at}");
    let expected = "user, assistant or system";
    let role = match need(wire.role, &place, "role", expected)?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => return Err(Malformed { pointer: format!("/messages/{at}/role"), expected: expected.into() }),
    };
    let content = need(wire.content, &place, "content", "a list of content blocks")?;
    let parts = decode_all(content, &|| format!("/messages/{at}/content"))?;
    Ok(Message { extras: wire.extras, ..message(role, parts, place()) })
}

// === Writing ===

/// Neither the model nor the stream flag is written: both stand in the URL.
pub(super) fn encode(request: &ChatRequest, losses: &mut Losses) -> Vec<u8> {
    let mut crossing = Crossing::to_model(request, losses);
    let mut out = Vec::with_capacity(1024);
    let mut object = Object::new(&mut out);
    let conversation = Conversation::of(request, &mut crossing);
    let recall = |key| request.extras.recall(key).filter(|_| request.source == OWN);
    if conversation.has_system() {
        conversation.write_system(object.key("system"), &mut crossing);
    } else if let Some(empty) = recall(EMPTY_SYSTEM) {
        object.raw("system", empty.get());
    }
    if recall(MESSAGES).is_none() || request.messages.iter().any(|message| message.role != Role::System) {
        conversation.write_messages(object.key("messages"), &mut crossing);
    }
    let answer = config::encode(request, &mut object, &mut crossing);
    tools::encode(request, answer, &mut object, &mut crossing);
    if request.user.is_some() {
        crossing.lose("/user");
    }
    encode_extras(request, &mut object, &mut crossing);
    object.end();
    out
}

fn encode_extras(request: &ChatRequest, object: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    if crossing.native {
        // Written in their own objects above.
        object.extras_except(&request.extras, &[INFERENCE, ADDITIONAL, OUTPUT, TOOL_CONFIG]);
        return;
    }
    let mut rest = request.extras.clone();
    for key in SHARED_FIELDS {
        if let Some(value) = rest.remove(key) {
            object.raw(key, value.get());
        }
    }
    let read: Vec<String> = rest.iter().map(|(key, _)| key.to_owned()).filter(|key| config::is_read(key)).collect();
    for key in read {
        rest.remove(&key);
    }
    crossing.lose_extras(&rest, &String::new);
}
