//! OpenAI Responses.

use super::{Facts, Seen, Whole, failure, strange, text};
use crate::Text;
use crate::dialect::openai_responses::usage::count_usage;
use crate::dialect::{Dialect, Frame};
use crate::json::pick;

/// What is looked for in a response: whole, or within an event.
struct Response<'a> {
    id: Option<&'a str>,
    store: Option<&'a str>,
    model: Option<&'a str>,
    usage: Option<&'a str>,
    status: Option<&'a str>,
    incomplete: Option<&'a str>,
}

/// Items that begin empty. A call has its name from the start, and any other item its kind.
const EMPTY_AT_FIRST: &[&str] = &[r#""message""#, r#""reasoning""#];

/// Ends of the names of events that announce what is to come.
const ANNOUNCING: &[&str] = &[".created", ".queued", ".in_progress", "_part.added"];

/// Names of the events that end a stream well.
const LAST: &[&str] = &["response.completed", "response.incomplete", "response.cancelled"];

pub(super) fn event(frame: &Frame, content: bool, facts: &mut Facts) -> Seen {
    let seen = told_apart(frame, content, facts);
    if !matches!(seen, Seen::Error(_)) {
        facts.latest = frame.data.clone();
    }
    seen
}

fn told_apart(frame: &Frame, content: bool, facts: &mut Facts) -> Seen {
    let named = frame.event.as_deref().and_then(|name| str::from_utf8(name).ok());
    if content && named.is_some_and(is_delta) {
        return Seen::Content;
    }
    let fields = ["type", "response", "item", "delta", "error"];
    let data = str::from_utf8(&frame.data).ok().and_then(|data| pick(data, fields));
    let Some([kind, response, item, delta, error]) = data else {
        return strange(Dialect::OpenAiResponses, frame, content);
    };
    // The name is said twice, and each of the two is left out by somebody.
    let name = named.unwrap_or_else(|| kind.unwrap_or_default().trim_matches('"'));
    let read = response.and_then(Response::read);
    if let Some(response) = &read {
        response.note(facts);
    }
    let failed = |body: &[u8]| Seen::Error(failure(Dialect::OpenAiResponses, body));
    match name {
        "response.failed" => failed(response.map_or(&frame.data, str::as_bytes)),
        _ if name == "error" || error.is_some() => failed(&frame.data),
        _ if LAST.contains(&name) => {
            facts.finish = read.and_then(|response| response.finish());
            Seen::Terminal
        }
        _ if ANNOUNCING.iter().any(|end| name.ends_with(end)) => Seen::Preamble,
        "response.output_item.added" => {
            let kind = item.and_then(|item| pick(item, ["type"])).and_then(|[kind]| kind);
            content_if(!kind.is_some_and(|kind| EMPTY_AT_FIRST.contains(&kind)))
        }
        _ if is_delta(name) => content_if(delta.is_some_and(|delta| delta != "\"\"")),
        _ => Seen::Content,
    }
}

/// `None` where the body is no reply and no error: no JSON object, or one without an output.
pub(super) fn whole(body: &str) -> Option<Whole> {
    let [output, error, message, detail] = pick(body, ["output", "error", "message", "detail"])?;
    let response = Response::read(body)?;
    let is_flat = output.is_none() && text(message.or(detail)).is_some();
    let is_error = is_flat || error.is_some_and(|error| !matches!(error, "\"\"" | "{}" | "false"));
    if !is_error && !output.is_some_and(|output| output.starts_with('[')) {
        return None;
    }
    Some(Whole {
        usage: response.usage.and_then(count_usage),
        finish: response.finish(),
        model: text(response.model),
        kept: response.kept(),
        error: is_error.then(|| failure(Dialect::OpenAiResponses, body.as_bytes())),
    })
}

fn is_delta(name: &str) -> bool {
    name.rsplit('.').next() == Some("delta")
}

fn content_if(condition: bool) -> Seen {
    if condition { Seen::Content } else { Seen::Preamble }
}

impl<'a> Response<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let names = ["id", "store", "model", "usage", "status", "incomplete_details"];
        let [id, store, model, usage, status, incomplete] = pick(text, names)?;
        Some(Self { id, store, model, usage, status, incomplete })
    }

    fn note(&self, facts: &mut Facts) {
        facts.model = facts.model.take().or_else(|| text(self.model));
        facts.kept = facts.kept.take().or_else(|| self.kept());
        if let Some(usage) = self.usage.and_then(count_usage) {
            facts.usage = Some(usage);
            facts.is_usage_final = true;
        }
    }

    /// A response is kept unless it says otherwise: `store` is true where nobody says so
    /// (<https://platform.openai.com/docs/api-reference/responses/create>).
    fn kept(&self) -> Option<Text> {
        text(self.id).filter(|_| self.store != Some("false"))
    }

    /// Why it is incomplete, else how it ended.
    fn finish(&self) -> Option<Text> {
        let reason = self.incomplete.and_then(|details| pick(details, ["reason"])).and_then(|[reason]| text(reason));
        reason.or_else(|| text(self.status))
    }
}
