//! Errors in AWS's shape: `{"message"}`, with the error's name in the header `x-amzn-errortype`, or in a stream as the name of an
//! exception; and what they mean.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::value::RawValue;

use super::wire::OWN;
use crate::dialect::Problem;
use crate::dialect::fault::{kind_of, quote};
use crate::failure::{Failure, FailureKind};
use crate::json::{Object, Str, wire};

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const RETRY_AFTER: HeaderName = HeaderName::from_static("x-amz-retry-after");

/// Names of errors as they are read, the status each stands for, and what it means (service model of botocore 1.44.5, and "Common
/// errors" of the API reference).
const TYPES: &[(&str, u16, FailureKind)] = &[
    ("ValidationException", 400, FailureKind::Rejected),
    ("AccessDeniedException", 403, FailureKind::Credential),
    ("ResourceNotFoundException", 404, FailureKind::Rejected),
    ("ModelTimeoutException", 408, FailureKind::Unavailable),
    ("ConflictException", 409, FailureKind::Rejected),
    ("ModelErrorException", 424, FailureKind::Unavailable),
    ("ModelStreamErrorException", 424, FailureKind::Unavailable),
    ("ThrottlingException", 429, FailureKind::RateLimited),
    ("ServiceQuotaExceededException", 429, FailureKind::RateLimited),
    ("TooManyRequestsException", 429, FailureKind::RateLimited),
    ("ModelNotReadyException", 429, FailureKind::Unavailable),
    ("InternalServerException", 500, FailureKind::Unavailable),
    ("InternalFailure", 500, FailureKind::Unavailable),
    ("ServiceUnavailableException", 503, FailureKind::Unavailable),
    ("ServiceUnavailable", 503, FailureKind::Unavailable),
    // What is wrong with a key or a signature.
    ("ExpiredTokenException", 403, FailureKind::Credential),
    ("IncompleteSignature", 400, FailureKind::Credential),
    ("InvalidClientTokenId", 403, FailureKind::Credential),
    ("InvalidSignatureException", 403, FailureKind::Credential),
    ("MissingAuthenticationTokenException", 403, FailureKind::Credential),
    ("NotAuthorized", 403, FailureKind::Credential),
    ("OptInRequired", 403, FailureKind::Credential),
    ("RequestExpired", 400, FailureKind::Credential),
    ("SignatureDoesNotMatch", 403, FailureKind::Credential),
    ("UnrecognizedClientException", 403, FailureKind::Credential),
];

/// See [`kind_of`]. 424: the model failed.
const STATUSES: &[(u16, FailureKind)] = &[(408, FailureKind::Unavailable), (424, FailureKind::Unavailable)];

/// Exceptions that a stream may end with (`ConverseStreamOutput` of the service model); official clients know no others.
const IN_STREAMS: &[&str] = &[
    "modelStreamErrorException",
    "validationException",
    "throttlingException",
    "serviceUnavailableException",
    "internalServerException",
];

wire! {
    struct ErrorWire<'a> {
        "message" | "Message" => message: Str<'a>,
        "__type" | "code" => kind: Str<'a>,
        "originalMessage" => original: Str<'a>,
        "originalStatusCode" => original_status: &'a RawValue,
    }
}

// === Writing ===

/// The error's name also stands in the body (`__type`), where official clients look for it too. The gateway's own word stays visible
/// in the message.
pub(super) fn encode(problem: &Problem) -> Vec<u8> {
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    object.str("message", &message_of(problem)).str("__type", name_of(problem));
    object.end();
    out
}

pub(super) fn headers(problem: &Problem) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ERROR_TYPE, HeaderValue::from_static(name_of(problem)));
    headers
}

/// How long to wait, in milliseconds: the one header in which botocore looks for it (1.44.5, `retries/standard.py`).
pub(super) fn wait(wait: Duration) -> HeaderMap {
    let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from(milliseconds))])
}

/// The exception for a stream that has begun: its name and its payload. One that stands for several statuses has a member for which.
pub(super) fn encode_exception(problem: &Problem) -> (&'static str, Vec<u8>) {
    let said = IN_STREAMS.iter().find(|name| **name == problem.kind);
    let (_, written) = names_of(problem.status);
    let name = said.copied().unwrap_or(written);
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    object.str("message", &message_of(problem));
    if name == "modelStreamErrorException" {
        object.raw("originalStatusCode", problem.status.as_str());
    }
    object.end();
    (name, out)
}

fn message_of(problem: &Problem) -> String {
    let is_ours = TYPES.iter().any(|(name, ..)| name.eq_ignore_ascii_case(&problem.kind));
    if is_ours { problem.message.clone() } else { format!("{}: {}", problem.kind, problem.message) }
}

/// What a provider of this dialect said is said again. The exceptions of a stream are no errors of a whole answer.
fn name_of(problem: &Problem) -> &'static str {
    let said = TYPES.iter().find(|(name, ..)| *name == problem.kind);
    said.map_or_else(|| names_of(problem.status).0, |(name, ..)| name)
}

/// The error for a status: of a whole answer, among those that `Converse` declares, and within a stream.
fn names_of(status: StatusCode) -> (&'static str, &'static str) {
    match status.as_u16() {
        401 | 403 => ("AccessDeniedException", "validationException"),
        404 => ("ResourceNotFoundException", "validationException"),
        408 | 504 => ("ModelTimeoutException", "modelStreamErrorException"),
        424 => ("ModelErrorException", "modelStreamErrorException"),
        429 => ("ThrottlingException", "throttlingException"),
        503 | 529 => ("ServiceUnavailableException", "serviceUnavailableException"),
        400..=499 => ("ValidationException", "validationException"),
        _ => ("InternalServerException", "internalServerException"),
    }
}

// === Reading ===

/// What a provider's error answer means, as far as the body says.
pub(super) fn decode(status: StatusCode, body: &[u8]) -> Failure {
    let wire = serde_json::from_slice::<ErrorWire<'_>>(body).unwrap_or_default();
    let message = wire.message.map_or_else(|| quote(OWN, status, body), |message| message.0.into_owned());
    let mut failure = Failure { status: Some(status), ..Failure::new(kind_of(status, STATUSES), message) };
    if let Some(kind) = wire.kind {
        name(kind.as_str(), &mut failure);
    }
    failure
}

/// The header names the error: `ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/`.
pub(super) fn read_headers(headers: &HeaderMap, failure: &mut Failure) {
    let named = headers.get(ERROR_TYPE).and_then(|value| value.to_str().ok()).filter(|name| !name.is_empty());
    if let Some(named) = named.filter(|_| failure.kind != FailureKind::Unreadable) {
        name(named, failure);
    }
}

/// What an exception within a stream means. Its model may say what it failed of itself.
pub(super) fn decode_exception(kind: &str, data: &[u8]) -> Failure {
    let wire = serde_json::from_slice::<ErrorWire<'_>>(data).unwrap_or_default();
    let mut failure = decode(StatusCode::OK, data);
    (failure.kind, failure.status) = (FailureKind::Unavailable, None);
    if wire.message.is_none() {
        kind.clone_into(&mut failure.message);
    }
    if let Some(original) = wire.original {
        failure.message = format!("{}: {}", failure.message, original.as_str());
    }
    name(kind, &mut failure);
    let original = wire.original_status.and_then(|status| status.get().parse::<u16>().ok());
    if let Some(original) =
        original.and_then(|status| StatusCode::from_u16(status).ok()).filter(|it| it.as_u16() >= 400)
    {
        (failure.kind, failure.status) = (kind_of(original, STATUSES), Some(original));
    }
    // A model that failed in the middle is nobody's bad request, whatever number its exception has.
    let fault = failure.status.filter(|status| failure.kind != FailureKind::Unavailable || status.is_server_error());
    failure.status = Some(fault.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    failure
}

/// Notes the error's name, which counts for more than the status. What stands before and behind the name is for AWS alone.
fn name(spelt: &str, failure: &mut Failure) {
    let name = spelt.split(':').next().unwrap_or_default();
    let name = name.rsplit('#').next().unwrap_or_default();
    // Exceptions of a stream begin with a small letter.
    let row = TYPES.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name));
    if let Some((_, code, kind)) = row {
        failure.kind = *kind;
        // An error within a success has only its name to say a status.
        if failure.status.is_none_or(|status| status.is_success()) {
            failure.status = StatusCode::from_u16(*code).ok();
        }
    }
    failure.provider_type = Some(name.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: u16) -> Problem {
        Problem {
            status: StatusCode::from_u16(status).unwrap(),
            kind: "budget_exceeded".into(),
            code: None,
            param: None,
            message: "no \"money\" left".into(),
            annex: None,
        }
    }

    #[test]
    fn our_own_errors_have_the_shape_of_aws_and_keep_our_words() {
        for (status, name, exception) in [
            (400, "ValidationException", "validationException"),
            (401, "AccessDeniedException", "validationException"),
            (402, "ValidationException", "validationException"),
            (403, "AccessDeniedException", "validationException"),
            (404, "ResourceNotFoundException", "validationException"),
            (408, "ModelTimeoutException", "modelStreamErrorException"),
            (409, "ValidationException", "validationException"),
            (413, "ValidationException", "validationException"),
            (424, "ModelErrorException", "modelStreamErrorException"),
            (429, "ThrottlingException", "throttlingException"),
            (500, "InternalServerException", "internalServerException"),
            (502, "InternalServerException", "internalServerException"),
            (503, "ServiceUnavailableException", "serviceUnavailableException"),
            (504, "ModelTimeoutException", "modelStreamErrorException"),
            (529, "ServiceUnavailableException", "serviceUnavailableException"),
        ] {
            let body: serde_json::Value = serde_json::from_slice(&encode(&problem(status))).unwrap();
            assert_eq!(body["message"], "budget_exceeded: no \"money\" left");
            assert_eq!(body["__type"], name, "{status}");
            assert_eq!(headers(&problem(status))[ERROR_TYPE], name);
            let (kind, payload) = encode_exception(&problem(status));
            assert_eq!(kind, exception, "{status}");
            let read = decode_exception(kind, &payload);
            assert_eq!(read.message, body["message"]);
            // An exception that stands for several statuses says which; what is AWS's own stays a model's fault in the middle.
            if status == 504 {
                assert_eq!(read.status.map(|it| it.as_u16()), Some(status));
            }
        }
        // What a provider of this dialect said is said again.
        let said = Problem { kind: "modelStreamErrorException".into(), ..problem(500) };
        assert_eq!(encode_exception(&said).0, "modelStreamErrorException");
        assert_eq!(message_of(&said), "no \"money\" left");
        assert_eq!(name_of(&said), "InternalServerException", "before the stream has begun");
    }

    #[test]
    fn failures_are_told_apart_by_header_then_body_then_status() {
        use FailureKind::{Credential, RateLimited, Rejected, Unavailable, Unreadable};
        for (status, header, body, kind) in [
            (
                400,
                "ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/",
                r#"{"message":"m"}"#,
                Rejected,
            ),
            (400, "ThrottlingException", r#"{"message":"m"}"#, RateLimited),
            (429, "ModelNotReadyException", r#"{"message":"m"}"#, Unavailable),
            (403, "ExpiredTokenException", r#"{"Message":"m"}"#, Credential),
            (400, "", r#"{"__type":"com.amazon.coral.service#UnrecognizedClientException","message":"m"}"#, Credential),
            (424, "", r#"{"message":"m"}"#, Unavailable),
            (403, "", r#"{"message":"m"}"#, Credential),
            (503, "SomethingNew", r#"{"message":"m"}"#, Unavailable),
            (502, "", "<html>m</html>", Unavailable),
            (200, "", "<html>m</html>", Unreadable),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let mut failure = decode(status, body.as_bytes());
            let mut headers = HeaderMap::new();
            headers.insert(ERROR_TYPE, HeaderValue::from_static(header));
            read_headers(&headers, &mut failure);
            assert_eq!(failure.kind, kind, "{status} {header} {body}");
            assert!(failure.message.contains('m'), "{}", failure.message);
            assert_eq!(failure.status, Some(status));
        }
    }

    #[test]
    fn bdk_exception_frame_midstream() {
        use FailureKind::{RateLimited, Rejected, Unavailable};
        for (name, data, kind, status, message) in [
            ("throttlingException", r#"{"message":"slower"}"#, RateLimited, 429, "slower"),
            ("serviceUnavailableException", r#"{"message":"m"}"#, Unavailable, 503, "m"),
            ("internalServerException", "{}", Unavailable, 500, "internalServerException"),
            ("validationException", r#"{"message":"m"}"#, Rejected, 400, "m"),
            (
                "modelStreamErrorException",
                r#"{"message":"m","originalStatusCode":429,"originalMessage":"too many"}"#,
                RateLimited,
                429,
                "m: too many",
            ),
            ("modelStreamErrorException", r#"{"message":"m"}"#, Unavailable, 500, "m"),
            ("somethingNewException", "", Unavailable, 500, "somethingNewException"),
        ] {
            let failure = decode_exception(name, data.as_bytes());
            assert_eq!((failure.kind, failure.status.unwrap().as_u16()), (kind, status), "{name}");
            assert_eq!((failure.message.as_str(), failure.provider_type.as_deref()), (message, Some(name)));
        }
    }
}
