//! The accept loop: HTTP/1.1 and HTTP/2 on one port, small writes sent at once, and a stop that finishes what runs.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::Surface;
use super::patience::{Patient, UNSENT_BYTES};
use crate::engine::ask::Link;
use crate::tasks::Tasks;

/// A client that takes longer to send its headers is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Streams of one HTTP/2 connection.
const MAX_STREAMS: u32 = 1024;
/// A pause after the system refused another connection (out of file descriptors): others must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound port, before anything is served on it.
#[derive(Debug)]
pub struct Listener {
    listener: std::net::TcpListener,
    pub address: SocketAddr,
}

impl Listener {
    pub async fn bind(host: &str, port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind((host, port)).await?.into_std()?;
        let address = listener.local_addr()?;
        // Connections inherit it.
        SockRef::from(&listener).set_tcp_notsent_lowat(UNSENT_BYTES)?;
        Ok(Self { listener, address })
    }

    /// The same port for another thread. Whoever is free accepts, so that no thread has more than it can do.
    pub fn share(&self) -> std::io::Result<Self> {
        Ok(Self { listener: self.listener.try_clone()?, address: self.address })
    }

    /// Accepts until the gateway drains, then waits for running requests, at most until it is cancelled.
    pub async fn serve(self, surface: Surface, tasks: Tasks) -> std::io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = tasks.draining().cancelled() => break,
            };
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, _peer)) => open(stream, surface.clone(), &graceful, &mut connections),
                Err(error) => {
                    tracing::warn!(error = %error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        tokio::select! {
            () = graceful.shutdown() => {}
            () = tasks.cancelled().cancelled() => connections.shutdown().await,
        }
        Ok(())
    }
}

fn open(stream: TcpStream, surface: Surface, graceful: &GracefulShutdown, connections: &mut JoinSet<()>) {
    // Without this, a small chunk behind another waits for the client's acknowledgement: 40 ms.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let link = Link::default();
    let stream = Patient::new(stream, surface.patience(), link.clone());
    let service = service_fn(move |request| surface.clone().answer(request, link.clone()));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS).adaptive_window(true);
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    let watched = graceful.watch(connection);
    connections.spawn(async move {
        // How a connection ended is the client's affair; requests on it have their own records.
        let _ended = watched.await;
    });
}
