//! Cohere from one end to the other, against a scripted one that refuses what the real one refuses.
#![cfg(test)]

#[path = "support/fold.rs"]
mod fold;
#[path = "support/scripted.rs"]
mod scripted;

use std::time::SystemTime;

use bifrost_fixtures::{Style, Upstream};
use bifrost_providers::auth::{AuthScheme, Credential};
use bifrost_providers::chat::{ContentForm, Extras, Message, Part, PartKind, Role, ToolResult};
use bifrost_providers::endpoint::Endpoint;
use bifrost_providers::failure::FailureKind;
use bifrost_providers::mapped::{Shape, shape};
use bifrost_providers::provider::{Outgoing, Provider, failure_of};
use bifrost_providers::reply::FinishReason;
use bifrost_providers::transport::Answer;
use bifrost_providers::{ChatReply, ChatRequest, Dialect, Failure, Losses};
use bytes::Bytes;
use fold::fold;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

const COHERE: Dialect = Dialect::CohereChat;

/// A scripted Cohere, and our way to it.
struct World {
    _upstream: Upstream,
    provider: Provider,
}

impl World {
    async fn start() -> Self {
        let upstream = Upstream::start(Style::Cohere).await.unwrap();
        let provider = scripted::provider("cohere", &upstream);
        Self { _upstream: upstream, provider }
    }

    async fn send(&self, endpoint: Endpoint, stream: bool, body: Vec<u8>) -> Result<Answer, Box<Failure>> {
        let key = Credential::new(&"key".into(), AuthScheme::Bearer).unwrap();
        let call = self.provider.call(Outgoing {
            endpoint,
            model: "command-a",
            stream,
            credential: Some(&key),
            forwarded: &HeaderMap::new(),
            content_type: None,
            body: Bytes::from(body),
            now: SystemTime::now(),
        })?;
        let answer = self.provider.send(call).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let body = answer.body.collect(1 << 20).await?;
        Err(failure_of(COHERE.codec(), answer.status, &answer.headers, body, SystemTime::now()))
    }

    async fn ask(&self, request: &ChatRequest) -> Result<ChatReply, Box<Failure>> {
        let body = COHERE.codec().encode_request(request, &mut Losses::default());
        let mut answer = self.send(Endpoint::CohereChat, request.stream, body).await?;
        if !request.stream {
            let body = answer.body.collect(1 << 20).await?;
            return Ok(COHERE.codec().decode_reply(&body).unwrap());
        }
        let mut splitter = COHERE.framing().splitter(1 << 20);
        let (mut reader, mut events) = (COHERE.codec().reader(), Vec::new());
        while let Some(frame) = answer.body.frame().await {
            if let Ok(chunk) = frame?.into_data() {
                splitter.push(chunk);
            }
            for event in splitter.by_ref().map(Result::unwrap).filter(|event| !event.is_comment()) {
                reader.read(&event.frame, &mut events)?;
            }
        }
        reader.finish(&mut events)?;
        Ok(fold(&events))
    }
}

/// A request as a client of this dialect has it, with everything that Cohere is told in another way.
fn request(client: Dialect, script: &str, stream: bool) -> ChatRequest {
    let schema = json!({"type":"object","properties":{"a":{"type":"integer"}}});
    let messages = json!([{"role":"system","content":"Be kind."},{"role":"user","content":script}]);
    let body = match client {
        Dialect::OpenAiChat => {
            json!({"model":"m","messages":messages,"stream":stream,"top_p":1,"presence_penalty":-1,"n":1,
            "parallel_tool_calls":true,"user":"u","reasoning_effort":"low","tool_choice":"auto",
            "tools":[{"type":"function","function":{"name":"add","parameters":schema,"strict":true}}]})
        }
        Dialect::AnthropicMessages => {
            json!({"model":"m","max_tokens":4096,"stream":stream,"system":"Be kind.","top_k":7,
            "thinking":{"type":"enabled","budget_tokens":1024},"messages":[messages[1]],"tools":[{"name":"add","input_schema":schema}]})
        }
        Dialect::Gemini => json!({"contents":[{"role":"user","parts":[{"text":script}]}],"generationConfig":{"topK":7},
            "tools":[{"functionDeclarations":[{"name":"add","parametersJsonSchema":schema}]}]}),
        _ => json!({"model":"m","messages":messages,"stream":stream,"documents":[{"data":{"text":"t"}}],
            "tools":[{"type":"function","function":{"name":"add","parameters":schema}}]}),
    };
    let mut request = client.codec().decode_request(body.to_string().as_bytes()).unwrap();
    (request.model, request.stream) = ("command-a".into(), stream);
    request
}

fn texts(reply: &ChatReply, kind: fn(&PartKind) -> Option<String>) -> String {
    reply.choices[0].parts.iter().filter_map(|part| kind(&part.kind)).collect()
}

fn text(reply: &ChatReply) -> String {
    texts(reply, |kind| if let PartKind::Text(text) = kind { Some(text.to_plain().into_owned()) } else { None })
}

fn thinking(reply: &ChatReply) -> String {
    texts(
        reply,
        |kind| if let PartKind::Thinking { text, .. } = kind { Some(text.to_plain().into_owned()) } else { None },
    )
}

fn message(role: Role, parts: Vec<Part>) -> Message {
    let (content, pointer) = (ContentForm::Parts, "/messages/9".to_owned());
    Message { role, parts, content, name: None, extras: Extras::default(), pointer }
}

/// Whoever asks: thinking, plan and parallel calls come back, and the results of the calls are taken.
#[tokio::test]
async fn a_conversation_with_tools_goes_on_for_clients_of_every_dialect() {
    let world = World::start().await;
    let script =
        r#"[split: 7][think: hm][say: I will add.][call: add {"a":1}][call: add {"a":2}][then][say: It is {results}.]"#;
    for client in [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::Gemini, Dialect::CohereChat] {
        for stream in [false, true] {
            let mut request = request(client, script, stream);
            let reply = world.ask(&request).await.unwrap_or_else(|failure| panic!("{}: {failure}", client.name()));
            let parts = reply.choices[0].parts.clone();
            assert_eq!(
                (thinking(&reply).as_str(), text(&reply).as_str()),
                ("hmI will add.", ""),
                "the plan is no answer"
            );
            let calls: Vec<_> = parts
                .iter()
                .filter_map(|part| if let PartKind::ToolCall(call) = &part.kind { Some(call) } else { None })
                .collect();
            let arguments: Vec<String> = calls.iter().map(|call| call.arguments.to_plain().into_owned()).collect();
            assert_eq!(arguments, [r#"{"a":1}"#, r#"{"a":2}"#], "{}", client.name());
            assert_eq!(reply.choices[0].finish.reason, FinishReason::ToolCalls);
            let results = calls.iter().map(|call| {
                let parts = vec![PartKind::Text("7".into()).into()];
                let result =
                    ToolResult { call_id: call.id.clone(), parts, content: ContentForm::Parts, is_error: None };
                PartKind::ToolResult(result).into()
            });
            let results = message(Role::Tool, results.collect());
            request.messages.extend([message(Role::Assistant, parts.clone()), results]);
            let reply = world.ask(&request).await.unwrap_or_else(|failure| panic!("{}: {failure}", client.name()));
            assert!(text(&reply).starts_with("It is ") && text(&reply).contains('7'), "{}", text(&reply));
            assert_eq!(reply.choices[0].finish.reason, FinishReason::Stop);
            assert!(reply.usage.unwrap().output > 0);
        }
    }
}

#[tokio::test]
async fn failures_are_what_they_are_wherever_they_happen() {
    let world = World::start().await;
    for (script, stream, kind) in [
        ("[fail: 429]", false, FailureKind::RateLimited),
        ("[fail: 401]", true, FailureKind::Credential),
        ("[fail: 503]", true, FailureKind::Unavailable),
        ("[error-event]", true, FailureKind::Unavailable),
        ("[say: a b c d][error-after: 3]", true, FailureKind::Unavailable),
        ("[html]", false, FailureKind::Unavailable),
    ] {
        let failure = world.ask(&request(COHERE, script, stream)).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{script}: {failure}");
    }
    let cut = world.ask(&request(COHERE, "[say: abc][cut: 400]", true)).await;
    assert!(cut.is_err(), "half an answer is none");
    let long = world.ask(&request(COHERE, "[say: abc][finish: length]", true)).await.unwrap();
    assert_eq!((text(&long).as_str(), long.choices[0].finish.reason), ("abc", FinishReason::Length));
}

/// Embeddings and rankings for clients of OpenAI's and Google's.
#[tokio::test]
async fn what_is_no_chat_is_asked_in_cohere_s_words() {
    let world = World::start().await;
    let batch = json!({"requests":[{"content":{"parts":[{"text":"a"}]}},{"content":{"parts":[{"text":"b"}]},"outputDimensionality":null}]});
    for (asked, request) in [
        (Endpoint::Embeddings, json!({"model":"x","input":["a","b"]})),
        (Endpoint::BatchEmbedContents, batch),
        (Endpoint::Rerank, json!({"query":"a b","documents":["b",{"text":"a b"}],"top_n":1,"return_documents":true})),
    ] {
        let Some(Shape::Mapped(mapping)) = shape(asked, COHERE) else { panic!("{asked:?} is not mapped") };
        let mut losses = Losses::default();
        let sent = mapping.request(request.to_string().as_bytes(), "m", &mut losses).unwrap();
        let answer = world
            .send(mapping.endpoint(), false, sent.body.concat())
            .await
            .unwrap_or_else(|failure| panic!("{failure}"));
        let body = answer.body.collect(1 << 20).await.unwrap();
        let told = mapping.reply(&sent.memo, &body, &mut losses).unwrap();
        let told: Value = serde_json::from_slice(&told.body).unwrap();
        match asked {
            Endpoint::Embeddings => assert_eq!(told["data"][1]["embedding"].as_array().unwrap().len(), 8),
            Endpoint::Rerank => assert_eq!(told["results"][0]["document"], json!({"text":"a b"})),
            _ => assert_eq!(told["embeddings"].as_array().unwrap().len(), 2),
        }
        assert!(losses.is_empty(), "{losses:?}");
    }
}
