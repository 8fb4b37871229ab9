//! The known providers, as rows of data. An OpenAI-alike is one row; what differs beyond that is a named [`Quirk`].

use crate::auth::AuthScheme;
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
    /// Scheme, authority and an optional path prefix. Whether it ends in `/v1` does not matter.
    pub base_url: &'static str,
    /// Paths below the base URL, where they are not [`Endpoint::path`].
    pub paths: &'static [(Endpoint, &'static str)],
    pub auth: AuthScheme,
    /// Environment variables that usually hold the key, the likeliest first.
    pub key_env: &'static [&'static str],
    /// Works without a key; one that is configured is sent all the same.
    pub keyless: bool,
    pub quirks: &'static [Quirk],
}

impl Row {
    /// All that it speaks, what it speaks to everybody first.
    pub fn dialects(&self) -> impl Iterator<Item = Dialect> {
        [self.dialect].into_iter().chain(self.also.iter().copied())
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
    base_url: "",
    paths: &[],
    auth: AuthScheme::Bearer,
    key_env: &[],
    keyless: false,
    quirks: &[Quirk::DeveloperAsSystem, Quirk::MaxTokensLegacy],
};

/// Servers that run on one's own machine.
const LOCAL: Row = Row { keyless: true, ..OPENAI_ALIKE };

const ROWS: &[Row] = &[
    // https://platform.openai.com/docs/api-reference
    Row {
        name: "openai",
        also: &[Dialect::OpenAiResponses],
        base_url: "https://api.openai.com",
        key_env: &["OPENAI_API_KEY"],
        quirks: &[Quirk::MaxCompletionTokens],
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
        paths: &[(Endpoint::ChatCompletions, "/chat/completions"), (Endpoint::Models, "/models")],
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
