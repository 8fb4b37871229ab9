//! Decides: who is asking, where a request goes, with which key, when to wait, when to try again and when to give up.
//!
//! Every decision is a function of its arguments: the time (`Instant`) and the dice (`Rng`) are handed in. This crate never
//! hears of JSON, dialects or sockets; the gateway turns its own facts into the types here and a [`Denied`] into a response.
//! Only [`queue`] is async.

#![warn(missing_docs)]

pub mod access;
pub mod address;
pub mod denied;
pub mod keyring;
pub mod pick;
pub mod principal;
pub mod queue;
pub mod retry;
pub mod route;

mod cooldown;
mod draw;

pub use access::ModelRule;
pub use denied::Denied;
pub use keyring::{Credentials, Keyring, identify};
pub use pick::{KeyIndex, KeyPool, KeyRule, KeySet, NoKey, Pinned, RestReason, Wanted, affinity};
pub use principal::{AllowList, Principal, ProviderGrant, ToolRights};
pub use queue::{Permit, Queue};
pub use retry::{Budget, Facts, Step};
pub use route::{Dropped, Known, Request, Routed, Target, targets};
