//! Responses, whole and streamed. <https://platform.openai.com/docs/api-reference/responses-streaming>

use serde_json::{Value, json};

use super::{Call, Dialect, Event, Failed, Fault, Told, openai_chat};
use crate::OrFail as _;
use crate::json::text;

#[derive(Debug)]
pub(super) struct Responses;

impl Dialect for Responses {
    fn path(&self, _model: &str, _stream: bool) -> String {
        "/v1/responses".to_owned()
    }

    fn history(&self) -> &'static str {
        "input"
    }

    fn picture(&self, text: &str, png: &str) -> Value {
        let url = format!("data:image/png;base64,{png}");
        let image = json!({"type": "input_image", "image_url": url, "detail": "auto"});
        json!({"role": "user", "content": [{"type": "input_text", "text": text}, image]})
    }

    fn system(&self, body: &mut Value, text: &str) {
        body["instructions"] = text.into();
    }

    /// There are no stop sequences.
    fn limits(&self, tokens: u64, temperature: f64, _stop: &[&str]) -> Value {
        json!({"max_output_tokens": tokens, "temperature": temperature})
    }

    fn tool(&self, name: &str, schema: &Value) -> Value {
        json!({"type": "function", "name": name, "description": "Mine.", "parameters": schema, "strict": false})
    }

    fn must_call(&self) -> Value {
        json!({"tool_choice": "required"})
    }

    fn result(&self, call: &Call, text: &str) -> Value {
        json!({"type": "function_call_output", "call_id": call.id, "output": text})
    }

    fn whole(&self, reply: &Value) -> Told {
        whole(reply)
    }

    fn stream(&self, events: &[Event]) -> Told {
        stream(events)
    }

    /// OpenAI's documents have the fields of an error in its event, its servers have them in an object within.
    fn fault(&self, failed: &Failed<'_>) -> Fault {
        let data = failed.data;
        if failed.event.is_none() {
            return openai_chat::fault(data);
        }
        failed.is_named(Some("error"));
        assert!(data["type"] == "error" && data["sequence_number"].is_u64(), "{data}");
        let error = if data["error"].is_object() { &data["error"] } else { data };
        let kind = error.get("code").filter(|code| code.is_string()).unwrap_or(&error["type"]);
        Fault::of(kind, &error["message"], data)
    }

    fn is_end(&self, event: &Event) -> bool {
        matches!(event.name.as_deref(), Some("response.completed" | "response.incomplete"))
    }

    fn word(&self, openai: &'static str) -> &'static str {
        match openai {
            "stop" | "tool_calls" => "completed",
            "length" => "max_output_tokens",
            other => other,
        }
    }
}

fn whole(response: &Value) -> Told {
    assert_eq!(response["object"], "response", "{response}");
    assert!(response["id"].as_str().is_some_and(|id| !id.is_empty()), "{response}");
    assert!(response["created_at"].as_f64().is_some_and(|seconds| seconds > 0.0), "{response}");
    for field in ["model", "tools", "tool_choice", "parallel_tool_calls", "error", "incomplete_details", "metadata"] {
        assert!(response.get(field).is_some(), "SDKs' types have `{field}`: {response}");
    }
    let mut told =
        Told { usage: response["usage"].clone(), extra: response["extra_fields"].clone(), ..Told::default() };
    told.finish = match response["status"].as_str() {
        Some("incomplete") => text(&response["incomplete_details"]["reason"]),
        status => status.unwrap_or_default().to_owned(),
    };
    let output = response["output"].as_array().or_fail("output");
    for item in output {
        take(&mut told, item);
    }
    told.message = json!(output);
    told
}

fn take(told: &mut Told, item: &Value) {
    assert!(item["id"].is_string(), "every item has an id: {item}");
    match item["type"].as_str().unwrap_or_default() {
        "message" => {
            assert_eq!(item["role"], "assistant", "{item}");
            for part in item["content"].as_array().or_fail("content") {
                match part["type"].as_str().unwrap_or_default() {
                    "output_text" => {
                        assert!(part["annotations"].is_array(), "SDKs iterate over annotations: {item}");
                        told.text.push_str(part["text"].as_str().or_fail("text"));
                    }
                    "refusal" => told.refusal.get_or_insert_default().push_str(&text(&part["refusal"])),
                    other => assert_eq!(other, "a known part", "{item}"),
                }
            }
        }
        "reasoning" => {
            let parts = [&item["summary"], &item["content"]].map(|list| list.as_array().into_iter().flatten());
            parts.into_iter().flatten().for_each(|part| told.thinking.push_str(&text(&part["text"])));
        }
        "function_call" => {
            let call =
                Call { id: text(&item["call_id"]), name: text(&item["name"]), arguments: text(&item["arguments"]) };
            assert!(!call.id.is_empty() && !call.name.is_empty(), "{item}");
            told.calls.push(call);
        }
        // What the gateway's own tools are and did: for a person to see, for nobody to answer.
        "mcp_list_tools" => assert!(item["tools"].is_array() && item["server_label"].is_string(), "{item}"),
        "mcp_call" => {
            assert!(item["server_label"].is_string() && item["arguments"].is_string(), "{item}");
            assert!(item["output"].is_string() != item["error"].is_object(), "it ended in one way: {item}");
        }
        other => assert_eq!(other, "a known item", "{item}"),
    }
}

fn stream(events: &[Event]) -> Told {
    let mut reader = Reader::default();
    for (number, event) in events.iter().enumerate() {
        let data: Value = serde_json::from_str(&event.data).or_fail("an event's data");
        assert_eq!(event.name.as_deref(), data["type"].as_str(), "event name and type agree");
        assert_eq!(data["sequence_number"], number, "events are numbered one after another: {data}");
        reader.event(number, &data);
    }
    reader.told.or_fail("the end of the stream")
}

#[derive(Default)]
struct Reader {
    /// Items so far; what is open grows by its deltas.
    items: Vec<Item>,
    told: Option<Told>,
}

#[derive(Default)]
struct Item {
    value: Value,
    done: bool,
    /// Text, arguments or a refusal so far, by the place of the part within the item.
    parts: Vec<String>,
}

impl Reader {
    fn event(&mut self, number: usize, data: &Value) {
        assert!(self.told.is_none(), "nothing follows the end: {data}");
        let kind = data["type"].as_str().unwrap_or_default();
        match (number, kind) {
            (0, _) => return assert_eq!(kind, "response.created"),
            (1, _) => return assert_eq!(kind, "response.in_progress"),
            _ => {}
        }
        match kind {
            "response.output_item.added" => self.added(data),
            "response.output_item.done" => self.done(data),
            "response.completed" | "response.incomplete" => self.end(kind, &data["response"]),
            "response.content_part.added" | "response.reasoning_summary_part.added" => {
                self.open(data).parts.push(String::new());
            }
            "response.content_part.done" | "response.reasoning_summary_part.done" => {
                let said = ["text", "refusal"].iter().find_map(|key| data["part"][key].as_str());
                assert_eq!(said, self.open(data).parts.last().map(String::as_str), "{data}");
            }
            _ if kind.starts_with("response.mcp_") && !kind.contains("arguments") => {
                let state = kind.rsplit('.').next().unwrap_or_default();
                assert!(matches!(state, "in_progress" | "completed" | "failed"), "{data}");
                self.open(data);
            }
            _ if kind.rsplit('.').next() == Some("delta") => {
                let delta = data["delta"].as_str().or_fail("a delta");
                let item = self.open(data);
                if matches!(item.value["type"].as_str(), Some("function_call" | "mcp_call")) && item.parts.is_empty() {
                    item.parts.push(String::new());
                }
                item.parts.last_mut().or_fail("a part that was added").push_str(delta);
            }
            _ if kind.rsplit('.').next() == Some("done") => {
                let said = ["text", "refusal", "arguments"].iter().find_map(|key| data[key].as_str());
                let so_far = self.open(data).parts.last().cloned().unwrap_or_default();
                assert_eq!(said, Some(so_far.as_str()), "{data}");
            }
            other => assert_eq!(other, "a known event", "{data}"),
        }
    }

    fn added(&mut self, data: &Value) {
        assert_eq!(data["output_index"], self.items.len(), "items are counted up from 0: {data}");
        self.items.push(Item { value: data["item"].clone(), ..Item::default() });
    }

    /// The item that an event is about: open, and of this id.
    fn open(&mut self, data: &Value) -> &mut Item {
        let at = data["output_index"].as_u64().and_then(|at| usize::try_from(at).ok()).or_fail("output_index");
        let item = self.items.get_mut(at).or_fail("an item that was added");
        assert!(!item.done, "nothing follows an item's end: {data}");
        assert_eq!(data["item_id"], item.value["id"], "{data}");
        item
    }

    fn done(&mut self, data: &Value) {
        let at = data["output_index"].as_u64().and_then(|at| usize::try_from(at).ok()).or_fail("output_index");
        let item = self.items.get_mut(at).or_fail("an item that was added");
        assert!(!std::mem::replace(&mut item.done, true), "an item ends once: {data}");
        let whole = &data["item"];
        assert_eq!((&whole["id"], &whole["type"]), (&item.value["id"], &item.value["type"]), "{data}");
        let said = [&whole["content"], &whole["summary"]].map(|list| list.as_array().into_iter().flatten());
        let mut said: Vec<String> =
            said.into_iter().flatten().map(|part| text(&part["text"]) + &text(&part["refusal"])).collect();
        said.extend(whole["arguments"].as_str().map(str::to_owned));
        let streamed = item.parts.concat();
        assert_eq!(said.concat(), streamed, "an item ends with what was streamed: {data}");
        item.value = whole.clone();
    }

    fn end(&mut self, kind: &str, response: &Value) {
        assert_eq!(kind.trim_start_matches("response."), response["status"], "{response}");
        assert!(self.items.iter().all(|item| item.done), "items are done before the end: {response}");
        let items: Vec<&Value> = self.items.iter().map(|item| &item.value).collect();
        assert_eq!(response["output"], json!(items), "the response holds what was streamed");
        self.told = Some(whole(response));
    }
}
