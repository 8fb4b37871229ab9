//! A chat request in each client dialect, built as an SDK builds it.

use bifrost_fixtures::Style;
use serde_json::{Map, Value, json};

use crate::OrFail as _;
use crate::told::{Call, Told};

/// The two dialects that most tests of policies hold in: one that is relayed to its own kind, and one that is not.
pub const BOTH: [Style; 2] = [Style::OpenAi, Style::Anthropic];

/// Every dialect that a client may speak.
pub const CLIENTS: [Style; 4] = [Style::OpenAi, Style::Responses, Style::Anthropic, Style::Gemini];

/// Every dialect that a provider may speak.
pub const PROVIDERS: [Style; 3] = [Style::OpenAi, Style::Anthropic, Style::Gemini];

/// One chat request, and the conversation it carries.
#[derive(Clone, Debug)]
pub struct Chat {
    /// What the client speaks.
    pub style: Style,
    /// The JSON body. Gemini's has no model and no stream flag: both are in the path.
    pub body: Value,
    /// Extra headers.
    pub headers: Vec<(String, String)>,
    /// The route; the dialect's usual one if not set.
    pub route: Option<String>,
    model: String,
    stream: bool,
}

impl Chat {
    /// A user who says `text` to `model` (`provider/name`), in this client dialect.
    pub fn new(style: Style, model: &str, text: &str) -> Self {
        let chat =
            Self { style, body: json!({}), headers: Vec::new(), route: None, model: model.to_owned(), stream: false };
        let chat = if style == Style::Gemini { chat } else { chat.set("model", json!(model)) };
        let chat = if style == Style::Anthropic { chat.set("max_tokens", json!(4096)) } else { chat };
        chat.say(text)
    }

    /// A request in `OpenAI`'s dialect.
    pub fn openai(model: &str, text: &str) -> Self {
        Self::new(Style::OpenAi, model, text)
    }

    /// A request in Anthropic's dialect.
    pub fn anthropic(model: &str, text: &str) -> Self {
        Self::new(Style::Anthropic, model, text)
    }

    /// Asks for a stream, and (where the dialect makes that a choice) for its usage.
    #[must_use]
    pub fn stream(mut self) -> Self {
        self.stream = true;
        match self.style {
            Style::Gemini => self,
            Style::OpenAi => self.set("stream", json!(true)).set("stream_options", json!({"include_usage": true})),
            _ => self.set("stream", json!(true)),
        }
    }

    /// [`Self::stream`], if so.
    #[must_use]
    pub fn streamed(self, stream: bool) -> Self {
        if stream { self.stream() } else { self }
    }

    /// Asks another model.
    #[must_use]
    pub fn model(mut self, model: &str) -> Self {
        model.clone_into(&mut self.model);
        if self.style == Style::Gemini { self } else { self.set("model", json!(model)) }
    }

    /// Sets a top-level field.
    #[must_use]
    pub fn set(mut self, field: &str, value: Value) -> Self {
        set(&mut self.body, field, value);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes another route than the dialect's usual one.
    #[must_use]
    pub fn route(mut self, route: &str) -> Self {
        self.route = Some(route.to_owned());
        self
    }

    /// The user says something (more).
    #[must_use]
    pub fn say(self, text: &str) -> Self {
        let message = match self.style {
            Style::Gemini => json!({"role": "user", "parts": [{"text": text}]}),
            _ => json!({"role": "user", "content": text}),
        };
        self.append(message)
    }

    /// The user shows a picture (PNG, base64) and says something, instead of all that was said.
    #[must_use]
    pub fn show(mut self, text: &str, png: &str) -> Self {
        let url = format!("data:image/png;base64,{png}");
        let message = match self.style {
            Style::OpenAi => json!({"role": "user", "content": [
                {"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]}),
            Style::Responses => json!({"role": "user", "content": [
                {"type": "input_text", "text": text}, {"type": "input_image", "image_url": url, "detail": "auto"}]}),
            Style::Gemini => json!({"role": "user", "parts": [
                {"text": text}, {"inlineData": {"mimeType": "image/png", "data": png}}]}),
            _ => json!({"role": "user", "content": [
                {"type": "text", "text": text},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png}}]}),
        };
        set(&mut self.body, history(self.style), json!([message]));
        self
    }

    /// What the operator says.
    #[must_use]
    pub fn system(mut self, text: &str) -> Self {
        match self.style {
            Style::OpenAi => {
                let list = self.body.get_mut("messages").and_then(Value::as_array_mut).or_fail("messages");
                list.insert(0, json!({"role": "system", "content": text}));
                self
            }
            Style::Responses => self.set("instructions", json!(text)),
            Style::Gemini => self.set("systemInstruction", json!({"parts": [{"text": text}]})),
            _ => self.set("system", json!(text)),
        }
    }

    /// At most so many tokens, this temperature, and (where the dialect has them) these stop sequences.
    #[must_use]
    pub fn limits(self, tokens: u64, temperature: f64, stop: &[&str]) -> Self {
        match self.style {
            Style::Gemini => self.set(
                "generationConfig",
                json!({"maxOutputTokens": tokens, "temperature": temperature, "stopSequences": stop}),
            ),
            Style::Responses => self.set("max_output_tokens", json!(tokens)).set("temperature", json!(temperature)),
            style => {
                let name = if style == Style::OpenAi { "stop" } else { "stop_sequences" };
                let chat = self.set("max_tokens", json!(tokens)).set("temperature", json!(temperature));
                chat.set(name, json!(stop))
            }
        }
    }

    /// Declares a tool of the caller's own; it takes any object.
    #[must_use]
    pub fn tool(mut self, name: &str) -> Self {
        let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}});
        let tool = match self.style {
            Style::OpenAi => {
                json!({"type": "function", "function": {"name": name, "description": "Mine.", "parameters": schema}})
            }
            Style::Responses => {
                json!({"type": "function", "name": name, "description": "Mine.", "parameters": schema, "strict": false})
            }
            Style::Gemini => {
                let declaration = json!({"name": name, "description": "Mine.", "parametersJsonSchema": schema});
                json!({"functionDeclarations": [declaration]})
            }
            _ => json!({"name": name, "description": "Mine.", "input_schema": schema}),
        };
        push(&mut self.body, "tools", tool);
        self
    }

    /// Says that the model must call a tool.
    #[must_use]
    pub fn must_call(self) -> Self {
        match self.style {
            Style::OpenAi | Style::Responses => self.set("tool_choice", json!("required")),
            Style::Gemini => self.set("toolConfig", json!({"functionCallingConfig": {"mode": "ANY"}})),
            _ => self.set("tool_choice", json!({"type": "any"})),
        }
    }

    /// Goes on after an answer as an unmodified SDK does: the assistant's message, then the results of its calls, if any.
    #[must_use]
    pub fn results(self, told: &Told, results: impl Fn(&Call) -> String) -> Self {
        let results: Vec<Value> = told.calls.iter().map(|call| result(self.style, call, &results(call))).collect();
        let chat = self.append(told.message.clone());
        match chat.style {
            _ if results.is_empty() => chat,
            Style::OpenAi | Style::Responses => results.into_iter().fold(chat, Self::append),
            Style::Gemini => chat.append(json!({"role": "user", "parts": results})),
            _ => chat.append(json!({"role": "user", "content": results})),
        }
    }

    /// One more message, or a list of items.
    fn append(mut self, message: Value) -> Self {
        let list = history(self.style);
        match message {
            Value::Array(items) => items.into_iter().for_each(|item| push(&mut self.body, list, item)),
            message => push(&mut self.body, list, message),
        }
        self
    }

    /// Where it is sent.
    pub fn path(&self) -> String {
        match (&self.route, self.style) {
            (Some(route), _) => route.clone(),
            (None, Style::OpenAi) => "/v1/chat/completions".to_owned(),
            (None, Style::Responses) => "/v1/responses".to_owned(),
            (None, Style::Gemini) => {
                let operation = if self.stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
                format!("/genai/v1beta/models/{}:{operation}", self.model)
            }
            (None, _) => "/anthropic/v1/messages".to_owned(),
        }
    }
}

/// The field of a request that holds the conversation.
fn history(style: Style) -> &'static str {
    match style {
        Style::Responses => "input",
        Style::Gemini => "contents",
        _ => "messages",
    }
}

fn result(style: Style, call: &Call, text: &str) -> Value {
    match style {
        Style::OpenAi => json!({"role": "tool", "tool_call_id": call.id, "content": text}),
        Style::Responses => json!({"type": "function_call_output", "call_id": call.id, "output": text}),
        Style::Gemini => {
            let mut response = json!({"name": call.name, "response": {"result": text}});
            // SDKs repeat the id where the call had one.
            if !call.id.is_empty() {
                set(&mut response, "id", json!(call.id));
            }
            json!({"functionResponse": response})
        }
        _ => json!({"type": "tool_result", "tool_use_id": call.id, "content": text}),
    }
}

fn set(body: &mut Value, field: &str, value: Value) {
    if let Some(object) = body.as_object_mut() {
        object.insert(field.to_owned(), value);
    }
}

fn push(body: &mut Value, field: &str, value: Value) {
    let mut none = Map::new();
    let object = body.as_object_mut().unwrap_or(&mut none);
    if let Some(list) = object.entry(field).or_insert_with(|| json!([])).as_array_mut() {
        list.push(value);
    }
}
