//! Parts, both ways: the same in requests and replies.
//!
//! Calls need no ids here and often have none; the canonical model links results with calls by id. Ids made by this crate
//! ([`MADE`]) are for callers only: they are shown to clients and left out of what a provider gets.

use std::collections::{HashMap, VecDeque};

use serde_json::value::RawValue;

use super::media::{FILE, INLINE, decode_media, encode_media};
use super::signature::{self, Signature};
use super::wire::{
    CallWire, Crossing, NO_COUNTERPART, OWN, OutcomeWire, PartWire, Place, ResponseWire, fields_of, need, object_of,
    quoted, read,
};
use crate::chat::{ContentForm, Extras, Media, MediaSource, Message, Part, PartKind, ToolCall, ToolResult};
use crate::dialect::raw::{RAW_ARGUMENTS, arguments_object};
use crate::json::{self, Array, Object};
use crate::{Malformed, Text};

/// How ids begin that this crate made up.
const MADE: &str = "gemini_call_";

/// Where the inner fields of a part's data are kept that the canonical model has no place for.
const CALL: &str = "functionCall";
const RESPONSE: &str = "functionResponse";

/// Spellings of a result that are remembered: the name of its function, an id that fits no call, the whole response.
const NAME: &str = "name";
const ID: &str = "id";
const OUTCOME: &str = "response";

/// That the gateway wrote the call's signature, which stands for one that nobody gave.
pub(super) const NOBODYS: &str = "nobody's signature";

/// That a signature stood within the call, as it did before the third generation of models, and not beside it.
const SIGNED_WITHIN: &str = SIGNATURE;

/// The field of a part for its signature.
const SIGNATURE: &str = "thoughtSignature";

/// The field for what a function returned, and for why it failed (API reference, `FunctionResponse`).
const OUTPUT: &str = "output";
const ERROR: &str = "error";

/// The calls of a conversation that were not answered yet, and ids for those that have none.
#[derive(Debug)]
pub(super) struct Calls {
    origin: String,
    made: usize,
    waiting: Vec<(Text, Text)>,
}

/// What each result of a request answers, the call's place among all and its name, by the result's own address: results here name
/// their function, and not every provider's ids are unique.
#[derive(Debug, Default)]
pub(super) struct Names<'a>(HashMap<usize, (usize, &'a Text)>);

// === impl Calls ===

impl Calls {
    /// `origin` keeps the ids of different replies apart.
    pub(super) fn new(origin: &str) -> Self {
        Self { origin: origin.to_owned(), made: 0, waiting: Vec::new() }
    }

    /// The id of the next call.
    fn call(&mut self, id: Option<Text>, name: &Text) -> Text {
        let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| self.make());
        self.waiting.push((id.clone(), name.clone()));
        id
    }

    /// The id of the call that the next result answers: by its own id, else the first call of this name.
    fn result(&mut self, id: Option<&Text>, name: Option<&Text>) -> Text {
        let by_id = |(call, _): &(Text, Text)| Some(call) == id;
        let by_name = |(_, called): &(Text, Text)| Some(called) == name;
        let at = self.waiting.iter().position(by_id).or_else(|| self.waiting.iter().position(by_name));
        match (at, id) {
            (Some(at), _) => self.waiting.remove(at).0,
            (None, Some(id)) => id.clone(),
            (None, None) => self.make(),
        }
    }

    fn make(&mut self) -> Text {
        let at = self.made;
        self.made = at.saturating_add(1);
        Text::from_plain(&format!("{MADE}{}{at}", self.origin))
    }
}

// === impl Names ===

impl<'a> Names<'a> {
    pub(super) fn of(messages: &'a [Message]) -> Self {
        let (mut made, mut waiting, mut names) = (0, HashMap::<&str, VecDeque<_>>::new(), HashMap::new());
        for part in messages.iter().flat_map(|message| &message.parts) {
            match &part.kind {
                PartKind::ToolCall(call) => {
                    waiting.entry(call.id.as_escaped()).or_default().push_back((made, &call.name));
                    made += 1;
                }
                PartKind::ToolResult(result) => {
                    let Some(calls) = waiting.get_mut(result.call_id.as_escaped()) else { continue };
                    // Of several calls of one id the first is answered first; a call may be answered again.
                    let answered = if calls.len() > 1 { calls.pop_front() } else { calls.front().copied() };
                    names.extend(answered.map(|call| (address(part), call)));
                }
                _ => {}
            }
        }
        Self(names)
    }

    /// Where a result belongs: behind those of earlier calls. `None` for other parts.
    pub(super) fn place_of(&self, part: &Part) -> Option<usize> {
        let is_result = matches!(part.kind, PartKind::ToolResult(_));
        is_result.then(|| self.0.get(&address(part)).map_or(usize::MAX, |(at, _)| *at))
    }

    /// The function that a result comes from.
    fn name_of(&self, part: &Part) -> Option<Text> {
        self.0.get(&address(part)).map(|(_, name)| (*name).clone())
    }
}

fn address(part: &Part) -> usize {
    std::ptr::from_ref(part).addr()
}

// === Reading ===

/// One part. What this crate does not know, or could not say again, is kept whole.
pub(super) fn decode(raw: &RawValue, calls: &mut Calls, place: Place<'_>) -> Result<Part, Malformed> {
    let wire: PartWire<'_> = read(raw, place)?;
    let data = (wire.text, wire.inline_data, wire.file_data, wire.call, wire.response);
    let mut extras = wire.extras;
    let thought = wire.thought == Some(true);
    let signature = wire.signature.map(signature::read);
    if wire.thought == Some(false) {
        extras.push("thought", json::raw("false".into()));
    }
    let kind = match data {
        // A signature with nothing to sign belongs to the whole turn. Whoever replays it replays it as it was.
        (Some(text), None, None, None, None) if text.is_empty() && matches!(signature, Some(Signature::Googles(_))) => {
            return Ok(foreign(raw));
        }
        (Some(text), None, None, None, None) if thought => {
            return Ok(Part { extras, ..Part::from(signature::thought(text, signature)) });
        }
        (Some(text), None, None, None, None) => Some(PartKind::Text(text)),
        _ if thought => None,
        (None, Some(data), None, None, None) => decode_media(data, INLINE, &mut extras, place)?,
        (None, None, Some(data), None, None) => decode_media(data, FILE, &mut extras, place)?,
        (None, None, None, Some(call), None) => decode_call(call, calls, &mut extras, place)?,
        (None, None, None, None, Some(response)) => Some(decode_response(response, calls, &mut extras, place)?),
        _ => None,
    };
    let signature = match signature {
        Some(Signature::Googles(own)) => Some(own),
        Some(Signature::Nobodys) => {
            extras.remember(NOBODYS, json::null());
            None
        }
        // No stranger seals anything but thoughts.
        Some(Signature::Strangers(..)) => None,
        None => extras.recall(SIGNED_WITHIN).and_then(Text::from_raw),
    };
    Ok(kind.map_or_else(|| foreign(raw), |kind| Part { signature, extras, ..Part::from(kind) }))
}

pub(super) fn foreign(raw: &RawValue) -> Part {
    PartKind::Foreign(OWN, raw.to_owned()).into()
}

/// Keeps the inner fields of a part's data. Those that say nothing are only a spelling.
pub(super) fn keep(extras: &mut Extras, key: &'static str, inner: &Extras) {
    if inner.telling().next().is_some() {
        extras.push(key, object_of(inner));
    } else if !inner.is_empty() {
        extras.remember(key, object_of(inner));
    }
}

/// A call whose arguments come in pieces (`partialArgs`, which nobody gets unasked) is only its own client's to read.
fn decode_call(
    raw: &RawValue,
    calls: &mut Calls,
    extras: &mut Extras,
    place: Place<'_>,
) -> Result<Option<PartKind>, Malformed> {
    let place = || format!("{}/{CALL}", place());
    let wire: CallWire<'_> = read(raw, &place)?;
    if ["partialArgs", "willContinue"].iter().any(|key| wire.extras.find(key).is_some()) {
        return Ok(None);
    }
    let name = need(wire.name, &place, NAME, "a string")?;
    if let Some(signature) = wire.signature {
        extras.remember(SIGNED_WITHIN, quoted(&signature));
    }
    keep(extras, CALL, &wire.extras);
    let arguments = wire.args.map(|args| Text::from_plain(args.get())).unwrap_or_default();
    Ok(Some(PartKind::ToolCall(ToolCall { id: calls.call(wire.id, &name), name, arguments, custom: false })))
}

fn decode_response(
    raw: &RawValue,
    calls: &mut Calls,
    extras: &mut Extras,
    place: Place<'_>,
) -> Result<PartKind, Malformed> {
    let place = || format!("{}/{RESPONSE}", place());
    let mut wire: ResponseWire<'_> = read(raw, &place)?;
    if wire.parts.as_ref().is_some_and(Vec::is_empty) {
        wire.extras.push("parts", json::raw("[]".into()));
    }
    let call_id = calls.result(wire.id.as_ref(), wire.name.as_ref());
    keep(extras, RESPONSE, &wire.extras);
    for (key, said) in [(NAME, &wire.name), (ID, &wire.id)] {
        if let Some(said) = said.as_ref().filter(|said| key == NAME || **said != call_id) {
            extras.remember(key, quoted(said));
        }
    }
    let (text, is_error) = wire.response.map_or((None, None), decode_outcome);
    extras.remember(OUTCOME, wire.response.map_or_else(json::null, RawValue::to_owned));
    let mut parts: Vec<Part> = text.map(|text| PartKind::Text(text).into()).into_iter().collect();
    for (at, part) in wire.parts.into_iter().flatten().enumerate() {
        parts.push(decode(part, calls, &|| format!("{}/parts/{at}", place()))?);
    }
    let content = if parts.len() == 1 { ContentForm::Plain } else { ContentForm::Parts };
    Ok(PartKind::ToolResult(ToolResult { call_id, parts, content, is_error }))
}

/// What a response says, as text, and whether it says that the function failed.
fn decode_outcome(raw: &RawValue) -> (Option<Text>, Option<bool>) {
    match json::decode::<OutcomeWire<'_>>(raw.get().as_bytes()) {
        Ok(OutcomeWire { output: Some(text), error: None, extras, .. }) if extras.is_empty() => (Some(text), None),
        Ok(OutcomeWire { output: None, error: Some(text), extras, .. }) if extras.is_empty() => {
            (Some(text), Some(true))
        }
        _ => (Some(Text::from_plain(raw.get())), None),
    }
}

// === Writing ===

/// Why a part cannot be said here, or `None` where it can.
pub(super) fn obstacle(part: &Part, native: bool) -> Option<&'static str> {
    let sealed = Some("reasoning sealed by another provider cannot be replayed");
    match &part.kind {
        PartKind::Foreign(source, _) if *source != OWN => Some(NO_COUNTERPART),
        PartKind::Redacted { .. } => sealed,
        PartKind::Thinking { signature, .. } if !signature::opens(signature.as_ref()) => sealed,
        PartKind::Image(media) | PartKind::Audio(media) | PartKind::File(media) => match media.source {
            MediaSource::FileId(_) if !native => Some("a file id means nothing to another provider"),
            MediaSource::Absent => Some("no bytes, no address"),
            _ => None,
        },
        _ => None,
    }
}

/// What writing a part needs to know beside it.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) names: &'a Names<'a>,
    /// May a result hold its own media? Otherwise they follow it.
    pub(super) media_in_results: bool,
    /// Is it a client that reads this? It sees ids that this crate made, and signatures that only others can check, because
    /// it will bring both back.
    pub(super) to_client: bool,
}

/// Writes one part. Parts with an [`obstacle`] are the caller's to leave out.
pub(super) fn encode(
    part: &Part,
    context: &Context<'_>,
    place: Place<'_>,
    crossing: &mut Crossing<'_>,
    out: &mut Vec<u8>,
) {
    if let PartKind::Foreign(_, raw) = &part.kind {
        return out.extend_from_slice(raw.get().as_bytes());
    }
    let mut object = Object::new(out);
    let mut inner = None;
    match &part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) => {
            object.text("text", text);
        }
        PartKind::Thinking { text, signature } => {
            object.text("text", text).bool("thought", true);
            let signature = signature.as_ref().and_then(|seal| signature::of_thought(seal, context.to_client));
            if let Some(signature) = &signature {
                object.text(SIGNATURE, signature);
            }
        }
        PartKind::Redacted { data } => {
            object.str("text", "").bool("thought", true).text(SIGNATURE, &signature::of_data(data));
        }
        PartKind::ToolCall(call) => {
            inner = Some(CALL);
            encode_call(call, part, context, place, crossing, object.key(CALL));
        }
        PartKind::ToolResult(result) => {
            inner = Some(RESPONSE);
            encode_result(result, part, context, place, crossing, object.key(RESPONSE));
        }
        PartKind::Image(media) | PartKind::Audio(media) | PartKind::File(media) => {
            inner = encode_media(media, part, place, crossing, &mut object);
        }
        PartKind::Foreign(..) => {}
    }
    let beside = !(crossing.native && part.extras.recall(SIGNED_WITHIN).is_some());
    if let Some(signature) = part.signature.as_ref().filter(|_| beside) {
        object.text(SIGNATURE, signature);
    } else if context.to_client && !crossing.native && matches!(part.kind, PartKind::ToolCall(_)) {
        object.text(SIGNATURE, &signature::nobodys());
    }
    encode_rest(part, inner, place, crossing, &mut object);
    object.end();
}

/// The fields that only this dialect knows, less the `inner` ones that were written within the data.
fn encode_rest(
    part: &Part,
    inner: Option<&str>,
    place: Place<'_>,
    crossing: &mut Crossing<'_>,
    object: &mut Object<'_>,
) {
    if part.cache.is_some() {
        crossing.lose(format!("{}/cache_control", place()));
    }
    if crossing.native {
        object.extras_except(&part.extras, inner.as_slice());
    } else if !matches!(part.kind, PartKind::Thinking { .. } | PartKind::Redacted { .. }) {
        // Beside reasoning, other dialects only keep how an entry was spelt: its number, its type, its origin.
        let mut extras = part.extras.clone();
        // A call's place for what only its provider understands: the signature, which is written.
        if part.signature.is_some() {
            extras.remove("extra_content");
        }
        crossing.lose_extras(&extras, place);
    }
}

pub(super) fn write_inner(part: &Part, key: &str, crossing: &Crossing<'_>, object: &mut Object<'_>) {
    if let Some(inner) = part.extras.find(key).or_else(|| part.extras.recall(key)).filter(|_| crossing.native) {
        object.extras(&fields_of(inner));
    }
}

fn write_id(id: &Text, context: &Context<'_>, object: &mut Object<'_>) {
    let made = id.as_escaped().starts_with(MADE);
    if !id.is_empty() && (context.to_client || !made) {
        object.text(ID, id);
    }
}

fn encode_call(
    call: &ToolCall,
    part: &Part,
    context: &Context<'_>,
    place: Place<'_>,
    crossing: &mut Crossing<'_>,
    out: &mut Vec<u8>,
) {
    let mut object = Object::new(out);
    write_id(&call.id, context, &mut object);
    object.text(NAME, &call.name);
    match arguments_object(&call.arguments, call.custom) {
        _ if crossing.native && call.arguments.is_empty() => {}
        Some(arguments) => {
            object.raw("args", arguments.get());
        }
        None => {
            crossing.losses.push(place(), "the arguments are not a JSON object; they stand in `_raw_arguments`");
            let mut wrapped = Object::new(object.key("args"));
            wrapped.text(RAW_ARGUMENTS, &call.arguments);
            wrapped.end();
        }
    }
    if let Some(signature) = part.extras.recall(SIGNED_WITHIN).filter(|_| crossing.native) {
        object.raw(SIGNED_WITHIN, signature.get());
    }
    write_inner(part, CALL, crossing, &mut object);
    object.end();
}

fn encode_result(
    result: &ToolResult,
    part: &Part,
    context: &Context<'_>,
    place: Place<'_>,
    crossing: &mut Crossing<'_>,
    out: &mut Vec<u8>,
) {
    let recall = |key| part.extras.recall(key).filter(|_| crossing.native).and_then(Text::from_raw);
    let mut object = Object::new(out);
    match recall(ID) {
        Some(id) => {
            object.text(ID, &id);
        }
        None => write_id(&result.call_id, context, &mut object),
    }
    let name = recall(NAME).or_else(|| context.names.name_of(part)).unwrap_or_else(|| {
        crossing.losses.push(place(), "answers no call of this conversation: named by its id");
        result.call_id.clone()
    });
    object.text(NAME, &name);
    match part.extras.recall(OUTCOME).filter(|_| crossing.native) {
        Some(absent) if absent.get() == "null" => {}
        Some(outcome) => {
            object.raw(OUTCOME, outcome.get());
        }
        None => encode_outcome(result, object.key(OUTCOME)),
    }
    encode_result_media(result, context, place, crossing, &mut object);
    write_inner(part, RESPONSE, crossing, &mut object);
    object.end();
}

/// The text of a result, always as one string: a structure would have its numbers rounded, and its `$ref`s resolved.
fn encode_outcome(result: &ToolResult, out: &mut Vec<u8>) {
    let mut whole = Text::default();
    for text in texts(result) {
        if !whole.is_empty() {
            whole.push(&"\n".into());
        }
        whole.push(text);
    }
    let mut response = Object::new(out);
    response.text(if result.is_error == Some(true) { ERROR } else { OUTPUT }, &whole);
    response.end();
}

fn texts(result: &ToolResult) -> impl Iterator<Item = &Text> {
    result.parts.iter().filter_map(|part| match &part.kind {
        PartKind::Text(text)
        | PartKind::Refusal(text)
        | PartKind::File(Media { source: MediaSource::Plain(text), .. }) => Some(text),
        _ => None,
    })
}

fn is_text(part: &Part) -> bool {
    matches!(
        &part.kind,
        PartKind::Text(_) | PartKind::Refusal(_) | PartKind::File(Media { source: MediaSource::Plain(_), .. })
    )
}

fn encode_result_media(
    result: &ToolResult,
    context: &Context<'_>,
    place: Place<'_>,
    crossing: &mut Crossing<'_>,
    object: &mut Object<'_>,
) {
    let mut written = Vec::new();
    let mut array = Array::new(&mut written);
    let mut any = false;
    for (at, part) in result.parts.iter().enumerate().filter(|(_, part)| !is_text(part)) {
        let place = || format!("{}/content/{at}", place());
        if let Some(reason) = obstacle(part, crossing.native) {
            crossing.losses.push(place(), reason);
        } else if crossing.native || context.media_in_results {
            any = true;
            encode(part, context, &place, crossing, array.item());
        }
    }
    array.end();
    if any {
        object.key("parts").extend_from_slice(&written);
    }
}

/// The media of a result that stand behind it, because they cannot stand within it.
pub(super) fn media_behind(part: &Part) -> impl Iterator<Item = &Part> {
    let parts = match &part.kind {
        PartKind::ToolResult(result) => result.parts.as_slice(),
        _ => &[],
    };
    parts.iter().filter(|part| !is_text(part) && obstacle(part, false).is_none())
}
