//! The table of routes: what stands where, as rows of data.
//!
//! A route is a [`Mount`], which is where an SDK's base URL may point, and a [`Row`] of the family of routes that stands there.
//! The sets (`/litellm`, ..) hold all mounts once more, for applications that were told to use one base URL for every SDK.

use std::str::Utf8Error;
use std::sync::LazyLock;

use bifrost_providers::Dialect;
use bifrost_providers::endpoint::Endpoint;
use foldhash::HashMap;
use http::Method;
use percent_encoding::percent_decode_str;

use crate::metrics::RouteName;

/// One answer to "who serves this path?".
#[derive(Debug)]
pub struct Route {
    pub name: RouteName,
    pub serves: Serves,
    /// The dialect of its errors.
    pub dialect: Dialect,
    /// The provider of a model that names none.
    pub default_provider: Option<&'static str>,
    /// What stands in the path in place of the row's model, percent-decoded.
    pub named: Option<String>,
    /// The path below a provider's base URL that stands for this one.
    pub upstream: String,
    /// Are the gateway's tools offered here?
    pub with_tools: bool,
}

/// What a row serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// Chat in this dialect. Where the path says whether the answer is a stream, `stream` is what it says.
    Chat { dialect: Dialect, stream: Option<bool> },
    /// What would become of such a chat request, in any dialect of the mount.
    Explain,
    /// Something else that a model does.
    Order(Endpoint),
    /// What belongs to one provider's account, under the contract's name for it.
    Verbatim(&'static str),
    /// The list of models in this dialect, or the one that the path names.
    Models(Dialect),
}

/// What becomes of a method and a path.
#[derive(Debug)]
pub enum Found {
    Route(Route),
    /// The path is one of ours, with other methods.
    OtherMethod {
        name: RouteName,
        allowed: Vec<Method>,
    },
    Nothing,
}

/// Where a family of routes stands.
#[derive(Clone, Copy)]
struct Mount {
    path: &'static str,
    rows: &'static [Row],
    dialect: Dialect,
    default_provider: Option<&'static str>,
    /// The version of the API, as it stands in a provider's paths.
    version: &'static str,
    /// A request goes as it came: without the gateway's tools, and to nothing but the operations listed.
    plain: bool,
}

/// One route of a family, below its mount.
struct Row {
    method: Method,
    path: Path,
    serves: Serves,
}

/// A path, with at most one part that is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Path {
    Exact(&'static str),
    /// Between the two stands a model's name, slashes and all.
    Model(&'static str, &'static str),
    /// This and everything below.
    Tree(&'static str),
}

use Dialect::{AnthropicMessages, BedrockConverse, CohereChat, Gemini, OpenAiChat, OpenAiResponses};

/// <https://platform.openai.com/docs/api-reference>, without the version: SDKs disagree on who adds it.
const OPENAI: &[Row] = &[
    post(Path::Exact("/chat/completions"), chat(OpenAiChat)),
    post(Path::Exact("/responses"), chat(OpenAiResponses)),
    post(Path::Exact("/explain"), Serves::Explain),
    get(Path::Exact("/models"), Serves::Models(OpenAiChat)),
    get(Path::Model("/models/", ""), Serves::Models(OpenAiChat)),
    post(Path::Exact("/embeddings"), Serves::Order(Endpoint::Embeddings)),
    post(Path::Exact("/completions"), Serves::Order(Endpoint::Completions)),
    post(Path::Exact("/rerank"), Serves::Order(Endpoint::Rerank)),
    post(Path::Exact("/moderations"), Serves::Order(Endpoint::Moderations)),
    post(Path::Exact("/audio/speech"), Serves::Order(Endpoint::Speech)),
    post(Path::Exact("/audio/transcriptions"), Serves::Order(Endpoint::Transcriptions)),
    post(Path::Exact("/audio/translations"), Serves::Order(Endpoint::Translations)),
    post(Path::Exact("/images/generations"), Serves::Order(Endpoint::ImageGenerations)),
    post(Path::Exact("/images/edits"), Serves::Order(Endpoint::ImageEdits)),
    post(Path::Exact("/images/variations"), Serves::Order(Endpoint::ImageVariations)),
    post(Path::Exact("/responses/input_tokens"), Serves::Order(Endpoint::CountInput)),
    post(Path::Exact("/responses/compact"), Serves::Order(Endpoint::Compact)),
    get(Path::Tree("/responses"), Serves::Verbatim("responses_control")),
    post(Path::Tree("/responses"), Serves::Verbatim("responses_control")),
    delete(Path::Tree("/responses"), Serves::Verbatim("responses_control")),
    get(Path::Tree("/files"), Serves::Verbatim("file")),
    post(Path::Tree("/files"), Serves::Verbatim("file")),
    delete(Path::Tree("/files"), Serves::Verbatim("file")),
    get(Path::Tree("/batches"), Serves::Verbatim("batch")),
    post(Path::Tree("/batches"), Serves::Verbatim("batch")),
    get(Path::Tree("/containers"), Serves::Verbatim("container")),
    post(Path::Tree("/containers"), Serves::Verbatim("container")),
    delete(Path::Tree("/containers"), Serves::Verbatim("container")),
    get(Path::Tree("/videos"), Serves::Verbatim("video")),
    post(Path::Tree("/videos"), Serves::Verbatim("video")),
    delete(Path::Tree("/videos"), Serves::Verbatim("video")),
];

/// <https://learn.microsoft.com/azure/ai-foundry/openai/reference>: the path names the deployment, and it alone.
const AZURE_DEPLOYMENTS: &[Row] = &[
    post(Path::Model("/", "/chat/completions"), chat(OpenAiChat)),
    post(Path::Model("/", "/completions"), Serves::Order(Endpoint::Completions)),
    post(Path::Model("/", "/embeddings"), Serves::Order(Endpoint::Embeddings)),
    post(Path::Model("/", "/audio/speech"), Serves::Order(Endpoint::Speech)),
    post(Path::Model("/", "/audio/transcriptions"), Serves::Order(Endpoint::Transcriptions)),
    post(Path::Model("/", "/audio/translations"), Serves::Order(Endpoint::Translations)),
    post(Path::Model("/", "/images/generations"), Serves::Order(Endpoint::ImageGenerations)),
    post(Path::Model("/", "/images/edits"), Serves::Order(Endpoint::ImageEdits)),
];

/// <https://docs.anthropic.com/en/api/overview>
const ANTHROPIC: &[Row] = &[
    post(Path::Exact("/messages"), chat(AnthropicMessages)),
    post(Path::Exact("/explain"), Serves::Explain),
    get(Path::Exact("/models"), Serves::Models(AnthropicMessages)),
    get(Path::Model("/models/", ""), Serves::Models(AnthropicMessages)),
    post(Path::Exact("/messages/count_tokens"), Serves::Order(Endpoint::CountMessages)),
    get(Path::Tree("/messages/batches"), Serves::Verbatim("batch")),
    post(Path::Tree("/messages/batches"), Serves::Verbatim("batch")),
    delete(Path::Tree("/messages/batches"), Serves::Verbatim("batch")),
    get(Path::Tree("/files"), Serves::Verbatim("file")),
    post(Path::Tree("/files"), Serves::Verbatim("file")),
    delete(Path::Tree("/files"), Serves::Verbatim("file")),
];

/// <https://ai.google.dev/api>
const GENAI: &[Row] = &[
    post(Path::Model("/models/", ":generateContent"), Serves::Chat { dialect: Gemini, stream: Some(false) }),
    post(Path::Model("/models/", ":streamGenerateContent"), Serves::Chat { dialect: Gemini, stream: Some(true) }),
    // Vercel's `@ai-sdk/google` takes a model with a slash for a resource name, which needs no `models/` before it.
    post(Path::Model("/", ":generateContent"), Serves::Chat { dialect: Gemini, stream: Some(false) }),
    post(Path::Model("/", ":streamGenerateContent"), Serves::Chat { dialect: Gemini, stream: Some(true) }),
    post(Path::Model("/models/", ":explain"), Serves::Explain),
    get(Path::Exact("/models"), Serves::Models(Gemini)),
    get(Path::Model("/models/", ""), Serves::Models(Gemini)),
    post(Path::Model("/models/", ":countTokens"), Serves::Order(Endpoint::CountContents)),
    post(Path::Model("/models/", ":embedContent"), Serves::Order(Endpoint::EmbedContent)),
    post(Path::Model("/models/", ":batchEmbedContents"), Serves::Order(Endpoint::BatchEmbedContents)),
    get(Path::Tree("/files"), Serves::Verbatim("file")),
    post(Path::Tree("/files"), Serves::Verbatim("file")),
    delete(Path::Tree("/files"), Serves::Verbatim("file")),
    get(Path::Tree("/cachedContents"), Serves::Verbatim("cached_content")),
    post(Path::Tree("/cachedContents"), Serves::Verbatim("cached_content")),
    delete(Path::Tree("/cachedContents"), Serves::Verbatim("cached_content")),
];

/// <https://docs.cohere.com/reference/about>
const COHERE: &[Row] = &[
    post(Path::Exact("/chat"), chat(CohereChat)),
    post(Path::Exact("/explain"), Serves::Explain),
    post(Path::Exact("/embed"), Serves::Order(Endpoint::CohereEmbed)),
    post(Path::Exact("/rerank"), Serves::Order(Endpoint::CohereRerank)),
];

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html>
const BEDROCK: &[Row] = &[
    post(Path::Model("/model/", "/converse"), Serves::Chat { dialect: BedrockConverse, stream: Some(false) }),
    post(Path::Model("/model/", "/converse-stream"), Serves::Chat { dialect: BedrockConverse, stream: Some(true) }),
    post(Path::Model("/model/", "/explain"), Serves::Explain),
    // Of the control plane, whose clients may have the same address.
    get(Path::Exact("/foundation-models"), Serves::Models(BedrockConverse)),
];

/// What Cohere left in its first version.
const COHERE_V1: &[Row] = &[
    post(Path::Exact("/tokenize"), Serves::Verbatim("tokenize")),
    post(Path::Exact("/detokenize"), Serves::Verbatim("tokenize")),
    get(Path::Exact("/models"), Serves::Models(CohereChat)),
    get(Path::Model("/models/", ""), Serves::Models(CohereChat)),
];

/// Without a prefix: models name their provider.
const ROOT: &[Mount] = &[
    openai("/v1", None),
    anthropic("/v1", Some("anthropic")),
    genai("/v1", "/v1"),
    genai("/v1beta", "/v1beta"),
    cohere("/v2", "/v2", COHERE),
];

/// Directly below a set: as a client of OpenAI would have it.
const SET_ROOT: &[Mount] = &[openai("/v1", Some("openai")), openai("", Some("openai"))];

/// Below the root and below every set. Where one path is the beginning of another, the longer one comes first.
const MOUNTS: &[Mount] = &[
    azure_deployments("/openai/openai/deployments"),
    azure_deployments("/openai/deployments"),
    openai("/openai/openai/v1", Some("azure")),
    openai("/openai/openai", Some("azure")),
    openai("/openai/v1", Some("openai")),
    openai("/openai", Some("openai")),
    anthropic("/anthropic/v1", Some("anthropic")),
    genai("/genai/v1beta", "/v1beta"),
    genai("/genai/v1", "/v1"),
    genai("/genai/upload/v1beta", "/upload/v1beta"),
    Mount {
        path: "/bedrock",
        rows: BEDROCK,
        dialect: BedrockConverse,
        default_provider: Some("bedrock"),
        version: "",
        plain: false,
    },
    cohere("/cohere/v2", "/v2", COHERE),
    cohere("/cohere/v1", "/v1", COHERE_V1),
];

/// What a provider's own client sends, passed on as it came: the same keys, queues, accounts and log, and nothing added.
const PASSTHROUGH: &[Mount] = &[
    plain(openai("/openai_passthrough/v1", Some("openai"))),
    plain(openai("/openai_passthrough", Some("openai"))),
    plain(azure_deployments("/azure_passthrough/openai/deployments")),
    plain(openai("/azure_passthrough/openai/v1", Some("azure"))),
    plain(anthropic("/anthropic_passthrough/v1", Some("anthropic"))),
    plain(genai("/genai_passthrough/v1beta", "/v1beta")),
    plain(genai("/genai_passthrough/v1", "/v1")),
];

/// One base URL for every SDK.
const SETS: &[&str] = &["/litellm", "/langchain", "/pydanticai"];

const fn openai(path: &'static str, default_provider: Option<&'static str>) -> Mount {
    Mount { path, rows: OPENAI, dialect: OpenAiChat, default_provider, version: "/v1", plain: false }
}

const fn azure_deployments(path: &'static str) -> Mount {
    Mount {
        path,
        rows: AZURE_DEPLOYMENTS,
        dialect: OpenAiChat,
        default_provider: Some("azure"),
        version: "",
        plain: false,
    }
}

const fn anthropic(path: &'static str, default_provider: Option<&'static str>) -> Mount {
    Mount { path, rows: ANTHROPIC, dialect: AnthropicMessages, default_provider, version: "/v1", plain: false }
}

const fn genai(path: &'static str, version: &'static str) -> Mount {
    Mount { path, rows: GENAI, dialect: Gemini, default_provider: Some("gemini"), version, plain: false }
}

const fn cohere(path: &'static str, version: &'static str, rows: &'static [Row]) -> Mount {
    Mount { path, rows, dialect: CohereChat, default_provider: Some("cohere"), version, plain: false }
}

const fn plain(mount: Mount) -> Mount {
    Mount { plain: true, ..mount }
}

const fn chat(dialect: Dialect) -> Serves {
    Serves::Chat { dialect, stream: None }
}

const fn post(path: Path, serves: Serves) -> Row {
    Row { method: Method::POST, path, serves }
}

const fn delete(path: Path, serves: Serves) -> Row {
    Row { method: Method::DELETE, path, serves }
}

const fn get(path: Path, serves: Serves) -> Row {
    Row { method: Method::GET, path, serves }
}

/// Looks a request up.
pub fn find(method: &Method, path: &str) -> Found {
    let mut other = Found::Nothing;
    for Fit { name, mount, row, named, rest } in fitting(path) {
        let Ok(named) = decoded(named) else { continue };
        if row.method == *method {
            let Mount { dialect, default_provider, .. } = *mount;
            let upstream = match row.serves {
                Serves::Verbatim(_) => format!("{}{rest}", mount.version),
                _ => String::new(),
            };
            let with_tools = !mount.plain;
            let serves = row.serves;
            return Found::Route(Route { name, serves, dialect, default_provider, named, upstream, with_tools });
        }
        match &mut other {
            // Several mounts may share a path.
            Found::OtherMethod { allowed, .. } if allowed.contains(&row.method) => {}
            Found::OtherMethod { allowed, .. } => allowed.push(row.method.clone()),
            _ => other = Found::OtherMethod { name, allowed: vec![row.method.clone()] },
        }
    }
    other
}

/// One line of the table, for the documentation.
#[derive(Debug)]
pub struct Listed {
    pub mount: &'static str,
    pub dialect: Dialect,
    /// The provider of a model that names none.
    pub default_provider: Option<&'static str>,
    pub method: Method,
    /// Below the mount, with `{model}` and `*` for what the caller says.
    pub path: String,
    pub serves: Serves,
}

/// Every route outside the sets, in the order in which they are looked up.
pub fn listed() -> impl Iterator<Item = Listed> {
    ROOT.iter().chain(MOUNTS).chain(PASSTHROUGH).flat_map(|mount| {
        mount.rows.iter().map(|row| Listed {
            mount: mount.path,
            dialect: mount.dialect,
            default_provider: mount.default_provider,
            method: row.method.clone(),
            path: row.path.name("", "").concat(),
            serves: row.serves,
        })
    })
}

/// What a path names, percent-decoded; most name nothing.
fn decoded(named: &str) -> Result<Option<String>, Utf8Error> {
    if named.is_empty() {
        return Ok(None);
    }
    percent_decode_str(named).decode_utf8().map(|named| Some(named.into_owned()))
}

/// The dialect whose errors a path's callers understand, whether or not there is such a path.
pub fn dialect_of(path: &str) -> Dialect {
    let (set, rest) = set_of(path);
    let below = |mount: &&Mount| rest.strip_prefix(mount.path).is_some_and(|rest| rest.starts_with('/'));
    mounts_of(set).into_iter().flatten().find(below).map_or(OpenAiChat, |mount| mount.dialect)
}

/// A row that a path fits, whatever the method.
#[derive(Clone, Copy)]
struct Fit<'p> {
    name: RouteName,
    mount: &'static Mount,
    row: &'static Row,
    /// What stands in the open place; empty where there is none.
    named: &'p str,
    /// The path below the mount.
    rest: &'p str,
}

/// Does a path stand below a passthrough, where nothing but the table's operations may be asked?
pub fn is_passthrough(path: &str) -> bool {
    PASSTHROUGH.iter().any(|mount| path.strip_prefix(mount.path).is_some_and(|rest| rest.starts_with('/')))
}

/// The rows with no open part, by their whole path. Nearly all traffic goes there, and is not searched for.
static EXACT: LazyLock<HashMap<String, Vec<Fit<'static>>>> = LazyLock::new(|| {
    let mut exact: HashMap<String, Vec<Fit<'static>>> = HashMap::default();
    for set in [""].iter().chain(SETS) {
        for mount in mounts_of(set).into_iter().flatten() {
            for row in mount.offered() {
                if let Path::Exact(rest) = row.path {
                    let fit = Fit { name: row.name(set, mount), mount, row, named: "", rest };
                    exact.entry([*set, mount.path, rest].concat()).or_default().push(fit);
                }
            }
        }
    }
    exact
});

/// The rows that a path fits, in the order of the table, those that it names in full first.
fn fitting(path: &str) -> impl Iterator<Item = Fit<'_>> {
    EXACT.get(path).into_iter().flatten().copied().chain(searched(path))
}

fn searched(path: &str) -> impl Iterator<Item = Fit<'_>> {
    let (set, rest) = set_of(path);
    let mounts = mounts_of(set).into_iter().flatten();
    let below = mounts.filter_map(move |mount| Some((mount, rest.strip_prefix(mount.path)?)));
    below.flat_map(move |(mount, rest)| {
        mount.offered().filter_map(move |row| {
            let named = row.path.named_in(rest)?;
            Some(Fit { name: row.name(set, mount), mount, row, named, rest })
        })
    })
}

/// The set that a path stands in, and the path below it.
fn set_of(path: &str) -> (&'static str, &str) {
    let inside = SETS.iter().find_map(|set| Some((*set, path.strip_prefix(set)?)));
    inside.filter(|(_, rest)| rest.starts_with('/')).unwrap_or(("", path))
}

fn mounts_of(set: &str) -> [&'static [Mount]; 3] {
    if set.is_empty() { [ROOT, MOUNTS, PASSTHROUGH] } else { [MOUNTS, SET_ROOT, &[]] }
}

// === impl Mount ===

impl Mount {
    /// The rows that may be asked here: a passthrough is for what a model does.
    fn offered(&self) -> impl Iterator<Item = &'static Row> {
        let plain = self.plain;
        self.rows.iter().filter(move |row| !plain || matches!(row.serves, Serves::Chat { .. } | Serves::Order(_)))
    }
}

// === impl Row ===

impl Row {
    fn name(&self, set: &'static str, mount: &Mount) -> RouteName {
        RouteName(self.path.name(set, mount.path))
    }
}

// === impl Path ===

impl Path {
    /// What a path that fits names in the open part; nothing fits a path without one.
    fn named_in(self, path: &str) -> Option<&str> {
        match self {
            Self::Exact(_) => None,
            Self::Model(head, tail) => path.strip_prefix(head)?.strip_suffix(tail).filter(|model| is_name(model)),
            Self::Tree(head) => is_plain(path.strip_prefix(head)?).then_some(""),
        }
    }

    fn name(self, set: &'static str, mount: &'static str) -> [&'static str; 5] {
        match self {
            Self::Exact(path) => [set, mount, path, "", ""],
            Self::Model(head, tail) => [set, mount, head, "{model}", tail],
            Self::Tree(head) => [set, mount, head, "/*", ""],
        }
    }
}

/// Can this be a model's name? What ends in a slash is the beginning of one, and what begins with a colon an action.
fn is_name(model: &str) -> bool {
    !model.is_empty() && !model.ends_with('/') && !model.starts_with(':')
}

/// Nothing, or segments that every server reads alike: a path that is passed on must not lead out of where it began.
fn is_plain(below: &str) -> bool {
    let plain = |segment: &str| {
        let characters = segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:~".contains(&byte));
        characters && !segment.is_empty() && !segment.bytes().all(|byte| byte == b'.')
    };
    below.is_empty() || below.strip_prefix('/').is_some_and(|segments| segments.split('/').all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str) -> Route {
        match find(&Method::POST, path) {
            Found::Route(route) => route,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn every_sdk_finds_its_routes_below_every_base_url() {
        for (path, dialect, provider) in [
            ("/v1/chat/completions", OpenAiChat, None),
            ("/v1/responses", OpenAiResponses, None),
            ("/v1/messages", AnthropicMessages, Some("anthropic")),
            ("/openai/chat/completions", OpenAiChat, Some("openai")),
            ("/openai/v1/responses", OpenAiResponses, Some("openai")),
            ("/openai/openai/v1/responses", OpenAiResponses, Some("azure")),
            ("/anthropic/v1/messages", AnthropicMessages, Some("anthropic")),
            ("/litellm/chat/completions", OpenAiChat, Some("openai")),
            ("/litellm/v1/chat/completions", OpenAiChat, Some("openai")),
            ("/langchain/anthropic/v1/messages", AnthropicMessages, Some("anthropic")),
            ("/pydanticai/openai/v1/responses", OpenAiResponses, Some("openai")),
        ] {
            let route = found(path);
            assert_eq!(route.serves, chat(dialect), "{path}");
            assert_eq!((route.default_provider, route.named.as_deref()), (provider, None), "{path}");
            assert_eq!(route.name.text(), path);
        }
    }

    #[test]
    fn a_path_may_name_the_model() {
        for (path, name, model, stream) in [
            (
                "/genai/v1beta/models/gemini-2.5-flash:generateContent",
                "/genai/v1beta/models/{model}:generateContent",
                "gemini-2.5-flash",
                Some(false),
            ),
            (
                "/genai/v1/models/openai/gpt-4o:streamGenerateContent",
                "/genai/v1/models/{model}:streamGenerateContent",
                "openai/gpt-4o",
                Some(true),
            ),
            (
                "/pydanticai/genai/v1beta/models/ollama%2Fllama3:8b:generateContent",
                "/pydanticai/genai/v1beta/models/{model}:generateContent",
                "ollama/llama3:8b",
                Some(false),
            ),
            ("/v1beta/models/g:generateContent", "/v1beta/models/{model}:generateContent", "g", Some(false)),
            (
                "/genai/v1beta/openai/gpt-4o:streamGenerateContent",
                "/genai/v1beta/{model}:streamGenerateContent",
                "openai/gpt-4o",
                Some(true),
            ),
            (
                "/openai/openai/deployments/my-gpt/chat/completions",
                "/openai/openai/deployments/{model}/chat/completions",
                "my-gpt",
                None,
            ),
        ] {
            let route = found(path);
            assert!(matches!(route.serves, Serves::Chat { stream: found, .. } if found == stream), "{path}");
            assert_eq!((route.name.text().as_str(), route.named.as_deref()), (name, Some(model)), "{path}");
        }
    }

    #[test]
    fn a_path_of_ours_knows_its_methods_and_any_path_the_dialect_of_its_errors() {
        assert!(
            matches!(find(&Method::GET, "/v1/chat/completions"), Found::OtherMethod { allowed, .. } if allowed == [Method::POST])
        );
        // Three dialects have their lists of models there.
        assert!(
            matches!(find(&Method::PUT, "/v1/models"), Found::OtherMethod { allowed, .. } if allowed == [Method::GET])
        );
        for path in ["/v1", "/openai", "/litellmx/chat/completions", "/v1/models/:generateContent", "", "/", "*"] {
            assert!(matches!(find(&Method::POST, path), Found::Nothing), "{path}");
        }
        for (path, dialect) in [
            ("/anthropic/v1/nothing", AnthropicMessages),
            ("/genai/v1beta/models/x:other", Gemini),
            ("/langchain/genai/v1/x", Gemini),
            ("/openai/v2", OpenAiChat),
            ("/anthropicx/v1/", OpenAiChat),
            ("/", OpenAiChat),
        ] {
            assert_eq!(dialect_of(path), dialect, "{path}");
        }
    }
}
