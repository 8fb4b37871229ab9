//! The body of an answer, under its timers.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::uri::Authority;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::fault::{self, Timer};
use super::{Alarm, Timeouts};
use crate::Failure;

/// The bytes of an answer as they come. Ends with a failure when it falls silent, takes too long or breaks; dropping it
/// cancels the exchange.
pub struct AnswerBody {
    /// `None` after a failure: the connection is given up at once, not when the caller gets round to it.
    incoming: Option<Incoming>,
    peer: Authority,
    watch: Watch,
    wrapping: Option<Box<Wrapping>>,
}

/// Is shown every piece of a body, and says whether that was the last.
type Lookout = Box<dyn FnMut(&Bytes) -> bool + Send>;

/// What is put around the bytes of a body, and lives as long as it does.
#[derive(Default)]
pub struct Wrapping {
    /// Comes first.
    pub ahead: Option<Bytes>,
    /// Not every server ends a body when there is nothing left to say.
    pub is_last: Option<Lookout>,
    /// Comes last, once it is known; nothing where it fails.
    pub behind: Option<Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>>,
}

/// The idle and the total timer on one [`Alarm`], which is made at the first silence and armed again only after it rang, so
/// that a chunk costs a store and not a trip to the timer wheel.
struct Watch {
    idle: Duration,
    total: Option<Deadline>,
    /// Since when there is nothing to read; `None` while bytes flow.
    quiet_since: Option<Instant>,
    alarm: Option<Alarm>,
}

#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    limit: Duration,
}

/// Longer than any process lives, and short enough to be added to any instant.
const FOREVER: Duration = Duration::from_hours(100 * 365 * 24);

// === impl AnswerBody ===

impl AnswerBody {
    pub(super) fn new(incoming: Incoming, peer: Authority, timeouts: Timeouts, started: Instant) -> Self {
        let total = timeouts.total.map(|limit| Deadline::after(started, limit));
        let watch = Watch { idle: timeouts.idle, total, quiet_since: None, alarm: None };
        Self { incoming: Some(incoming), peer, watch, wrapping: None }
    }

    /// A body with this around it. Dropping the body drops what is behind it, whether it came to that or not.
    #[must_use]
    pub fn wrapped(mut self, wrapping: Wrapping) -> Self {
        self.wrapping = Some(Box::new(wrapping));
        self
    }

    /// A body that is all here.
    pub(crate) fn here(whole: Bytes, peer: Authority, idle: Duration) -> Self {
        let watch = Watch { idle, total: None, quiet_since: None, alarm: None };
        let wrapping = Wrapping { ahead: Some(whole), ..Wrapping::default() };
        Self { incoming: None, peer, watch, wrapping: Some(Box::new(wrapping)) }
    }

    /// The whole body, if it is at most `cap` bytes long; otherwise an `Unreadable` failure that names the cap.
    pub async fn collect(mut self, cap: usize) -> Result<Bytes, Box<Failure>> {
        if usize::try_from(self.size_hint().lower()).is_ok_and(|announced| announced > cap) {
            return Err(fault::too_large(&self.peer, cap));
        }
        let mut whole = BytesMut::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
            let Ok(data) = frame?.into_data() else { continue };
            if data.len() > cap.saturating_sub(whole.len()) {
                return Err(fault::too_large(&self.peer, cap));
            }
            if whole.is_empty() && self.is_end_stream() {
                return Ok(data);
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }

    /// Gives the connection up behind the last piece.
    fn show(&mut self, frame: &Frame<Bytes>) {
        let Some(is_last) = self.wrapping.as_mut().and_then(|wrapping| wrapping.is_last.as_mut()) else { return };
        if frame.data_ref().is_some_and(is_last) {
            self.incoming = None;
        }
    }

    fn poll_behind(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Box<Failure>>>> {
        let Some(behind) = self.wrapping.as_mut().and_then(|wrapping| wrapping.behind.as_mut()) else {
            return Poll::Ready(None);
        };
        let last = std::task::ready!(behind.as_mut().poll(cx));
        self.incoming = None;
        self.wrapping = None;
        Poll::Ready(last.map(|last| Ok(Frame::data(last))))
    }

    fn fail(&mut self, failure: Box<Failure>) -> Poll<Option<Result<Frame<Bytes>, Box<Failure>>>> {
        self.incoming = None;
        self.wrapping = None;
        Poll::Ready(Some(Err(failure)))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Box<Failure>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Box<Failure>>>> {
        if let Some(ahead) = self.wrapping.as_mut().and_then(|wrapping| wrapping.ahead.take()) {
            return Poll::Ready(Some(Ok(Frame::data(ahead))));
        }
        let Some(incoming) = self.incoming.as_mut() else { return self.poll_behind(cx) };
        let rung = match Pin::new(incoming).poll_frame(cx) {
            Poll::Ready(None) => return self.poll_behind(cx),
            Poll::Ready(Some(Err(error))) => {
                let failure = fault::of_body(&error, &self.peer);
                return self.fail(failure);
            }
            Poll::Ready(Some(Ok(frame))) => match self.watch.progress() {
                None => {
                    self.show(&frame);
                    return Poll::Ready(Some(Ok(frame)));
                }
                rung => rung,
            },
            Poll::Pending => self.watch.poll_silence(cx),
        };
        match rung {
            None => Poll::Pending,
            Some((timer, limit)) => {
                let failure = fault::timed_out(&self.peer, timer, limit);
                self.fail(failure)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.wrapping.is_none() && self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.incoming {
            Some(incoming) if self.wrapping.is_none() => incoming.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

// === impl Watch ===

impl Deadline {
    fn after(start: Instant, limit: Duration) -> Self {
        Self { at: start + limit.min(FOREVER), limit }
    }
}

impl Watch {
    /// Bytes came. They still come too late after the total deadline: an endless fast stream is cut as well.
    fn progress(&mut self) -> Option<(Timer, Duration)> {
        self.quiet_since = None;
        let total = self.total?;
        (Instant::now() >= total.at).then_some((Timer::Total, total.limit))
    }

    /// Nothing to read: says which timer has rung, or makes sure that the task is woken when one may.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Option<(Timer, Duration)> {
        let quiet_since = *self.quiet_since.get_or_insert_with(Instant::now);
        let (timer, next) = self.next(quiet_since);
        let alarm = self.alarm.get_or_insert_with(|| Alarm::at(next.at));
        while alarm.poll(cx).is_ready() {
            if Instant::now() >= next.at {
                return Some((timer, next.limit));
            }
            // It was armed for an earlier silence, which bytes have ended since.
            alarm.reset(next.at);
        }
        None
    }

    fn next(&self, quiet_since: Instant) -> (Timer, Deadline) {
        let idle = Deadline::after(quiet_since, self.idle);
        match self.total {
            Some(total) if total.at < idle.at => (Timer::Total, total),
            _ => (Timer::Idle, idle),
        }
    }
}

impl fmt::Debug for Wrapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wrapping").field("ahead", &self.ahead).finish_non_exhaustive()
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerBody")
            .field("peer", &self.peer.host())
            .field("idle", &self.watch.idle)
            .finish_non_exhaustive()
    }
}
