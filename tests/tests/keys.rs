//! What a key makes of a requested model: its own names for models, and where it takes them.

use bifrost_tests::{BOTH, Chat, Gateway, Setup, Style};
use serde_json::{Value, json};

/// One provider with these keys.
fn with_keys(keys: &Value) -> Setup {
    Gateway::start().provider_with("openai", Style::OpenAi, &json!({"keys": keys}))
}

#[tokio::test]
async fn an_alias_is_the_callers_name_and_not_the_providers() {
    let alias = json!({"model_id": "deployment-7", "model_name": "gpt-4o-mini", "description": "cheap"});
    let gateway = with_keys(&json!([
        {"name": "a", "value": "sk-a", "models": ["scripted-small"], "aliases": {"fast": "scripted-fast", "mini": alias}},
    ]))
    .await;
    for (requested, resolved) in [("fast", "scripted-fast"), ("FAST", "scripted-fast"), ("mini", "deployment-7")] {
        for client in BOTH {
            for stream in [false, true] {
                let chat = Chat::new(client, &format!("openai/{requested}"), "[say: Hi]").streamed(stream);
                let answer = gateway.ask(&chat).await;
                assert_eq!(answer.told().text, "Hi", "{client:?} {requested}");
                assert_eq!(gateway.asked("openai").last().unwrap()["model"], resolved, "{client:?} {requested}");
                assert_eq!(answer.header("x-bifrost-original-model"), format!("openai/{requested}"));
                assert_eq!(answer.header("x-bifrost-resolved-model"), resolved);
            }
        }
    }
    let whole = gateway.ask(&Chat::openai("openai/fast", "[say: Hi]")).await.json();
    assert_eq!(whole["extra_fields"]["original_model_requested"], "openai/fast");
    assert_eq!(whole["extra_fields"]["resolved_model_used"], "scripted-fast");
    assert_eq!(gateway.ask(&Chat::openai("openai/scripted-small", "[say: Hi]")).await.status, 200);
    let other = gateway.ask(&Chat::openai("openai/scripted-large", "[say: Hi]")).await;
    assert!(other.text().contains("no keys found that support model: scripted-large"), "{}", other.text());
}

#[tokio::test]
async fn each_key_has_its_own_name_for_a_model_and_serves_only_what_it_may() {
    let gateway = with_keys(&json!([
        {"name": "one", "value": "sk-1", "models": ["none"], "aliases": {"small": "one-small", "both": "one-both"}, "weight": 1.0},
        {"name": "two", "value": "sk-2", "models": ["none"], "aliases": {"both": "two-both"}, "blacklisted_models": ["small"], "weight": 1.0},
    ]))
    .await;
    let asked = |gateway: &Gateway| {
        let requests = gateway.upstream("openai").requests();
        let told = requests.iter().map(|it| {
            let key = it.header("authorization").unwrap_or_default().trim_start_matches("Bearer ").to_owned();
            (key, it.json()["model"].as_str().unwrap_or_default().to_owned())
        });
        told.collect::<Vec<_>>()
    };
    for _ in 0..4 {
        assert_eq!(gateway.ask(&Chat::openai("openai/small", "[say: Hi]")).await.status, 200);
    }
    assert!(asked(&gateway).iter().all(|(key, model)| key == "sk-1" && model == "one-small"), "{:?}", asked(&gateway));
    // The second key is asked by its own name when the first is used up.
    let before = asked(&gateway).len();
    let answer = gateway.ask(&Chat::openai("openai/both", "[fail: 429][only: times=1][say: Hi]")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut both = asked(&gateway).split_off(before);
    both.sort();
    let expected = [("sk-1", "one-both"), ("sk-2", "two-both")];
    assert_eq!(both, expected.map(|(key, model)| (key.to_owned(), model.to_owned())));
}

/// A name that only one provider has is enough to say whose model is meant; and it is listed.
#[tokio::test]
async fn an_alias_routes_a_bare_model_and_is_listed() {
    let patch = json!({"keys": [{"value": "sk-a", "aliases": {"house-blend": "scripted-small"}}]});
    let gateway = Gateway::both().provider_with("azurish", Style::OpenAi, &patch).await;
    let answer = gateway.ask(&Chat::openai("house-blend", "[say: Hi]")).await;
    assert_eq!((answer.status, answer.header("x-bifrost-provider")), (200, "azurish"), "{}", answer.text());
    let listed = gateway.get("/v1/models", &[]).await.json();
    let ids: Vec<&str> = listed["data"].as_array().unwrap().iter().filter_map(|model| model["id"].as_str()).collect();
    assert!(ids.contains(&"azurish/house-blend"), "{ids:?}");
}
