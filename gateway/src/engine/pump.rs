//! A body that works while it is read.
//!
//! The work (reading a provider's stream, running tools) is a future that the response body polls itself: no task is started,
//! so a client that leaves drops the body, and with it the upstream connection, the running tool calls and every permit.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

/// Chunks between the work and the connection. One is enough: both run in the same task.
const DEPTH: usize = 1;

/// A response body fed by the future inside it.
pub struct Pump {
    work: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    chunks: mpsc::Receiver<Bytes>,
}

/// Where the work puts the client's bytes.
#[derive(Debug)]
pub struct Outlet(mpsc::Sender<Bytes>);

impl Outlet {
    /// Waits until the client has room. An empty chunk would end the body, so it is not sent.
    pub async fn send(&self, chunk: Bytes) {
        if !chunk.is_empty() {
            // The receiver lives in the body that polls this very future: it cannot be gone.
            let _ = self.0.send(chunk).await;
        }
    }
}

impl Pump {
    pub fn new<F: Future<Output = ()> + Send + 'static>(work: impl FnOnce(Outlet) -> F) -> Self {
        let (sender, chunks) = mpsc::channel(DEPTH);
        Self { work: Some(Box::pin(work(Outlet(sender)))), chunks }
    }
}

impl Body for Pump {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Poll::Ready(chunk) = self.chunks.poll_recv(cx) {
                return Poll::Ready(chunk.map(|bytes| Ok(Frame::data(bytes))));
            }
            let Some(work) = self.work.as_mut() else { return Poll::Ready(None) };
            match work.as_mut().poll(cx) {
                Poll::Ready(()) => self.work = None,
                // The work may have sent a chunk just before it had to wait.
                Poll::Pending => {
                    return match self.chunks.poll_recv(cx) {
                        Poll::Ready(Some(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                        Poll::Ready(None) | Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }
}

impl std::fmt::Debug for Pump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pump").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn what_the_work_sends_is_the_body() {
        let pump = Pump::new(|out| async move {
            for chunk in ["a", "", "b", "c"] {
                out.send(Bytes::from(chunk)).await;
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(pump.collect().await.unwrap().to_bytes(), "abc");
    }

    #[tokio::test]
    async fn dropping_the_body_drops_the_work() {
        let (guard, gone) = tokio::sync::oneshot::channel::<()>();
        let pump = Pump::new(|out| async move {
            let _guard = guard;
            out.send(Bytes::from("x")).await;
            std::future::pending::<()>().await;
        });
        let mut pump = Box::pin(pump);
        assert_eq!(pump.frame().await.unwrap().unwrap().into_data().unwrap(), "x");
        drop(pump);
        assert!(gone.await.is_err());
    }
}
