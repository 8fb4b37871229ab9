//! What went wrong upstream, as facts for whoever decides what to do next.
//!
//! A `Failure` says what happened, whose fault it is and what may be tried; `policies::retry` decides, `gateway::http::error`
//! turns it into a status and a body in the caller's dialect.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// One failed attempt at one provider.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct Failure {
    pub kind: FailureKind,
    /// The provider's status, where it answered; for an error inside a 200 the status that the error stands for.
    pub status: Option<StatusCode>,
    /// For people. The provider's own message where it gave one. Never holds a credential.
    pub message: String,
    /// The provider's machine-readable error type and code, as it spelt them.
    pub provider_type: Option<String>,
    pub provider_code: Option<String>,
    /// The request field at fault, where the provider named it.
    pub param: Option<String>,
    /// What the provider asked callers to wait (`retry-after`, `retry-after-ms`), clamped to sane values.
    pub retry_after: Option<Duration>,
    /// The provider's response headers and body, kept so that a caller of the same dialect gets them as they were.
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What kind of failure, which is what retry decisions hang on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// Could not connect: name, TCP, TLS, or no answer within the connect timeout.
    Connect,
    /// Connected, but the first byte did not come in time.
    FirstByteTimeout,
    /// The stream fell silent for longer than the idle timeout.
    IdleTimeout,
    /// The whole request ran out of time.
    TotalTimeout,
    /// The connection broke in the middle, or a stream ended before its end.
    Broken,
    /// 429, or an error that says so inside another status.
    RateLimited,
    /// The provider is overloaded or down: 500, 502, 503, 504, 529.
    Unavailable,
    /// The key was refused: 401, 402, 403.
    Credential,
    /// The provider refused this request, and would refuse it again: other 4xx.
    Rejected,
    /// The answer could not be understood: not the dialect, not JSON, a redirect, a captive page.
    Unreadable,
}

impl std::fmt::Display for FailureKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "connection failed",
            Self::FirstByteTimeout => "no answer within the first-byte timeout",
            Self::IdleTimeout => "stream idle for too long",
            Self::TotalTimeout => "request timed out",
            Self::Broken => "connection broke",
            Self::RateLimited => "rate limited",
            Self::Unavailable => "provider unavailable",
            Self::Credential => "credential refused",
            Self::Rejected => "request rejected",
            Self::Unreadable => "unreadable answer",
        })
    }
}

impl Failure {
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            status: None,
            message: message.into(),
            provider_type: None,
            provider_code: None,
            param: None,
            retry_after: None,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }
}
