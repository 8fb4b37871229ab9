//! A chat request in either client dialect, built as an SDK builds it.

use bifrost_fixtures::Style;
use serde_json::{Map, Value, json};

use crate::told::{Call, Told};

/// Both dialects, for tests that hold in either.
pub const BOTH: [Style; 2] = [Style::OpenAi, Style::Anthropic];

/// One chat request, and the conversation it carries.
#[derive(Clone, Debug)]
pub struct Chat {
    /// What the client speaks.
    pub style: Style,
    /// The JSON body.
    pub body: Value,
    /// Extra headers.
    pub headers: Vec<(String, String)>,
    /// The route; the dialect's usual one if not set.
    pub route: Option<String>,
}

impl Chat {
    /// A user who says `text` to `model` (`provider/name`), in this client dialect.
    pub fn new(style: Style, model: &str, text: &str) -> Self {
        let mut body = json!({"model": model, "messages": [{"role": "user", "content": text}]});
        if style == Style::Anthropic {
            set(&mut body, "max_tokens", json!(4096));
        }
        Self { style, body, headers: Vec::new(), route: None }
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
    pub fn stream(self) -> Self {
        let usage = self.style == Style::OpenAi;
        let chat = self.set("stream", json!(true));
        if usage { chat.set("stream_options", json!({"include_usage": true})) } else { chat }
    }

    /// [`Self::stream`], if so.
    #[must_use]
    pub fn streamed(self, stream: bool) -> Self {
        if stream { self.stream() } else { self }
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

    /// Declares a tool of the caller's own; it takes any object.
    #[must_use]
    pub fn tool(mut self, name: &str) -> Self {
        let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}});
        let tool = match self.style {
            Style::OpenAi => {
                json!({"type": "function", "function": {"name": name, "description": "Mine.", "parameters": schema}})
            }
            Style::Anthropic => json!({"name": name, "description": "Mine.", "input_schema": schema}),
        };
        push(&mut self.body, "tools", tool);
        self
    }

    /// Says that the model must call a tool.
    #[must_use]
    pub fn must_call(self) -> Self {
        match self.style {
            Style::OpenAi => self.set("tool_choice", json!("required")),
            Style::Anthropic => self.set("tool_choice", json!({"type": "any"})),
        }
    }

    /// Goes on after an answer as an unmodified SDK does: the assistant's message, then the results of its calls.
    #[must_use]
    pub fn results(mut self, told: &Told, results: impl Fn(&Call) -> String) -> Self {
        push(&mut self.body, "messages", told.message.clone());
        let results: Vec<Value> = told.calls.iter().map(|call| self.result(call, &results(call))).collect();
        match self.style {
            Style::OpenAi => results.into_iter().for_each(|result| push(&mut self.body, "messages", result)),
            Style::Anthropic => push(&mut self.body, "messages", json!({"role": "user", "content": results})),
        }
        self
    }

    fn result(&self, call: &Call, text: &str) -> Value {
        match self.style {
            Style::OpenAi => json!({"role": "tool", "tool_call_id": call.id, "content": text}),
            Style::Anthropic => json!({"type": "tool_result", "tool_use_id": call.id, "content": text}),
        }
    }

    /// Where it is sent.
    pub fn path(&self) -> &str {
        match (&self.route, self.style) {
            (Some(route), _) => route,
            (None, Style::OpenAi) => "/v1/chat/completions",
            (None, Style::Anthropic) => "/anthropic/v1/messages",
        }
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
