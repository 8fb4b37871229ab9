//! generateContent, whole and streamed. <https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse>

use serde_json::{Value, json};

use super::{Call, Dialect, Event, Failed, Fault, Told};
use crate::OrFail as _;
use crate::json::{list, text};

#[derive(Debug)]
pub(super) struct Gemini;

impl Dialect for Gemini {
    fn path(&self, model: &str, stream: bool) -> String {
        let operation = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        format!("/genai/v1beta/models/{model}:{operation}")
    }

    fn model(&self, _model: &str) -> Value {
        json!({})
    }

    fn streaming(&self) -> Value {
        json!({})
    }

    fn history(&self) -> &'static str {
        "contents"
    }

    fn user(&self, text: &str) -> Value {
        json!({"role": "user", "parts": [{"text": text}]})
    }

    fn picture(&self, text: &str, png: &str) -> Value {
        json!({"role": "user", "parts": [{"text": text}, {"inlineData": {"mimeType": "image/png", "data": png}}]})
    }

    fn system(&self, body: &mut Value, text: &str) {
        body["systemInstruction"] = json!({"parts": [{"text": text}]});
    }

    fn limits(&self, tokens: u64, temperature: f64, stop: &[&str]) -> Value {
        json!({"generationConfig": {"maxOutputTokens": tokens, "temperature": temperature, "stopSequences": stop}})
    }

    fn tool(&self, name: &str, schema: &Value) -> Value {
        let declaration = json!({"name": name, "description": "Mine.", "parametersJsonSchema": schema});
        json!({"functionDeclarations": [declaration]})
    }

    fn must_call(&self) -> Value {
        json!({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}})
    }

    /// SDKs repeat the id where the call had one.
    fn result(&self, call: &Call, text: &str) -> Value {
        let mut response = json!({"name": call.name, "response": {"result": text}});
        if !call.id.is_empty() {
            response["id"] = call.id.as_str().into();
        }
        json!({"functionResponse": response})
    }

    fn results(&self, results: Vec<Value>) -> Vec<Value> {
        vec![json!({"role": "user", "parts": results})]
    }

    fn whole(&self, reply: &Value) -> Told {
        whole(reply)
    }

    fn stream(&self, events: &[Event]) -> Told {
        stream(events)
    }

    fn fault(&self, failed: &Failed<'_>) -> Fault {
        failed.is_named(None);
        let error = &failed.data["error"];
        assert!(error["code"].is_u64(), "Google's SDK reads error.code: {error}");
        Fault::of(&error["status"], &error["message"], failed.data)
    }

    fn is_end(&self, event: &Event) -> bool {
        list(&event.json()["candidates"]).any(|candidate| candidate["finishReason"].is_string())
    }

    fn word(&self, openai: &'static str) -> &'static str {
        match openai {
            "stop" | "tool_calls" => "STOP",
            "length" => "MAX_TOKENS",
            "content_filter" => "SAFETY",
            "request_timed_out" => "DEADLINE_EXCEEDED",
            other => other,
        }
    }
}

fn whole(reply: &Value) -> Told {
    let mut reader = Reader::default();
    reader.chunk(reply);
    reader.end()
}

fn stream(events: &[Event]) -> Told {
    let mut reader = Reader::default();
    for event in events {
        assert_eq!(event.name, None, "Google's events have no name");
        reader.chunk(&serde_json::from_str(&event.data).or_fail("a chunk"));
    }
    reader.end()
}

#[derive(Default)]
struct Reader {
    told: Told,
    id: Option<Value>,
    /// All parts, of which neighbouring texts of one kind are joined, as chat sessions of SDKs keep them.
    parts: Vec<Value>,
}

impl Reader {
    fn chunk(&mut self, chunk: &Value) {
        assert!(chunk.get("error").is_none(), "{chunk}");
        assert_eq!(self.told.finish, "", "nothing follows the finish: {chunk}");
        assert!(chunk["modelVersion"].is_string(), "{chunk}");
        let id = self.id.get_or_insert_with(|| chunk["responseId"].clone());
        assert!(id.is_string() && *id == chunk["responseId"], "one reply has one responseId: {chunk}");
        let candidates = chunk["candidates"].as_array().or_fail("candidates");
        for candidate in candidates {
            assert_eq!(candidate["index"].as_u64().unwrap_or(0), 0, "{chunk}");
            let content = &candidate["content"];
            assert!(content.is_null() || content["role"] == "model", "{chunk}");
            content["parts"].as_array().into_iter().flatten().for_each(|part| self.part(part));
            self.told.finish = text(&candidate["finishReason"]);
        }
        if !chunk["usageMetadata"].is_null() {
            self.told.usage = chunk["usageMetadata"].clone();
        }
        if !chunk["extra_fields"].is_null() {
            self.told.extra = chunk["extra_fields"].clone();
        }
    }

    fn part(&mut self, part: &Value) {
        let thought = part["thought"] == true;
        if let Some(piece) = part["text"].as_str() {
            let so_far = if thought { &mut self.told.thinking } else { &mut self.told.text };
            so_far.push_str(piece);
            self.write(part, piece, thought);
            return;
        }
        if let Some(call) = part.get("functionCall") {
            assert!(call["args"].is_object() || call["args"].is_null(), "{part}");
            let name = text(&call["name"]);
            assert!(!name.is_empty(), "{part}");
            let arguments = if call["args"].is_null() { "{}".to_owned() } else { call["args"].to_string() };
            self.told.calls.push(Call { id: text(&call["id"]), name, arguments });
        }
        self.parts.push(part.clone());
    }

    fn write(&mut self, part: &Value, piece: &str, thought: bool) {
        let last = self.parts.last_mut().filter(|last| last["text"].is_string());
        let last = last.filter(|last| (last["thought"] == true) == thought && last.get("thoughtSignature").is_none());
        match last {
            Some(last) => {
                last["text"] = format!("{}{piece}", text(&last["text"])).into();
                if let Some(signature) = part.get("thoughtSignature") {
                    last["thoughtSignature"] = signature.clone();
                }
            }
            None => self.parts.push(part.clone()),
        }
    }

    fn end(self) -> Told {
        let mut told = self.told;
        assert!(!told.finish.is_empty(), "the reply has a finishReason");
        told.message = json!({"role": "model", "parts": self.parts});
        told
    }
}
