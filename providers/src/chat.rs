//! The canonical chat request: what every dialect's request means, with nothing thrown away.
//!
//! Nothing is decoded that is not read: text stays in its escapes, schemas, numbers and unknown fields stay raw. Unknown
//! fields live in [`Extras`], unknown parts in [`PartKind::Foreign`]; both are written back only to the dialect they came
//! from, and are a [`crate::Loss`] anywhere else.

use serde_json::value::RawValue;

use crate::{Dialect, Text};

/// A raw JSON value, kept byte for byte.
pub type Raw = Box<RawValue>;

/// Key of [`Extras`] under which a codec keeps, as one object, what only its own dialect needs to spell a thing again: ids of
/// items, echoes of the request, fields left out. Nobody misses it elsewhere, so it is never a [`crate::Loss`]. No wire has a
/// field of this name.
pub const SPELLING: &str = "#spelling";

/// Fields that the canonical model has no place for, in their order, raw.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    fields: Vec<(Box<str>, Raw)>,
    /// See [`Extras::remember`].
    spellings: Vec<(&'static str, Raw)>,
}

impl Extras {
    pub fn push(&mut self, key: impl Into<Box<str>>, value: Raw) {
        self.fields.push((key.into(), value));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.fields.iter().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }

    pub fn find(&self, key: &str) -> Option<&RawValue> {
        self.fields.iter().find(|(name, _)| name.as_ref() == key).map(|(_, value)| value.as_ref())
    }

    pub fn remove(&mut self, key: &str) -> Option<Raw> {
        let at = self.fields.iter().position(|(name, _)| name.as_ref() == key)?;
        Some(self.fields.remove(at).1)
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Keeps how its own dialect spelt something whose meaning the canonical model has: no field, and no loss anywhere else.
    pub fn remember(&mut self, what: &'static str, spelling: Raw) {
        self.spellings.push((what, spelling));
    }

    /// What was kept under this name.
    pub fn recall(&self, what: &str) -> Option<&RawValue> {
        self.spellings.iter().find(|(name, _)| *name == what).map(|(_, spelling)| spelling.as_ref())
    }

    /// The names worth a [`crate::Loss`] where they cannot be written: a `null`, a `false` or an empty list (`annotations` in a
    /// reply that an SDK puts into its history) says what its absence says, and codecs also use a `null`, or [`SPELLING`], to
    /// remember how their own dialect spelt something.
    pub fn telling(&self) -> impl Iterator<Item = &str> {
        self.iter()
            .filter(|(key, value)| *key != SPELLING && !matches!(value.get(), "null" | "false" | "[]"))
            .map(|(key, _)| key)
    }
}

/// One chat request, whatever dialect it came in.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// The dialect this was decoded from: the owner of every `Extras` and `Foreign` inside.
    pub source: Dialect,
    pub model: Text,
    /// System and developer messages included, in their order.
    pub messages: Vec<Message>,
    pub tools: Vec<Tool>,
    pub tool_choice: Option<ToolChoice>,
    /// May the model call several tools in one turn? `None`: the provider's default.
    pub parallel_tool_calls: Option<bool>,
    pub max_tokens: Option<MaxTokens>,
    pub sampling: Sampling,
    pub stop: Stop,
    pub response_format: Option<ResponseFormat>,
    pub reasoning: Option<Reasoning>,
    /// The end user's id (`user`, `metadata.user_id`).
    pub user: Option<Text>,
    pub stream: bool,
    /// Did the caller ask for usage on the stream (`stream_options.include_usage`)? Dialects that always send it: `true`.
    pub include_usage: bool,
    pub extras: Extras,
}

/// Sampling parameters, raw: the number's spelling is the caller's.
#[derive(Clone, Debug, Default)]
pub struct Sampling {
    pub temperature: Option<Raw>,
    pub top_p: Option<Raw>,
    pub top_k: Option<Raw>,
    pub frequency_penalty: Option<Raw>,
    pub presence_penalty: Option<Raw>,
    pub seed: Option<Raw>,
    /// How many choices (`n`); `None` is one.
    pub choices: Option<u32>,
}

/// The output limit, and which of its two OpenAI spellings the caller used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxTokens {
    pub value: u64,
    /// `max_tokens` rather than `max_completion_tokens` (for dialects with one spelling: `true`).
    pub legacy: bool,
}

/// Stop sequences.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    pub sequences: Vec<Text>,
    /// The caller wrote one plain string, not an array.
    pub plain: bool,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    System,
    Developer,
    User,
    Assistant,
    /// A message that only carries tool results (OpenAI's `tool` role). Dialects without it use `User`.
    Tool,
}

/// One message.
#[derive(Clone, Debug)]
pub struct Message {
    pub role: Role,
    pub parts: Vec<Part>,
    /// How the caller spelt `content`, which some providers tell apart.
    pub content: ContentForm,
    pub name: Option<Text>,
    pub extras: Extras,
    /// JSON pointer of this message in the caller's body (`/messages/3`, `/system`), for losses.
    pub pointer: String,
}

/// The spelling of a message's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ContentForm {
    /// A list of parts.
    #[default]
    Parts,
    /// One plain string.
    Plain,
    /// `null`.
    Null,
    /// No such field.
    Absent,
    /// The message is not spelt as a message: its parts are an item of a list (OpenAI Responses), which stands at the
    /// message's own pointer.
    Item,
    /// The message is not spelt as a message: its parts are a list of the request's own (Cohere's documents), which stands at
    /// the message's own pointer.
    List,
}

/// One piece of a message.
#[derive(Clone, Debug)]
pub struct Part {
    pub kind: PartKind,
    /// A prompt-cache mark on this part, raw (`{"type":"ephemeral","ttl":"1h"}`).
    pub cache: Option<Raw>,
    /// Google's signature over the thought behind this part, which may be of any kind; the model wants it back beside the
    /// part. A signature over thinking itself stands in [`PartKind::Thinking`].
    pub signature: Option<Text>,
    pub extras: Extras,
}

impl From<PartKind> for Part {
    fn from(kind: PartKind) -> Self {
        Self { kind, cache: None, signature: None, extras: Extras::default() }
    }
}

/// What a part is. Parts of an assistant message keep the order the model made them in.
#[derive(Clone, Debug)]
pub enum PartKind {
    Text(Text),
    /// The model's reasoning, with the provider's signature over it where there is one.
    Thinking {
        text: Text,
        signature: Option<Text>,
    },
    /// Reasoning that the provider encrypted. Opaque; sent back as it came.
    Redacted {
        data: Text,
    },
    /// The model declined (`message.refusal`).
    Refusal(Text),
    Image(Media),
    Audio(Media),
    /// A document: PDF, plain text, or an uploaded file.
    File(Media),
    ToolCall(ToolCall),
    ToolResult(ToolResult),
    /// A part only this dialect knows, whole.
    Foreign(Dialect, Raw),
}

/// An image, a sound or a document.
#[derive(Clone, Debug, Default)]
pub struct Media {
    pub source: MediaSource,
    /// `image/png`, `application/pdf`, …; for OpenAI's audio the format (`wav`) stands in `extras` of the part.
    pub mime: Option<Text>,
    /// The file's name or title.
    pub name: Option<Text>,
    /// OpenAI's image detail (`low`, `high`, `auto`).
    pub detail: Option<Text>,
}

/// Where a media part's bytes are.
#[derive(Clone, Debug, Default)]
pub enum MediaSource {
    /// Base64, without a `data:` prefix.
    Base64(Text),
    Url(Text),
    /// An id at the provider's file store: means nothing anywhere else.
    FileId(Text),
    /// Plain text as a document.
    Plain(Text),
    #[default]
    Absent,
}

/// A call that the model made.
#[derive(Clone, Debug, Default)]
pub struct ToolCall {
    pub id: Text,
    pub name: Text,
    /// The arguments' JSON text, as a JSON string in its escapes. Models produce invalid JSON here: check before use.
    pub arguments: Text,
    /// `type: "custom"`: the input is free text, not JSON.
    pub custom: bool,
}

/// What a tool answered.
#[derive(Clone, Debug, Default)]
pub struct ToolResult {
    pub call_id: Text,
    pub parts: Vec<Part>,
    pub content: ContentForm,
    pub is_error: Option<bool>,
}

/// A tool the model may call.
#[derive(Clone, Debug)]
pub struct Tool {
    pub kind: ToolKind,
    pub cache: Option<Raw>,
    pub extras: Extras,
}

/// A function, or something only its own dialect knows (built-in, custom, server tools).
#[derive(Clone, Debug)]
pub enum ToolKind {
    Function(Function),
    Foreign(Dialect, Raw),
}

/// A function tool.
#[derive(Clone, Debug, Default)]
pub struct Function {
    pub name: Text,
    pub description: Option<Text>,
    /// JSON Schema of the arguments, byte for byte.
    pub schema: Option<Raw>,
    pub strict: Option<bool>,
}

/// Which tool the model must, may or may not call.
#[derive(Clone, Debug)]
pub enum ToolChoice {
    Auto,
    None,
    /// Any tool, but one.
    Required,
    Function(Text),
    /// A form only its own dialect knows (`allowed_tools`, `custom`).
    Foreign(Dialect, Raw),
}

/// The demanded form of the answer.
#[derive(Clone, Debug)]
pub enum ResponseFormat {
    /// `{"type":"text"}`: the default, said aloud.
    Text,
    /// Any JSON object.
    Json,
    Schema {
        name: Option<Text>,
        description: Option<Text>,
        schema: Raw,
        strict: Option<bool>,
        extras: Extras,
    },
    Foreign(Dialect, Raw),
}

/// How much the model should think.
#[derive(Clone, Debug, Default)]
pub struct Reasoning {
    /// `minimal`, `low`, `medium`, `high`, `xhigh`, `max`, … as the caller wrote it: never lowered.
    pub effort: Option<Text>,
    /// Tokens it may think for.
    pub budget: Option<u64>,
    /// `enabled`, `disabled` or `adaptive`, where the dialect says so.
    pub mode: Option<Text>,
    /// Spelt as an object (`reasoning: {effort}`) rather than flat (`reasoning_effort`), where a dialect has both.
    pub nested: bool,
    /// What else stood in the dialect's own object(s).
    pub extras: Extras,
}
