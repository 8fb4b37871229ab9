//! Stores, prices and plugins: documented, checked, and without effect in this version.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Opaque;
use super::governance::StringOrNumber;
use crate::config::secret::Reference;

/// Backing of the semantic cache.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VectorStore {
    /// False: not used.
    pub enabled: bool,
    /// The kind of store.
    pub r#type: Option<VectorStoreType>,
    /// Its connection.
    pub config: Opaque,
}

/// Kinds of vector store.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VectorStoreType {
    Weaviate,
    Redis,
    Qdrant,
    Pinecone,
}

/// Where settings made at run time live.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConfigStore {
    /// False: the file is all there is.
    pub enabled: bool,
    /// `sqlite` or `postgres`.
    pub r#type: Option<ConfigStoreType>,
    /// Its connection.
    pub config: StoreConfig,
    /// Where secrets live.
    pub vault_store: Option<Opaque>,
}

/// Kinds of configuration store.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConfigStoreType {
    Sqlite,
    Postgres,
}

/// Where request logs live.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogsStore {
    /// False: no store.
    pub enabled: bool,
    /// `sqlite`, `postgres` or `clickhouse`.
    pub r#type: Option<LogsStoreType>,
    /// Its connection.
    pub config: StoreConfig,
    /// How long records are kept.
    pub retention_days: Option<u32>,
    /// How records are batched.
    pub writer: Option<Opaque>,
    /// Where large contents live.
    pub object_storage: Option<Opaque>,
    /// Contents that stay in the store.
    pub object_storage_exclude_fields: Vec<String>,
}

/// Kinds of log store.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogsStoreType {
    Sqlite,
    Postgres,
    Clickhouse,
}

/// The connection of a store; the keys depend on its type.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// SQLite: the file.
    pub path: Option<String>,
    /// The server's host name.
    pub host: Option<Reference>,
    /// The server's port, as text or number.
    pub port: Option<StringOrNumber>,
    /// PostgreSQL: the user.
    pub user: Option<Reference>,
    /// `ClickHouse`: the user.
    pub username: Option<Reference>,
    /// The password.
    pub password: Option<Reference>,
    /// A command that prints the password.
    pub password_command: Option<Opaque>,
    /// PostgreSQL: the database.
    pub db_name: Option<Reference>,
    /// `ClickHouse`: the database.
    pub database: Option<Reference>,
    /// PostgreSQL: `disable`, `require`, ..
    pub ssl_mode: Option<Reference>,
    /// Idle connections.
    pub max_idle_conns: Option<u32>,
    /// Open connections.
    pub max_open_conns: Option<u32>,
    /// The longest a connection is used.
    pub conn_max_lifetime: Option<StringOrNumber>,
    /// PostgreSQL: how often summaries are rebuilt, or `off`.
    pub matview_refresh_interval: Option<String>,
    /// `ClickHouse`: `native` or `http`.
    pub protocol: Option<String>,
    /// `ClickHouse`: with TLS.
    pub secure: Option<bool>,
    /// `ClickHouse`: until a connection stands.
    pub dial_timeout: Option<StringOrNumber>,
    /// `ClickHouse`: the cluster.
    pub cluster: Option<String>,
}

/// Prices and model data.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Framework {
    /// Where prices come from.
    pub pricing: Option<Pricing>,
}

/// Where prices come from.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pricing {
    /// The price list.
    pub pricing_url: Option<String>,
    /// Seconds between updates, at least 3600.
    #[schemars(range(min = 3600))]
    pub pricing_sync_interval: Option<u64>,
    /// Model parameters.
    pub model_parameters_url: Option<String>,
    /// A list of tool servers.
    pub mcp_library_url: Option<String>,
    /// Seconds between updates.
    pub mcp_library_sync_interval: Option<u64>,
}

/// A built-in or external plugin.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Plugin {
    /// False: not used.
    pub enabled: bool,
    /// The plugin's name.
    pub name: Option<String>,
    /// Its own settings.
    pub config: Opaque,
    /// Where an external plugin lives.
    pub path: Option<String>,
    /// Its version.
    pub version: Option<u32>,
    /// `pre_builtin` or `post_builtin`.
    pub placement: Option<Placement>,
    /// Its place among its like.
    pub order: Option<i32>,
}

/// When an external plugin runs.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    PreBuiltin,
    PostBuiltin,
}
