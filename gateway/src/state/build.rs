//! Settings into a snapshot: the handful of conversions between the leaves' own types.

mod cloud;
mod providers;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bifrost_mcp::{Allow, Era, LocalSource, ServerSettings, TransportSettings as ToolTransport};
use bifrost_mcp::{Hub, HubSettings, Observer, StartError};
use bifrost_policies::{AllowList, Keyring, Known, ModelRule, Principal, ProviderGrant, ToolRights, address};
use bifrost_providers::auth::BadCredential;
use bifrost_providers::provider::ProviderError;
use bifrost_providers::transport::TransportError;
use secrecy::ExposeSecret as _;
use url::Url;

pub(super) use self::cloud::{ENDPOINT, VERSION, address_of, azure_version};
use self::providers::{Ground, key_rules, provider_state};
use super::State;
use crate::config::{self, Settings};
use crate::engine::agent::Limits;
use crate::http::cors::Cors;
use crate::tasks::Tasks;

/// Tool servers that may be starting at once: more would only slow each other down.
const SPAWN_CONCURRENCY: usize = 4;
/// The longest message taken from a tool server. A result is cut to `max_result_bytes` later; this bounds memory before.
const MAX_TOOL_MESSAGE_BYTES: usize = 16 << 20;

/// Why settings cannot be put into force.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("provider {provider}: {source}")]
    Provider { provider: String, source: ProviderError },
    #[error("provider {provider}: {source}")]
    Transport { provider: String, source: TransportError },
    #[error("provider {provider}, key {key}: {source}")]
    Key { provider: String, key: String, source: BadCredential },
    #[error("provider {0}: unknown, and based on no known one")]
    UnknownRow(String),
    #[error("client.allowed_headers: '{0}' is no header's name")]
    AllowedHeader(String),
    #[error("tool server {0}: not a URL")]
    ToolUrl(String),
    #[error("{0}")]
    Tools(#[from] StartError),
}

/// What the embedding program brings along.
#[derive(Debug)]
pub struct Surroundings {
    pub tasks: Tasks,
    pub observer: Arc<dyn Observer>,
    /// The binary that guards child processes; without one they end with an orderly stop only.
    pub guard: Option<PathBuf>,
    pub local_tools: Vec<LocalSource>,
    /// Threads that serve requests, each with its own connections to providers.
    pub shards: usize,
}

/// Builds the snapshot and starts the tool servers.
pub fn state(settings: &Settings, surroundings: Surroundings) -> Result<State, BuildError> {
    let now = Instant::now();
    let tasks = surroundings.tasks.clone();
    let ground = Ground { shards: surroundings.shards, background: Arc::new(move |work| tasks.spawn(work)) };
    let mut providers = HashMap::new();
    let mut known = Known::default();
    for provider in &settings.providers {
        let name: Arc<str> = provider.name.as_str().into();
        known.insert(name.clone(), &key_rules(provider));
        let state = provider_state(&name, provider, &settings.client, (now, &ground))?;
        providers.insert(name, state);
    }
    Ok(State {
        enforce_auth: settings.client.enforce_auth,
        required_headers: settings.client.required_headers.clone(),
        logging_headers: settings.client.logging_headers.clone(),
        header_filter: settings.client.header_filter.clone(),
        cors: Cors::new(settings.client.allowed_origins.clone(), &settings.client.allowed_headers)
            .map_err(BuildError::AllowedHeader)?,
        max_body_bytes: settings.client.max_request_body_bytes,
        keyring: keyring(settings),
        known,
        providers,
        hub: Hub::start(hub_settings(settings, surroundings)?)?,
        limits: limits(&settings.tools),
        text_over_chat: settings.client.text_over_chat,
        auto_inject: settings.tools.auto_inject,
        direct_keys: settings.client.allow_direct_keys,
    })
}

fn limits(tools: &config::ToolSettings) -> Limits {
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    Limits {
        max_depth: count(tools.max_depth),
        max_calls: count(tools.max_calls),
        deadline: tools.run_deadline,
        max_result_bytes: tools.max_result_bytes,
        mixed_turns: tools.mixed_turns,
    }
}

// === models ===

pub(super) fn models(models: &config::Models) -> ModelRule {
    match models {
        config::Models::All => ModelRule::All,
        config::Models::None => ModelRule::None,
        config::Models::Only(names) => ModelRule::Only(names.clone()),
    }
}

// === virtual keys ===

fn keyring(settings: &Settings) -> Keyring {
    let mut keyring = Keyring::default();
    for key in &settings.virtual_keys {
        let principal = Principal {
            id: key.id.clone(),
            name: key.name.clone(),
            is_active: key.is_active,
            provider_grants: key.providers.as_ref().map(|grants| grants.iter().map(grant).collect()),
            tools: ToolRights { servers: key.tools.iter().map(tool_grant).collect() },
        };
        // Resolving has refused duplicates already.
        let _new = keyring.insert(key.value.expose_secret(), Arc::new(principal));
    }
    keyring
}

fn grant(grant: &config::ProviderGrant) -> ProviderGrant {
    ProviderGrant {
        provider: grant.provider.clone(),
        weight: grant.weight,
        allowed_models: models(&grant.models),
        blacklisted_models: grant.blacklisted_models.clone(),
        key_ids: grant.key_ids.clone(),
    }
}

fn tool_grant(grant: &config::ToolGrant) -> (String, AllowList) {
    let allow = match &grant.tools {
        config::Tools::All => AllowList::All,
        config::Tools::None => AllowList::None,
        config::Tools::Only(names) => AllowList::Only(names.clone()),
    };
    (grant.server.clone(), allow)
}

// === tool servers ===

fn hub_settings(settings: &Settings, surroundings: Surroundings) -> Result<HubSettings, BuildError> {
    let servers = settings.tools.servers.iter().map(tool_server).collect::<Result<_, _>>()?;
    Ok(HubSettings {
        servers,
        sources: surroundings.local_tools,
        // A tool server is named by the operator, in the file: private networks are where most of them are.
        address_allowed: Arc::new(|ip: IpAddr| address::allowed(ip, true)),
        guard: surroundings.guard,
        spawn_concurrency: SPAWN_CONCURRENCY,
        max_message_bytes: MAX_TOOL_MESSAGE_BYTES,
        tracker: surroundings.tasks.tracker(),
        cancel: surroundings.tasks.cancelled().clone(),
        observer: surroundings.observer,
    })
}

fn tool_server(server: &config::ToolServerSettings) -> Result<ServerSettings, BuildError> {
    let url = |url: &secrecy::SecretString| {
        Url::parse(url.expose_secret()).map_err(|_| BuildError::ToolUrl(server.name.clone()))
    };
    let transport = match &server.transport {
        config::Transport::Stdio { command, args, env, cwd } => ToolTransport::Stdio {
            command: command.clone(),
            args: args.iter().map(|arg| arg.expose_secret().to_owned()).collect(),
            env: env.clone(),
            cwd: cwd.clone(),
        },
        config::Transport::Http { url: at, headers } => ToolTransport::Http { url: url(at)?, headers: headers.clone() },
        config::Transport::Sse { url: at, headers } => ToolTransport::Sse { url: url(at)?, headers: headers.clone() },
    };
    Ok(ServerSettings {
        name: server.name.clone(),
        transport,
        execute: allow(&server.execute),
        auto_execute: allow(&server.auto_execute),
        call_timeout: server.call_timeout,
        connect_timeout: server.connect_timeout,
        sync_interval: server.sync_interval.filter(|interval| *interval > Duration::ZERO),
        on_all_virtual_keys: server.on_all_virtual_keys,
        disabled: server.disabled,
        era: Era::Auto,
    })
}

fn allow(tools: &config::Tools) -> Allow {
    match tools {
        config::Tools::All => Allow::All,
        config::Tools::None => Allow::None,
        config::Tools::Only(names) => Allow::Only(names.clone()),
    }
}
