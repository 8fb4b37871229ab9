//! A key at run time: where its requests go, under which name of the model, and with which credential.

use std::borrow::Cow;
use std::sync::Arc;

use bifrost_providers::auth::{Access, Credential};
use bifrost_providers::family::Family;
use bifrost_providers::provider::Provider;
use bifrost_providers::{Dialect, Failure};

/// One key. It may belong to a server of its own (`ollama_key_config.url`), and have names of its own for models (`aliases`).
#[derive(Debug)]
pub struct KeyState {
    pub id: String,
    pub name: String,
    pub(super) home: Home,
    pub(super) aliases: Vec<AliasState>,
    pub(super) access: Option<Access>,
}

/// A provider as one key sees it. Some have an API of their own for the models of a family.
#[derive(Clone, Debug)]
pub(super) struct Home {
    pub(super) usual: Arc<Provider>,
    pub(super) families: Vec<(Family, Arc<Provider>)>,
}

/// What an alias stands for.
#[derive(Debug)]
pub(super) struct AliasState {
    pub(super) name: String,
    pub(super) model: String,
    pub(super) provider: Arc<Provider>,
}

/// Where one key's requests for one model go.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    pub provider: &'a Arc<Provider>,
    /// The model, as the provider calls it.
    pub model: &'a str,
    /// What is spoken there for this client.
    pub dialect: Dialect,
}

// === impl KeyState ===

impl KeyState {
    /// Where a client's requests for this model go. A name without an alias is the provider's own.
    pub fn site<'a>(&'a self, model: &'a str, client: Dialect) -> Site<'a> {
        let (provider, model) = match self.aliases.iter().find(|alias| alias.name.eq_ignore_ascii_case(model)) {
            Some(alias) => (&alias.provider, alias.model.as_str()),
            None => (self.home.of(|| Family::of(model)), model),
        };
        Site { provider, model, dialect: provider.dialect_for(client) }
    }

    /// What shows a request to be this key's; `None` where the provider asks for nothing. A token may have to be fetched.
    pub async fn credential(&self) -> Result<Option<Cow<'_, Credential>>, Box<Failure>> {
        match &self.access {
            Some(access) => access.credential().await.map(Some),
            None => Ok(None),
        }
    }

    /// A provider's words without the key, which some quote.
    pub fn redacted(&self, text: &str) -> String {
        self.access.as_ref().map_or_else(|| text.to_owned(), |access| access.redact(text))
    }
}

// === impl Home ===

impl Home {
    /// The API for a model of this family, which is only asked for where it matters.
    pub(super) fn of(&self, family: impl FnOnce() -> Option<Family>) -> &Arc<Provider> {
        if self.families.is_empty() {
            return &self.usual;
        }
        let family = family();
        self.families.iter().find(|(of, _)| Some(*of) == family).map_or(&self.usual, |(_, provider)| provider)
    }
}

// === impl Site ===

/// The same place, and the same request there.
impl PartialEq for Site<'_> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.provider, other.provider) && self.model == other.model
    }
}
