//! Providers of the settings, each with its connections, keys and queue.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bifrost_policies::{Budget, KeyPool, KeyRule, ModelRule, Queue, address};
use bifrost_providers::Dialect;
use bifrost_providers::auth::{Access, Tokens};
use bifrost_providers::catalog::{self, Of, Row};
use bifrost_providers::endpoint::Endpoint;
use bifrost_providers::family::Family;
use bifrost_providers::provider::{Provider, ProviderSettings};
use bifrost_providers::transport::{Background, ProxySettings, Timeouts, Transport, TransportSettings};
use moka::sync::Cache;
use secrecy::ExposeSecret as _;

use super::{BuildError, cloud, models};
use crate::config::{self, AliasSettings, KeySettings};
use crate::state::ProviderState;
use crate::state::direct::{Direct, Elsewhere};
use crate::state::key::{AliasState, Home, KeyState};

/// Idle connections kept per provider host.
const MAX_IDLE_PER_HOST: usize = 512;

/// How long a provider's list of models is believed.
const MODELS_LIVE_FOR: Duration = Duration::from_mins(1);

pub(super) fn provider_state(
    name: &Arc<str>,
    settings: &config::ProviderSettings,
    client: &config::ClientSettings,
    (now, ground): (Instant, &Ground),
) -> Result<ProviderState, BuildError> {
    let row = row(settings)?;
    let private_ok = settings.allow_private_network;
    let transport = Arc::new(transport(settings, ground, move |ip| address::allowed(ip, private_ok))?);
    let mut maker = Maker { settings, row, transport: &transport, ground, made: Vec::new() };
    let mut key_states = settings.keys.iter().map(|key| maker.key(key)).collect::<Result<Vec<_>, _>>()?;
    if key_states.is_empty() && settings.keyless {
        key_states.push(maker.keyless()?);
    }
    let direct = maker.direct(key_states.first(), client.allow_direct_keys)?;
    Ok(ProviderState {
        dialect: row.dialect,
        allowed_requests: settings.allowed_requests.clone(),
        keys: KeyPool::new(key_rules(settings), now),
        rules: key_rules(settings),
        models: Cache::builder().max_capacity(1).time_to_live(MODELS_LIVE_FOR).build(),
        key_states,
        direct,
        queue: Queue::new(name.clone(), settings.concurrency, settings.buffer, client.drop_excess_requests),
        retry: Budget {
            max_retries: settings.retry.max_retries,
            initial: settings.retry.initial,
            max: settings.retry.max,
        },
    })
}

/// What all connections stand on.
pub(super) struct Ground {
    pub(super) shards: usize,
    pub(super) background: Background,
}

/// Makes the keys of one provider.
pub(super) struct Maker<'a> {
    pub(super) settings: &'a config::ProviderSettings,
    row: Row,
    transport: &'a Arc<Transport>,
    ground: &'a Ground,
    /// Keys with the same address share what is made of it.
    made: Vec<(Site, Option<Family>, Arc<Provider>)>,
}

/// Where requests go.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Site {
    /// Instead of the provider's own address.
    pub(super) url: Option<String>,
    /// What stands in braces in the row.
    pub(super) places: Vec<(&'static str, String)>,
    /// Which of the row's variants, besides those of families.
    pub(super) of: Option<Of>,
}

impl Site {
    /// Is the address itself one of the row's places?
    fn is_placed(&self) -> bool {
        self.places.iter().any(|(place, _)| *place == cloud::ENDPOINT)
    }
}

impl Maker<'_> {
    fn key(&mut self, key: &KeySettings) -> Result<KeyState, BuildError> {
        let (id, name) = (key.id.clone(), key.name.clone());
        let access = self.access(key)?;
        let home = self.home(&cloud::site(self.settings, key, None))?;
        let aliases = key.aliases.iter().map(|alias| self.alias(key, alias)).collect::<Result<_, _>>()?;
        Ok(KeyState { id, name, home, aliases, access })
    }

    /// The one "key" of a provider that needs none.
    fn keyless(&mut self) -> Result<KeyState, BuildError> {
        let home = self.home(&Site::default())?;
        Ok(KeyState { id: KEYLESS.into(), name: KEYLESS.into(), home, aliases: Vec::new(), access: None })
    }

    fn alias(&mut self, key: &KeySettings, alias: &AliasSettings) -> Result<AliasState, BuildError> {
        let home = self.home(&cloud::site(self.settings, key, Some(alias)))?;
        let names = [Some(&alias.model), alias.model_name.as_ref(), Some(&alias.name)];
        let told = || names.into_iter().flatten().find_map(|name| Family::of(name));
        let provider = home.of(|| alias.family.and_then(Family::named).or_else(told)).clone();
        Ok(AliasState { name: alias.name.clone(), model: alias.model.clone(), provider })
    }

    fn access(&self, key: &KeySettings) -> Result<Option<Access>, BuildError> {
        let bad = |source| BuildError::Key { provider: self.settings.name.clone(), key: key.name.clone(), source };
        let Some(grant) = cloud::grant(key).map_err(bad)? else {
            return Ok(cloud::held(key, &self.row).map_err(bad)?.map(Access::Held));
        };
        let transport = if cloud::asks_metadata(key) {
            Arc::new(transport(self.settings, self.ground, address::metadata)?)
        } else {
            self.transport.clone()
        };
        Ok(Some(Access::Fetched(Arc::new(Tokens::new(grant, transport)))))
    }

    fn home(&mut self, site: &Site) -> Result<Home, BuildError> {
        let usual = self.provider(site, None)?;
        let families = self.families().map(|family| Ok((family, self.provider(site, Some(family))?)));
        Ok(Home { usual, families: families.collect::<Result<_, BuildError>>()? })
    }

    fn provider(&mut self, site: &Site, family: Option<Family>) -> Result<Arc<Provider>, BuildError> {
        if let Some((.., known)) = self.made.iter().find(|(at, of, _)| at == site && *of == family) {
            return Ok(known.clone());
        }
        let provider = Provider::new(self.provider_settings(site, family));
        let named = self.settings.name.clone();
        let provider = provider.map_err(|source| BuildError::Provider { provider: named, source })?;
        let provider = Arc::new(provider);
        self.made.push((site.clone(), family, provider.clone()));
        Ok(provider)
    }

    fn provider_settings(&self, site: &Site, family: Option<Family>) -> ProviderSettings {
        let Self { settings, row, transport, .. } = *self;
        let of = family.map(Of::Family).or(site.of);
        let timeouts = settings.timeouts;
        ProviderSettings {
            name: settings.name.clone(),
            row: of.and_then(|of| row.variant(of)).copied().unwrap_or(row),
            base_url: if site.is_placed() { None } else { site.url.as_ref().or(settings.base_url.as_ref()).cloned() },
            places: site.places.clone(),
            extra_headers: exposed(&settings.extra_headers),
            path_overrides: settings.path_overrides.clone(),
            keyless: settings.keyless,
            timeouts: Timeouts {
                first_byte: timeouts.first_byte,
                idle: timeouts.stream_idle,
                total: Some(timeouts.request),
            },
            transport: transport.clone(),
        }
    }

    /// Where keys go that callers bring: where the provider's first key goes, and at Azure to whatever resource they name.
    fn direct(&mut self, first: Option<&KeyState>, allowed: bool) -> Result<Direct, BuildError> {
        let is_known = !self.row.base_url.contains('{');
        let home = match first {
            Some(key) => Some(key.home.clone()),
            None if allowed && is_known => Some(self.home(&Site::default())?),
            None => None,
        };
        let azure = if allowed && self.row.name == "azure" { Some(self.elsewhere()?) } else { None };
        Ok(Direct { auth: self.row.auth, home, azure })
    }

    /// A caller who names an address may not mean this machine or its network, unless those are open to providers anyway.
    fn elsewhere(&self) -> Result<Elsewhere, BuildError> {
        let private_ok = self.settings.allow_private_network;
        let allowed = move |ip: IpAddr| address::allowed(ip, private_ok) && (private_ok || !ip.is_loopback());
        let transport = Arc::new(transport(self.settings, self.ground, allowed)?);
        let settings = |family, of| {
            let site = Site { of, ..Site::default() };
            ProviderSettings { transport: transport.clone(), ..self.provider_settings(&site, family) }
        };
        let families = self.families().map(|family| (family, settings(Some(family), None))).collect();
        Ok(Elsewhere { usual: settings(None, None), dated: settings(None, Some(Of::DatedVersion)), families })
    }

    fn families(&self) -> impl Iterator<Item = Family> + use<> {
        self.row.variants.iter().filter_map(|variant| match variant.of {
            Of::Family(family) => Some(family),
            Of::DatedVersion | Of::Deployments => None,
        })
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
    if !rules.is_empty() || !settings.keyless {
        return rules;
    }
    let name = KEYLESS.to_owned();
    vec![KeyRule { id: name.clone(), name, weight: 1.0, models: ModelRule::All, enabled: true, ..KeyRule::default() }]
}

/// The row that a provider is made of. Somebody's own server need not have all that its model has: a further dialect only
/// where the operator says so (`custom_provider_config.allowed_requests`), and that alone where chat itself is not opened.
fn row(settings: &config::ProviderSettings) -> Result<Row, BuildError> {
    let name = settings.base.as_deref().unwrap_or(&settings.name);
    let row = catalog::row(name).ok_or_else(|| BuildError::UnknownRow(settings.name.clone()))?;
    let Some(opened) = &settings.allowed_requests else {
        return Ok(Row { also: if settings.base.is_none() { row.also } else { &[] }, ..*row });
    };
    let is_open = |dialect: Dialect, stream| opened.contains(Endpoint::chat(dialect).request_type(stream));
    let any_open = |dialect: &Dialect| is_open(*dialect, false) || is_open(*dialect, true);
    if let Some(instead) = row.also.iter().find(|also| any_open(also) && !any_open(&row.dialect)) {
        // How it deviates from a dialect that it does not speak is of no interest.
        return Ok(Row { dialect: *instead, also: &[], quirks: &[], ..*row });
    }
    let has_all = settings.base.is_none() || row.also.iter().all(|also| is_open(*also, false));
    Ok(Row { also: if has_all { row.also } else { &[] }, ..*row })
}

fn transport(
    settings: &config::ProviderSettings,
    ground: &Ground,
    allowed: impl Fn(IpAddr) -> bool + Send + Sync + 'static,
) -> Result<Transport, BuildError> {
    Transport::new(&TransportSettings {
        connect_timeout: settings.timeouts.connect,
        pool_idle: settings.timeouts.keep_alive,
        max_idle_per_host: MAX_IDLE_PER_HOST.min(settings.max_connections_per_host),
        http2_only: settings.enforce_http2,
        ca_cert_pem: settings.ca_cert_pem.as_ref().map(|pem| pem.expose_secret().to_owned()),
        insecure_skip_verify: settings.insecure_skip_verify,
        address_allowed: Arc::new(allowed),
        // The operator names it, in the file or in the environment: private networks are where most proxies are.
        proxy: settings.proxy.as_ref().map(|proxy| ProxySettings {
            http: proxy.http.clone(),
            https: proxy.https.clone(),
            except: proxy.except.clone(),
            address_allowed: Arc::new(|ip| address::allowed(ip, true)),
        }),
        background: ground.background.clone(),
        shards: ground.shards,
    })
    .map_err(|source| BuildError::Transport { provider: settings.name.clone(), source })
}

fn exposed(headers: &[(String, secrecy::SecretString)]) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect()
}
