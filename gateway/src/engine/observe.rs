//! Hears of a conversation with tools while it happens: for embedding programs that show people what their agents do.

use std::fmt::Debug;

pub use bifrost_providers::ChatReply;
pub use bifrost_providers::chat::PartKind;

pub use super::annex::ExecutedCall;

/// Told of every turn and every round of tools. Called on the path of the request, so it must not block.
pub trait RunObserver: Debug + Send + Sync {
    /// The model's turn `number` of this request, counted from one, is complete; `reply` is this turn alone, as the model made
    /// it. The tools it calls for have not run yet. On a stream, the turn's visible parts are on their way to the client.
    fn turn_ended(&self, request_id: &str, number: usize, reply: &ChatReply);

    /// The gateway ran the calls of one turn, in the order in which the model made them.
    fn tools_ran(&self, request_id: &str, calls: &[ExecutedCall]);
}
