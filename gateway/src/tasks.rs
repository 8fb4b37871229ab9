//! The only place that starts tasks, so that a stop can wait for all of them.
//!
//! Two signals, in this order: `draining` (accept nothing new, finish what runs) and `cancelled` (end now).

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Every background task of one gateway.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    draining: CancellationToken,
    cancelled: CancellationToken,
}

impl Tasks {
    /// Starts a task that a stop waits for.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(work);
    }

    /// For the tool servers, which own their tasks but not their lifetime.
    pub fn tracker(&self) -> TaskTracker {
        self.tracker.clone()
    }

    /// Fires when the gateway begins to stop.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Fires when the gateway no longer waits.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// Waits until every task has ended, at most `bound`. True when all ended.
    pub async fn ended(&self, bound: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(bound, self.tracker.wait()).await.is_ok()
    }
}
