//! What providers with fixed answers are made of: a listener, and a stream whose every chunk is flushed by itself.
//!
//! They serve measurements (`overhead`, `load`), where the scripted providers of the fixtures would cost more than what is measured.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// Some bytes, one chunk many times over, some bytes.
#[derive(Debug)]
pub struct Chunks {
    head: Bytes,
    chunk: Bytes,
    left: usize,
    tail: Option<Bytes>,
    pause: bool,
}

/// Serves HTTP on this port of 127.0.0.1 (0 takes a free one) until the runtime ends. Returns where it listens.
///
/// # Errors
/// If the port is taken.
pub async fn listen<S, F, B, E>(tasks: &TaskTracker, port: u16, service: S) -> anyhow::Result<SocketAddr>
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let address = listener.local_addr().context("no address")?;
    let connections = tasks.clone();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let service = service_fn(service.clone());
            connections.spawn(async move {
                let served =
                    auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                drop(served);
            });
        }
    });
    Ok(address)
}

// === impl Chunks ===

impl Chunks {
    /// `head` (left out if it is empty), then `chunk` so many times, then `tail`.
    pub fn new(head: Bytes, chunk: Bytes, count: usize, tail: Bytes) -> Self {
        Self { head, chunk, left: count, tail: Some(tail), pause: false }
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // A server writes out what it has when the body has nothing more to give for the moment.
        if std::mem::replace(&mut self.pause, true) {
            self.pause = false;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let head = std::mem::take(&mut self.head);
        if !head.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(head))));
        }
        if self.left > 0 {
            self.left -= 1;
            return Poll::Ready(Some(Ok(Frame::data(self.chunk.clone()))));
        }
        Poll::Ready(self.tail.take().map(|tail| Ok(Frame::data(tail))))
    }
}
