//! What a crossing costs in this crate, to be counted by callgrind: one request, one reply, or one stream, many times over.
//!
//! `crossing_cost <client> <provider> <part> <n>`, where the two are names of dialects and *part* is `request`, `reply` or `stream`.
//! What is read is what the dialect's own writer makes of one and the same conversation, so that pairs compare. The difference
//! between two runs of different *n* is the cost of one more: start-up and preparation drop out. The exit code is 0 where everything
//! was understood.

use std::process::ExitCode;

use bifrost_providers::dialect::WriterOptions;
use bifrost_providers::event::{Delta, unfold};
use bifrost_providers::{ChatEvent, ChatReply, ChatRequest, Dialect, Losses, Malformed, Text};
use bytes::Bytes;

/// The reply's text, which a stream brings piece by piece.
const PIECE: &str = "and the quick brown fox, ";
const PIECES: usize = 64;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [client, provider, part, count] = arguments.as_slice() else { return ExitCode::FAILURE };
    let named = |name: &str| Dialect::ALL.into_iter().find(|dialect| dialect.name() == name);
    match (named(client), named(provider), count.parse()) {
        (Some(client), Some(provider), Ok(count)) if crossed(client, provider, part, count) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Crosses a part so many times. Was everything understood?
fn crossed(client: Dialect, provider: Dialect, part: &str, count: usize) -> bool {
    let (Ok(request), Ok(reply)) = (request(), reply()) else { return false };
    match part {
        "request" => {
            let body = client.codec().encode_request(&request, &mut Losses::default());
            (0..count).all(|_| cross_request(client, provider, &body).is_ok_and(|crossed| !crossed.is_empty()))
        }
        "reply" => {
            let body = provider.codec().encode_reply(&reply, None, &mut Losses::default());
            (0..count).all(|_| cross_reply(client, provider, &body).is_ok_and(|crossed| !crossed.is_empty()))
        }
        "stream" => {
            let body = streamed(provider, &reply);
            (0..count).all(|_| cross_stream(client, provider, &body).is_some_and(|crossed| crossed.len() > PIECES))
        }
        _ => false,
    }
}

fn cross_request(client: Dialect, provider: Dialect, body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let request = client.codec().decode_request(body)?;
    Ok(provider.codec().encode_request(&request, &mut Losses::default()))
}

fn cross_reply(client: Dialect, provider: Dialect, body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let reply = provider.codec().decode_reply(body)?;
    Ok(client.codec().encode_reply(&reply, None, &mut Losses::default()))
}

fn cross_stream(client: Dialect, provider: Dialect, body: &Bytes) -> Option<Vec<u8>> {
    let mut splitter = provider.framing().splitter(1 << 20);
    splitter.push(body.clone());
    let mut reader = provider.codec().reader();
    let mut writer = client.codec().writer(options(client));
    let mut events = Vec::new();
    let mut out = Vec::new();
    for event in splitter.by_ref() {
        reader.read(&event.ok()?.frame, &mut events).ok()?;
        for event in events.drain(..) {
            writer.write(&event, None, &mut out);
        }
    }
    reader.finish(&mut events).ok()?;
    for event in events {
        writer.write(&event, None, &mut out);
    }
    Some(out)
}

fn options(dialect: Dialect) -> WriterOptions {
    WriterOptions { include_usage: true, framing: dialect.framing() }
}

/// The reply as a stream of this dialect, its text in [`PIECES`].
fn streamed(provider: Dialect, reply: &ChatReply) -> Bytes {
    let mut writer = provider.codec().writer(options(provider));
    let mut out = Vec::new();
    for event in unfold(reply) {
        for event in cut(event) {
            writer.write(&event, None, &mut out);
        }
    }
    out.into()
}

/// The text comes in pieces.
fn cut(event: ChatEvent) -> Vec<ChatEvent> {
    match event {
        ChatEvent::Delta { index, delta: Delta::Text(_) } => {
            let piece = ChatEvent::Delta { index, delta: Delta::Text(Text::from_plain(PIECE)) };
            vec![piece; PIECES]
        }
        event => vec![event],
    }
}

/// A conversation of about 8 KB with two tools, two parallel calls and their results, with escapes in it, as real ones have.
fn request() -> Result<ChatRequest, Malformed> {
    let text = "The quick brown fox jumps over the lazy dog, and says: \\\"hello\\\".\\n".repeat(28);
    let says = |role: &str| format!(r#"{{"role":"{role}","content":"{text}"}}"#);
    let result = |id: &str| format!(r#"{{"role":"tool","tool_call_id":"{id}","content":"18 degrees, \"fair\""}}"#);
    let calls = format!(r#"{{"role":"assistant","content":"Let me see.","tool_calls":{CALLS}}}"#);
    let asked = [says("system"), says("user"), calls];
    let answered = [result("call_1"), result("call_2"), says("assistant"), says("user")];
    let messages = [asked.join(","), answered.join(",")].join(",");
    let tool = |name: &str| {
        format!(
            r#"{{"type":"function","function":{{"name":"{name}","description":"Looks it up.","parameters":{{"type":"object",
            "properties":{{"city":{{"type":"string","description":"Which"}},"days":{{"type":"integer"}}}},"required":["city"]}}}}}}"#
        )
    };
    let body = format!(
        r#"{{"model":"some-model","messages":[{messages}],"tools":[{},{}],"temperature":0.7,"max_completion_tokens":512}}"#,
        tool("weather"),
        tool("news")
    );
    Dialect::OpenAiChat.codec().decode_request(body.as_bytes())
}

/// A page of text, and two parallel calls.
fn reply() -> Result<ChatReply, Malformed> {
    let text = PIECE.repeat(PIECES);
    let body = format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1719000000,"model":"some-model","choices":[{{"index":0,"message":
        {{"role":"assistant","content":"{text}","tool_calls":{CALLS}}},"finish_reason":"tool_calls"}}],
        "usage":{{"prompt_tokens":900,"completion_tokens":120,"total_tokens":1020}}}}"#
    );
    Dialect::OpenAiChat.codec().decode_reply(body.as_bytes())
}

const CALLS: &str = r#"[{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Oslo\",\"days\":3}"}},
    {"id":"call_2","type":"function","function":{"name":"news","arguments":"{\"city\":\"Bergen\"}"}}]"#;
