//! Converse, whole and streamed. <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Call, Dialect, Event, Failed, Fault, Told};
use crate::OrFail as _;
use crate::json::text;

#[derive(Debug)]
pub(super) struct Bedrock;

impl Dialect for Bedrock {
    /// The SDK escapes all of a model's name, the slash as well.
    fn path(&self, model: &str, stream: bool) -> String {
        let operation = if stream { "converse-stream" } else { "converse" };
        format!("/bedrock/model/{}/{operation}", utf8_percent_encode(model, NON_ALPHANUMERIC))
    }

    fn model(&self, _model: &str) -> Value {
        json!({})
    }

    fn streaming(&self) -> Value {
        json!({})
    }

    fn user(&self, text: &str) -> Value {
        json!({"role": "user", "content": [{"text": text}]})
    }

    fn picture(&self, text: &str, png: &str) -> Value {
        let image = json!({"image": {"format": "png", "source": {"bytes": png}}});
        json!({"role": "user", "content": [{"text": text}, image]})
    }

    fn system(&self, body: &mut Value, text: &str) {
        body["system"] = json!([{"text": text}]);
    }

    fn limits(&self, tokens: u64, temperature: f64, stop: &[&str]) -> Value {
        json!({"inferenceConfig": {"maxTokens": tokens, "temperature": temperature, "stopSequences": stop}})
    }

    fn tools(&self) -> &'static str {
        "/toolConfig/tools"
    }

    fn tool(&self, name: &str, schema: &Value) -> Value {
        json!({"toolSpec": {"name": name, "description": "Mine.", "inputSchema": {"json": schema}}})
    }

    fn must_call(&self) -> Value {
        json!({"toolConfig": {"toolChoice": {"any": {}}}})
    }

    fn result(&self, call: &Call, text: &str) -> Value {
        json!({"toolResult": {"toolUseId": call.id, "content": [{"text": text}]}})
    }

    fn results(&self, results: Vec<Value>) -> Vec<Value> {
        vec![json!({"role": "user", "content": results})]
    }

    fn whole(&self, reply: &Value) -> Told {
        assert!(reply["metrics"]["latencyMs"].is_u64(), "the model of the service requires metrics: {reply}");
        let message = &reply["output"]["message"];
        assert_eq!(message["role"], "assistant", "{reply}");
        told(message["content"].as_array().or_fail("content"), &reply["stopReason"], &reply["usage"])
    }

    fn stream(&self, events: &[Event]) -> Told {
        let mut reader = Reader::default();
        for event in events {
            reader.event(event.name.as_deref().or_fail("a type of every event"), &event.json());
        }
        assert!(reader.usage.is_object(), "the stream ends with metadata");
        told(&reader.blocks, &reader.stop, &reader.usage)
    }

    /// The name of an error stands in a header, or it is the name of the exception.
    fn fault(&self, failed: &Failed<'_>) -> Fault {
        let header = failed.headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
        let exception = failed.event.map(|event| event.name.as_deref().filter(|name| name.ends_with("Exception")));
        let kind = exception.unwrap_or(header);
        let kind = kind.or_fail("the name of the error").split(':').next().unwrap_or_default();
        Fault::of(&json!(kind), &failed.data["message"], failed.data)
    }

    fn is_fault(&self, event: &Event) -> bool {
        event.name.as_deref().is_some_and(|name| name.ends_with("Exception"))
    }

    fn is_end(&self, event: &Event) -> bool {
        matches!(event.name.as_deref(), Some("messageStop" | "metadata"))
    }

    fn word(&self, openai: &'static str) -> &'static str {
        match openai {
            "stop" => "end_turn",
            "length" => "max_tokens",
            "tool_calls" => "tool_use",
            "content_filter" => "content_filtered",
            "request_timed_out" => "ModelTimeoutException",
            other => other,
        }
    }
}

fn told(blocks: &[Value], stop: &Value, usage: &Value) -> Told {
    for field in ["inputTokens", "outputTokens", "totalTokens"] {
        assert!(usage[field].is_u64(), "the model of the service requires {field}: {usage}");
    }
    let mut told = Told { finish: text(stop), usage: usage.clone(), ..Told::default() };
    assert!(!told.finish.is_empty(), "the model of the service requires a reason");
    for block in blocks {
        let (kind, value) = block.as_object().and_then(|block| block.iter().next()).or_fail("a member of the union");
        assert_eq!(block.as_object().map(serde_json::Map::len), Some(1), "a union has one member: {block}");
        match kind.as_str() {
            "text" => told.text.push_str(value.as_str().or_fail("text")),
            "reasoningContent" => told.thinking.push_str(&reasoned(value)),
            "toolUse" => {
                assert!(value["input"].is_object(), "{block}");
                let (id, name) = (text(&value["toolUseId"]), text(&value["name"]));
                assert!(!id.is_empty() && !name.is_empty(), "{block}");
                told.calls.push(Call { id, name, arguments: value["input"].to_string() });
            }
            other => assert_eq!(other, "a known block", "{block}"),
        }
    }
    told.message = json!({"role": "assistant", "content": blocks});
    told
}

/// What can be read of reasoning: nothing, if it is a blob.
fn reasoned(reasoning: &Value) -> String {
    if let Some(blob) = reasoning.get("redactedContent") {
        super::blob(blob);
        return String::new();
    }
    text(&reasoning["reasoningText"]["text"])
}

#[derive(Default)]
struct Reader {
    started: bool,
    blocks: Vec<Value>,
    /// The block that is open, and the JSON of its input so far.
    open: Option<String>,
    stop: Value,
    usage: Value,
}

impl Reader {
    fn event(&mut self, kind: &str, data: &Value) {
        assert!(self.usage.is_null(), "nothing follows metadata: {data}");
        assert_eq!(self.started, kind != "messageStart", "a message starts once, and first: {kind} {data}");
        assert!(self.stop.is_null() || kind == "metadata", "only metadata follows the end: {kind} {data}");
        match kind {
            "messageStart" => {
                assert_eq!(data["role"], "assistant", "{data}");
                self.started = true;
            }
            "contentBlockStart" => {
                assert!(data["start"]["toolUse"].is_object(), "the SDK knows of no other start: {data}");
                self.begin(data);
                *self.last() = data["start"].clone();
            }
            "contentBlockDelta" => self.delta(data),
            "contentBlockStop" => self.close(data),
            "messageStop" => {
                assert!(self.open.is_none(), "blocks are closed before the end: {data}");
                self.stop = data["stopReason"].clone();
            }
            "metadata" => {
                assert!(data["metrics"]["latencyMs"].is_u64(), "{data}");
                self.usage = data["usage"].clone();
            }
            other => assert_eq!(other, "a known event", "{data}"),
        }
    }

    fn begin(&mut self, data: &Value) {
        assert!(self.open.is_none(), "one block at a time: {data}");
        assert_eq!(data["contentBlockIndex"], self.blocks.len(), "indexes of blocks count up from 0: {data}");
        self.blocks.push(json!({}));
        self.open = Some(String::new());
    }

    fn last(&mut self) -> &mut Value {
        self.blocks.last_mut().or_fail("a block")
    }

    /// Text and reasoning begin with their first delta.
    fn delta(&mut self, data: &Value) {
        if self.open.is_none() {
            self.begin(data);
        }
        assert_eq!(data["contentBlockIndex"], self.blocks.len() - 1, "{data}");
        let delta = &data["delta"];
        if let Some(input) = delta["toolUse"]["input"].as_str() {
            assert!(self.last()["toolUse"].is_object(), "{data}");
            return self.open.as_mut().or_fail("an open block").push_str(input);
        }
        let reasoning = &delta["reasoningContent"];
        let said = [
            ("/text", &delta["text"]),
            ("/reasoningContent/reasoningText/text", &reasoning["text"]),
            ("/reasoningContent/reasoningText/signature", &reasoning["signature"]),
            ("/reasoningContent/redactedContent", &reasoning["redactedContent"]),
        ];
        let (place, piece) = said.into_iter().find(|(_, piece)| piece.is_string()).or_fail(&format!("a delta: {data}"));
        let mut field = self.last();
        for key in place.split('/').skip(1) {
            field = &mut field[key];
        }
        *field = (text(field) + &text(piece)).into();
    }

    fn close(&mut self, data: &Value) {
        let input = self.open.take().or_fail("an open block");
        assert_eq!(data["contentBlockIndex"], self.blocks.len() - 1, "{data}");
        if self.last()["toolUse"].is_object() {
            let input = if input.is_empty() { "{}" } else { &input };
            self.last()["toolUse"]["input"] = serde_json::from_str(input).or_fail("a call's input");
        }
    }
}
