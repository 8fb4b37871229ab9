//! Finds tools on tool servers and runs them.
//!
//! A tool server speaks the Model Context Protocol over stdio, Streamable HTTP or the legacy HTTP+SSE transport. The
//! [`Hub`] keeps a supervisor per server, publishes every tool it knows as one immutable [`Catalog`], and runs calls.
//! [`Selection`] is the only place that decides which of those tools a caller may see and run.
//!
//! Deliberately absent: models, wire dialects of model providers, virtual keys and HTTP servers. The trunk turns what a
//! principal may do into [`Rights`], and an [`Outcome`] into a tool message of its dialect.

mod call;
mod catalog;
pub mod guard;
mod hub;
mod name;
mod schema;
mod select;
mod settings;
mod source;
mod upstream;

pub use call::{CallError, CallLimits, Outcome, Piece};
pub use catalog::{Catalog, Rejected, Tool};
pub use hub::{Hub, HubSettings, Observer, StartError};
pub use select::{Caller, Decision, Rights, Selection};
pub use settings::{Allow, Era, LocalSource, ServerSettings, TransportSettings};
pub use source::{Answer, Definition, Listing, SourceError, ToolSource};
pub use upstream::{ServerState, State};
