//! One attempt at chat: the call, and what its answer is.

use std::time::SystemTime;

use bifrost_providers::endpoint::Endpoint;
use bifrost_providers::failure::FailureKind;
use bifrost_providers::provider::{Outgoing, failure_of, retry_after, returnable};
use bifrost_providers::transport::Answer;
use bifrost_providers::{ChatReply, Dialect, Failure, Malformed, tap};
use bytes::Bytes;
use http::HeaderMap;

use super::dispatch::{Errand, Ready, Received, Source};
use super::hold::Held;
use super::lane::Lane;
use super::plan::{Plan, Prepared};
use super::refusal::Refusal;
use crate::state::Site;

/// The largest whole reply that is taken from a provider.
pub const MAX_REPLY_BYTES: usize = 256 << 20;
/// The largest error body: more than any provider says, and a bound.
pub const MAX_ERROR_BYTES: usize = 1 << 20;

impl Errand for Plan {
    type Answer = Source;

    fn plan(&self) -> &Plan {
        self
    }

    fn plan_mut(&mut self) -> &mut Plan {
        self
    }

    fn operation(&self, site: &Site<'_>) -> Option<Endpoint> {
        Some(Endpoint::chat(site.dialect))
    }

    fn prepare(&mut self, site: &Site<'_>) -> Result<Prepared, Refusal> {
        self.said_at(site)
    }

    async fn attempt(&self, ready: &Ready<'_>) -> Result<Received<Source>, Box<Failure>> {
        let stream = self.stream();
        let Ready { key, site, operation, prepared, forwarded } = ready;
        let provider = site.provider;
        let credential = key.credential().await?;
        let call = provider.call(Outgoing {
            endpoint: *operation,
            model: site.model,
            stream,
            credential: credential.as_deref(),
            forwarded,
            content_type: None,
            body: prepared.body.clone(),
            now: SystemTime::now(),
        })?;
        let Answer { status, headers, body } = provider.send(call).await?;
        let dialect = site.dialect;
        if stream && status.is_success() && dialect.framing().fits(&headers) {
            let held = Held::open(body, dialect, provider.stream_patience()).await?;
            return Ok(Received { status, headers, answer: Source::Stream(Box::new(held)) });
        }
        let cap = if status.is_success() { MAX_REPLY_BYTES } else { MAX_ERROR_BYTES };
        let body = body.collect(cap).await?;
        if !status.is_success() {
            return Err(failure_of(dialect.codec(), status, &headers, body, SystemTime::now()));
        }
        let mut tap = Box::new(tap::whole(dialect, &body));
        if let Some(failure) = tap.error.take() {
            return Err(with_headers(failure, &headers, &body));
        }
        let reply = self.read(prepared.lane, dialect, &body)?;
        Ok(Received { status, headers, answer: Source::Whole { body, tap, reply } })
    }
}

impl Plan {
    /// Reads a whole reply here, where one that makes no sense is a failed attempt like any other.
    fn read(&self, lane: Lane, dialect: Dialect, body: &[u8]) -> Result<Option<Box<ChatReply>>, Box<Failure>> {
        if lane == Lane::Relay && !self.stream() {
            return Ok(None);
        }
        let unreadable = |malformed: Malformed| {
            let message = format!("the reply is not {}: {malformed}", dialect.name());
            Box::new(Failure::new(FailureKind::Unreadable, message))
        };
        dialect.codec().decode_reply(body).map(|reply| Some(Box::new(reply))).map_err(unreadable)
    }
}

/// An error found inside a 200 keeps what the provider's headers said about waiting.
pub fn with_headers(mut failure: Box<Failure>, headers: &HeaderMap, body: &Bytes) -> Box<Failure> {
    failure.headers = returnable(headers);
    failure.retry_after = failure.retry_after.or_else(|| retry_after(headers, SystemTime::now()));
    if failure.body.is_empty() && body.len() <= MAX_ERROR_BYTES {
        failure.body = body.clone();
    }
    failure
}
