//! What relaying costs in this crate, to be counted by callgrind: one loop over requests, one over stream chunks.
//!
//! `valgrind --tool=callgrind target/release/examples/relay_cost <requests> <chunks>`; the difference between two runs is the
//! cost, so that start-up drops out. The exit code is 0 where everything was recognised.

use std::process::ExitCode;

use bifrost_providers::Dialect;
use bifrost_providers::scan::{Scan, Splice};
use bifrost_providers::sse::Splitter;
use bifrost_providers::tap::{Seen, Tap};
use bytes::Bytes;

fn main() -> ExitCode {
    let mut counts = std::env::args().skip(1).filter_map(|count| count.parse::<usize>().ok());
    let (requests, chunks) = (counts.next().unwrap_or(1), counts.next().unwrap_or(1));
    let relayed = (0..requests).all(|_| relay_request(&request()));
    if relayed && relay_chunks(chunks) == chunks { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A chat request of about 2 KB.
fn request() -> Bytes {
    let text = "The quick brown fox jumps over the lazy dog, and says: \\\"hello\\\".\\n".repeat(13);
    let message = |role: &str| format!(r#"{{"role":"{role}","content":"{text}"}}"#);
    let messages = [message("system"), message("user")].join(",");
    let rest = r#""temperature":0.7,"max_tokens":512,"stream":true,"user":"u-1""#;
    Bytes::from(format!(r#"{{"model":"openai/gpt-4o-mini","messages":[{messages}],{rest}}}"#))
}

fn relay_request(body: &Bytes) -> bool {
    let Ok(scan) = Scan::of(body) else { return false };
    let mut splice = Splice::new(body);
    if let Some(model) = &scan.model {
        splice.replace_text(&model.field, "gpt-4o-mini");
    }
    splice.ask_usage(&scan);
    splice.build().len() > body.len()
}

/// How many chunks of one stream were content.
fn relay_chunks(count: usize) -> usize {
    let chunk = concat!(
        r#"data: {"id":"chatcmpl-9hqPd1CzRLh5Kp2sQvVt0YbXw7Ne","object":"chat.completion.chunk","created":1719000000,"#,
        r#""model":"gpt-4o-mini","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":" fox"},"#,
        r#""logprobs":null,"finish_reason":null}],"usage":null}"#,
        "\n\n"
    );
    let mut splitter = Splitter::new(1 << 20);
    let mut tap = Tap::new(Dialect::OpenAiChat);
    let mut content = 0;
    for _ in 0..count {
        splitter.push(Bytes::from(chunk.to_owned()));
        for event in splitter.by_ref().filter_map(Result::ok) {
            content += usize::from(matches!(tap.event(&event), Seen::Content));
        }
    }
    content
}
