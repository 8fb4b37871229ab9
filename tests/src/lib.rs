//! A gateway between scripted providers and tool servers, and a client that reads strictly: what black-box tests are made of.
//!
//! ```no_run
//! # async fn story() {
//! use bifrost_tests::{Chat, Gateway, Style};
//! let gateway = Gateway::start().provider("openai", Style::OpenAi).tool("demo", "demo").await;
//! let chat = Chat::openai("openai/scripted-small", r#"[call: demo-add {"a":1,"b":2}][then][say: It is {results}.]"#);
//! assert_eq!(gateway.ask(&chat).await.told().text, "It is 3.");
//! # }
//! ```

mod answer;
pub mod broken;
pub mod canned;
mod cell;
mod chat;
mod client;
mod cloud;
mod dialect;
mod ending;
mod frames;
mod gateway;
mod json;
mod process;
pub mod raw;
mod told;
mod wait;

pub use answer::{Answer, Event, Fault};
pub use bifrost_fixtures::{Style, ToolServer, Upstream};
pub use cell::{Cell, cells, clients, few, streams};
pub use chat::{BOTH, CLIENTS, Chat, PROVIDERS};
pub use client::{Client, Live};
pub use cloud::{Cloud, Said, Seen};
pub use ending::Ending;
pub use gateway::{Gateway, Setup};
pub use process::{Process, bifrost, fixtures};
pub use told::{Call, Told};
pub use wait::{OrFail, PATIENCE, eventually, within};
