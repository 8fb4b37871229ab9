//! A cloud, as far as it matters here: anything over HTTP on 127.0.0.1, answered by a function and remembered.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::OrFail as _;
use crate::canned::listen;

/// A running server; it ends with the test's runtime.
#[derive(Debug)]
pub struct Cloud {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    /// Path and query, as sent.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Said {
    status: u16,
    content_type: &'static str,
    body: String,
}

// === impl Cloud ===

impl Cloud {
    /// Answers every request by this function.
    pub async fn start(answer: impl Fn(&Seen) -> Said + Clone + Send + Sync + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        let service = move |request: Request<Incoming>| {
            let (answer, record) = (answer.clone(), record.clone());
            async move { Ok::<_, Infallible>(respond(request, &answer, &record).await) }
        };
        let address = listen(&TaskTracker::new(), 0, service).await.or_fail("starting a cloud");
        Self { address, seen }
    }

    /// The URL of an HTTP proxy that brings everybody here, whatever name they ask for.
    pub async fn tunnel(&self) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.or_fail("starting a proxy");
        let url = format!("http://{}", listener.local_addr().or_fail("an address"));
        let target = self.address;
        TaskTracker::new().spawn(async move {
            let tunnels = TaskTracker::new();
            while let Ok((client, _)) = listener.accept().await {
                tunnels.spawn(dig(client, target));
            }
        });
        url
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, in the order in which they came.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }

    /// The requests whose path has this in it.
    pub fn seen_at(&self, part: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.path.contains(part)).collect()
    }
}

async fn dig(mut client: TcpStream, target: SocketAddr) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    if head.starts_with(b"CONNECT ") {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        tokio::io::copy_bidirectional(&mut client, &mut TcpStream::connect(target).await?).await?;
    }
    Ok(())
}

async fn respond(
    request: Request<Incoming>,
    answer: &impl Fn(&Seen) -> Said,
    record: &Mutex<Vec<Seen>>,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.or_fail("a whole request").to_bytes();
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let seen = Seen { method: parts.method, path, headers: parts.headers, body };
    let Said { status, content_type, body } = answer(&seen);
    lock(record).push(seen);
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).or_fail("a status");
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Seen ===

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON; `Null` where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn is_stream(&self) -> bool {
        self.json().get("stream") == Some(&Value::Bool(true)) || self.path.contains(":stream")
    }
}

// === impl Said ===

impl Said {
    pub fn new(status: u16, content_type: &'static str, body: &str) -> Self {
        Self { status, content_type, body: body.to_owned() }
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self { status, content_type: "application/json", body: body.to_string() }
    }

    /// A stream of these `data:` events.
    pub fn events(events: &[Value]) -> Self {
        let body = events.iter().map(|event| match event.get("type").and_then(Value::as_str) {
            Some(kind) => format!("event: {kind}\ndata: {event}\n\n"),
            None => format!("data: {event}\n\n"),
        });
        Self { status: 200, content_type: "text/event-stream", body: body.collect() }
    }

    /// The same, with `OpenAI`'s end.
    #[must_use]
    pub fn done(mut self) -> Self {
        self.body.push_str("data: [DONE]\n\n");
        self
    }
}
