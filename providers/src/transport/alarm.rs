//! A timer that is looked at far more often than it rings.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A [`Sleep`] that knows who waits for it. Polled again by the same task it is one glance at the timer, where a `Sleep` would
/// register its waker each time: a stream does this for every chunk.
#[derive(Debug)]
pub struct Alarm {
    sleep: Pin<Box<Sleep>>,
    waiting: Option<Waker>,
}

impl Alarm {
    pub fn at(deadline: Instant) -> Self {
        Self { sleep: Box::pin(sleep_until(deadline)), waiting: None }
    }

    /// Sets it anew, whether it has rung or not.
    pub fn reset(&mut self, deadline: Instant) {
        self.waiting = None;
        self.sleep.as_mut().reset(deadline);
    }

    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let known = self.waiting.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if known && !self.sleep.is_elapsed() {
            return Poll::Pending;
        }
        self.waiting = Some(cx.waker().clone());
        ready!(self.sleep.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rings_for_whoever_polled_last_and_again_after_a_reset() {
        let start = Instant::now();
        let mut alarm = Alarm::at(start + Duration::from_secs(1));
        // Another task's waker first: the one that counts is the last.
        assert!(alarm.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        poll_fn(|cx| {
            let first = alarm.poll(cx);
            if first.is_pending() { alarm.poll(cx) } else { first }
        })
        .await;
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        alarm.reset(start + Duration::from_secs(3));
        poll_fn(|cx| alarm.poll(cx)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(3));
    }
}
