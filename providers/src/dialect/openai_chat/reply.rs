//! Replies, both ways, and the usage that streams share.

use serde_json::value::RawValue;

use super::crossing::Crossing;
use super::message::{Fields, Said, decode_message};
use super::wire::{self, Sheet};
use crate::chat::{ContentForm, Extras, Part, PartKind};
use crate::json::{self, Array, Fault, Reader, decode};
use crate::reply::{Choice, Citation, Finish, FinishReason, Usage};
use crate::{ChatReply, Dialect, Losses, Malformed, Text};

/// The counts of a usage object, under all their names.
#[derive(Default)]
struct Counts {
    prompt: Option<u64>,
    completion: Option<u64>,
    total: Option<u64>,
    /// In the details of the completion, and beside them.
    reasoning: [Option<u64>; 2],
    /// In the details of the prompt, and beside them.
    cache_read: [Option<u64>; 4],
    cache_write: [Option<u64>; 2],
}

/// Finish reasons by their one name; what is not here keeps its own name.
const FINISH: [(&str, FinishReason); 4] = [
    ("stop", FinishReason::Stop),
    ("length", FinishReason::Length),
    ("tool_calls", FinishReason::ToolCalls),
    ("content_filter", FinishReason::ContentFilter),
];

/// Names that mean one of the above: OpenAI's legacy functions, and Mistral's and others' words for a limit.
const ALSO: [(&str, FinishReason); 3] = [
    ("function_call", FinishReason::ToolCalls),
    ("model_length", FinishReason::Length),
    ("max_tokens", FinishReason::Length),
];

/// What a body of OpenAI's is: a word of the shape, which means nothing elsewhere.
pub(super) const OBJECT: &str = "object";

/// What [`OBJECT`] says of a reply.
pub(super) const COMPLETION: &str = "\"chat.completion\"";

/// The field of a message that lists its sources.
pub(super) const ANNOTATIONS: &str = "annotations";

// === decode ===

/// An error object inside a 200 is malformed at `/error`: read it with `decode_error`.
pub(super) fn decode_reply(body: &[u8]) -> Result<ChatReply, Malformed> {
    let mut reply: wire::Reply<'_> = decode(body)?;
    let mut extras = std::mem::take(&mut reply.extras);
    let Some(choices) = reply.choices else {
        let (pointer, expected) = match reply.error {
            Some(_) => ("/error", "a reply, not an error"),
            None => ("/choices", "a list of choices"),
        };
        return Err(Malformed { pointer: pointer.into(), expected: expected.into() });
    };
    if let Some(object) = &reply.object {
        extras.remember(OBJECT, wire::quoted(&Text::from_plain(object.as_str())));
    }
    if let Some(error) = reply.error {
        extras.push("error", error.to_owned());
    }
    let choices = choices.into_iter().enumerate().map(|(at, choice)| decode_choice(choice, at));
    Ok(ChatReply {
        source: Dialect::OpenAiChat,
        id: reply.id.unwrap_or_default(),
        model: reply.model.unwrap_or_default(),
        created: reply.created,
        choices: choices.collect::<Result<_, _>>()?,
        usage: reply.usage.and_then(decode_usage),
        extras,
    })
}

fn decode_choice(choice: wire::Choice<'_>, at: usize) -> Result<Choice, Malformed> {
    let finish = choice.finish_reason.map_or_else(unfinished, finish);
    let mut message = choice.message.unwrap_or_default();
    message.role = None;
    let (name, call_id) = (message.name.take(), message.tool_call_id.take());
    let Said { parts, content, extras: mut message_extras } =
        decode_message(message, &format!("/choices/{at}/message"))?;
    for (key, value) in [("name", name), ("tool_call_id", call_id)] {
        if let Some(value) = value {
            message_extras.push(key, wire::quoted(&value));
        }
    }
    remember_form(&mut message_extras, content, &parts);
    let index = choice.index.unwrap_or_else(|| u32::try_from(at).unwrap_or(u32::MAX));
    let (logprobs, citations) = (choice.logprobs, Vec::new());
    Ok(Choice { index, parts, finish, logprobs, citations, extras: choice.extras, message_extras })
}

/// Marks a reply's message that has no `content` field at all.
const ABSENT: &str = "false";

/// Remembers a `content` that its parts do not give back: `null`, the empty string, a list, none.
fn remember_form(extras: &mut Extras, form: ContentForm, parts: &[Part]) {
    let silent = Fields::new(parts.iter()).content.is_empty();
    match form {
        ContentForm::Null => extras.push("content", json::null()),
        ContentForm::Plain if silent => extras.push("content", json::raw("\"\"".into())),
        ContentForm::Parts => extras.push("content", json::raw("[]".into())),
        ContentForm::Absent => extras.push("content", json::raw(ABSENT.into())),
        ContentForm::Plain | ContentForm::Item | ContentForm::List => {}
    }
}

/// The finish of a choice that has none yet.
pub(super) fn unfinished() -> Finish {
    Finish { reason: FinishReason::Other, raw: None, stop_sequence: None }
}

/// The meaning of a `finish_reason`.
pub(super) fn finish(word: Text) -> Finish {
    let find = |table: &[(&str, FinishReason)]| {
        table.iter().find(|(name, _)| *name == word.as_escaped()).map(|(_, reason)| *reason)
    };
    match find(&FINISH) {
        Some(reason) => Finish { reason, raw: None, stop_sequence: None },
        None => Finish { reason: find(&ALSO).unwrap_or(FinishReason::Other), raw: Some(word), stop_sequence: None },
    }
}

/// Token counts, normalised; `None` where there is no object.
pub(crate) fn decode_usage(raw: &RawValue) -> Option<Usage> {
    let counts = Reader::new(raw.get()).by(count_usage).ok()??;
    Some(Usage { raw: Some((Dialect::OpenAiChat, raw.to_owned())), ..counts })
}

/// The counts alone, from the value that is next.
pub(crate) fn count_usage(reader: &mut Reader<'_>) -> Result<Option<Usage>, Fault> {
    let mut counts = Counts::default();
    let is_object = reader.object(|reader, key| {
        match key {
            "prompt_tokens_details" | "completion_tokens_details" => {
                reader.object(|reader, key| counts.note_detail(key, reader))?;
            }
            _ => counts.note(key, reader)?,
        }
        Ok(())
    })?;
    Ok(is_object.then(|| counts.usage()))
}

// === impl Counts ===

impl Counts {
    fn note(&mut self, key: &str, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let number = reader.raw()?;
        let [_, reasoning] = &mut self.reasoning;
        let [_, cache_hit, cached, cache_read] = &mut self.cache_read;
        let [_, cache_creation] = &mut self.cache_write;
        let count = match key {
            "prompt_tokens" => &mut self.prompt,
            "completion_tokens" => &mut self.completion,
            "total_tokens" => &mut self.total,
            "reasoning_tokens" => reasoning,
            "prompt_cache_hit_tokens" => cache_hit,
            "num_cached_tokens" => cached,
            "cache_read_input_tokens" => cache_read,
            "cache_creation_input_tokens" => cache_creation,
            _ => return Ok(()),
        };
        *count = json::count(number);
        Ok(())
    }

    fn note_detail(&mut self, key: &str, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let number = reader.raw()?;
        let ([reasoning, _], [cache_read, ..], [cache_write, _]) =
            (&mut self.reasoning, &mut self.cache_read, &mut self.cache_write);
        let count = match key {
            "reasoning_tokens" => reasoning,
            "cached_tokens" => cache_read,
            "cache_write_tokens" => cache_write,
            _ => return Ok(()),
        };
        *count = json::count(number);
        Ok(())
    }

    fn usage(self) -> Usage {
        let (input, mut output) = (self.prompt.unwrap_or(0), self.completion.unwrap_or(0));
        let reasoning = self.reasoning.into_iter().flatten().next();
        // xAI counts reasoning beside the output; its total tells.
        if let (Some(thought @ 1..), Some(total)) = (reasoning, self.total)
            && total == input.saturating_add(output).saturating_add(thought)
        {
            output = output.saturating_add(thought);
        }
        Usage {
            input,
            output,
            total: self.total,
            cache_read: self.cache_read.into_iter().flatten().next(),
            cache_write: self.cache_write.into_iter().flatten().next(),
            reasoning,
            ..Usage::default()
        }
    }
}

// === encode ===

pub(super) fn encode_reply(reply: &ChatReply, annex: Option<&str>, losses: &mut Losses) -> Vec<u8> {
    let own = reply.source == Dialect::OpenAiChat;
    let crossed = (!own).then(|| Crossing::new(reply.source, losses).reply(reply));
    let reply = crossed.as_ref().unwrap_or(reply);
    let mut out = Vec::with_capacity(1024);
    let mut sheet = Sheet::new(&mut out);
    if !own || !reply.id.is_empty() {
        sheet.text("id", &reply.id);
    }
    let object = if own { reply.extras.recall(OBJECT).map(RawValue::get) } else { Some(COMPLETION) };
    if let Some(object) = object {
        sheet.raw(OBJECT, object);
    }
    // SDKs demand a time; the gateway sets one where the provider gave none.
    sheet.optional_number("created", reply.created.or((!own).then_some(0)));
    if !own || !reply.model.is_empty() {
        sheet.text("model", &reply.model);
    }
    let mut array = Array::new(sheet.key("choices"));
    for choice in &reply.choices {
        encode_choice(array.item(), choice, own);
    }
    array.end();
    if let Some(usage) = &reply.usage {
        encode_usage(sheet.key("usage"), usage);
    }
    sheet.skip(if annex.is_some() { &["extra_fields"] } else { &[] }).extras(&reply.extras);
    if let Some(annex) = annex {
        sheet.raw("extra_fields", annex);
    }
    sheet.end();
    out
}

fn encode_choice(out: &mut Vec<u8>, choice: &Choice, own: bool) {
    let mut sheet = Sheet::new(out);
    sheet.number("index", choice.index.into());
    let mut message = Sheet::new(sheet.key("message"));
    message.raw("role", "\"assistant\"");
    encode_parts(&mut message, choice);
    if !choice.citations.is_empty() {
        encode_citations(message.key(ANNOTATIONS), &choice.citations);
    }
    message.skip(&["content"]).extras(&choice.message_extras);
    message.end();
    if !own || choice.finish.raw.is_some() || choice.finish.reason != FinishReason::Other {
        encode_finish(sheet.key("finish_reason"), &choice.finish, own);
    }
    sheet.optional_raw("logprobs", choice.logprobs.as_deref()).extras(&choice.extras);
    sheet.end();
}

/// Sources as `url_citation`s (API reference, `annotations`). One without a place stands for the whole.
pub(super) fn encode_citations(out: &mut Vec<u8>, citations: &[Citation]) {
    let mut array = Array::new(out);
    for citation in citations {
        let (start, end) = citation.span.unwrap_or_default();
        let mut annotation = Sheet::new(array.item());
        let mut source = Sheet::new(annotation.raw("type", "\"url_citation\"").key("url_citation"));
        source.number("start_index", start).number("end_index", end);
        source.text("title", citation.title.as_ref().unwrap_or(&citation.url)).text("url", &citation.url);
        source.end();
        annotation.end();
    }
    array.end();
}

fn encode_parts(message: &mut Sheet<'_>, choice: &Choice) {
    let mut fields = Fields::new(choice.parts.iter());
    let remembered = choice.message_extras.find("content").map(RawValue::get);
    let mut form = match remembered {
        Some("null") => ContentForm::Null,
        Some("\"\"") => ContentForm::Plain,
        Some(ABSENT) => ContentForm::Absent,
        Some(_) => ContentForm::Parts,
        None if fields.calls.is_empty() => ContentForm::Plain,
        None => ContentForm::Null,
    };
    // Clients read a reply's content as one string, which is also what its stream adds up to.
    let joined = (form != ContentForm::Parts).then(|| join_texts(&fields.content)).flatten();
    if let Some(joined) = &joined {
        fields.content = vec![joined];
        form = ContentForm::Plain;
    }
    fields.encode(message, form);
}

/// Several texts as one, where there is nothing but text.
fn join_texts(parts: &[&Part]) -> Option<Part> {
    let mut whole = Text::default();
    for part in parts {
        match &part.kind {
            PartKind::Text(text) => whole.push(text),
            _ => return None,
        }
    }
    (parts.len() > 1).then(|| PartKind::Text(whole).into())
}

/// The provider's own word to its own dialect, else OpenAI's nearest.
pub(super) fn encode_finish(out: &mut Vec<u8>, finish: &Finish, own: bool) {
    match &finish.raw {
        Some(raw) if own => json::write_text(out, raw),
        _ => {
            let reason = match finish.reason {
                // The model would not say it: to an OpenAI client that is a filter.
                FinishReason::Refusal => FinishReason::ContentFilter,
                FinishReason::Pause | FinishReason::Other => FinishReason::Stop,
                reason => reason,
            };
            let name = FINISH.iter().find(|(_, known)| *known == reason).map_or("stop", |(name, _)| name);
            json::write_str(out, name);
        }
    }
}

/// The provider's own object where it is of this dialect, else one of OpenAI's shape.
pub(crate) fn encode_usage(out: &mut Vec<u8>, usage: &Usage) {
    if let Some((Dialect::OpenAiChat, raw)) = &usage.raw {
        out.extend_from_slice(raw.get().as_bytes());
        return;
    }
    let mut sheet = Sheet::new(out);
    sheet
        .number("prompt_tokens", usage.input)
        .number("completion_tokens", usage.output)
        .number("total_tokens", usage.total());
    if usage.cache_read.is_some() || usage.cache_write.is_some() {
        let mut details = Sheet::new(sheet.key("prompt_tokens_details"));
        details.number("cached_tokens", usage.cache_read.unwrap_or(0));
        details.optional_number("cache_write_tokens", usage.cache_write);
        details.end();
    }
    if let Some(reasoning) = usage.reasoning {
        let mut details = Sheet::new(sheet.key("completion_tokens_details"));
        details.number("reasoning_tokens", reasoning);
        details.end();
    }
    sheet.end();
}
