//! The tap against recorded traffic: whatever a provider really sent, usage and finish are what a plain reading of it gives.

#![cfg(test)]

use bifrost_providers::Dialect;
use bifrost_providers::reply::Usage;
use bifrost_providers::sse::{Event, Splitter};
use bifrost_providers::tap::{Seen, Tap, whole};
use bytes::Bytes;
use serde_json::Value;

#[path = "support/recorded.rs"]
mod recorded;

const SOURCES: [(&str, Dialect); 6] = [
    ("chat/completions", Dialect::OpenAiChat),
    ("/responses", Dialect::OpenAiResponses),
    ("/messages", Dialect::AnthropicMessages),
    ("enerateContent", Dialect::Gemini),
    ("/v2/chat", Dialect::CohereChat),
    // Its streams are no text: see `bedrock_converse.rs`.
    ("/converse", Dialect::BedrockConverse),
];

/// The counts that are compared: input, output, cache read, cache write, reasoning.
type Counts = (u64, u64, Option<u64>, Option<u64>, Option<u64>);

fn counts(usage: &Usage) -> Counts {
    (usage.input, usage.output, usage.cache_read, usage.cache_write, usage.reasoning)
}

/// The counts of the last of these usage objects that has each field.
fn expected(dialect: Dialect, reports: &[Value]) -> Option<Counts> {
    let latest = |pointer: &str| reports.iter().rev().find_map(|usage| usage.pointer(pointer)?.as_u64());
    reports.first()?;
    Some(match dialect {
        Dialect::OpenAiChat => (
            latest("/prompt_tokens").unwrap_or(0),
            latest("/completion_tokens").unwrap_or(0),
            latest("/prompt_tokens_details/cached_tokens")
                .or(latest("/prompt_cache_hit_tokens"))
                .or(latest("/cache_read_input_tokens")),
            latest("/prompt_tokens_details/cache_write_tokens").or(latest("/cache_creation_input_tokens")),
            latest("/completion_tokens_details/reasoning_tokens").or(latest("/reasoning_tokens")),
        ),
        Dialect::OpenAiResponses => (
            latest("/input_tokens").unwrap_or(0),
            latest("/output_tokens").unwrap_or(0),
            latest("/input_tokens_details/cached_tokens"),
            latest("/input_tokens_details/cache_write_tokens"),
            latest("/output_tokens_details/reasoning_tokens"),
        ),
        Dialect::AnthropicMessages => {
            let (read, write) = (latest("/cache_read_input_tokens"), latest("/cache_creation_input_tokens"));
            let input = latest("/input_tokens").unwrap_or(0) + read.unwrap_or(0) + write.unwrap_or(0);
            let reasoning = latest("/output_tokens_details/thinking_tokens");
            (input, latest("/output_tokens").unwrap_or(0), read, write, reasoning)
        }
        Dialect::Gemini => {
            let count = |key: &str| reports.last().and_then(|usage| usage[key].as_u64());
            let sum = |one, other| count(one).unwrap_or(0) + count(other).unwrap_or(0);
            let (input, output) =
                (sum("promptTokenCount", "toolUsePromptTokenCount"), sum("candidatesTokenCount", "thoughtsTokenCount"));
            (input, output, count("cachedContentTokenCount"), None, count("thoughtsTokenCount"))
        }
        Dialect::CohereChat => {
            let billed = |key: &str| latest(&format!("/billed_units/{key}")).unwrap_or(0);
            (billed("input_tokens"), billed("output_tokens"), None, None, latest("/tokens/reasoning_tokens"))
        }
        Dialect::Predictions => return None,
        Dialect::BedrockConverse => {
            let (read, write) = (latest("/cacheReadInputTokens"), latest("/cacheWriteInputTokens"));
            let input = latest("/inputTokens").unwrap_or(0) + read.unwrap_or(0) + write.unwrap_or(0);
            (input, latest("/outputTokens").unwrap_or(0), read, write, None)
        }
    })
}

/// Every usage object of a stream's data, in order.
fn reports(data: &[Value]) -> Vec<Value> {
    let found = data.iter().flat_map(|data| {
        let inner = ["/message/usage", "/response/usage", "/delta/usage"].map(|pointer| data.pointer(pointer));
        inner.into_iter().chain([data.get("usage"), data.get("usageMetadata")])
    });
    found.flatten().filter(|usage| usage.is_object()).cloned().collect()
}

fn finish(data: &Value) -> Option<&str> {
    let words = [
        "/choices/0/finish_reason",
        "/delta/finish_reason",
        "/finish_reason",
        "/delta/stop_reason",
        "/stop_reason",
        "/stopReason",
        "/candidates/0/finishReason",
        "/response/incomplete_details/reason",
        "/response/status",
        "/incomplete_details/reason",
        "/status",
    ];
    words.iter().find_map(|pointer| data.pointer(pointer)?.as_str())
}

/// The events of a body that arrives in chunks of this many bytes.
fn events(body: &str, chunk_bytes: usize) -> Vec<Event> {
    let mut splitter = Splitter::new(16 << 20);
    let mut events = Vec::new();
    for chunk in body.as_bytes().chunks(chunk_bytes) {
        splitter.push(Bytes::copy_from_slice(chunk));
        events.extend(splitter.by_ref().filter_map(Result::ok));
    }
    events.extend(splitter.finish());
    events
}

#[test]
fn recorded_streams_give_their_usage_and_finish() {
    for (path, dialect) in SOURCES {
        for recording in recorded::recordings(path).iter().filter(|recording| recording.is_stream()) {
            let name = &recording.name;
            let events = events(&recording.response, 1000);
            assert_eq!(
                events.iter().map(|event| event.raw.as_ref()).collect::<Vec<_>>().concat(),
                recording.response.as_bytes()
            );
            let data: Vec<Value> =
                events.iter().filter_map(|event| serde_json::from_slice(&event.frame.data).ok()).collect();
            let mut tap = Tap::new(dialect);
            let seen: Vec<Seen> =
                events.iter().filter(|event| !event.is_comment()).map(|event| tap.event(event)).collect();
            assert_eq!(tap.usage().as_ref().map(counts), expected(dialect, &reports(&data)), "{name}");
            let word = tap.finish().map(|word| word.to_plain().into_owned());
            assert_eq!(word.as_deref(), data.iter().rev().find_map(finish), "{name}");
            check_order(name, dialect, &seen, &tap);
        }
    }
}

/// A good stream has content or a finish, then possibly usage, and ends; nothing of it is taken for an error, whatever comes
/// behind the end.
fn check_order(name: &str, dialect: Dialect, seen: &[Seen], tap: &Tap) {
    assert!(!seen.iter().any(|seen| matches!(seen, Seen::Error(_))), "{name}: {seen:?}");
    let first = seen.iter().position(|seen| matches!(seen, Seen::Content | Seen::Finish));
    let usage = seen.iter().position(|seen| matches!(seen, Seen::Usage));
    assert!(first.is_some() && usage.is_none_or(|usage| first < Some(usage)), "{name}: {seen:?}");
    // Google's streams have no end but that of the body.
    assert!(tap.is_complete() != (dialect == Dialect::Gemini), "{name}: {seen:?}");
    let terminal = seen.iter().position(|seen| matches!(seen, Seen::Terminal));
    assert!(
        seen.iter().skip(terminal.unwrap_or(seen.len())).all(|seen| matches!(seen, Seen::Terminal)),
        "{name}: {seen:?}"
    );
}

#[test]
fn recorded_replies_give_their_usage_finish_or_error() {
    for (path, dialect) in SOURCES {
        for recording in recorded::recordings(path).iter().filter(|recording| !recording.is_stream()) {
            let name = &recording.name;
            let read = whole(dialect, recording.response.as_bytes());
            assert_eq!(read.error.is_none(), recording.is_ok(), "{name}: {:?}", read.error);
            let Ok(data) = serde_json::from_str::<Value>(&recording.response) else { continue };
            assert_eq!(
                read.usage.as_ref().map(counts),
                expected(dialect, &reports(std::slice::from_ref(&data))),
                "{name}"
            );
            assert_eq!(read.finish.map(|word| word.to_plain().into_owned()).as_deref(), finish(&data), "{name}");
        }
    }
}
