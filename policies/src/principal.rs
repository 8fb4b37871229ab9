//! Who is asking: a virtual key, resolved from the configuration, with everything that it grants.

use std::collections::{BTreeMap, BTreeSet};

use crate::access::ModelRule;

/// The holder of a virtual key. The key's value is not in here: see [`crate::Keyring`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Principal {
    /// The virtual key's id in the configuration or the store.
    pub id: String,
    /// The virtual key's name, for people, logs and metric labels.
    pub name: String,
    /// A key that is not active is known and refused (403), not unknown (401).
    pub is_active: bool,
    /// `None`: every provider with every model. `Some`: exactly these, so that an empty list grants nothing. Which of the two
    /// an empty `provider_configs` means depends on the configuration's version and is decided where that is read.
    pub provider_grants: Option<Vec<ProviderGrant>>,
    /// The tools that this key may see and run.
    pub tools: ToolRights,
}

/// One `provider_configs` entry: a provider that a virtual key may use, and with which models and keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProviderGrant {
    /// The provider's configured name.
    pub provider: String,
    /// The share of requests for a bare model. `None` and 0 stay out of the draw and remain usable by name.
    pub weight: Option<f64>,
    /// The models that the key may ask this provider for.
    pub allowed_models: ModelRule,
    /// Models that are refused even where `allowed_models` has them; `*` refuses all.
    pub blacklisted_models: Vec<String>,
    /// Only these of the provider's keys, by id; `None` for any.
    pub key_ids: Option<Vec<String>>,
}

/// What a virtual key grants of the tool servers (`mcp_configs`). A server that is not listed is not granted here; whether it
/// opens itself to every virtual key is the server's own setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolRights {
    /// Tool server name to the tools of it that are granted, without the server's prefix.
    pub servers: BTreeMap<String, AllowList>,
}

/// Some names out of many. Names are compared exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllowList {
    /// Every name.
    All,
    /// No name at all.
    #[default]
    None,
    /// These names.
    Only(BTreeSet<String>),
}
