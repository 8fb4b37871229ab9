//! What an error answer means whose body does not say it, in every dialect alike.

use http::StatusCode;

use crate::Dialect;
use crate::failure::FailureKind;

/// How much of an unreadable body is quoted, in characters: enough to recognise a captive page, too little to flood a log.
const QUOTED: usize = 200;

/// What a status means; `own`, the statuses that mean something else in a dialect than is usual in their class.
pub(crate) fn kind_of(status: StatusCode, own: &[(u16, FailureKind)]) -> FailureKind {
    let usual = match status.as_u16() {
        401..=403 => FailureKind::Credential,
        429 => FailureKind::RateLimited,
        400..=499 => FailureKind::Rejected,
        500..=599 => FailureKind::Unavailable,
        _ => FailureKind::Unreadable,
    };
    own.iter().find(|(code, _)| *code == status.as_u16()).map_or(usual, |(_, kind)| *kind)
}

/// The beginning of a body that is no error of this dialect.
pub(crate) fn quote(dialect: Dialect, status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let start: String = text.trim().chars().take(QUOTED).collect();
    format!("{status}: not an error of {}: {start:?}", dialect.name())
}
