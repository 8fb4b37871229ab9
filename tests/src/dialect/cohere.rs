//! Cohere's chat, version 2, whole and streamed. <https://docs.cohere.com/v2/docs/streaming>

use serde_json::{Value, json};

use super::{Call, Dialect, Event, Failed, Fault, Told, openai_chat};
use crate::OrFail as _;
use crate::json::{list, text};

#[derive(Debug)]
pub(super) struct Cohere;

impl Dialect for Cohere {
    fn path(&self, _model: &str, _stream: bool) -> String {
        "/cohere/v2/chat".to_owned()
    }

    fn picture(&self, text: &str, png: &str) -> Value {
        openai_chat::OpenAiChat.picture(text, png)
    }

    fn system(&self, body: &mut Value, text: &str) {
        openai_chat::OpenAiChat.system(body, text);
    }

    fn limits(&self, tokens: u64, temperature: f64, stop: &[&str]) -> Value {
        json!({"max_tokens": tokens, "temperature": temperature, "stop_sequences": stop})
    }

    fn tool(&self, name: &str, schema: &Value) -> Value {
        openai_chat::OpenAiChat.tool(name, schema)
    }

    fn must_call(&self) -> Value {
        json!({"tool_choice": "REQUIRED"})
    }

    /// As Cohere's guide to tool use has it: every result is a document.
    fn result(&self, call: &Call, text: &str) -> Value {
        let document = json!({"type": "document", "document": {"data": text}});
        json!({"role": "tool", "tool_call_id": call.id, "content": [document]})
    }

    fn whole(&self, reply: &Value) -> Told {
        assert!(reply["id"].as_str().is_some_and(|id| !id.is_empty()), "{reply}");
        told(&reply["message"], &reply["finish_reason"], &reply["usage"])
    }

    fn stream(&self, events: &[Event]) -> Told {
        let (last, events) = events.split_last().or_fail("a stream");
        assert_eq!((last.name.as_deref(), last.data.as_str()), (None, "[DONE]"), "the stream ends with [DONE]");
        let mut reader = Reader::default();
        for event in events {
            let data = event.json();
            assert_eq!(event.name.as_deref(), data["type"].as_str(), "event name and type agree");
            reader.event(&data);
        }
        let end = reader.end.or_fail("message-end");
        told(&reader.message, &end["finish_reason"], &end["usage"])
    }

    /// Only the status says what kind of error it is; in a stream, nothing does.
    fn fault(&self, failed: &Failed<'_>) -> Fault {
        failed.is_named(Some("message-end"));
        let message = if failed.event.is_some() {
            assert_eq!(failed.data["delta"]["finish_reason"], "ERROR", "{}", failed.data);
            &failed.data["delta"]["error"]
        } else {
            &failed.data["message"]
        };
        Fault::of(&json!(""), message, failed.data)
    }

    fn is_fault(&self, event: &Event) -> bool {
        event.json()["delta"]["finish_reason"] == "ERROR"
    }

    fn is_end(&self, event: &Event) -> bool {
        event.data == "[DONE]" || event.name.as_deref() == Some("message-end") && !self.is_fault(event)
    }

    fn word(&self, openai: &'static str) -> &'static str {
        match openai {
            "stop" => "COMPLETE",
            "length" => "MAX_TOKENS",
            "tool_calls" => "TOOL_CALL",
            "content_filter" => "ERROR_TOXIC",
            // Errors have no kind.
            _ => "",
        }
    }
}

fn told(message: &Value, finish: &Value, usage: &Value) -> Told {
    assert_eq!(message["role"], "assistant", "{message}");
    let mut told = Told { finish: text(finish), usage: usage.clone(), ..Told::default() };
    assert!(!told.finish.is_empty(), "a reply has a finish_reason");
    for block in list(&message["content"]) {
        match block["type"].as_str().unwrap_or_default() {
            "text" => told.text.push_str(block["text"].as_str().or_fail("text")),
            "thinking" => told.thinking.push_str(block["thinking"].as_str().or_fail("thinking")),
            other => assert_eq!(other, "a known block", "{block}"),
        }
    }
    // "A chain-of-thought style reflection and plan", says the API reference.
    told.thinking.push_str(&text(&message["tool_plan"]));
    for call in list(&message["tool_calls"]) {
        assert_eq!(call["type"], "function", "{call}");
        let (id, function) = (text(&call["id"]), &call["function"]);
        assert!(!id.is_empty() && function["name"].is_string(), "{call}");
        told.calls.push(Call { id, name: text(&function["name"]), arguments: text(&function["arguments"]) });
    }
    told.message = message.clone();
    told
}

#[derive(Default)]
struct Reader {
    /// The message as the SDK's examples put it together.
    message: Value,
    /// Blocks and calls that are open, by the name of their list and their index.
    open: Vec<(&'static str, Value)>,
    end: Option<Value>,
}

impl Reader {
    fn event(&mut self, data: &Value) {
        assert!(self.end.is_none(), "nothing follows message-end: {data}");
        let delta = &data["delta"]["message"];
        match data["type"].as_str().unwrap_or_default() {
            "message-start" => {
                assert!(self.message.is_null() && data["id"].is_string(), "a message starts once: {data}");
                self.message = json!({"role": delta["role"]});
            }
            "content-start" => self.begin("content", data),
            "content-delta" => {
                let block = self.growing("content", data);
                let kind = text(&block["type"]);
                block[&kind] = (text(&block[&kind]) + delta["content"][&kind].as_str().or_fail("a delta")).into();
            }
            "content-end" => self.close("content", data),
            "tool-plan-delta" => {
                let plan = text(&self.message["tool_plan"]) + delta["tool_plan"].as_str().or_fail("a plan");
                self.message["tool_plan"] = plan.into();
            }
            "tool-call-start" => self.begin("tool_calls", data),
            "tool-call-delta" => {
                let arguments = &mut self.growing("tool_calls", data)["function"]["arguments"];
                let more = delta["tool_calls"]["function"]["arguments"].as_str().or_fail("arguments");
                *arguments = (text(arguments) + more).into();
            }
            "tool-call-end" => self.close("tool_calls", data),
            "message-end" => {
                assert_eq!(self.open, [], "what was opened is closed before the end: {data}");
                self.end = Some(data["delta"].clone());
            }
            other => assert_eq!(other, "a known event", "{data}"),
        }
    }

    fn begin(&mut self, place: &'static str, data: &Value) {
        let so_far = list(&self.message[place]).count();
        assert_eq!(data["index"], so_far, "indexes count up from 0: {data}");
        let item = data["delta"]["message"][place].clone();
        crate::json::push(&mut self.message, &format!("/{place}"), item);
        self.open.push((place, data["index"].clone()));
    }

    fn growing(&mut self, place: &'static str, data: &Value) -> &mut Value {
        assert!(self.open.contains(&(place, data["index"].clone())), "what grows is open: {data}");
        let at = data["index"].as_u64().and_then(|at| usize::try_from(at).ok()).or_fail("an index");
        self.message[place].get_mut(at).or_fail("what was begun")
    }

    fn close(&mut self, place: &'static str, data: &Value) {
        let open = self.open.iter().position(|open| *open == (place, data["index"].clone()));
        self.open.remove(open.or_fail("what ends was begun"));
    }
}
