//! What would become of a request: told in full, and nobody is asked.

use bifrost_tests::{Gateway, Style};
use serde_json::{Value, json};

async fn explained(gateway: &Gateway, path: &str, headers: &[(&str, &str)], body: &Value) -> Value {
    let answer = gateway.post(path, headers, body.to_string()).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    for provider in ["openai", "anthropic"] {
        assert_eq!(gateway.upstream(provider).requests().len(), 0, "{path}: {provider} was asked");
    }
    answer.json()
}

#[tokio::test]
async fn targets_lane_tools_body_and_losses_are_told_and_nobody_is_asked() {
    let gateway = Gateway::both().tool("demo", "demo").await;
    let body = json!({
        "model": "openai/gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "logit_bias": {"50256": -100},
        "fallbacks": ["anthropic/claude", "nobody/x"],
    });
    let told = explained(&gateway, "/v1/explain", &[], &body).await;
    let [primary, fallback] = told["targets"].as_array().unwrap().as_slice() else { panic!("{told}") };

    assert_eq!(
        (&primary["provider"], &primary["model"], &primary["sent"]["lane"]),
        (&json!("openai"), &json!("gpt-4o"), &json!("loop"))
    );
    assert_eq!(primary["why"], "the request names the provider");
    assert_eq!(primary["sent"]["body"]["logit_bias"], json!({"50256": -100}));
    let tools: Vec<&Value> = told["tools"].as_array().unwrap().iter().map(|tool| &tool["name"]).collect();
    let sent: Vec<&Value> =
        primary["sent"]["body"]["tools"].as_array().unwrap().iter().map(|tool| &tool["function"]["name"]).collect();
    assert!(!tools.is_empty());
    assert_eq!(tools, sent, "what is offered is what is sent");

    assert_eq!((&fallback["fallback_index"], &fallback["why"]), (&json!(1), &json!("a fallback of the request")));
    assert_eq!(fallback["sent"]["dialect"], "anthropic_messages");
    assert_eq!(fallback["sent"]["body"]["messages"], json!([{"role": "user", "content": "Hi"}]));
    let pointers = |losses: &Value| -> Vec<String> {
        losses.as_array().unwrap().iter().map(|loss| loss["pointer"].as_str().unwrap().to_owned()).collect()
    };
    assert!(pointers(&fallback["sent"]["losses"]).contains(&"/logit_bias".to_owned()), "{fallback}");
    assert_eq!(pointers(&told["losses"]), ["/fallbacks"], "an unknown provider is told for every target");
}

#[tokio::test]
async fn every_dialect_can_ask_below_its_own_prefix() {
    let gateway = Gateway::both().await;
    let chat = json!({"model": "anthropic/x", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9});
    let responses = json!({"model": "anthropic/x", "input": "Hi"});
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]});
    for (path, body, dialect, lane) in [
        ("/v1/explain", &chat, "openai_chat", "translate"),
        ("/openai/v1/explain", &responses, "openai_responses", "translate"),
        ("/anthropic/v1/explain", &chat, "anthropic_messages", "relay"),
        ("/genai/v1beta/models/anthropic/x:explain", &gemini, "gemini", "translate"),
        ("/litellm/explain", &chat, "openai_chat", "translate"),
    ] {
        let told = explained(&gateway, path, &[], body).await;
        let target = &told["targets"][0]["sent"];
        assert_eq!((&told["dialect"], &target["lane"]), (&json!(dialect), &json!(lane)), "{path}");
        let asked = &target["body"]["messages"][0]["content"];
        assert!(*asked == json!("Hi") || asked[0]["text"] == "Hi", "{path}: {target}");
    }
}

#[tokio::test]
async fn what_would_be_refused_is_told() {
    let gateway = Gateway::both()
        .virtual_key(json!({"name": "one", "value": "vk-one", "provider_configs": [{"provider": "anthropic"}]}))
        .await;
    let body = json!({"model": "anthropic/x", "messages": [{"role": "user", "content": "Hi"}], "logit_bias": {"1": 1}});
    let told = explained(&gateway, "/v1/explain", &[("x-bf-strict", "true")], &body).await;
    let error = &told["targets"][0]["error"];
    assert_eq!((&error["status"], &error["type"]), (&json!(422), &json!("lossy_translation")), "{told}");
    let body = json!({"model": "openai/x", "messages": [{"role": "user", "content": "Hi"}]});
    let answer = gateway.post("/v1/explain", &[("x-bf-vk", "vk-one")], body.to_string()).await;
    assert_eq!((answer.status, answer.fault().kind.as_str()), (403, "provider_blocked"));
    let answer = gateway.send("POST", "/v1/explain", &[], "{".into(), Style::OpenAi).await.rest().await;
    assert_eq!(answer.status, 400);
}
