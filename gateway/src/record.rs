//! One wide log record per request, written off the request path.
//!
//! A finished request adds its [`Record`] as a line to a bounded buffer; a task writes the buffer out in batches, so a request
//! never waits for a terminal or a disk. What does not fit is counted, never lost in silence.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bifrost_providers::Losses;
use bifrost_providers::json::Object;
use bifrost_providers::reply::Usage;
use parking_lot::Mutex;
use serde::Serialize;

use crate::tasks::Tasks;

/// Bytes of log that may wait for the writer: about ten thousand records.
const CAPACITY: usize = 8 << 20;
/// What is kept of a batch's memory for the next: a batch at 20,000 requests a second. A longer one was an exception.
const SPARE: usize = 1 << 20;
/// How long a record may wait. Long enough to batch, short enough for a person watching.
const FLUSH_EVERY: Duration = Duration::from_millis(50);

/// What one request was, did and cost. Units are in the names; text of prompts and replies is never part of it.
#[derive(Clone, Debug, Default)]
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
    pub error_type: Option<String>,
    /// The gateway's own word for it, one of few: a metric's label.
    pub error_class: &'static str,
    pub error_message: Option<String>,
    pub virtual_key_id: String,
    pub virtual_key_name: String,
    pub model_requested: String,
    pub provider: String,
    pub model: String,
    pub key_id: String,
    pub key_name: String,
    pub fallback_index: usize,
    /// Every attempt that failed, in order.
    pub attempts: Vec<Attempt>,
    pub retries: u32,
    pub latency_ms: f64,
    pub upstream_latency_ms: f64,
    /// Wall time of the rounds of tools.
    pub tools_ms: f64,
    /// The rest: until the first content of a stream, or the end of a whole reply.
    pub overhead_ms: f64,
    pub first_token_ms: Option<f64>,
    /// The mean time between two pieces of a stream's content.
    pub inter_token_ms: Option<f64>,
    pub usage_input: u64,
    pub usage_output: u64,
    pub usage_cache_read: u64,
    pub usage_cache_write: u64,
    pub usage_reasoning: u64,
    pub finish: Option<String>,
    pub tools_offered: u64,
    pub turns: u64,
    pub tools_executed: Vec<Executed>,
    /// The limit that ended the tool loop, if one did.
    pub stopped: Option<&'static str>,
    /// The request headers that the operator asked for (`client.logging_headers`).
    pub metadata: BTreeMap<String, String>,
    /// What could not cross between dialects.
    pub losses: Losses,
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

impl Record {
    pub fn take_usage(&mut self, usage: &Usage) {
        self.usage_input = usage.input;
        self.usage_output = usage.output;
        self.usage_cache_read = usage.cache_read.unwrap_or(0);
        self.usage_cache_write = usage.cache_write.unwrap_or(0);
        self.usage_reasoning = usage.reasoning.unwrap_or(0);
    }

    /// One JSON object on a line. What is empty or zero is left out, except where readers count on a field.
    fn write_json(&self, out: &mut Vec<u8>) {
        let mut object = Object::new(out);
        object.number("time_unix_ms", self.time_unix_ms).str("request_id", &self.request_id);
        object.str("request_type", self.request_type).str("dialect", self.dialect).bool("stream", self.stream);
        object.str("lane", self.lane).str("outcome", self.outcome).number("status", self.status.into());
        some(&mut object, "error_type", self.error_type.as_deref());
        some(&mut object, "error_message", self.error_message.as_deref());
        filled(&mut object, "virtual_key_id", &self.virtual_key_id);
        filled(&mut object, "virtual_key_name", &self.virtual_key_name);
        object.str("model_requested", &self.model_requested).str("provider", &self.provider).str("model", &self.model);
        filled(&mut object, "key_id", &self.key_id);
        filled(&mut object, "key_name", &self.key_name);
        object.number("fallback_index", self.fallback_index as u64);
        listed(&mut object, "attempts", &self.attempts);
        object.number("retries", self.retries.into());
        object.decimal("latency_ms", self.latency_ms).decimal("upstream_latency_ms", self.upstream_latency_ms);
        if self.tools_ms > 0.0 {
            object.decimal("tools_ms", self.tools_ms);
        }
        object.decimal("overhead_ms", self.overhead_ms);
        for (key, time) in [("first_token_ms", self.first_token_ms), ("inter_token_ms", self.inter_token_ms)] {
            if let Some(time) = time {
                object.decimal(key, time);
            }
        }
        object.number("usage_input", self.usage_input).number("usage_output", self.usage_output);
        counted(&mut object, "usage_cache_read", self.usage_cache_read);
        counted(&mut object, "usage_cache_write", self.usage_cache_write);
        counted(&mut object, "usage_reasoning", self.usage_reasoning);
        some(&mut object, "finish", self.finish.as_deref());
        counted(&mut object, "tools_offered", self.tools_offered);
        counted(&mut object, "turns", self.turns);
        listed(&mut object, "tools_executed", &self.tools_executed);
        some(&mut object, "stopped", self.stopped);
        if !self.metadata.is_empty() {
            object.serialized("metadata", &self.metadata);
        }
        let lost = self.losses.iter().map(|loss| format!("{}: {}", loss.pointer, loss.reason));
        listed(&mut object, "losses", &lost.collect::<Vec<_>>());
        object.end();
        out.push(b'\n');
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

fn some(object: &mut Object<'_>, key: &str, text: Option<&str>) {
    if let Some(text) = text {
        object.str(key, text);
    }
}

fn filled(object: &mut Object<'_>, key: &str, text: &str) {
    if !text.is_empty() {
        object.str(key, text);
    }
}

fn counted(object: &mut Object<'_>, key: &str, number: u64) {
    if number > 0 {
        object.number(key, number);
    }
}

fn listed<T: Serialize>(object: &mut Object<'_>, key: &str, list: &[T]) {
    if !list.is_empty() {
        object.serialized(key, &list);
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

/// The bounded buffer between requests and the writer.
#[derive(Debug, Default)]
pub struct Log {
    /// Whole lines.
    waiting: Mutex<Vec<u8>>,
    /// The last batch's memory, empty, for the next: growing anew each time leaves an allocator with pieces of every size.
    spare: Mutex<Vec<u8>>,
    dropped: AtomicU64,
    style: LogStyle,
}

impl Log {
    pub fn new(style: LogStyle) -> Self {
        Self { style, ..Self::default() }
    }

    /// Lines wait, not records: a line is a fraction of its record's size, and is made by the thread that made the record.
    pub fn push(&self, record: &Record) {
        if self.style == LogStyle::Off {
            return;
        }
        let mut waiting = self.waiting.lock();
        let before = waiting.len();
        match self.style {
            LogStyle::Pretty => waiting.extend_from_slice(record.pretty().as_bytes()),
            _ => record.write_json(&mut waiting),
        }
        if waiting.len() > CAPACITY {
            waiting.truncate(before);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records lost because the writer could not keep up, or could not write.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes what waits. Blocking, for the writer task and the end of the process.
    pub fn flush(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let mut lines = std::mem::take(&mut *self.spare.lock());
        std::mem::swap(&mut lines, &mut *self.waiting.lock());
        let written = out.write_all(&lines).and_then(|()| out.flush());
        if written.is_err() {
            let lost = memchr::memchr_iter(b'\n', &lines).count();
            self.dropped.fetch_add(lost as u64, Ordering::Relaxed);
        }
        lines.clear();
        lines.shrink_to(SPARE);
        *self.spare.lock() = lines;
        written
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

    fn line(record: &Record) -> Vec<u8> {
        let mut line = Vec::new();
        record.write_json(&mut line);
        line
    }

    #[test]
    fn records_are_json_lines_and_overflow_is_counted() {
        let log = Log::new(LogStyle::Json);
        let record = Record { status: 200, finish: Some("stop".into()), ..Record::default() };
        let fit = CAPACITY / line(&record).len();
        for _ in 0..=fit {
            log.push(&record);
        }
        assert_eq!(log.dropped(), 1);
        let mut out = Vec::new();
        log.flush(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), fit);
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((&first["status"], &first["finish"]), (&200.into(), &"stop".into()));
    }

    #[test]
    fn what_cannot_be_written_is_counted_as_lost() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let log = Log::new(LogStyle::Json);
        log.push(&Record::default());
        log.push(&Record { error_message: Some("two\nlines".into()), ..Record::default() });
        assert!(log.flush(&mut Full).is_err());
        assert_eq!(log.dropped(), 2);
    }

    #[test]
    fn batches_share_their_memory_and_nothing_else() {
        let log = Log::new(LogStyle::Json);
        for (batch, count) in [(1, 5000), (2, 3), (3, 0), (4, 1)] {
            for _ in 0..count {
                log.push(&Record { turns: batch, ..Record::default() });
            }
            let mut out = Vec::new();
            log.flush(&mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.matches(&format!("\"turns\":{batch}")).count(), count);
            assert_eq!(text.lines().count(), count);
            assert!(log.waiting.lock().is_empty());
            assert!(log.spare.lock().capacity() <= SPARE, "a burst's memory is given back");
        }
    }

    #[test]
    fn every_field_of_a_record_is_in_its_line() {
        let text = || "t".to_owned();
        let attempt = Attempt { provider: text(), key_name: text(), reason: text(), status: Some(429), rotated: true };
        let executed = Executed {
            id: text(),
            name: text(),
            server: text(),
            duration_ms: 1.5,
            is_error: false,
            truncated_from_bytes: Some(9),
        };
        let mut losses = Losses::default();
        losses.push("/seed", "no");
        let record = Record {
            error_type: Some(text()),
            error_message: Some("a \"quoted\" one".into()),
            virtual_key_id: text(),
            virtual_key_name: text(),
            key_id: text(),
            key_name: text(),
            attempts: vec![attempt],
            tools_ms: 1.5,
            first_token_ms: Some(0.25),
            inter_token_ms: Some(0.5),
            usage_cache_read: 1,
            usage_cache_write: 2,
            usage_reasoning: 3,
            finish: Some(text()),
            tools_offered: 4,
            turns: 5,
            tools_executed: vec![executed],
            stopped: Some("max_depth"),
            metadata: [(text(), text())].into(),
            losses,
            ..Record::default()
        };
        let line: serde_json::Value = serde_json::from_slice(&line(&record)).unwrap();
        assert_eq!(line["error_message"], "a \"quoted\" one");
        assert_eq!(line["attempts"][0]["status"], 429);
        assert_eq!(line["tools_executed"][0]["truncated_from_bytes"], 9);
        // `Debug` knows every field; `error_class` is a metric's label alone.
        let shown = format!("{record:#?}");
        let fields = shown.lines().filter(|line| line.starts_with("    ") && line.get(4..5) != Some(" "));
        let names: Vec<&str> = fields.filter_map(|line| line.trim().split_once(':').map(|(name, _)| name)).collect();
        for name in names.iter().filter(|name| **name != "error_class") {
            assert!(line.get(*name).is_some(), "{name} is not in the line");
        }
        assert!(names.len() > 30, "{names:?}");
    }
}
