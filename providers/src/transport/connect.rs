//! Opening a connection: the address rule, the name lookup that obeys it, and one timeout over all of it.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower::Service;

use super::proxy::Via;
use super::{AddressRule, TransportSettings};

/// TCP keep-alive probes: finds peers that vanished without a FIN, and keeps middleboxes from forgetting quiet streams.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

pub(super) type BoxError = Box<dyn Error + Send + Sync>;
pub(super) type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Opens plain and TLS connections to allowed addresses.
#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<Via>,
    allowed: AddressRule,
    timeout: Duration,
}

/// The system's resolver, without the addresses that are not allowed.
#[derive(Clone)]
pub(super) struct Resolver {
    system: GaiResolver,
    allowed: AddressRule,
}

// === impl Connector ===

impl Connector {
    pub(super) fn new(settings: TransportSettings, tls: ClientConfig) -> Self {
        let tcp = |allowed| tcp(allowed, settings.connect_timeout);
        let via = Via::new(tcp, settings.address_allowed.clone(), settings.proxy.as_ref());
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let https = if settings.http2_only {
            builder.enable_http2().wrap_connector(via)
        } else {
            builder.enable_all_versions().wrap_connector(via)
        };
        Self { https, allowed: settings.address_allowed, timeout: settings.connect_timeout }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response, BoxError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        if let Err(refused) = check_literal(&uri, &self.allowed) {
            return Box::pin(async move { Err(refused.into()) });
        }
        let connecting = self.https.call(uri);
        let limit = self.timeout;
        Box::pin(async move {
            tokio::time::timeout(limit, connecting)
                .await
                .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
        })
    }
}

/// Opens TCP connections to the addresses that a rule allows.
fn tcp(allowed: AddressRule, connect_timeout: Duration) -> HttpConnector<Resolver> {
    let mut http = HttpConnector::new_with_resolver(Resolver { system: GaiResolver::new(), allowed });
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(TCP_KEEPALIVE));
    http.set_keepalive_interval(Some(TCP_KEEPALIVE));
    // The connector divides this among the addresses of a name, so that one dead address does not use up all the time.
    http.set_connect_timeout(Some(connect_timeout));
    http
}

// === impl Resolver ===

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<Self::Response, io::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(ready!(self.system.poll_ready(cx)))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let lookup = self.system.call(name.clone());
        let allowed = self.allowed.clone();
        Box::pin(async move { permitted(name.as_str(), lookup.await?, &allowed) })
    }
}

/// The allowed ones of a name's addresses; an error where none is left.
fn permitted(
    host: &str,
    found: impl Iterator<Item = SocketAddr>,
    allowed: &AddressRule,
) -> io::Result<std::vec::IntoIter<SocketAddr>> {
    let (addresses, others): (Vec<_>, Vec<_>) = found.partition(|address| allows(allowed, address.ip()));
    match (addresses.is_empty(), others.first()) {
        (false, _) => Ok(addresses.into_iter()),
        (true, Some(other)) => Err(refused(&format!("{host} is at {}, which is", other.ip()))),
        (true, None) => Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"))),
    }
}

/// Refuses a URL that is written with an address that is not allowed.
pub(super) fn check_literal(uri: &Uri, allowed: &AddressRule) -> io::Result<()> {
    match literal_address(uri) {
        Some(address) if !allows(allowed, address) => Err(refused(&format!("{address} is"))),
        _ => Ok(()),
    }
}

fn allows(rule: &AddressRule, address: IpAddr) -> bool {
    rule(address.to_canonical())
}

fn refused(what_is: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("{what_is} not an allowed address"))
}

/// Spellings that the standard library does not parse (`0x7f.1`) go through the resolver, and so through its rule.
fn literal_address(uri: &Uri) -> Option<IpAddr> {
    let host = uri.host()?;
    host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host).parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn only_allowed_addresses_of_a_name_are_used() {
        let public: AddressRule = Arc::new(|ip| !matches!(ip, IpAddr::V4(v4) if v4.is_private() || v4.is_link_local()));
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 0);
        let check = |found: &[&str]| {
            permitted("rebind.test", found.iter().map(|ip| at(ip)).collect::<Vec<_>>().into_iter(), &public)
                .map(|left| left.map(|address| address.ip().to_string()).collect::<Vec<_>>())
                .map_err(|error| error.to_string())
        };
        assert_eq!(check(&["93.184.216.34", "10.0.0.1"]).unwrap(), ["93.184.216.34"]);
        assert_eq!(
            check(&["169.254.169.254"]).unwrap_err(),
            "rebind.test is at 169.254.169.254, which is not an allowed address"
        );
        assert!(
            check(&["::ffff:10.0.0.1"]).unwrap_err().contains("not an allowed"),
            "a mapped address is its IPv4 address"
        );
        assert_eq!(check(&[]).unwrap_err(), "rebind.test has no address");
    }

    #[test]
    fn literal_addresses_are_seen() {
        for (uri, literal) in [
            ("http://10.1.2.3:8080/v1", Some("10.1.2.3")),
            ("https://[::ffff:a00:1]/", Some("::ffff:10.0.0.1")),
            ("http://localhost/", None),
        ] {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(literal_address(&uri), literal.map(|ip| ip.parse().unwrap()));
        }
    }
}
