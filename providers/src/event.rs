//! A reply as it grows: the grammar of stream events.
//!
//! ```text
//! reply := Start (block | End)* Stop
//! block := Open(i) Delta(i)* Close(i)      blocks may interleave; indexes never repeat within a reply
//! ```
//!
//! `End` closes one choice and may come before or after its last `Close` is emitted, never before its last `Delta`.
//! `Foreign` and `Cited` may stand anywhere after `Start`.

mod fold;
mod laws;
mod line;

pub(crate) use fold::unfold_part;
pub use fold::{Fold, unfold};
pub(crate) use fold::{Growing, unfold_parts};
pub use laws::{Laws, lawful};
pub(crate) use line::Line;

use crate::chat::{Extras, Raw};
use crate::reply::{Citation, Finish, Usage};
use crate::{Dialect, Text};

/// Name of a [`ChatEvent::Foreign`] whose data is `{"index": <choice>, "delta": {<fields of the message>}}`.
pub const MESSAGE_FIELDS: &str = "choice";

/// Name of a [`ChatEvent::Foreign`] whose data is an object of fields that only pad the next event against eavesdroppers who
/// measure. To another dialect it is nothing.
pub const PADDING: &str = "padding";

/// One step of a growing reply.
#[derive(Clone, Debug)]
pub enum ChatEvent {
    Start(Start),
    Open {
        index: u32,
        choice: u32,
        block: Block,
    },
    Delta {
        index: u32,
        delta: Delta,
    },
    Close {
        index: u32,
    },
    /// What one choice's text rests on, whole: it comes when the text is complete.
    Cited {
        choice: u32,
        citations: Vec<Citation>,
    },
    /// One choice is finished.
    End {
        choice: u32,
        finish: Finish,
        extras: Extras,
    },
    /// An event only its own dialect knows: its name, and its data as raw JSON. Without a name the data is an object of
    /// fields of the reply itself, which [`Fold`] keeps; the name [`MESSAGE_FIELDS`] says that they belong to one choice's
    /// message. Events of any other name (`ping`) exist on the stream only.
    Foreign {
        source: Dialect,
        event: Option<Text>,
        data: Raw,
    },
    /// The reply is complete. `usage` is the final, cumulative count.
    Stop {
        usage: Option<Usage>,
        extras: Extras,
    },
}

/// What is known at the beginning.
#[derive(Clone, Debug)]
pub struct Start {
    pub source: Dialect,
    pub id: Text,
    pub model: Text,
    pub created: Option<u64>,
    /// What the first event already says of usage (Anthropic's `message_start`).
    pub usage: Option<Usage>,
    pub extras: Extras,
}

/// The head of a block: everything about it that does not grow.
#[derive(Clone, Debug)]
pub enum Block {
    Text {
        extras: Extras,
    },
    Thinking {
        extras: Extras,
    },
    Redacted {
        data: Text,
    },
    Refusal,
    ToolCall {
        id: Text,
        name: Text,
        custom: bool,
        extras: Extras,
    },
    /// A block only its own dialect knows, with its opening JSON.
    Foreign {
        source: Dialect,
        raw: Raw,
    },
}

/// What a block grows by.
#[derive(Clone, Debug)]
pub enum Delta {
    /// Text of a text, thinking or refusal block.
    Text(Text),
    /// A fragment of a tool call's arguments: a piece of JSON text, as a JSON string in its escapes.
    Arguments(Text),
    /// The (whole) signature of a thinking block; of any other block, [`crate::chat::Part::signature`].
    Signature(Text),
    /// Log-probabilities of the text beside them (OpenAI's `logprobs` object), raw.
    Logprobs(Raw),
    /// Growth only its own dialect knows, as an object of fields for the part's `extras`: lists grow, of anything else the
    /// latest wins (`{"citations":[{..}]}`).
    Foreign { source: Dialect, raw: Raw },
}
