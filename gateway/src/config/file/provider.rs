//! `providers.<name>`: how one model provider is reached, and with which keys.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Opaque;
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
    /// An outbound proxy.
    #[schemars(extend("x-no-effect" = true))]
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
    /// `none`, `http`, `socks5` or `environment`.
    pub r#type: Option<ProxyType>,
    /// The proxy's address.
    pub url: Option<Reference>,
    /// For basic authentication.
    pub username: Option<Reference>,
    /// For basic authentication.
    pub password: Option<Reference>,
    /// A certificate authority to trust, as PEM text.
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

/// One credential of a provider.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Key {
    /// A stable identifier; absent: the name.
    pub id: Option<String>,
    /// Unique within the provider; absent: `<provider>-key-<n>`.
    pub name: Option<String>,
    /// The secret, usually as `env.NAME`.
    pub value: Option<Reference>,
    /// Models this key may be used for. Absent or `["*"]`: all. `[]`: all, or none with `version: 2`.
    pub models: Option<Vec<String>>,
    /// Models this key is never used for.
    pub blacklisted_models: Vec<String>,
    /// The share of requests, relative to the provider's other keys.
    #[schemars(range(min = 0.0))]
    pub weight: f64,
    /// False takes the key out of use.
    pub enabled: bool,
    /// Other names for models: the requested name and the provider's.
    #[schemars(extend("x-no-effect" = true))]
    pub aliases: IndexMap<String, Alias>,
    /// The key serves batch requests too.
    #[schemars(extend("x-no-effect" = true))]
    pub use_for_batch_api: bool,
    /// The server this key belongs to.
    pub ollama_key_config: Option<ServerKey>,
    /// The server this key belongs to.
    pub sgl_key_config: Option<ServerKey>,
    /// The server this key belongs to.
    pub vllm_key_config: Option<ServerKey>,
    /// Azure: endpoint, deployments, Entra ID.
    #[schemars(extend("x-no-effect" = true))]
    pub azure_key_config: Option<AzureKey>,
    /// Vertex: project, region, service account.
    #[schemars(extend("x-no-effect" = true))]
    pub vertex_key_config: Option<VertexKey>,
    /// Bedrock: access key, region, role.
    #[schemars(extend("x-no-effect" = true))]
    pub bedrock_key_config: Option<BedrockKey>,
    /// Bedrock Mantle: region and endpoints.
    #[schemars(extend("x-no-effect" = true))]
    pub bedrock_mantle_key_config: Option<Opaque>,
    /// Replicate: deployments.
    #[schemars(extend("x-no-effect" = true))]
    pub replicate_key_config: Option<ReplicateKey>,
}

/// The address of a self-hosted model server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerKey {
    /// The server's base URL.
    pub url: Option<Reference>,
    /// The one model it serves (vLLM).
    pub model_name: Option<String>,
}

/// What a requested model name stands for: the provider's model, or an object with particulars.
#[derive(Debug)]
pub struct Alias {
    /// The provider's model name.
    pub model: String,
}

/// Azure credentials.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AzureKey {
    /// The resource's address.
    pub endpoint: Option<Reference>,
    /// Deployment by model.
    pub deployments: IndexMap<String, String>,
    /// The API version.
    pub api_version: Option<Reference>,
    /// Entra ID.
    pub client_id: Option<Reference>,
    /// Entra ID.
    pub client_secret: Option<Reference>,
    /// Entra ID.
    pub tenant_id: Option<Reference>,
    /// Entra ID.
    pub scopes: Vec<String>,
}

/// Vertex credentials.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VertexKey {
    /// The project.
    pub project_id: Option<Reference>,
    /// The project's number.
    pub project_number: Option<Reference>,
    /// The region.
    pub region: Option<Reference>,
    /// The service account, as JSON text.
    pub auth_credentials: Option<Reference>,
    /// Deployment by model.
    pub deployments: IndexMap<String, String>,
    /// Never use another region.
    pub force_single_region: bool,
}

/// Bedrock credentials.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BedrockKey {
    /// AWS access key.
    pub access_key: Option<Reference>,
    /// AWS secret key.
    pub secret_key: Option<Reference>,
    /// AWS session token.
    pub session_token: Option<Reference>,
    /// The region.
    pub region: Option<Reference>,
    /// Prefix of inference profiles.
    pub arn: Option<Reference>,
    /// A role to assume.
    pub role_arn: Option<Reference>,
    /// For the role.
    pub external_id: Option<Reference>,
    /// For the role.
    pub session_name: Option<Reference>,
    /// The project.
    pub project_id: Option<Reference>,
    /// Inference profile by model.
    pub deployments: IndexMap<String, String>,
    /// Buckets for batch requests.
    pub batch_s3_config: Option<Opaque>,
}

/// Replicate particulars.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReplicateKey {
    /// Call deployments instead of models.
    pub use_deployments_endpoint: bool,
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

impl Default for Key {
    fn default() -> Self {
        Self {
            id: None,
            name: None,
            value: None,
            models: None,
            blacklisted_models: Vec::new(),
            weight: 1.0,
            enabled: true,
            aliases: IndexMap::new(),
            use_for_batch_api: false,
            ollama_key_config: None,
            sgl_key_config: None,
            vllm_key_config: None,
            azure_key_config: None,
            vertex_key_config: None,
            bedrock_key_config: None,
            bedrock_mantle_key_config: None,
            replicate_key_config: None,
        }
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

// === impl Alias ===

mod alias {
    use std::borrow::Cow;
    use std::fmt;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use serde::Deserialize;
    use serde::de::value::MapAccessDeserializer;
    use serde::de::{Deserializer, Error, MapAccess, Visitor};

    use super::Alias;

    #[derive(Deserialize)]
    struct Object {
        model_id: Option<String>,
    }

    struct AliasVisitor;

    impl<'de> Deserialize<'de> for Alias {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(AliasVisitor)
        }
    }

    impl<'de> Visitor<'de> for AliasVisitor {
        type Value = Alias;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a model name or an object with `model_id`")
        }

        fn visit_str<E>(self, text: &str) -> Result<Alias, E> {
            Ok(Alias { model: text.to_owned() })
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Alias, A::Error> {
            let Object { model_id } = Object::deserialize(MapAccessDeserializer::new(map))?;
            model_id.map(|model| Alias { model }).ok_or_else(|| A::Error::custom("`model_id` is missing"))
        }
    }

    impl JsonSchema for Alias {
        fn schema_name() -> Cow<'static, str> {
            "Alias".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            let text = || json_schema!({"type": "string"});
            let unused = || json_schema!({"type": "string", "x-no-effect": true});
            let unused_flag = || json_schema!({"type": "boolean", "x-no-effect": true});
            json_schema!({
                "description": "The provider's model name, or an object that holds it as `model_id`.",
                "type": ["string", "object"],
                "required": ["model_id"],
                "properties": {
                    "model_id": text(),
                    "model_name": text(),
                    "description": text(),
                    "model_family": {
                        "type": "string",
                        "enum": ["anthropic", "openai", "mistral", "cohere", "gemini", "nova", "titan"],
                        "x-no-effect": true,
                    },
                    "region": unused(),
                    "api_version": unused(),
                    "anthropic_version": unused(),
                    "endpoint": unused(),
                    "project_id": unused(),
                    "project_number": unused(),
                    "force_single_region": unused_flag(),
                    "inference_profile_arn": unused(),
                    "use_deployments_endpoint": unused_flag(),
                },
                "additionalProperties": false,
            })
        }
    }
}
