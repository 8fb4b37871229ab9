//! The known providers, as rows of data. An OpenAI-alike is one row; what differs beyond that is a named [`Quirk`].

use crate::auth::AuthScheme;
use crate::family::Family;
use crate::quirk::Quirk;
use crate::{Dialect, endpoint::Endpoint};

/// What makes a provider.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The name in configuration and in `provider/model`.
    pub name: &'static str,
    pub dialect: Dialect,
    /// What it speaks besides, to clients that speak it too.
    pub also: &'static [Dialect],
    /// All that it serves, where that is not what its dialects have. Of those it has the words for models and errors only.
    pub only: &'static [Endpoint],
    /// Scheme, authority and an optional path prefix. Whether it ends in `/v1` does not matter. What belongs to a key
    /// (`{region}`) stands in braces, here and in paths.
    pub base_url: &'static str,
    /// Do its usual paths begin with their version (`/v1`)? Otherwise that is left out.
    pub versioned: bool,
    /// Paths below the base URL, or whole URLs, where they are not [`Endpoint::path`].
    pub paths: &'static [(Endpoint, &'static str)],
    /// What stands behind each of its paths.
    pub query: &'static str,
    pub auth: AuthScheme,
    /// Environment variables that usually hold the key, the likeliest first.
    pub key_env: &'static [&'static str],
    /// Works without a key; one that is configured is sent all the same.
    pub keyless: bool,
    pub quirks: &'static [Quirk],
    /// Other APIs of the same provider, for some of its models or keys.
    pub variants: &'static [Variant],
}

/// Another API of a provider.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    pub of: Of,
    pub row: Row,
}

/// What a variant is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Models of this family.
    Family(Family),
    /// Keys whose `api_version` is a date.
    DatedVersion,
    /// Keys that ask deployments (`use_deployments_endpoint`).
    Deployments,
}

impl Row {
    /// The row for this, where it is another than this one.
    pub fn variant(&self, of: Of) -> Option<&Self> {
        self.variants.iter().find(|variant| variant.of == of).map(|variant| &variant.row)
    }
}

impl Row {
    /// All that it speaks, what it speaks to everybody first.
    pub fn dialects(&self) -> impl Iterator<Item = Dialect> {
        [self.dialect].into_iter().chain(self.also.iter().copied())
    }

    /// Does it have this operation?
    pub fn serves(&self, endpoint: Endpoint) -> bool {
        match self.only {
            [] => self.dialects().any(|dialect| endpoint.belongs_to(dialect)),
            only => only.contains(&endpoint),
        }
    }

    /// Can it be sent whatever this dialect has?
    pub fn speaks(&self, dialect: Dialect) -> bool {
        self.only.is_empty() && self.dialects().any(|spoken| spoken == dialect)
    }
}

/// The row of this name.
pub fn row(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

/// All rows, in the order of the table.
pub fn rows() -> &'static [Row] {
    ROWS
}

/// What OpenAI-alikes have in common: none has the role `developer`, and all know the older name of the output limit.
const OPENAI_ALIKE: Row = Row {
    name: "",
    dialect: Dialect::OpenAiChat,
    also: &[],
    only: &[],
    base_url: "",
    versioned: true,
    paths: &[],
    query: "",
    auth: AuthScheme::Bearer,
    key_env: &[],
    keyless: false,
    quirks: &[Quirk::DeveloperAsSystem, Quirk::MaxTokensLegacy],
    variants: &[],
};

/// Servers that run on one's own machine.
const LOCAL: Row = Row { keyless: true, ..OPENAI_ALIKE };

/// OpenAI's models at Azure, by the API without versions, in which a deployment is named like a model
/// (<https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle>).
const AZURE: Row = Row {
    name: "azure",
    also: &[Dialect::OpenAiResponses],
    base_url: "{endpoint}/openai",
    query: "{version}",
    auth: AuthScheme::Header("api-key"),
    key_env: &["AZURE_OPENAI_API_KEY", "AZURE_API_KEY"],
    quirks: &[Quirk::MaxCompletionTokens],
    ..OPENAI_ALIKE
};

/// The older API, with the deployment in the path, except where the body has to name it
/// (<https://learn.microsoft.com/azure/ai-services/openai/reference>).
const AZURE_DATED: Row = Row {
    base_url: "{endpoint}/openai/deployments/{model}",
    versioned: false,
    paths: &[(Endpoint::Responses, "{endpoint}/openai/responses"), (Endpoint::Models, "{endpoint}/openai/models")],
    ..AZURE
};

/// Claude at Azure is Anthropic's own API behind Azure's door
/// (<https://platform.claude.com/docs/en/build-with-claude/claude-in-microsoft-foundry>).
const AZURE_CLAUDE: Row = Row {
    dialect: Dialect::AnthropicMessages,
    also: &[],
    base_url: "{endpoint}/anthropic",
    query: "",
    quirks: &[],
    ..AZURE
};

/// Gemini at Google Cloud (<https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference>). The endpoint is
/// the region's.
const VERTEX: Row = Row {
    name: "vertex",
    dialect: Dialect::Gemini,
    base_url: "{endpoint}/v1/projects/{project}/locations/{region}/publishers/google",
    versioned: false,
    paths: &[(Endpoint::Models, "{endpoint}/v1beta1/publishers/google/models?pageSize=300")],
    auth: AuthScheme::Header("x-goog-api-key"),
    key_env: &["VERTEX_API_KEY"],
    quirks: &[Quirk::CountsFieldsAlone],
    ..OPENAI_ALIKE
};

/// Claude at Google Cloud (<https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai>).
const VERTEX_CLAUDE: Row = Row {
    dialect: Dialect::AnthropicMessages,
    base_url: "{endpoint}/v1/projects/{project}/locations/{region}/publishers/anthropic",
    paths: &[
        (Endpoint::Messages, "/models/{model}:{predict}"),
        (Endpoint::CountMessages, "/models/count-tokens:rawPredict"),
        (Endpoint::Models, "{endpoint}/v1beta1/publishers/anthropic/models?pageSize=300"),
    ],
    quirks: &[Quirk::AnthropicVersionInBody("vertex-2023-10-16")],
    ..VERTEX
};

/// Replicate, whose models are called `owner/name`, and versions of them `owner/name:version`
/// (<https://replicate.com/docs/reference/http>). Of the models there are thousands, and only the official ones are called so.
const REPLICATE: Row = Row {
    name: "replicate",
    dialect: Dialect::Predictions,
    base_url: "https://api.replicate.com",
    paths: &[(Endpoint::Models, "/v1/collections/official")],
    key_env: &["REPLICATE_API_TOKEN"],
    quirks: &[],
    ..OPENAI_ALIKE
};

/// Deployments are called `owner/name` too.
const REPLICATE_DEPLOYMENTS: Row = Row {
    paths: &[
        (Endpoint::Prediction, "/v1/deployments/{owned}/predictions"),
        (Endpoint::PicturePrediction, "/v1/deployments/{owned}/predictions"),
        (Endpoint::Models, "/v1/deployments"),
    ],
    ..REPLICATE
};

const ROWS: &[Row] = &[
    // https://platform.openai.com/docs/api-reference
    Row {
        name: "openai",
        also: &[Dialect::OpenAiResponses],
        base_url: "https://api.openai.com",
        key_env: &["OPENAI_API_KEY"],
        quirks: &[Quirk::MaxCompletionTokens, Quirk::NoReasoningInput],
        ..OPENAI_ALIKE
    },
    // https://docs.anthropic.com/en/api/overview
    Row {
        name: "anthropic",
        dialect: Dialect::AnthropicMessages,
        base_url: "https://api.anthropic.com",
        auth: AuthScheme::Header("x-api-key"),
        key_env: &["ANTHROPIC_API_KEY"],
        quirks: &[],
        ..OPENAI_ALIKE
    },
    Row {
        variants: &[
            Variant { of: Of::DatedVersion, row: AZURE_DATED },
            Variant { of: Of::Family(Family::Anthropic), row: AZURE_CLAUDE },
        ],
        ..AZURE
    },
    Row { variants: &[Variant { of: Of::Family(Family::Anthropic), row: VERTEX_CLAUDE }], ..VERTEX },
    // https://ai.google.dev/api: the key may also stand in the URL, where every log would have it.
    Row {
        name: "gemini",
        dialect: Dialect::Gemini,
        base_url: "https://generativelanguage.googleapis.com",
        paths: &[(Endpoint::Models, "/v1beta/models?pageSize=1000")],
        auth: AuthScheme::Header("x-goog-api-key"),
        key_env: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        quirks: &[],
        ..OPENAI_ALIKE
    },
    // https://docs.cohere.com/reference/about
    Row {
        name: "cohere",
        dialect: Dialect::CohereChat,
        base_url: "https://api.cohere.com",
        paths: &[(Endpoint::Models, "/v1/models?page_size=1000")],
        key_env: &["COHERE_API_KEY", "CO_API_KEY"],
        quirks: &[],
        ..OPENAI_ALIKE
    },
    // https://docs.aws.amazon.com/general/latest/gr/bedrock.html: inference and the list of models have hosts of their own. The
    // region belongs to the key, as it is part of the signature.
    Row {
        name: "bedrock",
        dialect: Dialect::BedrockConverse,
        base_url: "https://bedrock-runtime.{region}.amazonaws.com",
        paths: &[(Endpoint::Models, "https://bedrock.{region}.amazonaws.com/foundation-models")],
        auth: AuthScheme::Sigv4("bedrock"),
        key_env: &["AWS_BEARER_TOKEN_BEDROCK"],
        quirks: &[],
        ..OPENAI_ALIKE
    },
    // https://console.groq.com/docs/openai: unknown message fields are refused, reasoning among them.
    Row {
        name: "groq",
        base_url: "https://api.groq.com/openai",
        key_env: &["GROQ_API_KEY"],
        quirks: &[Quirk::DeveloperAsSystem, Quirk::NoReasoningInput],
        ..OPENAI_ALIKE
    },
    // https://docs.mistral.ai/api: fields outside its schema are refused with 422 (`extra_forbidden`).
    Row {
        name: "mistral",
        base_url: "https://api.mistral.ai",
        key_env: &["MISTRAL_API_KEY"],
        quirks: &[
            Quirk::DeveloperAsSystem,
            Quirk::MaxTokensLegacy,
            Quirk::NoStreamOptions,
            Quirk::NoReasoningInput,
            Quirk::RandomSeed,
            Quirk::AnyForRequired,
            Quirk::ToolCallIdNineAlnum,
        ],
        ..OPENAI_ALIKE
    },
    // https://openrouter.ai/docs/api-reference/overview
    Row { name: "openrouter", base_url: "https://openrouter.ai/api", key_env: &["OPENROUTER_API_KEY"], ..OPENAI_ALIKE },
    // https://api-docs.deepseek.com: the paths are documented without /v1.
    Row {
        name: "deepseek",
        base_url: "https://api.deepseek.com",
        versioned: false,
        key_env: &["DEEPSEEK_API_KEY"],
        ..OPENAI_ALIKE
    },
    // https://docs.x.ai/docs/api-reference
    Row {
        name: "xai",
        base_url: "https://api.x.ai",
        key_env: &["XAI_API_KEY"],
        quirks: &[Quirk::DeveloperAsSystem],
        ..OPENAI_ALIKE
    },
    // https://inference-docs.cerebras.ai/api-reference/chat-completions
    Row {
        name: "cerebras",
        base_url: "https://api.cerebras.ai",
        key_env: &["CEREBRAS_API_KEY"],
        quirks: &[Quirk::DeveloperAsSystem, Quirk::NoReasoningInput],
        ..OPENAI_ALIKE
    },
    // https://docs.fireworks.ai/tools-sdks/openai-compatibility
    Row {
        name: "fireworks",
        base_url: "https://api.fireworks.ai/inference",
        key_env: &["FIREWORKS_API_KEY"],
        ..OPENAI_ALIKE
    },
    // https://docs.together.ai/docs/openai-api-compatibility
    Row { name: "together", base_url: "https://api.together.xyz", key_env: &["TOGETHER_API_KEY"], ..OPENAI_ALIKE },
    // https://docs.perplexity.ai/api-reference/chat-completions-post
    Row {
        name: "perplexity",
        base_url: "https://api.perplexity.ai",
        paths: &[(Endpoint::ChatCompletions, "/chat/completions")],
        key_env: &["PERPLEXITY_API_KEY"],
        ..OPENAI_ALIKE
    },
    // https://docs.tokenfactory.nebius.com/api-reference/introduction
    Row {
        name: "nebius",
        base_url: "https://api.tokenfactory.nebius.com",
        key_env: &["NEBIUS_API_KEY"],
        ..OPENAI_ALIKE
    },
    // https://huggingface.co/docs/inference-providers: a router to the providers behind it, which a model may name (`model:groq`).
    Row {
        name: "huggingface",
        base_url: "https://router.huggingface.co",
        key_env: &["HF_TOKEN", "HUGGINGFACE_API_KEY"],
        ..OPENAI_ALIKE
    },
    // https://elevenlabs.io/docs/api-reference/introduction
    Row {
        name: "elevenlabs",
        only: &[Endpoint::ElevenLabsSpeech, Endpoint::ElevenLabsTranscription, Endpoint::Models],
        base_url: "https://api.elevenlabs.io",
        auth: AuthScheme::Header("xi-api-key"),
        key_env: &["ELEVENLABS_API_KEY"],
        quirks: &[],
        ..OPENAI_ALIKE
    },
    Row { variants: &[Variant { of: Of::Deployments, row: REPLICATE_DEPLOYMENTS }], ..REPLICATE },
    // https://docs.parasail.io
    Row { name: "parasail", base_url: "https://api.parasail.io", key_env: &["PARASAIL_API_KEY"], ..OPENAI_ALIKE },
    // https://docs.ollama.com/openai
    Row { name: "ollama", base_url: "http://localhost:11434", ..LOCAL },
    // https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
    Row { name: "vllm", base_url: "http://localhost:8000", ..LOCAL },
    // https://docs.sglang.ai/basic_usage/openai_api.html
    Row { name: "sgl", base_url: "http://localhost:30000", ..LOCAL },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (at, one) in rows().iter().enumerate() {
            assert!(rows()[..at].iter().all(|other| other.name != one.name), "{}", one.name);
            assert_eq!(row(one.name).unwrap().base_url, one.base_url);
            assert!(one.keyless || !one.key_env.is_empty(), "{} needs a key, but which?", one.name);
        }
        assert!(row("nobody").is_none());
    }
}
