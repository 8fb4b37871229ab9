//! What errors mean: `{"title","detail","status"}`, as <https://datatracker.ietf.org/doc/html/rfc7807> has them, and the text of a
//! prediction that failed.

use http::StatusCode;
use serde_json::value::RawValue;

use super::OWN;
use crate::Text;
use crate::failure::{Failure, FailureKind};
use crate::json::{self, Str, wire};

/// Statuses whose meaning is not the usual one of their class.
const KINDS: &[(u16, FailureKind)] = &[
    (401, FailureKind::Credential),
    // Out of credit.
    (402, FailureKind::Credential),
    (403, FailureKind::Credential),
    (408, FailureKind::Unavailable),
    (429, FailureKind::RateLimited),
];

/// How much of an unreadable body is quoted, in characters.
const QUOTED: usize = 200;

wire! {
    struct ErrorWire<'a> {
        "title" => title: Str<'a>,
        "detail" => detail: Str<'a>,
    }
}

pub(super) fn decode(status: StatusCode, body: &[u8]) -> Failure {
    let said = json::decode::<ErrorWire<'_>>(body).ok().map(|error| (error.title, error.detail));
    let (title, message) = match said {
        Some((title, Some(detail))) => (title, detail.0.into_owned()),
        Some((Some(title), None)) => (None, title.0.into_owned()),
        Some((None, None)) | None => (None, quote(status, body)),
    };
    let provider_type = title.map(|title| title.0.into_owned());
    Failure { status: Some(status), provider_type, ..Failure::new(kind_of(status), message) }
}

/// A prediction that ended as `failed` or `canceled`, and what it says of that. Whose fault it is nobody says, so that it counts
/// as one that may pass.
pub(crate) fn failed(state: &str, error: Option<&RawValue>) -> Failure {
    let said = error.and_then(Text::from_raw).filter(|said| !said.is_empty());
    ended_in(state, said.map(|said| said.to_plain().into_owned()))
}

fn ended_in(state: &str, said: Option<String>) -> Failure {
    let message = said.unwrap_or_else(|| format!("the prediction is {state}"));
    let status = Some(StatusCode::BAD_GATEWAY);
    Failure { status, provider_type: Some(state.to_owned()), ..Failure::new(FailureKind::Unavailable, message) }
}

/// What an `error` event says: an object with a `detail`, or plain text.
pub(crate) fn failure_in(data: &[u8]) -> Failure {
    let detail = json::decode::<ErrorWire<'_>>(data).ok().and_then(|said| said.detail);
    let said = detail.map_or_else(|| String::from_utf8_lossy(data).into_owned(), |detail| detail.0.into_owned());
    ended_in("error", Some(said))
}

fn kind_of(status: StatusCode) -> FailureKind {
    let usual = match status.as_u16() {
        400..=499 => FailureKind::Rejected,
        500..=599 => FailureKind::Unavailable,
        _ => FailureKind::Unreadable,
    };
    KINDS.iter().find(|(code, _)| *code == status.as_u16()).map_or(usual, |(_, kind)| *kind)
}

fn quote(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let start: String = text.trim().chars().take(QUOTED).collect();
    format!("{status}: not an error of {}: {start:?}", OWN.name())
}
