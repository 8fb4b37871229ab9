//! The operations of a provider: their names, methods and usual paths. A later operation is a variant and a row.

use http::Method;

use crate::Dialect;

/// One operation of a provider's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// OpenAI's chat completions, and everyone's who copied them.
    ChatCompletions,
    /// OpenAI's Responses: create one.
    Responses,
    /// Anthropic's Messages.
    Messages,
    /// Google's generateContent and streamGenerateContent.
    GenerateContent,
    /// Cohere's chat, version 2.
    CohereChat,
    /// The models that a key may use.
    Models,
}

/// What is known about an endpoint.
struct Facts {
    method: Method,
    /// Below a provider's base URL.
    path: &'static str,
    /// `request_type` of a whole and of a streamed answer.
    request_types: [&'static str; 2],
}

impl Endpoint {
    pub const ALL: [Self; 6] =
        [Self::ChatCompletions, Self::Responses, Self::Messages, Self::GenerateContent, Self::CohereChat, Self::Models];

    /// The endpoint that chat in this dialect goes to.
    pub fn chat(dialect: Dialect) -> Self {
        match dialect {
            Dialect::OpenAiChat => Self::ChatCompletions,
            Dialect::OpenAiResponses => Self::Responses,
            Dialect::AnthropicMessages => Self::Messages,
            Dialect::Gemini => Self::GenerateContent,
            Dialect::CohereChat => Self::CohereChat,
        }
    }

    /// Does a provider of this dialect have it?
    pub fn belongs_to(self, dialect: Dialect) -> bool {
        self == Self::Models || self == Self::chat(dialect)
    }

    /// The gateway's own name of the operation (`extra_fields.request_type`, `request_path_overrides`, `allowed_requests`).
    pub fn request_type(self, stream: bool) -> &'static str {
        let [whole, streamed] = self.facts().request_types;
        if stream { streamed } else { whole }
    }

    pub fn method(self) -> Method {
        self.facts().method
    }

    /// The usual path below a provider's base URL. `{model}` stands for the model, `{operation}` for Google's name of the
    /// operation, which says whether the answer is a stream.
    pub fn path(self) -> &'static str {
        self.facts().path
    }

    fn facts(self) -> Facts {
        let facts = |method, path, request_types| Facts { method, path, request_types };
        let chat = ["chat_completion", "chat_completion_stream"];
        match self {
            // https://platform.openai.com/docs/api-reference/chat/create
            Self::ChatCompletions => facts(Method::POST, "/v1/chat/completions", chat),
            // https://platform.openai.com/docs/api-reference/responses/create
            Self::Responses => facts(Method::POST, "/v1/responses", ["responses", "responses_stream"]),
            // https://docs.anthropic.com/en/api/messages
            Self::Messages => facts(Method::POST, "/v1/messages", chat),
            // https://ai.google.dev/api/generate-content
            Self::GenerateContent => facts(Method::POST, "/v1beta/models/{model}:{operation}", chat),
            // https://docs.cohere.com/reference/chat
            Self::CohereChat => facts(Method::POST, "/v2/chat", chat),
            // https://platform.openai.com/docs/api-reference/models/list, https://docs.anthropic.com/en/api/models-list
            Self::Models => facts(Method::GET, "/v1/models", ["list_models", "list_models"]),
        }
    }
}
