//! Why a request is not answered, and how that reads in the caller's dialect.
//!
//! The one place where `Denied`, `Failure` and `Malformed` become a status, headers and a body; the HTTP layer and the stream
//! writers only carry what is made here.

use std::sync::Arc;
use std::time::Duration;

use bifrost_policies::Denied;
use bifrost_providers::dialect::Problem;
use bifrost_providers::failure::FailureKind;
use bifrost_providers::provider::{request_id, returnable};
use bifrost_providers::{Dialect, Failure, Losses, Malformed};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::answer::{Reply, ReplyBody};
use super::names;

/// The end of a request that gets no answer.
#[derive(Debug)]
pub enum Refusal {
    Denied(Denied),
    /// The caller's body is not its dialect.
    Malformed(Malformed),
    /// The last word of the provider named, after all that could be tried was.
    Failed {
        provider: Arc<str>,
        upstream: Dialect,
        failure: Box<Failure>,
    },
    /// `x-bf-strict`: what would have been lost.
    Strict(Losses),
    /// A conversation that only the provider holds (Anthropic's `thread`), in a lane where the gateway must see all of it.
    /// Official SDKs then send the whole conversation instead.
    ThreadUnsupported,
    /// A conversation that another provider's state is part of: the field that says so, and why it cannot be asked here.
    HeldElsewhere {
        field: &'static str,
        reason: &'static str,
        provider: Arc<str>,
    },
    /// What its owner on record keeps is not to be had by this caller, or by this request. `field`: of the body that asks for it.
    OutOfReach {
        status: StatusCode,
        field: Option<&'static str>,
        message: String,
    },
    /// The tool loop's own deadline passed while a model or a tool was still at work.
    RunDeadline(Duration),
    /// A tool call whose arguments its schema refuses. The complaint may quote them, so the log does without it.
    Arguments {
        tool: String,
        complaint: String,
    },
    /// Refused before any engine work: body size, content type, unknown route, missing header.
    Http {
        status: StatusCode,
        kind: &'static str,
        message: String,
    },
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl Refusal {
    /// May another provider do better? Not when the caller is at fault, or when time is up.
    pub fn may_fall_back(&self) -> bool {
        match self {
            Self::Failed { failure, .. } => failure.kind != FailureKind::TotalTimeout,
            // The provider asked for has no place or no key for it; who asks is not the matter.
            Self::Denied(denied) => matches!(
                denied,
                Denied::NoKeys { .. }
                    | Denied::KeysResting { .. }
                    | Denied::CredentialsExhausted { .. }
                    | Denied::QueueFull { .. }
            ),
            Self::HeldElsewhere { .. } => true,
            Self::Malformed(_)
            | Self::Strict(_)
            | Self::ThreadUnsupported
            | Self::OutOfReach { .. }
            | Self::RunDeadline(_)
            | Self::Arguments { .. }
            | Self::Http { .. } => false,
        }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Self::Denied(denied) => StatusCode::from_u16(denied.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            Self::Malformed(_) | Self::ThreadUnsupported | Self::HeldElsewhere { .. } | Self::Arguments { .. } => {
                StatusCode::BAD_REQUEST
            }
            Self::Failed { failure, .. } => failure_status(failure),
            Self::Strict(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RunDeadline(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::OutOfReach { status, .. } | Self::Http { status, .. } => *status,
        }
    }

    /// The gateway's machine-readable word for it.
    pub fn kind(&self) -> String {
        match self {
            Self::Denied(denied) => denied.kind().to_owned(),
            Self::Malformed(_) | Self::ThreadUnsupported | Self::HeldElsewhere { .. } | Self::Arguments { .. } => {
                "invalid_request_error".to_owned()
            }
            Self::OutOfReach { status, .. } => out_of_reach(*status).to_owned(),
            Self::Failed { failure, .. } => failure_kind(failure),
            Self::Strict(_) => "lossy_translation".to_owned(),
            Self::RunDeadline(_) => "request_timed_out".to_owned(),
            Self::Http { kind, .. } => (*kind).to_owned(),
        }
    }

    /// The same in the gateway's own few words, for a metric's label: a provider's word can be anything.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Denied(denied) => denied.kind(),
            Self::Malformed(_) | Self::ThreadUnsupported | Self::HeldElsewhere { .. } | Self::Arguments { .. } => {
                "invalid_request_error"
            }
            Self::OutOfReach { status, .. } => out_of_reach(*status),
            Self::Failed { failure, .. } => failure_class(failure.kind),
            Self::Strict(_) => "lossy_translation",
            Self::RunDeadline(_) => "request_timed_out",
            Self::Http { kind, .. } => kind,
        }
    }

    pub fn message(&self) -> String {
        match self {
            Self::Denied(denied) => denied.to_string(),
            Self::Malformed(malformed) if malformed.pointer.is_empty() => {
                format!("invalid request body: {}", expectation(&malformed.expected))
            }
            Self::Malformed(malformed) => {
                format!("invalid request body at {}: {}", malformed.pointer, expectation(&malformed.expected))
            }
            // The provider's own words may quote the gateway's key; they are in the log record's attempts.
            Self::Failed { provider, failure, .. } if failure.kind == FailureKind::Credential => {
                format!("{provider} refused every key that the gateway has for it")
            }
            Self::Failed { provider, failure, .. } if failure.status.is_some() => {
                format!("{provider}: {}", failure.message)
            }
            Self::Failed { provider, failure, .. } => format!("{provider}: {failure}"),
            Self::Strict(losses) => {
                let list: Vec<String> =
                    losses.iter().map(|loss| format!("{}: {}", loss.pointer, loss.reason)).collect();
                format!("x-bf-strict: this request would lose {}", list.join("; "))
            }
            Self::ThreadUnsupported => {
                "a message thread is held by the provider alone: send the whole conversation, without `thread`"
                    .to_owned()
            }
            Self::HeldElsewhere { field, reason, provider } => {
                format!(
                    "{field}: the request {reason}, and that is not {provider}; send the whole conversation instead"
                )
            }
            Self::RunDeadline(bound) => format!("the tool loop did not finish within {bound:?}"),
            Self::Arguments { complaint, .. } => complaint.clone(),
            Self::OutOfReach { message, .. } | Self::Http { message, .. } => message.clone(),
        }
    }

    /// The same for the log, which keeps no content.
    pub fn message_for_log(&self) -> String {
        match self {
            Self::Arguments { tool, .. } => format!("the arguments of tool '{tool}' were refused"),
            other => other.message(),
        }
    }

    pub fn problem(&self, annex: Option<String>) -> Problem {
        let (code, param) = match self {
            Self::Failed { failure, .. } => (failure.provider_code.clone(), failure.param.clone()),
            Self::Malformed(malformed) if !malformed.pointer.is_empty() => (None, Some(malformed.pointer.clone())),
            Self::HeldElsewhere { field, .. } | Self::OutOfReach { field: Some(field), .. } => {
                (None, Some(format!("/{field}")))
            }
            Self::ThreadUnsupported => (Some("thread_unsupported_request".to_owned()), Some("/thread".to_owned())),
            _ => (None, None),
        };
        Problem { status: self.status(), kind: self.kind(), code, param, message: self.message(), annex }
    }

    /// The whole HTTP answer in the caller's dialect. A provider's own error body passes through to a client that speaks the
    /// same dialect, because nothing says it better.
    pub fn reply(&self, dialect: Dialect, annex: Option<String>) -> Reply {
        let problem = self.problem(annex);
        let mut headers = self.headers(dialect);
        let body = match self {
            Self::Failed { upstream, failure, .. } if *upstream == dialect && is_own_error(failure) => {
                failure.body.clone()
            }
            _ => {
                headers.extend(dialect.codec().error_headers(&problem));
                Bytes::from(dialect.codec().encode_error(&problem))
            }
        };
        let status = self.status();
        Reply { status, headers, body: ReplyBody::Whole(body), problem: Some(Box::new(problem)) }
    }

    /// How long the caller should wait, as far as somebody said.
    fn wait(&self) -> Option<Duration> {
        match self {
            Self::Failed { failure, .. } => failure.retry_after,
            Self::Denied(denied) => denied.retry_after(),
            _ => None,
        }
    }

    fn headers(&self, dialect: Dialect) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match self {
            Self::Failed { failure, .. } => {
                headers = returnable(&failure.headers);
                if let Some(id) = request_id(&failure.headers) {
                    // Whoever names the gateway's own request moves it to where the provider's stands.
                    headers.insert(&names::REQUEST_ID, id.clone());
                }
                if failure.kind == FailureKind::Credential {
                    // Somebody has to mend the keys first.
                    headers.insert(&names::SHOULD_RETRY, HeaderValue::from_static("false"));
                }
            }
            Self::Denied(denied) => {
                if !denied.should_retry() {
                    headers.insert(&names::SHOULD_RETRY, HeaderValue::from_static("false"));
                }
            }
            Self::Malformed(_)
            | Self::Strict(_)
            | Self::ThreadUnsupported
            | Self::HeldElsewhere { .. }
            | Self::OutOfReach { .. }
            | Self::Arguments { .. }
            | Self::Http { .. } => {
                headers.insert(&names::SHOULD_RETRY, HeaderValue::from_static("false"));
            }
            Self::RunDeadline(_) => {}
        }
        let status = self.status();
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let wait = self.wait().unwrap_or(Duration::from_secs(1));
            headers.extend(dialect.codec().wait_headers(wait));
            if !headers.contains_key(header::RETRY_AFTER) {
                let seconds = wait.as_secs_f64().ceil().max(1.0);
                headers
                    .extend(HeaderValue::try_from(format!("{seconds:.0}")).map(|value| (header::RETRY_AFTER, value)));
            }
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers
    }
}

/// A fault is told either as a sentence of the parser or as the thing that was expected; the latter needs its verb.
fn expectation(fault: &str) -> String {
    const THINGS: [&str; 4] = ["a ", "an ", "at most ", "valid "];
    let thing = THINGS.iter().any(|start| fault.starts_with(start));
    if thing { format!("expected {fault}") } else { fault.to_owned() }
}

/// An error answer in JSON, with its status: only then is its body what a client of the dialect expects.
fn is_own_error(failure: &Failure) -> bool {
    failure.kind != FailureKind::Credential
        && failure.status.is_some_and(|status| status.is_client_error() || status.is_server_error())
        && failure.body.first() == Some(&b'{')
        && serde_json::from_slice::<serde::de::IgnoredAny>(&failure.body).is_ok()
}

fn failure_status(failure: &Failure) -> StatusCode {
    use FailureKind as K;
    match failure.kind {
        // The caller's own credential was fine; the gateway's was not.
        K::Credential | K::Connect | K::Broken | K::Unreadable => StatusCode::BAD_GATEWAY,
        K::FirstByteTimeout | K::IdleTimeout | K::TotalTimeout => StatusCode::GATEWAY_TIMEOUT,
        K::RateLimited => failure.status.filter(StatusCode::is_client_error).unwrap_or(StatusCode::TOO_MANY_REQUESTS),
        K::Unavailable => {
            failure.status.filter(|status| !status.is_success()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
        }
        K::Rejected => failure.status.filter(StatusCode::is_client_error).unwrap_or(StatusCode::BAD_REQUEST),
    }
}

/// The provider's own word, where it says more than the kind of failure does.
fn failure_kind(failure: &Failure) -> String {
    use FailureKind as K;
    let provider_type = match failure.kind {
        K::Credential | K::FirstByteTimeout | K::IdleTimeout | K::TotalTimeout => None,
        _ => failure.provider_type.clone(),
    };
    provider_type.unwrap_or_else(|| failure_class(failure.kind).to_owned())
}

fn out_of_reach(status: StatusCode) -> &'static str {
    match status {
        StatusCode::FORBIDDEN => "provider_blocked",
        StatusCode::NOT_FOUND => "not_found_error",
        _ => "invalid_request_error",
    }
}

fn failure_class(kind: FailureKind) -> &'static str {
    use FailureKind as K;
    match kind {
        K::Credential => "upstream_credentials_exhausted",
        K::FirstByteTimeout | K::IdleTimeout | K::TotalTimeout => "request_timed_out",
        K::Connect => "upstream_connection_failed",
        K::Broken => "upstream_connection_broken",
        K::Unreadable => "upstream_unreadable_answer",
        K::RateLimited => "rate_limited",
        K::Unavailable => "upstream_unavailable",
        K::Rejected => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_provider_key_is_not_quoted_to_the_caller() {
        let failure = Failure {
            status: Some(StatusCode::UNAUTHORIZED),
            ..Failure::new(FailureKind::Credential, "Incorrect API key provided: sk-house.")
        };
        let upstream = Dialect::OpenAiChat;
        let refusal = Refusal::Failed { provider: "openai".into(), upstream, failure: Box::new(failure) };
        let ReplyBody::Whole(body) = refusal.reply(upstream, None).body else { panic!("a stream") };
        assert_eq!(refusal.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(refusal.reply(upstream, None).headers["x-should-retry"], "false");
        assert!(!String::from_utf8_lossy(&body).contains("sk-house"));
    }

    #[test]
    fn a_message_thread_is_refused_so_that_sdks_send_the_whole_conversation() {
        let reply = Refusal::ThreadUnsupported.reply(Dialect::AnthropicMessages, None);
        let ReplyBody::Whole(body) = reply.body else { panic!("a stream") };
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert_eq!(body["error"]["details"]["error_code"], "thread_unsupported_request");
    }

    #[test]
    fn a_providers_word_is_told_and_never_becomes_a_label() {
        let failure = Failure {
            provider_type: Some("err-7f3a91".to_owned()),
            ..Failure::new(FailureKind::Unavailable, "overloaded")
        };
        let upstream = Dialect::OpenAiChat;
        let refusal = Refusal::Failed { provider: "openai".into(), upstream, failure: Box::new(failure) };
        assert_eq!((refusal.kind().as_str(), refusal.class()), ("err-7f3a91", "upstream_unavailable"));
    }
}
