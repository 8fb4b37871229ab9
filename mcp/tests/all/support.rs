//! What all tests share: settings with short times, a hub that is closed, and waiting for a condition.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bifrost_mcp::{
    Allow, CallLimits, Era, Hub, HubSettings, LocalSource, Observer, Outcome, ServerSettings, State, TransportSettings,
};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Generous: the machine may be busy. Conditions are polled, so a good run never waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running hub and what it told.
pub(crate) struct World {
    pub(crate) hub: Arc<Hub>,
    pub(crate) seen: Arc<Seen>,
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) calls: Mutex<Vec<(String, Option<&'static str>)>>,
}

impl Observer for Seen {
    fn call_finished(&self, server: &str, tool: &str, _duration: Duration, error: Option<&'static str>) {
        self.calls.lock().push((format!("{server}/{tool}"), error));
    }

    fn state_changed(&self, _server: &str, _state: &State) {}
}

/// A program of this crate's `examples` folder, which cargo builds along with the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name)
}

pub(crate) fn server(name: &str, transport: TransportSettings) -> ServerSettings {
    ServerSettings {
        name: name.to_owned(),
        transport,
        execute: Allow::All,
        auto_execute: Allow::All,
        call_timeout: PATIENCE,
        connect_timeout: PATIENCE,
        sync_interval: None,
        on_all_virtual_keys: false,
        disabled: false,
        era: Era::Auto,
    }
}

/// The scripted stdio server in one of its modes.
pub(crate) fn toolserver(name: &str, mode: &str) -> ServerSettings {
    let command = example("toolserver").display().to_string();
    server(name, TransportSettings::Stdio { command, args: vec![mode.to_owned()], env: Vec::new(), cwd: None })
}

pub(crate) fn settings(servers: Vec<ServerSettings>, sources: Vec<LocalSource>) -> (HubSettings, Arc<Seen>) {
    let seen = Arc::<Seen>::default();
    let settings = HubSettings {
        servers,
        sources,
        address_allowed: Arc::new(|_| true),
        guard: None,
        spawn_concurrency: 4,
        max_message_bytes: 4 * 1024 * 1024,
        tracker: TaskTracker::new(),
        cancel: CancellationToken::new(),
        observer: Arc::clone(&seen) as Arc<dyn Observer>,
    };
    (settings, seen)
}

impl World {
    pub(crate) fn start(servers: Vec<ServerSettings>) -> Self {
        let (settings, seen) = settings(servers, Vec::new());
        Self { hub: Hub::start(settings).unwrap(), seen }
    }

    /// Started, and every server ready or failed.
    pub(crate) async fn settled(servers: Vec<ServerSettings>) -> Self {
        let world = Self::start(servers);
        assert!(world.hub.settled(PATIENCE).await, "{:?}", world.hub.states());
        world
    }

    pub(crate) async fn call(&self, name: &str, arguments: &str) -> Outcome {
        self.call_within(name, arguments, PATIENCE).await
    }

    pub(crate) async fn call_within(&self, name: &str, arguments: &str, timeout: Duration) -> Outcome {
        let catalog = self.hub.catalog();
        let tool = catalog.find(name).unwrap_or_else(|| panic!("no tool {name} in {:?}", catalog.tools()));
        self.hub.call(tool, arguments, CallLimits { timeout: Some(timeout), ..CallLimits::default() }).await
    }

    pub(crate) fn state(&self, server: &str) -> State {
        self.hub.states().into_iter().find(|state| &*state.name == server).unwrap().state
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.hub.catalog().tools().iter().map(|tool| tool.name.to_string()).collect()
    }
}

/// Waits for a condition, and fails the test when it does not come true.
pub(crate) async fn eventually(what: &str, within: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !condition().await {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a process with this id exists and is not merely waiting to be reaped.
pub(crate) fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')))
}
