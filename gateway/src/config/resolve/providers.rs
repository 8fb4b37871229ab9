//! Resolves `providers`.

use std::time::Duration;

use indexmap::IndexMap;

use super::Resolver;
use super::keys::Home;
use crate::config::check::nearest;
use crate::config::file::{CustomProvider, Network, Provider};
use crate::config::period::Unit;
use crate::config::settings::{KeySettings, Models, ProviderSettings, RetrySettings, Timeouts};
use crate::config::tree::push;

/// How a known provider is usually let in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Credential {
    /// By a key.
    Key,
    /// By a key, or by a block of its own (`azure_key_config`, ..).
    Block,
    /// A server of one's own: a key is possible and rarely needed.
    Own,
}

/// Every provider name that means something by itself (contract of `config.json`, "Known names").
#[rustfmt::skip]
const KNOWN: [(&str, Credential); 35] = {
    use Credential::{Block, Key, Own};
    [
        ("openai", Key), ("anthropic", Key), ("azure", Block), ("bedrock", Block), ("bedrock_mantle", Block), ("vertex", Block),
        ("gemini", Key), ("cohere", Key), ("mistral", Key), ("groq", Key), ("ollama", Own), ("sgl", Own), ("vllm", Own),
        ("cerebras", Key), ("openrouter", Key), ("parasail", Key), ("perplexity", Key), ("nebius", Key), ("xai", Key),
        ("deepseek", Key), ("fireworks", Key), ("huggingface", Key), ("replicate", Key), ("elevenlabs", Key),
        ("deepgram", Key), ("runway", Key), ("runware", Key), ("sarvam", Key), ("opencode-go", Key), ("opencode-zen", Key),
        ("together", Key), ("wafer", Key), ("github-copilot", Key), ("databricks", Key), ("typesafe", Key),
    ]
};

impl Resolver<'_> {
    pub(super) fn providers(&mut self, providers: &IndexMap<String, Provider>) -> Vec<ProviderSettings> {
        providers.iter().map(|(name, provider)| self.provider(name, provider)).collect()
    }

    fn provider(&mut self, name: &str, provider: &Provider) -> ProviderSettings {
        let at = push("/providers", name);
        let custom = provider.custom_provider_config.as_ref();
        let base = self.base(&at, name, custom);
        let network = &provider.network_config;
        let network_at = push(&at, "network_config");
        let base_url = self.text(&push(&network_at, "base_url"), network.base_url.as_ref());
        if let Some(url) = &base_url {
            self.url(&push(&network_at, "base_url"), url);
        }
        let (proxy, proxy_at) = (provider.proxy_config.as_ref(), push(&at, "proxy_config"));
        let authorities = self.text(&push(&network_at, "ca_cert_pem"), network.ca_cert_pem.as_ref());
        let keyless = custom.is_some_and(|custom| custom.is_key_less) || credential(name) == Some(Credential::Own);
        let kind = base.clone().unwrap_or_else(|| name.to_owned());
        let home = Home {
            provider: name,
            kind: &kind,
            keyless,
            has_url: base_url.is_some(),
            cloud: credential(&kind) == Some(Credential::Block),
        };
        ProviderSettings {
            name: name.to_owned(),
            base,
            base_url,
            keys: self.keys(&at, &home, &provider.keys),
            keyless,
            extra_headers: self.headers(&push(&network_at, "extra_headers"), &network.extra_headers),
            timeouts: self.timeouts(&network_at, network),
            retry: self.retry(&network_at, network),
            concurrency: provider.concurrency_and_buffer_size.concurrency,
            buffer: provider.concurrency_and_buffer_size.buffer_size,
            max_connections_per_host: usize::try_from(network.max_conns_per_host).unwrap_or(usize::MAX),
            enforce_http2: network.enforce_http2,
            insecure_skip_verify: network.insecure_skip_verify,
            ca_cert_pem: self.authorities(&proxy_at, authorities, proxy),
            proxy: self.proxy(&proxy_at, proxy),
            allow_private_network: network.allow_private_network,
            send_back_raw_request: provider.send_back_raw_request,
            send_back_raw_response: provider.send_back_raw_response,
            path_overrides: custom.map(path_overrides).unwrap_or_default(),
            allowed_requests: custom.and_then(|custom| custom.allowed_requests.as_ref()).map(|allowed| {
                allowed.iter().filter(|(_, allowed)| **allowed).map(|(request, _)| request.clone()).collect()
            }),
            disable_store: provider.openai_config.disable_store,
        }
    }

    /// The provider a custom one behaves like; a name that means nothing by itself must say.
    fn base(&mut self, at: &str, name: &str, custom: Option<&CustomProvider>) -> Option<String> {
        if name.is_empty() || name.contains('/') {
            self.conflict(at, "a provider's name is not empty and has no `/`, which separates it from the model");
        }
        match custom {
            Some(CustomProvider { base_provider_type: Some(base), .. }) => Some(base.name().to_owned()),
            Some(_) => {
                self.conflict(&push(at, "custom_provider_config"), "`base_provider_type` is missing");
                None
            }
            None if credential(name).is_some() => None,
            None => {
                let hint = nearest(name, KNOWN.iter().map(|(known, _)| *known))
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                let need = "a provider of your own needs `custom_provider_config.base_provider_type`";
                self.conflict(at, format!("unknown provider `{name}`{hint} ({need})"));
                None
            }
        }
    }

    fn timeouts(&mut self, at: &str, network: &Network) -> Timeouts {
        let request = Duration::from_secs(network.default_request_timeout_in_seconds);
        let connect = self.timeout(&push(at, "connect_timeout"), network.connect_timeout, Unit::Milliseconds);
        let first = self.timeout(&push(at, "first_byte_timeout"), network.first_byte_timeout, Unit::Milliseconds);
        Timeouts {
            request,
            connect: connect.unwrap_or(Duration::from_secs(5)),
            first_byte: first.unwrap_or(request),
            stream_idle: Duration::from_secs(network.stream_idle_timeout_in_seconds),
            keep_alive: Duration::from_secs(network.keep_alive_timeout_in_seconds),
        }
    }

    fn retry(&mut self, at: &str, network: &Network) -> RetrySettings {
        let mut pause = |key: &str, period: Option<crate::config::period::Period>, usual: u64| match period {
            None => Duration::from_millis(usual),
            Some(period) => period.length(Unit::Milliseconds).unwrap_or_else(|| {
                self.conflict(&push(at, key), "expected a length of time of at least 0");
                Duration::ZERO
            }),
        };
        let initial = pause("retry_backoff_initial", network.retry_backoff_initial, 500);
        let max = pause("retry_backoff_max", network.retry_backoff_max, 5000);
        let both_written = network.retry_backoff_initial.is_some() && network.retry_backoff_max.is_some();
        if both_written && max < initial {
            self.conflict(&push(at, "retry_backoff_max"), "expected at least `retry_backoff_initial`");
        }
        RetrySettings { max_retries: network.max_retries, initial, max: max.max(initial) }
    }
}

/// The one key of a provider that has everything else as usual; for a start without a file.
pub(in crate::config) fn usual_key(provider: &str, variable: &str, value: String) -> ProviderSettings {
    let network = Network::default();
    let queue = crate::config::file::Queue::default();
    let seconds = Duration::from_secs;
    ProviderSettings {
        name: provider.to_owned(),
        base: None,
        base_url: None,
        keys: vec![KeySettings {
            id: variable.to_owned(),
            name: variable.to_owned(),
            value: Some(value.into()),
            models: Models::All,
            blacklisted_models: Vec::new(),
            weight: 1.0,
            enabled: true,
            url: None,
            aliases: Vec::new(),
            cloud: None,
        }],
        keyless: false,
        extra_headers: Vec::new(),
        timeouts: Timeouts {
            request: seconds(network.default_request_timeout_in_seconds),
            connect: seconds(5),
            first_byte: seconds(network.default_request_timeout_in_seconds),
            stream_idle: seconds(network.stream_idle_timeout_in_seconds),
            keep_alive: seconds(network.keep_alive_timeout_in_seconds),
        },
        retry: RetrySettings { max_retries: 0, initial: Duration::from_millis(500), max: seconds(5) },
        concurrency: queue.concurrency,
        buffer: queue.buffer_size,
        max_connections_per_host: 5000,
        enforce_http2: false,
        insecure_skip_verify: false,
        ca_cert_pem: None,
        proxy: None,
        allow_private_network: false,
        send_back_raw_request: false,
        send_back_raw_response: false,
        path_overrides: Vec::new(),
        allowed_requests: None,
        disable_store: false,
    }
}

fn credential(provider: &str) -> Option<Credential> {
    KNOWN.iter().find(|(known, _)| *known == provider).map(|(_, credential)| *credential)
}

fn path_overrides(custom: &CustomProvider) -> Vec<(String, String)> {
    custom.request_path_overrides.iter().map(|(request, path)| (request.clone(), path.clone())).collect()
}

#[cfg(test)]
mod tests {
    use bifrost_providers::catalog;

    use super::*;

    #[test]
    fn every_row_of_the_catalog_may_be_configured() {
        for row in catalog::rows() {
            assert!(credential(row.name).is_some(), "{}", row.name);
        }
    }
}
