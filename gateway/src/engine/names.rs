//! The names of the headers that the gateway reads and writes, made once: a name made from text is parsed at every lookup.

use http::HeaderName;

macro_rules! names {
    ($($name:ident = $text:literal;)*) => {
        $(pub static $name: HeaderName = HeaderName::from_static($text);)*
    };
}

// What callers send.
names! {
    REQUEST_ID = "x-request-id";
    VIRTUAL_KEY = "x-bf-vk";
    X_API_KEY = "x-api-key";
    API_KEY = "api-key";
    X_GOOG_API_KEY = "x-goog-api-key";
    STRICT = "x-bf-strict";
    SESSION_ID = "x-bf-session-id";
    PROVIDER_KEY_ID = "x-bf-api-key-id";
    PROVIDER_KEY_NAME = "x-bf-api-key";
    DIRECT_KEY = "x-bf-direct-key";
    AZURE_ENDPOINT = "x-bf-azure-endpoint";
    INCLUDE_CLIENTS = "x-bf-mcp-include-clients";
    INCLUDE_TOOLS = "x-bf-mcp-include-tools";
}

// What the gateway says of its answers.
names! {
    PROVIDER = "x-bifrost-provider";
    ORIGINAL_MODEL = "x-bifrost-original-model";
    RESOLVED_MODEL = "x-bifrost-resolved-model";
    REQUEST_TYPE = "x-bifrost-request-type";
    FALLBACK_INDEX = "x-bifrost-fallback-index";
    UPSTREAM_LATENCY_MS = "x-bifrost-upstream-latency-ms";
    UPSTREAM_REQUEST_ID = "x-bifrost-upstream-request-id";
    LOSSES = "x-bifrost-losses";
    SHOULD_RETRY = "x-should-retry";
}
