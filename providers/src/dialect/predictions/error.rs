//! What errors mean: `{"title","detail","status"}`, as <https://datatracker.ietf.org/doc/html/rfc7807> has them, and the text of a
//! prediction that failed.

use http::StatusCode;
use serde_json::value::RawValue;

use super::OWN;
use crate::Text;
use crate::dialect::fault::{kind_of, quote};
use crate::failure::{Failure, FailureKind};
use crate::json::{self, Str, wire};

/// See [`kind_of`].
const STATUSES: &[(u16, FailureKind)] = &[(408, FailureKind::Unavailable)];

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
        Some((None, None)) | None => (None, quote(OWN, status, body)),
    };
    let provider_type = title.map(|title| title.0.into_owned());
    Failure { status: Some(status), provider_type, ..Failure::new(kind_of(status, STATUSES), message) }
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
