//! Keys that callers bring themselves (`client.allow_direct_keys`): used instead of the configured ones, for one request.
//!
//! Such a key goes where the provider's first key goes, or to the resource at Azure that the caller names. Whoever may name an
//! address could point the gateway at its own machine, so that connection has a rule of its own (`build/providers.rs`).

use std::sync::Arc;
use std::time::Instant;

use bifrost_policies::{KeyPool, KeyRule, ModelRule};
use bifrost_providers::auth::{Access, AuthScheme, BadCredential, Credential};
use bifrost_providers::family::Family;
use bifrost_providers::provider::{Provider, ProviderError, ProviderSettings};
use secrecy::SecretString;

use super::build::{ENDPOINT, VERSION, address_of, azure_version};
use super::key::{Home, KeyState};

/// The id and name of such a key in records and metrics.
const BROUGHT: &str = "header-provided";

/// What a provider makes of a key that a request brings.
#[derive(Debug)]
pub(super) struct Direct {
    pub(super) auth: AuthScheme,
    /// Where the provider's own keys go; `None` where only a key knows.
    pub(super) home: Option<Home>,
    /// For resources that callers name: Azure's APIs without an address.
    pub(super) azure: Option<Elsewhere>,
}

/// A provider's APIs, to be had at an address that is not known yet.
#[derive(Debug)]
pub(super) struct Elsewhere {
    pub(super) usual: ProviderSettings,
    /// For versions of the API that are dates.
    pub(super) dated: ProviderSettings,
    pub(super) families: Vec<(Family, ProviderSettings)>,
}

/// A resource at Azure that a caller names, and the version of the API that its SDK speaks (`?api-version=`).
#[derive(Clone, Debug)]
pub struct Resource {
    pub endpoint: String,
    pub api_version: Option<String>,
}

/// A key that one request brought, as if it were the provider's only one.
#[derive(Debug)]
pub struct Brought {
    pub pool: KeyPool,
    pub key: KeyState,
}

/// Why a key that was brought cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NotBrought {
    #[error("the key that the request brought cannot be sent: {0}")]
    Key(#[from] BadCredential),
    #[error("x-bf-azure-endpoint: {0}")]
    Endpoint(ProviderError),
    #[error("x-bf-azure-endpoint is missing: whose resource does the key open?")]
    Nowhere,
}

// === impl Direct ===

impl Direct {
    pub(super) fn key(&self, key: &SecretString, resource: Option<&Resource>) -> Result<Brought, NotBrought> {
        let home = match (resource, &self.azure, &self.home) {
            (Some(resource), Some(azure), _) => azure.at(resource).map_err(NotBrought::Endpoint)?,
            (_, _, Some(home)) => home.clone(),
            (_, _, None) => return Err(NotBrought::Nowhere),
        };
        let access = Some(Access::Held(Credential::new(key, self.auth)?));
        let rule = KeyRule {
            id: BROUGHT.into(),
            name: BROUGHT.into(),
            weight: 1.0,
            models: ModelRule::All,
            enabled: true,
            ..KeyRule::default()
        };
        let pool = KeyPool::new(vec![rule], Instant::now());
        Ok(Brought {
            pool,
            key: KeyState { id: BROUGHT.into(), name: BROUGHT.into(), home, aliases: Vec::new(), access },
        })
    }
}

// === impl Elsewhere ===

impl Elsewhere {
    fn at(&self, resource: &Resource) -> Result<Home, ProviderError> {
        let (dated, version) = azure_version(resource.api_version.as_deref());
        let provider = |settings: &ProviderSettings| {
            let mut settings = settings.clone();
            settings.places.push((ENDPOINT, address_of(&resource.endpoint).to_owned()));
            settings.places.push((VERSION, version.clone()));
            Provider::new(settings).map(Arc::new)
        };
        let usual = if dated { &self.dated } else { &self.usual };
        let families = self.families.iter().map(|(family, settings)| Ok((*family, provider(settings)?)));
        Ok(Home { usual: provider(usual)?, families: families.collect::<Result<_, ProviderError>>()? })
    }
}
