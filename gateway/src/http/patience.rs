//! How long a connection waits for a client that has stopped reading, before it is cut.
//!
//! A stream holds a place in its provider's queue to its end, and its body is asked for more only when the connection can
//! write. So a client that opens a stream and then reads nothing would keep that place for as long as its connection stands.
//! Here a write that makes no progress for too long fails instead, which ends the connection, drops every body on it, and with
//! those the calls to providers. A whole reply that nobody fetches ends the same way.
//!
//! On HTTP/2 this counts for the connection, not for one stream of it whose window the client keeps shut.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bifrost_providers::transport::Alarm;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::engine::ask::Link;

/// No progress for this long is the end: longer than any stall of a network that recovers, and as long as a provider may be
/// silent (`stream_idle_timeout_in_seconds`).
pub const STALLED_AFTER: Duration = Duration::from_mins(1);

/// Bytes that may wait in the kernel behind those that are on their way. The kernel says that it has room again when half of
/// them are gone, so this also is what progress means: a client that takes 32 KiB in [`STALLED_AFTER`] is slow, not stalled.
pub const UNSENT_BYTES: u32 = 64 << 10;

/// A connection that gives its client so long to read.
#[derive(Debug)]
pub struct Patient<S> {
    inner: S,
    bound: Duration,
    /// Set while a write waits for the client.
    blocked: Option<Alarm>,
    link: Link,
}

impl<S> Patient<S> {
    /// `link` is told when the connection is given up.
    pub fn new(inner: S, bound: Duration, link: Link) -> Self {
        Self { inner, bound, blocked: None, link }
    }

    /// A write that could be made clears the clock; one that could not starts it, or finds that it has rung.
    fn judge<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.blocked = None;
            return written;
        }
        let bound = self.bound;
        ready!(self.blocked.get_or_insert_with(|| Alarm::at(Instant::now() + bound)).poll(cx));
        self.link.give_up();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.judge(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const BOUND: Duration = Duration::from_mins(1);
    const ALMOST: Duration = Duration::from_secs(59);

    #[tokio::test(start_paused = true)]
    async fn a_write_that_makes_no_progress_fails_after_the_bound_and_says_so() {
        let (near, _far) = tokio::io::duplex(16);
        let link = Link::default();
        let mut near = Patient::new(near, BOUND, link.clone());
        let began = Instant::now();
        let error = near.write_all(&[0; 17]).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed()), (io::ErrorKind::TimedOut, BOUND));
        assert!(link.is_given_up());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_reads_a_little_now_and_then_is_waited_for() {
        let (near, mut far) = tokio::io::duplex(16);
        let link = Link::default();
        let mut near = Patient::new(near, BOUND, link.clone());
        let began = Instant::now();
        let reading = async {
            let mut byte = [0; 1];
            for _ in 0..17 {
                tokio::time::sleep(ALMOST).await;
                far.read_exact(&mut byte).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(near.write_all(&[0; 33]), reading);
        written.unwrap();
        assert!(began.elapsed() > BOUND * 10 && !link.is_given_up());
    }
}
