//! Servers on loopback: one that runs a script of raw bytes on each connection, and one that speaks HTTP/2.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// A test authority whose key is gone, and the only certificate it ever signed, for `localhost`.
pub(crate) const CA_PEM: &str = include_str!("tls/ca.pem");
const CERTIFICATE_PEM: &[u8] = include_bytes!("tls/localhost.pem");
const KEY_PEM: &[u8] = include_bytes!("tls/localhost.key.pem");

pub(crate) const REQUEST_BODY: &[u8] = b"{\"model\":\"m\"}";
/// How long anything that is sure to happen may take before a test gives up on it.
const DEADLINE: Duration = Duration::from_secs(1);

/// Ends with its connections when dropped.
pub(crate) struct Server {
    addr: SocketAddr,
    counts: Arc<Counts>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
    closed: AtomicUsize,
}

/// A body that sends one chunk and then nothing, and counts itself closed when it is given up.
struct Endless {
    first: Option<Bytes>,
    counts: Arc<Counts>,
}

/// One accepted connection.
pub(crate) struct Peer {
    stream: TcpStream,
    number: usize,
    counts: Arc<Counts>,
}

impl Server {
    pub(crate) fn start<F, R>(script: F) -> Self
    where
        F: Fn(Peer) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self::accepting(move |peer| Box::pin(script(peer)))
    }

    /// HTTP/2 in the clear. Answers every request with the version it came in; the answer to `/endless` never ends.
    pub(crate) fn http2() -> Self {
        Self::speaking_http2(None)
    }

    /// The same behind TLS, as `localhost`.
    pub(crate) fn https() -> Self {
        Self::speaking_http2(Some(acceptor()))
    }

    fn speaking_http2(acceptor: Option<TlsAcceptor>) -> Self {
        Self::accepting(move |mut peer| {
            let acceptor = acceptor.clone();
            Box::pin(async move {
                let counts = peer.counts.clone();
                let stream = &mut peer.stream;
                let Some(acceptor) = acceptor else { return speak_http2(stream, counts).await };
                if let Ok(stream) = acceptor.accept(stream).await {
                    speak_http2(stream, counts).await;
                }
            })
        })
    }

    fn accepting(script: impl Fn(Peer) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let counts = Arc::<Counts>::default();
        let mut tasks = JoinSet::new();
        let seen = counts.clone();
        tasks.spawn(async move {
            let mut peers = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = seen.connections.fetch_add(1, Ordering::SeqCst) + 1;
                peers.spawn(script(Peer { stream, number, counts: seen.clone() }));
            }
        });
        Self { addr, counts, tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1/chat/completions", self.addr)
    }

    pub(crate) fn authority(&self) -> String {
        self.addr.to_string()
    }

    pub(crate) fn port(&self) -> u16 {
        self.addr.port()
    }

    pub(crate) fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }

    /// Connections that are over, from whichever side.
    pub(crate) fn closed(&self) -> usize {
        self.counts.closed.load(Ordering::SeqCst)
    }

    pub(crate) async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let polled = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(DEADLINE, polled).await.expect("it did not happen in time");
    }

    /// Stops, and hands out the port that nobody listens on any more.
    pub(crate) async fn into_free_port(mut self) -> u16 {
        self.tasks.shutdown().await;
        self.addr.port()
    }
}

impl Peer {
    /// The how-manieth connection this is, from 1.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Reads one request to the end of its body; `false` where the client closed the connection instead.
    pub(crate) async fn request(&mut self) -> bool {
        let mut read = Vec::new();
        while !read.ends_with(REQUEST_BODY) {
            match self.stream.read_buf(&mut read).await {
                Ok(1..) => {}
                _ => return false,
            }
        }
        self.counts.requests.fetch_add(1, Ordering::SeqCst);
        true
    }

    /// `false` where the client is gone.
    pub(crate) async fn write(&mut self, bytes: &str) -> bool {
        self.stream.write_all(bytes.as_bytes()).await.is_ok()
    }

    /// Chunks of one byte, with a pause before each.
    pub(crate) async fn dribble(&mut self, chunks: usize, pause: Duration) {
        for _ in 0..chunks {
            tokio::time::sleep(pause).await;
            self.write("1\r\nx\r\n").await;
        }
    }

    /// Says nothing until the client hangs up.
    pub(crate) async fn hold(&mut self) {
        let mut rest = [0; 1024];
        while let Ok(1..) = self.stream.read(&mut rest).await {}
    }

    /// Ends with RST in place of FIN.
    pub(crate) fn reset(&self) {
        self.stream.set_zero_linger().unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.counts.closed.fetch_add(1, Ordering::SeqCst);
    }
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => Poll::Pending,
        }
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.counts.closed.fetch_add(1, Ordering::SeqCst);
    }
}

async fn speak_http2(stream: impl AsyncRead + AsyncWrite + Unpin, counts: Arc<Counts>) {
    let service = service_fn(|request: Request<Incoming>| {
        let version = Bytes::from(format!("{:?}", request.version()));
        let body = match request.uri().path() {
            "/endless" => Endless { first: Some(version), counts: counts.clone() }.boxed(),
            _ => Full::new(version).boxed(),
        };
        async { Ok::<_, Infallible>(Response::new(body)) }
    });
    // It ends with an error when the client leaves; the tests look at the client's side.
    let _ended = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn acceptor() -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(CERTIFICATE_PEM).collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY_PEM).unwrap();
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(crypto).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
