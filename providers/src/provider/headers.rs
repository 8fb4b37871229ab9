//! Which headers cross the gateway. Both ways it is a list of what may, never of what may not: a header nobody thought of
//! stays behind.

use http::{HeaderMap, HeaderName};

use crate::Dialect;

pub(crate) const ANTHROPIC_BETA: &str = "anthropic-beta";
pub(crate) const ANTHROPIC_VERSION: &str = "anthropic-version";

/// Client headers that any provider may see: the W3C trace context.
const FORWARDED: &[&str] = &["traceparent", "tracestate"];
const FORWARDED_TO_ANTHROPIC: &[&str] = &[ANTHROPIC_BETA, ANTHROPIC_VERSION];
const FORWARDED_TO_OPENAI: &[&str] = &["openai-beta", "openai-organization", "openai-project"];

/// Answer headers that a client gets back: whom to ask, how much is left, when to come again.
const RETURNED: &[&str] = &["request-id", "x-request-id", "retry-after", "retry-after-ms", "x-should-retry"];
const RETURNED_PREFIXES: &[&str] = &["anthropic-", "openai-", "x-ratelimit-"];

/// Connection and framing: the transport's alone (RFC 9110, 7.6.1).
const FRAMING: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Credentials of whoever called the gateway.
const CREDENTIALS: &[&str] = &["api-key", "authorization", "cookie", "set-cookie", "x-api-key", "x-goog-api-key"];
/// The gateway's own headers, and the fingerprints that OpenAI's and Anthropic's SDKs leave.
const RESERVED_PREFIXES: &[&str] = &["x-bf-", "x-stainless-"];

/// The client's headers that may go to a provider of this dialect.
pub fn forwardable(client: &HeaderMap, upstream: Dialect) -> HeaderMap {
    let own = match upstream {
        Dialect::AnthropicMessages => FORWARDED_TO_ANTHROPIC,
        Dialect::OpenAiChat => FORWARDED_TO_OPENAI,
    };
    pick(client, FORWARDED.iter().chain(own))
}

/// The headers of a provider's answer that a client gets back.
pub fn returnable(answer: &HeaderMap) -> HeaderMap {
    let mut returned = pick(answer, RETURNED.iter());
    for (name, value) in answer {
        if RETURNED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix)) {
            returned.append(name, value.clone());
        }
    }
    returned
}

/// Must never go upstream from a client, not even when the client says so (`x-bf-eh-<name>`).
pub fn is_reserved(name: &HeaderName) -> bool {
    let name_text = name.as_str();
    is_framing(name)
        || CREDENTIALS.contains(&name_text)
        || RESERVED_PREFIXES.iter().any(|prefix| name_text.starts_with(prefix))
}

pub(super) fn is_framing(name: &HeaderName) -> bool {
    FRAMING.contains(&name.as_str())
}

fn pick<'a>(from: &HeaderMap, names: impl Iterator<Item = &'a &'static str>) -> HeaderMap {
    let mut picked = HeaderMap::new();
    for name in names {
        for value in from.get_all(*name) {
            picked.append(HeaderName::from_static(name), value.clone());
        }
    }
    picked
}
