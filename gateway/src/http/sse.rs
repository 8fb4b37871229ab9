//! Keeps a stream alive while nothing comes: comment pings, from the moment the request is accepted.
//!
//! An error before the first byte is an ordinary status, so the head of a stream waits for the engine; but not for longer than
//! one ping interval, because proxies on the way count silence too. After that the stream is open, and what happens is said
//! inside it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bifrost_providers::Dialect;
use bifrost_providers::dialect::WriterOptions;
use bifrost_providers::framing::Framing;
use bifrost_providers::transport::Alarm;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Body, Frame};
use tokio::time::Instant;

use super::batch::{Batch, Next};
use crate::engine::answer::{Reply, ReplyBody, StreamBody, mark_stream};

/// Silence after which a comment is sent. Load balancers cut at 60 s, some at 30 s.
pub const PING_AFTER: Duration = Duration::from_secs(15);

/// An answer in the making.
pub type Work = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// What the client speaks, and how it wants that cut into events.
pub type Client = (Dialect, Framing);

/// Waits for the head of a stream, or opens it.
pub async fn answer(client: Client, request_id: &str, mut work: Work, ping_after: Duration) -> Reply {
    // Without pings an open stream is no better than a silent one, and an error is better told by its status.
    let patience = client.1.ping().map_or(Duration::MAX, |_| ping_after);
    match tokio::time::timeout(patience, &mut work).await {
        Ok(Reply { body: ReplyBody::Events(body), status, headers, problem }) => {
            let paced = Paced::new(Stage::Flowing(body), client, ping_after);
            Reply { body: ReplyBody::Events(Box::pin(paced)), status, headers, problem }
        }
        Ok(whole) => whole,
        Err(_) => {
            let mut paced = Paced::new(Stage::Waiting(work), client, ping_after);
            paced.due = client.1.ping();
            Reply {
                status: StatusCode::OK,
                headers: opened(client.1, request_id),
                body: ReplyBody::Events(Box::pin(paced)),
                problem: None,
            }
        }
    }
}

fn opened(framing: Framing, request_id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    mark_stream(&mut headers, framing);
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", value);
    }
    headers
}

/// A stream with pings in its silences. Every chunk of the inner body ends with an event, so a ping never splits one.
struct Paced {
    stage: Stage,
    client: Client,
    every: Duration,
    /// When something was sent last. The timer is only moved when it rings, not for every chunk.
    last: Instant,
    alarm: Alarm,
    /// A ping that is owed at once.
    due: Option<&'static [u8]>,
    batch: Batch,
}

enum Stage {
    /// The engine has not answered yet; the head is already sent.
    Waiting(Work),
    Flowing(StreamBody),
    Over,
}

impl Paced {
    fn new(stage: Stage, client: Client, every: Duration) -> Self {
        let last = Instant::now();
        Self { stage, client, every, last, alarm: Alarm::at(last + every), due: None, batch: Batch::default() }
    }

    /// The next write's content; see [`super::batch`].
    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.batch.is_waiting() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        while !self.batch.is_full() {
            match self.poll_content(cx) {
                Poll::Ready(Some(content)) => self.batch.push(content),
                Poll::Ready(None) => break,
                Poll::Pending => match self.batch.at_rest() {
                    Next::Send => break,
                    Next::Idle => return self.poll_ping(cx).map(Some),
                    Next::Again => {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                },
            }
        }
        Poll::Ready(self.batch.take())
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match &mut self.stage {
                Stage::Waiting(work) => {
                    let reply = std::task::ready!(work.as_mut().poll(cx));
                    if let Some(last) = self.open(reply) {
                        return Poll::Ready(Some(last));
                    }
                }
                Stage::Flowing(body) => {
                    return match std::task::ready!(body.as_mut().poll_frame(cx)) {
                        Some(Ok(frame)) => match frame.into_data() {
                            Ok(data) => Poll::Ready(Some(data)),
                            Err(_trailers) => continue,
                        },
                        None => Poll::Ready(None),
                    };
                }
                Stage::Over => return Poll::Ready(None),
            }
        }
    }

    /// The engine answered after the head was sent: a stream flows, a refusal becomes the one error event.
    fn open(&mut self, reply: Reply) -> Option<Bytes> {
        if let ReplyBody::Events(body) = reply.body {
            self.stage = Stage::Flowing(body);
            return None;
        }
        self.stage = Stage::Over;
        let problem = reply.problem?;
        let (dialect, framing) = self.client;
        let mut event = Vec::new();
        dialect.codec().writer(WriterOptions { framing, ..WriterOptions::default() }).fail(&problem, &mut event);
        Some(Bytes::from(event))
    }

    /// A ping, once one is due; never where the framing has none.
    fn poll_ping(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let Some(ping) = self.client.1.ping() else { return Poll::Pending };
        while self.alarm.poll(cx).is_ready() {
            let quiet = self.last.elapsed();
            let due = quiet >= self.every;
            let rest = if due { self.every } else { self.every.saturating_sub(quiet) };
            self.alarm.reset(Instant::now() + rest);
            if due {
                return Poll::Ready(Bytes::from_static(ping));
            }
        }
        Poll::Pending
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if let Some(ping) = this.due.take() {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(ping)))));
        }
        let content = std::task::ready!(this.poll_batch(cx));
        this.last = Instant::now();
        Poll::Ready(content.map(|data| Ok(Frame::data(data))))
    }
}

#[cfg(test)]
mod tests {
    use bifrost_providers::dialect::Problem;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::engine::pump::Pump;

    async fn text(reply: Reply) -> String {
        let ReplyBody::Events(body) = reply.body else { panic!("not a stream") };
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    fn stream(delay: Duration, then: Duration) -> Work {
        Box::pin(async move {
            tokio::time::sleep(delay).await;
            let body = Pump::new(move |out| async move {
                out.send(Bytes::from_static(b"data: 1\n\n")).await;
                tokio::time::sleep(then).await;
                out.send(Bytes::from_static(b"data: 2\n\n")).await;
            });
            Reply {
                status: StatusCode::OK,
                headers: HeaderMap::new(),
                body: ReplyBody::Events(Box::pin(body)),
                problem: None,
            }
        })
    }

    const EVERY: Duration = Duration::from_millis(40);

    #[tokio::test]
    async fn a_quick_stream_has_no_pings() {
        let reply =
            answer((Dialect::OpenAiChat, Framing::Sse), "r", stream(Duration::ZERO, Duration::ZERO), EVERY).await;
        assert_eq!(text(reply).await, "data: 1\n\ndata: 2\n\n");
    }

    #[tokio::test]
    async fn silence_before_and_inside_a_stream_is_filled() {
        let reply = answer((Dialect::OpenAiChat, Framing::Sse), "r", stream(EVERY * 2, EVERY * 2), EVERY).await;
        assert_eq!(reply.status, StatusCode::OK);
        let text = text(reply).await;
        let (before, after) = text.split_once("data: 1\n\n").unwrap();
        assert!(before.starts_with(": ping\n\n"), "{text}");
        assert!(after.starts_with(": ping\n\n"), "{text}");
        assert!(after.ends_with("data: 2\n\n"), "{text}");
    }

    #[tokio::test]
    async fn a_late_refusal_is_one_error_event() {
        let work: Work = Box::pin(async {
            tokio::time::sleep(EVERY * 2).await;
            let problem = Problem {
                status: StatusCode::BAD_GATEWAY,
                kind: "upstream_unavailable".into(),
                code: None,
                param: None,
                message: "down".into(),
                annex: None,
            };
            Reply {
                status: StatusCode::BAD_GATEWAY,
                headers: HeaderMap::new(),
                body: ReplyBody::Whole(Bytes::from_static(b"{}")),
                problem: Some(Box::new(problem)),
            }
        });
        let text = text(answer((Dialect::OpenAiChat, Framing::Sse), "r", work, EVERY).await).await;
        let last = text.trim_end().rsplit("\n\n").next().unwrap();
        assert!(last.starts_with("data: ") && last.contains("upstream_unavailable"), "{text}");
        assert!(!text.contains("[DONE]"));
    }
}
