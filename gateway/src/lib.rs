//! An MCP-centric agent gateway, as a library.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use bifrost_gateway::{Gateway, Options, config};
//! let settings = config::load("config.json".as_ref(), &config::process_environment)?;
//! let gateway = Gateway::start(&settings, Options::default()).await?;
//! println!("http://{}", gateway.address());
//! gateway.stop(std::time::Duration::from_secs(30)).await;
//! # Ok(()) }
//! ```

pub mod cli;
pub mod config;
pub mod engine;
mod gateway;
pub mod http;
pub mod metrics;
pub mod record;
pub mod state;
pub mod tasks;
mod workers;

pub use bifrost_mcp as mcp;
pub use gateway::{Gateway, Options, StartError, usual_providers};
