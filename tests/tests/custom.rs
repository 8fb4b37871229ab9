//! Providers of one's own: `custom_provider_config`, and what else says how a provider is reached.

use bifrost_tests::{BOTH, Chat, Cloud, Gateway, Said, Seen};
use serde_json::{Value, json};

fn answer(seen: &Seen) -> Said {
    if seen.is_stream() {
        let chunk = |delta: Value, finish: Value| {
            json!({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                   "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        };
        return Said::events(&[
            chunk(json!({"role": "assistant", "content": "Hi"}), Value::Null),
            chunk(json!({}), json!("stop")),
        ])
        .done();
    }
    let choice = json!({"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}});
    Said::json(200, &json!({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}))
}

/// A gateway with the provider `mine`, which behaves like OpenAI's with these particulars.
async fn mine(custom: &Value, rest: &Value) -> (Gateway, Cloud) {
    let cloud = Cloud::start(answer).await;
    let gateway = Gateway::start()
        .settings(&json!({"providers": {"mine": {"network_config": {"base_url": cloud.url()}, "keys": [{"value": "sk-mine"}]}}}))
        .settings(&json!({"providers": {"mine": {"custom_provider_config": {"base_provider_type": "openai"}}}}))
        .settings(&json!({"providers": {"mine": {"custom_provider_config": custom}}}))
        .settings(&json!({"providers": {"mine": rest}}));
    (gateway.await, cloud)
}

#[tokio::test]
async fn a_provider_without_a_key_is_asked_without_one() {
    let (gateway, cloud) = mine(&json!({"is_key_less": true}), &json!({"keys": null})).await;
    for client in BOTH {
        assert_eq!(gateway.ask(&Chat::new(client, "mine/m", "Hello")).await.told().text, "Hi");
    }
    for seen in cloud.seen() {
        assert_eq!((seen.header("authorization"), seen.header("x-api-key")), ("", ""));
    }
}

#[tokio::test]
async fn paths_are_the_operators_by_request_type() {
    let elsewhere = Cloud::start(answer).await;
    let streams = format!("{}/streams?v=1", elsewhere.url());
    let paths = json!({"request_path_overrides": {"chat_completion": "/my/chat", "chat_completion_stream": streams}});
    let (gateway, cloud) = mine(&paths, &json!({})).await;
    for client in BOTH {
        for stream in [false, true] {
            let answer = gateway.ask(&Chat::new(client, "mine/m", "Hello").streamed(stream)).await;
            assert_eq!(answer.told().text, "Hi", "{client:?} {stream}");
        }
    }
    let paths = |cloud: &Cloud| cloud.seen().into_iter().map(|seen| seen.path).collect::<Vec<_>>();
    assert_eq!(paths(&cloud), ["/my/chat"; 2]);
    assert_eq!(paths(&elsewhere), ["/streams?v=1"; 2]);
}

#[tokio::test]
async fn only_what_is_allowed_is_asked() {
    let allowed =
        json!({"allowed_requests": {"chat_completion": true, "chat_completion_stream": false, "embedding": false}});
    let (gateway, cloud) = mine(&allowed, &json!({})).await;
    for client in BOTH {
        let chat = Chat::new(client, "mine/m", "Hello");
        assert_eq!(gateway.ask(&chat).await.told().text, "Hi");
        let refused = gateway.ask(&chat.stream()).await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert!(
            refused.text().contains("chat_completion_stream is not supported by mine provider"),
            "{}",
            refused.text()
        );
    }
    let embedding = gateway.post("/v1/embeddings", &[], json!({"model": "mine/m", "input": "x"}).to_string()).await;
    assert!(embedding.text().contains("embedding is not supported by mine provider"), "{}", embedding.text());
    assert_eq!(cloud.seen().len(), 2);
}

#[tokio::test]
async fn headers_of_the_operator_go_with_every_request() {
    let headers = json!({"network_config": {"extra_headers": {"x-tenant": "blue", "user-agent": "house"}}});
    let (gateway, cloud) = mine(&json!({}), &headers).await;
    for client in BOTH {
        gateway.ask(&Chat::new(client, "mine/m", "Hello").header("x-bf-eh-x-tenant", "red")).await;
    }
    for seen in cloud.seen() {
        assert_eq!((seen.header("x-tenant"), seen.header("user-agent")), ("blue", "house"));
        assert_eq!(seen.header("authorization"), "Bearer sk-mine");
    }
}

/// The whole way: the file, the tunnel, and the provider behind it under a name that only the proxy knows.
#[tokio::test]
async fn a_provider_is_reached_by_way_of_the_proxy_in_the_file() {
    let cloud = Cloud::start(answer).await;
    let proxy = cloud.tunnel().await;
    let reached = json!({
        "network_config": {"base_url": "http://provider.test/v1"},
        "proxy_config": {"type": "http", "url": proxy, "username": "user", "password": "pass"},
    });
    let (gateway, direct) = mine(&json!({}), &reached).await;
    assert_eq!(gateway.ask(&Chat::openai("mine/m", "Hello")).await.told().text, "Hi");
    assert_eq!((cloud.seen().len(), direct.seen().len()), (1, 0));
    assert_eq!(cloud.seen()[0].header("host"), "provider.test");
    assert_eq!(cloud.seen()[0].header("proxy-authorization"), "");
}
