//! Messages, whole and streamed. <https://docs.anthropic.com/en/docs/build-with-claude/streaming>

use serde_json::{Value, json};

use super::{Call, Dialect, Event, Failed, Fault, Told};
use crate::OrFail as _;
use crate::json::text;

#[derive(Debug)]
pub(super) struct Anthropic;

impl Dialect for Anthropic {
    fn path(&self, _model: &str, _stream: bool) -> String {
        "/anthropic/v1/messages".to_owned()
    }

    fn opening(&self) -> Value {
        json!({"max_tokens": 4096})
    }

    fn picture(&self, text: &str, png: &str) -> Value {
        let source = json!({"type": "base64", "media_type": "image/png", "data": png});
        json!({"role": "user", "content": [{"type": "text", "text": text}, {"type": "image", "source": source}]})
    }

    fn system(&self, body: &mut Value, text: &str) {
        body["system"] = text.into();
    }

    fn limits(&self, tokens: u64, temperature: f64, stop: &[&str]) -> Value {
        json!({"max_tokens": tokens, "temperature": temperature, "stop_sequences": stop})
    }

    fn tool(&self, name: &str, schema: &Value) -> Value {
        json!({"name": name, "description": "Mine.", "input_schema": schema})
    }

    fn must_call(&self) -> Value {
        json!({"tool_choice": {"type": "any"}})
    }

    fn result(&self, call: &Call, text: &str) -> Value {
        json!({"type": "tool_result", "tool_use_id": call.id, "content": text})
    }

    fn results(&self, results: Vec<Value>) -> Vec<Value> {
        vec![json!({"role": "user", "content": results})]
    }

    fn whole(&self, reply: &Value) -> Told {
        whole(reply)
    }

    fn stream(&self, events: &[Event]) -> Told {
        stream(events)
    }

    fn fault(&self, failed: &Failed<'_>) -> Fault {
        failed.is_named(Some("error"));
        let data = failed.data;
        assert_eq!(data["type"], "error", "{data}");
        Fault::of(&data["error"]["type"], &data["error"]["message"], data)
    }

    fn is_end(&self, event: &Event) -> bool {
        event.name.as_deref() == Some("message_stop")
    }

    fn word(&self, openai: &'static str) -> &'static str {
        match openai {
            "stop" => "end_turn",
            "length" => "max_tokens",
            "tool_calls" => "tool_use",
            "content_filter" => "refusal",
            "request_timed_out" => "timeout_error",
            other => other,
        }
    }
}

fn whole(reply: &Value) -> Told {
    assert_eq!(reply["type"], "message", "{reply}");
    assert_eq!(reply["role"], "assistant", "{reply}");
    assert!(reply["id"].is_string() && reply["model"].is_string() && reply["usage"].is_object(), "{reply}");
    let blocks = reply["content"].as_array().or_fail("content");
    told(blocks, text(&reply["stop_reason"]), reply["usage"].clone(), reply["extra_fields"].clone())
}

fn told(blocks: &[Value], finish: String, usage: Value, extra: Value) -> Told {
    let mut told = Told { finish, usage, extra, ..Told::default() };
    for block in blocks {
        match block["type"].as_str().unwrap_or_default() {
            "text" => told.text.push_str(&text(&block["text"])),
            "thinking" => {
                assert!(block["signature"].is_string(), "{block}");
                told.thinking.push_str(&text(&block["thinking"]));
            }
            "tool_use" => {
                assert!(block["input"].is_object(), "{block}");
                let (id, name) = (text(&block["id"]), text(&block["name"]));
                told.calls.push(Call { id, name, arguments: block["input"].to_string() });
            }
            "redacted_thinking" => assert!(block["data"].is_string(), "{block}"),
            other => assert_eq!(other, "a known block", "{block}"),
        }
    }
    told.message = json!({"role": "assistant", "content": blocks});
    told
}

fn stream(events: &[Event]) -> Told {
    let mut reader = Reader::default();
    for event in events {
        let data: Value = serde_json::from_str(&event.data).or_fail("an event's data");
        assert_eq!(event.name.as_deref(), data["type"].as_str(), "event name and type agree");
        reader.event(&data);
    }
    assert!(reader.stopped, "the stream ends with message_stop");
    told(&reader.blocks, text(&reader.stop), reader.usage, Value::Null)
}

#[derive(Default)]
struct Reader {
    started: bool,
    blocks: Vec<Value>,
    /// The block that is open, and the JSON of its input so far.
    open: Option<String>,
    stop: Value,
    usage: Value,
    stopped: bool,
}

impl Reader {
    fn event(&mut self, data: &Value) {
        assert!(!self.stopped, "nothing follows message_stop: {data}");
        assert!(self.started || matches!(data["type"].as_str(), Some("message_start" | "ping")), "{data}");
        match data["type"].as_str().unwrap_or_default() {
            "message_start" => {
                assert!(!std::mem::replace(&mut self.started, true), "one reply has one message_start: {data}");
                let message = &data["message"];
                assert!(message["id"].is_string() && message["model"].is_string(), "{data}");
                assert_eq!(message["content"], json!([]), "{data}");
                self.usage = message["usage"].clone();
                assert!(self.usage["input_tokens"].is_u64(), "SDKs read usage.input_tokens at the start: {data}");
            }
            "content_block_start" => self.open(data),
            "content_block_delta" => self.delta(data),
            "content_block_stop" => self.close(data),
            "message_delta" => {
                assert!(self.open.is_none(), "blocks are closed before the end: {data}");
                self.stop = data["delta"]["stop_reason"].clone();
                merge(&mut self.usage, &data["usage"]);
            }
            "message_stop" => {
                assert!(self.stop.is_string(), "message_delta comes before message_stop");
                self.stopped = true;
            }
            "ping" => {}
            other => assert_eq!(other, "a known event", "{data}"),
        }
    }

    fn open(&mut self, data: &Value) {
        assert!(self.open.is_none(), "one block at a time: {data}");
        assert!(self.stop.is_null(), "no block follows message_delta: {data}");
        assert_eq!(data["index"], self.blocks.len(), "indexes of blocks count up from 0: {data}");
        self.blocks.push(data["content_block"].clone());
        self.open = Some(String::new());
    }

    fn delta(&mut self, data: &Value) {
        let json = self.open.as_mut().or_fail("a delta has an open block");
        assert_eq!(data["index"], self.blocks.len() - 1, "{data}");
        let block = self.blocks.last_mut().or_fail("a block");
        let delta = &data["delta"];
        let kind = delta["type"].as_str().unwrap_or_default();
        let (belongs, field) = match kind {
            "text_delta" => ("text", "text"),
            "thinking_delta" => ("thinking", "thinking"),
            "signature_delta" => ("thinking", "signature"),
            "input_json_delta" => ("tool_use", "partial_json"),
            other => return assert_eq!(other, "a known delta", "{data}"),
        };
        assert_eq!(block["type"], belongs, "{data}");
        let piece = delta[field].as_str().or_fail("a delta's text");
        if kind == "input_json_delta" {
            json.push_str(piece);
        } else {
            let so_far = text(&block[field]);
            block[field] = format!("{so_far}{piece}").into();
        }
    }

    fn close(&mut self, data: &Value) {
        let json = self.open.take().or_fail("an open block");
        assert_eq!(data["index"], self.blocks.len() - 1, "{data}");
        let block = self.blocks.last_mut().or_fail("a block");
        if block["type"] == "tool_use" && !json.is_empty() {
            block["input"] = serde_json::from_str(&json).or_fail("a call's input");
        }
    }
}

/// The numbers of `message_delta` are cumulative: they replace those of the start.
fn merge(usage: &mut Value, later: &Value) {
    for (key, value) in later.as_object().into_iter().flatten() {
        if !value.is_null() {
            usage[key] = value.clone();
        }
    }
}
