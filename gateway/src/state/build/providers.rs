//! Providers of the settings, each with its connections, keys and queue.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bifrost_policies::{Budget, KeyPool, KeyRule, ModelRule, Queue, address};
use bifrost_providers::Dialect;
use bifrost_providers::auth::Credential;
use bifrost_providers::catalog::{self, Row};
use bifrost_providers::endpoint::Endpoint;
use bifrost_providers::provider::{Provider, ProviderSettings};
use bifrost_providers::transport::{Timeouts, Transport, TransportSettings};
use moka::sync::Cache;
use secrecy::ExposeSecret as _;

use super::{BuildError, models};
use crate::config::{self, KeySettings};
use crate::state::ProviderState;
use crate::state::key::{AliasState, KeyState};

/// Idle connections kept per provider host.
const MAX_IDLE_PER_HOST: usize = 512;

/// How long a provider's list of models is believed.
const MODELS_LIVE_FOR: Duration = Duration::from_mins(1);

pub(super) fn provider_state(
    name: &Arc<str>,
    settings: &config::ProviderSettings,
    drop_excess: bool,
    (now, shards): (Instant, usize),
) -> Result<ProviderState, BuildError> {
    let row = row(settings)?;
    let transport = Arc::new(transport(settings, shards)?);
    let mut maker = Maker { settings, row, transport: &transport, made: Vec::new() };
    let mut key_states = settings.keys.iter().map(|key| maker.key(key)).collect::<Result<Vec<_>, _>>()?;
    if key_states.is_empty() {
        key_states.push(maker.keyless()?);
    }
    Ok(ProviderState {
        dialect: row.dialect,
        allowed_requests: settings.allowed_requests.clone(),
        keys: KeyPool::new(key_rules(settings), now),
        rules: key_rules(settings),
        models: Cache::builder().max_capacity(1).time_to_live(MODELS_LIVE_FOR).build(),
        key_states,
        queue: Queue::new(name.clone(), settings.concurrency, settings.buffer, drop_excess),
        retry: Budget {
            max_retries: settings.retry.max_retries,
            initial: settings.retry.initial,
            max: settings.retry.max,
        },
    })
}

/// Makes the keys of one provider.
struct Maker<'a> {
    settings: &'a config::ProviderSettings,
    row: Row,
    transport: &'a Arc<Transport>,
    /// Keys with the same address share what is made of it.
    made: Vec<(Site, Arc<Provider>)>,
}

/// Where requests go.
#[derive(Clone, Debug, Default, PartialEq)]
struct Site {
    /// Instead of the provider's own address.
    url: Option<String>,
}

impl Maker<'_> {
    fn key(&mut self, key: &KeySettings) -> Result<KeyState, BuildError> {
        let credential = key.value.as_ref().map(|value| Credential::new(value, self.row.auth)).transpose();
        let credential = credential.map_err(|source| BuildError::Key {
            provider: self.settings.name.clone(),
            key: key.name.clone(),
            source,
        })?;
        let provider = self.provider(Site { url: key.url.clone() })?;
        let alias = |alias: &config::AliasSettings| AliasState {
            name: alias.name.clone(),
            model: alias.model.clone(),
            provider: provider.clone(),
        };
        let aliases = key.aliases.iter().map(alias).collect();
        Ok(KeyState { id: key.id.clone(), name: key.name.clone(), provider, aliases, credential })
    }

    /// The one "key" of a provider that needs none.
    fn keyless(&mut self) -> Result<KeyState, BuildError> {
        let provider = self.provider(Site::default())?;
        Ok(KeyState { id: KEYLESS.into(), name: KEYLESS.into(), provider, aliases: Vec::new(), credential: None })
    }

    fn provider(&mut self, site: Site) -> Result<Arc<Provider>, BuildError> {
        if let Some((_, known)) = self.made.iter().find(|(at, _)| *at == site) {
            return Ok(known.clone());
        }
        let Self { settings, row, transport, .. } = *self;
        let timeouts = settings.timeouts;
        let provider = Provider::new(ProviderSettings {
            name: settings.name.clone(),
            row,
            base_url: site.url.as_ref().or(settings.base_url.as_ref()).cloned(),
            extra_headers: exposed(&settings.extra_headers),
            path_overrides: settings.path_overrides.clone(),
            keyless: settings.keyless,
            timeouts: Timeouts {
                first_byte: timeouts.first_byte,
                idle: timeouts.stream_idle,
                total: Some(timeouts.request),
            },
            transport: transport.clone(),
        });
        let provider = provider.map_err(|source| BuildError::Provider { provider: settings.name.clone(), source })?;
        let provider = Arc::new(provider);
        self.made.push((site, provider.clone()));
        Ok(provider)
    }
}

/// The name of a key that is none.
const KEYLESS: &str = "keyless";

pub(super) fn key_rules(settings: &config::ProviderSettings) -> Vec<KeyRule> {
    let rules: Vec<KeyRule> = settings
        .keys
        .iter()
        .map(|key| KeyRule {
            id: key.id.clone(),
            name: key.name.clone(),
            weight: key.weight,
            models: models(&key.models),
            aliases: key.aliases.iter().map(|alias| alias.name.clone()).collect(),
            blacklisted: key.blacklisted_models.clone(),
            enabled: key.enabled,
        })
        .collect();
    if !rules.is_empty() {
        return rules;
    }
    let name = KEYLESS.to_owned();
    vec![KeyRule { id: name.clone(), name, weight: 1.0, models: ModelRule::All, enabled: true, ..KeyRule::default() }]
}

/// The row that a provider is made of. Somebody's own server need not have all that its model has: a further dialect only
/// where the operator says so (`custom_provider_config.allowed_requests`).
fn row(settings: &config::ProviderSettings) -> Result<Row, BuildError> {
    let name = settings.base.as_deref().unwrap_or(&settings.name);
    let row = catalog::row(name).ok_or_else(|| BuildError::UnknownRow(settings.name.clone()))?;
    let allowed = |dialect: &Dialect| {
        let request_type = Endpoint::chat(*dialect).request_type(false);
        settings.allowed_requests.as_ref().is_some_and(|allowed| allowed.contains(request_type))
    };
    let has_all = settings.base.is_none() || row.also.iter().all(allowed);
    Ok(Row { also: if has_all { row.also } else { &[] }, ..*row })
}

fn transport(settings: &config::ProviderSettings, shards: usize) -> Result<Transport, BuildError> {
    let private_ok = settings.allow_private_network;
    Transport::new(&TransportSettings {
        connect_timeout: settings.timeouts.connect,
        pool_idle: settings.timeouts.keep_alive,
        max_idle_per_host: MAX_IDLE_PER_HOST.min(settings.max_connections_per_host),
        http2_only: settings.enforce_http2,
        ca_cert_pem: settings.ca_cert_pem.as_ref().map(|pem| pem.expose_secret().to_owned()),
        insecure_skip_verify: settings.insecure_skip_verify,
        address_allowed: Arc::new(move |ip: IpAddr| address::allowed(ip, private_ok)),
        shards,
    })
    .map_err(|source| BuildError::Transport { provider: settings.name.clone(), source })
}

fn exposed(headers: &[(String, secrecy::SecretString)]) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect()
}
