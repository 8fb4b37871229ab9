//! One running gateway: started from settings, stopped in order.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bifrost_mcp::LocalSource;
use bifrost_mcp::Observer;
use bifrost_mcp::State as ToolServer;
use bifrost_providers::catalog;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::engine::journal::MemoryJournal;
use crate::engine::observe::RunObserver;
use crate::http;
use crate::http::listen::Listener;
use crate::metrics::Metrics;
use crate::record::{Log, LogStyle};
use crate::state::{self, BuildError, Engine, Surroundings};
use crate::tasks::Tasks;
use crate::workers;

/// What an embedding program decides beside the settings.
#[derive(Debug, Default)]
pub struct Options {
    pub log_style: LogStyle,
    /// The `bifrost` binary, which takes stdio tool servers down with the gateway even when that is killed. Without it they
    /// end with an orderly stop only.
    pub guard: Option<PathBuf>,
    /// Tools of the embedding program itself.
    pub local_tools: Vec<LocalSource>,
    /// Told of every turn and tool call as it happens, beside metrics and log.
    pub observer: Option<Arc<dyn RunObserver>>,
    /// Serve on so many threads of the gateway's own, each with its own connections to providers, instead of on the caller's
    /// runtime. A request then never changes threads: on a busy machine that halves its price.
    pub workers: Option<NonZeroUsize>,
    /// How long a stream may be silent before it is pinged; 15 s unless given.
    pub ping_after: Option<Duration>,
    /// How long a client may go without reading before its connection is cut; a minute unless given.
    pub stalled_after: Option<Duration>,
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Settings(#[from] BuildError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: std::io::Error },
    #[error("cannot start a worker thread: {0}")]
    Worker(std::io::Error),
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// A running gateway. Dropped without [`Gateway::stop`], it ends with its runtime.
#[derive(Debug)]
pub struct Gateway {
    engine: Arc<Engine>,
    address: SocketAddr,
    /// Fires when the last connection has ended.
    served: CancellationToken,
}

/// Time for what must end after the last request: tool servers, the log.
const CLOSING: Duration = Duration::from_secs(10);

/// The providers that a start without a file looks for, with the variables that hold their keys.
pub fn usual_providers() -> Vec<(&'static str, &'static [&'static str])> {
    catalog::rows().iter().filter(|row| !row.key_env.is_empty()).map(|row| (row.name, row.key_env)).collect()
}

impl Gateway {
    /// Binds the port, starts the tool servers, waits for them up to the configured bound, and serves.
    pub async fn start(settings: &Settings, options: Options) -> Result<Self, StartError> {
        // A second provider of cryptography in the process is fine as long as it is the same one.
        let _already = rustls::crypto::ring::default_provider().install_default();
        let (host, port) = (settings.listen.host.as_str(), settings.listen.port);
        let listener = Listener::bind(host, port)
            .await
            .map_err(|source| StartError::Listen { address: format!("{host}:{port}"), source })?;
        let address = listener.address;
        let tasks = Tasks::default();
        let metrics = Arc::new(Metrics::new(settings.client.prometheus_labels.clone())?);
        let style = if settings.client.enable_logging { options.log_style } else { LogStyle::Off };
        let log = Arc::new(Log::new(style));
        log.start(&tasks);
        let observer = Arc::new(ToolMetrics(metrics.clone()));
        let Options { guard, local_tools, observer: run_observer, ping_after, stalled_after, workers, .. } = options;
        let shards = workers.map_or(1, NonZeroUsize::get);
        let surroundings = Surroundings { tasks: tasks.clone(), observer, guard, local_tools, shards };
        let state = state::state(settings, surroundings)?;
        state.hub.settled(settings.tools.start_bound).await;
        let journals = [MemoryJournal::default(), MemoryJournal::default()];
        let [journal, items] = journals.map(Arc::new);
        let mut engine = Engine::new(state, metrics, log, journal, items, tasks.clone());
        engine.observer = run_observer;
        engine.ping_after = ping_after.unwrap_or(engine.ping_after);
        engine.stalled_after = stalled_after.unwrap_or(engine.stalled_after);
        let engine = Arc::new(engine);
        let surface = http::Surface::new(engine.clone());
        let served = CancellationToken::new();
        let all_served = Arc::new(served.clone().drop_guard());
        match workers {
            Some(count) => {
                workers::start(count, &listener, &surface, &tasks, &all_served).map_err(StartError::Worker)?;
            }
            None => tasks.clone().spawn(async move {
                let ended = listener.serve(surface, tasks).await;
                workers::report(ended);
                drop(all_served);
            }),
        }
        Ok(Self { engine, address, served })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Takes nothing new, finishes what runs (at most `drain`), then takes down tool servers and writes the last records.
    pub async fn stop(self, drain: Duration) {
        let tasks = &self.engine.tasks;
        tasks.draining().cancel();
        let drained = tokio::time::timeout(drain, self.served.cancelled()).await.is_ok();
        if !drained {
            tracing::warn!(drain_s = drain.as_secs(), "requests were still running at the end of the drain");
        }
        self.engine.state().hub.close().await;
        tasks.cancelled().cancel();
        if !tasks.ended(CLOSING).await {
            tracing::warn!("background tasks did not end in time");
        }
        // Requests that were cut off wrote their records when the writer had already gone.
        let log = self.engine.log.clone();
        let last = tokio::task::spawn_blocking(move || log.flush(&mut std::io::stdout()));
        let _ = tokio::time::timeout(CLOSING, last).await;
    }
}

/// Tool calls and state changes into metrics and the log.
#[derive(Debug)]
struct ToolMetrics(Arc<Metrics>);

impl Observer for ToolMetrics {
    fn call_finished(&self, server: &str, tool: &str, duration: Duration, error: Option<&'static str>) {
        self.0.tool(server, tool, "tools/call", error, duration.as_secs_f64());
    }

    fn state_changed(&self, _server: &str, _state: &ToolServer) {
        // The hub logs its own state changes, with their reasons.
    }
}
