//! What a request finds: the engine's services, and one snapshot of everything that configuration decides.
//!
//! A request loads the snapshot once and keeps it to its end, so that a change in between cannot split it.

mod build;
mod direct;
mod key;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bifrost_mcp::Hub;
use bifrost_policies::{Budget, KeyIndex, KeyPool, KeyRule, Keyring, Known, Queue};
use bifrost_providers::Dialect;
use moka::sync::Cache;
use secrecy::SecretString;

use self::direct::Direct;
use crate::config::HeaderFilter;
use crate::engine::agent::Limits;
use crate::engine::journal::Journal;
use crate::engine::models::Model;
use crate::engine::observe::RunObserver;
use crate::engine::owners::{MemoryOwners, Owners};
use crate::http::cors::Cors;
use crate::http::patience::STALLED_AFTER;
use crate::http::sse::PING_AFTER;
use crate::metrics::Metrics;
use crate::record::Log;
use crate::tasks::Tasks;

pub use build::{BuildError, Surroundings, state};
pub use direct::{Brought, NotBrought, Resource};
pub use key::{KeyState, Site};

/// The services of one gateway, which outlive every snapshot.
#[derive(Debug)]
pub struct Engine {
    state: ArcSwap<State>,
    pub metrics: Arc<Metrics>,
    pub log: Arc<Log>,
    pub journal: Arc<dyn Journal>,
    /// What Responses clients may refer to by its id alone.
    pub items: Arc<dyn Journal>,
    pub owners: Arc<dyn Owners>,
    pub tasks: Tasks,
    /// Shows an embedding program what runs.
    pub observer: Option<Arc<dyn RunObserver>>,
    /// How long a stream may be silent before it is pinged.
    pub ping_after: Duration,
    /// How long a client may go without reading before its connection is cut.
    pub stalled_after: Duration,
}

/// One snapshot of the configuration, ready for use: URLs parsed, headers made, keys hashed.
#[derive(Debug)]
pub struct State {
    pub enforce_auth: bool,
    /// Lower-case names of headers without which a request is refused.
    pub required_headers: Vec<String>,
    /// Lower-case names of headers that go into the log record.
    pub logging_headers: Vec<String>,
    /// Which of a caller's headers providers may see.
    pub header_filter: HeaderFilter,
    /// Which web pages may call.
    pub cors: Cors,
    pub max_body_bytes: usize,
    pub keyring: Keyring,
    pub known: Known,
    pub providers: HashMap<Arc<str>, ProviderState>,
    pub hub: Arc<Hub>,
    pub limits: Limits,
    /// Are text completions answered through chat?
    pub text_over_chat: bool,
    /// Are tools added to requests that do not ask for them?
    pub auto_inject: bool,
    /// May callers bring a provider's key of their own?
    pub direct_keys: bool,
}

/// One provider at run time.
#[derive(Debug)]
pub struct ProviderState {
    /// What most of its models are asked in.
    pub dialect: Dialect,
    pub keys: KeyPool,
    rules: Vec<KeyRule>,
    /// In the order of the pool.
    key_states: Vec<KeyState>,
    pub queue: Queue,
    pub retry: Budget,
    /// The request types it serves; `None` for all.
    pub allowed_requests: Option<BTreeSet<String>>,
    /// Where keys go that callers bring.
    direct: Direct,
    /// The provider's list of models, for a while.
    pub models: Cache<(), Arc<Vec<Model>>>,
}

// === impl Engine ===

impl Engine {
    pub fn new(
        state: State,
        metrics: Arc<Metrics>,
        log: Arc<Log>,
        journal: Arc<dyn Journal>,
        items: Arc<dyn Journal>,
        tasks: Tasks,
    ) -> Self {
        Self {
            state: ArcSwap::from_pointee(state),
            metrics,
            log,
            journal,
            items,
            owners: Arc::new(MemoryOwners::default()),
            tasks,
            observer: None,
            ping_after: PING_AFTER,
            stalled_after: STALLED_AFTER,
        }
    }

    /// The snapshot in force. Load it once per request.
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }
}

// === impl ProviderState ===

impl ProviderState {
    /// The key that a request brought, as one of this provider's; `resource` for the one at Azure that it opens.
    pub fn brought(&self, key: &SecretString, resource: Option<&Resource>) -> Result<Brought, NotBrought> {
        self.direct.key(key, resource)
    }

    pub fn key(&self, index: KeyIndex) -> Option<&KeyState> {
        self.key_states.get(index.position())
    }

    /// Has any key that serves this model?
    pub fn serves(&self, model: &str) -> bool {
        self.rules().any(|rule| rule.serves(model))
    }

    pub fn rules(&self) -> impl Iterator<Item = &KeyRule> {
        self.rules.iter()
    }

    /// Every key that is in use, in the order of the configuration.
    pub fn usable_keys(&self) -> impl Iterator<Item = &KeyState> {
        self.rules().zip(self.key_states()).filter(|(rule, _)| rule.enabled).map(|(_, key)| key)
    }

    pub fn key_states(&self) -> impl Iterator<Item = &KeyState> {
        self.key_states.iter()
    }
}
