//! Reading an answer that is not a reply.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri, header};

use super::headers::returnable;
use super::retry_after::{clamped, retry_after, stated_in, temper};
use crate::failure::FailureKind;
use crate::transport::content_encoding;
use crate::{Codec, Failure};

/// What an answer that is no reply means: an error status, a redirect, an empty or an HTML body under a 200.
///
/// `now` is for a `retry-after` that is a date. The failure keeps the headers that [`returnable`] lets through.
pub fn failure_of(
    codec: &dyn Codec,
    status: StatusCode,
    headers: &HeaderMap,
    body: Bytes,
    now: SystemTime,
) -> Box<Failure> {
    let encoding = content_encoding(headers);
    let mut failure = if status.is_redirection() {
        Failure::new(FailureKind::Unreadable, redirect(status, headers))
    } else if let Some(encoding) = encoding {
        let mut failure = codec.decode_error(status, b"");
        failure.message = format!("status {status}, with a body in content-encoding {encoding:?}");
        failure
    } else if status.is_success() && body.trim_ascii().is_empty() {
        Failure::new(FailureKind::Unreadable, format!("status {status} without a body"))
    } else if status.is_success() && is_html(headers, &body) {
        Failure::new(FailureKind::Unreadable, format!("status {status} with a web page in place of a reply"))
    } else {
        codec.decode_error(status, &body)
    };
    codec.read_error_headers(headers, &mut failure);
    failure.status = failure.status.or(Some(status));
    failure.retry_after = retry_after(headers, now).or(failure.retry_after.map(clamped)).or_else(|| {
        let limited = failure.kind == FailureKind::RateLimited;
        limited.then(|| stated_in(&failure.message)).flatten()
    });
    failure.headers = returnable(headers);
    temper(&mut failure.headers, now);
    if let Some(content_type) = headers.get(header::CONTENT_TYPE) {
        failure.headers.insert(header::CONTENT_TYPE, content_type.clone());
    }
    // Compressed bytes without the header that says so would be garbage to whoever gets them.
    failure.body = if encoding.is_none() { body } else { Bytes::new() };
    Box::new(failure)
}

/// Names where it leads, but not the path and query, which may hold a token.
fn redirect(status: StatusCode, headers: &HeaderMap) -> String {
    let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match location.parse::<Uri>().ok().as_ref().and_then(Uri::host) {
        Some(host) => format!("status {status}, a redirect to {host}; redirects are not followed"),
        None => format!("status {status}, a redirect; redirects are not followed"),
    }
}

fn is_html(headers: &HeaderMap, body: &[u8]) -> bool {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    declared.starts_with("text/html") || body.trim_ascii_start().starts_with(b"<")
}
