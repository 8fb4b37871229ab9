//! Everything the demo starts: scripted providers, a tool server, and the gateway between them and the client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bifrost_fixtures::{Scenario, Style, ToolServer, Upstream};
use bifrost_gateway::config::{self, ProviderSettings, Settings, ToolServerSettings, Tools, Transport};
use bifrost_gateway::engine::observe::{ChatReply, ExecutedCall, PartKind, RunObserver};
use bifrost_gateway::record::LogStyle;
use bifrost_gateway::{Gateway, Options, StartError, usual_providers};
use tokio::sync::mpsc;

use crate::screen::{Ink, Screen};

/// The name of the tool server in the gateway's configuration, which begins the names of its tools.
const SERVER: &str = "weather";
/// The simulated agent, and the provider that plays it: not the one whose dialect the demo's client speaks.
const SIMULATED: &str = "anthropic/demo-agent";
/// What the tools are for; the simulated server has others, for tests, which nobody needs here.
const EXECUTE: [&str; 3] = ["compare", "convert_temperature", "get_weather"];

/// A provider that can be real: its key, where its address may be overridden, and the model that is asked.
const REAL: [Real; 2] = [
    Real { provider: "openai", key: "OPENAI_API_KEY", base: "OPENAI_BASE_URL", model: "openai/gpt-4o-mini" },
    Real {
        provider: "anthropic",
        key: "ANTHROPIC_API_KEY",
        base: "ANTHROPIC_BASE_URL",
        model: "anthropic/claude-haiku-4-5",
    },
];

#[derive(Debug)]
struct Real {
    provider: &'static str,
    key: &'static str,
    base: &'static str,
    model: &'static str,
}

type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Who plays the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cast {
    pub(crate) model: String,
    pub(crate) simulated: bool,
}

/// What the gateway does inside a request, as it tells.
#[derive(Debug)]
pub(crate) enum Event {
    TurnEnded(Turn),
    ToolsRan { calls: Vec<ExecutedCall>, at: Instant },
}

/// One finished turn of the model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) at: Instant,
    pub(crate) input: u64,
    pub(crate) output: u64,
    /// How much of it the client sees: see [`size`].
    pub(crate) visible: usize,
}

/// The running scene.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) cast: Cast,
    pub(crate) gateway: Gateway,
    pub(crate) events: mpsc::UnboundedReceiver<Event>,
    upstreams: Vec<(&'static str, Upstream)>,
    tools: ToolServer,
    started_in: Duration,
    /// The port that was asked for and was taken.
    taken: Option<u16>,
}

/// Sends on what the gateway tells.
#[derive(Debug)]
struct Reporter(mpsc::UnboundedSender<Event>);

// === impl Cast ===

impl Cast {
    /// A real provider if there is a key for one, unless the simulated one is asked for.
    pub(crate) fn choose(model: Option<&str>, simulate: bool, environment: Environment<'_>) -> Self {
        let real = REAL.iter().find(|real| !simulate && is_set(environment, real.key));
        let default = real.map_or(SIMULATED, |real| real.model);
        Self { model: model.unwrap_or(default).to_owned(), simulated: real.is_none() }
    }
}

fn is_set(environment: Environment<'_>, name: &str) -> bool {
    environment(name).is_some_and(|value| !value.trim().is_empty())
}

// === impl World ===

impl World {
    /// Starts providers and tool server, then the gateway; all on loopback.
    pub(crate) async fn start(cast: Cast, port: u16, environment: Environment<'_>) -> anyhow::Result<Self> {
        let tools = ToolServer::start_http(Scenario::Demo).await.context("cannot start the tool server")?;
        let mut upstreams = Vec::new();
        if cast.simulated {
            for (name, style) in [("openai", Style::OpenAi), ("anthropic", Style::Anthropic)] {
                upstreams.push((name, Upstream::start(style).await.context("cannot start a scripted provider")?));
            }
        }
        let mut settings = settings(&cast, &upstreams, environment);
        settings.tools.servers.push(tool_server(tools.url()));
        settings.listen.port = port;
        let (sender, events) = mpsc::unbounded_channel();
        let begun = Instant::now();
        let (gateway, taken) = start_gateway(&mut settings, sender).await?;
        Ok(Self { cast, gateway, events, upstreams, tools, started_in: begun.elapsed(), taken })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// Who is there, and which tools were discovered.
    pub(crate) fn introduce(&self, screen: &mut Screen) -> std::io::Result<()> {
        screen.title("Bifrost", "one request, answered with tools that the client never declared")?;
        screen.line("")?;
        for (name, upstream) in &self.upstreams {
            screen.columns("provider", &upstream.url(), &format!("{name}, simulated"))?;
        }
        if !self.cast.simulated {
            screen.columns("provider", &self.cast.model, "real, with the key from your environment")?;
        }
        screen.columns("tools", &self.tools.url(), "MCP over Streamable HTTP")?;
        let started = format!("started in {:.0} ms", self.started_in.as_secs_f64() * 1e3);
        screen.columns("gateway", &format!("http://{}", self.address()), &started)?;
        if let Some(port) = self.taken {
            screen.field("", &format!("(port {port} is taken, so the gateway chose a free one)"))?;
        }
        self.introduce_tools(screen)
    }

    fn introduce_tools(&self, screen: &mut Screen) -> std::io::Result<()> {
        let catalog = self.gateway.engine().state().hub.catalog();
        let (offered, kept): (Vec<_>, Vec<_>) = catalog.tools().iter().partition(|tool| tool.executable);
        screen.title("Tools", &format!("{} discovered, {} offered", catalog.tools().len(), offered.len()))?;
        screen.line("")?;
        for tool in offered {
            screen.columns("", &tool.name, "")?;
            screen.field_in(Ink::Faint, "", tool.description.as_deref().unwrap_or_default())?;
        }
        if !kept.is_empty() {
            let names: Vec<&str> = kept.iter().map(|tool| &*tool.tool).collect();
            screen.field("", &format!("kept back by the configuration: {}", names.join(", ")))?;
        }
        Ok(())
    }

    /// Ends the gateway in order, then the world around it.
    pub(crate) async fn stop(self, drain: Duration) {
        self.gateway.stop(drain).await;
        self.tools.stop().await;
        for (_, upstream) in &self.upstreams {
            upstream.stop().await;
        }
    }
}

/// The embedded defaults: what the gateway runs on without a file, with the providers that have a key.
fn settings(cast: &Cast, upstreams: &[(&'static str, Upstream)], environment: Environment<'_>) -> Settings {
    if !cast.simulated {
        let mut settings = config::embedded(&usual_providers(), environment);
        for real in &REAL {
            let provider = settings.providers.iter_mut().find(|provider| provider.name == real.provider);
            if let (Some(provider), Some(base)) = (provider, environment(real.base)) {
                provider.base_url = Some(base);
            }
        }
        return settings;
    }
    let pretended = |name: &str| REAL.iter().any(|real| real.key == name).then(|| "simulated".to_owned());
    let mut settings = config::embedded(&usual_providers(), &pretended);
    let named = |provider: &ProviderSettings| upstreams.iter().find(|(name, _)| *name == provider.name);
    for provider in &mut settings.providers {
        provider.base_url = named(provider).map(|(_, upstream)| upstream.url());
    }
    settings
}

fn tool_server(url: String) -> ToolServerSettings {
    let execute = Tools::Only(EXECUTE.map(str::to_owned).into());
    ToolServerSettings {
        id: SERVER.into(),
        name: SERVER.into(),
        transport: Transport::Http { url: url.into(), headers: Vec::new() },
        execute: execute.clone(),
        auto_execute: execute,
        call_timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(10),
        sync_interval: None,
        on_all_virtual_keys: true,
        disabled: false,
        ping: true,
        allowed_extra_headers: Vec::new(),
    }
}

/// Starts on the port of the settings, or on a free one where that is taken: then the second value says so.
async fn start_gateway(
    settings: &mut Settings,
    sender: mpsc::UnboundedSender<Event>,
) -> anyhow::Result<(Gateway, Option<u16>)> {
    let reporter: Arc<dyn RunObserver> = Arc::new(Reporter(sender));
    let options = || Options { log_style: LogStyle::Off, observer: Some(reporter.clone()), ..Options::default() };
    let asked = settings.listen.port;
    match Gateway::start(settings, options()).await {
        Err(StartError::Listen { .. }) if asked != 0 => {
            settings.listen.port = 0;
            Ok((Gateway::start(settings, options()).await?, Some(asked)))
        }
        started => Ok((started?, None)),
    }
}

/// The length of a text by which two sides can compare it: without white space, which the gateway adds between turns.
pub(crate) fn size(text: &str) -> usize {
    text.chars().filter(|character| !character.is_whitespace()).count()
}

// === impl Reporter ===

impl RunObserver for Reporter {
    fn turn_ended(&self, _request_id: &str, _number: usize, reply: &ChatReply) {
        let (input, output) = reply.usage.as_ref().map_or((0, 0), |usage| (usage.input, usage.output));
        let parts = reply.choices.first().map(|choice| choice.parts.as_slice()).unwrap_or_default();
        let visible = parts.iter().map(|part| match &part.kind {
            PartKind::Text(text) | PartKind::Thinking { text, .. } => size(&text.to_plain()),
            _ => 0,
        });
        // After the tour nobody listens any more, and requests of the reader's own go on.
        let _unheard =
            self.0.send(Event::TurnEnded(Turn { at: Instant::now(), input, output, visible: visible.sum() }));
    }

    fn tools_ran(&self, _request_id: &str, calls: &[ExecutedCall]) {
        let _unheard = self.0.send(Event::ToolsRan { calls: calls.to_vec(), at: Instant::now() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_makes_the_model_real_unless_it_is_to_be_simulated() {
        let anthropic = |name: &str| (name == "ANTHROPIC_API_KEY").then(|| "sk".to_owned());
        let nothing = |_: &str| None;
        let cast = |model: &str, simulated| Cast { model: model.to_owned(), simulated };
        assert_eq!(Cast::choose(None, false, &nothing), cast(SIMULATED, true));
        assert_eq!(Cast::choose(None, false, &anthropic), cast("anthropic/claude-haiku-4-5", false));
        assert_eq!(Cast::choose(None, true, &anthropic), cast(SIMULATED, true));
        assert_eq!(Cast::choose(Some("openai/demo-agent"), false, &nothing), cast("openai/demo-agent", true));
    }
}
