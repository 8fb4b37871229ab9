//! Going by way of a proxy: HTTP's CONNECT, for plain destinations too, or SOCKS 5.
//!
//! The proxy resolves names, so the address rule sees only the proxy's own address, and destinations that are written as
//! addresses. Whoever configures a proxy says that it may be trusted with the rest.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use http::uri::{Parts, Scheme};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpStream;
use tower::Service;

use super::AddressRule;
use super::connect::{BoxError, BoxFuture, Resolver, check_literal};

/// Where SOCKS servers listen unless they say otherwise (RFC 1928).
const SOCKS_PORT: u16 = 1080;

/// The proxies of one transport. Their URLs may hold a user and a password.
#[derive(Clone)]
pub struct ProxySettings {
    /// For `http://` destinations: `http://host:port` or `socks5://host:port`.
    pub http: Option<SecretString>,
    /// For `https://` destinations.
    pub https: Option<SecretString>,
    /// Hosts, domains and networks that are reached without: a comma list, as in `NO_PROXY`.
    pub except: String,
    /// May a proxy at this address be used?
    pub address_allowed: AddressRule,
}

/// Opens TCP connections, some of them by way of a proxy.
#[derive(Clone)]
pub(super) struct Via {
    direct: HttpConnector<Resolver>,
    proxies: Option<Proxies>,
}

#[derive(Clone)]
struct Proxies {
    which: Arc<Matcher>,
    /// To the proxy itself.
    connector: HttpConnector<Resolver>,
    allowed: AddressRule,
}

/// What went wrong on the way, and whose way it was.
#[derive(Debug, thiserror::Error)]
#[error("by way of the proxy {proxy}")]
struct Detour {
    proxy: String,
    source: BoxError,
}

// === impl Via ===

impl Via {
    /// `connector` makes a TCP connector that obeys a rule.
    pub(super) fn new(
        connector: impl Fn(AddressRule) -> HttpConnector<Resolver>,
        allowed: AddressRule,
        proxy: Option<&ProxySettings>,
    ) -> Self {
        let proxies = proxy.map(|proxy| Proxies {
            which: Arc::new(proxy.matcher()),
            connector: connector(proxy.address_allowed.clone()),
            allowed: proxy.address_allowed.clone(),
        });
        Self { direct: connector(allowed), proxies }
    }
}

impl Service<Uri> for Via {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response, BoxError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        if let Some(proxies) = &self.proxies
            && let Some(proxy) = proxies.which.intercept(&destination)
        {
            return Box::pin(proxies.clone().connect(proxy, destination));
        }
        let connecting = self.direct.call(destination);
        Box::pin(async move { connecting.await.map_err(Into::into) })
    }
}

// === impl Proxies ===

impl Proxies {
    async fn connect(self, proxy: Intercept, destination: Uri) -> Result<TokioIo<TcpStream>, BoxError> {
        let named = proxy.uri().authority().map(ToString::to_string).unwrap_or_default();
        self.through(proxy, destination).await.map_err(|source| Detour { proxy: named, source }.into())
    }

    async fn through(self, proxy: Intercept, destination: Uri) -> Result<TokioIo<TcpStream>, BoxError> {
        check_literal(proxy.uri(), &self.allowed)?;
        let destination = with_port(destination, |scheme| if *scheme == Scheme::HTTP { 80 } else { 443 })?;
        if is_socks(proxy.uri()) {
            let mut socks = SocksV5::new(with_port(proxy.uri().clone(), |_| SOCKS_PORT)?, self.connector);
            if let Some((user, password)) = proxy.raw_auth() {
                socks = socks.with_auth(user.to_owned(), password.to_owned());
            }
            return Ok(socks.call(destination).await?);
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.connector);
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        Ok(tunnel.call(destination).await?)
    }
}

fn is_socks(proxy: &Uri) -> bool {
    proxy.scheme_str().is_some_and(|scheme| scheme.starts_with("socks"))
}

/// The same URI with its port said aloud.
fn with_port(uri: Uri, usual: impl Fn(&Scheme) -> u16) -> Result<Uri, BoxError> {
    let (None, Some(scheme), Some(host)) = (uri.port(), uri.scheme(), uri.host()) else { return Ok(uri) };
    let authority = format!("{host}:{}", usual(scheme)).parse()?;
    let mut parts = Parts::from(uri);
    parts.authority = Some(authority);
    Ok(Uri::from_parts(parts)?)
}

// === impl ProxySettings ===

impl ProxySettings {
    fn matcher(&self) -> Matcher {
        let url = |secret: &Option<SecretString>| {
            secret.as_ref().map(|secret| secret.expose_secret().to_owned()).unwrap_or_default()
        };
        Matcher::builder().http(url(&self.http)).https(url(&self.https)).no(self.except.clone()).build()
    }
}

/// URLs of proxies may hold passwords.
impl fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxySettings").field("except", &self.except).finish_non_exhaustive()
    }
}
