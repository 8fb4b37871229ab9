//! Waiting for something to become true, and failing a test with a sentence.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// The longest that anything may take which should be immediate: generous, because machines that run tests are busy.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Polls until the condition holds; fails the test, naming `what`, after [`PATIENCE`].
pub async fn eventually(what: &str, condition: impl FnMut() -> bool) {
    within(PATIENCE, what, condition).await;
}

/// Polls until the condition holds; fails the test, naming `what`, after `bound`.
pub async fn within(bound: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + bound;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {bound:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A value, or the end of the test with a sentence.
pub trait OrFail<T> {
    /// The value; fails the test, saying what was being done.
    fn or_fail(self, doing: &str) -> T;
}

impl<T, E: Debug> OrFail<T> for Result<T, E> {
    #[expect(clippy::panic, reason = "a test fails by panicking")]
    fn or_fail(self, doing: &str) -> T {
        self.unwrap_or_else(|error| panic!("{doing}: {error:?}"))
    }
}

impl<T> OrFail<T> for Option<T> {
    #[expect(clippy::panic, reason = "a test fails by panicking")]
    fn or_fail(self, doing: &str) -> T {
        self.unwrap_or_else(|| panic!("{doing}: nothing there"))
    }
}
