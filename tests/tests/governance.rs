//! Who may use what: virtual keys in every header, providers and models they are granted, and weighted routing.

use bifrost_tests::{BOTH, Chat, Gateway, Setup, Style, few};
use serde_json::{Value, json};

const MODEL: &str = "openai/scripted-small";

/// Two providers, an active key and an inactive one.
fn world() -> Setup {
    Gateway::both()
        .virtual_key(json!({"name": "free", "value": "sk-bf-free"}))
        .virtual_key(json!({"name": "old style", "value": "vk_12345"}))
        .virtual_key(json!({"name": "off", "value": "sk-bf-off", "is_active": false}))
}

fn enforced(setup: Setup) -> Setup {
    setup.settings(&json!({"client": {"enforce_auth_on_inference": true}}))
}

fn hi(client: Style) -> Chat {
    Chat::new(client, MODEL, "[say: Hi]")
}

#[tokio::test]
async fn a_virtual_key_is_found_in_every_header() {
    let gateway = enforced(world()).await;
    let headers = [
        ("x-bf-vk", "sk-bf-free"),
        ("x-bf-vk", "vk_12345"),
        ("authorization", "Bearer sk-bf-free"),
        ("authorization", "bearer vk_12345"),
        ("x-api-key", "sk-bf-free"),
        ("api-key", "sk-bf-free"),
        ("x-goog-api-key", "sk-bf-free"),
    ];
    for client in BOTH {
        for (name, value) in headers {
            let answer = gateway.ask(&hi(client).header(name, value)).await;
            assert_eq!(answer.status, 200, "{client:?} {name}: {value}: {}", answer.text());
        }
    }
    for request in gateway.upstream("openai").requests() {
        assert_eq!(request.header("authorization"), Some("Bearer sk-openai"), "the provider sees its own key only");
        let sent = format!("{:?}{:?}", request.headers, request.body);
        assert!(!sent.contains("sk-bf-free") && !sent.contains("vk_12345"), "{sent}");
    }
}

/// A gateway, the headers it gets, the status, and the gateway's word for it.
type Refused<'a> = (&'a Gateway, &'a [(&'a str, &'a str)], u16, &'a str);

#[tokio::test]
async fn keys_that_do_not_open_are_refused_in_the_callers_dialect() {
    let open = world().await;
    let closed = enforced(world()).await;
    let cases: [Refused<'_>; 8] = [
        (&open, &[("x-bf-vk", "nobody")], 401, "virtual_key_not_found"),
        (&open, &[("x-bf-vk", "sk-bf-off")], 403, "virtual_key_blocked"),
        (&open, &[("authorization", "Bearer sk-bf-unknown")], 401, "virtual_key_not_found"),
        (&open, &[("x-bf-vk", "sk-bf-free"), ("x-api-key", "vk_12345")], 400, "conflicting_credentials"),
        (&closed, &[], 401, "virtual_key_required"),
        (&closed, &[("x-api-key", "sk-dummy")], 401, "virtual_key_required"),
        (&closed, &[("x-bf-vk", "")], 401, "virtual_key_required"),
        (&closed, &[("x-bf-vk", "sk-bf-off")], 403, "virtual_key_blocked"),
    ];
    for (gateway, headers, status, kind) in cases {
        for cell in few().filter(|cell| cell.provider == Style::OpenAi) {
            let chat = headers.iter().fold(cell.chat("[say: Hi]"), |chat, (name, value)| chat.header(name, value));
            let answer = gateway.ask(&chat).await;
            assert_eq!((answer.status, answer.is_stream()), (status, false), "{headers:?}: {}", answer.text());
            assert_eq!(answer.header("x-should-retry"), "false", "{headers:?}");
            let fault = answer.fault();
            if cell.client == Style::OpenAi {
                assert_eq!(fault.kind, kind, "{headers:?}");
                assert_eq!(answer.json()["status_code"], status, "{headers:?}");
            }
        }
    }
    for gateway in [&open, &closed] {
        assert_eq!(gateway.upstream("openai").requests().len(), 0, "the provider heard nothing of it");
    }
}

#[tokio::test]
async fn one_key_in_two_headers_is_no_conflict() {
    let gateway = enforced(world()).await;
    let chat = hi(Style::Anthropic).header("x-bf-vk", "sk-bf-free").header("x-api-key", "sk-bf-free");
    assert_eq!(gateway.ask(&chat).await.told().text, "Hi");
}

/// A key with these provider grants.
fn granted(grants: &Value) -> Setup {
    world().virtual_key(json!({"name": "narrow", "value": "vk-narrow", "provider_configs": grants}))
}

#[tokio::test]
async fn providers_and_models_that_are_not_granted_are_refused() {
    let gateway = granted(&json!([
        {"provider": "openai", "allowed_models": ["gpt-4o", "gpt-4o-mini"], "blacklisted_models": ["gpt-4o"], "weight": 1.0},
    ]))
    .await;
    let cases = [
        ("openai/gpt-4o-mini", 200, ""),
        ("gpt-4o-mini", 200, ""),
        ("openai/gpt-4o", 403, "model_blocked"),
        ("openai/o1", 403, "model_blocked"),
        ("anthropic/claude", 403, "provider_blocked"),
        ("o1", 403, "model_blocked"),
    ];
    for (model, status, kind) in cases {
        for client in BOTH {
            // A bare model on the Anthropic route belongs to Anthropic.
            if client == Style::Anthropic && !model.contains('/') {
                continue;
            }
            let answer = gateway.ask(&Chat::new(client, model, "[say: Hi]").header("x-bf-vk", "vk-narrow")).await;
            assert_eq!(answer.status, status, "{client:?} {model}: {}", answer.text());
            if client == Style::OpenAi && status != 200 {
                assert_eq!(answer.fault().kind, kind, "{model}");
            }
        }
    }
    assert_eq!(gateway.upstream("anthropic").requests().len(), 0);
}

#[tokio::test]
async fn a_fallback_cannot_reach_what_is_not_granted() {
    let gateway = granted(&json!([{"provider": "openai"}])).await;
    let chat = Chat::openai(MODEL, "[fail: 500 primary]").header("x-bf-vk", "vk-narrow");
    let answer = gateway.ask(&chat.set("fallbacks", json!(["anthropic/x"]))).await;
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert_eq!(gateway.upstream("anthropic").requests().len(), 0);
}

#[tokio::test]
async fn a_bare_model_goes_where_the_weights_say_with_the_others_as_fallbacks() {
    let gateway = world()
        .provider("azurish", Style::OpenAi)
        .virtual_key(json!({"name": "weighted", "value": "vk-w", "provider_configs": [
            {"provider": "openai", "allowed_models": ["gpt-4o", "gpt-4o-mini"], "weight": 0.2},
            {"provider": "azurish", "allowed_models": ["gpt-4o"], "weight": 0.8},
            {"provider": "anthropic", "allowed_models": ["gpt-4o"], "weight": null},
        ]}))
        .await;
    let ask = |model: &str, script: &str| Chat::openai(model, script).header("x-bf-vk", "vk-w");
    for _ in 0..200 {
        gateway.ask(&ask("gpt-4o", "[say: Hi]")).await.told();
    }
    let azurish = gateway.asked("azurish").len();
    // 160 expected; beyond five standard deviations (5.7 each) the draw is not by weight.
    assert!((131..=189).contains(&azurish), "{azurish} of 200 went to the provider with weight 0.8");
    assert_eq!(gateway.asked("anthropic").len(), 0, "without a weight only by name");

    let before = gateway.asked("openai").len();
    for _ in 0..5 {
        gateway.ask(&ask("gpt-4o-mini", "[say: Hi]")).await.told();
    }
    assert_eq!(gateway.asked("openai").len(), before + 5, "only one provider has this model");

    gateway.upstream("azurish").inject(Some("[fail: 503]")).unwrap();
    for _ in 0..10 {
        let told = gateway.ask(&ask("gpt-4o", "[say: Hi]")).await.told();
        assert_eq!(told.extra["provider"], "openai", "the other candidate is the fallback that nobody had to name");
    }
}

#[tokio::test]
async fn a_key_may_be_held_to_some_of_a_providers_keys() {
    let keys = json!([{"name": "one", "id": "id-1", "value": "sk-1"}, {"name": "two", "id": "id-2", "value": "sk-2"}]);
    let gateway = Gateway::start()
        .provider_with("openai", Style::OpenAi, &json!({"keys": keys}))
        .virtual_key(json!({"name": "held", "value": "vk-held", "provider_configs": [{"provider": "openai", "key_ids": ["id-2"]}]}))
        .await;
    for _ in 0..10 {
        gateway.ask(&hi(Style::OpenAi).header("x-bf-vk", "vk-held")).await.told();
    }
    for request in gateway.upstream("openai").requests() {
        assert_eq!(request.header("authorization"), Some("Bearer sk-2"));
    }
    // Without a virtual key a caller may pin one by name or id.
    for (header, value) in [("x-bf-api-key", "one"), ("x-bf-api-key-id", "id-1")] {
        gateway.ask(&hi(Style::OpenAi).header(header, value)).await.told();
        let last = gateway.upstream("openai").requests().pop().unwrap();
        assert_eq!(last.header("authorization"), Some("Bearer sk-1"), "{header}");
    }
    let answer = gateway.ask(&hi(Style::OpenAi).header("x-bf-api-key", "three")).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.fault().message.contains("no key found with name \"three\""), "{}", answer.text());
}

#[tokio::test]
async fn the_list_of_models_shows_what_the_caller_may_use() {
    let gateway = granted(&json!([{"provider": "openai", "allowed_models": ["scripted-small"]}])).await;
    let list = async |path: &str, headers: &[(&str, &str)]| {
        let answer = gateway.get(path, headers).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let data = answer.json()["data"].as_array().unwrap().clone();
        data.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = list("/v1/models", &[]).await;
    assert_eq!(all.len(), 6, "{all:?}");
    assert!(all.contains(&"openai/scripted-small".to_owned()) && all.contains(&"anthropic/demo-agent".to_owned()));
    assert_eq!(list("/v1/models", &[("x-bf-vk", "vk-narrow")]).await, ["openai/scripted-small"]);
    assert_eq!(list("/v1/models?provider=anthropic", &[]).await.len(), 3);
    assert!(!list("/anthropic/v1/models", &[]).await.is_empty());
    for (path, names) in
        [("/cohere/v1/models", "/models/0/name"), ("/bedrock/foundation-models", "/modelSummaries/0/modelId")]
    {
        let answer = gateway.get(path, &[("x-bf-vk", "vk-narrow")]).await.json();
        assert_eq!(answer.pointer(names).unwrap(), "openai/scripted-small", "{path}");
    }
    assert_eq!(gateway.get("/v1/models", &[("x-bf-vk", "nobody")]).await.status, 401);
}

#[tokio::test]
async fn one_model_is_told_by_its_name_to_whoever_may_use_it() {
    let gateway = granted(&json!([{"provider": "openai", "allowed_models": ["scripted-small"]}])).await;
    for (path, field, name) in [
        ("/v1/models/openai/scripted-small", "id", "openai/scripted-small"),
        ("/v1/models/openai%2Fscripted-small", "id", "openai/scripted-small"),
        ("/openai/models/scripted-small", "id", "openai/scripted-small"),
        ("/anthropic/v1/models/demo-agent", "id", "anthropic/demo-agent"),
        ("/genai/v1beta/models/openai/scripted-small", "name", "models/openai/scripted-small"),
        ("/cohere/v1/models/openai/scripted-small", "name", "openai/scripted-small"),
    ] {
        let answer = gateway.get(path, &[]).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.json()[field], name, "{path}: {}", answer.text());
    }
    let narrow = [("x-bf-vk", "vk-narrow")];
    assert_eq!(gateway.get("/v1/models/openai/scripted-small", &narrow).await.status, 200);
    for (path, headers) in [
        ("/v1/models/openai/nothing", [].as_slice()),
        ("/anthropic/v1/models/scripted-tiny", &[]),
        ("/v1/models/anthropic/demo-agent", &narrow),
    ] {
        let answer = gateway.get(path, headers).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        assert!(answer.text().contains("does not exist, or may not be used"), "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn required_headers_are_required() {
    let gateway = world().settings(&json!({"client": {"required_headers": ["X-Tenant", "x-app"]}})).await;
    for client in BOTH {
        let answer = gateway.ask(&hi(client).header("x-app", "1")).await;
        assert_eq!(answer.status, 400);
        assert!(answer.fault().message.contains("missing required headers: x-tenant"), "{}", answer.text());
        let answer = gateway.ask(&hi(client).header("x-app", "1").header("x-tenant", "t")).await;
        assert_eq!(answer.told().text, "Hi");
    }
}

#[tokio::test]
async fn files_are_under_the_keys_that_a_virtual_key_grants_and_the_one_that_its_caller_insists_on() {
    let granted = json!([{"provider": "openai", "key_ids": ["key-1", "key-2"]}]);
    let gateway = Gateway::start()
        .provider_keys("openai", Style::OpenAi, &["sk-0", "sk-1", "sk-2"], 0)
        .virtual_key(json!({"name": "narrow", "value": "vk-narrow", "provider_configs": granted}))
        .await;
    let vk = ("x-bf-vk", "vk-narrow");
    let pin = |key: &'static str| ("x-bf-api-key", key);
    for (headers, wanted) in [
        (vec![], &["Bearer sk-0", "Bearer sk-1", "Bearer sk-2"][..]),
        (vec![vk], &["Bearer sk-1", "Bearer sk-2"]),
        (vec![vk, pin("key-2")], &["Bearer sk-2"]),
        (vec![vk, pin("key-0")], &[]),
        (vec![("x-bf-api-key-id", "key-0")], &["Bearer sk-0"]),
    ] {
        let before = gateway.upstream("openai").requests().len();
        let answer = gateway.get("/v1/files/file-unknown?provider=openai", &headers).await;
        let requests = gateway.upstream("openai").requests().split_off(before);
        let keys: Vec<&str> = requests.iter().filter_map(|request| request.header("authorization")).collect();
        assert_eq!(keys, wanted, "{headers:?}: {}", answer.text());
        assert_eq!(answer.status, if wanted.is_empty() { 400 } else { 404 }, "{}", answer.text());
    }
}

#[tokio::test]
async fn each_grant_of_a_provider_has_its_own_models_and_keys() {
    let granted = json!([
        {"provider": "openai", "allowed_models": ["small"], "key_ids": ["key-0"]},
        {"provider": "openai", "allowed_models": ["large"], "key_ids": ["key-1"]},
    ]);
    let gateway = Gateway::start()
        .provider_keys("openai", Style::OpenAi, &["sk-0", "sk-1"], 0)
        .virtual_key(json!({"name": "two", "value": "vk-two", "provider_configs": granted}))
        .await;
    for (model, key) in [("small", "Bearer sk-0"), ("large", "Bearer sk-1")] {
        let chat = Chat::openai(&format!("openai/{model}"), "[say: Hi]").header("x-bf-vk", "vk-two");
        assert_eq!(gateway.ask(&chat).await.told().text, "Hi", "{model}");
        let request = gateway.upstream("openai").requests().pop().unwrap();
        assert_eq!(request.header("authorization"), Some(key), "{model}");
    }
}
