//! A chat request in each client dialect, built as an SDK builds it.

use bifrost_fixtures::Style;
use serde_json::{Value, json};

use crate::dialect::{self, Dialect};
use crate::json::{merge, push};
use crate::told::{Call, Told};

/// The two dialects that most tests of policies hold in: one that is relayed to its own kind, and one that is not.
pub const BOTH: [Style; 2] = [Style::OpenAi, Style::Anthropic];

/// Every dialect that a client may speak.
pub const CLIENTS: [Style; 6] = Style::ALL;

/// Every dialect that a provider may speak.
pub const PROVIDERS: [Style; 6] = Style::ALL;

/// One chat request, and the conversation it carries.
#[derive(Clone, Debug)]
pub struct Chat {
    /// What the client speaks.
    pub style: Style,
    /// The JSON body. Gemini's and Bedrock's have no model and no stream flag: both are in the path.
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
        let body = dialect::of(style).opening();
        let chat = Self { style, body, headers: Vec::new(), route: None, model: String::new(), stream: false };
        chat.model(model).say(text)
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
        let patch = self.dialect().streaming();
        self.patch(&patch)
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
        let patch = self.dialect().model(model);
        self.patch(&patch)
    }

    /// Sets a top-level field.
    #[must_use]
    pub fn set(mut self, field: &str, value: Value) -> Self {
        if let Some(body) = self.body.as_object_mut() {
            body.insert(field.to_owned(), value);
        }
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
        let message = self.dialect().user(text);
        self.append(message)
    }

    /// The user shows a picture (PNG, base64) and says something, instead of all that was said.
    #[must_use]
    pub fn show(self, text: &str, png: &str) -> Self {
        let message = self.dialect().picture(text, png);
        let history = self.dialect().history();
        self.set(history, json!([message]))
    }

    /// What the operator says.
    #[must_use]
    pub fn system(mut self, text: &str) -> Self {
        self.dialect().system(&mut self.body, text);
        self
    }

    /// At most so many tokens, this temperature, and (where the dialect has them) these stop sequences.
    #[must_use]
    pub fn limits(self, tokens: u64, temperature: f64, stop: &[&str]) -> Self {
        let patch = self.dialect().limits(tokens, temperature, stop);
        self.patch(&patch)
    }

    /// Declares a tool of the caller's own; it takes any object.
    #[must_use]
    pub fn tool(mut self, name: &str) -> Self {
        let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}});
        let dialect = self.dialect();
        push(&mut self.body, dialect.tools(), dialect.tool(name, &schema));
        self
    }

    /// Says that the model must call a tool.
    #[must_use]
    pub fn must_call(self) -> Self {
        let patch = self.dialect().must_call();
        self.patch(&patch)
    }

    /// Goes on after an answer as an unmodified SDK does: the assistant's message, then the results of its calls, if any.
    #[must_use]
    pub fn results(self, told: &Told, results: impl Fn(&Call) -> String) -> Self {
        let dialect = self.dialect();
        let results: Vec<Value> = told.calls.iter().map(|call| dialect.result(call, &results(call))).collect();
        let chat = self.append(told.message.clone());
        if results.is_empty() { chat } else { dialect.results(results).into_iter().fold(chat, Self::append) }
    }

    /// One more message, or a list of items.
    fn append(mut self, message: Value) -> Self {
        let list = format!("/{}", self.dialect().history());
        match message {
            Value::Array(items) => items.into_iter().for_each(|item| push(&mut self.body, &list, item)),
            message => push(&mut self.body, &list, message),
        }
        self
    }

    fn patch(mut self, patch: &Value) -> Self {
        merge(&mut self.body, patch);
        self
    }

    fn dialect(&self) -> &'static dyn Dialect {
        dialect::of(self.style)
    }

    /// Where it is sent.
    pub fn path(&self) -> String {
        self.route.clone().unwrap_or_else(|| self.dialect().path(&self.model, self.stream))
    }
}
