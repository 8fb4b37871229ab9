//! One thread per core, each with a runtime of its own.
//!
//! A request is served by the thread that accepted its connection, over that thread's own connections to providers, so its
//! wake-ups never cross threads and its data stays in one core's caches. Tool servers and the log writer stay on the main
//! runtime.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use bifrost_providers::transport;
use tokio_util::sync::DropGuard;

use crate::http::Surface;
use crate::http::listen::Listener;
use crate::tasks::Tasks;

/// Starts the threads. Each ends, and lets go of `served`, when its last connection has ended.
pub(crate) fn start(
    count: NonZeroUsize,
    listener: &Listener,
    surface: &Surface,
    tasks: &Tasks,
    served: &Arc<DropGuard>,
) -> io::Result<()> {
    for shard in 0..count.get() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (listener, surface, tasks, served) = (listener.share()?, surface.clone(), tasks.clone(), served.clone());
        let work = move || {
            transport::use_shard(shard);
            report(runtime.block_on(listener.serve(surface, tasks)));
            drop(runtime);
            drop(served);
        };
        std::thread::Builder::new().name(format!("worker-{shard}")).spawn(work)?;
    }
    Ok(())
}

/// A listener that cannot be used is a start that failed late.
pub(crate) fn report(ended: io::Result<()>) {
    if let Err(error) = ended {
        tracing::error!(error = %error, "a listener could not be served");
    }
}
