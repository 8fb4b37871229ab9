//! The only file (with its submodules) that names the HTTP client.
//!
//! A [`Transport`] owns one connection pool with one set of TLS and address rules. It sends a [`Call`] and hands back an
//! [`Answer`] whose body still obeys the timers; every way this can go wrong is a [`Failure`] that names the timer, the
//! peer or the rule. Dropping a [`Transport::send`] future or an [`AnswerBody`] cancels the exchange upstream.
//!
//! What it does *not* do: follow redirects, decompress, read the environment, or repeat a request that may have
//! reached the server. Only a request that was never written, because its pooled connection had died, is sent again.

mod alarm;
mod body;
mod connect;
mod fault;
mod pour;
mod proxy;
mod tls;

pub use alarm::Alarm;
pub use body::{AnswerBody, Wrapping};
pub use pour::{Clock, Live, Pace};
pub use proxy::ProxySettings;

use std::cell::Cell;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

use crate::Failure;
use crate::failure::FailureKind;
use connect::Connector;
use fault::Timer;
use pour::Sent;

/// HTTP/2 pings on connections in use: a peer that vanished without a FIN is noticed before a long idle timeout is.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The most that is read of an answer that nobody waits for.
const MAX_ASIDE_BYTES: usize = 1 << 20;

/// May a connection to this address be opened? Asked with the canonical address (`::ffff:10.0.0.1` arrives as `10.0.0.1`).
pub type AddressRule = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Starts work that nobody waits for, such as telling a provider that its answer is no longer wanted, and that a stop of the program
/// waits for.
pub type Background = Arc<dyn Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync>;

/// What one pool of connections is made with.
#[derive(Clone)]
pub struct TransportSettings {
    /// Bounds name lookup, TCP and TLS together.
    pub connect_timeout: Duration,
    /// An unused pooled connection is closed after this; keep it below the provider's own limit.
    pub pool_idle: Duration,
    pub max_idle_per_host: usize,
    /// Speak only HTTP/2, on plain `http://` too (prior knowledge). Otherwise ALPN decides, and `http://` is HTTP/1.1.
    pub http2_only: bool,
    /// PEM certificates to trust in addition to the platform's.
    pub ca_cert_pem: Option<String>,
    /// Accept any server certificate. For tests and closed networks.
    pub insecure_skip_verify: bool,
    /// Applied to literal addresses and to every address a name resolves to, at connect time, so that a name that changes
    /// its address between check and use gains nothing.
    pub address_allowed: AddressRule,
    /// By way of whom.
    pub proxy: Option<ProxySettings>,
    pub background: Background,
    /// Separate pools, for programs that serve on threads with a runtime each: see [`use_shard`]. At least one.
    pub shards: usize,
}

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(0) };
}

/// Binds the current thread to one of the pools. A connection belongs to the runtime that opened it, so a thread with a
/// runtime of its own must not use another's.
pub fn use_shard(shard: usize) {
    SHARD.set(shard);
}

/// Why a [`Transport`] could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("ca_cert_pem: {0}")]
    CaCertificate(String),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// One connection pool per shard. Cheap to share behind an `Arc`.
#[derive(Clone)]
pub struct Transport {
    clients: Vec<Client<Connector, Sent>>,
    connect_timeout: Duration,
    http2_only: bool,
    background: Background,
}

/// One request, ready to go. The headers hold the credential.
#[derive(Clone)]
pub struct Call {
    pub method: Method,
    /// Absolute: scheme, authority, path.
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub timeouts: Timeouts,
}

/// The timers of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the start until the head of the answer, connecting included. A model that does not stream thinks in silence, so
    /// for a whole answer this is the time it may take to make it.
    pub first_byte: Duration,
    /// The longest silence inside the body. Any byte counts, also a provider's keep-alive comment.
    pub idle: Duration,
    /// From the start until the end of the body; `None` for streams, which may rightly last for hours.
    pub total: Option<Duration>,
}

/// The head of an answer, whatever its status, and its body to come.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: AnswerBody,
}

// === impl Transport ===

impl Transport {
    /// Fails where the CA certificates are not PEM or TLS cannot be set up.
    pub fn new(settings: &TransportSettings) -> Result<Self, TransportError> {
        let tls = tls::config(settings.ca_cert_pem.as_deref(), settings.insecure_skip_verify)?;
        let connect_timeout = settings.connect_timeout;
        let clients = (0..settings.shards.max(1)).map(|_| Self::client(settings, &tls)).collect();
        let (http2_only, background) = (settings.http2_only, settings.background.clone());
        Ok(Self { clients, connect_timeout, http2_only, background })
    }

    fn client(settings: &TransportSettings, tls: &rustls::ClientConfig) -> Client<Connector, Sent> {
        Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            // Without a timer of its own the pool never reaps idle connections.
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(settings.pool_idle)
            .pool_max_idle_per_host(settings.max_idle_per_host)
            .retry_canceled_requests(true)
            .http2_only(settings.http2_only)
            .http2_adaptive_window(true)
            .http2_keep_alive_interval(HTTP2_PING_INTERVAL)
            .http2_keep_alive_timeout(HTTP2_PING_TIMEOUT)
            .build(Connector::new(settings.clone(), tls.clone()))
    }

    /// The call with its host said, where it is known how: the client would format it.
    fn addressed(&self, mut call: Call) -> Call {
        if let Some(host) = host_of(&call.uri).filter(|_| !self.http2_only) {
            call.headers.entry(header::HOST).or_insert(host);
        }
        call
    }

    /// The pool of the current thread.
    fn mine(&self) -> Option<&Client<Connector, Sent>> {
        self.clients.get(SHARD.get().checked_rem(self.clients.len())?)
    }

    /// Sends one request and waits for the head of the answer. Any status is an [`Answer`], a redirect too.
    ///
    /// Failures: `Connect`, `FirstByteTimeout`, `TotalTimeout`, `Broken`, `Unreadable` (not HTTP, or a successful answer in
    /// a content encoding that was not asked for).
    pub async fn send(&self, call: Call) -> Result<Answer, Box<Failure>> {
        let started = Instant::now();
        let Some(peer) = call.uri.authority().cloned() else {
            return Err(fault::no_authority(&call.uri));
        };
        let Some(client) = self.mine() else { return Err(fault::no_authority(&call.uri)) };
        let timeouts = call.timeouts;
        let mut request = request_of(self.addressed(call), Sent::whole);
        let (timer, limit) = timeouts.until_answer();
        // A timer longer than the connector's own rings on an open connection; only a shorter one has to ask.
        let connection = (limit <= self.connect_timeout).then(|| capture_connection(&mut request));
        let response = match tokio::time::timeout(limit, client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(fault::of_send(&error, &peer, self.connect_timeout)),
            Err(_) if connection.is_some_and(|connection| connection.connection_metadata().is_none()) => {
                return Err(fault::unconnected(&peer, timer, limit));
            }
            Err(_) => return Err(fault::timed_out(&peer, timer, limit)),
        };
        answer_of(response, peer, timeouts, started)
    }

    /// Sends a request whose answer nobody waits for. Without effect where no runtime is left to send it.
    pub fn send_aside(self: &Arc<Self>, call: Call) {
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let transport = self.clone();
        (self.background)(Box::pin(async move {
            if let Ok(answer) = transport.send(call).await {
                // Read to its end, so that the connection can be used again.
                _ = answer.body.collect(MAX_ASIDE_BYTES).await;
            }
        }));
    }
}

impl Call {
    /// Puts this behind the query. Fails, as `Rejected`, where no URL comes of it.
    pub fn add_query(&mut self, query: &str) -> Result<(), Box<Failure>> {
        let behind = if self.uri.query().is_some() { '&' } else { '?' };
        self.uri = format!("{}{behind}{query}", self.uri).parse().map_err(|_| {
            let message = format!("no URL can hold the query {query:?}");
            Box::new(Failure::new(FailureKind::Rejected, message))
        })?;
        Ok(())
    }
}

impl Timeouts {
    /// The timer that rings first while there is no answer yet.
    fn until_answer(&self) -> (Timer, Duration) {
        match self.total {
            Some(total) if total < self.first_byte => (Timer::Total, total),
            _ => (Timer::FirstByte, self.first_byte),
        }
    }
}

fn request_of(call: Call, sent: impl FnOnce(Bytes) -> Sent) -> Request<Sent> {
    let mut request = Request::new(sent(call.body));
    *request.method_mut() = call.method;
    *request.uri_mut() = call.uri;
    *request.headers_mut() = call.headers;
    request
}

/// The host as HTTP/1.1 says it, for connections without TLS: others may turn out to be HTTP/2, which has another place for it.
fn host_of(uri: &Uri) -> Option<HeaderValue> {
    let authority = uri.authority().filter(|authority| authority.port_u16() != Some(80))?;
    let is_plain = uri.scheme() == Some(&Scheme::HTTP);
    is_plain.then(|| HeaderValue::from_str(authority.as_str()).ok()).flatten()
}

fn answer_of(
    response: Response<Incoming>,
    peer: Authority,
    timeouts: Timeouts,
    started: Instant,
) -> Result<Answer, Box<Failure>> {
    let (head, incoming) = response.into_parts();
    // An error status says enough without its body; a reply in an encoding that nobody asked for is lost.
    if let Some(encoding) = content_encoding(&head.headers)
        && head.status.is_success()
    {
        return Err(fault::encoded(&peer, head.status, encoding));
    }
    let body = AnswerBody::new(incoming, peer, timeouts, started);
    Ok(Answer { status: head.status, headers: head.headers, body })
}

/// The content encoding of an answer, where it is not plain bytes.
pub(crate) fn content_encoding(headers: &HeaderMap) -> Option<&str> {
    let encoding = headers.get(header::CONTENT_ENCODING)?.to_str().unwrap_or("unknown").trim();
    (!encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity")).then_some(encoding)
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("connect_timeout", &self.connect_timeout).finish_non_exhaustive()
    }
}

impl fmt::Debug for TransportSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportSettings")
            .field("connect_timeout", &self.connect_timeout)
            .field("pool_idle", &self.pool_idle)
            .field("max_idle_per_host", &self.max_idle_per_host)
            .field("http2_only", &self.http2_only)
            .field("insecure_skip_verify", &self.insecure_skip_verify)
            .finish_non_exhaustive()
    }
}

/// Headers hold credentials and the body holds a conversation: neither is printed.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("uri", &self.uri)
            .field("body_bytes", &self.body.len())
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}
