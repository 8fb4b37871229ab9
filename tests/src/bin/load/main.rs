//! The two ends of a benchmark on loopback: a provider with fixed answers, and callers that measure. `tests/bench/run` starts them.
//!
//! `load upstream` serves until it is killed; `load closed` keeps so many callers busy, `load open` asks at a fixed rate. Each
//! prints one JSON line: where it listens, or what was measured.

mod answer;
mod drive;
mod provider;

use std::io::Write as _;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

use crate::drive::Ask;

/// With the escapes that real conversations have.
const INSTRUCTIONS: &str = "You are a helpful assistant. You answer briefly, and say \"I don't know\" when you do not.";
const QUESTION: &str = "Please sum up in two sentences what a gateway does between an agent and a model.\n\
    Then name one thing that it must never do, and why; be as concrete as you can.";

/// A provider with fixed answers, and callers that measure.
#[derive(Debug, Parser)]
#[command(name = "load")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// An OpenAI-like provider on one thread.
    Upstream {
        /// 0 takes a free one.
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
    /// Callers that ask again as soon as they are answered: what is the most it can do?
    Closed {
        #[command(flatten)]
        target: Target,
        /// Callers, each on a connection of its own.
        #[arg(long, default_value_t = 64)]
        conns: usize,
    },
    /// Requests at a fixed rate, whoever is still waiting: how long does one take? From the instant when it was due.
    Open {
        #[command(flatten)]
        target: Target,
        /// Requests per second.
        #[arg(long, default_value_t = 200.0)]
        rate: f64,
    },
}

#[derive(Debug, Args)]
struct Target {
    /// `http://address:port/path`
    #[arg(long)]
    url: String,
    #[arg(long, default_value_t = 3.0)]
    secs: f64,
    /// Ask for a stream.
    #[arg(long)]
    stream: bool,
    /// A header, as `name: value`.
    #[arg(short = 'H', long = "header")]
    headers: Vec<String>,
    #[arg(long, default_value = "gpt-4o-mini")]
    model: String,
}

fn main() -> anyhow::Result<()> {
    // One thread: the other cores are the proxy's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match Cli::parse().command {
        Command::Upstream { port } => runtime.block_on(async {
            let address = provider::start(port).await?;
            say(&json!({"url": format!("http://{address}")}))?;
            std::future::pending().await
        }),
        Command::Closed { target, conns } => {
            let ask = target.ask()?;
            say(&runtime.block_on(drive::closed(&ask, conns, target.duration()))?)
        }
        Command::Open { target, rate } => say(&drive::open(&target.ask()?, rate, target.duration())?),
    }
}

fn say(line: &Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

// === impl Target ===

impl Target {
    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.secs)
    }

    fn ask(&self) -> anyhow::Result<Ask> {
        let messages = json!([{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": QUESTION}]);
        let mut body = json!({"model": self.model, "messages": messages, "temperature": 0.7, "max_tokens": 256});
        if let Some(fields) = body.as_object_mut().filter(|_| self.stream) {
            fields.insert("stream".into(), true.into());
            fields.insert("stream_options".into(), json!({"include_usage": true}));
        }
        Ask::new(&self.url, &self.headers, &body.to_string(), self.stream)
    }
}
