//! `providers.<name>`: how one model provider is reached, and with which keys.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Key, Opaque};
use crate::config::period::Period;
use crate::config::secret::Reference;

/// One model provider.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Provider {
    /// Credentials; requests are spread over them by weight.
    pub keys: Vec<Key>,
    /// How the provider is reached.
    pub network_config: Network,
    /// How many requests run at once, and how many may wait.
    pub concurrency_and_buffer_size: Queue,
    /// Show the request as it was sent, in `extra_fields.raw_request`.
    #[schemars(extend("x-no-effect" = true))]
    pub send_back_raw_request: bool,
    /// Show the reply as it came, in `extra_fields.raw_response`.
    #[schemars(extend("x-no-effect" = true))]
    pub send_back_raw_response: bool,
    /// Keep raw bodies in the log record.
    #[schemars(extend("x-no-effect" = true))]
    pub store_raw_request_response: bool,
    /// For a name that is not a known provider: which known one it behaves like.
    pub custom_provider_config: Option<CustomProvider>,
    /// Particulars of OpenAI.
    pub openai_config: OpenAi,
    /// An outbound proxy. It resolves the names of providers.
    pub proxy_config: Option<Proxy>,
    /// Automatic prompt caching.
    #[schemars(extend("x-no-effect" = true))]
    pub prompt_cache: Option<Opaque>,
}

/// How a provider is reached.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// Replaces the provider's own address; `env.NAME` is possible.
    pub base_url: Option<Reference>,
    /// Headers added to every request.
    pub extra_headers: IndexMap<String, Reference>,
    /// Until the reply's first byte, in seconds; for a reply that is not streamed, until its end.
    #[schemars(range(min = 1, max = 86400))]
    pub default_request_timeout_in_seconds: u64,
    /// Until a connection stands.
    #[schemars(extend("default" = "5s"))]
    pub connect_timeout: Option<Period>,
    /// Until the first byte of a streamed reply; absent: the request time-out.
    pub first_byte_timeout: Option<Period>,
    /// Retries on one key after a failure that may pass.
    #[schemars(range(min = 0, max = 100))]
    pub max_retries: u32,
    /// The first pause between retries; a number is milliseconds.
    #[schemars(extend("default" = 500, "x-former-names" = ["retry_backoff_initial_ms"]))]
    pub retry_backoff_initial: Option<Period>,
    /// The longest pause between retries; a number is milliseconds.
    #[schemars(extend("default" = 5000, "x-former-names" = ["retry_backoff_max_ms"]))]
    pub retry_backoff_max: Option<Period>,
    /// The longest silence within a stream, in seconds.
    #[schemars(range(min = 5, max = 3600))]
    pub stream_idle_timeout_in_seconds: u64,
    /// How long an unused connection is kept, in seconds.
    #[schemars(range(min = 1, max = 86400))]
    pub keep_alive_timeout_in_seconds: u64,
    /// The most connections to one host.
    #[schemars(range(min = 1, max = 10000))]
    pub max_conns_per_host: u32,
    /// Speak HTTP/2 only.
    pub enforce_http2: bool,
    /// Accept any certificate. For tests only.
    pub insecure_skip_verify: bool,
    /// A certificate authority to trust besides the system's, as PEM text.
    pub ca_cert_pem: Option<Reference>,
    /// Allow addresses in private networks. Loopback is always allowed, link-local never.
    pub allow_private_network: bool,
    /// Which `anthropic-beta` prefixes are passed on.
    #[schemars(extend("x-no-effect" = true))]
    pub beta_header_overrides: IndexMap<String, bool>,
    /// Gives up streams that are too slow.
    #[schemars(extend("x-no-effect" = true))]
    pub stream_throughput_guard: Option<ThroughputGuard>,
}

/// Gives up streams that are too slow.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ThroughputGuard {
    /// The least acceptable speed.
    #[schemars(range(min = 1, max = 100_000))]
    pub minimum_output_characters_per_second: Option<u32>,
    /// How long the speed is measured.
    #[schemars(range(min = 1, max = 60))]
    pub probe_window_in_seconds: Option<u32>,
}

/// How many requests run at once, and how many may wait.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// Requests in flight to this provider.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub concurrency: usize,
    /// Requests that wait for one of those places.
    #[schemars(range(min = 0, max = 10_000_000))]
    pub buffer_size: usize,
}

/// Which known provider a custom one behaves like.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CustomProvider {
    /// `openai`, `anthropic`, `bedrock`, `cohere`, `gemini`, `huggingface` or `replicate`. Required.
    pub base_provider_type: Option<BaseProvider>,
    /// The provider asks for no key.
    pub is_key_less: bool,
    /// Paths to use instead of the usual ones, by request type (`chat_completion`, `embedding`, ..).
    pub request_path_overrides: IndexMap<String, String>,
    /// Request types the provider serves (`chat_completion: true`, ..); absent means all.
    pub allowed_requests: Option<IndexMap<String, bool>>,
}

/// A provider whose wire format a custom provider shares.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BaseProvider {
    OpenAi,
    Anthropic,
    Bedrock,
    Cohere,
    Gemini,
    HuggingFace,
    Replicate,
}

/// Particulars of OpenAI.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OpenAi {
    /// Ask OpenAI not to store replies (`store: false`).
    #[schemars(extend("x-no-effect" = true))]
    pub disable_store: bool,
}

/// An outbound proxy.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Proxy {
    /// `http`: by CONNECT, for plain `http://` providers too. `socks5`. `environment`: what `HTTPS_PROXY`, `HTTP_PROXY`,
    /// `ALL_PROXY` and `NO_PROXY` say, in capitals or not. `none`. Absent: what the URL says.
    pub r#type: Option<ProxyType>,
    /// The proxy's address, such as `http://proxy.internal:3128` or `socks5://proxy.internal:1080`.
    pub url: Option<Reference>,
    /// Who asks, where the proxy wants to know.
    pub username: Option<Reference>,
    /// The user's password.
    pub password: Option<Reference>,
    /// A certificate authority to trust besides the system's, as PEM text: of a proxy that looks into TLS.
    pub ca_cert_pem: Option<Reference>,
}

/// Kinds of proxy.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyType {
    None,
    Http,
    Socks5,
    Environment,
}

// === defaults ===

impl Default for Network {
    fn default() -> Self {
        Self {
            base_url: None,
            extra_headers: IndexMap::new(),
            default_request_timeout_in_seconds: 30,
            connect_timeout: None,
            first_byte_timeout: None,
            max_retries: 0,
            retry_backoff_initial: None,
            retry_backoff_max: None,
            stream_idle_timeout_in_seconds: 60,
            keep_alive_timeout_in_seconds: 30,
            max_conns_per_host: 5000,
            enforce_http2: false,
            insecure_skip_verify: false,
            ca_cert_pem: None,
            allow_private_network: false,
            beta_header_overrides: IndexMap::new(),
            stream_throughput_guard: None,
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { concurrency: 1000, buffer_size: 5000 }
    }
}

// === impl BaseProvider ===

impl BaseProvider {
    /// The provider's configuration name.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Bedrock => "bedrock",
            Self::Cohere => "cohere",
            Self::Gemini => "gemini",
            Self::HuggingFace => "huggingface",
            Self::Replicate => "replicate",
        }
    }
}
