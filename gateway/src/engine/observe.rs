//! Hears of a conversation with tools while it happens: for embedding programs that show people what their agents do.

use std::fmt::Debug;

pub use bifrost_providers::reply::Usage;

pub use super::annex::ExecutedCall;

/// Told of every turn and every round of tools. Called on the path of the request, so it must not block.
pub trait RunObserver: Debug + Send + Sync {
    /// The model's turn `number` of this request, counted from one, is complete. The tools it calls for have not run yet.
    fn turn_ended(&self, request_id: &str, number: usize, usage: Option<&Usage>);

    /// The gateway ran the calls of one turn, in the order in which the model made them.
    fn tools_ran(&self, request_id: &str, calls: &[ExecutedCall]);
}
