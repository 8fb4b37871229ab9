//! Answers that are passed on as they come, whatever they are: JSON, sound, pictures, events that nobody here reads.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bifrost_providers::framing::Framing;
use bifrost_providers::mapped::{SOUND_IS_OVER, sound_event};
use bifrost_providers::reply::Usage;
use bifrost_providers::transport::AnswerBody;
use bifrost_providers::{Failure, Losses};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body, Frame};

use super::annex;
use super::answer::{Reply, ReplyBody, mark_stream};
use super::dispatch::Served;
use super::grant::Grant;
use super::refusal::Refusal;

/// A provider's answer.
#[derive(Debug)]
pub enum Passed {
    /// JSON, which is read for what it cost.
    Whole { content_type: Option<HeaderValue>, body: Bytes, usage: Option<Usage>, losses: Losses },
    /// Anything else, as it comes; or as events, where it is sound that is wanted so.
    Growing { content_type: Option<HeaderValue>, body: Box<AnswerBody>, as_events: bool },
}

impl Passed {
    /// At most `cap` bytes of JSON are taken.
    pub async fn read(headers: &HeaderMap, body: AnswerBody, cap: usize) -> Result<Self, Box<Failure>> {
        let content_type = headers.get(header::CONTENT_TYPE).cloned();
        let is_json = content_type.as_ref().is_none_or(|value| value.as_bytes().starts_with(b"application/json"));
        if is_json {
            return Ok(Self::Whole {
                content_type,
                body: body.collect(cap).await?,
                usage: None,
                losses: Losses::default(),
            });
        }
        Ok(Self::Growing { content_type, body: Box::new(body), as_events: false })
    }
}

/// The answer to the client. Where it grows, its account is settled at its end.
pub fn reply(served: Served, source: Passed, grant: Grant, losses: usize) -> Reply {
    let mut headers = served.headers.clone();
    annex::headers(&mut headers, &grant, losses);
    let status = served.status;
    let (content_type, body) = match source {
        Passed::Whole { content_type, body, .. } => {
            grant.succeed(None, None);
            (content_type, ReplyBody::Whole(body))
        }
        Passed::Growing { content_type, body, as_events } => {
            if as_events {
                mark_stream(&mut headers, Framing::Sse);
            }
            let body = Passing { body: Box::into_pin(body), served, grant: Some(grant), as_events };
            (content_type.filter(|_| !as_events), ReplyBody::Passed(Box::pin(body)))
        }
    };
    if let Some(content_type) = content_type {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    Reply { status, headers, body, problem: None }
}

/// A body on its way through. One that breaks off breaks off for the client too: nothing else would tell it.
struct Passing {
    body: Pin<Box<AnswerBody>>,
    /// Holds the place in the provider's queue.
    served: Served,
    grant: Option<Grant>,
    /// Ends with its last event.
    as_events: bool,
}

impl Body for Passing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        match ready!(this.body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Some(grant) = &mut this.grant {
                    grant.first_content();
                }
                let told = |sound: Bytes| if this.as_events { sound_event(&sound).into() } else { sound };
                Poll::Ready(Some(Ok(frame.map_data(told))))
            }
            Some(Err(failure)) => {
                let told = io::Error::other(failure.to_string());
                let (provider, upstream) = (this.served.provider.clone(), this.served.upstream);
                if let Some(grant) = this.grant.take() {
                    grant.fail(&Refusal::Failed { provider, upstream, failure }, None);
                }
                Poll::Ready(Some(Err(told)))
            }
            None => {
                if let Some(grant) = this.grant.take() {
                    grant.succeed(None, None);
                }
                let last = std::mem::take(&mut this.as_events).then(|| Frame::data(Bytes::from_static(SOUND_IS_OVER)));
                Poll::Ready(last.map(Ok))
            }
        }
    }
}
