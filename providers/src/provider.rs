//! A provider as data: a catalog row, its configuration, and what follows from both, worked out once.
//!
//! [`Provider::call`] puts ready headers and a ready URL around a body; [`Provider::send`] hands the call to the provider's
//! [`Transport`]; [`failure_of`] reads an error answer. Which headers cross, either way, is decided in [`headers`] alone.

mod answer;
pub mod headers;
mod prediction;
mod retry_after;

pub use answer::failure_of;
pub use headers::{forwardable, is_reserved, request_id, returnable};
pub use retry_after::retry_after;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use crate::auth::Credential;
use crate::catalog::Row;
use crate::dialect::{escaped, operation, predictions};
use crate::endpoint::Endpoint;
use crate::failure::FailureKind;
use crate::framing::Framing;
use crate::mapped;
use crate::quirk::Quirk;
use crate::scan::{Scan, Splice};
use crate::transport::{Answer, Call, Live, Timeouts, Transport};
use crate::{Dialect, Failure};

/// What a provider is made of.
#[derive(Clone)]
pub struct ProviderSettings {
    /// The name in configuration; a custom provider's differs from its row's.
    pub name: String,
    /// From [`crate::catalog`]; for a custom provider the row it is based on.
    pub row: Row,
    /// Instead of the row's. With or without `/v1`, with or without a slash at the end.
    pub base_url: Option<String>,
    /// What stands in braces in the row's URLs (`region`), as far as it is the same for every request.
    pub places: Vec<(&'static str, String)>,
    /// Sent with every request; they win over headers that a client may forward.
    pub extra_headers: Vec<(String, String)>,
    /// By request type (`chat_completion`, `chat_completion_stream`, `list_models`): a path below the base URL that begins
    /// with `/`, or a whole URL. `chat_completion` counts for streams too, unless they have one of their own.
    pub path_overrides: Vec<(String, String)>,
    /// Works without a key, whatever the row says.
    pub keyless: bool,
    /// `total` bounds answers that are not streamed.
    pub timeouts: Timeouts,
    pub transport: Arc<Transport>,
}

/// Why a provider cannot be made, naming the configuration's field.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProviderError {
    #[error("base_url: {0}")]
    BaseUrl(String),
    #[error("extra_headers.{name}: {reason}")]
    Header { name: String, reason: &'static str },
    #[error("request_path_overrides.{request_type}: {reason}")]
    Path { request_type: String, reason: String },
}

/// One upstream API that requests can be sent to.
pub struct Provider {
    name: String,
    row: Row,
    keyless: bool,
    timeouts: Timeouts,
    transport: Arc<Transport>,
    /// Headers that every request gets, configured ones included.
    fixed: HeaderMap,
    routes: Vec<Route>,
    /// As configured, without a slash at its end.
    base: String,
}

/// Where an endpoint is.
struct Route {
    endpoint: Endpoint,
    whole: Address,
    streamed: Address,
}

/// A URL, or one with places (`{model}`, `{operation}`, `{region}`) to be filled for each request.
#[derive(Clone)]
enum Address {
    Fixed(Uri),
    Template(String),
}

/// One request to be made into a [`Call`].
#[derive(Debug)]
pub struct Outgoing<'a> {
    pub endpoint: Endpoint,
    /// The model asked, for endpoints whose path names it; others say it in the body.
    pub model: &'a str,
    /// Is the answer to be a stream? Decides the path override, `accept`, and whether the total timeout counts.
    pub stream: bool,
    pub credential: Option<&'a Credential>,
    /// What [`forwardable`] let through of the client's headers, and what the gateway adds to that. Headers that are
    /// [`is_reserved`] are left out here too.
    pub forwarded: &'a HeaderMap,
    /// Of a body that is no JSON.
    pub content_type: Option<&'a HeaderValue>,
    pub body: Bytes,
    /// When it is sent, for credentials that sign.
    pub now: SystemTime,
}

/// A request to be passed on to a path that is none of the table's.
#[derive(Debug)]
pub struct Passage<'a> {
    pub method: Method,
    /// Below the base URL, query included. Its version is left out where the base URL ends in one.
    pub path: &'a str,
    pub credential: Option<&'a Credential>,
    /// As in [`Outgoing`].
    pub forwarded: &'a HeaderMap,
    pub content_type: Option<&'a HeaderValue>,
    pub body: Bytes,
    pub now: SystemTime,
}

// === impl Provider ===

impl Provider {
    /// Parses every URL and header once, so that no request can fail over configuration.
    pub fn new(settings: ProviderSettings) -> Result<Self, ProviderError> {
        let base = settings.base_url.clone().unwrap_or_else(|| settings.filled(settings.row.base_url));
        let base = base.as_str();
        check_base(base)?;
        let routes = Endpoint::ALL
            .into_iter()
            .filter(|endpoint| settings.row.serves(*endpoint))
            .map(|endpoint| Route::new(endpoint, base, &settings))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            fixed: fixed_headers(&settings.extra_headers)?,
            routes,
            base: base.trim_end_matches('/').to_owned(),
            name: settings.name,
            row: settings.row,
            keyless: settings.keyless || settings.row.keyless,
            timeouts: settings.timeouts,
            transport: settings.transport,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it speaks to everybody.
    pub fn dialect(&self) -> Dialect {
        self.row.dialect
    }

    /// What it speaks for a client of this dialect: the same, if it can.
    pub fn dialect_for(&self, client: Dialect) -> Dialect {
        if self.row.also.contains(&client) { client } else { self.row.dialect }
    }

    pub fn row(&self) -> &Row {
        &self.row
    }

    /// Its deviations from a dialect. What it speaks besides its own, it speaks as that is.
    pub fn quirks(&self, spoken: Dialect) -> &'static [Quirk] {
        if spoken == self.row.dialect { self.row.quirks } else { &[] }
    }

    /// Can it be called without a key?
    pub fn is_keyless(&self) -> bool {
        self.keyless
    }

    /// May `stream_options` be added to a streamed request? If not, usage comes unasked.
    pub fn takes_stream_options(&self) -> bool {
        self.row.dialect == Dialect::OpenAiChat && !self.row.quirks.contains(&Quirk::NoStreamOptions)
    }

    /// How long a stream may say nothing.
    pub fn stream_patience(&self) -> Duration {
        self.timeouts.idle
    }

    /// Says the model in a body where this provider wants it, and under the name that it has for it.
    pub fn name_model(&self, splice: &mut Splice, scan: &Scan, model: &str) {
        let Some(named) = &scan.model else { return };
        if let Some(version) = self.version_in_body() {
            splice.remove(&named.field).append("anthropic_version", format!("\"{version}\""));
        } else if named.name != model {
            splice.replace_text(&named.field, model);
        }
    }

    /// The body of an encoded request, which names its model, as [`Self::name_model`] has it.
    pub fn enveloped(&self, body: Bytes, model: &str) -> Bytes {
        if self.version_in_body().is_none() {
            return body;
        }
        // What was encoded here can be scanned.
        let Ok(scan) = Scan::of(&body) else { return body };
        let mut splice = Splice::new(&body);
        self.name_model(&mut splice, &scan, model);
        splice.build()
    }

    /// The body of a request for a count of tokens, as this provider has it. Claude at Google Cloud names its model there, and its
    /// version all the same (SDK, `lib/vertex/_client.py`).
    pub fn counted(&self, endpoint: Endpoint, body: Bytes) -> Bytes {
        match (endpoint, self.version_in_body()) {
            (Endpoint::CountMessages, Some(version)) => {
                let mut splice = Splice::new(&body);
                splice.append("anthropic_version", format!("\"{version}\""));
                splice.build()
            }
            (Endpoint::CountContents, _) if self.row.quirks.contains(&Quirk::CountsFieldsAlone) => {
                mapped::counted_alone(&body).map_or(body, Bytes::from)
            }
            _ => body,
        }
    }

    fn version_in_body(&self) -> Option<&'static str> {
        self.row.quirks.iter().find_map(|quirk| match quirk {
            Quirk::AnthropicVersionInBody(version) => Some(*version),
            _ => None,
        })
    }

    /// A ready request. Fails, as `Rejected`, only for an endpoint that this provider's dialect does not have.
    pub fn call(&self, outgoing: Outgoing<'_>) -> Result<Call, Box<Failure>> {
        let Outgoing { endpoint, model, stream, credential, forwarded, content_type, body, now } = outgoing;
        let Some(route) = self.routes.iter().find(|route| route.endpoint == endpoint) else {
            let operation = endpoint.request_type(stream);
            let message = format!("{operation} is not supported by {} provider", self.name);
            return Err(Box::new(Failure::new(FailureKind::Rejected, message)));
        };
        let address = if stream { &route.streamed } else { &route.whole };
        let uri = address.filled((endpoint, stream), model, credential)?;
        let mut headers = self.headers(forwarded, stream);
        if let Some(content_type) = content_type {
            headers.insert(header::CONTENT_TYPE, content_type.clone());
        }
        let timeouts = Timeouts { total: self.timeouts.total.filter(|_| !stream), ..self.timeouts };
        let mut call = Call { method: endpoint.method(), uri, headers, body, timeouts };
        if let Some(credential) = credential {
            credential.apply(&mut call, now);
        }
        Ok(call)
    }

    /// The same for a request that is passed on. Fails, as `Rejected`, where no URL comes of its path.
    pub fn pass(&self, passage: Passage<'_>) -> Result<Call, Box<Failure>> {
        let Passage { method, path, credential, forwarded, content_type, body, now } = passage;
        let strange = |reason| Box::new(Failure::new(FailureKind::Rejected, reason));
        let uri = join(&self.base, path).map_err(strange)?.filled((Endpoint::Models, false), "", credential)?;
        let mut headers = self.headers(forwarded, false);
        match content_type {
            Some(content_type) => _ = headers.insert(header::CONTENT_TYPE, content_type.clone()),
            None if body.is_empty() => _ = headers.remove(header::CONTENT_TYPE),
            None => {}
        }
        let mut call = Call { method, uri, headers, body, timeouts: self.timeouts };
        if let Some(credential) = credential {
            credential.apply(&mut call, now);
        }
        Ok(call)
    }

    /// Does it have this operation?
    pub fn has(&self, endpoint: Endpoint) -> bool {
        self.routes.iter().any(|route| route.endpoint == endpoint)
    }

    /// Sends a call over this provider's connections.
    pub async fn send(&self, call: Call) -> Result<Answer, Box<Failure>> {
        if self.row.dialect == Dialect::Predictions && call.method == Method::POST {
            return self.predict(call).await;
        }
        self.transport.send(call).await
    }

    /// Sends a call whose answer takes more than one.
    async fn predict(&self, call: Call) -> Result<Answer, Box<Failure>> {
        let place = join(&self.base, "/v1/predictions").and_then(|address| match address {
            Address::Fixed(uri) => Ok(uri.to_string()),
            Address::Template(template) => Err(format!("{template} has places")),
        });
        let place = place.map_err(|reason| Box::new(Failure::new(FailureKind::Rejected, reason)))?;
        let events = call.headers.get(header::ACCEPT) == Some(&ACCEPT_STREAM);
        prediction::carry(&self.transport, call, (place, events)).await
    }

    /// The same with a body that is still coming, in place of the call's own. Not for credentials that sign what they send.
    pub async fn pour(&self, call: Call, live: Live) -> Result<Answer, Box<Failure>> {
        self.transport.pour(call, live).await
    }

    fn headers(&self, forwarded: &HeaderMap, stream: bool) -> HeaderMap {
        let mut headers = self.fixed.clone();
        for (name, value) in forwarded {
            // Beta features add up; in everything else the configuration has the last word.
            let free = name == headers::ANTHROPIC_BETA || !self.fixed.contains_key(name);
            if free && !is_reserved(name) {
                headers.append(name, value.clone());
            }
        }
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        if self.row.dialect == Dialect::AnthropicMessages {
            headers.entry(headers::ANTHROPIC_VERSION).or_insert(DEFAULT_ANTHROPIC_VERSION);
        }
        if stream {
            let accept = match self.row.dialect.framing() {
                Framing::Sse | Framing::JsonArray => ACCEPT_STREAM,
                Framing::EventStream => ACCEPT_EVENT_STREAM,
            };
            headers.insert(header::ACCEPT, accept);
        }
        headers
    }
}

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("bifrost/", env!("CARGO_PKG_VERSION")));
const ACCEPT_JSON: HeaderValue = HeaderValue::from_static("application/json");
const ACCEPT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream, application/json");
const ACCEPT_EVENT_STREAM: HeaderValue =
    HeaderValue::from_static("application/vnd.amazon.eventstream, application/json");
/// The only version there is (<https://docs.anthropic.com/en/api/versioning>).
const DEFAULT_ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

fn fixed_headers(extra: &[(String, String)]) -> Result<HeaderMap, ProviderError> {
    // Room for what a call adds: every call's headers begin as a copy of these.
    let mut fixed = HeaderMap::with_capacity(8);
    for (name, value) in extra {
        let refuse = |reason| ProviderError::Header { name: name.clone(), reason };
        let header = HeaderName::try_from(name.as_str()).map_err(|_| refuse("not a header name"))?;
        if headers::is_framing(&header) {
            return Err(refuse("belongs to the connection and is set by the gateway itself"));
        }
        let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| refuse("not a header value"))?;
        // A configured header may well be a key.
        value.set_sensitive(true);
        fixed.append(header, value);
    }
    fixed.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fixed.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    fixed.insert(header::ACCEPT, ACCEPT_JSON);
    Ok(fixed)
}

impl ProviderSettings {
    fn filled(&self, template: &str) -> String {
        self.places.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }
}

// === impl Route ===

impl Route {
    fn new(endpoint: Endpoint, base: &str, settings: &ProviderSettings) -> Result<Self, ProviderError> {
        let own = settings.row.paths.iter().find(|(of, _)| *of == endpoint).map(|(_, path)| *path);
        // A host of its own counts beside the row's own base only: whoever stands elsewhere has everything there.
        let own = own.map(|path| if settings.base_url.is_some() { path_of(path) } else { path });
        let usual = own.unwrap_or(if settings.row.versioned { endpoint.path() } else { unversioned(endpoint.path()) });
        let usual = settings.filled(&format!("{usual}{}", settings.row.query));
        let overridden = |stream: bool| {
            let wanted = endpoint.request_type(stream);
            settings.path_overrides.iter().find(|(request_type, _)| request_type == wanted)
        };
        let whole = overridden(false);
        let streamed = overridden(true).or(whole);
        let uri = |found: Option<&(String, String)>| match found {
            None => join(base, &usual).map_err(ProviderError::BaseUrl),
            Some((request_type, path)) => {
                join(base, path).map_err(|reason| ProviderError::Path { request_type: request_type.clone(), reason })
            }
        };
        Ok(Self { endpoint, whole: uri(whole)?, streamed: uri(streamed)? })
    }
}

/// What follows the host of a whole URL; a path is one already.
fn path_of(path_or_url: &str) -> &str {
    let behind_scheme = path_or_url.split_once("://").map(|(_, rest)| rest);
    behind_scheme.map_or(path_or_url, |rest| rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"))
}

// === impl Address ===

impl Address {
    fn parse(url: &str) -> Result<Self, String> {
        let uri = probe(url).parse().map_err(|_| format!("{url} is not a URL"))?;
        Ok(if url.contains('{') { Self::Template(url.to_owned()) } else { Self::Fixed(uri) })
    }

    /// Most have no places and are only cloned.
    fn filled(
        &self,
        (endpoint, stream): (Endpoint, bool),
        model: &str,
        credential: Option<&Credential>,
    ) -> Result<Uri, Box<Failure>> {
        let template = match self {
            Self::Fixed(uri) => return Ok(uri.clone()),
            Self::Template(template) => template.clone(),
        };
        let template = credential.map_or(template.clone(), |credential| credential.fill(template));
        let predict = if stream { "streamRawPredict" } else { "rawPredict" };
        let filled = template
            .replace("{model}", &escaped(model))
            .replace("{operation}", &operation(endpoint, stream))
            .replace("{prediction}", &predictions::place(model))
            .replace("{owned}", &predictions::owned(model))
            .replace("{predict}", predict);
        // A name that climbs out of its place in the path would ask the provider for something else.
        if filled.split(['/', '?']).any(|segment| matches!(segment, "." | "..")) {
            let message = format!("no URL can name the model {model:?}");
            return Err(Box::new(Failure::new(FailureKind::Rejected, message)));
        }
        let unaddressable = |_| {
            let message = match filled.split_once('{').and_then(|(_, rest)| rest.split_once('}')) {
                Some((place, _)) => format!("the provider's URL needs a key that says its {place}"),
                None => format!("no URL can name the model {model:?}"),
            };
            Box::new(Failure::new(FailureKind::Rejected, message))
        };
        filled.parse().map_err(unaddressable)
    }
}

/// The URL with something in each of its places, so that it can be parsed.
fn probe(url: &str) -> String {
    let mut pieces = url.split('{');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out.push('x');
        out.push_str(piece.split_once('}').map_or(piece, |(_, rest)| rest));
    }
    out
}

/// A URL that begins with a host and holds no password, or what is wrong with it.
fn absolute(url: &str) -> Result<Uri, String> {
    let uri: Uri = probe(url).parse().map_err(|_| "not a URL".to_owned())?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
            Err("must not hold a user or password: use keys or extra_headers".to_owned())
        }
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err("must begin with http:// or https://".to_owned()),
    }
}

fn check_base(base: &str) -> Result<(), ProviderError> {
    match absolute(base) {
        Ok(uri) if uri.query().is_some() => Err(ProviderError::BaseUrl("must not hold a query".to_owned())),
        Ok(_) => Ok(()),
        Err(reason) => Err(ProviderError::BaseUrl(reason)),
    }
}

/// Base URL and path. A base that already ends in a version (`/v1`, `/v4`, `/v1beta`) is not given another one.
fn join(base: &str, path: &str) -> Result<Address, String> {
    if path.starts_with("http://") || path.starts_with("https://") {
        absolute(path)?;
        return Address::parse(path);
    }
    if !path.starts_with('/') {
        return Err("must begin with / or be a whole URL".to_owned());
    }
    let base = base.trim_end_matches('/');
    let path = path.trim_start_matches('/');
    let path = match path.split_once('/') {
        Some((version, rest)) if is_version(version) && ends_in_version(base) => rest,
        _ => path,
    };
    Address::parse(&format!("{base}/{path}"))
}

/// The path without the version that it begins with.
fn unversioned(path: &str) -> &str {
    let rest = path.trim_start_matches('/').split_once('/').filter(|(version, _)| is_version(version));
    rest.and_then(|(version, _)| path.get(version.len() + 1..)).unwrap_or(path)
}

fn ends_in_version(base: &str) -> bool {
    is_version(base.rsplit('/').next().unwrap_or_default())
}

fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_digit()) && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(uri) => uri.fmt(f),
            Self::Template(template) => template.fmt(f),
        }
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uris: Vec<_> = self.routes.iter().map(|route| &route.whole).collect();
        f.debug_struct("Provider").field("name", &self.name).field("uris", &uris).finish_non_exhaustive()
    }
}

impl fmt::Debug for ProviderSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderSettings")
            .field("name", &self.name)
            .field("row", &self.row.name)
            .field("base_url", &self.base_url)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
