//! `providers.<name>.keys[]`: a provider's credentials, and what each of them is for.

use std::borrow::Cow;
use std::fmt;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::Opaque;
use crate::config::secret::Reference;

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
    /// Other names for models: the requested name and the provider's, or an object with `model_id` and particulars. A key
    /// serves its aliases beside its `models`.
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
    /// Azure: the resource, its API version, and Entra ID where no API key is used.
    pub azure_key_config: Option<AzureKey>,
    /// Vertex: project, region, and the service account where no API key is used.
    pub vertex_key_config: Option<VertexKey>,
    /// Bedrock: region, and the AWS identity where no API key is used.
    pub bedrock_key_config: Option<BedrockKey>,
    /// Bedrock Mantle: region and endpoints.
    #[schemars(extend("x-no-effect" = true))]
    pub bedrock_mantle_key_config: Option<Opaque>,
    /// Replicate: deployments.
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
#[derive(Debug, Default)]
pub struct Alias(pub AliasObject);

/// The long form of an alias. What it does not say is as the key has it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AliasObject {
    /// What the provider calls it: a model, a deployment, an inference profile. Required.
    pub model_id: Option<String>,
    /// The model behind a deployment of another name.
    pub model_name: Option<String>,
    /// Which vendor's model it is, where its names do not tell: it decides which API of the provider is used.
    pub model_family: Option<ModelFamily>,
    /// For people.
    pub description: Option<String>,
    /// Vertex: another region than the key's. At Bedrock a region is part of a key.
    pub region: Option<Reference>,
    /// Azure: another API version than the key's.
    pub api_version: Option<Reference>,
    /// The version of Anthropic's API.
    #[schemars(extend("x-no-effect" = true))]
    pub anthropic_version: Option<String>,
    /// Azure: another resource than the key's.
    pub endpoint: Option<Reference>,
    /// Vertex: another project than the key's.
    pub project_id: Option<Reference>,
    /// Vertex: the project's number, which serves as its name too.
    pub project_number: Option<Reference>,
    /// Never use another region. No request ever does.
    pub force_single_region: Option<bool>,
    /// Bedrock: the inference profile to ask, by its ARN.
    pub inference_profile_arn: Option<Reference>,
    /// Replicate: call a deployment, or a model, whatever the key says.
    pub use_deployments_endpoint: Option<bool>,
}

/// Whose model it is.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelFamily {
    Anthropic,
    OpenAi,
    Mistral,
    Cohere,
    Gemini,
    Nova,
    Titan,
}

/// Azure credentials.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AzureKey {
    /// The resource's address, such as `https://name.openai.azure.com`. Required, unless `network_config.base_url` says it.
    pub endpoint: Option<Reference>,
    /// Former spelling of `aliases`: deployment by model. A key with deployments serves nothing else.
    pub deployments: IndexMap<String, String>,
    /// A date, such as `2024-10-21`, for the API with the deployment in its path. Absent or `v1`: the API without versions
    /// (`/openai/v1`); `preview`: that one with its unfinished features.
    pub api_version: Option<Reference>,
    /// Entra ID: the application. Then `client_secret` and `tenant_id` are needed too, and the key's `value` is not.
    pub client_id: Option<Reference>,
    /// Entra ID: the application's secret.
    pub client_secret: Option<Reference>,
    /// Entra ID: the directory.
    pub tenant_id: Option<Reference>,
    /// Entra ID: what the token is for; absent: `https://cognitiveservices.azure.com/.default`.
    pub scopes: Vec<String>,
    /// Entra ID: who issues tokens, where it is not `https://login.microsoftonline.com`.
    pub authority: Option<Reference>,
}

/// Vertex credentials.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VertexKey {
    /// The project; absent: the one that `auth_credentials` name.
    pub project_id: Option<Reference>,
    /// The project's number, which serves as its name too.
    pub project_number: Option<Reference>,
    /// The region, such as `us-central1`, or `global`. Required.
    pub region: Option<Reference>,
    /// A service account's key file, or the file of `gcloud auth application-default login`, as JSON text.
    pub auth_credentials: Option<Reference>,
    /// Take tokens from the metadata server at this host instead: `metadata.google.internal` inside Google Cloud.
    pub metadata_host: Option<Reference>,
    /// Former spelling of `aliases`: the provider's model by requested one. A key with deployments serves nothing else.
    pub deployments: IndexMap<String, String>,
    /// Never use another region. No request ever does.
    pub force_single_region: bool,
}

/// Bedrock credentials. The key's `value` may be an API key of Bedrock's instead.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BedrockKey {
    /// AWS access key; absent with `secret_key`: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    pub access_key: Option<Reference>,
    /// AWS secret key.
    pub secret_key: Option<Reference>,
    /// AWS session token, of a temporary identity.
    pub session_token: Option<Reference>,
    /// The region, such as `us-east-1`. Required; absent: `AWS_REGION` or `AWS_DEFAULT_REGION`.
    pub region: Option<Reference>,
    /// What the ARNs of inference profiles begin with: put before the models of `deployments` and `aliases`.
    pub arn: Option<Reference>,
    /// A role that the identity takes on, such as `arn:aws:iam::123456789012:role/models`. Asked for at `AWS_ENDPOINT_URL_STS`, or
    /// at AWS in the region.
    pub role_arn: Option<Reference>,
    /// What the role's account agreed on with whoever may take it.
    pub external_id: Option<Reference>,
    /// Under which name the role's account logs who has it. Default `bifrost`.
    pub session_name: Option<Reference>,
    /// The project.
    #[schemars(extend("x-no-effect" = true))]
    pub project_id: Option<Reference>,
    /// Former spelling of `aliases`: inference profile by model. A key with deployments serves nothing else.
    pub deployments: IndexMap<String, String>,
    /// Buckets for batch requests.
    #[schemars(extend("x-no-effect" = true))]
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

// === impl ModelFamily ===

impl ModelFamily {
    /// The family's name in configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAi => "openai",
            Self::Mistral => "mistral",
            Self::Cohere => "cohere",
            Self::Gemini => "gemini",
            Self::Nova => "nova",
            Self::Titan => "titan",
        }
    }
}

// === impl Alias ===

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
        Ok(Alias(AliasObject { model_id: Some(text.to_owned()), ..AliasObject::default() }))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Alias, A::Error> {
        AliasObject::deserialize(MapAccessDeserializer::new(map)).map(Alias)
    }
}

impl JsonSchema for Alias {
    fn schema_name() -> Cow<'static, str> {
        "Alias".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = AliasObject::json_schema(generator);
        let description = "The provider's model name, or an object that holds it as `model_id`.";
        schema.insert("description".to_owned(), description.into());
        schema.insert("type".to_owned(), serde_json::json!(["string", "object"]));
        schema.insert("required".to_owned(), serde_json::json!(["model_id"]));
        schema
    }
}
