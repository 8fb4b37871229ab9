//! The request, both ways. Its messages are in [`super::turns`], its tools in [`super::tools`], the rest in [`super::config`].

use super::config::{self, CONFIG, Config};
use super::part::Calls;
use super::tools::{self, TOOL_CONFIG};
use super::turns::{self, Conversation, SYSTEM};
use super::wire::{Crossing, OWN, RequestWire, need};
use crate::json::{self, Object};
use crate::{ChatRequest, Losses, Malformed, Text};

/// Where an empty list of tools is remembered.
const TOOLS: &str = "tools";

/// Fields of this API that the gateway's OpenAI surface takes, and their names here.
const SHARED_FIELDS: &[(&str, &str)] =
    &[("safety_settings", "safetySettings"), ("cached_content", "cachedContent"), ("labels", "labels")];

// === Reading ===

pub(super) fn decode(body: &[u8]) -> Result<ChatRequest, Malformed> {
    let wire: RequestWire<'_> = json::decode(body)?;
    let mut extras = wire.extras;
    // The URL says it; a body may say it again.
    let model = wire.model.map(|model| Text::from_plain(model.to_plain().trim_start_matches("models/")));
    let contents = need(wire.contents, &String::new, "contents", "a list of contents")?;
    let mut calls = Calls::new("");
    let mut messages = Vec::with_capacity(contents.len() + 1);
    if let Some(system) = wire.system {
        messages.push(turns::decode(system, &mut calls, SYSTEM.to_owned())?);
    }
    for (at, raw) in contents.into_iter().enumerate() {
        messages.push(turns::decode(raw, &mut calls, format!("/contents/{at}"))?);
    }
    let tool_choice = match wire.tool_config {
        Some(raw) => tools::decode_choice(raw, &mut extras)?,
        None => None,
    };
    let config = wire.config.map_or(Ok(Config::default()), |raw| config::decode(raw, &mut extras))?;
    if wire.tools.as_ref().is_some_and(Vec::is_empty) {
        extras.remember(TOOLS, json::raw("[]".into()));
    }
    Ok(ChatRequest {
        source: OWN,
        model: model.unwrap_or_default(),
        messages,
        tools: tools::decode(wire.tools.unwrap_or_default())?,
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

// === Writing ===

/// Neither the model nor the stream flag is written: both stand in the URL.
pub(super) fn encode(request: &ChatRequest, losses: &mut Losses) -> Vec<u8> {
    let mut crossing = Crossing { native: request.source == OWN, losses };
    let mut out = Vec::with_capacity(1024);
    let mut object = Object::new(&mut out);
    Conversation::of(request, &mut crossing).write(&mut object, &mut crossing);
    let functions = tools::encode(request, &mut object, &mut crossing);
    tools::encode_choice(request, functions, &mut object, &mut crossing);
    config::encode(request, &mut object, &mut crossing);
    if request.user.is_some() {
        crossing.lose("/user");
    }
    encode_extras(request, &mut object, &mut crossing);
    object.end();
    out
}

fn encode_extras(request: &ChatRequest, object: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    let mut rest = request.extras.clone();
    if crossing.native {
        // Written in their own objects above.
        rest.remove(CONFIG);
        rest.remove(TOOL_CONFIG);
        if !request.tools.is_empty() {
            rest.remove(TOOLS);
        } else if let Some(empty) = request.extras.recall(TOOLS) {
            object.raw(TOOLS, empty.get());
        }
        object.extras(&rest);
        return;
    }
    for (theirs, ours) in SHARED_FIELDS {
        if let Some(value) = rest.remove(theirs) {
            object.raw(ours, value.get());
        }
    }
    let is_read = |key: &str| tools::is_shared(key) || (config::takes_shared(request.source) && config::is_shared(key));
    let read: Vec<String> = rest.iter().map(|(key, _)| key.to_owned()).filter(|key| is_read(key)).collect();
    for key in read {
        rest.remove(&key);
    }
    crossing.lose_extras(&rest, &String::new);
}
