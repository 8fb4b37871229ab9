//! The shape of `config.json`: every documented key, typed, and nothing else.
//!
//! These types are the single source of the published JSON Schema, of the check for unknown keys and of the key tables in the
//! documentation. They hold what was written; [`resolve`](super::resolve) turns them into settings. Two markers go into the
//! schema and are read back from it by the checker:
//! - `x-former-names`: spellings of older documents, accepted and renamed before the check;
//! - `x-no-effect`: accepted because it is documented, without effect in this version; its use is a start-up warning.

mod governance;
mod key;
mod provider;
mod stores;
mod tools;

use std::borrow::Cow;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

use super::period::Period;
use super::secret::Reference;
pub use governance::*;
pub use key::*;
pub use provider::*;
pub use stores::*;
pub use tools::*;

/// The whole configuration file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Bifrost configuration")]
pub struct File {
    /// Where editors find the schema of this file.
    #[serde(rename = "$schema")]
    pub schema: Option<String>,
    /// 1 (or absent): an empty list of models allows every model. 2: an empty list allows none.
    #[schemars(range(min = 1, max = 2))]
    pub version: Option<u8>,
    /// What the gateway does for every request.
    #[schemars(extend("x-former-names" = ["client_config"]))]
    pub client: Client,
    /// Model providers by name. An unknown name needs `custom_provider_config`.
    pub providers: IndexMap<String, Provider>,
    /// Virtual keys and what they may use.
    pub governance: Governance,
    /// Tool servers (Model Context Protocol) and the tool loop.
    pub mcp: Mcp,
    /// Which side wins when file and store disagree: `split` or `config.json`.
    #[schemars(extend("x-no-effect" = true))]
    pub source_of_truth: Option<SourceOfTruth>,
    /// Encrypts secrets at rest.
    #[schemars(extend("x-no-effect" = true))]
    pub encryption_key: Option<Reference>,
    /// A badge for the user interface, at most ten characters.
    #[schemars(length(max = 10), extend("x-no-effect" = true))]
    pub env_label: Option<String>,
    /// Buffers of the HTTP server.
    #[schemars(extend("x-no-effect" = true))]
    pub server: Option<Server>,
    /// Login of the management interface.
    #[schemars(extend("x-no-effect" = true))]
    pub auth_config: Option<Opaque>,
    /// Prices and model data.
    #[schemars(extend("x-no-effect" = true))]
    pub framework: Option<Framework>,
    /// Backing of the semantic cache.
    #[schemars(extend("x-no-effect" = true))]
    pub vector_store: Option<VectorStore>,
    /// Where settings made at run time live.
    #[schemars(extend("x-no-effect" = true))]
    pub config_store: Option<ConfigStore>,
    /// Where request logs live.
    #[schemars(extend("x-no-effect" = true))]
    pub logs_store: Option<LogsStore>,
    /// Built-in and external plugins.
    #[schemars(extend("x-no-effect" = true))]
    pub plugins: Vec<Plugin>,
    /// Receivers of job events.
    #[schemars(extend("x-no-effect" = true))]
    pub webhooks: Vec<Opaque>,
    /// Limits of the WebSocket mode.
    #[schemars(extend("x-no-effect" = true))]
    pub websocket: Option<Opaque>,
    /// Circuit breakers driven by response headers.
    #[schemars(extend("x-no-effect" = true))]
    pub circuit_breaker_config: Option<Opaque>,
    /// Agent skills.
    #[schemars(extend("x-no-effect" = true))]
    pub skills_registry: Option<Opaque>,
    /// Switches of unfinished features.
    #[schemars(extend("x-no-effect" = true))]
    pub feature_flags: Option<Opaque>,
    /// Enterprise edition.
    #[schemars(extend("x-no-effect" = true))]
    pub alerting: Option<Opaque>,
    /// Enterprise edition.
    #[schemars(extend("x-no-effect" = true))]
    pub guardrails_config: Option<Opaque>,
    /// Enterprise edition.
    #[schemars(extend("x-no-effect" = true))]
    pub audit_logs: Option<Opaque>,
    /// Enterprise edition.
    #[schemars(extend("x-no-effect" = true))]
    pub cluster_config: Option<Opaque>,
    /// Enterprise edition.
    #[schemars(extend("x-no-effect" = true))]
    pub load_balancer_config: Option<Opaque>,
    /// Enterprise edition.
    #[schemars(extend("x-no-effect" = true))]
    pub large_payload_optimization: Option<Opaque>,
    /// Enterprise edition.
    #[schemars(extend("x-no-effect" = true))]
    pub scim_config: Option<Opaque>,
    /// Enterprise edition.
    #[schemars(extend("x-no-effect" = true))]
    pub access_profiles: Option<Opaque>,
}

/// What the gateway does for every request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Client {
    /// When a provider's queue is full: refuse at once (true) or wait (false).
    pub drop_excess_requests: bool,
    /// Accepted; this gateway pools nothing per request.
    pub initial_pool_size: u32,
    /// Names of extra metric labels; their values come in request headers `x-bf-dim-<name>` or `x-bf-prom-<name>`.
    pub prometheus_labels: Vec<String>,
    /// Write one log record per request.
    pub enable_logging: bool,
    /// Keep message contents out of log records.
    pub disable_content_logging: bool,
    /// Every inference request needs a valid virtual key.
    #[schemars(extend("x-former-names" = ["enforce_governance_header", "enforce_scim_auth"]))]
    pub enforce_auth_on_inference: bool,
    /// Former switch; virtual keys are always honoured, so `false` changes nothing.
    #[schemars(extend("x-no-effect" = true))]
    pub enable_governance: bool,
    /// Callers may bring a provider's key of their own in `Authorization`, `x-api-key`, `x-goog-api-key` or `api-key`; it is used
    /// instead of the configured ones, unless the request says `x-bf-direct-key: false`. A provider may then be without keys.
    /// `x-bf-azure-endpoint` names the resource at Azure, `?api-version=` the version of its API. With
    /// `enforce_auth_on_inference` a virtual key is needed beside it.
    pub allow_direct_keys: bool,
    /// Origins that browsers may call from: exact, `*`, or with `*` inside a host label. Loopback is always allowed.
    pub allowed_origins: Vec<String>,
    /// Request headers that browsers may send besides the usual ones.
    pub allowed_headers: Vec<String>,
    /// Headers that every inference request must carry; a missing one is refused with 400.
    pub required_headers: Vec<String>,
    /// Request headers that are copied into the log record.
    pub logging_headers: Vec<String>,
    /// Which caller headers may be forwarded to providers: those that come as `x-bf-eh-<name>`, or by their own name where the
    /// list allows it. Credentials never are.
    pub header_filter_config: HeaderFilter,
    /// The largest request body, in MB (10^6 bytes).
    #[schemars(range(min = 1, max = 4096))]
    pub max_request_body_size_mb: u64,
    /// Former place of `mcp.tool_manager_config.max_agent_depth`.
    #[schemars(range(min = 1), extend("deprecated" = true))]
    pub mcp_agent_depth: Option<u32>,
    /// Former place of `mcp.tool_manager_config.tool_execution_timeout`; a number is seconds.
    #[schemars(extend("deprecated" = true))]
    pub mcp_tool_execution_timeout: Option<Period>,
    /// Former place of `mcp.tool_manager_config.code_mode_binding_level`.
    #[schemars(extend("deprecated" = true, "x-no-effect" = true))]
    pub mcp_code_mode_binding_level: Option<String>,
    /// Former place of `mcp.tool_sync_interval`; a number is minutes.
    #[schemars(extend("deprecated" = true))]
    pub mcp_tool_sync_interval: Option<Period>,
    /// Former place of `mcp.tool_manager_config.disable_auto_tool_inject`.
    #[schemars(extend("deprecated" = true))]
    pub mcp_disable_auto_tool_inject: Option<bool>,
    /// A header may override `disable_content_logging`.
    #[schemars(extend("x-no-effect" = true))]
    pub allow_per_request_content_storage_override: bool,
    /// Headers may ask for raw bodies.
    #[schemars(extend("x-no-effect" = true))]
    pub allow_per_request_raw_override: bool,
    /// How long log records are kept.
    #[schemars(range(min = 1), extend("default" = 365, "x-no-effect" = true))]
    pub log_retention_days: Option<u32>,
    /// Write failed requests to the console log.
    #[schemars(extend("x-no-effect" = true))]
    pub dump_errors_in_console_logs: bool,
    /// Leave the databases out of `/health`.
    #[schemars(extend("x-no-effect" = true))]
    pub disable_db_pings_in_health: bool,
    /// `prefer_idp`, `prefer_vk` or `error`.
    #[schemars(extend("default" = "prefer_idp", "x-no-effect" = true))]
    pub dual_credential_conflict_behavior: Option<CredentialConflict>,
    /// Management routes that need no login.
    #[schemars(extend("x-no-effect" = true))]
    pub whitelisted_routes: Vec<String>,
    /// Conversions between text completions, chat and responses.
    pub compat: Option<Compat>,
    /// Former name of `compat.convert_text_to_chat`.
    #[schemars(extend("deprecated" = true))]
    pub enable_litellm_fallbacks: bool,
    /// How long results of asynchronous jobs are kept, in seconds.
    #[schemars(extend("default" = 3600, "x-no-effect" = true))]
    pub async_job_result_ttl: Option<u64>,
    /// History of webhook deliveries.
    #[schemars(extend("x-no-effect" = true))]
    pub webhook_config: Option<Opaque>,
    /// How often a routing rule may send a request back to the rules.
    #[schemars(extend("default" = 10, "x-no-effect" = true))]
    pub routing_chain_max_depth: Option<u32>,
    /// User interface.
    #[schemars(extend("x-no-effect" = true))]
    pub hide_deleted_virtual_keys_in_filters: bool,
    /// Remove virtual keys once they expire.
    #[schemars(extend("x-no-effect" = true))]
    pub delete_expired_virtual_keys: bool,
    /// How callers of `/mcp` identify themselves: `headers`, `both` or `oauth`.
    #[schemars(extend("default" = "headers", "x-no-effect" = true))]
    pub mcp_server_auth_mode: Option<McpAuthMode>,
    /// The OAuth server for callers of `/mcp`.
    #[schemars(extend("x-no-effect" = true))]
    pub oauth2_server_config: Option<Opaque>,
    /// Public base URL for OAuth replies of tool servers.
    #[schemars(extend("x-no-effect" = true))]
    pub mcp_external_client_url: Option<String>,
    /// Public base URL of `/mcp`.
    #[schemars(extend("x-no-effect" = true))]
    pub mcp_external_server_url: Option<String>,
    /// Short-lived tokens for `/mcp`.
    #[schemars(extend("x-no-effect" = true))]
    pub mcp_enable_temp_token_auth: bool,
}

/// Which caller headers may be forwarded to providers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderFilter {
    /// If not empty, only these of what callers ask to be forwarded; they may come without the prefix.
    pub allowlist: Vec<String>,
    /// Never these, nor where they are forwarded unasked.
    pub denylist: Vec<String>,
}

/// Conversions between text completions, chat and responses.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Compat {
    /// Answer every text completion (`/v1/completions`) through chat, for models that only chat.
    pub convert_text_to_chat: bool,
    /// Answer chat through responses.
    #[schemars(extend("x-no-effect" = true))]
    pub convert_chat_to_responses: bool,
    /// Drop parameters that a provider does not know.
    #[schemars(extend("x-no-effect" = true))]
    pub should_drop_params: bool,
    /// Convert parameters that a provider spells differently.
    #[schemars(extend("x-no-effect" = true))]
    pub should_convert_params: bool,
}

/// Buffers of the HTTP server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The header buffer, in bytes.
    pub read_buffer_size: Option<u64>,
}

/// Which side wins when file and store disagree.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub enum SourceOfTruth {
    #[serde(rename = "split")]
    Split,
    #[serde(rename = "config.json")]
    File,
}

/// What happens when a request carries two identities.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CredentialConflict {
    PreferIdp,
    PreferVk,
    Error,
}

/// How callers of `/mcp` identify themselves.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum McpAuthMode {
    Headers,
    Both,
    Oauth,
}

/// A documented section that this version neither reads nor keeps: whatever is inside, secrets included, is dropped at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opaque;

// === impl Client ===

impl Default for Client {
    fn default() -> Self {
        Self {
            drop_excess_requests: false,
            initial_pool_size: 300,
            prometheus_labels: Vec::new(),
            enable_logging: true,
            disable_content_logging: false,
            enforce_auth_on_inference: false,
            enable_governance: true,
            allow_direct_keys: false,
            allowed_origins: Vec::new(),
            allowed_headers: Vec::new(),
            required_headers: Vec::new(),
            logging_headers: Vec::new(),
            header_filter_config: HeaderFilter::default(),
            max_request_body_size_mb: 100,
            mcp_agent_depth: None,
            mcp_tool_execution_timeout: None,
            mcp_code_mode_binding_level: None,
            mcp_tool_sync_interval: None,
            mcp_disable_auto_tool_inject: None,
            allow_per_request_content_storage_override: false,
            allow_per_request_raw_override: false,
            log_retention_days: None,
            dump_errors_in_console_logs: false,
            disable_db_pings_in_health: false,
            dual_credential_conflict_behavior: None,
            whitelisted_routes: Vec::new(),
            compat: None,
            enable_litellm_fallbacks: false,
            async_job_result_ttl: None,
            webhook_config: None,
            routing_chain_max_depth: None,
            hide_deleted_virtual_keys_in_filters: false,
            delete_expired_virtual_keys: false,
            mcp_server_auth_mode: None,
            oauth2_server_config: None,
            mcp_external_client_url: None,
            mcp_external_server_url: None,
            mcp_enable_temp_token_auth: false,
        }
    }
}

// === impl Opaque ===

impl<'de> Deserialize<'de> for Opaque {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IgnoredAny).map(|IgnoredAny| Self)
    }
}

impl JsonSchema for Opaque {
    fn schema_name() -> Cow<'static, str> {
        "Opaque".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({})
    }
}
