//! `mcp`: tool servers and the tool loop.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Opaque;
use crate::config::period::Period;
use crate::config::secret::Reference;

/// Tool servers and the tool loop.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Mcp {
    /// Tool servers.
    #[schemars(extend("x-former-names" = ["clients"]))]
    pub client_configs: Vec<ToolClient>,
    /// How tools are run.
    pub tool_manager_config: ToolManager,
    /// How often tools are listed again; a number is nanoseconds, a negative one switches it off.
    #[schemars(extend("default" = "10m"))]
    pub tool_sync_interval: Option<Period>,
    /// Virtual tool servers.
    #[schemars(extend("x-no-effect" = true))]
    pub tool_groups: Vec<Opaque>,
    /// How tool servers are probed.
    #[schemars(extend("x-no-effect" = true))]
    pub health_monitor_config: Option<HealthMonitor>,
}

/// How tools are run.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ToolManager {
    /// The longest a tool call may take; a number is nanoseconds.
    #[schemars(extend("default" = "30s"))]
    pub tool_execution_timeout: Option<Period>,
    /// How often the model may be asked again within one request.
    #[schemars(range(min = 1, max = 1000), extend("default" = 10))]
    pub max_agent_depth: Option<u32>,
    /// How many tool calls one request may run.
    #[schemars(range(min = 1, max = 100_000), extend("default" = 100))]
    pub max_tool_calls: Option<u32>,
    /// How long one request may run tools and turns; a number is nanoseconds.
    #[schemars(extend("default" = "10m"))]
    pub agent_deadline: Option<Period>,
    /// A longer tool result is cut, with a notice.
    #[schemars(range(min = 1024, max = 104_857_600), extend("default" = 262_144))]
    pub max_result_bytes: Option<usize>,
    /// How long the start waits for tool servers before it serves without them; they go on connecting.
    #[schemars(extend("default" = "10s"))]
    pub start_bound: Option<Period>,
    /// A turn that asks for tools of the gateway and of the caller: `restore` or `bifrost`.
    #[schemars(extend("default" = "restore"))]
    pub mixed_turns: Option<MixedTurns>,
    /// Tools are offered only to requests that ask for them.
    #[schemars(extend("default" = false))]
    pub disable_auto_tool_inject: Option<bool>,
    /// How code mode binds tools: `server` or `tool`.
    #[schemars(extend("default" = "server", "x-no-effect" = true))]
    pub code_mode_binding_level: Option<BindingLevel>,
}

/// What happens in a turn that asks for tools of the gateway and of the caller.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MixedTurns {
    Restore,
    Bifrost,
}

/// How code mode binds tools.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BindingLevel {
    Server,
    Tool,
}

/// How tool servers are probed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthMonitor {
    /// Between probes.
    pub check_interval: Option<Period>,
    /// For one probe.
    pub check_timeout: Option<Period>,
    /// Then the server counts as gone.
    pub max_consecutive_failures: Option<u32>,
}

/// A tool server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ToolClient {
    /// A stable identifier; absent: the name.
    #[schemars(extend("x-former-names" = ["id"]))]
    pub client_id: Option<String>,
    /// Unique; prefixes the names of its tools. ASCII, no `-`, no space, no digit first. Required.
    pub name: Option<String>,
    /// `stdio`, `http` (streamable HTTP) or `sse`. Required.
    #[schemars(extend("x-former-names" = ["transport"]))]
    pub connection_type: Option<ConnectionType>,
    /// The address for `http` and `sse`.
    pub connection_string: Option<Reference>,
    /// The command for `stdio`.
    pub stdio_config: Option<Stdio>,
    /// Short form of `stdio_config.command`.
    pub command: Option<Reference>,
    /// Short form of `stdio_config.args`.
    pub args: Vec<Reference>,
    /// Short form of `stdio_config.env`.
    pub env: IndexMap<String, Reference>,
    /// `none`, `headers`, or one of the kinds that later versions bring.
    #[schemars(extend("default" = "headers"))]
    pub auth_type: Option<AuthType>,
    /// Headers of every request to the server.
    pub headers: IndexMap<String, Reference>,
    /// Tools that may be used, without the server's prefix. Absent or `["*"]`: all. `[]`: none.
    pub tools_to_execute: Option<Vec<String>>,
    /// Tools that the gateway runs by itself. Absent or `[]`: none. `["*"]`: all that may be used.
    pub tools_to_auto_execute: Vec<String>,
    /// How often tools are listed again; a number is nanoseconds, 0 means the global interval, a negative one off.
    pub tool_sync_interval: Option<Period>,
    /// The longest a call may take; absent: the global limit. A number is nanoseconds.
    pub tool_execution_timeout: Option<Period>,
    /// Until the server answers and its tools are listed.
    #[schemars(extend("default" = "30s"))]
    pub connect_timeout: Option<Period>,
    /// Caller headers that are passed on to the server; `*` alone passes all.
    #[schemars(extend("x-no-effect" = true))]
    pub allowed_extra_headers: Vec<String>,
    /// Every virtual key may use the server.
    #[schemars(extend("x-former-names" = ["allow_by_default"]))]
    pub allow_on_all_virtual_keys: bool,
    /// True leaves the server unstarted.
    pub disabled: bool,
    /// False: tell its health by listing tools.
    pub is_ping_available: bool,
    /// Tools are reached through code mode only.
    #[schemars(extend("x-no-effect" = true))]
    pub is_code_mode_client: bool,
    /// Headers that every caller brings.
    #[schemars(extend("x-no-effect" = true))]
    pub per_user_header_keys: Vec<String>,
    /// OAuth to the server.
    #[schemars(extend("x-no-effect" = true))]
    pub oauth_config: Option<Opaque>,
    /// OAuth to the server.
    #[schemars(extend("x-no-effect" = true))]
    pub oauth_config_id: Option<String>,
    /// US dollars per call.
    #[schemars(extend("x-no-effect" = true))]
    pub tool_pricing: IndexMap<String, f64>,
    /// Certificates.
    #[schemars(extend("x-no-effect" = true))]
    pub tls_config: Option<Tls>,
    /// A REST interface as tools.
    #[schemars(extend("x-no-effect" = true))]
    pub openapi_config: Option<Opaque>,
    /// The server's own address below `/mcp`.
    #[schemars(extend("x-no-effect" = true))]
    pub endpoint_slug: Option<String>,
    /// The server keeps state per session.
    #[schemars(extend("x-no-effect" = true))]
    pub needs_session_stickiness: bool,
}

/// How a tool server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionType {
    Stdio,
    Http,
    Sse,
    InProcess,
    OpenApi,
}

/// How the gateway identifies itself to a tool server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthType {
    None,
    Headers,
    Oauth,
    PerUserOauth,
    PerUserHeaders,
    TokenExchange,
}

/// The command of a `stdio` tool server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Stdio {
    /// The program. Required.
    pub command: Option<Reference>,
    /// Its arguments.
    pub args: Vec<Reference>,
    /// Names of environment variables it needs; a missing one is an error.
    pub envs: Vec<String>,
    /// Environment variables to set.
    pub env: IndexMap<String, Reference>,
    /// The directory to start in.
    pub cwd: Option<String>,
}

/// Certificates of a tool server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
    /// A certificate authority to trust, as PEM text.
    pub ca_cert_pem: Option<Reference>,
}

impl Default for ToolClient {
    fn default() -> Self {
        Self {
            client_id: None,
            name: None,
            connection_type: None,
            connection_string: None,
            stdio_config: None,
            command: None,
            args: Vec::new(),
            env: IndexMap::new(),
            auth_type: None,
            headers: IndexMap::new(),
            tools_to_execute: None,
            tools_to_auto_execute: Vec::new(),
            tool_sync_interval: None,
            tool_execution_timeout: None,
            connect_timeout: None,
            allowed_extra_headers: Vec::new(),
            allow_on_all_virtual_keys: false,
            disabled: false,
            is_ping_available: true,
            is_code_mode_client: false,
            per_user_header_keys: Vec::new(),
            oauth_config: None,
            oauth_config_id: None,
            tool_pricing: IndexMap::new(),
            tls_config: None,
            openapi_config: None,
            endpoint_slug: None,
            needs_session_stickiness: false,
        }
    }
}
