//! Providers that are more than a URL and a key: accounts, deployments, regions, and several vendors' models behind one door.

use bifrost_tests::{BOTH, Chat, Cloud, Gateway, Said, Seen, Setup};
use futures::future::join_all;
use serde_json::{Value, json};

/// What its vendor's API would answer on this path: `Hi`, whole or as a stream.
fn answer(seen: &Seen) -> Said {
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4});
    if seen.path.contains("/oauth2/v2.0/token") {
        return Said::json(200, &json!({"access_token": "entra-token", "expires_in": 3600, "token_type": "Bearer"}));
    }
    if seen.path.contains("anthropic") {
        return claude(seen);
    }
    if seen.path.contains(":generateContent") || seen.path.contains(":streamGenerateContent") {
        let reply = json!({
            "candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}]}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4},
        });
        return if seen.is_stream() { Said::events(&[reply]) } else { Said::json(200, &reply) };
    }
    let model = "gpt-4o-2024-11-20";
    if !seen.is_stream() {
        let choice = json!({"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}});
        return Said::json(
            200,
            &json!({"id": "1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], "usage": usage}),
        );
    }
    let chunk = |choices: Value| json!({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices});
    let mut filter = chunk(json!([]));
    filter["prompt_filter_results"] =
        json!([{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": false, "severity": "safe"}}}]);
    let mut last = chunk(json!([]));
    last["usage"] = usage;
    let text = chunk(json!([{"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": null}]));
    let stop = chunk(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]));
    Said::events(&[filter, text, stop, last]).done()
}

fn claude(seen: &Seen) -> Said {
    let usage = json!({"input_tokens": 3, "output_tokens": 1});
    let mut message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4", "stop_reason": "end_turn",
        "stop_sequence": null, "content": [{"type": "text", "text": "Hi"}], "usage": usage,
    });
    if !seen.is_stream() {
        return Said::json(200, &message);
    }
    message["content"] = json!([]);
    message["stop_reason"] = Value::Null;
    Said::events(&[
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": usage}),
        json!({"type": "message_stop"}),
    ])
}

/// A gateway with this provider, and nothing else.
fn with(provider: &str, config: &Value) -> Setup {
    Gateway::start().settings(&json!({"providers": {provider: config}}))
}

/// Both clients ask for this model, whole and streamed, and are told `Hi`.
async fn all_are_told(gateway: &Gateway, model: &str) {
    for client in BOTH {
        for stream in [false, true] {
            let answer = gateway.ask(&Chat::new(client, model, "Hello").streamed(stream)).await;
            assert_eq!(answer.status, 200, "{client:?} {model} {stream}: {}", answer.text());
            assert_eq!(answer.told().text, "Hi", "{client:?} {model} {stream}");
        }
    }
}

// === Azure ===

#[tokio::test]
async fn azr_deployment_path_vs_v1_path_and_api_version() {
    let cloud = Cloud::start(answer).await;
    for (version, deployed) in [
        (json!(null), "/openai/v1/chat/completions"),
        (json!("v1"), "/openai/v1/chat/completions"),
        (json!("preview"), "/openai/v1/chat/completions?api-version=preview"),
        (json!("2024-10-21"), "/openai/deployments/prod-4o/chat/completions?api-version=2024-10-21"),
    ] {
        let azure = json!({"endpoint": cloud.url(), "api_version": version, "deployments": {"gpt-4o": "prod-4o"}});
        let gateway = with("azure", &json!({"keys": [{"value": "azure-secret", "azure_key_config": azure}]})).await;
        let before = cloud.seen().len();
        all_are_told(&gateway, "azure/gpt-4o").await;
        for seen in cloud.seen().split_off(before) {
            assert_eq!(seen.path, deployed);
            assert_eq!((seen.header("api-key"), seen.header("authorization")), ("azure-secret", ""));
            assert_eq!(seen.json()["model"], "prod-4o", "by name where the path does not say it");
        }
        let other = gateway.ask(&Chat::openai("azure/gpt-5", "Hello")).await;
        assert!(other.text().contains("no keys found that support model: gpt-5"), "{}", other.text());
    }
}

#[tokio::test]
async fn an_alias_may_be_at_another_resource_and_version() {
    let (cloud, other) = (Cloud::start(answer).await, Cloud::start(answer).await);
    let gateway = with("azure", &json!({"keys": [{
        "value": "azure-secret",
        "azure_key_config": {"endpoint": cloud.url()},
        "aliases": {"far": {"model_id": "d-1", "endpoint": format!("{}/openai/", other.url()), "api_version": "2024-10-21"}},
    }]}))
    .await;
    all_are_told(&gateway, "azure/far").await;
    all_are_told(&gateway, "azure/near").await;
    assert!(
        other.seen().iter().all(|seen| seen.path == "/openai/deployments/d-1/chat/completions?api-version=2024-10-21")
    );
    assert!(cloud.seen().iter().all(|seen| seen.path == "/openai/v1/chat/completions"));
    assert_eq!((other.seen().len(), cloud.seen().len()), (4, 4));
}

#[tokio::test]
async fn azr_api_key_header_vs_entra_bearer() {
    let cloud = Cloud::start(answer).await;
    let entra = json!({
        "endpoint": cloud.url(), "tenant_id": "t-1", "client_id": "app", "client_secret": "entra-secret",
        "authority": cloud.url(), "scopes": ["https://cognitiveservices.azure.us/.default"],
    });
    let gateway = with("azure", &json!({"keys": [{"azure_key_config": entra}]})).await;
    let chat = Chat::openai("azure/gpt-4o", "Hello");
    for answer in join_all((0..20).map(|_| gateway.ask(&chat))).await {
        assert_eq!(answer.told().text, "Hi");
    }
    all_are_told(&gateway, "azure/claude-sonnet-4").await;
    let tokens = cloud.seen_at("/t-1/oauth2/v2.0/token");
    assert_eq!(tokens.len(), 1, "one token for all");
    assert!(tokens[0].text().ends_with("scope=https%3A%2F%2Fcognitiveservices.azure.us%2F.default"));
    let asked: Vec<Seen> = cloud.seen().into_iter().filter(|seen| !seen.path.contains("oauth2")).collect();
    assert_eq!(asked.len(), 24);
    for seen in asked {
        assert_eq!((seen.header("authorization"), seen.header("api-key")), ("Bearer entra-token", ""));
    }
}

#[tokio::test]
async fn an_account_that_gets_no_token_is_the_gateways_fault_and_is_not_told() {
    let refuse = |seen: &Seen| {
        if seen.path.contains("oauth2") {
            let why = "AADSTS7000215: Invalid client secret provided: entra-secret";
            return Said::json(401, &json!({"error": "invalid_client", "error_description": why}));
        }
        answer(seen)
    };
    let cloud = Cloud::start(refuse).await;
    let entra = json!({"tenant_id": "t", "client_id": "app", "client_secret": "entra-secret", "authority": cloud.url(), "endpoint": cloud.url()});
    let gateway = with("azure", &json!({"keys": [{"azure_key_config": entra}]})).await;
    for client in BOTH {
        let answer = gateway.ask(&Chat::new(client, "azure/gpt-4o", "Hello")).await;
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert!(!answer.text().contains("entra-secret") && !answer.text().contains("AADSTS"), "{}", answer.text());
    }
    assert_eq!(cloud.seen().len(), 1, "a refused account rests: {:?}", cloud.seen());
}

/// The first chunk of an Azure stream says what the filters found in the prompt: no output, so a failure behind it still moves.
#[tokio::test]
async fn azr_first_chunk_empty_choices_prompt_filter() {
    let filter = json!({"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]});
    let overloaded = json!({"error": {"message": "busy", "type": "requests", "code": "rate_limit_exceeded"}});
    let cloud = Cloud::start(move |seen| {
        if seen.header("api-key") == "first" {
            Said::events(&[filter.clone(), overloaded.clone()])
        } else {
            answer(seen)
        }
    })
    .await;
    let key = |value: &str, weight: f64| json!({"name": value, "value": value, "weight": weight, "azure_key_config": {"endpoint": cloud.url()}});
    let gateway = with("azure", &json!({"keys": [key("first", 1.0), key("second", 0.0)]})).await;
    for client in BOTH {
        let answer = gateway.ask(&Chat::new(client, "azure/gpt-4o", "Hello").stream()).await;
        assert_eq!((answer.status, answer.told().text.as_str()), (200, "Hi"), "{client:?}: {}", answer.text());
    }
    let relayed = gateway.ask(&Chat::openai("azure/gpt-4o", "Hello").stream()).await;
    assert!(relayed.text().contains("prompt_filter_results"), "{}", relayed.text());
}

#[tokio::test]
async fn azr_content_filter_400_innererror_vs_finish_reason() {
    let refusal = json!({"error": {
        "message": "The response was filtered", "type": null, "param": "prompt", "code": "content_filter", "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"jailbreak": {"filtered": true, "detected": true}}},
    }});
    let said = refusal.clone();
    let cloud = Cloud::start(move |_| Said::json(400, &said)).await;
    let azure = json!({"endpoint": cloud.url()});
    let gateway = with(
        "azure",
        &json!({"keys": [{"value": "k", "azure_key_config": azure}], "network_config": {"max_retries": 3}}),
    )
    .await;
    let answer = gateway.ask(&Chat::openai("azure/gpt-4o", "Hello")).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["code"], "content_filter");
    assert_eq!(answer.json()["error"]["innererror"], refusal["error"]["innererror"]);
    let answer = gateway.ask(&Chat::anthropic("azure/gpt-4o", "Hello")).await;
    assert_eq!((answer.status, answer.json()["type"].as_str()), (400, Some("error")), "{}", answer.text());
    assert!(answer.text().contains("The response was filtered"), "{}", answer.text());
    assert_eq!(cloud.seen().len(), 2, "a filter that said no would say it again");
}

// === Google Cloud ===

/// Made for tests, and good for nothing else.
const SERVICE_KEY: &str = include_str!("../../providers/tests/transport/service-account.key.pem");

fn vertex(cloud: &Cloud, patch: &Value) -> Setup {
    let file = json!({
        "type": "service_account", "project_id": "p-1", "private_key": SERVICE_KEY, "client_email": "robot@p-1",
        "token_uri": format!("{}/oauth2/v2.0/token", cloud.url()),
    });
    let vertex = json!({"region": "us-east5", "auth_credentials": file.to_string()});
    let mut key = json!({"vertex_key_config": vertex});
    for (name, value) in patch.as_object().unwrap() {
        key[name] = value.clone();
    }
    with("vertex", &json!({"keys": [key], "network_config": {"base_url": cloud.url()}}))
}

#[tokio::test]
async fn a_vendors_models_go_the_vendors_way() {
    let cloud = Cloud::start(answer).await;
    let aliases = json!({
        "opus": {"model_id": "custom-endpoint-7", "model_family": "anthropic", "region": "global"},
        "flash": "gemini-2.5-flash",
    });
    let gateway = vertex(&cloud, &json!({"aliases": aliases})).await;
    let google = |region: &str, rest: &str| format!("/v1/projects/p-1/locations/{region}/publishers/{rest}");
    for (model, region, path) in [
        ("gemini-2.5-pro", "us-east5", "google/models/gemini-2.5-pro:"),
        ("flash", "us-east5", "google/models/gemini-2.5-flash:"),
        ("claude-sonnet-4@20250514", "us-east5", "anthropic/models/claude-sonnet-4@20250514:"),
        ("opus", "global", "anthropic/models/custom-endpoint-7:"),
    ] {
        let before = cloud.seen_at("/v1/projects").len();
        all_are_told(&gateway, &format!("vertex/{model}")).await;
        let operations = if path.starts_with("google") {
            ["generateContent", "streamGenerateContent?alt=sse"]
        } else {
            ["rawPredict", "streamRawPredict"]
        };
        for (at, seen) in cloud.seen_at("/v1/projects").split_off(before).iter().enumerate() {
            let expected = google(region, &format!("{path}{}", operations[at % 2]));
            assert_eq!(seen.path.replace("%40", "@"), expected);
            assert_eq!(seen.header("authorization"), "Bearer entra-token");
            let body = seen.json();
            assert_eq!(body.get("model"), None, "{body}");
            let version = path.starts_with("anthropic").then(|| json!("vertex-2023-10-16"));
            assert_eq!(body.get("anthropic_version"), version.as_ref(), "{body}");
        }
    }
    assert_eq!(cloud.seen_at("/oauth2/v2.0/token").len(), 1, "one token for all of them");
}

#[tokio::test]
async fn google_counts_tokens_of_either_vendors_models() {
    let cloud = Cloud::start(|seen| {
        if seen.path.ends_with(":countTokens") {
            return Said::json(200, &json!({"totalTokens": 7, "totalBillableCharacters": 20}));
        }
        if seen.path.ends_with("/count-tokens:rawPredict") {
            return Said::json(200, &json!({"input_tokens": 7}));
        }
        answer(seen)
    })
    .await;
    let gateway = vertex(&cloud, &json!({})).await;
    let claude = "claude-sonnet-4@20250514";
    for model in ["gemini-2.5-pro", claude] {
        let body = json!({"model": format!("vertex/{model}"), "system": "Be brief.",
            "messages": [{"role": "user", "content": "Hello"}]});
        let counted = gateway.post("/anthropic/v1/messages/count_tokens", &[], body.to_string()).await;
        assert_eq!((counted.status, &counted.json()["input_tokens"]), (200, &json!(7)), "{}", counted.text());
        let body = json!({"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]});
        let path = format!("/genai/v1beta/models/vertex/{model}:countTokens");
        let counted = gateway.post(&path, &[], body.to_string()).await;
        assert_eq!((counted.status, &counted.json()["totalTokens"]), (200, &json!(7)), "{}", counted.text());
    }
    let seen = cloud.seen_at("/v1/projects/p-1/locations/us-east5/publishers/");
    assert_eq!(seen.len(), 4);
    for (at, seen) in seen.iter().enumerate() {
        let body = seen.json();
        if at < 2 {
            assert!(seen.path.ends_with("/google/models/gemini-2.5-pro:countTokens"), "{}", seen.path);
            assert!(body["contents"].is_array() && body.get("generateContentRequest").is_none(), "{body}");
            assert_eq!(body.get("systemInstruction").is_some(), at == 0, "{body}");
        } else {
            assert!(seen.path.ends_with("/anthropic/models/count-tokens:rawPredict"), "{}", seen.path);
            let said = (&body["model"], &body["anthropic_version"]);
            assert_eq!(said, (&json!(claude), &json!("vertex-2023-10-16")), "{body}");
        }
    }
}

#[tokio::test]
async fn google_takes_api_keys_and_its_machines_tokens_too() {
    let cloud = Cloud::start(|seen| {
        if seen.path.contains("/computeMetadata/") {
            return Said::json(200, &json!({"access_token": "machine-token", "expires_in": 3600}));
        }
        answer(seen)
    })
    .await;
    let host = cloud.url().replace("http://", "");
    for (key, header, value) in [
        (
            json!({"value": "AIza-1", "vertex_key_config": {"region": "us-east5", "project_id": "p-1"}}),
            "x-goog-api-key",
            "AIza-1",
        ),
        (
            json!({"vertex_key_config": {"region": "us-east5", "project_number": "123", "metadata_host": host}}),
            "authorization",
            "Bearer machine-token",
        ),
    ] {
        let gateway = vertex(&cloud, &key).await;
        let before = cloud.seen_at("/v1/projects").len();
        all_are_told(&gateway, "vertex/gemini-2.5-pro").await;
        for seen in cloud.seen_at("/v1/projects").split_off(before) {
            assert_eq!(seen.header(header), value);
        }
    }
    assert_eq!(cloud.seen_at("/computeMetadata/").len(), 1);
}

// === Amazon ===

const PROFILE: &str = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-v1:0";

fn converse(_: &Seen) -> Said {
    let message = json!({"role": "assistant", "content": [{"text": "Hi"}]});
    let usage = json!({"inputTokens": 3, "outputTokens": 1, "totalTokens": 4});
    Said::json(
        200,
        &json!({"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 1}}),
    )
}

#[tokio::test]
async fn an_identity_at_aws_signs_and_an_api_key_is_sent() {
    let cloud = Cloud::start(converse).await;
    let network = json!({"base_url": cloud.url()});
    let identity =
        json!({"access_key": "AKID", "secret_key": "aws-secret", "session_token": "aws-token", "region": "eu-west-1"});
    let gateway =
        with("bedrock", &json!({"keys": [{"bedrock_key_config": identity}], "network_config": network})).await;
    for client in BOTH {
        let answer = gateway.ask(&Chat::new(client, "bedrock/eu.amazon.nova-lite-v1:0", "Hello")).await;
        assert_eq!(answer.told().text, "Hi", "{client:?}: {}", answer.text());
    }
    for seen in cloud.seen() {
        assert_eq!(seen.path.replace("%3A", ":"), "/model/eu.amazon.nova-lite-v1:0/converse");
        let signed = seen.header("authorization");
        assert!(
            signed.starts_with("AWS4-HMAC-SHA256 Credential=AKID/") && signed.contains("/eu-west-1/bedrock/"),
            "{signed}"
        );
        assert_eq!(seen.header("x-amz-security-token"), "aws-token");
    }
    let gateway = with("bedrock", &json!({"keys": [{"value": "bedrock-api-key"}], "network_config": network})).await;
    assert_eq!(gateway.ask(&Chat::openai("bedrock/eu.amazon.nova-lite-v1:0", "Hello")).await.told().text, "Hi");
    assert_eq!(cloud.seen().last().unwrap().header("authorization"), "Bearer bedrock-api-key");
}

#[tokio::test]
async fn a_role_is_taken_on_once_and_its_keys_sign() {
    const GRANTED: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
        <AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/models/team</Arn></AssumedRoleUser><Credentials>\
        <AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>role/secret+</SecretAccessKey>\
        <SessionToken>role+token==</SessionToken><Expiration>2026-11-21T21:00:00Z</Expiration></Credentials>\
        </AssumeRoleResult></AssumeRoleResponse>";
    const REFUSED: &str = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
        <Message>not allowed</Message></Error></ErrorResponse>";
    let cloud = Cloud::start(|seen| match seen.path.as_str() {
        "/" if seen.text().contains("other") => Said::new(403, "text/xml", REFUSED),
        "/" => Said::new(200, "text/xml", GRANTED),
        _ => converse(seen),
    })
    .await;
    let role = |name: &str| {
        let identity = json!({"access_key": "AKID", "secret_key": "aws-secret", "region": "eu-west-1",
            "role_arn": format!("arn:aws:iam::1:role/{name}"), "external_id": "a b", "session_name": "team"});
        let network = json!({"base_url": cloud.url(), "max_retries": 0});
        with("bedrock", &json!({"keys": [{"bedrock_key_config": identity}], "network_config": network}))
            .variable("AWS_ENDPOINT_URL_STS", &cloud.url())
    };
    let gateway = role("models").await;
    let chat = Chat::openai("bedrock/eu.amazon.nova-lite-v1:0", "Hello");
    for _ in 0..2 {
        assert_eq!(gateway.ask(&chat).await.told().text, "Hi");
    }
    let seen = cloud.seen();
    assert_eq!(seen.iter().filter(|seen| seen.path == "/").count(), 1, "its keys serve until they are due");
    let asked = seen[0].text();
    for part in [
        "Action=AssumeRole&",
        "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fmodels",
        "RoleSessionName=team",
        "ExternalId=a+b",
    ] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    let signed = seen[0].header("authorization");
    assert!(signed.contains("Credential=AKID/") && signed.contains("/eu-west-1/sts/"), "{signed}");
    for seen in &seen[1..] {
        let signed = seen.header("authorization");
        assert!(signed.contains("Credential=ASIA1/") && signed.contains("/eu-west-1/bedrock/"), "{signed}");
        assert_eq!(seen.header("x-amz-security-token"), "role+token==");
    }
    let refused = role("other").await.ask(&chat).await;
    assert_eq!(refused.status, 502, "{}", refused.text());
    assert_eq!(cloud.seen_at("/model/").len(), 2, "without its role nobody is asked");
}

#[tokio::test]
async fn inference_profiles_are_models_of_another_name() {
    let cloud = Cloud::start(converse).await;
    let bedrock = json!({"access_key": "AKID", "secret_key": "s", "region": "eu-west-1", "arn": "arn:aws:bedrock:eu-west-1:1:application-inference-profile"});
    let aliases = json!({
        "sonnet": {"model_id": "anthropic.claude-sonnet-4-v1:0", "inference_profile_arn": PROFILE},
        "team": "abc123",
    });
    let gateway = with(
        "bedrock",
        &json!({
            "keys": [{"bedrock_key_config": bedrock, "aliases": aliases}], "network_config": {"base_url": cloud.url()},
        }),
    )
    .await;
    for (model, profile) in
        [("sonnet", PROFILE), ("team", "arn:aws:bedrock:eu-west-1:1:application-inference-profile/abc123")]
    {
        let answer = gateway.ask(&Chat::openai(&format!("bedrock/{model}"), "Hello")).await;
        assert_eq!(answer.told().text, "Hi", "{}", answer.text());
        assert_eq!(answer.header("x-bifrost-resolved-model"), profile);
        let path = cloud.seen().last().unwrap().path.clone();
        let plain = path.replace("%3A", ":").replace("%2F", "/");
        assert_eq!(plain, format!("/model/{profile}/converse"));
        assert_eq!(path.matches('/').count(), 3, "an ARN is one segment: {path}");
    }
}
