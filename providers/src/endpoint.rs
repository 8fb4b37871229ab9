//! The operations of a provider: their names, methods and usual paths. A later operation is a variant and a row.
//!
//! An endpoint is a form, too: what a client sends to `/v2/embed` is Cohere's, whoever answers. Which endpoint of another
//! provider can stand in for it is said by [`crate::mapped::shape`].

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
    /// Bedrock's Converse and `ConverseStream`.
    Converse,
    /// Replicate's predictions of text.
    Prediction,
    /// Replicate's predictions of pictures.
    PicturePrediction,
    /// OpenAI's text completions, the legacy ones.
    Completions,
    /// OpenAI's embeddings.
    Embeddings,
    /// Cohere's embeddings, version 2.
    CohereEmbed,
    /// Google's embedding of one content.
    EmbedContent,
    /// Google's embeddings of many contents.
    BatchEmbedContents,
    /// Reranking as Jina began it, and servers of OpenAI's school copied it.
    Rerank,
    /// Cohere's reranking, version 2.
    CohereRerank,
    /// How many tokens a request of Anthropic's Messages has.
    CountMessages,
    /// How many tokens a request of OpenAI's Responses has.
    CountInput,
    /// How many tokens a request of Google's generateContent has.
    CountContents,
    /// Text to speech.
    Speech,
    /// Speech to text; the body is a form.
    Transcriptions,
    /// Text to speech at `ElevenLabs`, whose path names the voice.
    ElevenLabsSpeech,
    /// Speech to text at `ElevenLabs`; the body is a form.
    ElevenLabsTranscription,
    /// Speech to English text; the body is a form.
    Translations,
    ImageGenerations,
    /// The body is a form.
    ImageEdits,
    /// The body is a form.
    ImageVariations,
    Moderations,
    /// OpenAI's Responses: a conversation made shorter.
    Compact,
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
    /// The dialects whose providers have it; none where rows name it.
    dialects: &'static [Dialect],
}

const OPENAI: &[Dialect] = &[Dialect::OpenAiChat, Dialect::OpenAiResponses];
const GEMINI: &[Dialect] = &[Dialect::Gemini];
const COHERE: &[Dialect] = &[Dialect::CohereChat];
const ANTHROPIC: &[Dialect] = &[Dialect::AnthropicMessages];
const PREDICTIONS: &[Dialect] = &[Dialect::Predictions];

impl Endpoint {
    pub const ALL: [Self; 29] = [
        Self::ChatCompletions,
        Self::Responses,
        Self::Messages,
        Self::GenerateContent,
        Self::CohereChat,
        Self::Converse,
        Self::Prediction,
        Self::PicturePrediction,
        Self::Completions,
        Self::Embeddings,
        Self::CohereEmbed,
        Self::EmbedContent,
        Self::BatchEmbedContents,
        Self::Rerank,
        Self::CohereRerank,
        Self::CountMessages,
        Self::CountInput,
        Self::CountContents,
        Self::Speech,
        Self::Transcriptions,
        Self::ElevenLabsSpeech,
        Self::ElevenLabsTranscription,
        Self::Translations,
        Self::ImageGenerations,
        Self::ImageEdits,
        Self::ImageVariations,
        Self::Moderations,
        Self::Compact,
        Self::Models,
    ];

    /// The endpoint that chat in this dialect goes to.
    pub fn chat(dialect: Dialect) -> Self {
        match dialect {
            Dialect::OpenAiChat => Self::ChatCompletions,
            Dialect::OpenAiResponses => Self::Responses,
            Dialect::AnthropicMessages => Self::Messages,
            Dialect::Gemini => Self::GenerateContent,
            Dialect::CohereChat => Self::CohereChat,
            Dialect::BedrockConverse => Self::Converse,
            Dialect::Predictions => Self::Prediction,
        }
    }

    /// Does a provider of this dialect have it?
    pub fn belongs_to(self, dialect: Dialect) -> bool {
        self == Self::Models || self.facts().dialects.contains(&dialect)
    }

    /// The gateway's own name of the operation (`extra_fields.request_type`, `request_path_overrides`, `allowed_requests`).
    pub fn request_type(self, stream: bool) -> &'static str {
        let [whole, streamed] = self.facts().request_types;
        if stream { streamed } else { whole }
    }

    pub fn method(self) -> Method {
        self.facts().method
    }

    /// The usual path below a provider's base URL. `{model}` stands for the model, `{operation}` for the dialect's name of
    /// the operation, which says whether the answer is a stream, `{prediction}` for where Replicate has predictions of the model.
    pub fn path(self) -> &'static str {
        self.facts().path
    }

    fn facts(self) -> Facts {
        let facts = |path, request_types, dialects| Facts { method: Method::POST, path, request_types, dialects };
        let chat = ["chat_completion", "chat_completion_stream"];
        let pictures = ["image_generation", "image_generation_stream"];
        let (embedding, rerank, count) = (["embedding"; 2], ["rerank"; 2], ["count_tokens"; 2]);
        match self {
            // https://platform.openai.com/docs/api-reference/chat/create
            Self::ChatCompletions => facts("/v1/chat/completions", chat, &[Dialect::OpenAiChat]),
            // https://platform.openai.com/docs/api-reference/responses/create
            Self::Responses => facts("/v1/responses", ["responses", "responses_stream"], &[Dialect::OpenAiResponses]),
            // https://docs.anthropic.com/en/api/messages
            Self::Messages => facts("/v1/messages", chat, ANTHROPIC),
            // https://ai.google.dev/api/generate-content
            Self::GenerateContent => facts("/v1beta/models/{model}:{operation}", chat, GEMINI),
            // https://docs.cohere.com/reference/chat
            Self::CohereChat => facts("/v2/chat", chat, COHERE),
            // https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
            Self::Converse => facts("/model/{model}/{operation}", chat, &[Dialect::BedrockConverse]),
            // https://replicate.com/docs/reference/http#models.predictions.create
            Self::Prediction => facts("/v1/{prediction}", chat, PREDICTIONS),
            Self::PicturePrediction => facts("/v1/{prediction}", pictures, PREDICTIONS),
            // https://platform.openai.com/docs/api-reference/completions/create
            Self::Completions => facts("/v1/completions", ["text_completion", "text_completion_stream"], OPENAI),
            // https://platform.openai.com/docs/api-reference/embeddings/create
            Self::Embeddings => facts("/v1/embeddings", embedding, OPENAI),
            // https://docs.cohere.com/reference/embed
            Self::CohereEmbed => facts("/v2/embed", embedding, COHERE),
            // https://ai.google.dev/api/embeddings
            Self::EmbedContent => facts("/v1beta/models/{model}:embedContent", embedding, GEMINI),
            Self::BatchEmbedContents => facts("/v1beta/models/{model}:batchEmbedContents", embedding, GEMINI),
            // https://api.jina.ai/redoc, https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html#re-rank-api
            Self::Rerank => facts("/v1/rerank", rerank, OPENAI),
            // https://docs.cohere.com/reference/rerank
            Self::CohereRerank => facts("/v2/rerank", rerank, COHERE),
            // https://docs.anthropic.com/en/api/messages-count-tokens
            Self::CountMessages => facts("/v1/messages/count_tokens", count, ANTHROPIC),
            // https://platform.openai.com/docs/api-reference/responses/input-tokens
            Self::CountInput => facts("/v1/responses/input_tokens", count, OPENAI),
            // https://ai.google.dev/api/tokens
            Self::CountContents => facts("/v1beta/models/{model}:countTokens", count, GEMINI),
            // https://platform.openai.com/docs/api-reference/audio
            Self::Speech => facts("/v1/audio/speech", ["speech", "speech_stream"], OPENAI),
            Self::Transcriptions => {
                facts("/v1/audio/transcriptions", ["transcription", "transcription_stream"], OPENAI)
            }
            // https://elevenlabs.io/docs/api-reference/text-to-speech/stream: the sound comes while it is made.
            Self::ElevenLabsSpeech => facts("/v1/text-to-speech/{model}/stream", ["speech", "speech_stream"], &[]),
            // https://elevenlabs.io/docs/api-reference/speech-to-text/convert
            Self::ElevenLabsTranscription => facts("/v1/speech-to-text", ["transcription"; 2], &[]),
            Self::Translations => facts("/v1/audio/translations", ["translation"; 2], OPENAI),
            // https://platform.openai.com/docs/api-reference/images
            Self::ImageGenerations => facts("/v1/images/generations", pictures, OPENAI),
            Self::ImageEdits => facts("/v1/images/edits", ["image_edit", "image_edit_stream"], OPENAI),
            Self::ImageVariations => facts("/v1/images/variations", ["image_variation"; 2], OPENAI),
            // https://platform.openai.com/docs/api-reference/moderations
            Self::Moderations => facts("/v1/moderations", ["moderation"; 2], OPENAI),
            // https://platform.openai.com/docs/api-reference/responses/compact
            Self::Compact => facts("/v1/responses/compact", ["compaction"; 2], OPENAI),
            // https://platform.openai.com/docs/api-reference/models/list, https://docs.anthropic.com/en/api/models-list
            Self::Models => Facts { method: Method::GET, ..facts("/v1/models", ["list_models"; 2], &[]) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chat_is_one_of_a_dialects_endpoints_and_no_operation_stands_twice() {
        let place = |endpoint: Endpoint| (endpoint.path(), endpoint.request_type(false));
        for (at, endpoint) in Endpoint::ALL.into_iter().enumerate() {
            assert!(Endpoint::ALL[..at].iter().all(|other| place(*other) != place(endpoint)), "{endpoint:?}");
        }
        for dialect in [
            Dialect::OpenAiChat,
            Dialect::OpenAiResponses,
            Dialect::AnthropicMessages,
            Dialect::Gemini,
            Dialect::CohereChat,
        ] {
            assert!(Endpoint::chat(dialect).belongs_to(dialect), "{dialect:?}");
            assert!(Endpoint::Models.belongs_to(dialect), "{dialect:?}");
        }
    }
}
