//! What a model said, as a client of either dialect puts it together: strict about every rule of the wire that SDKs rely on.
//!
//! Written against the providers' documentation and the official SDKs' accumulators, sharing nothing with the gateway's codecs:
//! <https://platform.openai.com/docs/api-reference/chat-streaming>, <https://docs.anthropic.com/en/docs/build-with-claude/streaming>.

#![expect(clippy::indexing_slicing, reason = "JSON that lacks what it must have fails the test")]

use serde_json::{Map, Value, json};

use crate::OrFail as _;
use crate::answer::Event;

/// A reply, put together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// All visible text.
    pub text: String,
    /// All thinking (`reasoning_content`).
    pub thinking: String,
    /// The refusal, where the dialect has a field for it.
    pub refusal: Option<String>,
    /// The tool calls that the client is to answer.
    pub calls: Vec<Call>,
    /// `finish_reason` or `stop_reason`, in the dialect's word.
    pub finish: String,
    /// `usage`, as the dialect has it; null if it did not come.
    pub usage: Value,
    /// `extra_fields`; null where the dialect has none.
    pub extra: Value,
    /// The assistant message that an SDK puts into its history.
    pub message: Value,
}

/// A tool call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its id.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments, as JSON text.
    pub arguments: String,
}

impl Told {
    /// Input and output tokens, counted as the dialect counts them.
    pub fn tokens(&self) -> (u64, u64) {
        let field = |names: [&str; 2]| names.iter().find_map(|name| self.usage[name].as_u64());
        let input = field(["prompt_tokens", "input_tokens"]).or_fail("input tokens");
        (input, field(["completion_tokens", "output_tokens"]).or_fail("output tokens"))
    }

    /// The names of the calls, in order.
    pub fn called(&self) -> Vec<&str> {
        self.calls.iter().map(|call| call.name.as_str()).collect()
    }

    /// The tool calls that the gateway ran, by name, from `extra_fields.mcp.executed`.
    pub fn executed(&self) -> Vec<&str> {
        let executed = self.extra["mcp"]["executed"].as_array();
        executed.into_iter().flatten().map(|call| call["name"].as_str().unwrap_or("?")).collect()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

// === OpenAI ===

pub(crate) fn openai_whole(reply: &Value) -> Told {
    assert_eq!(reply["object"], "chat.completion", "{reply}");
    assert!(reply["id"].is_string() && reply["model"].is_string(), "{reply}");
    assert!(reply["created"].as_u64().is_some_and(|seconds| seconds > 0), "{reply}");
    let choice = &reply["choices"][0];
    let message = &choice["message"];
    assert_eq!(message["role"], "assistant", "{reply}");
    let calls = message["tool_calls"].as_array().into_iter().flatten().map(|call| Call {
        id: text(&call["id"]),
        name: text(&call["function"]["name"]),
        arguments: text(&call["function"]["arguments"]),
    });
    Told {
        text: text(&message["content"]),
        thinking: text(&message["reasoning_content"]),
        refusal: message["refusal"].as_str().map(str::to_owned),
        calls: calls.collect(),
        finish: text(&choice["finish_reason"]),
        usage: reply["usage"].clone(),
        extra: reply["extra_fields"].clone(),
        message: message.clone(),
    }
}

pub(crate) fn openai_stream(events: &[Event]) -> Told {
    let (last, chunks) = events.split_last().or_fail("a stream");
    assert_eq!(last.data, "[DONE]", "the stream ends with [DONE]");
    let mut reader = OpenAiReader::default();
    for event in chunks {
        assert_eq!(event.name, None, "OpenAI chunks have no event name");
        assert_ne!(event.data, "[DONE]", "[DONE] comes once");
        reader.chunk(&serde_json::from_str(&event.data).or_fail("a chunk"));
    }
    reader.end()
}

#[derive(Default)]
struct OpenAiReader {
    told: Told,
    id: Option<String>,
    started: bool,
    /// A chunk after the one with usage would be lost on SDKs that stop there.
    usage_seen: bool,
}

impl OpenAiReader {
    fn chunk(&mut self, chunk: &Value) {
        assert_eq!(chunk["object"], "chat.completion.chunk", "{chunk}");
        let id = self.id.get_or_insert_with(|| text(&chunk["id"]));
        assert_eq!(*id, text(&chunk["id"]), "one reply has one id");
        assert!(chunk["model"].is_string(), "{chunk}");
        assert!(chunk["created"].as_u64().is_some_and(|seconds| seconds > 0), "{chunk}");
        assert!(!self.usage_seen, "usage comes last: {chunk}");
        assert!(self.told.extra.is_null(), "extra_fields come in the last chunk: {chunk}");
        let choices = chunk["choices"].as_array().or_fail("choices");
        for choice in choices {
            self.choice(choice);
        }
        if !chunk["usage"].is_null() {
            self.told.usage = chunk["usage"].clone();
            self.usage_seen = choices.is_empty();
        }
        self.told.extra = chunk["extra_fields"].clone();
    }

    fn choice(&mut self, choice: &Value) {
        assert_eq!(choice["index"], 0, "{choice}");
        assert_eq!(self.told.finish, "", "nothing follows the finish: {choice}");
        let delta = &choice["delta"];
        assert!(delta.is_object(), "{choice}");
        let first = !std::mem::replace(&mut self.started, true);
        let named = delta["role"] == "assistant" || !first && delta["role"].is_null();
        assert!(named, "the first chunk names the role, and none another: {choice}");
        self.told.text.push_str(delta["content"].as_str().unwrap_or_default());
        self.told.thinking.push_str(delta["reasoning_content"].as_str().unwrap_or_default());
        if let Some(refusal) = delta["refusal"].as_str() {
            self.told.refusal.get_or_insert_default().push_str(refusal);
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            self.call(call);
        }
        self.told.finish = text(&choice["finish_reason"]);
    }

    fn call(&mut self, delta: &Value) {
        let index = delta["index"].as_u64().and_then(|index| usize::try_from(index).ok()).or_fail("a call's index");
        let calls = &mut self.told.calls;
        assert!(index <= calls.len(), "indexes of calls count up from 0: {delta}");
        if index == calls.len() {
            assert_eq!(delta["type"], "function", "{delta}");
            let (id, name) = (text(&delta["id"]), text(&delta["function"]["name"]));
            assert!(!id.is_empty() && !name.is_empty(), "a call opens with id and name: {delta}");
            calls.push(Call { id, name, arguments: String::new() });
        } else {
            let repeated = delta.get("id").is_some_and(|id| !id.is_null());
            assert!(!repeated, "SDKs concatenate: an id comes once: {delta}");
        }
        let call = calls.get_mut(index).or_fail("a call");
        call.arguments.push_str(delta["function"]["arguments"].as_str().unwrap_or_default());
    }

    fn end(self) -> Told {
        let mut told = self.told;
        assert!(!told.finish.is_empty(), "the stream has a finish_reason");
        let mut message = Map::new();
        message.insert("role".into(), "assistant".into());
        message.insert("content".into(), if told.text.is_empty() { Value::Null } else { told.text.clone().into() });
        if !told.thinking.is_empty() {
            message.insert("reasoning_content".into(), told.thinking.clone().into());
        }
        if !told.calls.is_empty() {
            let calls = told.calls.iter().map(|call| {
                let function = json!({"name": call.name, "arguments": call.arguments});
                json!({"id": call.id, "type": "function", "function": function})
            });
            message.insert("tool_calls".into(), calls.collect());
        }
        told.message = message.into();
        told
    }
}

// === Anthropic ===

pub(crate) fn anthropic_whole(reply: &Value) -> Told {
    assert_eq!(reply["type"], "message", "{reply}");
    assert_eq!(reply["role"], "assistant", "{reply}");
    assert!(reply["id"].is_string() && reply["model"].is_string() && reply["usage"].is_object(), "{reply}");
    let blocks = reply["content"].as_array().or_fail("content");
    anthropic(blocks, text(&reply["stop_reason"]), reply["usage"].clone(), reply["extra_fields"].clone())
}

fn anthropic(blocks: &[Value], finish: String, usage: Value, extra: Value) -> Told {
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

pub(crate) fn anthropic_stream(events: &[Event]) -> Told {
    let mut reader = AnthropicReader::default();
    for event in events {
        let data: Value = serde_json::from_str(&event.data).or_fail("an event's data");
        assert_eq!(event.name.as_deref(), data["type"].as_str(), "event name and type agree");
        reader.event(&data);
    }
    assert!(reader.stopped, "the stream ends with message_stop");
    anthropic(&reader.blocks, text(&reader.stop), reader.usage, Value::Null)
}

#[derive(Default)]
struct AnthropicReader {
    started: bool,
    blocks: Vec<Value>,
    /// The block that is open, and the JSON of its input so far.
    open: Option<String>,
    stop: Value,
    usage: Value,
    stopped: bool,
}

impl AnthropicReader {
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
