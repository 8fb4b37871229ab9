//! The HTTP client for tool servers, and the Streamable HTTP transport on it.
//!
//! Addresses are checked where they are dialled: names when they resolve, literal addresses before. Redirects are never
//! followed, so no server can send us, with our headers, anywhere else.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rmcp::transport::{
    StreamableHttpClientTransport, common::client_side_sse::ExponentialBackoff,
    streamable_http_client::StreamableHttpClientTransportConfig,
};
use secrecy::{ExposeSecret as _, SecretString};
use url::{Host, Url};

use super::Surroundings;

/// Says whether an address may be dialled.
pub(crate) type AddressRule = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// One connection serves all callers of the gateway, so the SDK's own limit of 16 would be a queue.
const MAX_CONCURRENT_REQUESTS: usize = 256;
/// A broken response stream is resumed this often; then its call fails.
const MAX_RESUMES: usize = 4;
const FIRST_RESUME_DELAY: Duration = Duration::from_millis(250);

/// Resolves names as the system does, and leaves out the addresses that may not be dialled.
struct CheckedResolver(AddressRule);

/// The transport that rmcp drives, for either era.
pub(super) fn streamable(
    url: &Url,
    headers: &[(String, SecretString)],
    around: &Surroundings,
) -> Result<StreamableHttpClientTransport<reqwest::Client>, String> {
    let client = client(url, around)?;
    let mut resume = ExponentialBackoff::default();
    resume.max_times = Some(MAX_RESUMES);
    resume.base_duration = FIRST_RESUME_DELAY;
    let mut config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
        .custom_headers(
            header_map(headers)?
                .into_iter()
                .filter_map(|(name, value)| Some((name?, value)))
                .collect::<HashMap<_, _>>(),
        )
        .max_concurrent_requests(MAX_CONCURRENT_REQUESTS)
        .max_sse_event_size(around.max_message_bytes);
    config.retry_config = Arc::new(resume);
    Ok(StreamableHttpClientTransport::with_client(client, config))
}

/// A client for one tool server.
pub(super) fn client(url: &Url, around: &Surroundings) -> Result<reqwest::Client, String> {
    check_literal(url, &around.address_allowed)?;
    // Fails only when a provider is installed already, which is as good.
    let _already = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(DIAL_TIMEOUT)
        .dns_resolver(Arc::new(CheckedResolver(Arc::clone(&around.address_allowed))))
        .build()
        .map_err(|error| format!("the HTTP client cannot be built: {error}"))
}

/// The configured headers. Their values are marked as sensitive, which keeps them out of logs.
pub(super) fn header_map(headers: &[(String, SecretString)]) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let key = HeaderName::try_from(name).map_err(|_| format!("'{name}' is no header name"))?;
        let mut value = HeaderValue::try_from(value.expose_secret())
            .map_err(|_| format!("the value of header '{name}' is no header value"))?;
        value.set_sensitive(true);
        map.insert(key, value);
    }
    Ok(map)
}

/// Literal addresses never reach the resolver.
fn check_literal(url: &Url, allowed: &AddressRule) -> Result<(), String> {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
        Some(Host::Domain(_)) => return Ok(()),
        None => return Err("its URL has no host".to_owned()),
    };
    if allowed(address.to_canonical()) { Ok(()) } else { Err(refusal(url.host_str().unwrap_or_default())) }
}

fn refusal(host: &str) -> String {
    format!("the address of {host} may not be dialled")
}

// === impl CheckedResolver ===

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = Arc::clone(&self.0);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses: Vec<SocketAddr> = found.filter(|address| allowed(address.ip().to_canonical())).collect();
            if addresses.is_empty() {
                return Err(refusal(name.as_str()).into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_addresses_are_checked_before_they_are_dialled() {
        let public_only: AddressRule =
            Arc::new(|address| !address.is_loopback() && !matches!(address, IpAddr::V4(v4) if v4.is_link_local()));
        let cases = [
            ("http://127.0.0.1/mcp", false),
            ("http://[::ffff:127.0.0.1]/mcp", false),
            ("http://[::ffff:169.254.169.254]/mcp", false),
            ("http://0x7f.1/mcp", false),
            ("http://192.0.2.1/mcp", true),
            ("http://example.com/mcp", true),
        ];
        for (url, allowed) in cases {
            assert_eq!(check_literal(&Url::parse(url).unwrap(), &public_only).is_ok(), allowed, "{url}");
        }
    }

    #[tokio::test]
    async fn names_are_checked_when_they_resolve() {
        let resolver = CheckedResolver(Arc::new(|address| !address.is_loopback()));
        let refused = resolver.resolve("localhost".parse().unwrap()).await.err().unwrap();
        assert_eq!(refused.to_string(), "the address of localhost may not be dialled");
        let resolver = CheckedResolver(Arc::new(|_| true));
        assert!(resolver.resolve("localhost".parse().unwrap()).await.is_ok());
    }
}
