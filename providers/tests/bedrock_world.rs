//! Bedrock from one end to the other, against a scripted one that checks signatures, shapes and seals as strictly as the real one.
#![cfg(test)]

#[path = "support/fold.rs"]
mod fold;
#[path = "support/scripted.rs"]
mod scripted;

use std::time::SystemTime;

use bifrost_fixtures::{Style, Upstream};
use bifrost_providers::auth::{AuthScheme, AwsKeys, Credential};
use bifrost_providers::chat::{ContentForm, Extras, Message, Part, PartKind, Role, ToolResult};
use bifrost_providers::endpoint::Endpoint;
use bifrost_providers::failure::FailureKind;
use bifrost_providers::provider::{Outgoing, Provider, failure_of};
use bifrost_providers::{ChatReply, ChatRequest, Dialect, Failure, Losses};
use bytes::Bytes;
use fold::fold;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

const BEDROCK: Dialect = Dialect::BedrockConverse;
const CLAUDE: &str = "us.anthropic.claude-opus-4-6-v1:0";

/// A scripted Bedrock, and our way to it.
struct World {
    upstream: Upstream,
    provider: Provider,
}

impl World {
    async fn start() -> Self {
        let upstream = Upstream::start(Style::Bedrock).await.unwrap();
        let provider = scripted::provider("bedrock", &upstream);
        Self { upstream, provider }
    }

    async fn ask(&self, request: &ChatRequest, credential: &Credential) -> Result<ChatReply, Box<Failure>> {
        let call = self.provider.call(Outgoing {
            endpoint: Endpoint::Converse,
            model: CLAUDE,
            stream: request.stream,
            credential: Some(credential),
            forwarded: &HeaderMap::new(),
            content_type: None,
            body: Bytes::from(BEDROCK.codec().encode_request(request, &mut Losses::default())),
            now: SystemTime::now(),
        })?;
        let mut answer = self.provider.send(call).await?;
        if !answer.status.is_success() {
            let body = answer.body.collect(1 << 20).await?;
            return Err(failure_of(BEDROCK.codec(), answer.status, &answer.headers, body, SystemTime::now()));
        }
        if !request.stream {
            let body = answer.body.collect(1 << 20).await?;
            return Ok(BEDROCK.codec().decode_reply(&body).unwrap());
        }
        assert!(BEDROCK.framing().fits(&answer.headers));
        let mut splitter = BEDROCK.framing().splitter(1 << 20);
        let (mut reader, mut events) = (BEDROCK.codec().reader(), Vec::new());
        while let Some(frame) = answer.body.frame().await {
            if let Ok(chunk) = frame?.into_data() {
                splitter.push(chunk);
            }
            for event in splitter.by_ref() {
                reader.read(&event.unwrap().frame, &mut events)?;
            }
        }
        reader.finish(&mut events)?;
        Ok(fold(&events))
    }
}

fn signed(secret: &str, token: Option<&str>) -> Credential {
    let keys = AwsKeys {
        access_key: "AKID".into(),
        secret_key: secret.into(),
        session_token: token.map(Into::into),
        region: "eu-west-1".into(),
    };
    Credential::aws(keys, "bedrock").unwrap()
}

/// A request as a client of Anthropic's has it, for the model it will be asked of.
fn request(script: &str, stream: bool) -> ChatRequest {
    let tool = json!({"name":"add","input_schema":{"properties":{"a":{"type":"integer"}}}});
    let body = json!({"model":"m","max_tokens":4096,"stream":stream,"tools":[tool],
        "thinking":{"type":"enabled","budget_tokens":1024},
        "messages":[{"role":"user","content":script}]});
    let mut request = Dialect::AnthropicMessages.codec().decode_request(body.to_string().as_bytes()).unwrap();
    request.model = CLAUDE.into();
    request
}

fn said(reply: &ChatReply) -> Value {
    let body = BEDROCK.codec().encode_reply(reply, None, &mut Losses::default());
    serde_json::from_slice(&body).unwrap()
}

fn message(role: Role, parts: Vec<Part>, pointer: &str) -> Message {
    let (content, pointer) = (ContentForm::Parts, pointer.to_owned());
    Message { role, parts, content, name: None, extras: Extras::default(), pointer }
}

/// Thinking, sealed reasoning and calls go there and come back, whole and streamed, signed and with a key.
#[tokio::test]
async fn a_conversation_with_tools_goes_on_with_its_seals() {
    let world = World::start().await;
    let key = Credential::new(&"api-key".into(), AuthScheme::Sigv4("bedrock")).unwrap();
    for (credential, stream) in
        [(signed("secret-of-AKID", None), false), (signed("secret-of-AKID", Some("t")), true), (key, true)]
    {
        let script = r#"[split: 7][think: hm][redacted][call: add {"a":1}][then][say: It is {results}.]"#;
        let mut request = request(script, stream);
        let reply = world.ask(&request, &credential).await.unwrap();
        let parts = reply.choices[0].parts.clone();
        let call = parts.iter().find_map(|part| match &part.kind {
            PartKind::ToolCall(call) => Some(call.clone()),
            _ => None,
        });
        let call = call.unwrap();
        assert_eq!((call.name.as_escaped(), call.arguments.to_plain().as_ref()), ("add", r#"{"a":1}"#));
        let content = &said(&reply)["output"]["message"]["content"];
        assert_eq!(content[0]["reasoningContent"]["reasoningText"]["text"], "hm");
        assert!(content[1]["reasoningContent"]["redactedContent"].is_string(), "{content}");
        let result = ToolResult {
            call_id: call.id,
            parts: vec![PartKind::Text("3".into()).into()],
            content: ContentForm::Plain,
            is_error: None,
        };
        request.messages.push(message(Role::Assistant, parts, "/messages/1"));
        request.messages.push(message(Role::Tool, vec![PartKind::ToolResult(result).into()], "/messages/2"));
        let reply = world.ask(&request, &credential).await.unwrap();
        let texts = said(&reply)["output"]["message"]["content"].to_string();
        assert!(texts.contains("It is 3."), "{texts}");
        assert!(reply.usage.unwrap().input > 0);
    }
    let paths: Vec<String> = world.upstream.requests().iter().map(|request| request.path.clone()).collect();
    assert!(
        paths.iter().all(|path| path.starts_with("/model/us.anthropic.claude-opus-4-6-v1%3A0/converse")),
        "{paths:?}"
    );
}

#[tokio::test]
async fn failures_are_told_apart_whole_and_in_mid_stream() {
    use FailureKind::{Credential as Key, RateLimited, Unavailable};
    let world = World::start().await;
    for (script, secret, stream, kind, named) in [
        ("[say: hi]", "wrong", false, Key, "InvalidSignatureException"),
        ("[fail: 429 retry-after=2]", "secret-of-AKID", false, RateLimited, "ThrottlingException"),
        ("[fail: 503]", "secret-of-AKID", true, Unavailable, "ServiceUnavailableException"),
        ("[error-after: 2][say: hello there]", "secret-of-AKID", true, Unavailable, "modelStreamErrorException"),
    ] {
        let failure = world.ask(&request(script, stream), &signed(secret, None)).await.unwrap_err();
        assert_eq!((failure.kind, failure.provider_type.as_deref()), (kind, Some(named)), "{script}: {failure}");
        assert!(!failure.message.is_empty());
    }
    let failure = world.ask(&request("[cut: 300][say: hello there]", true), &signed("secret-of-AKID", None)).await;
    assert_eq!(failure.unwrap_err().kind, FailureKind::Broken);
}
