//! The envelope of one request: what the HTTP layer knows before anybody has decided anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bifrost_policies::{Credentials, Pinned, affinity};
use bifrost_providers::dialect::WriterOptions;
use bifrost_providers::endpoint::Endpoint;
use bifrost_providers::framing::Framing;
use bifrost_providers::scan::Scan;
use bifrost_providers::{ChatReply, ChatRequest, Dialect, EventWriter, Losses, Malformed, completion};
use bytes::Bytes;
use http::header::AsHeaderName;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;

use super::grant::clipped;
use super::names;

/// A request of any kind, as far as its head tells.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// In the contract's words: `chat_completion`, `mcp_tool_execution`.
    pub request_type: &'static str,
    /// What its caller understands.
    pub dialect: Dialect,
    pub headers: &'a HeaderMap,
    /// The caller's `x-request-id`, or a new one.
    pub request_id: String,
    pub received: Instant,
    /// What it came over, where its answer may take long.
    pub link: Option<Link>,
}

/// The connection that a request came over, as far as the engine is concerned: has it been given up, because the client at its
/// other end reads nothing?
#[derive(Clone, Debug, Default)]
pub struct Link(Arc<AtomicBool>);

/// One chat request as it arrived.
#[derive(Debug)]
pub struct Ask {
    pub endpoint: Endpoint,
    /// What the client speaks, and how it wants a stream cut into events.
    pub dialect: Dialect,
    pub framing: Framing,
    /// The provider of an unprefixed model on this route (`/openai`, `/anthropic`), if the route names one.
    pub default_provider: Option<&'static str>,
    /// May the gateway's tools be offered?
    pub with_tools: bool,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What the gateway reads of the body; the fault, where it is no request at all.
    pub scan: Result<Scan, Malformed>,
    /// The version of its API that an SDK for Azure asks for (`?api-version=`).
    pub api_version: Option<String>,
    /// The caller's `x-request-id`, or a new one.
    pub request_id: String,
    /// See [`has_options`].
    pub has_options: bool,
}

/// Longest name of a model, in bytes: twice the longest real ones (Bedrock's profile ARNs).
const MAX_MODEL: usize = 512;

/// Longest caller-made request id that is taken over; a longer one is replaced.
const MAX_REQUEST_ID: usize = 128;

impl<'a> Arrival<'a> {
    /// Arrives now.
    pub fn new(request_type: &'static str, dialect: Dialect, headers: &'a HeaderMap) -> Self {
        let request_id = text(headers, &names::REQUEST_ID)
            .filter(|id| !id.is_empty() && id.len() <= MAX_REQUEST_ID)
            .map_or_else(new_id, str::to_owned);
        Self { request_type, dialect, headers, request_id, received: Instant::now(), link: None }
    }

    /// It came over this connection.
    #[must_use]
    pub fn over(self, link: Link) -> Self {
        Self { link: Some(link), ..self }
    }
}

/// An id that no other request has, in time's order.
fn new_id() -> String {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    uuid::Uuid::now_v7().hyphenated().encode_lower(&mut text).to_owned()
}

impl Link {
    pub fn give_up(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_given_up(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Ask {
    /// Is this a text completion, answered through chat?
    pub fn is_text(&self) -> bool {
        self.endpoint == Endpoint::Completions
    }

    /// The request in the canonical model.
    pub fn decode(&self, losses: &mut Losses) -> Result<ChatRequest, Malformed> {
        if self.is_text() {
            return completion::decode_request(&self.body, losses);
        }
        self.dialect.codec().decode_request(&self.body)
    }

    /// A whole reply in the caller's words, with an annex that is known before them.
    pub fn encode(&self, reply: &ChatReply, annex: Option<&str>, losses: &mut Losses) -> Vec<u8> {
        if self.is_text() {
            return completion::encode_reply(reply, annex, losses);
        }
        let mut lost = Losses::default();
        let body = self.dialect.codec().encode_reply(reply, annex, &mut lost);
        losses.extend(lost.in_a_body_of(reply.source));
        body
    }

    /// Writes a stream in the caller's words.
    pub fn writer(&self, options: WriterOptions) -> Box<dyn EventWriter> {
        if self.is_text() { completion::writer(options) } else { self.dialect.codec().writer(options) }
    }

    /// Must the request be refused rather than lose something on the way (`x-bf-strict: true`)?
    pub fn strict(&self) -> bool {
        self.option(&names::STRICT).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// A number that keeps one conversation on one key (`x-bf-session-id`), so that the provider's prompt cache stays warm.
    pub fn affinity(&self) -> Option<u64> {
        self.option(&names::SESSION_ID).map(|session| affinity(session.as_bytes()))
    }

    /// See [`pinned`].
    pub fn pinned(&self) -> Option<Pinned<'_>> {
        if self.has_options { pinned(&self.headers) } else { None }
    }

    fn option(&self, name: &HeaderName) -> Option<&str> {
        if self.has_options { text(&self.headers, name) } else { None }
    }

    /// The body's `fallbacks`.
    pub fn fallbacks(&self, scan: &Scan) -> Result<Vec<String>, Malformed> {
        let Some(field) = &scan.fallbacks else { return Ok(Vec::new()) };
        let list = self.body.get(field.value.clone()).unwrap_or_default();
        let listed = serde_json::from_slice::<Option<Vec<Fallback>>>(list).map_err(|_| Malformed {
            pointer: "/fallbacks".to_owned(),
            expected: "a list, each entry \"provider/model\" or {\"provider\": .., \"model\": ..}".to_owned(),
        })?;
        Ok(listed.unwrap_or_default().into_iter().map(Fallback::name).collect())
    }
}

/// Both spellings of a fallback: the body's and the Go SDK's.
#[derive(Deserialize)]
#[serde(untagged)]
enum Fallback {
    Name(String),
    Parts { provider: String, model: String },
}

impl Fallback {
    fn name(self) -> String {
        match self {
            Self::Name(name) => name,
            Self::Parts { provider, model } => format!("{provider}/{model}"),
        }
    }
}

/// Can this be a model's name? It goes into headers, labels and log lines, so nothing in it may break a line.
pub fn is_model_name(name: &str) -> bool {
    name.len() <= MAX_MODEL && !name.chars().any(char::is_control)
}

/// Everything in the headers that may be a virtual key.
pub fn credentials(headers: &HeaderMap) -> Credentials<'_> {
    const NAMES: [&HeaderName; 5] =
        [&header::AUTHORIZATION, &names::VIRTUAL_KEY, &names::X_API_KEY, &names::API_KEY, &names::X_GOOG_API_KEY];
    // One pass over the few headers there are costs less than a lookup of each that may be there.
    let mut found = [None; 5];
    for (name, value) in headers {
        let place = NAMES.iter().zip(&mut found).find(|(known, _)| **known == name);
        if let Some((_, place)) = place {
            place.get_or_insert(value);
        }
    }
    let [authorization, vk_header, x_api_key, api_key, x_goog_api_key] =
        found.map(|value| value.and_then(|value| value.to_str().ok()).map(str::trim));
    let bearer = authorization.and_then(bearer);
    let access_key = authorization.filter(|_| bearer.is_none()).and_then(access_key);
    Credentials { vk_header, bearer, access_key, x_api_key, api_key, x_goog_api_key }
}

/// Does any of the headers but the virtual key say something to the gateway alone (`x-bf-..`)? Most requests have none, and need not be
/// asked for each.
pub fn has_options(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("x-bf-") && name != names::VIRTUAL_KEY)
}

/// The provider's key that the caller insists on, if it does.
pub fn pinned(headers: &HeaderMap) -> Option<Pinned<'_>> {
    let id = text(headers, &names::PROVIDER_KEY_ID).map(Pinned::Id);
    id.or_else(|| text(headers, &names::PROVIDER_KEY_NAME).map(Pinned::Name))
}

/// A comma list in a header: `None` when the header is absent, empty when it is present and empty.
pub fn list(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<String>> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    let items = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    Some(items.map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
}

/// See [`Ask::api_version`].
pub fn api_version(query: Option<&str>) -> Option<String> {
    let mut said = url::form_urlencoded::parse(query?.as_bytes());
    said.find(|(name, _)| name == "api-version").map(|(_, version)| version.into_owned())
}

pub fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name).map(HeaderValue::to_str)?.ok().map(str::trim)
}

/// The values of the operator's own labels, in their order: `x-bf-dim-<label>`, or its older spelling `x-bf-prom-<label>`;
/// empty where neither came.
pub fn labels(headers: &HeaderMap, names: &[String]) -> Vec<String> {
    let value = |label: &String| {
        let spelt = ["x-bf-dim-", "x-bf-prom-"].map(|prefix| format!("{prefix}{label}"));
        spelt.iter().find_map(|name| text(headers, name)).map(clipped).unwrap_or_default()
    };
    names.iter().map(value).collect()
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Who signs, of `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, SignedHeaders=.., Signature=..`
/// (AWS, "Signature Version 4 for API requests").
fn access_key(value: &str) -> Option<&str> {
    let (_, credential) = value.strip_prefix("AWS4-HMAC-SHA256")?.split_once("Credential=")?;
    let (key, _scope) = credential.split_once('/')?;
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_and_empty_lists_differ() {
        let mut headers = HeaderMap::new();
        assert_eq!(list(&headers, &names::INCLUDE_TOOLS), None);
        headers.insert(&names::INCLUDE_TOOLS, HeaderValue::from_static(""));
        assert_eq!(list(&headers, &names::INCLUDE_TOOLS), Some(vec![]));
        headers.append(&names::INCLUDE_TOOLS, HeaderValue::from_static("fs-*, time-now"));
        assert_eq!(list(&headers, &names::INCLUDE_TOOLS), Some(vec!["fs-*".into(), "time-now".into()]));
    }

    #[test]
    fn a_models_name_is_one_short_line() {
        assert!(is_model_name("bedrock/arn:aws:bedrock:eu-west-1:123456789012:inference-profile/x.y-v1:0"));
        assert!(!is_model_name("gpt-4o\r\nx-evil: 1"));
        assert!(!is_model_name(&"m".repeat(64 << 10)));
    }

    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_its_scheme() {
        assert_eq!(bearer("BEARER  sk-bf-1 "), Some("sk-bf-1"));
        assert_eq!(bearer("Basic abc"), None);
    }

    #[test]
    fn who_signs_is_found_in_a_signature() {
        let signed = "AWS4-HMAC-SHA256 Credential=sk-bf-1/20261121/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=f";
        assert_eq!(access_key(signed), Some("sk-bf-1"));
        assert_eq!(access_key("AWS4-HMAC-SHA256 Credential=sk-bf-1, Signature=f"), None);
        assert_eq!(access_key("Bearer Credential=sk-bf-1/20261121"), None);
    }
}
