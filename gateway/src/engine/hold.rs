//! Holds a stream back until its first real content.
//!
//! Until then nothing has reached the client, so a 200 whose first event is an error, or a stream that dies before it says
//! anything, is a failure like any other and the request can still go elsewhere.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bifrost_providers::failure::FailureKind;
use bifrost_providers::framing::{Event, Splitter, Unframed};
use bifrost_providers::tap::{Seen, Tap};
use bifrost_providers::transport::AnswerBody;
use bifrost_providers::{Dialect, Failure};
use http_body::Body as _;

/// The longest single event that is taken from a provider: generous for an image in one event, and a bound.
const MAX_EVENT_BYTES: usize = 16 << 20;
/// What may come before content (pings, role chunks) until the stream counts as broken.
const MAX_PREAMBLE_EVENTS: usize = 10_000;

/// The next event and what it is; an error event is a failure.
pub type Next = Option<Result<(Event, Seen), Box<Failure>>>;

/// A provider's stream, from its first event, with the part already read.
#[derive(Debug)]
pub struct Held {
    body: Pin<Box<AnswerBody>>,
    splitter: Splitter,
    tap: Tap,
    early: VecDeque<(Event, Seen)>,
    ended: bool,
    /// How long the provider may say nothing of the answer. The transport's own timer counts every byte, so that pings would
    /// keep a dead stream alive; this one does not count them.
    patience: Duration,
    progress: Instant,
    /// Pieces of content so far, and when the first and the latest came.
    pieces: u32,
    first: Instant,
    latest: Instant,
}

/// How the pieces of a stream's content followed each other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// One less than there are pieces.
    pub gaps: u32,
    /// All gaps together.
    pub time: Duration,
}

impl Held {
    /// Reads until the first real content.
    pub async fn open(body: AnswerBody, dialect: Dialect, patience: Duration) -> Result<Self, Box<Failure>> {
        let now = Instant::now();
        let mut held = Self {
            body: Box::pin(body),
            splitter: dialect.framing().splitter(MAX_EVENT_BYTES),
            tap: Tap::new(dialect),
            early: VecDeque::new(),
            ended: false,
            patience,
            progress: now,
            pieces: 0,
            first: now,
            latest: now,
        };
        let mut early = VecDeque::new();
        loop {
            let Some(next) = held.next().await else {
                return Err(Box::new(Failure::new(FailureKind::Broken, "the stream ended before it said anything")));
            };
            let (event, seen) = next?;
            if matches!(seen, Seen::Terminal) && !held.tap.has_content() && held.tap.finish().is_none() {
                return Err(Box::new(Failure::new(FailureKind::Broken, "the stream says only that it is over")));
            }
            let committed = !matches!(seen, Seen::Preamble);
            early.push_back((event, seen));
            if committed {
                break;
            }
            if early.len() > MAX_PREAMBLE_EVENTS {
                return Err(Box::new(Failure::new(FailureKind::Unreadable, "the stream says nothing but preamble")));
            }
        }
        held.early = early;
        Ok(held)
    }

    pub fn tap(&self) -> &Tap {
        &self.tap
    }

    pub fn pace(&self) -> Pace {
        Pace { gaps: self.pieces.saturating_sub(1), time: self.latest.duration_since(self.first) }
    }

    /// The next event, or `None` at the end of the body. An error event is an `Err`.
    pub async fn next(&mut self) -> Next {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if let Some(early) = self.early.pop_front() {
            return Poll::Ready(Some(Ok(early)));
        }
        loop {
            match self.splitter.next() {
                Some(event) => return Poll::Ready(Some(self.cut(event))),
                None if self.ended => return Poll::Ready(None),
                None => {}
            }
            match ready!(self.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(chunk) = frame.into_data() {
                        self.splitter.push(chunk);
                    }
                }
                Some(Err(failure)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(failure)));
                }
                None => {
                    self.ended = true;
                    return Poll::Ready(self.splitter.finish().map(|event| self.cut(event)));
                }
            }
        }
    }

    /// Waits for the end of the body and throws the rest away.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(frame) = ready!(self.body.as_mut().poll_frame(cx)) {
            if frame.is_err() {
                break;
            }
        }
        Poll::Ready(())
    }

    #[inline]
    fn cut(&mut self, event: Result<Event, Unframed>) -> Result<(Event, Seen), Box<Failure>> {
        let event = event.map_err(|why| {
            let kind = match why {
                Unframed::Cut => FailureKind::Broken,
                Unframed::Overlong { .. } | Unframed::Damaged(_) => FailureKind::Unreadable,
            };
            Box::new(Failure::new(kind, why.to_string()))
        })?;
        self.taste(event)
    }

    fn taste(&mut self, event: Event) -> Result<(Event, Seen), Box<Failure>> {
        if !is_ping(&event) {
            self.progress = Instant::now();
        } else if self.progress.elapsed() > self.patience {
            let message = format!("nothing but pings for longer than the stream idle timeout of {:?}", self.patience);
            return Err(Box::new(Failure::new(FailureKind::IdleTimeout, message)));
        }
        match self.tap.event(&event) {
            Seen::Error(failure) => Err(failure),
            seen => {
                if matches!(seen, Seen::Content) {
                    self.count();
                }
                Ok((event, seen))
            }
        }
    }

    /// One more piece of content, which came just now.
    fn count(&mut self) {
        self.latest = self.progress;
        if self.pieces == 0 {
            self.first = self.latest;
        }
        self.pieces = self.pieces.saturating_add(1);
    }
}

/// A comment, or Anthropic's event for the same purpose.
fn is_ping(event: &Event) -> bool {
    event.is_comment() || event.frame.event.as_deref() == Some(b"ping")
}
