//! Resolves `providers.<name>.keys[]`: secrets, models, aliases, and the accounts of clouds.

use indexmap::IndexMap;

use super::{Names, Resolver};
use crate::config::file::{Alias, AliasObject, AzureKey, BedrockKey, Key, ModelFamily, VertexKey};
use crate::config::secret::Reference;
use crate::config::settings::{
    AliasSettings, AwsIdentity, AwsRoleSettings, AzureSettings, BedrockSettings, Cloud, EntraSettings,
    GoogleCredentials, KeySettings, Models, VertexSettings,
};
use crate::config::tree::push;

/// What its keys have to know of a provider.
pub(super) struct Home<'a> {
    pub(super) provider: &'a str,
    /// The known provider that it is, or behaves like.
    pub(super) kind: &'a str,
    pub(super) keyless: bool,
    /// It has a `base_url`, so that a key need not say where it belongs.
    pub(super) has_url: bool,
    /// Its keys are accounts of a cloud (`azure_key_config`, ..).
    pub(super) cloud: bool,
}

/// The old way to give a key names of its own, by the block that it stands in.
type Deployments<'a> = (&'static str, &'a IndexMap<String, String>);

impl Resolver<'_> {
    pub(super) fn keys(&mut self, at: &str, home: &Home<'_>, keys: &[Key]) -> Vec<KeySettings> {
        if keys.is_empty() && !home.keyless && !self.direct_keys {
            self.conflict(at, "the provider needs at least one key, such as `\"keys\": [{\"value\": \"env.NAME\"}]`");
        }
        let mut names = Names::of("key name");
        let mut ids = Names::of("key id");
        let mut resolved = Vec::with_capacity(keys.len());
        for (index, key) in keys.iter().enumerate() {
            let at = push(&push(at, "keys"), index);
            let name = key.name.clone().unwrap_or_else(|| format!("{}-key-{}", home.provider, index + 1));
            self.unique(&mut names, &push(&at, "name"), &name);
            if let Some(id) = &key.id {
                self.unique(&mut ids, &push(&at, "id"), id);
            }
            self.require_value(&at, home, key);
            let (models, aliases) = self.names_of(&at, key);
            self.judge_aliases(&push(&at, "aliases"), home, key);
            resolved.push(KeySettings {
                id: key.id.clone().unwrap_or_else(|| name.clone()),
                name,
                value: self.text(&push(&at, "value"), key.value.as_ref()).map(Into::into),
                models,
                blacklisted_models: key.blacklisted_models.clone(),
                weight: self.weight(&push(&at, "weight"), key.weight),
                enabled: key.enabled,
                url: self.server_url(&at, key),
                aliases,
                cloud: self.cloud(&at, home, key),
            });
        }
        resolved
    }

    fn require_value(&mut self, at: &str, home: &Home<'_>, key: &Key) {
        let other = match (&key.azure_key_config, &key.vertex_key_config) {
            (Some(azure), _) => azure.client_id.is_some(),
            (None, Some(vertex)) => vertex.auth_credentials.is_some() || vertex.metadata_host.is_some(),
            (None, None) => key.bedrock_key_config.is_some() || key.bedrock_mantle_key_config.is_some(),
        };
        if key.value.is_none() && !home.keyless && !(other && home.cloud) {
            self.conflict(at, "the key has no `value`; expected a secret, such as `env.NAME`");
        }
    }

    // === models and names ===

    /// The models that the key serves, and its own names for some. A key with deployments serves these and nothing else; so
    /// does one whose server has a single model.
    fn names_of(&mut self, at: &str, key: &Key) -> (Models, Vec<AliasSettings>) {
        let models = self.models(key.models.as_ref());
        let mut aliases: Vec<AliasSettings> = key
            .aliases
            .iter()
            .filter_map(|(name, alias)| self.alias(&push(&push(at, "aliases"), name), name, alias))
            .collect();
        let mut models = match key.vllm_key_config.as_ref().and_then(|server| server.model_name.clone()) {
            Some(only) if models == Models::All => Models::Only(vec![only]),
            _ => models,
        };
        if let Some((block, deployments)) = deployments(key) {
            for (name, model) in deployments {
                let pointer = push(&push(&push(at, block), "deployments"), name);
                if aliases.iter().any(|alias| alias.name.eq_ignore_ascii_case(name)) {
                    self.conflict(&pointer, format!("`aliases` has `{name}` too; keep one of them"));
                } else if models.allow(name) {
                    aliases.push(AliasSettings {
                        name: name.clone(),
                        model: model.clone(),
                        ..AliasSettings::default()
                    });
                }
            }
            models = Models::None;
        }
        let arn = key.bedrock_key_config.as_ref().and_then(|bedrock| bedrock.arn.as_ref());
        if let Some(arn) = self.text(&push(&push(at, "bedrock_key_config"), "arn"), arn) {
            for alias in aliases.iter_mut().filter(|alias| !alias.model.starts_with("arn:")) {
                let name = std::mem::take(&mut alias.model);
                alias.model = format!("{}/{name}", arn.trim_end_matches('/'));
                alias.model_name.get_or_insert(name);
            }
        }
        (models, aliases)
    }

    /// What an alias says that another cloud alone heeds is told, not passed over.
    fn judge_aliases(&mut self, at: &str, home: &Home<'_>, key: &Key) {
        for (name, Alias(alias)) in &key.aliases {
            let fields = [
                ("region", alias.region.is_some(), "vertex"),
                ("project_id", alias.project_id.is_some(), "vertex"),
                ("project_number", alias.project_number.is_some(), "vertex"),
                ("endpoint", alias.endpoint.is_some(), "azure"),
                ("api_version", alias.api_version.is_some(), "azure"),
                ("use_deployments_endpoint", alias.use_deployments_endpoint.is_some(), "replicate"),
            ];
            for (field, ..) in fields.iter().filter(|(_, is_said, owner)| *is_said && *owner != home.kind) {
                let written = self.written(&push(&push(at, name), field));
                self.warn(format!("`{written}` has no effect at {}", home.kind));
            }
        }
    }

    fn alias(&mut self, at: &str, name: &str, Alias(alias): &Alias) -> Option<AliasSettings> {
        let mut text = |key: &str, value: &Option<Reference>| self.text(&push(at, key), value.as_ref());
        let profile = text("inference_profile_arn", &alias.inference_profile_arn);
        let project = text("project_id", &alias.project_id);
        let number = text("project_number", &alias.project_number);
        let AliasObject { model_id, model_name, .. } = alias;
        let settings = AliasSettings {
            name: name.to_owned(),
            model_name: model_name.clone().or_else(|| profile.as_ref().and(model_id.clone())),
            model: profile.or_else(|| model_id.clone())?,
            family: alias.model_family.map(ModelFamily::name),
            region: text("region", &alias.region),
            project: project.or(number),
            endpoint: text("endpoint", &alias.endpoint),
            api_version: text("api_version", &alias.api_version),
            deployments: alias.use_deployments_endpoint,
        };
        if let Some(endpoint) = &settings.endpoint {
            self.url(&push(at, "endpoint"), endpoint);
        }
        Some(settings)
    }

    // === where a key belongs ===

    /// The address in whichever of the three blocks is there.
    fn server_url(&mut self, at: &str, key: &Key) -> Option<String> {
        let blocks = [
            ("ollama_key_config", &key.ollama_key_config),
            ("sgl_key_config", &key.sgl_key_config),
            ("vllm_key_config", &key.vllm_key_config),
        ];
        let (name, server) = blocks.into_iter().find_map(|(name, block)| Some((name, block.as_ref()?)))?;
        let pointer = push(&push(at, name), "url");
        let url = self.text(&pointer, server.url.as_ref())?;
        self.url(&pointer, &url);
        Some(url)
    }

    fn cloud(&mut self, at: &str, home: &Home<'_>, key: &Key) -> Option<Cloud> {
        let block = |name: &str| push(at, name);
        match home.kind {
            "azure" => {
                let none = AzureKey::default();
                let azure = key.azure_key_config.as_ref().unwrap_or(&none);
                Some(Cloud::Azure(self.azure(&block("azure_key_config"), home, azure)))
            }
            "vertex" => {
                let none = VertexKey::default();
                let vertex = key.vertex_key_config.as_ref().unwrap_or(&none);
                Some(Cloud::Vertex(self.vertex(&block("vertex_key_config"), vertex)))
            }
            "bedrock" => {
                let none = BedrockKey::default();
                let bedrock = key.bedrock_key_config.as_ref().unwrap_or(&none);
                let has_value = key.value.is_some();
                Some(Cloud::Bedrock(self.bedrock(&block("bedrock_key_config"), home, (bedrock, has_value))))
            }
            "replicate" => {
                let deployments = key.replicate_key_config.as_ref().is_some_and(|block| block.use_deployments_endpoint);
                Some(Cloud::Replicate { deployments })
            }
            _ => None,
        }
    }

    fn azure(&mut self, at: &str, home: &Home<'_>, key: &AzureKey) -> AzureSettings {
        let mut text = |name: &str, value: &Option<Reference>| self.text(&push(at, name), value.as_ref());
        let endpoint = text("endpoint", &key.endpoint);
        let api_version = text("api_version", &key.api_version);
        let authority = text("authority", &key.authority);
        let tenant_id = text("tenant_id", &key.tenant_id);
        let client_id = text("client_id", &key.client_id);
        let client_secret = text("client_secret", &key.client_secret);
        for (name, url) in [("endpoint", &endpoint), ("authority", &authority)] {
            if let Some(url) = url {
                self.url(&push(at, name), url);
            }
        }
        if endpoint.is_none() && !home.has_url {
            self.conflict(at, "the key `endpoint` is missing, such as `https://name.openai.azure.com`");
        }
        let entra = match (tenant_id, client_id, client_secret) {
            (None, None, None) => None,
            (Some(tenant_id), Some(client_id), Some(secret)) => {
                let (client_secret, scopes) = (secret.into(), key.scopes.clone());
                Some(EntraSettings { authority, tenant_id, client_id, client_secret, scopes })
            }
            _ => {
                self.conflict(at, "Entra ID needs `tenant_id`, `client_id` and `client_secret` together");
                None
            }
        };
        AzureSettings { endpoint, api_version, entra }
    }

    /// Where the file leaves identity or region open, AWS's own variables say it, as for every program there.
    fn bedrock(&mut self, at: &str, home: &Home<'_>, (key, has_value): (&BedrockKey, bool)) -> BedrockSettings {
        let mut text = |name: &str, value: &Option<Reference>| self.text(&push(at, name), value.as_ref());
        let access_key = text("access_key", &key.access_key);
        let secret_key = text("secret_key", &key.secret_key);
        let session_token = text("session_token", &key.session_token);
        let region = text("region", &key.region);
        let variable =
            |names: &[&str]| names.iter().find_map(|name| (self.environment)(name)).filter(|text| !text.is_empty());
        let region = region.or_else(|| variable(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
        let identity = match (access_key, secret_key) {
            (Some(access), Some(secret)) => Some((access, secret, session_token)),
            (None, None) if has_value => None,
            (None, None) => variable(&["AWS_ACCESS_KEY_ID"])
                .zip(variable(&["AWS_SECRET_ACCESS_KEY"]))
                .map(|(access, secret)| (access, secret, variable(&["AWS_SESSION_TOKEN"]))),
            _ => {
                self.conflict(at, "`access_key` and `secret_key` belong together");
                None
            }
        };
        if identity.is_none() && !has_value && key.access_key.is_none() && key.secret_key.is_none() {
            self.conflict(
                at,
                "expected `access_key` and `secret_key`, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a `value`",
            );
        }
        if region.is_none() && (identity.is_some() || !home.has_url) {
            self.conflict(at, "the key `region` is missing, such as `us-east-1`");
        }
        let identity = identity.map(|(access_key, secret, token)| AwsIdentity {
            access_key,
            secret_key: secret.into(),
            session_token: token.map(Into::into),
        });
        if key.role_arn.is_some() && identity.is_none() {
            self.conflict(
                &push(at, "role_arn"),
                "a role needs an identity that takes it on: `access_key`, `secret_key`",
            );
        }
        BedrockSettings { region, identity, role: self.role(at, key) }
    }

    fn role(&mut self, at: &str, key: &BedrockKey) -> Option<AwsRoleSettings> {
        let mut text = |name: &str, value: &Option<Reference>| self.text(&push(at, name), value.as_ref());
        let arn = text("role_arn", &key.role_arn);
        let external_id = text("external_id", &key.external_id);
        let session_name = text("session_name", &key.session_name);
        let Some(arn) = arn else {
            if external_id.is_some() || session_name.is_some() {
                self.conflict(at, "`external_id` and `session_name` are for a role; the key `role_arn` is missing");
            }
            return None;
        };
        if !arn.starts_with("arn:") {
            self.conflict(&push(at, "role_arn"), "expected an ARN, such as `arn:aws:iam::123456789012:role/models`");
        }
        let session_name = session_name.unwrap_or_else(|| "bifrost".to_owned());
        // https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
        if !(2..=64).contains(&session_name.len()) || !session_name.bytes().all(is_plain) {
            self.conflict(&push(at, "session_name"), "expected 2 to 64 letters, digits or any of `_+=,.@-`");
        }
        let endpoint = (self.environment)("AWS_ENDPOINT_URL_STS").filter(|url| !url.is_empty());
        Some(AwsRoleSettings { arn, session_name, external_id, endpoint })
    }

    fn vertex(&mut self, at: &str, key: &VertexKey) -> VertexSettings {
        let mut text = |name: &str, value: &Option<Reference>| self.text(&push(at, name), value.as_ref());
        let project = text("project_id", &key.project_id);
        let number = text("project_number", &key.project_number);
        let region = text("region", &key.region);
        let file = text("auth_credentials", &key.auth_credentials);
        let metadata = text("metadata_host", &key.metadata_host);
        if file.is_some() && metadata.is_some() {
            self.conflict(&push(at, "metadata_host"), "`auth_credentials` are here too; keep one of them");
        }
        let project = project.or(number).or_else(|| file.as_deref().and_then(project_of));
        if project.is_none() {
            self.conflict(at, "the key `project_id` is missing");
        }
        if region.is_none() {
            self.conflict(at, "the key `region` is missing, such as `us-central1` or `global`");
        }
        let credentials = file.map(|file| GoogleCredentials::File(file.into()));
        VertexSettings {
            project: project.unwrap_or_default(),
            region: region.unwrap_or_default(),
            credentials: credentials.or(metadata.map(GoogleCredentials::Metadata)),
        }
    }
}

fn deployments(key: &Key) -> Option<Deployments<'_>> {
    let azure = key.azure_key_config.as_ref().map(|block| ("azure_key_config", &block.deployments));
    let vertex = key.vertex_key_config.as_ref().map(|block| ("vertex_key_config", &block.deployments));
    let bedrock = key.bedrock_key_config.as_ref().map(|block| ("bedrock_key_config", &block.deployments));
    [azure, vertex, bedrock].into_iter().flatten().find(|(_, deployments)| !deployments.is_empty())
}

/// The project that a Google credential file names.
fn project_of(file: &str) -> Option<String> {
    let file: serde_json::Value = serde_json::from_str(file).ok()?;
    Some(file.get("project_id")?.as_str()?.to_owned())
}
