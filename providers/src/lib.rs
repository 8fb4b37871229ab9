//! Speaks every wire format of every provider.
//!
//! One canonical chat model ([`chat`], [`reply`], [`event`]), one [`Codec`] per [`Dialect`], and a provider as a row of data
//! ([`catalog`]). Pure functions except for [`transport`], the only file that names the HTTP client.
//!
//! What this crate does *not* know: virtual keys, budgets, retries, tool servers, HTTP servers.

pub mod auth;
pub mod catalog;
pub mod chat;
pub mod completion;
pub mod dialect;
pub mod embed;
pub mod endpoint;
pub mod event;
pub mod eventstream;
pub mod failure;
pub mod family;
pub mod framing;
pub mod json;
pub mod loss;
pub mod mapped;
pub mod multipart;
pub mod provider;
pub mod quirk;
pub mod reply;
pub mod scan;
pub mod seal;
pub mod sse;
pub mod tap;
pub mod text;
pub mod transport;

pub use chat::ChatRequest;
pub use dialect::{Codec, Dialect, EventReader, EventWriter, Malformed};
pub use event::ChatEvent;
pub use failure::Failure;
pub use loss::{Loss, Losses};
pub use reply::ChatReply;
pub use text::Text;
