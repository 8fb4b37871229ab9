//! The relay lane: the provider's bytes are the client's bytes, apart from the edits that the gateway declares.
//!
//! Declared edits: `extra_fields` in the last chunk of OpenAI-shaped streams and replies, the usage-only chunk hidden from a
//! client that did not ask for it, a missing `[DONE]` or `message_stop` supplied.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bifrost_providers::failure::FailureKind;
use bifrost_providers::framing::Event;
use bifrost_providers::tap::Seen;
use bifrost_providers::transport::Alarm;
use bifrost_providers::{Dialect, Failure, Losses};
use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::Instant;

use super::annex;
use super::dispatch::Served;
use super::gather::Gather;
use super::grant::Grant;
use super::hold::Held;
use super::refusal::Refusal;

/// How long a finished stream may keep its connection open before it is cut: long enough for the last chunk to arrive and the
/// connection to be reused, short enough that a provider which only pings after its end costs nothing.
const LINGER: Duration = Duration::from_secs(1);

/// A relayed stream.
#[derive(Debug)]
pub struct RelayBody {
    held: Held,
    dialect: Dialect,
    served: Served,
    losses: Losses,
    grant: Option<Grant>,
    /// The chunk that may turn out to be the last one, and so gets `extra_fields`.
    last: Option<Bytes>,
    finished: bool,
    /// Rings when a reply that is complete has still not been ended by its provider.
    grace: Option<Alarm>,
    linger: Option<Alarm>,
    closed: bool,
}

impl RelayBody {
    pub fn new(held: Held, served: Served, losses: Losses, grant: Grant) -> Self {
        Self {
            held,
            dialect: served.upstream,
            served,
            losses,
            grant: Some(grant),
            last: None,
            finished: false,
            grace: None,
            linger: None,
            closed: false,
        }
    }

    /// Takes one event; what the client gets of it goes to `out`.
    fn take(&mut self, event: Event, seen: &Seen, out: &mut Gather) {
        match seen {
            // The client did not ask for it; the gateway did.
            Seen::Usage if self.served.hide_usage => {}
            Seen::Finish | Seen::Usage => {
                self.finished = true;
                self.release(out);
                if self.dialect == Dialect::OpenAiChat {
                    self.last = Some(event.raw);
                } else {
                    out.push(event.raw);
                }
            }
            Seen::Terminal => {
                self.release_with_annex(out);
                out.push(event.raw);
                self.end_well();
            }
            Seen::Preamble | Seen::Content | Seen::Error(_) => {
                if matches!(seen, Seen::Content) {
                    // Another choice goes on after the first one's finish.
                    self.grace = None;
                }
                self.release(out);
                out.push(event.raw);
            }
        }
    }

    /// The held chunk was not the last one after all.
    fn release(&mut self, out: &mut Gather) {
        if let Some(last) = self.last.take() {
            out.push(last);
        }
    }

    fn release_with_annex(&mut self, out: &mut Gather) {
        let (Some(last), Some(grant)) = (self.last.take(), self.grant.as_ref()) else { return };
        out.push(with_annex(&last, |out| annex::write(out, grant, &self.losses, None)));
    }

    /// The body ended without its terminator: fine after the finish, a broken stream before.
    fn end_of_body(&mut self, out: &mut Gather) {
        if self.finished {
            self.release_with_annex(out);
            out.push(Bytes::from_static(terminator(self.dialect)));
            self.end_well();
            return;
        }
        self.fail(Box::new(Failure::new(FailureKind::Broken, "the provider's stream ended before its end")), out);
    }

    fn end_well(&mut self) {
        if let Some(grant) = self.account() {
            let tap = self.held.tap();
            grant.succeed(tap.usage().as_ref(), tap.finish().map(|finish| finish.to_plain().into_owned()));
        }
        self.linger = Some(Alarm::at(Instant::now() + LINGER));
    }

    fn fail(&mut self, failure: Box<Failure>, out: &mut Gather) {
        self.release(out);
        let refusal = Refusal::Failed { provider: self.served.provider.clone(), upstream: self.dialect, failure };
        let mut event = Vec::new();
        self.dialect.codec().break_off(&refusal.problem(None), self.held.tap().latest(), &mut event);
        out.push(Bytes::from(event));
        if let Some(grant) = self.account() {
            grant.fail(&refusal, self.held.tap().usage().as_ref());
        }
        self.closed = true;
    }

    /// The account, ready to be settled.
    fn account(&mut self) -> Option<Grant> {
        let mut grant = self.grant.take()?;
        grant.paced(self.held.pace());
        Some(grant)
    }

    /// A provider that has said everything, and then only pings, is not waited for.
    fn poll_grace(&mut self, cx: &mut Context<'_>, out: &mut Gather) {
        if !self.held.tap().is_complete() || self.linger.is_some() || self.closed {
            return;
        }
        let grace = self.grace.get_or_insert_with(|| Alarm::at(Instant::now() + LINGER));
        if grace.poll(cx).is_ready() {
            self.end_of_body(out);
        }
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.held.poll_end(cx).is_ready() {
            return Poll::Ready(());
        }
        self.linger.as_mut().map_or(Poll::Ready(()), |alarm| alarm.poll(cx))
    }
}

impl Drop for RelayBody {
    /// A client that leaves has still caused what the provider has counted so far.
    fn drop(&mut self) {
        let usage = self.held.tap().usage();
        if let Some(mut grant) = self.account()
            && let Some(usage) = usage
        {
            grant.record().take_usage(&usage);
        }
    }
}

impl Body for RelayBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let mut out = Gather::default();
        while !this.closed && this.linger.is_none() {
            match this.held.poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok((event, seen)))) => {
                    if let Some(grant) = this.grant.as_mut() {
                        grant.first_content();
                    }
                    this.take(event, &seen, &mut out);
                }
                Poll::Ready(Some(Err(failure))) => this.fail(failure, &mut out),
                Poll::Ready(None) => this.end_of_body(&mut out),
            }
        }
        this.poll_grace(cx, &mut out);
        if let Some(chunk) = out.take() {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if this.linger.is_some() && !this.closed {
            std::task::ready!(this.poll_linger(cx));
            this.closed = true;
        }
        if this.closed { Poll::Ready(None) } else { Poll::Pending }
    }
}

/// What SDKs wait for at the end of a stream.
fn terminator(dialect: Dialect) -> &'static [u8] {
    match dialect {
        Dialect::OpenAiChat | Dialect::CohereChat => b"data: [DONE]\n\n",
        Dialect::AnthropicMessages => b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        // The end of the body is the end; the last event of Responses is the response itself, for which nothing stands, and the
        // last of Bedrock what it cost, which nobody but the provider knows.
        Dialect::OpenAiResponses | Dialect::Gemini | Dialect::BedrockConverse | Dialect::Predictions => b"",
    }
}

/// A whole reply, as it came but for `extra_fields` where the dialect has them.
pub fn whole(dialect: Dialect, body: Bytes, losses: &Losses, grant: &Grant) -> Bytes {
    if !dialect.carries_annex() {
        return body;
    }
    with_annex(&body, |out| annex::write(out, grant, losses, None))
}

/// The same JSON object (or event around one) with `extra_fields` as its last field, which `annex` writes.
pub fn with_annex(body: &Bytes, annex: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let Some(end) = memchr::memrchr(b'}', body) else { return body.clone() };
    let (head, tail) = body.split_at(end);
    let empty = head.trim_ascii_end().ends_with(b"{");
    let mut out = Vec::with_capacity(body.len() + annex::USUAL);
    out.extend_from_slice(head);
    out.extend_from_slice(if empty { b"\"extra_fields\":" } else { b",\"extra_fields\":" });
    annex(&mut out);
    out.extend_from_slice(tail);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_annex_is_the_last_field_of_a_body_or_an_event() {
        for (body, want) in [
            (r#"{"a":{}}"#, r#"{"a":{},"extra_fields":{"x":1}}"#),
            ("{}", r#"{"extra_fields":{"x":1}}"#),
            ("data: {\"a\":1}\n\n", "data: {\"a\":1,\"extra_fields\":{\"x\":1}}\n\n"),
        ] {
            assert_eq!(with_annex(&Bytes::from(body), |out| out.extend_from_slice(br#"{"x":1}"#)), want);
        }
    }
}
