//! A whole reply, both ways, and why the model stopped.

use serde_json::value::RawValue;

use super::part::{self, Calls, Context, Names, foreign, obstacle};
use super::wire::{
    CandidateWire, ContentWire, Crossing, FeedbackWire, OWN, Place, ReplyWire, fields_of, need, object_of, quoted, read,
};
use super::{grounding, logprobs, usage};
use crate::chat::{Extras, Part, PartKind};
use crate::dialect::ending;
use crate::json::{self, Array, Object, Str};
use crate::reply::{Choice, Finish, FinishReason};
use crate::{ChatReply, Losses, Malformed, Text};

/// Google's words for why the model stopped (SDK, `FinishReason`); the first row of a reason is the one written for it. Words
/// that are not here, among them those for calls and replies gone wrong, are [`FinishReason::Other`].
const FINISH: &[(&str, FinishReason)] = &[
    ("STOP", FinishReason::Stop),
    ("STOP", FinishReason::ToolCalls),
    ("MAX_TOKENS", FinishReason::Length),
    ("SAFETY", FinishReason::ContentFilter),
    ("SAFETY", FinishReason::Refusal),
    ("RECITATION", FinishReason::ContentFilter),
    ("BLOCKLIST", FinishReason::ContentFilter),
    ("PROHIBITED_CONTENT", FinishReason::ContentFilter),
    ("SPII", FinishReason::ContentFilter),
    ("MODEL_ARMOR", FinishReason::ContentFilter),
    ("IMAGE_SAFETY", FinishReason::ContentFilter),
    ("IMAGE_PROHIBITED_CONTENT", FinishReason::ContentFilter),
    ("IMAGE_RECITATION", FinishReason::ContentFilter),
    ("OTHER", FinishReason::Other),
    ("OTHER", FinishReason::Pause),
];

/// Fields by their names on the wire.
pub(super) const FEEDBACK: &str = "promptFeedback";
pub(super) const LOGPROBS: &str = "logprobsResult";
const FINISH_MESSAGE: &str = "finishMessage";

/// Spellings that are remembered of a candidate: a missing index, an odd role, a content without parts; and that there was no
/// candidate at all.
const INDEX: &str = "index";
const ROLE: &str = "role";
const CONTENT: &str = "content";
const BLOCKED: &str = "blocked";

// === Why it stopped ===

/// Calls end with `STOP`, too.
pub(super) fn decode_finish(word: Option<Text>, called: bool) -> Finish {
    let known = |word: &Text| FINISH.iter().find(|(name, _)| *name == word.as_escaped()).map(|(_, reason)| *reason);
    let reason = match word.as_ref().and_then(known) {
        Some(FinishReason::Stop) if called => FinishReason::ToolCalls,
        Some(reason) => reason,
        None => FinishReason::Other,
    };
    Finish { reason, raw: word, stop_sequence: None }
}

/// Writes `finishReason`; beside a word of ours for another dialect's that has no equal here, its own as `finishMessage`. Some
/// providers say `stop` over a refusal: `refused`.
pub(super) fn encode_finish(finish: &Finish, refused: bool, crossing: &mut Crossing<'_>, object: &mut Object<'_>) {
    match (&finish.raw, crossing.native) {
        (Some(word), true) => {
            object.text("finishReason", word);
            return;
        }
        (None, true) if finish.reason == FinishReason::Other => return,
        _ => {}
    }
    let reason = match finish.reason {
        FinishReason::Stop if refused => FinishReason::Refusal,
        reason => reason,
    };
    let word = FINISH.iter().find(|(_, known)| *known == reason).map_or("OTHER", |(word, _)| word);
    object.str("finishReason", word);
    if let (FinishReason::Refusal | FinishReason::Pause | FinishReason::Other, Some(raw)) = (finish.reason, &finish.raw)
    {
        object.text(FINISH_MESSAGE, raw);
    }
    if finish.stop_sequence.is_some() {
        crossing.lose("/stop_sequence");
    }
}

// === Reading ===

pub(super) fn decode(body: &[u8]) -> Result<ChatReply, Malformed> {
    let mut wire: ReplyWire<'_> = json::decode(body)?;
    if wire.error.is_some() {
        return Err(Malformed { pointer: "/error".into(), expected: "a reply, not an error".into() });
    }
    let mut extras = std::mem::take(&mut wire.extras);
    if let Some(feedback) = wire.feedback {
        extras.push(FEEDBACK, feedback.to_owned());
    }
    let candidates = match (wire.candidates, wire.feedback.and_then(blocked)) {
        (None, Some(refusal)) => vec![refused(refusal)],
        (candidates, _) => decode_candidates(candidates, wire.id.as_ref())?,
    };
    Ok(ChatReply {
        source: OWN,
        id: wire.id.unwrap_or_default(),
        model: wire.model.unwrap_or_default(),
        created: None,
        choices: candidates,
        usage: wire.usage.and_then(usage::decode),
        extras,
    })
}

fn decode_candidates(candidates: Option<Vec<&RawValue>>, id: Option<&Text>) -> Result<Vec<Choice>, Malformed> {
    let candidates = need(candidates, &String::new, "candidates", "a list of candidates")?;
    let mut calls = calls_of(id);
    candidates.into_iter().enumerate().map(|(at, raw)| decode_candidate(raw, at, &mut calls)).collect()
}

/// Numbers the calls of one reply.
pub(super) fn calls_of(id: Option<&Text>) -> Calls {
    match id.filter(|id| !id.is_empty()) {
        Some(id) => Calls::new(&format!("{}_", id.to_plain())),
        None => Calls::new(&format!("{}_", uuid::Uuid::new_v4().simple())),
    }
}

fn decode_candidate(raw: &RawValue, at: usize, calls: &mut Calls) -> Result<Choice, Malformed> {
    let place = || format!("/candidates/{at}");
    let Candidate { index, content, finish, logprobs, mut extras } = Candidate::of(raw, &place)?;
    if index.is_none() {
        extras.remember(INDEX, json::null());
    }
    let (parts, message_extras) = match content {
        Some(content) => decode_content(content, calls, &|| format!("{}/content", place()))?,
        None => (Vec::new(), Extras::default()),
    };
    let called = parts.iter().any(|part| matches!(part.kind, PartKind::ToolCall(_)));
    let (logprobs, rest) = logprobs.and_then(logprobs::decode).unzip();
    if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
        extras.push(LOGPROBS, object_of(&rest));
    }
    let citations = grounding::citations(&extras, &grounding::answer(&parts));
    Ok(Choice {
        index: index.unwrap_or_else(|| u32::try_from(at).unwrap_or(u32::MAX)),
        parts,
        finish: decode_finish(finish, called),
        logprobs,
        citations,
        extras,
        message_extras,
    })
}

/// A candidate without its parts read.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    pub(super) index: Option<u32>,
    pub(super) content: Option<&'a RawValue>,
    pub(super) finish: Option<Text>,
    pub(super) logprobs: Option<&'a RawValue>,
    pub(super) extras: Extras,
}

impl<'a> Candidate<'a> {
    pub(super) fn of(raw: &'a RawValue, place: Place<'_>) -> Result<Self, Malformed> {
        let wire: CandidateWire<'_> = read(raw, place)?;
        let CandidateWire { index, content, finish, logprobs, extras, .. } = wire;
        Ok(Self { index, content, finish, logprobs, extras })
    }
}

/// The parts of a model's content, and its other fields. What a reply has no canonical place for (images, sounds, results)
/// stays whole.
pub(super) fn decode_content(
    raw: &RawValue,
    calls: &mut Calls,
    place: Place<'_>,
) -> Result<(Vec<Part>, Extras), Malformed> {
    let wire: ContentWire<'_> = read(raw, place)?;
    let mut extras = wire.extras;
    let role = wire.role.as_ref().map(Str::as_str);
    if role != Some("model") && extras.find(ROLE).is_none() {
        extras.remember(ROLE, role.map_or_else(json::null, |role| quoted(&Text::from_plain(role))));
    }
    let raws = wire.parts.unwrap_or_default();
    if raws.is_empty() {
        extras.remember(CONTENT, raw.to_owned());
    }
    let mut parts = Vec::with_capacity(raws.len());
    for (at, raw) in raws.into_iter().enumerate() {
        let part = part::decode(raw, calls, &|| format!("{}/parts/{at}", place()))?;
        let said = matches!(
            part.kind,
            PartKind::Text(_) | PartKind::Thinking { .. } | PartKind::Redacted { .. } | PartKind::ToolCall(_)
        );
        parts.push(if said { part } else { foreign(raw) });
    }
    Ok((parts, extras))
}

/// Why a prompt was refused before any model saw it, in words; `None` where it was not.
pub(super) fn blocked(feedback: &RawValue) -> Option<(Text, Finish)> {
    let wire: FeedbackWire<'_> = json::decode(feedback.get().as_bytes()).ok()?;
    let reason = wire.reason?;
    let mut words = format!("The prompt was blocked: {}", reason.to_plain());
    if let Some(message) = wire.message {
        words = format!("{words}. {}", message.to_plain());
    }
    let finish = Finish { reason: FinishReason::ContentFilter, raw: Some(reason), stop_sequence: None };
    Some((Text::from_plain(&words), finish))
}

/// The answer to a blocked prompt: never an empty one. Its own dialect has no candidate for it.
fn refused((words, finish): (Text, Finish)) -> Choice {
    let mut choice = Choice { parts: vec![PartKind::Refusal(words).into()], finish, ..Choice::default() };
    choice.extras = blocked_mark();
    choice
}

pub(super) fn blocked_mark() -> Extras {
    let mut mark = Extras::default();
    mark.remember(BLOCKED, json::null());
    mark
}

/// Is this the choice that stands for a blocked prompt?
pub(super) fn is_blocked(extras: &Extras) -> bool {
    extras.recall(BLOCKED).is_some()
}

// === Writing ===

pub(super) fn encode(reply: &ChatReply, losses: &mut Losses) -> Vec<u8> {
    let mut crossing = Crossing { native: reply.source == OWN, losses };
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    let shown = |choice: &&Choice| !(crossing.native && is_blocked(&choice.extras));
    let choices: Vec<&Choice> = reply.choices.iter().filter(shown).collect();
    if !choices.is_empty() || reply.choices.is_empty() {
        let mut array = Array::new(object.key("candidates"));
        for choice in choices {
            encode_choice(choice, &mut crossing, array.item());
        }
        array.end();
    }
    ending::lose_counts(OWN, reply.usage.as_ref(), &[ending::CACHE_WRITES], crossing.losses);
    if let Some(usage) = &reply.usage {
        usage::encode(usage, object.key("usageMetadata"));
    }
    for (key, text) in [("modelVersion", &reply.model), ("responseId", &reply.id)] {
        if !text.is_empty() {
            object.text(key, text);
        }
    }
    crossing.extras(&mut object, &reply.extras, &String::new);
    object.end();
    out
}

fn encode_choice(choice: &Choice, crossing: &mut Crossing<'_>, out: &mut Vec<u8>) {
    let place = || format!("/choices/{}", choice.index);
    let mut object = Object::new(out);
    encode_content(choice, crossing, &mut object);
    let refused = choice.parts.iter().any(|part| matches!(part.kind, PartKind::Refusal(_)));
    encode_finish(&choice.finish, refused, crossing, &mut object);
    if !(crossing.native && choice.extras.recall(INDEX).is_some()) {
        object.number(INDEX, choice.index.into());
    }
    encode_measures(choice.logprobs.as_deref(), &choice.extras, crossing, &mut object);
    if !crossing.native && !choice.citations.is_empty() {
        crossing.lose(format!("{}/citations", place()));
    }
    if crossing.native {
        object.extras_except(&choice.extras, &[LOGPROBS]);
    } else {
        crossing.lose_extras(&choice.extras, &place);
        crossing.lose_extras(&choice.message_extras, &|| format!("{}/message", place()));
    }
    object.end();
}

/// Writes log-probabilities, with what only Google says of them.
pub(super) fn encode_measures(
    measured: Option<&RawValue>,
    extras: &Extras,
    crossing: &Crossing<'_>,
    object: &mut Object<'_>,
) {
    let rest = extras.find(LOGPROBS).filter(|_| crossing.native).map(fields_of).unwrap_or_default();
    if let Some(measured) = measured {
        logprobs::encode(measured, &rest, object.key(LOGPROBS));
    } else if !rest.is_empty() {
        object.raw(LOGPROBS, object_of(&rest).get());
    }
}

fn encode_content(choice: &Choice, crossing: &mut Crossing<'_>, object: &mut Object<'_>) {
    if crossing.native && choice.parts.is_empty() {
        if let Some(content) = choice.message_extras.recall(CONTENT) {
            object.raw(CONTENT, content.get());
        }
        return;
    }
    let names = Names::default();
    let context = Context { names: &names, media_in_results: true, to_client: true };
    let mut said = Object::new(object.key(CONTENT));
    let mut array = Array::new(said.key("parts"));
    for (at, part) in choice.parts.iter().enumerate() {
        let place = || format!("/choices/{}/message/content/{at}", choice.index);
        if let Some(reason) = hindrance(part, crossing) {
            crossing.losses.push(place(), reason);
        } else {
            part::encode(part, &context, &place, crossing, array.item());
        }
    }
    array.end();
    match choice.message_extras.recall(ROLE).filter(|_| crossing.native).map(RawValue::get) {
        Some("null") => {}
        Some(role) => {
            said.raw(ROLE, role);
        }
        None if crossing.native && choice.message_extras.find(ROLE).is_some() => {}
        None => {
            said.str(ROLE, "model");
        }
    }
    if crossing.native {
        said.extras(&choice.message_extras);
    }
    said.end();
}

/// As [`obstacle`], but a client may be shown signatures that only another provider can check.
fn hindrance(part: &Part, crossing: &Crossing<'_>) -> Option<&'static str> {
    match part.kind {
        PartKind::Thinking { .. } | PartKind::Redacted { .. } => None,
        _ => obstacle(part, crossing.native),
    }
}
