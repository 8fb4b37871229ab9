//! Which headers cross the gateway. Both ways it is a list of what may, never of what may not: a header nobody thought of
//! stays behind.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::Dialect;

pub(crate) const ANTHROPIC_BETA: &str = "anthropic-beta";
pub(crate) const ANTHROPIC_VERSION: &str = "anthropic-version";

/// Client headers that any provider may see: the W3C trace context.
const FORWARDED: &[&str] = &["traceparent", "tracestate"];
const FORWARDED_TO_ANTHROPIC: &[&str] = &[ANTHROPIC_BETA, ANTHROPIC_VERSION];
/// None: Google's name the SDK, or say which project pays, which is not the client's to choose.
const FORWARDED_TO_GEMINI: &[&str] = &[];
/// None: Cohere's (`x-client-name`) names the application that a key is billed for, which is not the client's to choose.
const FORWARDED_TO_COHERE: &[&str] = &[];
/// None: whatever begins with `x-amz-` is part of a signature that the client cannot make.
const FORWARDED_TO_BEDROCK: &[&str] = &[];
const FORWARDED_TO_OPENAI: &[&str] = &["openai-beta", "openai-organization", "openai-project"];

/// Answer headers that a client gets back: whom to ask, how much is left, when to come again.
const RETURNED: &[&str] = &[
    "request-id",
    "x-request-id",
    "x-amzn-requestid",
    "x-amzn-errortype",
    "x-debug-trace-id",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
];
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
const CREDENTIALS: &[&str] =
    &["api-key", "authorization", "cookie", "set-cookie", "x-amz-security-token", "x-api-key", "x-goog-api-key"];
/// The gateway's own headers, and the fingerprints that OpenAI's and Anthropic's SDKs leave.
const RESERVED_PREFIXES: &[&str] = &["x-bf-", "x-stainless-"];

/// The client's headers that may go to a provider of this dialect.
pub fn forwardable(client: &HeaderMap, upstream: Dialect) -> HeaderMap {
    let own = match upstream {
        Dialect::AnthropicMessages => FORWARDED_TO_ANTHROPIC,
        Dialect::OpenAiChat | Dialect::OpenAiResponses => FORWARDED_TO_OPENAI,
        Dialect::Gemini => FORWARDED_TO_GEMINI,
        Dialect::CohereChat => FORWARDED_TO_COHERE,
        Dialect::BedrockConverse => FORWARDED_TO_BEDROCK,
        Dialect::Predictions => &[],
    };
    pick(HeaderMap::new(), client, |name| FORWARDED.contains(&name) || own.contains(&name))
}

/// Room for the headers of an answer and for those that the gateway adds: to grow costs more than to have it.
const ROOM: usize = 12;

/// The headers of a provider's answer that a client gets back.
pub fn returnable(answer: &HeaderMap) -> HeaderMap {
    let wanted =
        |name: &str| RETURNED.contains(&name) || RETURNED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    pick(HeaderMap::with_capacity(ROOM), answer, wanted)
}

/// What a provider calls the request that it answered, under whichever name: OpenAI's, Anthropic's, Amazon's, Cohere's.
pub fn request_id(answer: &HeaderMap) -> Option<&HeaderValue> {
    const NAMES: [&str; 4] = ["x-request-id", "request-id", "x-amzn-requestid", "x-debug-trace-id"];
    NAMES.iter().find_map(|name| answer.get(*name))
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

/// One pass over the few headers there are is cheaper than a lookup for each of the many that may be.
fn pick(mut picked: HeaderMap, from: &HeaderMap, wanted: impl Fn(&str) -> bool) -> HeaderMap {
    for (name, value) in from.iter().filter(|(name, _)| wanted(name.as_str())) {
        picked.append(name, value.clone());
    }
    picked
}
