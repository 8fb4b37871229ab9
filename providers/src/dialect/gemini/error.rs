//! Errors in Google's shape, `{"error":{"code","message","status","details"}}` (`google.rpc.Status`), and what they mean.

use std::time::Duration;

use http::StatusCode;
use serde_json::value::RawValue;

use super::wire::OWN;
use crate::dialect::Problem;
use crate::dialect::fault::{kind_of, quote};
use crate::failure::{Failure, FailureKind};
use crate::json::{Array, Object, Str, wire};

/// Google's canonical codes, the status each stands for, and what it means (`google/rpc/code.proto`); the first row of a
/// status is the one written for it.
const CODES: &[(&str, u16, FailureKind)] = &[
    ("INVALID_ARGUMENT", 400, FailureKind::Rejected),
    ("FAILED_PRECONDITION", 400, FailureKind::Rejected),
    ("OUT_OF_RANGE", 400, FailureKind::Rejected),
    ("UNAUTHENTICATED", 401, FailureKind::Credential),
    ("PERMISSION_DENIED", 403, FailureKind::Credential),
    ("PERMISSION_DENIED", 402, FailureKind::Credential),
    ("NOT_FOUND", 404, FailureKind::Rejected),
    ("ABORTED", 409, FailureKind::Unavailable),
    ("ALREADY_EXISTS", 409, FailureKind::Rejected),
    ("INVALID_ARGUMENT", 413, FailureKind::Rejected),
    ("INVALID_ARGUMENT", 422, FailureKind::Rejected),
    ("RESOURCE_EXHAUSTED", 429, FailureKind::RateLimited),
    ("CANCELLED", 499, FailureKind::Unavailable),
    ("INTERNAL", 500, FailureKind::Unavailable),
    ("UNKNOWN", 500, FailureKind::Unavailable),
    ("DATA_LOSS", 500, FailureKind::Unavailable),
    ("UNIMPLEMENTED", 501, FailureKind::Rejected),
    ("UNAVAILABLE", 503, FailureKind::Unavailable),
    ("DEADLINE_EXCEEDED", 504, FailureKind::Unavailable),
    // Statuses of other providers' failures.
    ("DEADLINE_EXCEEDED", 408, FailureKind::Unavailable),
    ("INTERNAL", 424, FailureKind::Unavailable),
    ("UNAVAILABLE", 529, FailureKind::Unavailable),
];

/// Reasons (`ErrorInfo.reason`) that say the key is at fault, whatever the status: Google answers a bad key with 400.
const KEY_REASONS: &[&str] = &["API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED", "ACCESS_TOKEN_EXPIRED"];

/// The longest wait that is believed.
const MAX_WAIT: Duration = Duration::from_hours(24);

const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

/// Who says so, in an `ErrorInfo`.
const DOMAIN: &str = "bifrost";

wire! {
    struct EnvelopeWire<'a> {
        "error" => error: ErrorWire<'a>,
    }
}

wire! {
    struct ErrorWire<'a> {
        "code" => code: &'a RawValue,
        "message" => message: Str<'a>,
        "status" => status: Str<'a>,
        "details" => details: Vec<DetailWire<'a>>,
    }
}

wire! {
    /// The details that are read: `ErrorInfo`, `RetryInfo`, `BadRequest`.
    struct DetailWire<'a> {
        "reason" => reason: Str<'a>,
        "retryDelay" => retry_delay: Str<'a>,
        "fieldViolations" => violations: Vec<ViolationWire<'a>>,
    }
}

wire! {
    struct ViolationWire<'a> {
        "field" => field: Str<'a>,
    }
}

/// The gateway's or a provider's error, as a client of this dialect reads it. The gateway's own word and code are details,
/// because `status` must be one that official clients know.
pub(super) fn encode(problem: &Problem) -> Vec<u8> {
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    let mut error = Object::new(object.key("error"));
    error
        .number("code", problem.status.as_u16().into())
        .str("message", &problem.message)
        .str("status", word_for(problem.status));
    let mut details = Array::new(error.key("details"));
    let mut info = Object::new(details.item());
    info.str("@type", ERROR_INFO).str("reason", problem.code.as_deref().unwrap_or(&problem.kind)).str("domain", DOMAIN);
    let mut metadata = Object::new(info.key("metadata"));
    metadata.str("type", &problem.kind);
    metadata.end();
    info.end();
    if let Some(param) = &problem.param {
        let mut detail = Object::new(details.item());
        let mut violations = Array::new(detail.str("@type", BAD_REQUEST).key("fieldViolations"));
        let mut violation = Object::new(violations.item());
        violation.str("field", param).str("description", &problem.message);
        violation.end();
        violations.end();
        detail.end();
    }
    details.end();
    error.end();
    object.end();
    out
}

fn word_for(status: StatusCode) -> &'static str {
    let fallback = if status.is_server_error() { "INTERNAL" } else { "INVALID_ARGUMENT" };
    CODES.iter().find(|(_, code, _)| *code == status.as_u16()).map_or(fallback, |(word, ..)| word)
}

/// What a provider's error answer means. Its own word counts for more than the status, which a relay may have changed.
pub(super) fn decode(status: StatusCode, body: &[u8]) -> Failure {
    let Some(error) = envelope(body) else {
        return Failure { status: Some(status), ..Failure::new(kind_of(status, &[]), quote(OWN, status, body)) };
    };
    let word = error.status.map(|word| word.0.into_owned());
    let named = error.code.and_then(|code| code.get().parse::<u16>().ok()).filter(|code| (400..600).contains(code));
    let row = word.as_deref().and_then(|word| CODES.iter().find(|(name, ..)| *name == word));
    let stands_for = match named.or(row.map(|(_, code, _)| *code)) {
        Some(code) if status.is_success() => StatusCode::from_u16(code).unwrap_or(status),
        _ => status,
    };
    let details = error.details.unwrap_or_default();
    let reason = details.iter().find_map(|detail| detail.reason.as_ref()).map(|reason| reason.as_str().to_owned());
    let kind = match row {
        _ if reason.as_deref().is_some_and(|reason| KEY_REASONS.contains(&reason)) => FailureKind::Credential,
        Some((.., kind)) => *kind,
        None => kind_of(stands_for, &[]),
    };
    let message = error.message.map_or_else(|| quote(OWN, status, body), |message| message.0.into_owned());
    let violation =
        details.iter().flat_map(|detail| detail.violations.iter().flatten()).find_map(|it| it.field.as_ref());
    Failure {
        status: Some(stands_for),
        provider_type: word,
        provider_code: reason,
        param: violation.map(|field| field.as_str().to_owned()),
        retry_after: details.iter().find_map(|detail| delay(detail.retry_delay.as_ref()?.as_str())),
        ..Failure::new(kind, message)
    }
}

/// The error object: plain, or (Vertex, and streams without `alt=sse`) the first element of an array.
fn envelope(body: &[u8]) -> Option<ErrorWire<'_>> {
    if body.trim_ascii_start().starts_with(b"[") {
        return serde_json::from_slice::<Vec<EnvelopeWire<'_>>>(body).ok()?.into_iter().next()?.error;
    }
    serde_json::from_slice::<EnvelopeWire<'_>>(body).ok()?.error
}

/// A protobuf duration in JSON: seconds with up to nine decimals, and an `s`.
fn delay(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().map(|delay| delay.min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(status: u16, body: &str) -> Failure {
        decode(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    #[test]
    fn gem_error_status_details_retryinfo() {
        let failure = decoded(
            429,
            r#"{"error":{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED","details":[
                {"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"m"}]},
                {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"31.5s"}]}}"#,
        );
        assert_eq!(
            (failure.kind, failure.retry_after),
            (FailureKind::RateLimited, Some(Duration::from_millis(31_500)))
        );
        assert_eq!(failure.provider_type.as_deref(), Some("RESOURCE_EXHAUSTED"));
        for (text, expected) in
            [("1s", Some(1)), ("-1s", None), ("1e300s", None), ("99999999s", Some(86_400)), ("1", None), ("s", None)]
        {
            assert_eq!(delay(text), expected.map(Duration::from_secs), "{text}");
        }
        let violation = r#"{"error":{"status":"INVALID_ARGUMENT","message":"m","details":[{"fieldViolations":[{"field":"tools[0]"}]}]}}"#;
        assert_eq!(decoded(400, violation).param.as_deref(), Some("tools[0]"));
    }

    #[test]
    fn failures_are_told_apart_by_reason_then_word_then_status() {
        use FailureKind::{Credential, RateLimited, Rejected, Unavailable, Unreadable};
        for (status, body, kind, stands_for) in [
            (
                400,
                r#"{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#,
                Credential,
                400,
            ),
            (400, r#"{"error":{"code":400,"message":"m","status":"FAILED_PRECONDITION"}}"#, Rejected, 400),
            (403, r#"{"error":{"code":403,"message":"m","status":"PERMISSION_DENIED"}}"#, Credential, 403),
            (503, r#"[{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}]"#, Unavailable, 503),
            (200, r#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}"#, RateLimited, 429),
            (200, r#"{"error":{"message":"m","status":"DEADLINE_EXCEEDED"}}"#, Unavailable, 504),
            (502, "<html>m</html>", Unavailable, 502),
            (200, "<html>m</html>", Unreadable, 200),
            (400, "[]", Rejected, 400),
        ] {
            let failure = decoded(status, body);
            assert_eq!((failure.kind, failure.status.unwrap().as_u16()), (kind, stands_for), "{body}");
            assert!(failure.message.contains('m'), "{}", failure.message);
        }
    }

    #[test]
    fn our_own_errors_have_googles_shape_and_keep_our_words() {
        for (status, word) in [
            (400, "INVALID_ARGUMENT"),
            (401, "UNAUTHENTICATED"),
            (402, "PERMISSION_DENIED"),
            (404, "NOT_FOUND"),
            (413, "INVALID_ARGUMENT"),
            (429, "RESOURCE_EXHAUSTED"),
            (500, "INTERNAL"),
            (502, "INTERNAL"),
            (503, "UNAVAILABLE"),
            (504, "DEADLINE_EXCEEDED"),
            (418, "INVALID_ARGUMENT"),
        ] {
            let problem = Problem {
                status: StatusCode::from_u16(status).unwrap(),
                kind: "budget_exceeded".into(),
                code: None,
                param: Some("/contents".into()),
                message: "no \"money\" left".into(),
                annex: None,
            };
            let body: serde_json::Value = serde_json::from_slice(&encode(&problem)).unwrap();
            assert_eq!((&body["error"]["code"], &body["error"]["status"]), (&status.into(), &word.into()));
            assert_eq!(body["error"]["message"], "no \"money\" left");
            assert_eq!(body["error"]["details"][0]["reason"], "budget_exceeded");
            assert_eq!(body["error"]["details"][1]["fieldViolations"][0]["field"], "/contents");
            let read = decode(problem.status, &encode(&problem));
            assert_eq!(
                (read.provider_code.as_deref(), read.param.as_deref()),
                (Some("budget_exceeded"), Some("/contents"))
            );
        }
    }
}
