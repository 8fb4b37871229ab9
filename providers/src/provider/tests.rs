//! A provider's URLs, headers and failures.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use secrecy::SecretString;

use super::*;
use crate::auth::{AuthScheme, AwsKeys};
use crate::catalog::{self, Of};
use crate::dialect::{EventReader, EventWriter, Problem, WriterOptions};
use crate::family::Family;
use crate::transport::TransportSettings;
use crate::{ChatReply, ChatRequest, Codec, Losses, Malformed};

fn settings(row: &str) -> ProviderSettings {
    let transport = Transport::new(&TransportSettings {
        connect_timeout: Duration::from_secs(1),
        pool_idle: Duration::from_secs(1),
        max_idle_per_host: 1,
        http2_only: false,
        ca_cert_pem: None,
        insecure_skip_verify: true,
        address_allowed: Arc::new(|_| true),
        proxy: None,
        background: Arc::new(drop),
        shards: 1,
    });
    ProviderSettings {
        name: row.to_owned(),
        row: *catalog::row(row).unwrap(),
        base_url: None,
        places: vec![
            ("endpoint", "https://cloud.example".into()),
            ("version", "?api-version=2024-10-21".into()),
            ("region", "us-east5".into()),
            ("project", "p-1".into()),
        ],
        extra_headers: vec![],
        path_overrides: vec![],
        keyless: false,
        timeouts: Timeouts {
            first_byte: Duration::from_secs(30),
            idle: Duration::from_mins(1),
            total: Some(Duration::from_secs(90)),
        },
        transport: Arc::new(transport.unwrap()),
    }
}

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

/// What a provider is for: chat, or the first of what it serves instead.
fn chat(provider: &Provider, stream: bool, forwarded: &HeaderMap) -> Call {
    let key = SecretString::from("sk-1");
    let credential = Credential::new(&key, provider.row().auth).unwrap();
    let endpoint = provider.row().only.first().copied().unwrap_or(Endpoint::chat(provider.dialect()));
    let body = Bytes::from_static(b"{}");
    provider
        .call(Outgoing {
            endpoint,
            model: "m",
            stream,
            credential: Some(&credential),
            forwarded,
            content_type: None,
            body,
            now: NOW,
        })
        .unwrap()
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

#[test]
fn every_row_makes_a_provider_with_its_documented_urls() {
    for row in catalog::rows() {
        let provider = Provider::new(settings(row.name)).unwrap();
        let uri = chat(&provider, false, &HeaderMap::new()).uri.to_string();
        let expected = match row.name {
            "openai" => "https://api.openai.com/v1/chat/completions",
            "azure" => "https://cloud.example/openai/v1/chat/completions?api-version=2024-10-21",
            "vertex" => {
                "https://cloud.example/v1/projects/p-1/locations/us-east5/publishers/google/models/m:generateContent"
            }
            "anthropic" => "https://api.anthropic.com/v1/messages",
            "gemini" => "https://generativelanguage.googleapis.com/v1beta/models/m:generateContent",
            "cohere" => "https://api.cohere.com/v2/chat",
            "bedrock" => "https://bedrock-runtime.us-east5.amazonaws.com/model/m/converse",
            "elevenlabs" => "https://api.elevenlabs.io/v1/text-to-speech/m/stream",
            "replicate" => "https://api.replicate.com/v1/models/m/predictions",
            "groq" => "https://api.groq.com/openai/v1/chat/completions",
            "mistral" => "https://api.mistral.ai/v1/chat/completions",
            "openrouter" => "https://openrouter.ai/api/v1/chat/completions",
            "deepseek" => "https://api.deepseek.com/chat/completions",
            "xai" => "https://api.x.ai/v1/chat/completions",
            "fireworks" => "https://api.fireworks.ai/inference/v1/chat/completions",
            "perplexity" => "https://api.perplexity.ai/chat/completions",
            "ollama" => "http://localhost:11434/v1/chat/completions",
            _ => {
                assert!(uri.ends_with("/v1/chat/completions"), "{uri}");
                continue;
            }
        };
        assert_eq!(uri, expected);
    }
}

#[test]
fn variants_have_their_own_urls_and_dialects() {
    let vertex = "https://cloud.example/v1/projects/p-1/locations/us-east5/publishers/anthropic/models";
    let azure = "https://cloud.example";
    for (row, of, dialect, whole, streamed) in [
        (
            "azure",
            Of::DatedVersion,
            Dialect::OpenAiChat,
            format!("{azure}/openai/deployments/m/chat/completions?api-version=2024-10-21"),
            format!("{azure}/openai/deployments/m/chat/completions?api-version=2024-10-21"),
        ),
        (
            "azure",
            Of::Family(Family::Anthropic),
            Dialect::AnthropicMessages,
            format!("{azure}/anthropic/v1/messages"),
            format!("{azure}/anthropic/v1/messages"),
        ),
        (
            "vertex",
            Of::Family(Family::Anthropic),
            Dialect::AnthropicMessages,
            format!("{vertex}/m:rawPredict"),
            format!("{vertex}/m:streamRawPredict"),
        ),
    ] {
        let row = *catalog::row(row).unwrap().variant(of).unwrap();
        let provider = Provider::new(ProviderSettings { row, ..settings("azure") }).unwrap();
        assert_eq!(provider.dialect(), dialect);
        assert_eq!(chat(&provider, false, &HeaderMap::new()).uri.to_string(), whole);
        assert_eq!(chat(&provider, true, &HeaderMap::new()).uri.to_string(), streamed);
    }
}

/// Claude at Google Cloud has its model in the URL alone, whether the body was the caller's or was written here.
#[test]
fn a_body_says_the_model_where_the_provider_wants_it() {
    let named = |provider: &Provider, body: &'static str| {
        let body = Bytes::from_static(body.as_bytes());
        let mut splice = Splice::new(&body);
        provider.name_model(&mut splice, &Scan::of(&body).unwrap(), "claude-x");
        let (spliced, enveloped) = (splice.build(), provider.enveloped(body, "claude-x"));
        [spliced, enveloped].map(|body| String::from_utf8(body.to_vec()).unwrap())
    };
    let row = *catalog::row("vertex").unwrap().variant(Of::Family(Family::Anthropic)).unwrap();
    let vertex = Provider::new(ProviderSettings { row, ..settings("vertex") }).unwrap();
    for body in [
        r#"{"model":"vertex/claude","max_tokens":5}"#,
        r#"{"max_tokens":5,"model":"vertex/claude"}"#,
        r#"{"max_tokens":5, "model":"vertex/claude" }"#,
    ] {
        for said in named(&vertex, body) {
            let said: serde_json::Value = serde_json::from_str(&said).unwrap();
            assert_eq!(said, serde_json::json!({"max_tokens": 5, "anthropic_version": "vertex-2023-10-16"}), "{body}");
        }
    }
    let anthropic = Provider::new(settings("anthropic")).unwrap();
    let body = r#"{"model":"a","max_tokens":5}"#;
    assert_eq!(named(&anthropic, body), [r#"{"model":"claude-x","max_tokens":5}"#, body]);
}

#[test]
fn a_base_url_with_or_without_version_gives_the_same_url() {
    for (row, base, uri) in [
        ("openai", "https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions"),
        ("openai", "https://api.openai.com/v1/", "https://api.openai.com/v1/chat/completions"),
        ("openai", "http://127.0.0.1:9/", "http://127.0.0.1:9/v1/chat/completions"),
        ("openai", "https://open.bigmodel.cn/api/paas/v4", "https://open.bigmodel.cn/api/paas/v4/chat/completions"),
        ("openai", "https://h/vault", "https://h/vault/v1/chat/completions"),
        ("deepseek", "https://api.deepseek.com/v1", "https://api.deepseek.com/v1/chat/completions"),
        ("anthropic", "http://localhost:7/v1", "http://localhost:7/v1/messages"),
        ("gemini", "http://localhost:7/v1beta", "http://localhost:7/v1beta/models/m:generateContent"),
        ("bedrock", "http://localhost:7", "http://localhost:7/model/m/converse"),
    ] {
        let provider = Provider::new(ProviderSettings { base_url: Some(base.into()), ..settings(row) }).unwrap();
        assert_eq!(chat(&provider, false, &HeaderMap::new()).uri.to_string(), uri);
    }
}

/// The region is the key's, the list of models has a host of its own, and what is signed is what is sent.
#[test]
fn calls_to_bedrock_go_to_the_region_of_their_key_and_are_signed() {
    let keys = AwsKeys {
        access_key: "AKID".into(),
        secret_key: "hush".into(),
        session_token: None,
        region: "us-east-1".into(),
    };
    let credential = Credential::aws(keys, "bedrock").unwrap();
    let call = |base: Option<&str>, endpoint, stream| {
        let settings = ProviderSettings { base_url: base.map(Into::into), places: vec![], ..settings("bedrock") };
        let (model, forwarded, body) = ("us.meta.llama:0", &HeaderMap::new(), Bytes::new());
        let credential = Some(&credential);
        let outgoing = Outgoing { endpoint, model, stream, credential, forwarded, content_type: None, body, now: NOW };
        Provider::new(settings).unwrap().call(outgoing).unwrap()
    };
    for (base, endpoint, stream, uri) in [
        (
            None,
            Endpoint::Converse,
            true,
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/us.meta.llama%3A0/converse-stream",
        ),
        (None, Endpoint::Models, false, "https://bedrock.us-east-1.amazonaws.com/foundation-models"),
        (Some("http://localhost:7"), Endpoint::Models, false, "http://localhost:7/foundation-models"),
        (
            Some("https://vpce-1.bedrock-runtime.{region}.vpce.amazonaws.com"),
            Endpoint::Converse,
            false,
            "https://vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com/model/us.meta.llama%3A0/converse",
        ),
    ] {
        let call = call(base, endpoint, stream);
        assert_eq!(call.uri, uri);
        let authorization = call.headers["authorization"].to_str().unwrap();
        assert!(authorization.contains("/us-east-1/bedrock/aws4_request, SignedHeaders=content-type;host;x-amz-date,"));
        assert_eq!(call.headers["x-amz-date"], "19700101T000000Z");
        let accept = if stream { "application/vnd.amazon.eventstream, application/json" } else { "application/json" };
        assert_eq!(call.headers["accept"], accept);
    }
    let provider = Provider::new(ProviderSettings { places: vec![], ..settings("bedrock") }).unwrap();
    let (endpoint, forwarded, body) = (Endpoint::Converse, &HeaderMap::new(), Bytes::new());
    let (stream, credential, content_type) = (false, None, None);
    let nowhere = Outgoing { endpoint, model: "m", stream, credential, forwarded, content_type, body, now: NOW };
    assert!(provider.call(nowhere).unwrap_err().message.contains("says its region"));
}

/// The key is a header, whatever the model is called; model and framing stand in the URL.
#[test]
fn gem_key_never_in_url_or_log() {
    let provider = Provider::new(settings("gemini")).unwrap();
    let credential = Credential::new(&SecretString::from("sk-1"), provider.row().auth).unwrap();
    let call = |model, stream| {
        let (endpoint, body, forwarded) = (Endpoint::chat(provider.dialect()), Bytes::new(), &HeaderMap::new());
        provider
            .call(Outgoing {
                endpoint,
                model,
                stream,
                credential: Some(&credential),
                forwarded,
                content_type: None,
                body,
                now: NOW,
            })
            .unwrap()
    };
    let base = "https://generativelanguage.googleapis.com/v1beta/models";
    for (model, stream, rest) in [
        ("gemini-2.5-flash", false, "gemini-2.5-flash:generateContent"),
        ("gemini-2.5-flash", true, "gemini-2.5-flash:streamGenerateContent?alt=sse"),
        ("../x?key=y#{operation}", true, "..%2Fx%3Fkey%3Dy%23%7Boperation%7D:streamGenerateContent?alt=sse"),
    ] {
        let call = call(model, stream);
        assert_eq!(call.uri.to_string(), format!("{base}/{rest}"));
        assert!(call.headers["x-goog-api-key"].is_sensitive());
        assert!(!format!("{call:?}").contains("sk-1"));
    }
}

#[test]
fn paths_are_overridden_by_request_type() {
    let with = |overrides: &[(&str, &str)]| {
        let path_overrides = overrides.iter().map(|(of, path)| ((*of).to_owned(), (*path).to_owned())).collect();
        Provider::new(ProviderSettings { path_overrides, base_url: Some("http://h/v1".into()), ..settings("openai") })
    };
    let uris =
        |provider: &Provider| [false, true].map(|stream| chat(provider, stream, &HeaderMap::new()).uri.to_string());
    assert_eq!(uris(&with(&[("chat_completion", "/x")]).unwrap()), ["http://h/v1/x"; 2]);
    assert_eq!(
        uris(&with(&[("chat_completion_stream", "https://other/s?api-version=1")]).unwrap()),
        ["http://h/v1/chat/completions", "https://other/s?api-version=1"]
    );
    let error = with(&[("chat_completion", "x")]).unwrap_err().to_string();
    assert_eq!(error, "request_path_overrides.chat_completion: must begin with / or be a whole URL");
}

#[test]
fn bad_settings_name_their_field() {
    let refused = |change: fn(&mut ProviderSettings)| {
        let mut settings = settings("openai");
        change(&mut settings);
        Provider::new(settings).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|s| s.base_url = Some("api.openai.com".into())),
        "base_url: must begin with http:// or https://"
    );
    assert!(refused(|s| s.base_url = Some("https://me:secret@h".into())).starts_with("base_url: must not hold a user"));
    assert!(
        refused(|s| s.extra_headers = vec![("Host".into(), "h".into())]).starts_with("extra_headers.Host: belongs")
    );
    let injected = refused(|s| s.extra_headers = vec![("x-a".into(), "b\r\nsecret: c".into())]);
    assert_eq!(injected, "extra_headers.x-a: not a header value");
}

#[test]
fn a_call_has_its_headers_and_nobody_elses() {
    let extra_headers = vec![("X-Team".into(), "blue".into()), ("traceparent".into(), "ours".into())];
    let provider = Provider::new(ProviderSettings { extra_headers, ..settings("openai") }).unwrap();
    let call = chat(
        &provider,
        true,
        &headers(&[("traceparent", "theirs"), ("openai-beta", "b"), ("cookie", "c"), ("host", "h")]),
    );
    let expected = headers(&[
        ("x-team", "blue"),
        ("traceparent", "ours"),
        ("openai-beta", "b"),
        ("content-type", "application/json"),
        ("accept-encoding", "identity"),
        ("user-agent", concat!("bifrost/", env!("CARGO_PKG_VERSION"))),
        ("accept", "text/event-stream, application/json"),
        ("authorization", "Bearer sk-1"),
    ]);
    assert_eq!(call.headers, expected);
    assert_eq!(call.timeouts.total, None, "a stream may last");
    assert!(chat(&provider, false, &HeaderMap::new()).timeouts.total.is_some());
    assert!(!format!("{call:?} {:?} {provider:?}", call.headers).contains("sk-1"));
}

#[test]
fn anthropic_gets_its_version_and_all_betas() {
    let extra_headers = vec![("anthropic-beta".into(), "a".into())];
    let provider = Provider::new(ProviderSettings { extra_headers, ..settings("anthropic") }).unwrap();
    let call = chat(&provider, false, &headers(&[("anthropic-beta", "b")]));
    assert_eq!(call.headers["x-api-key"], "sk-1");
    assert_eq!(call.headers["anthropic-version"], "2023-06-01");
    assert_eq!(call.headers.get_all("anthropic-beta").iter().collect::<Vec<_>>(), ["a", "b"]);
    let call = chat(&provider, false, &headers(&[("anthropic-version", "2026-01-01")]));
    assert_eq!(call.headers["anthropic-version"], "2026-01-01");
}

#[test]
fn only_listed_client_headers_go_upstream() {
    let client = headers(&[
        ("authorization", "Bearer sk-bf-1"),
        ("x-api-key", "k"),
        ("api-key", "k"),
        ("x-goog-api-key", "k"),
        ("cookie", "c"),
        ("x-bf-vk", "v"),
        ("x-stainless-os", "Linux"),
        ("connection", "close"),
        ("x-anything", "1"),
        ("traceparent", "t"),
        ("tracestate", "s"),
        ("anthropic-version", "v"),
        ("anthropic-beta", "b"),
        ("openai-beta", "b"),
        ("openai-organization", "o"),
        ("openai-project", "p"),
    ]);
    let names = |upstream| {
        let mut names: Vec<_> = forwardable(&client, upstream).keys().map(ToString::to_string).collect();
        names.sort();
        names
    };
    assert_eq!(
        names(Dialect::OpenAiChat),
        ["openai-beta", "openai-organization", "openai-project", "traceparent", "tracestate"]
    );
    assert_eq!(names(Dialect::AnthropicMessages), ["anthropic-beta", "anthropic-version", "traceparent", "tracestate"]);
    for (name, reserved) in [("x-api-key", true), ("x-bf-vk", true), ("te", true), ("x-custom", false)] {
        assert_eq!(is_reserved(&HeaderName::from_static(name)), reserved, "{name}");
    }
}

#[test]
fn only_listed_answer_headers_come_back() {
    let answer = headers(&[
        ("request-id", "1"),
        ("x-request-id", "2"),
        ("anthropic-ratelimit-unified-status", "allowed"),
        ("openai-processing-ms", "3"),
        ("x-ratelimit-remaining-requests", "4"),
        ("retry-after", "5"),
        ("x-should-retry", "false"),
        ("set-cookie", "c"),
        ("content-length", "6"),
        ("content-encoding", "gzip"),
        ("transfer-encoding", "chunked"),
        ("server", "s"),
    ]);
    assert_eq!(returnable(&answer).len(), 7);
    for name in ["set-cookie", "content-length", "content-encoding", "transfer-encoding", "server"] {
        assert!(!returnable(&answer).contains_key(name));
    }
}

#[test]
fn an_endpoint_of_another_dialect_is_refused() {
    let provider = Provider::new(settings("openai")).unwrap();
    let forwarded = &HeaderMap::new();
    let outgoing = Outgoing {
        endpoint: Endpoint::Messages,
        model: "m",
        stream: false,
        credential: None,
        forwarded,
        body: Bytes::new(),
        content_type: None,
        now: NOW,
    };
    let failure = provider.call(outgoing).unwrap_err();
    assert_eq!(
        (failure.kind, &*failure.message),
        (FailureKind::Rejected, "chat_completion is not supported by openai provider")
    );
    let outgoing = Outgoing {
        endpoint: Endpoint::Models,
        model: "",
        stream: false,
        credential: None,
        forwarded,
        body: Bytes::new(),
        content_type: None,
        now: NOW,
    };
    assert_eq!(provider.call(outgoing).unwrap().method, http::Method::GET);
}

#[test]
fn what_the_row_says_is_what_the_provider_does() {
    let provider = |row| Provider::new(settings(row)).unwrap();
    assert!(provider("ollama").is_keyless() && !provider("openai").is_keyless());
    assert!(provider("openai").takes_stream_options() && !provider("mistral").takes_stream_options());
    assert!(!provider("anthropic").takes_stream_options());
    assert_eq!(provider("anthropic").row().auth, AuthScheme::Header("x-api-key"));
}

/// Only errors are read here; every kind is told by the status.
#[derive(Debug)]
struct Errors;

impl Codec for Errors {
    fn decode_request(&self, _: &[u8]) -> Result<ChatRequest, Malformed> {
        unreachable!()
    }
    fn encode_request(&self, _: &ChatRequest, _: &mut Losses) -> Vec<u8> {
        unreachable!()
    }
    fn decode_reply(&self, _: &[u8]) -> Result<ChatReply, Malformed> {
        unreachable!()
    }
    fn encode_reply(&self, _: &ChatReply, _: Option<&str>, _: &mut Losses) -> Vec<u8> {
        unreachable!()
    }
    fn encode_error(&self, _: &Problem) -> Vec<u8> {
        unreachable!()
    }
    fn decode_error(&self, status: StatusCode, body: &[u8]) -> Failure {
        let kind = if status.as_u16() == 429 { FailureKind::RateLimited } else { FailureKind::Unavailable };
        Failure::new(kind, String::from_utf8_lossy(body))
    }
    fn reader(&self) -> Box<dyn EventReader> {
        unreachable!()
    }
    fn writer(&self, _: WriterOptions) -> Box<dyn EventWriter> {
        unreachable!()
    }
}

#[test]
fn answers_that_are_no_reply_become_failures() {
    let check = |status: u16, pairs: &[(&'static str, &'static str)], body: &'static str| {
        let status = StatusCode::from_u16(status).unwrap();
        failure_of(&Errors, status, &headers(pairs), Bytes::from_static(body.as_bytes()), SystemTime::now())
    };
    let limited =
        check(429, &[("retry-after", "2"), ("set-cookie", "c"), ("content-type", "application/json")], "slow");
    assert_eq!(
        (limited.kind, limited.status.unwrap().as_u16(), &*limited.message),
        (FailureKind::RateLimited, 429, "slow")
    );
    assert_eq!(limited.retry_after, Some(Duration::from_secs(2)));
    assert_eq!(limited.body, "slow");
    assert!(limited.headers.contains_key("content-type") && !limited.headers.contains_key("set-cookie"));

    assert_eq!(check(429, &[], "Please try again in 3s.").retry_after, Some(Duration::from_secs(3)));

    let zipped = check(429, &[("content-encoding", "gzip")], "\u{1f}");
    assert_eq!(zipped.kind, FailureKind::RateLimited);
    assert!(zipped.message.contains("gzip") && zipped.body.is_empty());

    for (status, pairs, body, says) in [
        (302, &[("location", "http://169.254.169.254/latest?token=t")][..], "", "a redirect to 169.254.169.254"),
        (200, &[("content-type", "text/html; charset=utf-8")][..], "hi", "a web page"),
        (200, &[][..], " \n<!DOCTYPE html>", "a web page"),
        (204, &[][..], "", "without a body"),
    ] {
        let failure = check(status, pairs, body);
        assert_eq!(failure.kind, FailureKind::Unreadable);
        assert!(failure.message.contains(says) && !failure.message.contains("token"), "{}", failure.message);
    }
}

#[test]
fn a_model_does_not_climb_out_of_its_place_in_the_path() {
    // Where slashes are escaped only a whole name can climb.
    let (whole, within) = (vec!["..", "."], vec!["..", ".", "a/../../account", "a/..", "./b"]);
    for (row, endpoint, models) in [("replicate", Endpoint::Prediction, within), ("bedrock", Endpoint::Converse, whole)]
    {
        let provider = Provider::new(settings(row)).unwrap();
        for model in models {
            let failure = provider
                .call(Outgoing {
                    endpoint,
                    model,
                    stream: false,
                    credential: None,
                    forwarded: &HeaderMap::new(),
                    content_type: None,
                    body: Bytes::new(),
                    now: NOW,
                })
                .unwrap_err();
            assert!(failure.message.starts_with("no URL can name the model"), "{row} {model}: {failure}");
        }
    }
}
