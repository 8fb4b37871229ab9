//! What a key's account on a cloud says of where its requests go, and how it lets itself in.

use bifrost_providers::auth::{AwsKeys, AwsRole, BadCredential, Credential, Entra, Grant};
use bifrost_providers::catalog::{Of, Row};

use super::providers::Site;
use crate::config::{
    AliasSettings, AwsIdentity, AzureSettings, BedrockSettings, Cloud, GoogleCredentials, KeySettings,
    ProviderSettings, VertexSettings,
};

/// The place of a cloud's address in its row.
pub(in crate::state) const ENDPOINT: &str = "endpoint";

/// The place of the version of Azure's API in a row, as a query.
pub(in crate::state) const VERSION: &str = "version";

/// Where a key's requests go; for an alias, with what it says beside its key.
pub(super) fn site(settings: &ProviderSettings, key: &KeySettings, alias: Option<&AliasSettings>) -> Site {
    match &key.cloud {
        None => Site { url: key.url.clone(), ..Site::default() },
        Some(Cloud::Azure(azure)) => azure_site(settings, azure, alias),
        Some(Cloud::Vertex(vertex)) => vertex_site(settings, vertex, alias),
        Some(Cloud::Replicate { deployments }) => {
            let asked = alias.and_then(|alias| alias.deployments).unwrap_or(*deployments);
            Site { of: asked.then_some(Of::Deployments), ..Site::default() }
        }
        Some(Cloud::Bedrock(bedrock)) => {
            let region = bedrock.region.as_ref().map(|region| ("region", escaped(region)));
            Site { places: region.into_iter().collect(), ..Site::default() }
        }
    }
}

/// How a key asks for access tokens; `None` where its value is sent as it is.
pub(super) fn grant(key: &KeySettings) -> Result<Option<Grant>, BadCredential> {
    match &key.cloud {
        Some(Cloud::Azure(AzureSettings { entra: Some(entra), .. })) => Grant::entra(&Entra {
            authority: entra.authority.clone(),
            tenant: entra.tenant_id.clone(),
            client_id: entra.client_id.clone(),
            client_secret: entra.client_secret.clone(),
            scopes: entra.scopes.clone(),
        })
        .map(Some),
        Some(Cloud::Vertex(VertexSettings { credentials: Some(credentials), .. })) => match credentials {
            GoogleCredentials::File(json) => Grant::google_file(json).map(Some),
            GoogleCredentials::Metadata(host) => Grant::google_metadata(host).map(Some),
        },
        Some(Cloud::Bedrock(BedrockSettings { identity: Some(identity), role: Some(role), region })) => {
            let asked = AwsRole {
                arn: role.arn.clone(),
                session_name: role.session_name.clone(),
                external_id: role.external_id.clone(),
                endpoint: role.endpoint.clone(),
                service: BEDROCK,
            };
            Grant::aws_role(aws_keys(identity, region.as_deref()), &asked).map(Some)
        }
        _ => Ok(None),
    }
}

/// What signatures for Bedrock are made out to.
const BEDROCK: &str = "bedrock";

fn aws_keys(identity: &AwsIdentity, region: Option<&str>) -> AwsKeys {
    AwsKeys {
        access_key: identity.access_key.clone(),
        secret_key: identity.secret_key.clone(),
        session_token: identity.session_token.clone(),
        region: region.unwrap_or_default().to_owned(),
    }
}

/// What a key holds; `None` for one that holds nothing.
pub(super) fn held(key: &KeySettings, row: &Row) -> Result<Option<Credential>, BadCredential> {
    match &key.cloud {
        Some(Cloud::Bedrock(BedrockSettings { identity: Some(identity), region, .. })) => {
            Credential::aws(aws_keys(identity, region.as_deref()), BEDROCK).map(Some)
        }
        _ => key.value.as_ref().map(|value| Credential::new(value, row.auth)).transpose(),
    }
}

/// Do the key's tokens come from the metadata server of this machine?
pub(super) fn asks_metadata(key: &KeySettings) -> bool {
    matches!(&key.cloud, Some(Cloud::Vertex(VertexSettings { credentials: Some(GoogleCredentials::Metadata(_)), .. })))
}

/// The API without versions has the deployment for a model; older versions have it in the path.
fn azure_site(settings: &ProviderSettings, azure: &AzureSettings, alias: Option<&AliasSettings>) -> Site {
    let own = alias.and_then(|alias| alias.endpoint.as_ref()).or(azure.endpoint.as_ref());
    let endpoint = own.or(settings.base_url.as_ref()).map(|endpoint| address_of(endpoint)).unwrap_or_default();
    let version = alias.and_then(|alias| alias.api_version.as_ref()).or(azure.api_version.as_ref());
    let (dated, query) = azure_version(version.map(String::as_str));
    let of = dated.then_some(Of::DatedVersion);
    Site { url: None, places: vec![(ENDPOINT, endpoint.to_owned()), (VERSION, query)], of }
}

/// Is the version a date, and the query that names it?
pub(in crate::state) fn azure_version(version: Option<&str>) -> (bool, String) {
    match version {
        None | Some("v1" | "latest") => (false, String::new()),
        Some("preview") => (false, "?api-version=preview".to_owned()),
        Some(date) => (true, format!("?api-version={}", escaped(date))),
    }
}

/// The address of a resource as such: the portal shows it with the API's own path behind it.
pub(in crate::state) fn address_of(endpoint: &str) -> &str {
    let endpoint = endpoint.trim_end_matches('/');
    ["/openai/v1", "/openai", "/anthropic"].iter().find_map(|path| endpoint.strip_suffix(path)).unwrap_or(endpoint)
}

fn vertex_site(settings: &ProviderSettings, vertex: &VertexSettings, alias: Option<&AliasSettings>) -> Site {
    let region = alias.and_then(|alias| alias.region.as_ref()).unwrap_or(&vertex.region);
    let project = alias.and_then(|alias| alias.project.as_ref()).unwrap_or(&vertex.project);
    // https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations
    let endpoint = settings.base_url.clone().unwrap_or_else(|| match region.as_str() {
        "global" => "https://aiplatform.googleapis.com".to_owned(),
        "us" | "eu" => format!("https://aiplatform.{region}.rep.googleapis.com"),
        _ => format!("https://{}-aiplatform.googleapis.com", escaped(region)),
    });
    let endpoint = endpoint.trim_end_matches('/').to_owned();
    let places = vec![(ENDPOINT, endpoint), ("region", escaped(region)), ("project", escaped(project))];
    Site { places, ..Site::default() }
}

/// As a piece of a path or of a host.
fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_portals_addresses_are_all_the_same_resource() {
        for endpoint in
            ["https://r.openai.azure.com", "https://r.openai.azure.com/", "https://r.openai.azure.com/openai/v1/"]
        {
            assert_eq!(address_of(endpoint), "https://r.openai.azure.com");
        }
    }

    fn provider(base_url: Option<&str>) -> ProviderSettings {
        let usual = &[("openai", &["OPENAI_API_KEY"][..])];
        let mut settings = crate::config::embedded(usual, &|_| Some("k".to_owned())).providers.remove(0);
        settings.base_url = base_url.map(str::to_owned);
        settings
    }

    #[test]
    fn an_api_version_decides_on_path_and_query() {
        let azure = |version: Option<&str>| {
            let endpoint = Some("https://r.openai.azure.com/".to_owned());
            let settings = AzureSettings { endpoint, api_version: version.map(str::to_owned), entra: None };
            let site = azure_site(&provider(Some("http://elsewhere")), &settings, None);
            assert_eq!(site.places[0].1, "https://r.openai.azure.com");
            (site.of.is_some(), site.places[1].1.clone())
        };
        assert_eq!(azure(None), (false, String::new()));
        assert_eq!(azure(Some("v1")), (false, String::new()));
        assert_eq!(azure(Some("preview")), (false, "?api-version=preview".into()));
        assert_eq!(azure(Some("2024-10-21")), (true, "?api-version=2024-10-21".into()));
        assert_eq!(azure(Some("2024&x=y")), (true, "?api-version=2024%26x%3Dy".into()));
    }

    #[test]
    fn a_region_has_its_address_unless_the_operator_has_another() {
        for (base_url, region, endpoint) in [
            (None, "us-east5", "https://us-east5-aiplatform.googleapis.com"),
            (None, "global", "https://aiplatform.googleapis.com"),
            (None, "eu", "https://aiplatform.eu.rep.googleapis.com"),
            (Some("http://private.example/"), "global", "http://private.example"),
        ] {
            let vertex = VertexSettings { project: "p".into(), region: region.into(), credentials: None };
            let site = vertex_site(&provider(base_url), &vertex, None);
            assert_eq!(site.places[0], (ENDPOINT, endpoint.to_owned()));
        }
    }
}
