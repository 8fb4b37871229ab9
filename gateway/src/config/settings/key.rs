//! Credentials of a provider, and what each of them is for.

use secrecy::SecretString;

use super::Models;

/// One credential of a provider.
#[derive(Clone, Debug)]
pub struct KeySettings {
    /// Stable; the name if the file gives none.
    pub id: String,
    /// Unique within the provider.
    pub name: String,
    /// The secret; absent where a server needs none.
    pub value: Option<SecretString>,
    /// Models the key may be used for, beside its aliases.
    pub models: Models,
    /// Models the key is never used for.
    pub blacklisted_models: Vec<String>,
    /// The share of requests, relative to the provider's other keys; finite and not negative.
    pub weight: f64,
    /// False takes the key out of use.
    pub enabled: bool,
    /// The server this key belongs to (`ollama`, `sgl`, `vllm`).
    pub url: Option<String>,
    /// The key's own names for models, former `deployments` among them.
    pub aliases: Vec<AliasSettings>,
    /// The account that this key opens, on a cloud where that is more than a secret.
    pub cloud: Option<Cloud>,
}

/// A key's own name for a model. What it leaves open is as the key has it.
#[derive(Clone, Debug, Default)]
pub struct AliasSettings {
    /// What callers ask for.
    pub name: String,
    /// What the provider is asked for.
    pub model: String,
    /// The model behind a deployment of another name.
    pub model_name: Option<String>,
    /// Whose model it is (`anthropic`, ..), where its names do not tell.
    pub family: Option<&'static str>,
    /// Vertex: where it is asked.
    pub region: Option<String>,
    /// Vertex: whose project it is asked in.
    pub project: Option<String>,
    /// Azure: the resource that has it.
    pub endpoint: Option<String>,
    /// Azure.
    pub api_version: Option<String>,
    /// Replicate: is it a deployment, whatever the key says?
    pub deployments: Option<bool>,
}

/// An account on a cloud.
#[derive(Clone, Debug)]
pub enum Cloud {
    /// A resource of Azure `OpenAI` or Foundry.
    Azure(AzureSettings),
    /// A project of Google Cloud.
    Vertex(VertexSettings),
    /// An identity at AWS.
    Bedrock(BedrockSettings),
    /// An account at Replicate. `deployments`: its own deployments are asked, rather than models.
    Replicate { deployments: bool },
}

/// A resource of Azure `OpenAI` or Foundry.
#[derive(Clone, Debug)]
pub struct AzureSettings {
    /// The resource's address; absent where the provider has a `base_url`.
    pub endpoint: Option<String>,
    /// Absent for the API without versions (`/openai/v1`).
    pub api_version: Option<String>,
    /// Without it the key's value is sent as `api-key`.
    pub entra: Option<EntraSettings>,
}

/// An application's own login at Microsoft Entra ID.
#[derive(Clone, Debug)]
pub struct EntraSettings {
    /// Who issues tokens: `https://login.microsoftonline.com`, or a sovereign cloud's.
    pub authority: Option<String>,
    pub tenant_id: String,
    pub client_id: String,
    pub client_secret: SecretString,
    /// What the token is for; empty: Azure's model services.
    pub scopes: Vec<String>,
}

/// An identity at AWS.
#[derive(Clone, Debug)]
pub struct BedrockSettings {
    /// Absent where the provider has a `base_url` and asks for no signatures.
    pub region: Option<String>,
    /// Without it the key's value is sent as an API key.
    pub identity: Option<AwsIdentity>,
    /// What the identity takes on before it asks.
    pub role: Option<AwsRoleSettings>,
}

/// A role at AWS.
#[derive(Clone, Debug)]
pub struct AwsRoleSettings {
    pub arn: String,
    pub session_name: String,
    pub external_id: Option<String>,
    /// Instead of AWS's own address for the region.
    pub endpoint: Option<String>,
}

/// What signs requests to AWS.
#[derive(Clone, Debug)]
pub struct AwsIdentity {
    pub access_key: String,
    pub secret_key: SecretString,
    pub session_token: Option<SecretString>,
}

/// A project of Google Cloud.
#[derive(Clone, Debug)]
pub struct VertexSettings {
    /// Id or number.
    pub project: String,
    pub region: String,
    /// Without one the key's value is sent as an API key.
    pub credentials: Option<GoogleCredentials>,
}

/// Where Google's access tokens come from.
#[derive(Clone, Debug)]
pub enum GoogleCredentials {
    /// A service account's key file, or a user's, as JSON text.
    File(SecretString),
    /// The metadata server at this host.
    Metadata(String),
}
