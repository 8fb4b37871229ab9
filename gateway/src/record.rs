//! One wide log record per request, written off the request path.
//!
//! A finished request pushes its [`Record`] into a bounded buffer; a task writes the buffer out in batches, so a request never
//! waits for a terminal or a disk. What does not fit is counted, never lost in silence.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bifrost_providers::reply::Usage;
use parking_lot::Mutex;
use serde::Serialize;

use crate::tasks::Tasks;

/// Records that may wait for the writer. At the usual few hundred bytes each this is a handful of megabytes.
const CAPACITY: usize = 10_000;
/// How long a record may wait. Long enough to batch, short enough for a person watching.
const FLUSH_EVERY: Duration = Duration::from_millis(50);

/// What one request was, did and cost. Units are in the names; text of prompts and replies is never part of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Record {
    pub time_unix_ms: u64,
    pub request_id: String,
    pub request_type: &'static str,
    pub dialect: &'static str,
    pub stream: bool,
    pub lane: &'static str,
    /// `success`, `error` or `cancelled`.
    pub outcome: &'static str,
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// The gateway's own word for it, one of few: a metric's label.
    #[serde(skip)]
    pub error_class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub virtual_key_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub virtual_key_name: String,
    pub model_requested: String,
    pub provider: String,
    pub model: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key_name: String,
    pub fallback_index: usize,
    /// Every attempt that failed, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    pub retries: u32,
    pub latency_ms: f64,
    pub upstream_latency_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<f64>,
    pub usage_input: u64,
    pub usage_output: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub usage_cache_read: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub usage_cache_write: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub usage_reasoning: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub tools_offered: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub turns: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools_executed: Vec<Executed>,
    /// The limit that ended the tool loop, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<&'static str>,
    /// The request headers that the operator asked for (`client.logging_headers`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// JSON pointers and reasons of what could not cross between dialects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<String>,
}

/// One failed attempt.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    pub provider: String,
    pub key_name: String,
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Did the next attempt use another key?
    pub rotated: bool,
}

/// One tool call that the gateway ran.
#[derive(Clone, Debug, Serialize)]
pub struct Executed {
    pub id: String,
    pub name: String,
    pub server: String,
    pub duration_ms: f64,
    pub is_error: bool,
    /// The result's size in bytes before it was cut, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated_from_bytes: Option<usize>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Record {
    pub fn take_usage(&mut self, usage: &Usage) {
        self.usage_input = usage.input;
        self.usage_output = usage.output;
        self.usage_cache_read = usage.cache_read.unwrap_or(0);
        self.usage_cache_write = usage.cache_write.unwrap_or(0);
        self.usage_reasoning = usage.reasoning.unwrap_or(0);
    }

    /// One line for a person at a terminal.
    fn pretty(&self) -> String {
        let error = self.error_type.as_deref().map(|kind| format!(" {}", kind.escape_debug())).unwrap_or_default();
        let tools = match self.tools_executed.len() {
            0 => String::new(),
            n => format!(" tools={n} turns={}", self.turns),
        };
        format!(
            "{} {}{error} {} {}/{} {:.1}ms tokens={}+{}{tools} id={}\n",
            self.outcome,
            self.status,
            self.request_type,
            self.provider,
            self.model.escape_debug(),
            self.latency_ms,
            self.usage_input,
            self.usage_output,
            self.request_id,
        )
    }
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogStyle {
    #[default]
    Json,
    Pretty,
    /// Not at all (`client.enable_logging: false`, and an embedding application that has its own).
    Off,
}

/// The bounded queue between requests and the writer.
#[derive(Debug, Default)]
pub struct Log {
    waiting: Mutex<Vec<Record>>,
    dropped: AtomicU64,
    style: LogStyle,
}

impl Log {
    pub fn new(style: LogStyle) -> Self {
        Self { style, ..Self::default() }
    }

    pub fn push(&self, record: Record) {
        if self.style == LogStyle::Off {
            return;
        }
        let mut waiting = self.waiting.lock();
        if waiting.len() < CAPACITY {
            waiting.push(record);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records lost because the writer could not keep up.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes what waits. Blocking, for the writer task and the end of the process.
    pub fn flush(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let batch = std::mem::take(&mut *self.waiting.lock());
        if batch.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::with_capacity(batch.len() * 512);
        for record in &batch {
            if self.style == LogStyle::Pretty {
                lines.extend_from_slice(record.pretty().as_bytes());
            } else if serde_json::to_writer(&mut lines, record).is_ok() {
                lines.push(b'\n');
            }
        }
        out.write_all(&lines)?;
        out.flush()
    }

    /// Writes batches to standard output until the gateway has stopped, then the rest.
    pub fn start(self: &std::sync::Arc<Self>, tasks: &Tasks) {
        if self.style == LogStyle::Off {
            return;
        }
        let log = self.clone();
        let ended = tasks.cancelled().clone();
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(FLUSH_EVERY) => {}
                    () = ended.cancelled() => break,
                }
                if log.waiting.lock().is_empty() {
                    continue;
                }
                let log = log.clone();
                // A full pipe blocks a thread that may block, never a worker.
                let _ = tokio::task::spawn_blocking(move || log.flush(&mut std::io::stdout())).await;
            }
            let _ = log.flush(&mut std::io::stdout());
        });
    }
}

pub fn unix_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_json_lines_and_overflow_is_counted() {
        let log = Log::new(LogStyle::Json);
        for _ in 0..=CAPACITY {
            log.push(Record { status: 200, ..Record::default() });
        }
        assert_eq!(log.dropped(), 1);
        let mut out = Vec::new();
        log.flush(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), CAPACITY);
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(first["status"], 200);
    }
}
