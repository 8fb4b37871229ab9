//! How many requests one provider works on at a time, and how many may wait for that.
//!
//! There is no worker pool: a request runs where it is and holds a [`Permit`], which *is* its slot. Dropping the permit frees
//! the slot, and dropping a waiting `enter` gives up its place, so a client that leaves costs nothing. Slots are handed out
//! in the order of arrival.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::denied::Denied;

/// The slots and the waiting room of one provider.
#[derive(Debug)]
pub struct Queue {
    provider: Arc<str>,
    slots: Arc<Semaphore>,
    concurrency: usize,
    buffer: usize,
    drop_excess: bool,
    waiting: AtomicUsize,
    dropped: AtomicU64,
}

/// A slot at a provider, until it is dropped.
#[derive(Debug)]
#[must_use = "dropping the permit gives the slot back"]
pub struct Permit {
    _slot: OwnedSemaphorePermit,
}

/// A place in the waiting room, until it is dropped.
struct Place<'a>(&'a AtomicUsize);

// === impl Queue ===

impl Queue {
    /// `concurrency` slots (at least one) and room for `buffer` waiting requests. What does not fit is refused if
    /// `drop_excess`, and otherwise waits all the same: until a slot is free, the caller leaves, or the queue closes.
    pub fn new(provider: Arc<str>, concurrency: usize, buffer: usize, drop_excess: bool) -> Self {
        let concurrency = concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            provider,
            slots: Arc::new(Semaphore::new(concurrency)),
            concurrency,
            buffer,
            drop_excess,
            waiting: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Waits for a slot. Cancel-safe; does not allocate when a slot is free.
    ///
    /// # Errors
    /// [`Denied::QueueFull`] at once when the waiting room is full and excess is dropped, [`Denied::ShuttingDown`] when the
    /// queue is closed, now or while waiting.
    pub async fn enter(&self) -> Result<Permit, Denied> {
        match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(slot) => return Ok(Permit { _slot: slot }),
            Err(TryAcquireError::Closed) => return Err(Denied::ShuttingDown),
            Err(TryAcquireError::NoPermits) => {}
        }
        let _place = self.take_place()?;
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| Denied::ShuttingDown)?;
        Ok(Permit { _slot: slot })
    }

    /// Lets nobody in any more and sends the waiting away. Permits that are out stay valid. Only for shutting down: a queue
    /// that is replaced by a new configuration should be left to drain instead.
    pub fn close(&self) {
        self.slots.close();
    }

    /// Slots taken now.
    pub fn in_use(&self) -> usize {
        self.concurrency.saturating_sub(self.slots.available_permits())
    }

    /// Requests waiting now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Requests refused since the start because the waiting room was full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Counting and checking are one step, so that a burst cannot overfill the room.
    fn take_place(&self) -> Result<Place<'_>, Denied> {
        let room = if self.drop_excess { self.buffer } else { usize::MAX };
        let taken = self.waiting.try_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            (waiting < room).then_some(waiting.saturating_add(1))
        });
        if taken.is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return Err(Denied::QueueFull { provider: self.provider.to_string() });
        }
        Ok(Place(&self.waiting))
    }
}

// === impl Place ===

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use proptest::prelude::*;

    use super::*;

    type Entering<'a> = Pin<Box<dyn Future<Output = Result<Permit, Denied>> + 'a>>;

    fn queue(concurrency: usize, buffer: usize, drop_excess: bool) -> Queue {
        Queue::new(Arc::from("openai"), concurrency, buffer, drop_excess)
    }

    /// Polls once: no clock and no scheduler, so each step of a test is exactly one step of the queue.
    fn poll(entering: &mut Entering<'_>) -> Poll<Result<Permit, Denied>> {
        entering.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    fn start(queue: &Queue) -> (Entering<'_>, Poll<Result<Permit, Denied>>) {
        let mut entering: Entering<'_> = Box::pin(queue.enter());
        let outcome = poll(&mut entering);
        (entering, outcome)
    }

    fn full() -> Denied {
        Denied::QueueFull { provider: "openai".into() }
    }

    #[test]
    fn excess_is_dropped_at_once_where_configured() {
        let queue = queue(1, 1, true);
        let Poll::Ready(Ok(permit)) = start(&queue).1 else { panic!("a free slot is given at once") };
        let (mut waiter, outcome) = start(&queue);
        assert!(outcome.is_pending());
        assert_eq!((queue.in_use(), queue.waiting()), (1, 1));
        assert!(matches!(start(&queue).1, Poll::Ready(Err(denied)) if denied == full()));
        assert_eq!((queue.waiting(), queue.dropped()), (1, 1), "who was dropped does not wait");
        drop(permit);
        assert!(matches!(poll(&mut waiter), Poll::Ready(Ok(_))));
        drop(waiter);
        assert_eq!((queue.in_use(), queue.waiting()), (0, 0));
    }

    #[test]
    fn excess_waits_where_nothing_is_dropped() {
        let queue = queue(1, 1, false);
        let permit = start(&queue).1;
        let waiters: Vec<_> = (0..5).map(|_| start(&queue)).collect();
        assert!(waiters.iter().all(|(_, outcome)| outcome.is_pending()));
        assert_eq!((queue.waiting(), queue.dropped()), (5, 0));
        drop(waiters);
        assert_eq!(queue.waiting(), 0, "who leaves gives up the place");
        drop(permit);
        assert_eq!(queue.in_use(), 0);
    }

    #[test]
    fn a_waiter_that_leaves_does_not_take_the_slot_with_it() {
        let queue = queue(1, 9, true);
        let permit = start(&queue).1;
        let (first, _) = start(&queue);
        let (mut second, _) = start(&queue);
        drop(permit);
        drop(first);
        assert!(matches!(poll(&mut second), Poll::Ready(Ok(_))), "handed on, not lost");
    }

    #[test]
    fn slots_go_out_in_the_order_of_arrival() {
        let queue = queue(1, 9, true);
        let permit = start(&queue).1;
        let mut waiters: Vec<_> = (0..3).map(|_| start(&queue).0).collect();
        drop(permit);
        assert!(start(&queue).1.is_pending(), "a newcomer does not overtake");
        let ready: Vec<bool> = waiters.iter_mut().map(|waiter| poll(waiter).is_ready()).collect();
        assert_eq!(ready, [true, true, true], "each drops its permit at once, so the next gets it");
    }

    #[test]
    fn closing_sends_the_waiting_away_and_leaves_permits_valid() {
        let queue = queue(1, 9, true);
        let permit = start(&queue).1;
        let (mut waiter, _) = start(&queue);
        queue.close();
        assert!(matches!(poll(&mut waiter), Poll::Ready(Err(Denied::ShuttingDown))));
        assert!(matches!(start(&queue).1, Poll::Ready(Err(Denied::ShuttingDown))));
        assert_eq!((queue.in_use(), queue.waiting()), (1, 0));
        drop(permit);
        assert_eq!(queue.in_use(), 0);
    }

    #[test]
    fn absurd_sizes_are_made_usable() {
        assert!(start(&queue(0, 0, true)).1.is_ready());
        assert!(start(&queue(usize::MAX, usize::MAX, true)).1.is_ready());
    }

    /// One step of a random life of a queue; the number picks whom it concerns.
    #[derive(Clone, Debug)]
    enum Event {
        Enter,
        Release(usize),
        Leave(usize),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            3 => Just(Event::Enter),
            2 => any::<usize>().prop_map(Event::Release),
            1 => any::<usize>().prop_map(Event::Leave),
        ];
        prop::collection::vec(event, 0..60)
    }

    proptest! {
        #[test]
        fn slots_are_never_oversold_leaked_or_idle(
            concurrency in 1_usize..5, buffer in 0_usize..5, drop_excess: bool, events in events(),
        ) {
            let queue = queue(concurrency, buffer, drop_excess);
            let mut permits: Vec<Permit> = Vec::new();
            let mut waiters: Vec<Entering<'_>> = Vec::new();
            let mut dropped = 0;
            for event in events {
                match event {
                    Event::Enter => match start(&queue) {
                        (_, Poll::Ready(Ok(permit))) => permits.push(permit),
                        (_, Poll::Ready(Err(_))) => {
                            prop_assert!(drop_excess && waiters.len() == buffer);
                            dropped += 1;
                        }
                        (waiter, Poll::Pending) => waiters.push(waiter),
                    },
                    Event::Release(who) if !permits.is_empty() => drop(permits.swap_remove(who % permits.len())),
                    Event::Leave(who) if !waiters.is_empty() => drop(waiters.remove(who % waiters.len())),
                    Event::Release(_) | Event::Leave(_) => {}
                }
                waiters.retain_mut(|waiter| match poll(waiter) {
                    Poll::Ready(outcome) => { permits.extend(outcome); false }
                    Poll::Pending => true,
                });
                prop_assert_eq!(queue.in_use(), permits.len());
                prop_assert_eq!(queue.waiting(), waiters.len());
                prop_assert_eq!(queue.dropped(), dropped);
                prop_assert!(permits.len() <= concurrency);
                prop_assert!(!drop_excess || waiters.len() <= buffer);
                prop_assert!(waiters.is_empty() || permits.len() == concurrency, "someone waits beside a free slot");
            }
            waiters.clear();
            permits.clear();
            prop_assert_eq!((queue.in_use(), queue.waiting()), (0, 0));
        }
    }
}
