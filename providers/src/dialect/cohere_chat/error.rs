//! Errors in Cohere's shape, `{"message","id"?}`, and what they mean. Only the status says what kind of error it is.

use http::StatusCode;

use super::wire::OWN;
use crate::Text;
use crate::dialect::Problem;
use crate::dialect::fault::{kind_of, quote};
use crate::failure::{Failure, FailureKind};
use crate::json::{self, Object, Str, wire};

/// Statuses whose meaning is not the usual one of their class (<https://docs.cohere.com/reference/errors>).
const STATUSES: &[(u16, FailureKind)] = &[
    (408, FailureKind::Unavailable),
    // "Invalid Token": the key has expired or was revoked.
    (498, FailureKind::Credential),
    // "Client Closed Request", which a client that waits has not done.
    (499, FailureKind::Unavailable),
    (501, FailureKind::Rejected),
];

/// Reasons to finish that are no finish: the model, or the way to it, failed.
pub(super) const FAILED: [&str; 2] = ["ERROR", "TIMEOUT"];

wire! {
    struct ErrorWire<'a> {
        "message" | "detail" => message: Str<'a>,
        "id" => id: Str<'a>,
    }
}

/// The gateway's or a provider's error, as a client of this dialect reads it. The gateway's own word stands before the message,
/// because the shape has no other place for it.
pub(super) fn encode(problem: &Problem) -> Vec<u8> {
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    object.str("message", &message(problem));
    object.end();
    out
}

pub(super) fn message(problem: &Problem) -> String {
    if problem.kind.is_empty() || FAILED.contains(&problem.kind.as_str()) {
        return problem.message.clone();
    }
    format!("{}: {}", problem.kind, problem.message)
}

/// How a stream ends that failed: as a provider of this dialect said it, where one did.
pub(super) fn finish_of(problem: &Problem) -> &'static str {
    FAILED.into_iter().find(|word| *word == problem.kind).unwrap_or("ERROR")
}

/// What a provider's error answer means.
pub(super) fn decode(status: StatusCode, body: &[u8]) -> Failure {
    let said = json::decode::<ErrorWire<'_>>(body).ok().and_then(|error| error.message);
    let Some(message) = said else {
        return Failure { status: Some(status), ..Failure::new(kind_of(status, STATUSES), quote(OWN, status, body)) };
    };
    if status.is_success() {
        return broken_off(&message.0);
    }
    Failure { status: Some(status), ..Failure::new(kind_of(status, STATUSES), message.0) }
}

/// An error inside a 200: the model, or the way to it, failed.
fn broken_off(message: &str) -> Failure {
    let status = Some(StatusCode::INTERNAL_SERVER_ERROR);
    Failure { status, ..Failure::new(FailureKind::Unavailable, message) }
}

/// An answer that ended in `ERROR` or `TIMEOUT`, with what its last event says of it.
pub(crate) fn ended_in(word: &Text, error: Option<&Text>) -> Failure {
    let word = word.to_plain();
    let message = error.map_or_else(|| format!("the answer ended in {word}"), |error| error.to_plain().into_owned());
    Failure { provider_type: Some(word.into_owned()), ..broken_off(&message) }
}
