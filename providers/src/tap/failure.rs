//! An error that came with a 200.

use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{object, raw_object};
use crate::failure::{Failure, FailureKind};
use crate::json::Str;

/// `{"error": {..}}`, `{"error": "message"}`, or the error object itself.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    #[serde(borrow)]
    param: Option<&'a RawValue>,
}

/// What the words of an error stand for, the first that its type or code contains: the status it would have had, and the kind.
const WORDS: &[(&str, u16, FailureKind)] = &[
    ("overloaded", 529, FailureKind::Unavailable),
    ("rate_limit", 429, FailureKind::RateLimited),
    ("too_many_requests", 429, FailureKind::RateLimited),
    ("throttl", 429, FailureKind::RateLimited),
    ("insufficient_quota", 429, FailureKind::RateLimited),
    ("authentication", 401, FailureKind::Credential),
    ("invalid_api_key", 401, FailureKind::Credential),
    ("billing", 402, FailureKind::Credential),
    ("permission", 403, FailureKind::Credential),
    ("not_found", 404, FailureKind::Rejected),
    ("too_large", 413, FailureKind::Rejected),
    ("content_filter", 400, FailureKind::Rejected),
    ("invalid", 400, FailureKind::Rejected),
    ("timeout", 504, FailureKind::Unavailable),
];

/// Reads an error object. One that says nothing of its kind counts as the provider being unavailable, which may be retried.
pub(super) fn of(body: &[u8]) -> Box<Failure> {
    let error = object::<Envelope<'_>>(body).and_then(|envelope| envelope.error);
    let fields = match error {
        Some(error) => raw_object::<Fields<'_>>(Some(error)),
        None => object(body),
    };
    let fields = fields.unwrap_or_default();
    let (provider_type, provider_code) = (plain(fields.kind), plain(fields.code));
    let (status, kind) = meaning(provider_code.as_deref(), provider_type.as_deref());
    let message = [fields.message, fields.detail, error].into_iter().find_map(string);
    Box::new(Failure {
        status: StatusCode::from_u16(status).ok(),
        provider_type,
        provider_code,
        param: string(fields.param),
        ..Failure::new(kind, message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned()))
    })
}

fn meaning(code: Option<&str>, kind: Option<&str>) -> (u16, FailureKind) {
    if let Some(status) = code.and_then(|code| code.parse::<u16>().ok()).filter(|status| (400..600).contains(status)) {
        return (status, kind_of(status));
    }
    let word = |text: &str| {
        let text = text.to_ascii_lowercase();
        WORDS.iter().find(|(word, ..)| text.contains(word)).map(|(_, status, kind)| (*status, *kind))
    };
    [code, kind].into_iter().flatten().find_map(word).unwrap_or((502, FailureKind::Unavailable))
}

fn kind_of(status: u16) -> FailureKind {
    match status {
        401..=403 => FailureKind::Credential,
        429 => FailureKind::RateLimited,
        400..=499 => FailureKind::Rejected,
        _ => FailureKind::Unavailable,
    }
}

/// A string's text.
fn string(raw: Option<&RawValue>) -> Option<String> {
    serde_json::from_str::<Str<'_>>(raw?.get()).ok().map(|text| text.0.into_owned())
}

/// A string's text, or a number as it is written: codes come as either.
fn plain(raw: Option<&RawValue>) -> Option<String> {
    string(raw).or_else(|| raw.map(|raw| raw.get().to_owned()))
}
