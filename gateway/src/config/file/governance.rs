//! `governance`: virtual keys and what they may use. Budgets, limits and rules are accepted and warned about.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Opaque;
use crate::config::period::Window;
use crate::config::secret::Reference;

/// Virtual keys and what they may use.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Governance {
    /// Keys that callers present instead of provider keys.
    pub virtual_keys: Vec<VirtualKey>,
    /// Spending limits.
    #[schemars(extend("x-no-effect" = true))]
    pub budgets: Vec<Budget>,
    /// Request and token limits.
    #[schemars(extend("x-no-effect" = true))]
    pub rate_limits: Vec<RateLimit>,
    /// Owners of teams and virtual keys.
    #[schemars(extend("x-no-effect" = true))]
    pub customers: Vec<Opaque>,
    /// Owners of virtual keys.
    #[schemars(extend("x-no-effect" = true))]
    pub teams: Vec<Opaque>,
    /// Rules that choose provider and model.
    #[schemars(extend("x-no-effect" = true))]
    pub routing_rules: Vec<Opaque>,
    /// Limits per model.
    #[schemars(extend("x-no-effect" = true))]
    pub model_configs: Vec<Opaque>,
    /// Limits per provider.
    #[schemars(extend("x-no-effect" = true))]
    pub providers: Vec<Opaque>,
    /// Prices that differ from the public ones.
    #[schemars(extend("x-no-effect" = true))]
    pub pricing_overrides: Vec<Opaque>,
    /// Tells simple requests from complex ones.
    #[schemars(extend("x-no-effect" = true))]
    pub complexity_analyzer_config: Option<Opaque>,
    /// Login of the management interface.
    #[schemars(extend("x-no-effect" = true))]
    pub auth_config: Option<Opaque>,
    /// Enterprise edition.
    #[schemars(extend("x-no-effect" = true))]
    pub business_units: Option<Opaque>,
    /// Enterprise edition.
    #[schemars(extend("x-no-effect" = true))]
    pub roles: Option<Opaque>,
}

/// A key that callers present instead of a provider key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VirtualKey {
    /// A stable identifier; absent: the name.
    pub id: Option<String>,
    /// Unique. Required.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// What the caller sends: any text, `env.NAME` is possible. Required.
    pub value: Option<Reference>,
    /// False refuses the key with 403.
    pub is_active: bool,
    /// Every provider is allowed, whatever `provider_configs` says.
    pub allow_all_providers: bool,
    /// Providers and models this key may use. Absent: all. `[]`: all, or none with `version: 2`.
    pub provider_configs: Option<Vec<ProviderGrant>>,
    /// Tool servers and tools this key may use. Absent: only servers with `allow_on_all_virtual_keys`.
    pub mcp_configs: Vec<ToolGrant>,
    /// Keep this key's message contents out of log records; absent: as `client.disable_content_logging` says.
    #[schemars(extend("x-no-effect" = true))]
    pub disable_content_logging: Option<bool>,
    /// When the key ends (RFC 3339).
    #[schemars(extend("x-no-effect" = true))]
    pub expires_at: Option<String>,
    /// Remove the key once it expires.
    #[schemars(extend("x-no-effect" = true))]
    pub delete_after_expire: bool,
    /// Windows begin at midnight, on Mondays, on the first.
    #[schemars(extend("x-no-effect" = true))]
    pub calendar_aligned: bool,
    /// The owning team.
    #[schemars(extend("x-no-effect" = true))]
    pub team_id: Option<String>,
    /// The owning customer.
    #[schemars(extend("x-no-effect" = true))]
    pub customer_id: Option<String>,
    /// Enterprise edition.
    #[schemars(extend("x-no-effect" = true))]
    pub access_profile_id: Option<String>,
    /// A limit from `rate_limits`.
    #[schemars(extend("x-no-effect" = true))]
    pub rate_limit_id: Option<String>,
    /// A limit of its own.
    #[schemars(extend("x-no-effect" = true))]
    pub rate_limit: Option<RateLimit>,
    /// A budget from `budgets`.
    #[schemars(extend("x-no-effect" = true))]
    pub budget_id: Option<String>,
    /// Spending limits of its own.
    #[schemars(extend("x-no-effect" = true))]
    pub budgets: Vec<Budget>,
    /// One spending limit of its own: the former spelling of `budgets`.
    #[schemars(extend("x-no-effect" = true, "deprecated" = true))]
    pub budget: Option<Budget>,
}

/// A provider that a virtual key may use.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderGrant {
    /// A stable identifier.
    pub id: Option<StringOrNumber>,
    /// The provider's name. Required.
    pub provider: Option<String>,
    /// The share of requests that name no provider; absent: only used when named.
    #[schemars(range(min = 0.0))]
    pub weight: Option<f64>,
    /// Absent or `["*"]`: all. `[]`: all, or none with `version: 2`.
    pub allowed_models: Option<Vec<String>>,
    /// Never these models.
    pub blacklisted_models: Vec<String>,
    /// Names or identifiers of provider keys; absent or empty: every key of the provider.
    pub key_ids: Vec<String>,
    /// A limit from `rate_limits`.
    #[schemars(extend("x-no-effect" = true))]
    pub rate_limit_id: Option<String>,
    /// A limit of its own.
    #[schemars(extend("x-no-effect" = true))]
    pub rate_limit: Option<RateLimit>,
    /// A budget from `budgets`.
    #[schemars(extend("x-no-effect" = true))]
    pub budget_id: Option<String>,
    /// Spending limits of its own.
    #[schemars(extend("x-no-effect" = true))]
    pub budgets: Vec<Budget>,
    /// One spending limit of its own: the former spelling of `budgets`.
    #[schemars(extend("x-no-effect" = true, "deprecated" = true))]
    pub budget: Option<Budget>,
}

/// A tool server that a virtual key may use.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ToolGrant {
    /// The tool server's name. Required, or `mcp_client_id`.
    pub mcp_client_name: Option<String>,
    /// The tool server's `client_id`.
    pub mcp_client_id: Option<String>,
    /// Tools without the server's prefix; `["*"]` is all of them. Absent or `[]`: none.
    pub tools_to_execute: Option<Vec<String>>,
}

/// A spending limit.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// A stable identifier.
    pub id: Option<String>,
    /// US dollars.
    #[schemars(range(min = 0.0))]
    pub max_limit: Option<f64>,
    /// The window after which spending starts again from zero.
    pub reset_duration: Option<Window>,
    /// Spent so far.
    pub current_usage: Option<f64>,
    /// When the window began.
    pub last_reset: Option<String>,
    /// The owner.
    pub virtual_key_id: Option<String>,
    /// The owner.
    pub provider_config_id: Option<StringOrNumber>,
    /// The owner.
    pub model_config_id: Option<String>,
    /// The owner.
    pub customer_id: Option<String>,
    /// The owner.
    pub team_id: Option<String>,
    /// Windows begin at midnight, on Mondays, on the first.
    pub calendar_aligned: bool,
    /// When quarters begin.
    pub reset_config: Option<Opaque>,
}

/// A limit of requests and tokens per window.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimit {
    /// A stable identifier.
    pub id: Option<String>,
    /// Tokens per window.
    pub token_max_limit: Option<u64>,
    /// The window of tokens.
    pub token_reset_duration: Option<Window>,
    /// Tokens so far.
    pub token_current_usage: Option<u64>,
    /// When the window of tokens began.
    pub token_last_reset: Option<String>,
    /// Requests per window.
    pub request_max_limit: Option<u64>,
    /// The window of requests.
    pub request_reset_duration: Option<Window>,
    /// Requests so far.
    pub request_current_usage: Option<u64>,
    /// When the window of requests began.
    pub request_last_reset: Option<String>,
    /// Windows begin at midnight, on Mondays, on the first.
    pub calendar_aligned: bool,
}

pub use text_or_number::StringOrNumber;

mod text_or_number {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use serde::Deserialize;
    use serde::de::{Deserializer, IgnoredAny};

    /// An identifier or a port that documents write both ways; no setting reads it yet.
    #[derive(Clone, Copy, Debug)]
    pub struct StringOrNumber;

    impl<'de> Deserialize<'de> for StringOrNumber {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(IgnoredAny).map(|IgnoredAny| Self)
        }
    }

    impl JsonSchema for StringOrNumber {
        fn schema_name() -> Cow<'static, str> {
            "StringOrNumber".into()
        }

        fn inline_schema() -> bool {
            true
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({"type": ["string", "integer"]})
        }
    }
}

impl Default for VirtualKey {
    fn default() -> Self {
        Self {
            id: None,
            name: None,
            description: None,
            value: None,
            is_active: true,
            allow_all_providers: false,
            provider_configs: None,
            mcp_configs: Vec::new(),
            disable_content_logging: None,
            expires_at: None,
            delete_after_expire: false,
            calendar_aligned: false,
            team_id: None,
            customer_id: None,
            access_profile_id: None,
            rate_limit_id: None,
            rate_limit: None,
            budget_id: None,
            budgets: Vec::new(),
            budget: None,
        }
    }
}
