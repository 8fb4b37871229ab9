//! A request or reply of another dialect, made sayable in OpenAI chat.
//!
//! Crossing gives a copy without anything that only the other dialect can say, and lists each such thing as a loss, with its
//! place in the caller's body. What remains is written by the same code that writes OpenAI's own.

use super::content::unsayable;
use super::message::untold;
use crate::chat::{
    ContentForm, Extras, MaxTokens, Media, MediaSource, Message, Part, PartKind, Reasoning, ResponseFormat, Role,
    Sampling, Tool, ToolChoice, ToolKind, ToolResult,
};
use crate::dialect::ending;
use crate::dialect::openai_responses::sibling;
use crate::dialect::piece::{numbered, pieces_of};
use crate::reply::{Choice, Finish, FinishReason, Usage};
use crate::{ChatReply, ChatRequest, Dialect, Losses, Text};

/// The tier that served a request: the same field in both of OpenAI's dialects.
const TIER: &str = "service_tier";

/// Whether log-probabilities are wanted: the same field in Cohere's requests.
const LOGPROBS: &str = "logprobs";

const NO_COUNTERPART: &str = "openai_chat has no counterpart";

/// Why a thought signature stays behind that stands over anything but a call.
pub(super) const SIGNATURE_OVER_CALLS_ONLY: &str = "openai_chat carries thought signatures on tool calls only";

/// OpenAI demands a name for a schema; the gateway gives this one where the other dialect has none.
const SCHEMA_NAME: &str = "response";

/// OpenAI demands a file name beside inline bytes.
const FILE_NAME: &str = "document";

/// Notes why another dialect's reply ended, where there is no word for it here.
pub(super) fn lose_end(finish: &Finish, losses: &mut Losses) {
    let wordless = [FinishReason::Refusal, FinishReason::Pause, FinishReason::Other];
    ending::lose_reason(Dialect::OpenAiChat, finish, &wordless, losses);
    ending::lose_sequence(Dialect::OpenAiChat, finish, losses);
}

/// Carries over and keeps the account of what stays behind.
#[derive(Debug)]
pub(super) struct Crossing<'a> {
    /// Where it comes from.
    source: Dialect,
    losses: &'a mut Losses,
}

impl<'a> Crossing<'a> {
    pub(super) fn new(source: Dialect, losses: &'a mut Losses) -> Self {
        Self { source, losses }
    }

    // === requests ===

    pub(super) fn request(&mut self, from: &ChatRequest) -> ChatRequest {
        let mut rest = from.extras.clone();
        let extras = match from.source {
            Dialect::OpenAiResponses => sibling::request_to_chat(&mut rest),
            Dialect::CohereChat => same(&mut rest, LOGPROBS),
            _ => Extras::default(),
        };
        self.leave("", &rest);
        ChatRequest {
            source: from.source,
            model: from.model.clone(),
            messages: self.messages(&from.messages),
            tools: from.tools.iter().enumerate().filter_map(|(at, tool)| self.tool(at, tool)).collect(),
            tool_choice: from.tool_choice.as_ref().and_then(|choice| self.tool_choice(choice)),
            parallel_tool_calls: from.parallel_tool_calls,
            max_tokens: from.max_tokens.map(|limit| max_tokens(&from.model, limit)),
            sampling: self.sampling(&from.sampling),
            stop: from.stop.clone(),
            response_format: from.response_format.as_ref().and_then(|format| self.response_format(format)),
            reasoning: from.reasoning.as_ref().and_then(|reasoning| self.reasoning(reasoning)),
            user: from.user.clone(),
            stream: from.stream,
            include_usage: from.include_usage,
            extras,
        }
    }

    /// Messages of which nothing can be said are left out. Where a turn is spelt as a list of items, its calls and its words
    /// belong in one message here.
    fn messages(&mut self, from: &[Message]) -> Vec<Message> {
        let mut messages: Vec<Message> = Vec::with_capacity(from.len());
        let mut items = false;
        for source in from {
            let message = self.message(source);
            if message.parts.is_empty() && !source.parts.is_empty() {
                continue;
            }
            let is_item = source.content == ContentForm::Item;
            match messages.last_mut() {
                Some(last) if (is_item || items) && [last.role, message.role] == [Role::Assistant; 2] => {
                    last.parts.extend(message.parts);
                    last.content = content_form(&last.parts);
                }
                _ => messages.push(message),
            }
            items = is_item;
        }
        messages
    }

    fn message(&mut self, from: &Message) -> Message {
        self.leave(&from.pointer, &from.extras);
        let pieces = pieces_of(self.source, from);
        let parts: Vec<Part> = pieces.filter_map(|piece| self.part(piece.part, &piece.place())).collect();
        let content = content_form(&parts);
        let pointer = from.pointer.clone();
        Message { role: from.role, parts, content, name: from.name.clone(), extras: Extras::default(), pointer }
    }

    fn parts(&mut self, parts: &[Part], form: ContentForm, pointer: &str) -> Vec<Part> {
        let place = |at: usize| match form {
            ContentForm::Parts => format!("{pointer}/content/{at}"),
            ContentForm::Item => pointer.to_owned(),
            ContentForm::List => format!("{pointer}/{at}"),
            _ => format!("{pointer}/content"),
        };
        numbered(self.source, parts).filter_map(|(at, part)| self.part(part, &place(at))).collect()
    }

    /// The part without marks of its dialect, or `None` where it cannot be said.
    fn part(&mut self, part: &Part, pointer: &str) -> Option<Part> {
        let of_sibling = self.source == Dialect::OpenAiResponses && is_file_id(&part.kind);
        if let Some(reason) = unsayable(&part.kind).filter(|_| !of_sibling) {
            self.losses.push(pointer, reason);
            return None;
        }
        for key in untold(part) {
            self.losses.push(format!("{pointer}/{}", escaped(key)), NO_COUNTERPART);
        }
        let kind = match &part.kind {
            PartKind::ToolResult(result) => PartKind::ToolResult(self.result(result, pointer)),
            PartKind::File(media) => self.file(media, pointer),
            other => other.clone(),
        };
        let carried = matches!(kind, PartKind::ToolCall(_));
        if part.signature.is_some() && !carried {
            self.losses.push(pointer, SIGNATURE_OVER_CALLS_ONLY);
        }
        Some(Part { signature: part.signature.clone().filter(|_| carried), ..Part::from(kind) })
    }

    fn result(&mut self, from: &ToolResult, pointer: &str) -> ToolResult {
        if from.is_error == Some(true) {
            self.losses.push(format!("{pointer}/is_error"), NO_COUNTERPART);
        }
        let parts = self.parts(&from.parts, from.content, pointer);
        let content = plain_where_it_fits(&parts);
        ToolResult { call_id: from.call_id.clone(), parts, content, is_error: None }
    }

    fn file(&mut self, from: &Media, pointer: &str) -> PartKind {
        match (&from.source, &from.name) {
            (MediaSource::Plain(text), name) => {
                if name.is_some() {
                    self.losses.push(format!("{pointer}/title"), "a plain text document is sent as text");
                }
                PartKind::Text(text.clone())
            }
            (_, name) => {
                let inline = matches!(from.source, MediaSource::Base64(_));
                let name = name.clone().or_else(|| inline.then(|| FILE_NAME.into()));
                PartKind::File(Media { name, ..from.clone() })
            }
        }
    }

    fn tool(&mut self, at: usize, from: &Tool) -> Option<Tool> {
        let pointer = format!("/tools/{at}");
        let function = match &from.kind {
            ToolKind::Function(function) => function,
            ToolKind::Foreign(source, raw) => {
                let Some(own) = sibling::tool_to_chat(*source, raw) else {
                    self.losses.push(pointer, NO_COUNTERPART);
                    return None;
                };
                let kind = ToolKind::Foreign(Dialect::OpenAiChat, own);
                return Some(Tool { kind, cache: None, extras: Extras::default() });
            }
        };
        if from.cache.is_some() {
            self.losses.push(format!("{pointer}/cache_control"), NO_COUNTERPART);
        }
        self.leave(&pointer, &from.extras);
        Some(Tool { kind: ToolKind::Function(function.clone()), cache: None, extras: Extras::default() })
    }

    fn tool_choice(&mut self, from: &ToolChoice) -> Option<ToolChoice> {
        let ToolChoice::Foreign(source, raw) = from else { return Some(from.clone()) };
        let own = sibling::choice_to_chat(*source, raw);
        if own.is_none() {
            self.losses.push("/tool_choice", NO_COUNTERPART);
        }
        own.map(|raw| ToolChoice::Foreign(Dialect::OpenAiChat, raw))
    }

    fn sampling(&mut self, from: &Sampling) -> Sampling {
        if from.top_k.is_some() {
            self.losses.push("/top_k", NO_COUNTERPART);
        }
        Sampling { top_k: None, ..from.clone() }
    }

    fn response_format(&mut self, from: &ResponseFormat) -> Option<ResponseFormat> {
        match from {
            ResponseFormat::Text | ResponseFormat::Json => Some(from.clone()),
            ResponseFormat::Schema { name, description, schema, strict, extras } => {
                self.leave("/response_format", extras);
                Some(ResponseFormat::Schema {
                    name: name.clone().or_else(|| Some(SCHEMA_NAME.into())),
                    description: description.clone(),
                    schema: schema.clone(),
                    strict: *strict,
                    extras: Extras::default(),
                })
            }
            ResponseFormat::Foreign(..) => {
                self.losses.push("/response_format", NO_COUNTERPART);
                None
            }
        }
    }

    /// OpenAI has efforts only. A budget of tokens is said as the effort nearest to it; an effort is never changed.
    fn reasoning(&mut self, from: &Reasoning) -> Option<Reasoning> {
        self.leave("/thinking", &from.extras);
        let effort = match (&from.effort, from.budget) {
            (Some(effort), budget) => {
                if budget.is_some() {
                    self.losses
                        .push("/thinking/budget_tokens", "openai_chat takes an effort, which the request also gives");
                }
                Some(effort.clone())
            }
            (None, Some(budget)) => {
                let effort = nearest_effort(budget);
                self.losses
                    .push("/thinking/budget_tokens", format!("openai_chat takes no budget: said as effort `{effort}`"));
                Some(Text::from_plain(effort))
            }
            (None, None) => {
                if from.mode.as_ref().is_some_and(|mode| mode.as_escaped() == "disabled") {
                    self.losses.push("/thinking", "openai_chat has no common way to switch reasoning off");
                }
                None
            }
        };
        effort.map(|effort| Reasoning { effort: Some(effort), ..Reasoning::default() })
    }

    // === replies ===

    pub(super) fn reply(&mut self, from: &ChatReply) -> ChatReply {
        let mut rest = from.extras.clone();
        let mut extras = Extras::default();
        if let Some(tier) = rest.remove(TIER).filter(|_| self.source == Dialect::OpenAiResponses) {
            extras.push(TIER, tier);
        }
        self.leave("", &rest);
        ChatReply {
            choices: from.choices.iter().map(|choice| self.choice(choice)).collect(),
            usage: from.usage.clone().map(|usage| Usage { raw: None, ..usage }),
            extras,
            ..from.clone()
        }
    }

    fn choice(&mut self, from: &Choice) -> Choice {
        let pointer = format!("/choices/{}", from.index);
        let message = format!("{pointer}/message");
        self.leave(&pointer, &from.extras);
        self.leave(&message, &from.message_extras);
        lose_end(&from.finish, self.losses);
        let (beside, parts) = if self.source == Dialect::OpenAiResponses {
            sibling::beside_message(&from.parts)
        } else {
            (sibling::Beside::default(), from.parts.clone())
        };
        let parts = self.parts(&parts, ContentForm::Parts, &message);
        let mut message_extras = Extras::default();
        if let Some(annotations) = beside.annotations {
            message_extras.push("annotations", annotations);
        }
        Choice {
            index: from.index,
            parts,
            finish: from.finish.clone(),
            // The canonical shape of both is made after ours.
            logprobs: from.logprobs.clone().or(beside.logprobs),
            citations: from.citations.clone(),
            extras: Extras::default(),
            message_extras,
        }
    }

    /// Counts every telling field as left behind.
    fn leave(&mut self, pointer: &str, extras: &Extras) {
        for key in extras.telling() {
            self.losses.push(format!("{pointer}/{}", escaped(key)), NO_COUNTERPART);
        }
    }
}

/// A field that the other dialect has by the same name and with the same meaning.
fn same(rest: &mut Extras, key: &str) -> Extras {
    let mut extras = Extras::default();
    if let Some(value) = rest.remove(key) {
        extras.push(key, value);
    }
    extras
}

/// An image or a document in OpenAI's own store, which both of its dialects name.
fn is_file_id(kind: &PartKind) -> bool {
    matches!(kind, PartKind::Image(media) | PartKind::File(media) if matches!(media.source, MediaSource::FileId(_)))
}

/// A key as a token of a JSON pointer.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// A message that only calls has no content.
fn content_form(parts: &[Part]) -> ContentForm {
    let says_nothing = parts.iter().all(|part| !matches!(part.kind, PartKind::Text(_) | PartKind::Image(_)));
    let calls = parts.iter().any(|part| matches!(part.kind, PartKind::ToolCall(_)));
    if says_nothing && calls { ContentForm::Null } else { plain_where_it_fits(parts) }
}

/// A single text is a plain string, which every OpenAI-alike reads.
fn plain_where_it_fits(parts: &[Part]) -> ContentForm {
    let content = parts.iter().filter(|part| {
        matches!(part.kind, PartKind::Text(_) | PartKind::Image(_) | PartKind::Audio(_) | PartKind::File(_))
    });
    if content.count() <= 1 { ContentForm::Plain } else { ContentForm::Parts }
}

/// OpenAI's own models want the newer spelling, and the reasoning ones refuse the older; most other servers know only the
/// older.
fn max_tokens(model: &Text, limit: MaxTokens) -> MaxTokens {
    let plain = model.to_plain();
    let name = plain.rsplit('/').next().unwrap_or_default();
    let own = ["gpt-", "chatgpt-", "o1", "o3", "o4"].iter().any(|family| name.starts_with(family));
    // OpenAI's open-weight models are served by others.
    let legacy = !own || name.starts_with("gpt-oss");
    MaxTokens { legacy, ..limit }
}

/// Up to 2,048 tokens is what providers' own tables call low, up to 12,288 medium.
pub(in crate::dialect) fn nearest_effort(budget: u64) -> &'static str {
    match budget {
        0..=2048 => "low",
        2049..=12_288 => "medium",
        _ => "high",
    }
}
