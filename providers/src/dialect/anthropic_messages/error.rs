//! Errors in Anthropic's shape: `{"type":"error","error":{"type","message"},"request_id"?}`, and what they mean.

use http::StatusCode;

use super::wire::OWN;
use crate::dialect::Problem;
use crate::dialect::fault::{kind_of, quote};
use crate::failure::{Failure, FailureKind};
use crate::json::{Object, Str, wire};

/// Anthropic's error types and the status each stands for (the API's error reference); the first row of a status is the one
/// written for it.
const TYPES: &[(&str, u16, FailureKind)] = &[
    ("invalid_request_error", 400, FailureKind::Rejected),
    ("authentication_error", 401, FailureKind::Credential),
    ("billing_error", 402, FailureKind::Credential),
    ("permission_error", 403, FailureKind::Credential),
    ("not_found_error", 404, FailureKind::Rejected),
    ("request_too_large", 413, FailureKind::Rejected),
    ("rate_limit_error", 429, FailureKind::RateLimited),
    ("api_error", 500, FailureKind::Unavailable),
    ("timeout_error", 504, FailureKind::Unavailable),
    ("overloaded_error", 529, FailureKind::Unavailable),
    ("overloaded_error", 503, FailureKind::Unavailable),
    // Statuses of other providers' failures.
    ("timeout_error", 408, FailureKind::Unavailable),
    ("api_error", 424, FailureKind::Unavailable),
];

wire! {
    struct EnvelopeWire<'a> {
        "error" => error: ErrorWire<'a>,
        "message" => message: Str<'a>,
    }
}

wire! {
    struct ErrorWire<'a> {
        "type" => kind: Str<'a>,
        "message" => message: Str<'a>,
    }
}

/// The gateway's or a provider's error, as a client of this dialect reads it. The gateway's own word stays visible in the
/// message, because the `type` must be one that official clients know.
pub(super) fn encode(problem: &Problem) -> Vec<u8> {
    let known = TYPES.iter().find(|(name, ..)| *name == problem.kind).map(|(name, ..)| *name);
    let kind = fixed_type(problem.status).or(known).unwrap_or_else(|| usual_type(problem.status));
    let message = match known {
        Some(_) => problem.message.clone(),
        None => format!("{}: {}", problem.kind, problem.message),
    };
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    object.str("type", "error");
    let mut error = Object::new(object.key("error"));
    error.str("type", kind).str("message", &message);
    if let Some(code) = &problem.code {
        // What SDKs branch on where the type is too coarse (`anthropic` SDK 2.11, `lib/threads/_thread_state.py`).
        let mut details = Object::new(error.key("details"));
        details.str("error_code", code);
        details.end();
    }
    error.end();
    object.end();
    out
}

/// What a provider's error answer means. The error's type counts for more than the status, which a relay may have changed.
pub(super) fn decode(status: StatusCode, body: &[u8]) -> Failure {
    let envelope = serde_json::from_slice::<EnvelopeWire<'_>>(body).unwrap_or_default();
    let error = envelope.error.unwrap_or_default();
    let provider_type = error.kind.map(|kind| kind.0.into_owned());
    let row = provider_type.as_deref().and_then(|kind| TYPES.iter().find(|(name, ..)| *name == kind));
    let stands_for = match row {
        Some((_, code, _)) if status.is_success() => StatusCode::from_u16(*code).unwrap_or(status),
        _ => status,
    };
    let kind = row.map_or_else(|| kind_of(status, &[]), |(.., kind)| *kind);
    let message = error.message.or(envelope.message);
    let message = message.map_or_else(|| quote(OWN, status, body), |message| message.0.into_owned());
    Failure { status: Some(stands_for), provider_type, ..Failure::new(kind, message) }
}

/// The type that belongs to a status, whatever another provider calls the error: OpenAI's 404 is an `invalid_request_error`.
fn fixed_type(status: StatusCode) -> Option<&'static str> {
    TYPES.iter().find(|(_, code, _)| *code == status.as_u16()).map(|(name, ..)| *name)
}

fn usual_type(status: StatusCode) -> &'static str {
    if status.is_server_error() { "api_error" } else { "invalid_request_error" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anth_error_body_type_error_request_id() {
        for (status, expected) in [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (402, "billing_error"),
            (403, "permission_error"),
            (404, "not_found_error"),
            (405, "invalid_request_error"),
            (413, "request_too_large"),
            (429, "rate_limit_error"),
            (500, "api_error"),
            (502, "api_error"),
            (503, "overloaded_error"),
            (504, "timeout_error"),
            (529, "overloaded_error"),
        ] {
            let problem = Problem {
                status: StatusCode::from_u16(status).unwrap(),
                kind: "budget_exceeded".into(),
                code: None,
                param: None,
                message: "no \"money\" left".into(),
                annex: None,
            };
            let body: serde_json::Value = serde_json::from_slice(&encode(&problem)).unwrap();
            assert_eq!(body["type"], "error");
            assert_eq!(body["error"]["type"], expected, "{status}");
            assert_eq!(body["error"]["message"], "budget_exceeded: no \"money\" left");
        }
    }

    #[test]
    fn the_type_is_the_statuss_whatever_another_provider_calls_the_error() {
        for (status, said, expected) in [
            (404, "invalid_request_error", "not_found_error"),
            (413, "invalid_request_error", "request_too_large"),
            (408, "timeout", "timeout_error"),
            (424, "server_error", "api_error"),
            // What has no type of its own keeps the one that was said.
            (405, "not_found_error", "not_found_error"),
            (502, "overloaded_error", "overloaded_error"),
            (418, "teapot", "invalid_request_error"),
        ] {
            let problem = Problem {
                status: StatusCode::from_u16(status).unwrap(),
                kind: said.into(),
                code: None,
                param: None,
                message: "m".into(),
                annex: None,
            };
            let body: serde_json::Value = serde_json::from_slice(&encode(&problem)).unwrap();
            assert_eq!(body["error"]["type"], expected, "{status} {said}");
        }
    }

    #[test]
    fn failures_are_told_apart_by_type_then_by_status() {
        for (status, body, kind) in [
            (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#, FailureKind::Unavailable),
            (200, r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#, FailureKind::Unavailable),
            (400, r#"{"error":{"type":"rate_limit_error","message":"m"}}"#, FailureKind::RateLimited),
            (400, r#"{"error":{"type":"invalid_request_error","message":"m"}}"#, FailureKind::Rejected),
            (402, r#"{"error":{"type":"billing_error","message":"m"}}"#, FailureKind::Credential),
            (403, r#"{"message":"m"}"#, FailureKind::Credential),
            (502, "<html>bad gateway</html>", FailureKind::Unavailable),
            (200, "<html>log in</html>", FailureKind::Unreadable),
        ] {
            let failure = decode(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!(failure.kind, kind, "{status} {body}");
            assert!(failure.message == "m" || failure.message.contains("<html>"), "{}", failure.message);
            assert!(failure.status.is_some_and(|status| !status.is_success()) || kind == FailureKind::Unreadable);
        }
    }
}
