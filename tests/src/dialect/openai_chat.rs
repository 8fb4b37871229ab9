//! Chat completions, whole and streamed. <https://platform.openai.com/docs/api-reference/chat-streaming>

use serde_json::{Value, json};

use super::{Call, Dialect, Event, Failed, Fault, Told};
use crate::OrFail as _;
use crate::json::text;

#[derive(Debug)]
pub(super) struct OpenAiChat;

impl Dialect for OpenAiChat {
    fn path(&self, _model: &str, _stream: bool) -> String {
        "/v1/chat/completions".to_owned()
    }

    fn streaming(&self) -> Value {
        json!({"stream": true, "stream_options": {"include_usage": true}})
    }

    fn picture(&self, text: &str, png: &str) -> Value {
        let url = format!("data:image/png;base64,{png}");
        let image = json!({"type": "image_url", "image_url": {"url": url}});
        json!({"role": "user", "content": [{"type": "text", "text": text}, image]})
    }

    fn system(&self, body: &mut Value, text: &str) {
        let list = body["messages"].as_array_mut().or_fail("messages");
        list.insert(0, json!({"role": "system", "content": text}));
    }

    fn limits(&self, tokens: u64, temperature: f64, stop: &[&str]) -> Value {
        json!({"max_tokens": tokens, "temperature": temperature, "stop": stop})
    }

    fn tool(&self, name: &str, schema: &Value) -> Value {
        json!({"type": "function", "function": {"name": name, "description": "Mine.", "parameters": schema}})
    }

    fn must_call(&self) -> Value {
        json!({"tool_choice": "required"})
    }

    fn result(&self, call: &Call, text: &str) -> Value {
        json!({"role": "tool", "tool_call_id": call.id, "content": text})
    }

    fn whole(&self, reply: &Value) -> Told {
        whole(reply)
    }

    fn stream(&self, events: &[Event]) -> Told {
        stream(events)
    }

    fn fault(&self, failed: &Failed<'_>) -> Fault {
        failed.is_named(None);
        fault(failed.data)
    }

    fn is_end(&self, event: &Event) -> bool {
        event.data == "[DONE]"
    }

    fn word(&self, openai: &'static str) -> &'static str {
        openai
    }
}

/// The shape of `OpenAI`'s errors, in all of its dialects.
pub(super) fn fault(data: &Value) -> Fault {
    let error = &data["error"];
    assert!(error.get("param").is_some(), "OpenAI's SDK reads error.param: {data}");
    Fault::of(&error["type"], &error["message"], data)
}

fn whole(reply: &Value) -> Told {
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

fn stream(events: &[Event]) -> Told {
    let (last, chunks) = events.split_last().or_fail("a stream");
    assert_eq!(last.data, "[DONE]", "the stream ends with [DONE]");
    let mut reader = Reader::default();
    for event in chunks {
        assert_eq!(event.name, None, "OpenAI chunks have no event name");
        assert_ne!(event.data, "[DONE]", "[DONE] comes once");
        reader.chunk(&serde_json::from_str(&event.data).or_fail("a chunk"));
    }
    reader.end()
}

#[derive(Default)]
struct Reader {
    told: Told,
    id: Option<String>,
    started: bool,
    /// The message as SDKs put it together, with whatever else the deltas hold.
    message: Value,
    /// A chunk after the one with usage would be lost on SDKs that stop there.
    usage_seen: bool,
}

impl Reader {
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
        accumulate(&mut self.message, delta);
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
        // langchain's reader fails without.
        assert!(delta["function"].is_object(), "every piece of a call has some of its function: {delta}");
        call.arguments.push_str(delta["function"]["arguments"].as_str().unwrap_or_default());
    }

    fn end(self) -> Told {
        let mut told = self.told;
        assert!(!told.finish.is_empty(), "the stream has a finish_reason");
        told.message = self.message;
        for call in told.message["tool_calls"].as_array_mut().into_iter().flatten() {
            // An index is of the stream alone.
            call.as_object_mut().and_then(|call| call.remove("index"));
        }
        told
    }
}

/// Adds a delta as the official SDKs do (`accumulate_delta`): texts are joined, lists of objects are merged by `index`.
fn accumulate(so_far: &mut Value, delta: &Value) {
    for (key, more) in delta.as_object().into_iter().flatten() {
        let field = &mut so_far[key];
        match (field.take(), more) {
            (Value::String(text), Value::String(more)) if key != "type" => *field = (text + more).into(),
            (Value::Object(object), Value::Object(_)) => {
                *field = object.into();
                accumulate(field, more);
            }
            (Value::Array(list), Value::Array(entries)) => {
                *field = list.into();
                for entry in entries {
                    merge(field, entry);
                }
            }
            (Value::Null, Value::Array(entries)) => {
                *field = json!([]);
                for entry in entries {
                    merge(field, entry);
                }
            }
            (before, Value::Null) => *field = before,
            _ => *field = more.clone(),
        }
    }
}

fn merge(list: &mut Value, entry: &Value) {
    let index = entry["index"].as_u64().or_fail(&format!("SDKs merge lists of objects by index: {entry}"));
    let entries = list.as_array_mut().or_fail("a list");
    match entries.iter_mut().find(|known| known["index"] == index) {
        Some(known) => accumulate(known, entry),
        None => entries.push(entry.clone()),
    }
}
