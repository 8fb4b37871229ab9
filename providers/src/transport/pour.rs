//! Requests whose body is still coming while they are sent.
//!
//! Such an exchange cannot be timed from its start: a client on a slow line may take longer to send than a provider may take to
//! answer. So the body says whose turn it is ([`Pace`]), and the timers count the provider's time only.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::time::{Instant, timeout_at};

use super::{Answer, Call, Transport, answer_of, fault, request_of};
use crate::Failure;

/// A body that is still coming. An error of it breaks the exchange off.
pub struct Live {
    pub body: UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>,
    pub pace: Arc<dyn Pace>,
}

/// Says whose turn it is in an exchange whose body is still coming.
pub trait Pace: Send + Sync {
    fn clock(&self) -> Clock;
}

/// The provider's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// It waits for more of the body.
    Stopped,
    /// It has had all there is since then.
    Since(Instant),
}

/// The body of a request.
pub(super) enum Sent {
    Whole(Full<Bytes>),
    Live(UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>),
}

impl Transport {
    /// The same as [`Transport::send`] with a body that is still coming, in place of the call's own.
    pub async fn pour(&self, call: Call, live: Live) -> Result<Answer, Box<Failure>> {
        let Some(peer) = call.uri.authority().cloned() else {
            return Err(fault::no_authority(&call.uri));
        };
        let Some(client) = self.mine() else { return Err(fault::no_authority(&call.uri)) };
        let timeouts = call.timeouts;
        let Live { body, pace } = live;
        let mut answer = client.request(request_of(call, |_| Sent::Live(body)));
        let (timer, limit) = timeouts.until_answer();
        let mut since = Instant::now();
        let response = loop {
            if let Ok(answered) = timeout_at(since + limit, &mut answer).await {
                break answered.map_err(|error| fault::of_send(&error, &peer, self.connect_timeout))?;
            }
            since = match pace.clock() {
                Clock::Stopped => Instant::now(),
                Clock::Since(later) if later > since => later,
                Clock::Since(_) => return Err(fault::timed_out(&peer, timer, limit)),
            };
        };
        if let Clock::Since(later) = pace.clock() {
            since = later;
        }
        answer_of(response, peer, timeouts, since)
    }
}

// === impl Sent ===

impl Sent {
    pub(super) fn whole(body: Bytes) -> Self {
        Self::Whole(Full::new(body))
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    #[inline]
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Live(body) => Pin::new(body).poll_frame(cx),
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Live(body) => body.is_end_stream(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Live(body) => body.size_hint(),
        }
    }
}

/// A body holds a conversation, which is not printed.
impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("clock", &self.pace.clock()).finish_non_exhaustive()
    }
}
