//! Every refusal that the gateway itself decides, with the status, the machine-readable word and the advice that go with it.
//!
//! Statuses and words are those of Bifrost's error table. How a refusal is spelt in a client's dialect is decided elsewhere,
//! in the one place that writes error bodies.

use std::time::Duration;

/// What a caller is asked to wait before it comes back to a full or closing gateway: long enough for a slot to come free,
/// short enough that nobody notices.
const SOON: Duration = Duration::from_secs(1);

/// A request that the gateway refuses. The `Display` text is meant for the caller and never holds a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No virtual key came, and the configuration demands one.
    #[error("virtual key is required. Provide a virtual key via the x-bf-vk header.")]
    VirtualKeyRequired,
    /// A virtual key came that nobody issued.
    #[error("virtual key not found")]
    VirtualKeyNotFound,
    /// The virtual key exists and may not be used.
    #[error("virtual key is blocked: {reason}")]
    VirtualKeyBlocked {
        /// Why, as a sentence fragment: `it is not active`.
        reason: &'static str,
    },
    /// Two headers hold two different virtual keys.
    #[error("conflicting credentials: two headers hold different virtual keys")]
    ConflictingCredentials,
    /// The virtual key grants other providers, but not this one.
    #[error("provider '{provider}' is not allowed for this virtual key")]
    ProviderBlocked {
        /// The provider asked for.
        provider: String,
    },
    /// The virtual key does not grant this model.
    #[error("model '{model}' is not allowed for this virtual key{}", on(provider.as_deref()))]
    ModelBlocked {
        /// The model asked for.
        model: String,
        /// The provider asked for; `None` where the model came bare and no granted provider allows it.
        provider: Option<String>,
    },
    /// The caller may not run this tool.
    #[error("{reason}")]
    ToolBlocked {
        /// A sentence that names the tool and the rule which refused it.
        reason: String,
    },
    /// The request names no model.
    #[error("model cannot be empty")]
    ModelMissing,
    /// A model without a provider that nothing resolves, or one half of `provider/model` is empty.
    #[error("model must be in the format 'provider/model'")]
    ModelFormat,
    /// `provider/model` names a provider that is not configured.
    #[error("unknown provider '{provider}'; known providers: {}", known.join(", "))]
    UnknownProvider {
        /// The name asked for.
        provider: String,
        /// The names that this caller may use, sorted.
        known: Vec<String>,
    },
    /// None of the provider's keys is enabled and allows the model.
    #[error("no keys found that support model: {model}")]
    NoKeys {
        /// The provider asked for.
        provider: String,
        /// The model asked for.
        model: String,
    },
    /// The caller pinned a key that does not exist, or that may not serve this request.
    #[error("no key found with {by} \"{value}\" for provider: {provider}")]
    NoSuchKey {
        /// The provider asked for.
        provider: String,
        /// `name` or `id`.
        by: &'static str,
        /// The name or id that the caller sent.
        value: String,
    },
    /// Every key that could serve the request is waiting out a rate limit.
    #[error("every key of provider '{provider}' is rate limited")]
    KeysResting {
        /// The provider asked for.
        provider: String,
        /// Until the first key is back.
        retry_after: Duration,
    },
    /// Every key that could serve the request was refused by the provider.
    #[error("provider '{provider}' refused every configured key")]
    CredentialsExhausted {
        /// The provider asked for.
        provider: String,
    },
    /// The provider's queue is full, and the configuration says to drop what does not fit.
    #[error("request dropped: the queue of provider '{provider}' is full")]
    QueueFull {
        /// The provider asked for.
        provider: String,
    },
    /// The gateway, or this provider, is being shut down.
    #[error("provider is shutting down")]
    ShuttingDown,
}

impl Denied {
    /// The HTTP status that stands for this refusal.
    pub fn status(&self) -> u16 {
        self.row().0
    }

    /// The machine-readable word: the `type` of Bifrost's error shape.
    pub fn kind(&self) -> &'static str {
        self.row().1
    }

    /// Whether the same request can succeed later without anybody changing anything: the answer to `x-should-retry`.
    pub fn should_retry(&self) -> bool {
        self.row().2
    }

    /// How long to wait before asking again; set for every refusal that [`Self::should_retry`].
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::KeysResting { retry_after, .. } => Some(*retry_after),
            _ => self.should_retry().then_some(SOON),
        }
    }

    /// Status, word, and whether a retry makes sense. A refused credential is not worth a retry: somebody has to act first.
    fn row(&self) -> (u16, &'static str, bool) {
        match self {
            Self::VirtualKeyRequired => (401, "virtual_key_required", false),
            Self::VirtualKeyNotFound => (401, "virtual_key_not_found", false),
            Self::VirtualKeyBlocked { .. } => (403, "virtual_key_blocked", false),
            Self::ConflictingCredentials => (400, "conflicting_credentials", false),
            Self::ProviderBlocked { .. } => (403, "provider_blocked", false),
            Self::ModelBlocked { .. } => (403, "model_blocked", false),
            Self::ToolBlocked { .. } => (403, "mcp_tool_blocked", false),
            Self::ModelMissing | Self::ModelFormat | Self::UnknownProvider { .. } => {
                (400, "invalid_request_error", false)
            }
            Self::NoKeys { .. } | Self::NoSuchKey { .. } => (400, "no_keys_found", false),
            Self::KeysResting { .. } => (429, "rate_limited", true),
            Self::CredentialsExhausted { .. } => (502, "upstream_credentials_exhausted", false),
            Self::QueueFull { .. } => (503, "request_dropped", true),
            Self::ShuttingDown => (503, "shutting_down", true),
        }
    }
}

fn on(provider: Option<&str>) -> String {
    provider.map(|name| format!(" on provider '{name}'")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> String {
        "openai".to_owned()
    }

    fn model() -> String {
        "gpt-4o".to_owned()
    }

    #[test]
    fn statuses_words_and_texts_are_those_of_the_contract() {
        let table = [
            (
                Denied::VirtualKeyRequired,
                401,
                "virtual_key_required",
                "virtual key is required. Provide a virtual key via the x-bf-vk header.",
            ),
            (Denied::VirtualKeyNotFound, 401, "virtual_key_not_found", "virtual key not found"),
            (
                Denied::VirtualKeyBlocked { reason: "it is not active" },
                403,
                "virtual_key_blocked",
                "virtual key is blocked: it is not active",
            ),
            (
                Denied::ProviderBlocked { provider: name() },
                403,
                "provider_blocked",
                "provider 'openai' is not allowed for this virtual key",
            ),
            (
                Denied::ModelBlocked { model: model(), provider: Some(name()) },
                403,
                "model_blocked",
                "model 'gpt-4o' is not allowed for this virtual key on provider 'openai'",
            ),
            (
                Denied::ModelBlocked { model: model(), provider: None },
                403,
                "model_blocked",
                "model 'gpt-4o' is not allowed for this virtual key",
            ),
            (Denied::ModelMissing, 400, "invalid_request_error", "model cannot be empty"),
            (Denied::ModelFormat, 400, "invalid_request_error", "model must be in the format 'provider/model'"),
            (
                Denied::UnknownProvider { provider: "opnai".into(), known: vec!["anthropic".into(), name()] },
                400,
                "invalid_request_error",
                "unknown provider 'opnai'; known providers: anthropic, openai",
            ),
            (
                Denied::NoKeys { provider: name(), model: model() },
                400,
                "no_keys_found",
                "no keys found that support model: gpt-4o",
            ),
            (
                Denied::NoSuchKey { provider: name(), by: "name", value: "x".into() },
                400,
                "no_keys_found",
                "no key found with name \"x\" for provider: openai",
            ),
            (
                Denied::KeysResting { provider: name(), retry_after: SOON },
                429,
                "rate_limited",
                "every key of provider 'openai' is rate limited",
            ),
            (
                Denied::CredentialsExhausted { provider: name() },
                502,
                "upstream_credentials_exhausted",
                "provider 'openai' refused every configured key",
            ),
            (
                Denied::QueueFull { provider: name() },
                503,
                "request_dropped",
                "request dropped: the queue of provider 'openai' is full",
            ),
            (Denied::ShuttingDown, 503, "shutting_down", "provider is shutting down"),
        ];
        for (denied, status, kind, text) in table {
            assert_eq!((denied.status(), denied.kind(), denied.to_string().as_str()), (status, kind, text));
            let temporary = matches!(status, 429 | 503);
            assert_eq!(denied.should_retry(), temporary, "{denied:?}");
            assert_eq!(denied.retry_after().is_some(), temporary, "429 and 503 carry Retry-After: {denied:?}");
        }
    }

    #[test]
    fn resting_keys_say_how_long() {
        let wait = Duration::from_secs(7);
        assert_eq!(Denied::KeysResting { provider: name(), retry_after: wait }.retry_after(), Some(wait));
    }

    #[test]
    fn a_refused_tool_is_told_in_one_sentence() {
        let text = "tool 'fs-write' is not permitted (filtered by request context)";
        let denied = Denied::ToolBlocked { reason: text.into() };
        assert_eq!((denied.status(), denied.kind()), (403, "mcp_tool_blocked"));
        assert_eq!(denied.to_string(), text);
    }
}
