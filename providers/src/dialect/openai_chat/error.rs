//! Errors, both ways.
//!
//! Written: the Bifrost error object, whose inner `error` is OpenAI's own shape, so that OpenAI's SDKs read it. Read: every
//! shape that OpenAI-alikes were recorded to send: `{error:{..}}`, `{error:".."}`, `{message}`, `{detail}`, HTML.

use http::StatusCode;
use serde_json::value::RawValue;

use super::wire::{self, Sheet};
use crate::dialect::Problem;
use crate::dialect::fault::kind_of;
use crate::failure::FailureKind;
use crate::json::decode;
use crate::{Failure, Text};

/// See [`kind_of`]. 408 and 409 pass: OpenAI's own SDKs retry them.
const STATUSES: &[(u16, FailureKind)] = &[(408, FailureKind::Unavailable), (409, FailureKind::Unavailable)];

/// Statuses that error words stand for, where the status itself does not say. The first that occurs in the error's type or
/// code counts.
const WORDS: [(&str, u16); 15] = [
    ("insufficient_quota", 429),
    ("rate_limit", 429),
    ("too_many_requests", 429),
    ("overloaded", 503),
    ("unavailable", 503),
    ("timeout", 504),
    ("server_error", 500),
    ("internal", 500),
    ("authentication", 401),
    ("invalid_api_key", 401),
    ("billing", 402),
    ("permission", 403),
    ("not_found", 404),
    ("content_filter", 400),
    ("invalid", 400),
];

/// What an error is taken for that says nothing of its cause: the upstream failed.
const UNSAID: StatusCode = StatusCode::BAD_GATEWAY;

/// Longest message taken from a body that is no JSON.
const MAX_MESSAGE: usize = 500;

pub(in crate::dialect) fn encode_error(problem: &Problem) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sheet = Sheet::new(&mut out);
    sheet.bool("is_bifrost_error", false).number("status_code", problem.status.as_u16().into());
    let mut error = Sheet::new(sheet.key("error"));
    error.str("type", &problem.kind);
    for (key, value) in [("code", &problem.code), ("param", &problem.param)] {
        match value {
            Some(value) => error.str(key, value),
            None => error.raw(key, "null"),
        };
    }
    error.str("message", &problem.message);
    error.end();
    if let Some(annex) = &problem.annex {
        sheet.raw("extra_fields", annex);
    }
    sheet.end();
    out
}

/// What an error answer means. A 2xx with an error inside gets the status that the error stands for.
pub(in crate::dialect) fn decode_error(status: StatusCode, body: &[u8]) -> Failure {
    let facts = Facts::read(body);
    let status = if status.is_success() { facts.status().unwrap_or(status) } else { status };
    let kind = kind_of(status, STATUSES);
    let message = facts.message.unwrap_or_else(|| unread(status, body));
    let mut failure = Failure::new(kind, message);
    failure.status = Some(status);
    failure.provider_type = facts.kind;
    failure.provider_code = facts.code;
    failure.param = facts.param;
    failure
}

/// An error object in the middle of a stream, which has no status of its own.
pub(in crate::dialect) fn decode_stream_error(body: &[u8]) -> Failure {
    decode_error(Facts::read(body).status().unwrap_or(UNSAID), body)
}

/// What an error body says.
#[derive(Debug, Default)]
struct Facts {
    message: Option<String>,
    kind: Option<String>,
    code: Option<String>,
    param: Option<String>,
    /// A status that the body itself names.
    named: Option<u16>,
}

impl Facts {
    fn read(body: &[u8]) -> Self {
        let Ok(outer) = decode::<wire::Error<'_>>(body) else { return Self::default() };
        let is_object = |raw: &&RawValue| raw.get().starts_with('{');
        let inner = outer.inner.filter(|raw| raw.get() != "null").or(outer.detail.filter(is_object));
        let mut facts = match inner.map(|raw| (raw, decode::<wire::Error<'_>>(raw.get().as_bytes()))) {
            Some((_, Ok(object))) => Self::of(&object),
            Some((raw, Err(_))) => Self { message: Some(words(raw)), ..Self::of(&outer) },
            None => Self::of(&outer),
        };
        facts.named = facts.named.or_else(|| status_of(outer.status_code));
        facts
    }

    fn of(error: &wire::Error<'_>) -> Self {
        let said = |raw: Option<&RawValue>| raw.filter(|raw| raw.get() != "null").map(words);
        Self {
            message: said(error.message).or_else(|| said(error.detail)).or_else(|| said(error.inner)),
            kind: said(error.kind),
            code: said(error.code),
            param: said(error.param),
            named: status_of(error.raw_status_code)
                .or_else(|| status_of(error.status_code))
                .or_else(|| status_of(error.code)),
        }
    }

    /// The status that the error stands for: named as a number, or by its words.
    fn status(&self) -> Option<StatusCode> {
        let word = |said: &Option<String>| {
            let said = said.as_deref()?.to_ascii_lowercase();
            WORDS.iter().find(|(word, _)| said.contains(word)).map(|(_, status)| *status)
        };
        let status = self.named.or_else(|| word(&self.code)).or_else(|| word(&self.kind));
        let said = status.or_else(|| self.message.as_ref().map(|_| UNSAID.as_u16()))?;
        StatusCode::from_u16(said).ok()
    }
}

/// A number that can only be an HTTP error status.
fn status_of(raw: Option<&RawValue>) -> Option<u16> {
    let number = raw?.get().trim_matches('"').parse().ok()?;
    (400..600).contains(&number).then_some(number)
}

/// A string as it reads, or any other value as its JSON.
fn words(raw: &RawValue) -> String {
    Text::from_raw(raw).map_or_else(|| raw.get().to_owned(), |text| text.to_plain().into_owned())
}

/// Describes a body that is no error object.
fn unread(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    let start = text.get(..14).unwrap_or(text).to_ascii_lowercase();
    if status.is_redirection() {
        format!("the provider redirects ({status}), which is not followed")
    } else if start.starts_with("<!doctype html") || start.starts_with("<html") {
        format!("the provider answered {status} with an HTML page")
    } else if text.is_empty() {
        format!("the provider answered {status} without a body")
    } else {
        text.chars().take(MAX_MESSAGE).collect()
    }
}
