//! A real gateway on a free port, with its world in the same process: `Gateway::start().provider(..).tool(..).await`.
//!
//! The configuration is JSON text that goes through the same file and the same checks as an operator's.

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::ops::Deref;
use std::pin::Pin;
use std::time::Duration;

use bifrost_fixtures::mcp::Transport;
use bifrost_fixtures::{Recorded, Style, ToolServer, Upstream};
use bifrost_gateway::engine::owners::Owners;
use bifrost_gateway::record::LogStyle;
use bifrost_gateway::{Options, config};
use serde_json::{Value, json};

use crate::json::{merge, push};
use crate::{Client, OrFail as _, PROVIDERS, fixtures};

/// A running gateway and the world around it. Everything ends with the test's runtime.
#[derive(Debug)]
pub struct Gateway {
    inner: bifrost_gateway::Gateway,
    client: Client,
    upstreams: BTreeMap<String, Upstream>,
    tools: BTreeMap<String, ToolServer>,
}

/// A gateway to be started: awaiting it starts it.
#[derive(Debug)]
pub struct Setup {
    config: Value,
    providers: Vec<(String, Style)>,
    tools: Vec<(String, String)>,
    ping_after: Option<Duration>,
    stalled_after: Option<Duration>,
    environment: Vec<(String, String)>,
}

// === impl Setup ===

impl Setup {
    fn new() -> Self {
        let config = json!({
            "version": 1,
            "providers": {},
            "mcp": {"client_configs": [], "tool_manager_config": {}},
            "governance": {"virtual_keys": []},
        });
        let (providers, tools, environment) = (Vec::new(), Vec::new(), Vec::new());
        Self { config, providers, tools, ping_after: None, stalled_after: None, environment }
    }

    /// A scripted provider of this dialect, with one key (`sk-<name>`), no retries, and short pauses where a test sets some.
    #[must_use]
    pub fn provider(self, name: &str, style: Style) -> Self {
        self.provider_with(name, style, &json!({}))
    }

    /// The same, with this JSON merged into `providers.<name>`.
    #[must_use]
    pub fn provider_with(mut self, name: &str, style: Style, patch: &Value) -> Self {
        let network =
            json!({"retry_backoff_initial": 5, "retry_backoff_max": 20, "default_request_timeout_in_seconds": 20});
        let keys = json!([{"name": format!("{name}-key"), "value": format!("sk-{name}"), "weight": 1.0}]);
        let mut provider = json!({"keys": keys, "network_config": network});
        if let Some(custom) = custom(name, style) {
            merge(&mut provider, &json!({"custom_provider_config": custom}));
        }
        merge(&mut provider, patch);
        merge(&mut self.config, &json!({"providers": {name: provider}}));
        self.providers.push((name.to_owned(), style));
        self
    }

    /// A provider with these keys (values; their names are `key-0`, `key-1`, ..) and so many retries per key.
    #[must_use]
    pub fn provider_keys(self, name: &str, style: Style, keys: &[&str], retries: u32) -> Self {
        let keys = keys.iter().enumerate();
        let keys: Vec<Value> = keys.map(|(at, key)| json!({"name": format!("key-{at}"), "value": key})).collect();
        self.provider_with(name, style, &json!({"keys": keys, "network_config": {"max_retries": retries}}))
    }

    /// A provider at an address of the test's own.
    #[must_use]
    pub fn provider_at(mut self, name: &str, style: Style, url: &str, patch: &Value) -> Self {
        self = self.provider_with(name, style, patch);
        self.providers.pop();
        merge(&mut self.config, &json!({"providers": {name: {"network_config": {"base_url": url}}}}));
        self
    }

    /// A scripted tool server over Streamable HTTP; the gateway runs all of its tools by itself.
    #[must_use]
    pub fn tool(self, name: &str, scenario: &str) -> Self {
        self.tool_with(name, scenario, &json!({}))
    }

    /// The same, with this JSON merged into its configuration.
    #[must_use]
    pub fn tool_with(mut self, name: &str, scenario: &str, patch: &Value) -> Self {
        let mut server = json!({"name": name, "connection_type": "http", "tools_to_auto_execute": ["*"]});
        merge(&mut server, patch);
        self.add_server(server);
        self.tools.push((name.to_owned(), scenario.to_owned()));
        self
    }

    /// A scripted tool server on standard input and output, as a child process.
    #[must_use]
    pub fn stdio_tool(mut self, name: &str, scenario: &str) -> Self {
        let args = ["tools", "--scenario", scenario];
        let stdio = json!({"command": fixtures(), "args": args});
        let server =
            json!({"name": name, "connection_type": "stdio", "stdio_config": stdio, "tools_to_auto_execute": ["*"]});
        self.add_server(server);
        self
    }

    /// A virtual key, as it stands in `governance.virtual_keys`.
    #[must_use]
    pub fn virtual_key(mut self, key: Value) -> Self {
        push(&mut self.config, "/governance/virtual_keys", key);
        self
    }

    /// JSON merged into `mcp.tool_manager_config`.
    #[must_use]
    pub fn loop_settings(mut self, patch: &Value) -> Self {
        merge(&mut self.config, &json!({"mcp": {"tool_manager_config": patch}}));
        self
    }

    /// JSON merged into the whole configuration.
    #[must_use]
    pub fn settings(mut self, patch: &Value) -> Self {
        merge(&mut self.config, patch);
        self
    }

    /// How long a stream may be silent before it is pinged.
    #[must_use]
    pub fn ping_after(mut self, silence: Duration) -> Self {
        self.ping_after = Some(silence);
        self
    }

    /// How long a client may go without reading.
    #[must_use]
    pub fn stalled_after(mut self, patience: Duration) -> Self {
        self.stalled_after = Some(patience);
        self
    }

    /// A variable of its environment, which is empty otherwise.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The configuration so far, for a gateway that is started in another way.
    pub fn config(&self) -> &Value {
        &self.config
    }

    fn add_server(&mut self, server: Value) {
        push(&mut self.config, "/mcp/client_configs", server);
    }

    async fn start(mut self) -> Gateway {
        let mut upstreams = BTreeMap::new();
        for (name, style) in std::mem::take(&mut self.providers) {
            let upstream = Upstream::start(style).await.or_fail("starting a provider");
            let network = json!({"network_config": {"base_url": upstream.url()}});
            merge(&mut self.config, &json!({"providers": {&name: network}}));
            upstreams.insert(name, upstream);
        }
        let mut tools = BTreeMap::new();
        for (name, scenario) in std::mem::take(&mut self.tools) {
            let server = tool_server(&scenario, self.server(&name)).await;
            self.server(&name)["connection_string"] = server.url().into();
            tools.insert(name, server);
        }
        let settings = settings(&self.config, &self.environment);
        let (ping_after, stalled_after) = (self.ping_after, self.stalled_after);
        let options = Options { log_style: LogStyle::Off, ping_after, stalled_after, ..Options::default() };
        let inner = bifrost_gateway::Gateway::start(&settings, options).await.or_fail("starting the gateway");
        let client = Client::new(&inner.address().to_string());
        Gateway { inner, client, upstreams, tools }
    }

    fn server(&mut self, name: &str) -> &mut Value {
        let servers = self.config.pointer_mut("/mcp/client_configs").and_then(Value::as_array_mut);
        servers.into_iter().flatten().find(|server| server["name"] == name).or_fail("a configured tool server")
    }
}

impl IntoFuture for Setup {
    type Output = Gateway;
    type IntoFuture = Pin<Box<dyn Future<Output = Gateway> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

/// What a provider is told to be that is none by its name.
fn custom(name: &str, style: Style) -> Option<Value> {
    if style == Style::Responses {
        let alone = json!({"responses": true, "responses_stream": true});
        return Some(json!({"base_provider_type": "openai", "allowed_requests": alone}));
    }
    (name != style.name()).then(|| json!({"base_provider_type": style.name()}))
}

async fn tool_server(scenario: &str, config: &Value) -> ToolServer {
    let transport = if config["connection_type"] == "sse" { Transport::Sse } else { Transport::Http };
    let scenario = scenario.parse().or_fail("a scenario");
    ToolServer::start(scenario, transport, 0, None).await.or_fail("starting a tool server")
}

fn settings(config: &Value, environment: &[(String, String)]) -> config::Settings {
    let file = tempfile::Builder::new().suffix(".json").tempfile().or_fail("a temporary file");
    std::fs::write(file.path(), config.to_string()).or_fail("writing the configuration");
    let variable = |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let loaded = config::load(file.path(), &variable);
    let mut settings = loaded.unwrap_or_else(|error| refused(&error));
    settings.listen.port = 0;
    settings
}

#[expect(clippy::panic, reason = "a test fails by panicking")]
fn refused(error: &config::ConfigError) -> ! {
    panic!("the configuration is refused:\n{error}")
}

// === impl Gateway ===

impl Gateway {
    /// Begins to describe a gateway.
    pub fn start() -> Setup {
        Setup::new()
    }

    /// One provider of each of two dialects, `openai` and `anthropic`.
    pub fn both() -> Setup {
        Self::start().provider("openai", Style::OpenAi).provider("anthropic", Style::Anthropic)
    }

    /// One provider of every dialect, under its style's name.
    pub fn every() -> Setup {
        PROVIDERS.into_iter().fold(Self::start(), |setup, style| setup.provider(style.name(), style))
    }

    /// The scripted provider of this name.
    pub fn upstream(&self, name: &str) -> &Upstream {
        self.upstreams.get(name).or_fail(name)
    }

    /// The scripted tool server of this name.
    pub fn tools(&self, name: &str) -> &ToolServer {
        self.tools.get(name).or_fail(name)
    }

    /// The chat requests that this provider received, as JSON.
    pub fn asked(&self, name: &str) -> Vec<Value> {
        let requests = self.upstream(name).requests();
        requests.iter().filter(|request| request.method == http::Method::POST).map(Recorded::json).collect()
    }

    /// Whose things are on record, as a store that several gateways share would have it.
    pub fn owners(&self) -> &dyn Owners {
        &*self.inner.engine().owners
    }

    /// Stops it in order.
    pub async fn stop(self, drain: Duration) {
        self.inner.stop(drain).await;
    }
}

impl Deref for Gateway {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}
