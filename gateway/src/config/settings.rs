//! The settings in force: the file with every default filled in, every reference followed and every name checked.
//!
//! Plain data of this module's own types; the rest of the gateway maps them to what each part needs. No `Serialize`, and every
//! secret is a `SecretString`, so that nothing here can be printed by accident.

mod key;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

pub use key::*;

/// Everything the gateway needs to start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the gateway listens, unless the command line says otherwise.
    pub listen: Listen,
    /// What the gateway does for every request.
    pub client: ClientSettings,
    /// Model providers, in file order.
    pub providers: Vec<ProviderSettings>,
    /// Virtual keys, in file order.
    pub virtual_keys: Vec<VirtualKeySettings>,
    /// Tool servers and the tool loop.
    pub tools: ToolSettings,
    /// Sentences for the log at start-up: what is accepted without effect, and what is risky.
    pub warnings: Vec<String>,
    /// The file the settings come from; `None` for the embedded defaults.
    pub origin: Option<PathBuf>,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// A host name or IP address.
    pub host: String,
    /// A TCP port; 0 lets the system choose.
    pub port: u16,
}

/// What the gateway does for every request.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Inference needs a valid virtual key.
    pub enforce_auth: bool,
    /// A full queue refuses (true) or lets the caller wait (false).
    pub drop_excess_requests: bool,
    /// A longer request body is refused with 413.
    pub max_request_body_bytes: usize,
    /// Are text completions answered through chat?
    pub text_over_chat: bool,
    /// Origins of browsers: exact, `*`, or with `*` inside a host label.
    pub allowed_origins: Vec<String>,
    /// Request headers that browsers may send besides the usual ones.
    pub allowed_headers: Vec<String>,
    /// Lower-case names of headers that every inference request must carry.
    pub required_headers: Vec<String>,
    /// Lower-case names of request headers that are copied into the log record.
    pub logging_headers: Vec<String>,
    /// Names of extra metric labels.
    pub prometheus_labels: Vec<String>,
    /// Write one log record per request.
    pub enable_logging: bool,
    /// Keep message contents out of log records.
    pub disable_content_logging: bool,
    /// Which caller headers may be forwarded; lower-case names.
    pub header_filter: HeaderFilter,
    /// Callers may bring their own provider key.
    pub allow_direct_keys: bool,
}

/// Which caller headers may be forwarded to providers; lower-case names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderFilter {
    /// If not empty, only these.
    pub allow: Vec<String>,
    /// Never these.
    pub deny: Vec<String>,
}

/// Which models something may be used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Models {
    /// Every model.
    All,
    /// No model.
    None,
    /// These models.
    Only(Vec<String>),
}

/// Which tools of a tool server something applies to; names without the server's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tools {
    /// Every tool.
    All,
    /// No tool.
    None,
    /// These tools.
    Only(BTreeSet<String>),
}

/// One model provider.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// The name that requests use.
    pub name: String,
    /// The known provider a custom one behaves like; `None` for a known provider.
    pub base: Option<String>,
    /// Replaces the provider's own address.
    pub base_url: Option<String>,
    /// Credentials, in file order; may be empty only if `keyless`.
    pub keys: Vec<KeySettings>,
    /// The provider works without a key.
    pub keyless: bool,
    /// Headers added to every request.
    pub extra_headers: Vec<(String, SecretString)>,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// When and how often to try again.
    pub retry: RetrySettings,
    /// Requests in flight.
    pub concurrency: usize,
    /// Requests that wait.
    pub buffer: usize,
    /// The most connections to one host.
    pub max_connections_per_host: usize,
    /// Speak HTTP/2 only.
    pub enforce_http2: bool,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
    /// Certificate authorities to trust besides the system's, as PEM text.
    pub ca_cert_pem: Option<SecretString>,
    /// By way of whom the provider is reached.
    pub proxy: Option<ProxySettings>,
    /// Allow addresses in private networks.
    pub allow_private_network: bool,
    /// Show the request as it was sent.
    pub send_back_raw_request: bool,
    /// Show the reply as it came.
    pub send_back_raw_response: bool,
    /// Path by request type (`chat_completion`, ..), instead of the usual one.
    pub path_overrides: Vec<(String, String)>,
    /// Request types the provider serves; `None` means all.
    pub allowed_requests: Option<BTreeSet<String>>,
    /// Ask OpenAI not to store replies.
    pub disable_store: bool,
}

/// The proxies on the way to a provider: `http://` or `socks5://` URLs that may hold a user and a password.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// To providers without TLS.
    pub http: Option<SecretString>,
    /// To providers with TLS.
    pub https: Option<SecretString>,
    /// Who is reached without, in the form of `NO_PROXY`.
    pub except: String,
}

/// How long to wait for a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a whole reply that is not streamed, and for the head of one that is.
    pub request: Duration,
    /// For a connection to stand.
    pub connect: Duration,
    /// For the first byte of a streamed reply.
    pub first_byte: Duration,
    /// Between two pieces of a stream.
    pub stream_idle: Duration,
    /// How long an unused connection is kept.
    pub keep_alive: Duration,
}

/// When and how often to try again on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// Retries on one key.
    pub max_retries: u32,
    /// The first pause.
    pub initial: Duration,
    /// The longest pause; never shorter than the first.
    pub max: Duration,
}

/// A key that callers present instead of a provider key.
#[derive(Clone, Debug)]
pub struct VirtualKeySettings {
    /// Stable; the name if the file gives none.
    pub id: String,
    /// Unique.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// Unique.
    pub value: SecretString,
    /// False refuses the key with 403.
    pub is_active: bool,
    /// Providers the key may use; `None` means every provider and model.
    pub providers: Option<Vec<ProviderGrant>>,
    /// Tool servers the key may use besides those that are open to every key.
    pub tools: Vec<ToolGrant>,
}

/// A provider that a virtual key may use.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderGrant {
    /// The provider's name; it exists.
    pub provider: String,
    /// The share of requests that name no provider; `None`: only when named. Finite and not negative.
    pub weight: Option<f64>,
    /// Models the virtual key may use there.
    pub models: Models,
    /// Never these.
    pub blacklisted_models: Vec<String>,
    /// Identifiers of provider keys ([`KeySettings::id`]); `None` means every key.
    pub key_ids: Option<Vec<String>>,
}

/// A tool server that a virtual key may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolGrant {
    /// The tool server's name; it exists.
    pub server: String,
    /// Which of its tools.
    pub tools: Tools,
}

/// Tool servers and the tool loop.
#[derive(Clone, Debug)]
pub struct ToolSettings {
    /// Tool servers, in file order.
    pub servers: Vec<ToolServerSettings>,
    /// The longest a tool call may take, unless the server says otherwise.
    pub call_timeout: Duration,
    /// How often the model may be asked again within one request.
    pub max_depth: u32,
    /// How many tool calls one request may run.
    pub max_calls: u32,
    /// How long one request may run tools and turns.
    pub run_deadline: Duration,
    /// A longer tool result is cut.
    pub max_result_bytes: usize,
    /// Requests get tools without asking for them.
    pub auto_inject: bool,
    /// What happens in a turn that asks for tools of the gateway and of the caller.
    pub mixed_turns: MixedTurns,
    /// How long the start waits for tool servers before it serves without them.
    pub start_bound: Duration,
}

/// What happens in a turn that asks for tools of the gateway and of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MixedTurns {
    /// The reply carries the caller's calls only; the turn is restored when the caller comes back.
    Restore,
    /// Bifrost's former form: results of executed tools as prose.
    Bifrost,
}

/// One tool server.
#[derive(Clone, Debug)]
pub struct ToolServerSettings {
    /// Stable; the name if the file gives none.
    pub id: String,
    /// Unique; prefixes the names of its tools.
    pub name: String,
    /// How it is reached.
    pub transport: Transport,
    /// Tools that may be used.
    pub execute: Tools,
    /// Tools that the gateway runs by itself; within `execute`.
    pub auto_execute: Tools,
    /// The longest a call may take.
    pub call_timeout: Duration,
    /// Until the server answers and its tools are listed.
    pub connect_timeout: Duration,
    /// How often its tools are listed again; `None` is never.
    pub sync_interval: Option<Duration>,
    /// Every virtual key may use it.
    pub on_all_virtual_keys: bool,
    /// Not started.
    pub disabled: bool,
    /// Its health is told by `ping`; otherwise by listing tools.
    pub ping: bool,
    /// Lower-case names of caller headers that are passed on; `*` alone passes all.
    pub allowed_extra_headers: Vec<String>,
}

/// How a tool server is reached. Addresses and arguments may carry secrets, so they are secret too.
#[derive(Clone, Debug)]
pub enum Transport {
    /// A child process.
    Stdio {
        /// The program.
        command: String,
        /// Its arguments.
        args: Vec<SecretString>,
        /// Environment variables to set.
        env: Vec<(String, SecretString)>,
        /// The directory to start in.
        cwd: Option<PathBuf>,
    },
    /// Streamable HTTP.
    Http {
        /// A valid `http` or `https` URL.
        url: SecretString,
        /// Headers of every request.
        headers: Vec<(String, SecretString)>,
    },
    /// The older transport of server-sent events.
    Sse {
        /// A valid `http` or `https` URL.
        url: SecretString,
        /// Headers of every request.
        headers: Vec<(String, SecretString)>,
    },
}

/// Where the gateway listens unless it is told otherwise: nobody but this machine.
pub const DEFAULT_HOST: &str = "127.0.0.1";

/// The documented port.
pub const DEFAULT_PORT: u16 = 8080;

impl Default for Listen {
    fn default() -> Self {
        Self { host: DEFAULT_HOST.to_owned(), port: DEFAULT_PORT }
    }
}

impl Models {
    /// Is this model one of them? Compared without regard to ASCII case, as everywhere.
    pub fn allow(&self, model: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Only(models) => models.iter().any(|name| name.eq_ignore_ascii_case(model)),
        }
    }
}

impl Settings {
    /// Applies what the command line says about listening, and warns if strangers could use the gateway for free.
    pub fn listen_on(&mut self, host: Option<String>, port: Option<u16>) {
        self.listen.host = host.unwrap_or_else(|| std::mem::take(&mut self.listen.host));
        self.listen.port = port.unwrap_or(self.listen.port);
        let bare = self.listen.host.trim_start_matches('[').trim_end_matches(']');
        let loopback = bare == "localhost" || bare.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        if !loopback && !self.client.enforce_auth {
            self.warnings.push(format!(
                "listening on {host} without `client.enforce_auth_on_inference`: whoever reaches it can spend on your keys",
                host = self.listen.host
            ));
        }
    }
}
