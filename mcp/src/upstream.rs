//! The supervisor of one tool server: `Connecting`, `Ready` (its tools are listed), `Failed` until it tries again.
//!
//! It connects, lists, and listens for changes; when the connection breaks it connects again, with growing pauses. The
//! tools of a server that is gone stay in the catalog, so that a model's view does not flicker and calls get a reason.

mod answer;
mod http;
mod lines;
mod link;
mod sse;
mod stdio;

use std::{
    fmt,
    path::PathBuf,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use http::AddressRule;
use link::{Events, Link, Running};

use crate::{
    catalog::Rejected,
    hub::Board,
    settings::{Era, ServerSettings, TransportSettings},
    source::{Listing, SourceError, ToolSource},
};

/// The pause before the second attempt; it doubles up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// A connection that lasted this long starts over with [`FIRST_PAUSE`].
const HEALTHY: Duration = Duration::from_mins(1);
/// How long a starting server keeps the next one waiting: most are up by then, and those that hang must not block all.
const HEAD_START: Duration = Duration::from_secs(5);
/// Change announcements come in bursts; one listing answers all that arrive this close together.
const COALESCE: Duration = Duration::from_millis(100);
/// A server without tools is asked again soon, because many say so while they still start; doubles like the pauses.
const EMPTY_AGAIN: Duration = Duration::from_secs(5);
/// Stands for no listing without a reason: an instant without end does not exist.
const NEVER: Duration = Duration::from_hours(365 * 24);
/// How long closing a connection may take; a stdio server gets two grace periods within it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(6);

/// A tool server and how it is doing.
#[derive(Debug, Clone)]
pub struct ServerState {
    pub name: Arc<str>,
    pub state: State,
    /// Listed by the server and not offered, with the reasons.
    pub rejected: Vec<Rejected>,
}

/// How a tool server is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Starting, shaking hands or listing.
    Connecting,
    Ready {
        tools: usize,
        /// Since when this connection is up.
        since: SystemTime,
        /// Why the last listing failed; the tools are those of the listing before.
        list_error: Option<String>,
    },
    Failed {
        reason: String,
        retry_at: SystemTime,
        /// Tools known from before, still offered; calls are answered with the reason.
        stale_tools: usize,
    },
    Disabled,
}

/// What all supervisors share.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) address_allowed: AddressRule,
    /// Wraps stdio servers so that they die with us.
    pub(crate) guard: Option<PathBuf>,
    /// A message of a tool server beyond this is not read.
    pub(crate) max_message_bytes: usize,
    /// Bounds how many servers start at the same time.
    pub(crate) starting: Arc<Semaphore>,
    pub(crate) tracker: TaskTracker,
    pub(crate) cancel: CancellationToken,
    pub(crate) board: Arc<Board>,
}

/// One tool server, connected or not.
#[derive(Debug)]
pub(crate) struct Upstream {
    name: Arc<str>,
    settings: ServerSettings,
    link: ArcSwapOption<Link>,
    /// Why there is no link.
    reason: Mutex<String>,
    /// Rung when the tools may have changed.
    changed: Arc<Notify>,
    /// Rung when the connection may be broken.
    doubt: Arc<Notify>,
}

/// The pauses between attempts.
struct Pauses {
    next: Duration,
}

/// When to list again although nothing was announced.
struct Rhythm {
    interval: Option<Duration>,
    empty: Duration,
}

// === impl Upstream ===

impl Upstream {
    pub(crate) fn new(settings: ServerSettings) -> Self {
        Self {
            name: Arc::from(settings.name.as_str()),
            settings,
            link: ArcSwapOption::empty(),
            reason: Mutex::new("it is still starting".to_owned()),
            changed: Arc::default(),
            doubt: Arc::default(),
        }
    }

    /// The living connection, or why there is none.
    pub(crate) fn source(&self) -> Result<Arc<dyn ToolSource>, SourceError> {
        match self.link.load_full() {
            Some(link) => Ok(link),
            None => Err(SourceError::Unavailable(format!(
                "the tool server '{}' is not connected: {}",
                self.name,
                self.reason.lock()
            ))),
        }
    }

    /// Keeps the server connected until the hub closes.
    pub(crate) async fn run(self: Arc<Self>, around: Surroundings) {
        let cancel = around.cancel.clone();
        let mut pauses = Pauses { next: FIRST_PAUSE };
        let mut era = self.settings.era;
        loop {
            around.board.report(&self.name, &State::Connecting);
            let Some(connected) = cancel.run_until_cancelled(self.connect(era, &around)).await else { return };
            let reason = match connected {
                Ok((running, listing)) => {
                    era = self.remembered(link::negotiated(&running));
                    let up = Instant::now();
                    let Some(reason) = self.serve(running, listing, &around).await else { return };
                    pauses.reset_after(up.elapsed());
                    reason
                }
                Err(reason) => {
                    era = self.other(era);
                    reason
                }
            };
            let pause = pauses.take();
            self.fail(reason, pause, &around.board);
            if cancel.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    async fn connect(&self, era: Era, around: &Surroundings) -> Result<(Running, Listing), String> {
        let permit = around.starting.acquire().await.map_err(|_| "the hub is closed".to_owned())?;
        let bound = self.settings.connect_timeout;
        let connecting = async {
            let events = Events { changed: Arc::clone(&self.changed) };
            let running = Box::pin(link::connect(&self.settings, era, events, around)).await?;
            let link = self.link_to(&running, around);
            let listing = link.list().await.map_err(|error| format!("listing its tools failed: {error}"))?;
            Ok((running, listing))
        };
        let mut connecting = pin!(timeout(bound, connecting));
        let early = timeout(HEAD_START, &mut connecting).await;
        drop(permit);
        let connected = match early {
            Ok(connected) => connected,
            Err(_) => connecting.await,
        };
        connected.unwrap_or_else(|_| Err(format!("connecting took longer than {bound:?}")))
    }

    fn link_to(&self, running: &Running, around: &Surroundings) -> Link {
        Link::new(running, self.settings.transport.url(), &self.doubt, around)
    }

    /// Serves calls until the connection ends, which gives a reason, or the hub closes, which gives none.
    async fn serve(&self, running: Running, listing: Listing, around: &Surroundings) -> Option<String> {
        let link = Arc::new(self.link_to(&running, around));
        let since = SystemTime::now();
        let mut rhythm = Rhythm { interval: self.settings.sync_interval, empty: EMPTY_AGAIN };
        let mut relist_at = Instant::now() + rhythm.after(&listing);
        self.link.store(Some(Arc::clone(&link)));
        around.board.shelve(&self.name, listing);
        self.ready(since, None, &around.board);
        let stop = running.cancellation_token();
        let mut ended = Box::pin(running.waiting());
        let mut watching = pin!(link.watch(&self.changed));
        let reason = loop {
            tokio::select! {
                biased;
                () = around.cancel.cancelled() => break None,
                _ = &mut ended => break Some("the connection ended".to_owned()),
                () = &mut watching => {}
                () = self.doubt.notified() => {}
                () = self.changed.notified() => tokio::time::sleep(COALESCE).await,
                () = sleep_until(relist_at) => {}
            }
            let Some(listed) = around.cancel.run_until_cancelled(link.list()).await else { break None };
            match listed {
                Ok(listing) => {
                    relist_at = Instant::now() + rhythm.after(&listing);
                    around.board.shelve(&self.name, listing);
                    self.ready(since, None, &around.board);
                }
                Err(SourceError::Transport(reason)) => break Some(reason),
                Err(error) => {
                    relist_at = Instant::now() + rhythm.after_failure();
                    self.ready(since, Some(error.to_string()), &around.board);
                }
            }
        };
        if let Some(reason) = &reason {
            self.reason.lock().clone_from(reason);
        }
        self.link.store(None);
        stop.cancel();
        let closing = async move { drop(timeout(CLOSE_TIMEOUT, ended).await) };
        if reason.is_none() {
            closing.await;
        } else {
            // The next attempt need not wait for the old process to end.
            around.tracker.spawn(closing);
        }
        reason
    }

    fn ready(&self, since: SystemTime, list_error: Option<String>, board: &Board) {
        if let Some(error) = &list_error {
            tracing::warn!(
                server.name = &*self.name,
                error,
                "listing the tools of a tool server failed, the old ones stay"
            );
        }
        board.report(&self.name, &State::Ready { tools: board.tools(&self.name), since, list_error });
    }

    fn fail(&self, reason: String, pause: Duration, board: &Board) {
        self.reason.lock().clone_from(&reason);
        let stale_tools = board.tools(&self.name);
        board.report(&self.name, &State::Failed { reason, retry_at: SystemTime::now() + pause, stale_tools });
    }

    /// What worked is tried first next time: it saves the probe, and ten seconds with servers that ignore it.
    fn remembered(&self, negotiated: Era) -> Era {
        if self.settings.era == Era::Auto { negotiated } else { self.settings.era }
    }

    /// Some servers die of the probe for the modern era, and a server may have been replaced by one of another era: so
    /// after a failure the other way is tried. Only where the operator left the choice to us.
    fn other(&self, tried: Era) -> Era {
        match (self.settings.era, tried) {
            (Era::Auto, Era::Auto) if matches!(self.settings.transport, TransportSettings::Stdio { .. }) => Era::Legacy,
            (configured, _) => configured,
        }
    }
}

// === impl Pauses ===

impl Pauses {
    fn take(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(LAST_PAUSE);
        pause
    }

    fn reset_after(&mut self, up: Duration) {
        if up >= HEALTHY {
            self.next = FIRST_PAUSE;
        }
    }
}

// === impl Rhythm ===

impl Rhythm {
    fn after(&mut self, listing: &Listing) -> Duration {
        if listing.tools.is_empty() {
            return self.after_failure();
        }
        self.empty = EMPTY_AGAIN;
        self.interval.unwrap_or(NEVER)
    }

    fn after_failure(&mut self) -> Duration {
        let pause = self.empty;
        self.empty = (pause * 2).min(self.interval.unwrap_or(LAST_PAUSE).max(EMPTY_AGAIN));
        pause
    }
}

// === impl Surroundings ===

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("guard", &self.guard).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute_and_start_over_after_a_healthy_one() {
        let mut pauses = Pauses { next: FIRST_PAUSE };
        let taken: Vec<u64> = (0..7).map(|_| pauses.take().as_secs()).collect();
        assert_eq!(taken, [1, 2, 4, 8, 16, 30, 30]);
        pauses.reset_after(Duration::from_secs(59));
        assert_eq!(pauses.take().as_secs(), 30);
        pauses.reset_after(HEALTHY);
        assert_eq!(pauses.take().as_secs(), 1);
    }

    #[test]
    fn a_server_without_tools_is_asked_again_soon() {
        let mut rhythm = Rhythm { interval: Some(Duration::from_mins(10)), empty: EMPTY_AGAIN };
        let waits: Vec<u64> = (0..9).map(|_| rhythm.after(&Listing::default()).as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
    }
}
