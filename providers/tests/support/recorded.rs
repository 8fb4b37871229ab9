//! Loads recorded traffic of real providers, for tests that replay it.
//!
//! The recordings are evidence and no part of this repository: they stand in the folder named by `RECORDED_TRAFFIC`, or in
//! `shared/recorded` beside the repository. Where they are missing, a test is left out and says so.
//!
//! Use from an integration test: `#[path = "support/recorded.rs"] mod recorded;`, then
//! `for recording in recorded::recordings("chat/completions") { .. }`.

use std::path::PathBuf;

use serde_json::Value;

/// One request and its answer, as they went over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    /// Where it comes from: `openai/tools/parallel_calls#0`.
    pub(crate) name: String,
    /// Status of the answer.
    pub(crate) status: u16,
    /// Body of the request, as text.
    pub(crate) request: String,
    /// Body of the answer, as text.
    pub(crate) response: String,
}

impl Recording {
    /// Is the answer a successful event stream? Told from its body: not every provider names the type.
    pub(crate) fn is_stream(&self) -> bool {
        self.is_ok() && ["data:", "event:", ":"].iter().any(|start| self.response.trim_start().starts_with(start))
    }

    /// Did the provider answer with a 2xx?
    pub(crate) fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Every recording whose request path ends in `suffix` (`chat/completions`, `/messages`), in a stable order. Says how many
/// there are; says loudly where the folder is missing.
pub(crate) fn recordings(suffix: &str) -> Vec<Recording> {
    found(suffix, parse)
}

/// The same for answers that are no text: their requests, and the bytes.
pub(crate) fn binary_recordings(suffix: &str) -> Vec<(Recording, Vec<u8>)> {
    found(suffix, parse_binary)
}

#[expect(clippy::print_stderr, reason = "a test that replays traffic says how much, or that it was left out")]
fn found<T>(suffix: &str, parse: fn(&str, &str) -> Option<T>) -> Vec<T> {
    let folder = folder();
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("SKIPPED: no recorded traffic at {}; set RECORDED_TRAFFIC", folder.display());
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let mut found = Vec::new();
    for file in &files {
        let lines = std::fs::read_to_string(file).expect("a recording is readable");
        found.extend(lines.lines().filter(|line| line.contains(suffix)).filter_map(|line| parse(line, suffix)));
    }
    eprintln!("replaying {} recordings of *{suffix}", found.len());
    found
}

#[expect(clippy::disallowed_methods, reason = "tests have no configuration to read the folder from")]
fn folder() -> PathBuf {
    std::env::var("RECORDED_TRAFFIC")
        .map_or_else(|_| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/recorded")), PathBuf::from)
}

/// One line of a recording file, or `None` where it is of another path. Binary bodies are of no text dialect.
fn parse(line: &str, suffix: &str) -> Option<Recording> {
    let line: Value = serde_json::from_str(line).expect("a recording is one JSON object a line");
    recording(&line, suffix).filter(|_| line["response"].get("body_encoding").is_none())
}

fn parse_binary(line: &str, suffix: &str) -> Option<(Recording, Vec<u8>)> {
    use base64::Engine as _;
    let line: Value = serde_json::from_str(line).expect("a recording is one JSON object a line");
    let recording = recording(&line, suffix).filter(|_| line["response"]["body_encoding"] == "base64")?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(&recording.response).expect("Base64");
    Some((recording, bytes))
}

fn recording(line: &Value, suffix: &str) -> Option<Recording> {
    let (request, response) = (&line["request"], &line["response"]);
    request["path"].as_str()?.ends_with(suffix).then_some(())?;
    Some(Recording {
        name: line["name"].as_str()?.to_owned(),
        status: u16::try_from(response["status"].as_u64()?).ok()?,
        request: body(&request["body"]),
        response: body(&response["body"]),
    })
}

fn body(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[test]
fn binary_recordings_are_their_bytes() {
    for (recording, bytes) in binary_recordings("/converse-stream") {
        assert!(recording.is_ok() && !bytes.is_empty() && recording.request.starts_with('{'), "{}", recording.name);
    }
}

#[test]
fn recordings_are_read_whole() {
    for recording in recordings("/models") {
        assert!(!recording.name.is_empty() && !recording.is_stream(), "{recording:?}");
        assert!(recording.request.is_empty(), "{}", recording.name);
        assert_eq!(recording.is_ok(), recording.status < 300, "{}: {}", recording.name, recording.response);
    }
}
