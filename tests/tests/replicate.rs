//! Replicate, whose answers take more than one call. The provider here keeps predictions as the real one does, and refuses what it would.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bifrost_tests::{Chat, Cloud, Gateway, OrFail as _, Said, Seen, eventually};
use http::Method;
use serde_json::{Value, json};

const MODEL: &str = "replicate/meta/llama-3-70b";
const VERSION: &str = "9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426";

/// How often a prediction is looked at before it has ended.
const LOOKS: u32 = 2;

/// The predictions of one account, and how often each was looked at. What becomes of one, its prompt says.
type Shelf = Arc<Mutex<Vec<(Value, u32)>>>;

fn shelf(shelf: &Shelf) -> MutexGuard<'_, Vec<(Value, u32)>> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refused(status: u16, title: &str, detail: &str) -> Said {
    Said::json(status, &json!({"title": title, "detail": detail, "status": status}))
}

/// As <https://replicate.com/docs/reference/http> has it. `url`: where this is, once that is known.
fn replicate(seen: &Seen, predictions: &Shelf) -> Said {
    if seen.header("authorization") != "Bearer r8_key" {
        return refused(401, "Unauthenticated", "You did not pass a valid authentication token");
    }
    let path: Vec<&str> = seen.path.trim_start_matches('/').split('/').collect();
    match (&seen.method, path.as_slice()) {
        (&Method::GET, ["v1", "collections", "official"]) => {
            Said::json(200, &json!({"slug": "official", "models": [{"owner": "meta", "name": "llama-3-70b"}]}))
        }
        (&Method::GET, ["v1", "deployments"]) => {
            Said::json(200, &json!({"next": null, "results": [{"owner": "acme", "name": "mine"}]}))
        }
        (&Method::POST, ["v1", "models", "nobody", _, "predictions"]) => {
            refused(404, "Not found", "The model does not exist")
        }
        (&Method::POST, ["v1", "models" | "deployments", owner, name, "predictions"]) => {
            begin(seen, &format!("{owner}/{name}"), predictions)
        }
        (&Method::POST, ["v1", "predictions"]) => {
            let version = seen.json()["version"].as_str().unwrap_or_default().to_owned();
            assert!(version.ends_with(VERSION), "{version}");
            begin(seen, "meta/llama-3-70b", predictions)
        }
        (&Method::GET, ["v1", "predictions", id]) => look(id, predictions),
        (&Method::GET, ["streams", id]) => stream(id, predictions),
        (&Method::POST, ["v1", "predictions", id, "cancel"]) => {
            shelf(predictions).iter_mut().filter(|(known, _)| known["id"] == *id).for_each(|(known, _)| {
                known["status"] = json!("canceled");
            });
            Said::json(200, &json!({"id": id, "status": "canceled"}))
        }
        _ => refused(404, "Not found", "The requested resource does not exist"),
    }
}

fn begin(seen: &Seen, model: &str, predictions: &Shelf) -> Said {
    let body = seen.json();
    let Some(input) = body["input"].as_object() else {
        return refused(422, "Input validation failed", "- input is required\n");
    };
    if input.get("prompt").and_then(Value::as_str) == Some("") {
        return refused(422, "Input validation failed", "- input: prompt is required\n");
    }
    let mut all = shelf(predictions);
    let id = format!("p{}", all.len());
    // Some models do not stream, whoever asks them.
    let host = format!("http://{}", seen.header("host"));
    let mut urls =
        json!({"get": format!("{host}/v1/predictions/{id}"), "cancel": format!("{host}/v1/predictions/{id}/cancel")});
    if !input["prompt"].as_str().unwrap_or_default().contains("mute") {
        urls["stream"] = json!(format!("{host}/streams/{id}"));
    }
    let prediction = json!({"id": id, "model": model, "version": "hidden", "input": input, "logs": "", "output": null, "error": null,
        "status": "starting", "created_at": "2026-11-21T10:00:00.5Z", "urls": urls, "data_removed": false});
    all.push((prediction.clone(), 0));
    Said::json(201, &prediction)
}

fn look(id: &str, predictions: &Shelf) -> Said {
    let mut all = shelf(predictions);
    let Some((known, looks)) = all.iter_mut().find(|(known, _)| known["id"] == *id) else {
        return refused(404, "Not found", "Prediction not found");
    };
    *looks += 1;
    let prompt = known["input"]["prompt"].as_str().unwrap_or_default().to_owned();
    if prompt.contains("forever") || *looks < LOOKS {
        return Said::json(200, known);
    }
    if known["status"] == "starting" {
        known["status"] = json!(if prompt.contains("fail") { "failed" } else { "succeeded" });
        known["metrics"] = json!({"input_token_count": 7, "output_token_count": 3, "predict_time": 0.1});
        match prompt.as_str() {
            "fail" => known["error"] = json!("CUDA out of memory"),
            "draw" => known["output"] = json!(["https://replicate.delivery/a.png", "data:image/png;base64,aGk="]),
            _ => known["output"] = json!(["Hel", "lo\n", "\"you\""]),
        }
    }
    Said::json(200, known)
}

fn stream(id: &str, predictions: &Shelf) -> Said {
    let found = shelf(predictions).iter().find(|(known, _)| known["id"] == *id).map(|(known, _)| known.clone());
    let prompt = found.or_fail("a prediction")["input"]["prompt"].as_str().unwrap_or_default().to_owned();
    let mut body = "event: output\nid: 1:0\ndata: Hel\n\nevent: output\nid: 1:1\ndata: lo\ndata: \n\n".to_owned();
    match prompt.as_str() {
        "fail" => body = "event: error\ndata: {\"detail\":\"CUDA out of memory\"}\n\n".to_owned(),
        "break" => body += "event: error\ndata: the machine went away\n\nevent: done\ndata: {\"reason\":\"error\"}\n\n",
        "cut" => {}
        "long" => (0..2_000_000).for_each(|_| body += "event: output\ndata: x\n\n"),
        _ => body += "event: output\nid: 1:2\ndata: \"you\"\n\nevent: done\nid: 1:3\ndata: {}\n\n",
    }
    Said::new(200, "text/event-stream", &body)
}

async fn world() -> (Cloud, Gateway) {
    world_with(json!({"keys": [{"name": "k", "value": "r8_key"}]})).await
}

async fn world_with(mut provider: Value) -> (Cloud, Gateway) {
    let predictions = Shelf::default();
    let cloud = Cloud::start(move |seen| replicate(seen, &predictions)).await;
    provider["network_config"] = json!({"base_url": cloud.url(), "max_retries": 0});
    let client = json!({"compat": {"convert_text_to_chat": true}});
    let gateway = Gateway::both().settings(&json!({"client": client, "providers": {"replicate": provider}})).await;
    (cloud, gateway)
}

fn begun(cloud: &Cloud) -> Seen {
    let posts =
        cloud.seen().into_iter().filter(|seen| seen.method == Method::POST && seen.path.ends_with("/predictions"));
    posts.last().or_fail("a prediction")
}

#[tokio::test]
async fn a_prediction_is_waited_for_and_answers_every_dialect() {
    let (cloud, gateway) = world().await;
    for chat in [Chat::openai(MODEL, "Hi"), Chat::anthropic(MODEL, "Hi")] {
        let answer = gateway.ask(&chat).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let told = answer.told();
        assert_eq!(told.text, "Hello\n\"you\"");
        assert_eq!(told.tokens(), (7, 3));
        assert_eq!(begun(&cloud).path, "/v1/models/meta/llama-3-70b/predictions");
        assert_eq!(begun(&cloud).json()["input"]["prompt"], "Hi");
        assert!(begun(&cloud).header("cancel-after").ends_with('s'), "{:?}", begun(&cloud).headers);
    }
    let text = gateway.post("/v1/completions", &[], json!({"model": MODEL, "prompt": "Once"}).to_string()).await;
    assert_eq!(text.json()["choices"][0]["text"], "Hello\n\"you\"", "{}", text.text());
    let models = gateway.get("/v1/models", &[]).await.text();
    assert!(models.contains("replicate/meta/llama-3-70b"), "{models}");
    assert!(cloud.seen_at("/cancel").is_empty());
}

#[tokio::test]
async fn a_prediction_streams_and_says_what_it_cost() {
    let (cloud, gateway) = world().await;
    for chat in [Chat::openai(MODEL, "Hi").stream(), Chat::anthropic(MODEL, "Hi").stream()] {
        let answer = gateway.ask(&chat).await;
        assert!(answer.is_stream() && answer.ended(), "{}", answer.text());
        assert_eq!(answer.told().text, "Hello\n\"you\"");
        assert_eq!(answer.told().tokens(), (7, 3), "{}", answer.text());
    }
    assert_eq!(cloud.seen_at("/streams/").len(), 2);
    // A model that does not stream is waited for.
    let mute = gateway.ask(&Chat::openai(MODEL, "mute").stream()).await;
    assert!(mute.is_stream() && mute.ended(), "{}", mute.text());
    assert_eq!(mute.told().text, "Hello\n\"you\"");
    assert!(cloud.seen_at("/cancel").is_empty());
}

#[tokio::test]
async fn what_fails_is_told_in_its_words() {
    let (cloud, gateway) = world().await;
    for chat in [Chat::openai(MODEL, "fail"), Chat::openai(MODEL, "fail").stream()] {
        let answer = gateway.ask(&chat).await;
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert!(answer.fault().message.contains("CUDA out of memory"), "{}", answer.text());
    }
    for prompt in ["break", "cut"] {
        let answer = gateway.ask(&Chat::openai(MODEL, prompt).stream()).await;
        assert_eq!((answer.status, answer.faults()), (200, 1), "{}", answer.text());
        assert!(!answer.ended(), "{}", answer.text());
    }
    let unknown = gateway.ask(&Chat::openai("replicate/nobody/x", "Hi")).await;
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    assert!(unknown.fault().message.contains("The model does not exist"), "{}", unknown.text());
    let images = json!({"model": MODEL, "prompt": "x", "stream": true}).to_string();
    assert_eq!(gateway.post("/v1/images/generations", &[], images).await.status, 400);
    let embeddings = gateway.post("/v1/embeddings", &[], json!({"model": MODEL, "input": "x"}).to_string()).await;
    assert!(embeddings.fault().message.contains("not supported by replicate"), "{}", embeddings.text());
    let failed = cloud.seen_at("/cancel").len();
    assert!(failed <= 4, "what has ended need not be cancelled: {failed}");
}

#[tokio::test]
async fn who_leaves_has_the_prediction_cancelled() {
    let (cloud, gateway) = world().await;
    {
        let chat = Chat::openai(MODEL, "forever");
        let leaves = gateway.ask(&chat);
        let waits = async { eventually("a look at it", || !cloud.seen_at("/v1/predictions/p0").is_empty()).await };
        tokio::select! { () = waits => {}, answer = leaves => panic!("{}", answer.text()) }
    }
    eventually("the first to be cancelled", || cloud.seen_at("/v1/predictions/p0/cancel").len() == 1).await;
    let mut live = gateway.open(&Chat::openai(MODEL, "long").stream()).await;
    live.until("Hel").await;
    drop(live);
    eventually("the second to be cancelled", || cloud.seen_at("/v1/predictions/p1/cancel").len() == 1).await;
    assert_eq!(cloud.seen_at("/cancel").len(), 2);
    assert!(cloud.seen_at("/cancel").iter().all(|seen| seen.header("authorization") == "Bearer r8_key"));
}

#[tokio::test]
async fn a_conversation_becomes_one_prompt_and_its_losses_are_told() {
    let (cloud, gateway) = world().await;
    let body = json!({"model": MODEL, "max_tokens": 9, "temperature": 0.5, "seed": 7, "stop": ["a", "b"], "min_tokens": 2, "store": true,
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "2+2?"},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\"a\":2}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "4"},
            {"role": "user", "content": [{"type": "text", "text": "And this?"}, {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]}]});
    let answer = gateway.post("/v1/chat/completions", &[], body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let prompt =
        "User: 2+2?\n\nAssistant: [c1 calls add] {\"a\":2}\n\nTool: [c1 answered] 4\n\nUser: And this?\n\nAssistant:";
    let want = json!({"input": {"system_prompt": "Be brief", "prompt": prompt, "image": "https://x.test/a.png", "max_tokens": 9,
        "temperature": 0.5, "seed": 7, "stop_sequences": "a,b", "min_tokens": 2}});
    assert_eq!(begun(&cloud).json(), want);
    let losses = answer.json()["extra_fields"]["losses"].clone();
    let places: Vec<&str> =
        losses.as_array().or_fail("losses").iter().filter_map(|loss| loss["pointer"].as_str()).collect();
    assert_eq!(places, ["/messages/1", "/store", "/tools"], "{losses}");
    let strict = gateway.post("/v1/chat/completions", &[("x-bf-strict", "true")], body.to_string()).await;
    assert_eq!(strict.status, 422, "{}", strict.text());
}

#[tokio::test]
async fn models_versions_and_deployments_have_places_of_their_own() {
    let deployments = json!({"use_deployments_endpoint": true});
    let keys = json!([{"name": "models", "value": "r8_key", "models": ["meta/llama-3-70b", format!("meta/llama-3-70b:{VERSION}"), VERSION]},
        {"name": "own", "value": "r8_key", "models": ["acme/mine"], "replicate_key_config": deployments}]);
    let (cloud, gateway) = world_with(json!({"keys": keys})).await;
    for (model, path, version) in [
        ("meta/llama-3-70b".to_owned(), "/v1/models/meta/llama-3-70b/predictions", Value::Null),
        (format!("meta/llama-3-70b:{VERSION}"), "/v1/predictions", json!(format!("meta/llama-3-70b:{VERSION}"))),
        (VERSION.to_owned(), "/v1/predictions", json!(VERSION)),
        ("acme/mine".to_owned(), "/v1/deployments/acme/mine/predictions", Value::Null),
    ] {
        let answer = gateway.ask(&Chat::openai(&format!("replicate/{model}"), "Hi")).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text());
        assert_eq!((begun(&cloud).path.as_str(), &begun(&cloud).json()["version"]), (path, &version));
    }
}

#[tokio::test]
async fn pictures_are_predictions_too() {
    let (cloud, gateway) = world().await;
    let body = json!({"model": "replicate/black-forest-labs/flux-schnell", "prompt": "draw", "n": 2, "size": "1792x1024",
        "output_format": "png", "num_inference_steps": 4, "user": "u"});
    let answer = gateway.post("/v1/images/generations", &[], body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let drawn = answer.json();
    assert_eq!(drawn["data"], json!([{"url": "https://replicate.delivery/a.png"}, {"b64_json": "aGk="}]));
    assert_eq!(drawn["created"], 1_795_255_200);
    assert_eq!(drawn["extra_fields"]["losses"][0]["pointer"], "/user", "{drawn}");
    let want = json!({"input": {"prompt": "draw", "num_outputs": 2, "aspect_ratio": "16:9", "output_format": "png", "num_inference_steps": 4}});
    assert_eq!(
        (begun(&cloud).path.as_str(), begun(&cloud).json()),
        ("/v1/models/black-forest-labs/flux-schnell/predictions", want)
    );
}
