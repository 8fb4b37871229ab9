//! A key at run time: where its requests go, under which name of the model, and with which credential.

use std::sync::Arc;

use bifrost_providers::Dialect;
use bifrost_providers::auth::Credential;
use bifrost_providers::provider::Provider;

/// One key. It may belong to a server of its own (`ollama_key_config.url`), and have names of its own for models (`aliases`).
#[derive(Debug)]
pub struct KeyState {
    pub id: String,
    pub name: String,
    pub(super) provider: Arc<Provider>,
    pub(super) aliases: Vec<AliasState>,
    pub credential: Option<Credential>,
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
            None => (&self.provider, model),
        };
        Site { provider, model, dialect: provider.dialect_for(client) }
    }

    /// A provider's words without the key, which some quote.
    pub fn redacted(&self, text: &str) -> String {
        self.credential.as_ref().map_or_else(|| text.to_owned(), |credential| credential.redact(text))
    }
}

// === impl Site ===

/// The same place, and the same request there.
impl PartialEq for Site<'_> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.provider, other.provider) && self.model == other.model
    }
}
