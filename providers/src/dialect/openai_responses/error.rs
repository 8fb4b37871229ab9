//! Errors, both ways. Bodies are those of OpenAI's other dialect; what is this dialect's own is the response that failed, and
//! the event that ends a stream badly.

use http::StatusCode;

use crate::Failure;
use crate::dialect::Problem;
use crate::dialect::openai_chat::error as chat;
use crate::failure::FailureKind;
use crate::json::Sheet;

/// Words in the codes of failed responses that blame the request (SDK `types/responses/response_error.py`), where the words
/// that all of OpenAI's errors share do not say.
const REQUEST: [&str; 2] = ["image", "policy"];

/// What an error answer means: an error body, or a response that failed inside a 200.
pub(super) fn decode_error(status: StatusCode, body: &[u8]) -> Failure {
    blamed(status.is_success(), chat::decode_error(status, body))
}

/// An `error` event, or the response of a `response.failed`.
pub(super) fn decode_stream_error(body: &[u8]) -> Failure {
    blamed(true, chat::decode_stream_error(body))
}

/// `unsaid`: the status is no more than a guess.
fn blamed(unsaid: bool, mut failure: Failure) -> Failure {
    let guessed = unsaid && failure.status == Some(StatusCode::BAD_GATEWAY);
    let code = failure.provider_code.as_deref().unwrap_or_default();
    if guessed && REQUEST.iter().any(|word| code.contains(word)) {
        failure.kind = FailureKind::Rejected;
        failure.status = Some(StatusCode::BAD_REQUEST);
    }
    failure
}

/// The data of an `error` event. Its fields stand where the API reference has them, and once more under `error`, where
/// OpenAI's own servers put them and its SDKs look for a reason to raise.
pub(super) fn encode_event(out: &mut Vec<u8>, problem: &Problem, sequence: u64) {
    let mut event = Sheet::new(out);
    event.str("type", "error").number("sequence_number", sequence);
    said(&mut event, problem);
    let mut error = Sheet::new(event.key("error"));
    error.str("type", &problem.kind);
    said(&mut error, problem);
    error.end();
    if let Some(annex) = &problem.annex {
        event.raw("extra_fields", annex);
    }
    event.end();
}

/// Clients branch on the code; an error without one says its kind.
fn said(sheet: &mut Sheet<'_>, problem: &Problem) {
    sheet.str("code", problem.code.as_ref().unwrap_or(&problem.kind)).str("message", &problem.message);
    match &problem.param {
        Some(param) => sheet.str("param", param),
        None => sheet.raw("param", "null"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_response_says_whose_fault_it_is() {
        for (code, kind) in [
            ("server_error", FailureKind::Unavailable),
            ("rate_limit_exceeded", FailureKind::RateLimited),
            ("invalid_prompt", FailureKind::Rejected),
            ("vector_store_timeout", FailureKind::Unavailable),
            ("image_parse_error", FailureKind::Rejected),
            ("bio_policy", FailureKind::Rejected),
            ("image_file_not_found", FailureKind::Rejected),
            ("something_new", FailureKind::Unavailable),
        ] {
            let body = format!(r#"{{"status":"failed","error":{{"code":"{code}","message":"m"}},"output":[]}}"#);
            for failure in [decode_error(StatusCode::OK, body.as_bytes()), decode_stream_error(body.as_bytes())] {
                assert_eq!((failure.kind, failure.message.as_str()), (kind, "m"), "{code}");
                assert_eq!(failure.provider_code.as_deref(), Some(code));
            }
        }
    }
}
