//! Resolves `mcp`: tool servers and the limits of the tool loop.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::{Names, Resolver, lower, tools_of};
use crate::config::file::{self, Client, ConnectionType, Mcp, Stdio, ToolClient};
use crate::config::finding::Mistake;
use crate::config::period::{Period, Unit};
use crate::config::secret::Unresolved;
use crate::config::settings::{MixedTurns, ToolServerSettings, ToolSettings, Tools, Transport};
use crate::config::tree::push;

const SERVERS: &str = "/mcp/client_configs";
const MANAGER: &str = "/mcp/tool_manager_config";

/// Long enough for a package runner that has to fetch the server first.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How often tools are listed again.
const SYNC_INTERVAL: Duration = Duration::from_mins(10);

/// The longest a start waits for tool servers; they go on connecting afterwards.
const START_BOUND: Duration = Duration::from_secs(10);

/// What a server inherits where it says nothing.
#[derive(Clone, Copy)]
struct Usual {
    call_timeout: Duration,
    sync_interval: Option<Duration>,
}

impl Resolver<'_> {
    pub(super) fn tools(&mut self, mcp: &Mcp, client: &Client) -> ToolSettings {
        let manager = &mcp.tool_manager_config;
        let usual =
            Usual { call_timeout: self.call_timeout(manager, client), sync_interval: self.sync_interval(mcp, client) };
        let deadline = self.timeout(&push(MANAGER, "agent_deadline"), manager.agent_deadline, Unit::Nanoseconds);
        let bound = manager.start_bound.and_then(|bound| bound.length(Unit::Nanoseconds));
        let manual = manager.disable_auto_tool_inject.or(client.mcp_disable_auto_tool_inject).unwrap_or(false);
        ToolSettings {
            servers: self.servers(&mcp.client_configs, usual),
            call_timeout: usual.call_timeout,
            max_depth: manager.max_agent_depth.or(client.mcp_agent_depth).unwrap_or(10),
            max_calls: manager.max_tool_calls.unwrap_or(100),
            run_deadline: deadline.unwrap_or(Duration::from_mins(10)),
            max_result_bytes: manager.max_result_bytes.unwrap_or(256 * 1024),
            auto_inject: !manual,
            mixed_turns: match manager.mixed_turns {
                Some(file::MixedTurns::Bifrost) => MixedTurns::Bifrost,
                Some(file::MixedTurns::Restore) | None => MixedTurns::Restore,
            },
            start_bound: bound.unwrap_or(START_BOUND),
        }
    }

    /// The manager's limit, or its former place in `client`, where a number is seconds.
    fn call_timeout(&mut self, manager: &file::ToolManager, client: &Client) -> Duration {
        let now =
            self.timeout(&push(MANAGER, "tool_execution_timeout"), manager.tool_execution_timeout, Unit::Nanoseconds);
        let former =
            self.timeout("/client/mcp_tool_execution_timeout", client.mcp_tool_execution_timeout, Unit::Seconds);
        now.or(former).unwrap_or(Duration::from_secs(30))
    }

    fn servers(&mut self, clients: &[ToolClient], usual: Usual) -> Vec<ToolServerSettings> {
        let mut names = Names::of("tool server name");
        let mut ids = Names::of("tool server id");
        let mut servers = Vec::with_capacity(clients.len());
        for (index, client) in clients.iter().enumerate() {
            let at = push(SERVERS, index);
            match &client.name {
                Some(name) => {
                    self.server_name(&push(&at, "name"), name);
                    self.unique(&mut names, &push(&at, "name"), name);
                }
                None => self.conflict(&at, "the tool server has no `name`"),
            }
            if let Some(id) = &client.client_id {
                self.unique(&mut ids, &push(&at, "client_id"), id);
            }
            servers.extend(self.server(&at, client, usual));
        }
        servers
    }

    /// The name becomes the front part of tool names, and `-` separates it from the rest.
    fn server_name(&mut self, pointer: &str, name: &str) {
        let broken = match name.chars().next() {
            None => Some("is empty"),
            Some(first) if first.is_ascii_digit() => Some("begins with a digit"),
            _ if !name.is_ascii() => Some("has a character outside ASCII"),
            _ if name.contains('-') => Some("has a `-`, which separates server and tool"),
            _ if name.contains(|c: char| c.is_ascii_whitespace() || c.is_ascii_control()) => Some("has a space"),
            _ => None,
        };
        if let Some(broken) = broken {
            self.conflict(pointer, format!("the name `{name}` {broken}; expected letters, digits and `_`"));
        }
    }

    fn server(&mut self, at: &str, client: &ToolClient, usual: Usual) -> Option<ToolServerSettings> {
        let transport = self.transport(at, client);
        let execute = client.tools_to_execute.as_deref().map_or(Tools::All, tools_of);
        let auto_execute = tools_of(&client.tools_to_auto_execute);
        self.within(&push(at, "tools_to_auto_execute"), &execute, &client.tools_to_auto_execute);
        let call_timeout =
            self.timeout(&push(at, "tool_execution_timeout"), client.tool_execution_timeout, Unit::Nanoseconds);
        let connect_timeout = self.timeout(&push(at, "connect_timeout"), client.connect_timeout, Unit::Nanoseconds);
        if client.auth_type.is_some_and(|auth| !matches!(auth, file::AuthType::None | file::AuthType::Headers)) {
            let written = self.written(&push(at, "auth_type"));
            self.warn(format!("`{written}`: this kind is not supported by this version; only `headers` are sent"));
        }
        let name = client.name.clone()?;
        Some(ToolServerSettings {
            id: client.client_id.clone().unwrap_or_else(|| name.clone()),
            name,
            transport: transport?,
            execute,
            auto_execute,
            call_timeout: call_timeout.unwrap_or(usual.call_timeout),
            connect_timeout: connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            sync_interval: match client.tool_sync_interval {
                None => usual.sync_interval,
                Some(period) => self.interval(&push(at, "tool_sync_interval"), period, usual.sync_interval),
            },
            on_all_virtual_keys: client.allow_on_all_virtual_keys,
            disabled: client.disabled,
            ping: client.is_ping_available,
            allowed_extra_headers: lower(&client.allowed_extra_headers),
        })
    }

    /// A tool that must not be used at all cannot be used automatically.
    fn within(&mut self, at: &str, execute: &Tools, auto: &[String]) {
        for (index, tool) in auto.iter().enumerate().filter(|(_, tool)| *tool != "*") {
            let allowed = match execute {
                Tools::All => true,
                Tools::None => false,
                Tools::Only(tools) => tools.contains(tool),
            };
            if !allowed {
                self.conflict(&push(at, index), format!("`{tool}` is not in `tools_to_execute`"));
            }
        }
    }

    fn transport(&mut self, at: &str, client: &ToolClient) -> Option<Transport> {
        match client.connection_type {
            Some(ConnectionType::Stdio) => self.stdio(at, client),
            Some(ConnectionType::Http) => {
                let (url, headers) = self.remote(at, client)?;
                Some(Transport::Http { url, headers })
            }
            Some(ConnectionType::Sse) => {
                let (url, headers) = self.remote(at, client)?;
                Some(Transport::Sse { url, headers })
            }
            Some(ConnectionType::InProcess | ConnectionType::OpenApi) => {
                let written = self.written(&push(at, "connection_type"));
                self.warn(format!("`{written}`: this kind is not supported by this version; the server is left out"));
                None
            }
            None => {
                self.conflict(at, "`connection_type` is missing; expected `stdio`, `http` or `sse`");
                // Whichever kind is meant: what is wrong inside it should not wait for the next run.
                if client.stdio_config.is_some() || client.command.is_some() {
                    self.stdio(at, client)
                } else {
                    client.connection_string.as_ref().and_then(|_| self.remote(at, client)).and(None)
                }
            }
        }
    }

    fn remote(&mut self, at: &str, client: &ToolClient) -> Option<(SecretString, Vec<(String, SecretString)>)> {
        let headers = self.headers(&push(at, "headers"), &client.headers);
        let Some(reference) = &client.connection_string else {
            self.conflict(at, "`connection_string` is missing; expected the server's URL");
            return None;
        };
        let pointer = push(at, "connection_string");
        let url = self.secret(&pointer, reference)?;
        self.url(&pointer, url.expose_secret());
        Some((url, headers))
    }

    /// The command, in the block or in the short form of older documents.
    fn stdio(&mut self, at: &str, client: &ToolClient) -> Option<Transport> {
        let short = client.command.is_some() || !client.args.is_empty() || !client.env.is_empty();
        let (at, command, args, env) = match &client.stdio_config {
            Some(_) if short => {
                self.conflict(
                    at,
                    "`stdio_config` and its short form (`command`, `args`, `env`) are both here; keep one",
                );
                return None;
            }
            Some(stdio) => (push(at, "stdio_config"), &stdio.command, &stdio.args, &stdio.env),
            None => (at.to_owned(), &client.command, &client.args, &client.env),
        };
        let mut env = self.secrets(&push(&at, "env"), env);
        if let Some(stdio) = &client.stdio_config {
            self.inherited(&at, stdio, &mut env);
        }
        let args: Vec<_> = args
            .iter()
            .enumerate()
            .filter_map(|(index, argument)| self.secret(&push(&push(&at, "args"), index), argument))
            .collect();
        if command.is_none() {
            self.conflict(&at, "`command` is missing; expected the program to start");
        }
        let command = self.text(&push(&at, "command"), command.as_ref())?;
        let cwd = client.stdio_config.as_ref().and_then(|stdio| stdio.cwd.clone()).map(PathBuf::from);
        Some(Transport::Stdio { command, args, env, cwd })
    }

    /// `envs` names variables that the server needs from the gateway's own environment.
    fn inherited(&mut self, at: &str, stdio: &Stdio, env: &mut Vec<(String, SecretString)>) {
        for (index, name) in stdio.envs.iter().enumerate() {
            if let Some(value) = (self.environment)(name) {
                env.push((name.clone(), value.into()));
                continue;
            }
            let missing = Unresolved::Variable { name: name.clone(), empty: false };
            self.complain(Mistake::MissingVariable, &push(&push(at, "envs"), index), missing.to_string());
        }
    }

    /// The global interval, or its former place in `client`, where a number is minutes; negative is off.
    fn sync_interval(&mut self, mcp: &Mcp, client: &Client) -> Option<Duration> {
        match (mcp.tool_sync_interval, client.mcp_tool_sync_interval) {
            (Some(period), _) => self.interval("/mcp/tool_sync_interval", period, Some(SYNC_INTERVAL)),
            (None, Some(period)) => match period.length(Unit::Minutes) {
                Some(Duration::ZERO) => Some(SYNC_INTERVAL),
                length => length,
            },
            (None, None) => Some(SYNC_INTERVAL),
        }
    }

    /// An interval in nanoseconds: 0 is the usual one, a negative number is off, and a tiny one is a slip about the unit.
    fn interval(&mut self, pointer: &str, period: Period, usual: Option<Duration>) -> Option<Duration> {
        match period.length(Unit::Nanoseconds) {
            Some(Duration::ZERO) => usual,
            Some(length) if length < Duration::from_secs(1) => {
                self.conflict(pointer, "expected at least 1 second, such as `10m`; a bare number is nanoseconds here");
                usual
            }
            length => length,
        }
    }
}
