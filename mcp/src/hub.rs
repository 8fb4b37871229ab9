//! [`Hub`]: owns every tool server, publishes the catalog, and runs calls.

use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    call::{CallError, CallLimits, Failed, Outcome, parse_arguments},
    catalog::{Catalog, Shelf, Tool},
    settings::{LocalSource, ServerSettings},
    source::{Answer, Listing, SourceError, ToolSource},
    upstream::{ServerState, State, Surroundings, Upstream},
};

/// Time to close all servers, which happens in parallel; a stdio server may use up two grace periods.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(8);

/// Hears of calls and state changes, for metrics. Must not block.
pub trait Observer: fmt::Debug + Send + Sync {
    /// A call ended, well or with a [`CallError::as_str`] label.
    fn call_finished(&self, server: &str, tool: &str, duration: Duration, error: Option<&'static str>);
    /// A tool server is in another state than before.
    fn state_changed(&self, server: &str, state: &State);
}

/// Everything a hub needs.
pub struct HubSettings {
    pub servers: Vec<ServerSettings>,
    /// Tools of the embedding program.
    pub sources: Vec<LocalSource>,
    /// Says whether a tool server may be dialled at this address.
    pub address_allowed: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// A program whose `tool-guard -- COMMAND ARGS...` runs [`crate::guard::run`]; stdio servers start below it.
    pub guard: Option<PathBuf>,
    /// How many servers may start at the same time.
    pub spawn_concurrency: usize,
    /// A message of a tool server over this many bytes is not read; its call fails with the size it had.
    pub max_message_bytes: usize,
    pub tracker: TaskTracker,
    pub cancel: CancellationToken,
    pub observer: Arc<dyn Observer>,
}

/// Why a hub could not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error("two tool servers are called '{0}'")]
    NameTaken(String),
    #[error("a tool server needs a name of printable ASCII without spaces, not '{0}'")]
    BadName(String),
}

/// Owns every tool server.
#[derive(Debug)]
pub struct Hub {
    board: Arc<Board>,
    runners: BTreeMap<Arc<str>, Runner>,
    observer: Arc<dyn Observer>,
    tracker: TaskTracker,
    cancel: CancellationToken,
}

/// What runs the tools of one name.
#[derive(Debug)]
enum Runner {
    Upstream(Arc<Upstream>),
    Local(Arc<dyn ToolSource>),
}

/// Where supervisors report to, and what everybody reads.
#[derive(Debug)]
pub(crate) struct Board {
    catalog: ArcSwap<Catalog>,
    entries: Mutex<BTreeMap<Arc<str>, Entry>>,
    /// Counts reports.
    reports: watch::Sender<u64>,
    observer: Arc<dyn Observer>,
}

#[derive(Debug)]
struct Entry {
    shelf: Shelf,
    state: State,
    /// It was ready, failed or disabled once.
    settled: bool,
}

// === impl Hub ===

impl Hub {
    /// Starts to connect all servers and returns at once; see [`Hub::settled`]. Must be called within a tokio runtime.
    pub fn start(settings: HubSettings) -> Result<Arc<Self>, StartError> {
        let board = Arc::new(Board::new(Arc::clone(&settings.observer)));
        // Its own group and token, so that closing the hub neither waits for nor cancels anything else.
        let (tracker, cancel) = (TaskTracker::new(), settings.cancel.child_token());
        let around = Surroundings {
            address_allowed: settings.address_allowed,
            guard: settings.guard,
            max_message_bytes: settings.max_message_bytes,
            starting: Arc::new(Semaphore::new(settings.spawn_concurrency.max(1))),
            tracker: tracker.clone(),
            cancel: cancel.clone(),
            board: Arc::clone(&board),
        };
        let mut runners = BTreeMap::new();
        let mut upstreams = Vec::new();
        for server in settings.servers {
            let name = board.add(Shelf::of_server(&server))?;
            let disabled = server.disabled;
            let upstream = Arc::new(Upstream::new(server));
            if !disabled {
                upstreams.push(Arc::clone(&upstream));
            }
            runners.insert(name, Runner::Upstream(upstream));
        }
        let mut locals = Vec::new();
        for local in settings.sources {
            let name = board.add(Shelf::of_local(&local))?;
            locals.push((Arc::clone(&name), Arc::clone(&local.source)));
            runners.insert(name, Runner::Local(local.source));
        }
        // Nothing starts before every name is known to be good.
        board.publish();
        for upstream in upstreams {
            tracker.spawn(upstream.run(around.clone()));
        }
        for (name, source) in locals {
            tracker.spawn(list_local(name, source, Arc::clone(&board)));
        }
        // The trunk's drain waits for this hub as a whole.
        let (whole, group) = (cancel.clone(), tracker.clone());
        settings.tracker.spawn(async move {
            whole.cancelled().await;
            group.close();
            group.wait().await;
        });
        Ok(Arc::new(Self { board, runners, observer: settings.observer, tracker, cancel }))
    }

    /// The tools known now. Load it once per request.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.board.catalog.load_full()
    }

    /// Returns when every server was ready or failed once, or when the time is over. True when all were.
    pub async fn settled(&self, bound: Duration) -> bool {
        let mut reports = self.board.reports.subscribe();
        let all = async { while !self.board.all_settled() && reports.changed().await.is_ok() {} };
        timeout(bound, all).await.is_ok()
    }

    /// How every server is doing, sorted by name.
    pub fn states(&self) -> Vec<ServerState> {
        self.board.states()
    }

    /// Runs a tool. Whether the caller may is [`crate::Selection`]'s question, asked before. Dropping the future cancels
    /// the call on the tool server as well.
    pub async fn call(&self, tool: &Tool, arguments: &str, limits: CallLimits) -> Outcome {
        let started = Instant::now();
        let answer = self.run(tool, arguments, limits).await;
        let outcome = Outcome::new(&tool.name, answer, limits.max_result_bytes, started.elapsed());
        let error = outcome.error.map(CallError::as_str);
        self.observer.call_finished(&tool.server, &tool.tool, outcome.duration, error);
        outcome
    }

    async fn run(&self, tool: &Tool, arguments: &str, limits: CallLimits) -> Result<Answer, Failed> {
        let arguments = Value::Object(parse_arguments(&tool.name, arguments)?);
        tool.definition.checker.check(&tool.name, &arguments).map_err(|complaint| Failed {
            error: CallError::Arguments,
            text: format!("the arguments of tool '{}' do not match its schema: {complaint}", tool.name),
        })?;
        let Value::Object(arguments) = arguments else { return Err(Failed::of_source(&tool.name, &gone())) };
        let source = self.source(&tool.server).map_err(|error| Failed::of_source(&tool.name, &error))?;
        let bound = limits.timeout.map_or(tool.call_timeout, |timeout| timeout.min(tool.call_timeout));
        match timeout(bound, source.call(&tool.tool, arguments)).await {
            Ok(answer) => answer.map_err(|error| Failed::of_source(&tool.name, &error)),
            Err(_) => Err(Failed::timed_out(&tool.name, bound)),
        }
    }

    fn source(&self, server: &str) -> Result<Arc<dyn ToolSource>, SourceError> {
        match self.runners.get(server) {
            Some(Runner::Upstream(upstream)) => upstream.source(),
            Some(Runner::Local(source)) => Ok(Arc::clone(source)),
            None => Err(gone()),
        }
    }

    /// Ends all connections and child processes, in parallel. Calls that still run fail.
    pub async fn close(&self) {
        self.cancel.cancel();
        self.tracker.close();
        if timeout(CLOSE_TIMEOUT, self.tracker.wait()).await.is_err() {
            tracing::warn!("some tool servers did not end in time");
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn gone() -> SourceError {
    SourceError::Unavailable("the tool server is not configured any more".to_owned())
}

async fn list_local(name: Arc<str>, source: Arc<dyn ToolSource>, board: Arc<Board>) {
    match source.list().await {
        Ok(listing) => {
            board.shelve(&name, listing);
            let tools = board.tools(&name);
            board.report(&name, &State::Ready { tools, since: SystemTime::now(), list_error: None });
        }
        Err(error) => {
            let reason = error.to_string();
            board.report(&name, &State::Failed { reason, retry_at: SystemTime::now(), stale_tools: 0 });
        }
    }
}

// === impl Board ===

impl Board {
    fn new(observer: Arc<dyn Observer>) -> Self {
        Self { catalog: ArcSwap::default(), entries: Mutex::default(), reports: watch::Sender::new(0), observer }
    }

    fn add(&self, part: Shelf) -> Result<Arc<str>, StartError> {
        let name = Arc::clone(&part.server);
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(StartError::BadName(name.to_string()));
        }
        let state = if part.disabled { State::Disabled } else { State::Connecting };
        let entry = Entry { settled: part.disabled, shelf: part, state };
        match self.entries.lock().insert(Arc::clone(&name), entry) {
            None => Ok(name),
            Some(_) => Err(StartError::NameTaken(name.to_string())),
        }
    }

    /// Takes in a new state, and tells everybody when it is news.
    pub(crate) fn report(&self, server: &str, state: &State) {
        if let Some(entry) = self.entries.lock().get_mut(server) {
            entry.settled |= !matches!(state, State::Connecting);
            if entry.state == *state {
                return;
            }
            entry.state = state.clone();
        }
        log(server, state);
        self.observer.state_changed(server, state);
        self.reports.send_modify(|reports| *reports += 1);
    }

    /// Takes in a new listing; the catalog changes only if the tools did.
    pub(crate) fn shelve(&self, server: &str, listing: Listing) {
        {
            let mut entries = self.entries.lock();
            let Some(entry) = entries.get_mut(server) else { return };
            let listing = listing.keeping(&entry.shelf.listing);
            if listing.says_the_same(&entry.shelf.listing) {
                return;
            }
            for rejected in &listing.rejected {
                let (tool, reason) = (&rejected.tool, &rejected.reason);
                tracing::warn!(server.name = server, tool.name = tool, reason, "a tool is left out");
            }
            entry.shelf.listing = Arc::new(listing);
        }
        self.publish();
    }

    fn publish(&self) {
        let entries = self.entries.lock();
        let shelves = entries.iter().map(|(name, entry)| (Arc::clone(name), entry.shelf.clone())).collect();
        // Under the lock, so that two publications cannot overtake each other.
        let generation = self.catalog.load().generation() + 1;
        self.catalog.store(Arc::new(Catalog::build(&shelves, generation)));
    }

    /// How many tools of this server are known.
    pub(crate) fn tools(&self, server: &str) -> usize {
        self.entries.lock().get(server).map_or(0, |entry| entry.shelf.listing.tools.len())
    }

    fn all_settled(&self) -> bool {
        self.entries.lock().values().all(|entry| entry.settled)
    }

    fn states(&self) -> Vec<ServerState> {
        let entries = self.entries.lock();
        let state = |(name, entry): (&Arc<str>, &Entry)| ServerState {
            name: Arc::clone(name),
            state: entry.state.clone(),
            rejected: entry.shelf.listing.rejected.clone(),
        };
        entries.iter().map(state).collect()
    }
}

fn log(server: &str, state: &State) {
    match state {
        State::Connecting => tracing::debug!(server.name = server, "connecting a tool server"),
        State::Ready { tools, .. } => {
            tracing::info!(server.name = server, tools.count = tools, "a tool server is ready with {tools} tools");
        }
        State::Failed { reason, .. } => {
            tracing::warn!(server.name = server, reason, "a tool server failed: {reason}");
        }
        State::Disabled => tracing::info!(server.name = server, "a tool server is disabled"),
    }
}

// === impl Shelf ===

impl Shelf {
    fn of_server(server: &ServerSettings) -> Self {
        Self {
            server: Arc::from(server.name.as_str()),
            execute: server.execute.clone(),
            auto_execute: server.auto_execute.clone(),
            call_timeout: server.call_timeout,
            on_all_virtual_keys: server.on_all_virtual_keys,
            disabled: server.disabled,
            listing: Arc::default(),
        }
    }

    fn of_local(local: &LocalSource) -> Self {
        Self {
            server: Arc::from(local.name.as_str()),
            execute: local.execute.clone(),
            auto_execute: local.auto_execute.clone(),
            call_timeout: local.call_timeout,
            on_all_virtual_keys: local.on_all_virtual_keys,
            disabled: false,
            listing: Arc::default(),
        }
    }
}

impl fmt::Debug for HubSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubSettings").field("servers", &self.servers).finish_non_exhaustive()
    }
}
