//! Keys that callers bring themselves: where they go, where they never go, and what is remembered of them.

use bifrost_tests::{Answer, BOTH, Chat, Cloud, Gateway, Said, Setup, Style};
use serde_json::json;

/// Both providers with keys of their own, and callers who may bring others.
fn open() -> Setup {
    Gateway::both().settings(&json!({"client": {"allow_direct_keys": true}}))
}

fn hi(client: Style, provider: Style) -> Chat {
    Chat::new(client, &format!("{}/scripted-small", provider.name()), "[say: Hi]")
}

/// The key of the provider's latest request.
fn latest(gateway: &Gateway, provider: Style) -> String {
    let requests = gateway.upstream(provider.name()).requests();
    let request = requests.last().unwrap();
    let key = request.header("authorization").or(request.header("x-api-key")).unwrap_or_default();
    key.trim_start_matches("Bearer ").to_owned()
}

#[tokio::test]
async fn a_key_in_a_header_is_used_instead_of_the_configured_ones() {
    let gateway = open().await;
    let bare = ["x-api-key", "x-goog-api-key", "api-key"].map(|header| (header, "sk-mine"));
    for (header, value) in [("authorization", "Bearer sk-mine")].into_iter().chain(bare) {
        for client in BOTH {
            for provider in BOTH {
                let answer = gateway.ask(&hi(client, provider).header(header, value)).await;
                assert_eq!(answer.told().text, "Hi", "{header} {client:?} {provider:?}");
                assert_eq!(latest(&gateway, provider), "sk-mine", "{header} {client:?}");
            }
        }
    }
    let whole = gateway.ask(&hi(Style::OpenAi, Style::OpenAi).header("authorization", "Bearer sk-mine")).await;
    assert_eq!(whole.json()["extra_fields"]["routing_info"]["key"], "header-provided");
    assert!(!whole.text().contains("sk-mine"));
}

#[tokio::test]
async fn without_permission_or_against_its_will_a_key_is_left_alone() {
    let closed = Gateway::both().await;
    let chat = hi(Style::OpenAi, Style::OpenAi).header("authorization", "Bearer sk-mine");
    assert_eq!(closed.ask(&chat).await.told().text, "Hi");
    assert_eq!(latest(&closed, Style::OpenAi), "sk-openai");
    let gateway = open().await;
    assert_eq!(gateway.ask(&chat.header("x-bf-direct-key", "false")).await.told().text, "Hi");
    assert_eq!(latest(&gateway, Style::OpenAi), "sk-openai");
}

/// A virtual key is the gateway's, in whatever header it comes; and one is still needed where one is needed.
#[tokio::test]
async fn a_virtual_key_never_goes_to_a_provider() {
    let named =
        json!({"name": "team", "value": "vk-team", "provider_configs": [{"provider": "openai", "key_ids": ["other"]}]});
    let other = json!({"keys": [{"name": "openai-key", "value": "sk-openai"}, {"name": "other", "value": "sk-other"}]});
    let setup = open().provider_with("openai", Style::OpenAi, &other).virtual_key(named);
    let gateway = setup.settings(&json!({"client": {"enforce_auth_on_inference": true}})).await;
    let chat = hi(Style::OpenAi, Style::OpenAi);
    assert_eq!(gateway.ask(&chat.clone().header("authorization", "Bearer sk-mine")).await.status, 401);
    assert_eq!(gateway.ask(&chat.clone().header("authorization", "Bearer vk-team")).await.told().text, "Hi");
    assert_eq!(latest(&gateway, Style::OpenAi), "sk-other");
    let both = chat.header("x-bf-vk", "vk-team").header("authorization", "Bearer sk-mine");
    assert_eq!(gateway.ask(&both).await.told().text, "Hi");
    assert_eq!(
        latest(&gateway, Style::OpenAi),
        "sk-mine",
        "what the virtual key grants of the configured keys is another matter"
    );
    let barred =
        hi(Style::OpenAi, Style::Anthropic).header("x-bf-vk", "vk-team").header("authorization", "Bearer sk-mine");
    assert_eq!(gateway.ask(&barred).await.status, 403);
}

/// A key opens one provider: a fallback elsewhere goes under that provider's own key.
#[tokio::test]
async fn a_key_is_not_shown_to_another_provider() {
    let gateway = open().await;
    let chat = Chat::openai("openai/scripted-small", "[fail: 500][only: style=openai][say: Hi]")
        .header("authorization", "Bearer sk-mine");
    let answer = gateway.ask(&chat.set("fallbacks", json!(["anthropic/scripted-small"]))).await;
    assert_eq!((answer.status, answer.header("x-bifrost-provider")), (200, "anthropic"), "{}", answer.text());
    assert_eq!(latest(&gateway, Style::OpenAi), "sk-mine");
    assert_eq!(latest(&gateway, Style::Anthropic), "sk-anthropic");
}

/// It is the caller's key, so the caller hears that it is refused; the configured keys are neither tried nor parked for it.
#[tokio::test]
async fn a_key_that_is_refused_is_the_callers_fault() {
    let gateway = open().await;
    for client in BOTH {
        for provider in BOTH {
            let answer = gateway.ask(&hi(client, provider).header("x-api-key", "bad-key-of-mine")).await;
            assert_eq!(answer.status, 401, "{client:?} {provider:?}: {}", answer.text());
            assert!(answer.text().contains("refused the key that the request brought"), "{}", answer.text());
            assert!(!answer.text().contains("bad-key-of-mine"), "{}", answer.text());
            assert_eq!(latest(&gateway, provider), "bad-key-of-mine");
            assert_eq!(gateway.ask(&hi(client, provider)).await.told().text, "Hi");
        }
    }
}

#[tokio::test]
async fn a_provider_without_keys_serves_those_who_bring_one() {
    let gateway = open().provider_with("openai", Style::OpenAi, &json!({"keys": null})).await;
    let chat = hi(Style::OpenAi, Style::OpenAi);
    assert_eq!(gateway.ask(&chat.clone().header("authorization", "Bearer sk-mine")).await.told().text, "Hi");
    let refused = gateway.ask(&chat).await;
    assert!(refused.text().contains("no keys found that support model"), "{}", refused.text());
    let explained =
        gateway.post("/v1/explain", &[("authorization", "Bearer sk-mine")], chat.body.to_string()).await.json();
    assert_eq!(explained["targets"][0]["sent"]["key"], "header-provided", "{explained}");
}

// === Azure ===

async fn azure(patch: &serde_json::Value) -> (Gateway, Cloud) {
    let cloud = Cloud::start(|_| {
        let choice = json!({"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}});
        Said::json(
            200,
            &json!({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}),
        )
    })
    .await;
    let setup =
        Gateway::start().settings(&json!({"client": {"allow_direct_keys": true}, "providers": {"azure": patch}}));
    (setup.await, cloud)
}

async fn ask_azure(gateway: &Gateway, endpoint: &str) -> Answer {
    let chat = Chat::openai("azure/gpt-4o", "Hello").header("api-key", "azure-mine");
    gateway.ask(&chat.header("x-bf-azure-endpoint", endpoint)).await
}

#[tokio::test]
async fn a_callers_resource_at_azure_is_named_by_the_caller() {
    let (gateway, cloud) = azure(&json!({"network_config": {"allow_private_network": true}})).await;
    assert_eq!(ask_azure(&gateway, &cloud.url()).await.told().text, "Hi");
    let seen = cloud.seen().remove(0);
    assert_eq!((seen.path.as_str(), seen.header("api-key")), ("/openai/v1/chat/completions", "azure-mine"));
    // An SDK for Azure says which version it speaks: a date stands before deployments, in their paths.
    for (version, path) in [
        ("2024-10-21", "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"),
        ("preview", "/openai/v1/chat/completions?api-version=preview"),
        ("v1", "/openai/v1/chat/completions"),
        ("a%26b=c", "/openai/deployments/gpt-4o/chat/completions?api-version=a%26b%3Dc"),
    ] {
        let chat =
            Chat::openai("gpt-4o", "Hello").route(&format!("/openai/openai/v1/chat/completions?api-version={version}"));
        let chat = chat.header("api-key", "azure-mine").header("x-bf-azure-endpoint", &cloud.url());
        assert_eq!(gateway.ask(&chat).await.told().text, "Hi", "{version}");
        assert_eq!(cloud.seen().pop().unwrap().path, path, "{version}");
    }
    for (endpoint, says) in [
        ("", "x-bf-azure-endpoint is missing"),
        ("not a url", "x-bf-azure-endpoint: "),
        ("file:///etc", "x-bf-azure-endpoint: "),
    ] {
        let answer = ask_azure(&gateway, endpoint).await;
        assert_eq!(answer.status, 400, "{endpoint}: {}", answer.text());
        assert!(answer.text().contains(says), "{endpoint}: {}", answer.text());
    }
}

/// Whoever may name an address must not reach what only the gateway's own machine and network can reach.
#[tokio::test]
async fn a_caller_cannot_point_the_gateway_at_its_own_machine() {
    let (gateway, cloud) = azure(&json!({})).await;
    for endpoint in [
        &cloud.url(),
        "http://169.254.169.254",
        "http://10.0.0.1",
        "http://[::1]:80",
        "http://localhost:9",
        "http://0x7f.1",
    ] {
        let answer = ask_azure(&gateway, endpoint).await;
        assert_eq!(answer.status, 502, "{endpoint}: {}", answer.text());
        assert!(answer.text().contains("not an allowed address"), "{endpoint}: {}", answer.text());
    }
    assert_eq!(cloud.seen().len(), 0);
}

/// A configured key goes to its own resource, whatever a caller says.
#[tokio::test]
async fn a_callers_resource_never_gets_the_configured_key() {
    let (own, other) = (Cloud::start(|_| Said::json(500, &json!({}))).await, "x-bf-azure-endpoint");
    let key = json!({"keys": [{"value": "azure-ours", "azure_key_config": {"endpoint": own.url()}}], "network_config": {"allow_private_network": true}});
    let (gateway, cloud) = azure(&key).await;
    gateway.ask(&Chat::openai("azure/gpt-4o", "Hello").header(other, &cloud.url())).await;
    assert_eq!((own.seen().len(), cloud.seen().len()), (1, 0));
    assert_eq!(own.seen()[0].header("api-key"), "azure-ours");
}
