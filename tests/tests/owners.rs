//! Whoever made a thing is asked for it again: stored responses, files and batches have their provider and key on record.

use std::sync::Arc;

use bifrost_gateway::engine::owners::Owned;
use bifrost_tests::{Answer, Gateway, Setup, Style};
use bytes::Bytes;
use serde_json::{Value, json};

const FIRST: (&str, &str) = ("x-bf-api-key", "key-0");
const SECOND: (&str, &str) = ("x-bf-api-key", "key-1");

/// A provider with two keys, and another one that speaks Responses.
fn world() -> Setup {
    Gateway::start().provider_keys("openai", Style::OpenAi, &["sk-0", "sk-1"], 0).provider("second", Style::Responses)
}

/// The latest request that a provider received: its path, and the key that it came under.
fn last(gateway: &Gateway, provider: &str) -> (String, String) {
    let request = gateway.upstream(provider).requests().pop().unwrap();
    (request.path.clone(), request.header("authorization").unwrap_or_default().trim_start_matches("Bearer ").to_owned())
}

async fn respond(gateway: &Gateway, headers: &[(&str, &str)], body: &Value) -> Answer {
    gateway.post("/v1/responses", headers, body.to_string()).await
}

/// The id that a client knows a reply by, whole or streamed.
fn id_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    if !answer.is_stream() {
        return answer.json()["id"].as_str().unwrap().to_owned();
    }
    let ids: Vec<Value> = events(answer).iter().map(|event| event["response"]["id"].clone()).collect();
    let ids: Vec<&str> = ids.iter().filter_map(Value::as_str).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "one reply has one id: {ids:?}");
    ids[0].to_owned()
}

fn events(answer: &Answer) -> Vec<Value> {
    let text = answer.text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn text_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let response = if answer.is_stream() { events(answer).pop().unwrap()["response"].clone() } else { answer.json() };
    let output = response["output"].as_array().unwrap();
    output.iter().filter_map(|item| item["content"][0]["text"].as_str()).collect()
}

#[tokio::test]
async fn a_stored_response_is_asked_for_and_continued_under_the_key_that_made_it() {
    let gateway = world().await;
    for stream in [false, true] {
        for (pin, key) in [(FIRST, "sk-0"), (SECOND, "sk-1")] {
            let body = json!({"model": "openai/x", "input": "[say: Hi]", "stream": stream});
            let id = id_of(&respond(&gateway, &[pin], &body).await);
            for path in [format!("/v1/responses/{id}"), format!("/v1/responses/{id}/input_items?order=asc")] {
                let answer = gateway.get(&path, &[]).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert_eq!(last(&gateway, "openai"), (path, key.to_owned()));
            }
            // A route that stands for another provider is no word of the caller's.
            assert_eq!(gateway.get(&format!("/openai/openai/v1/responses/{id}"), &[]).await.json()["id"], json!(id));
            for _ in 0..4 {
                let sequel = format!(
                    r#"{{ "model":"openai/x" , "fallbacks":["second/x"],"previous_response_id" : "{id}","input":"[say: and?]"}}"#
                );
                let answer = gateway.post("/v1/responses", &[], sequel).await;
                assert_eq!(text_of(&answer), "and?");
                assert_eq!(last(&gateway, "openai").1, key);
                let sent =
                    String::from_utf8(gateway.upstream("openai").requests().pop().unwrap().body.to_vec()).unwrap();
                let wanted = format!(r#"{{ "model":"x" , "previous_response_id" : "{id}","input":"[say: and?]"}}"#);
                assert_eq!(sent, wanted, "byte for byte");
            }
            let path = format!("/v1/responses/{id}");
            let deleted = gateway.send("DELETE", &path, &[], Bytes::new(), Style::OpenAi).await.rest().await;
            assert_eq!((deleted.status, last(&gateway, "openai").1.as_str()), (200, key), "{}", deleted.text());
        }
    }
    assert_eq!(gateway.asked("second").len(), 0);
}

#[tokio::test]
async fn what_is_not_kept_is_not_on_record() {
    let gateway = world().await;
    for stream in [false, true] {
        let body = json!({"model": "openai/x", "input": "[say: Hi]", "stream": stream, "store": false});
        let id = id_of(&respond(&gateway, &[], &body).await);
        assert!(gateway.owners().find("", &id).is_none(), "{id}");
        assert_eq!(gateway.get(&format!("/v1/responses/{id}"), &[]).await.status, 400);
    }
}

#[tokio::test]
async fn a_sequel_goes_to_the_owner_or_nowhere() {
    let gateway = world().await;
    let id = id_of(&respond(&gateway, &[SECOND], &json!({"model": "openai/x", "input": "[say: Hi]"})).await);
    let sequel = |model: &str, script: &str| json!({"model": model, "previous_response_id": id, "input": script});

    let elsewhere = respond(&gateway, &[], &sequel("second/x", "[say: no]")).await;
    let fault = elsewhere.fault();
    assert_eq!((elsewhere.status, fault.kind.as_str()), (400, "invalid_request_error"), "{}", elsewhere.text());
    assert!(fault.message.contains("kept by openai"), "{}", fault.message);
    assert_eq!(elsewhere.json()["error"]["param"], "/previous_response_id");

    // A bare model goes to the owner, whoever else could answer.
    assert_eq!(text_of(&respond(&gateway, &[], &sequel("x", "[say: here]")).await), "here");
    assert_eq!(last(&gateway, "openai").1, "sk-1");

    let mut body = sequel("openai/x", "[fail: 503]");
    body["fallbacks"] = json!(["second/x"]);
    assert_eq!(respond(&gateway, &[], &body).await.status, 503, "nobody else is asked");
    assert_eq!(last(&gateway, "openai").1, "sk-1");
    assert_eq!(gateway.asked("second").len(), 0);

    // Whoever says the key knows whose it is.
    assert_eq!(text_of(&respond(&gateway, &[FIRST], &sequel("openai/x", "[say: mine]")).await), "mine");
    assert_eq!(last(&gateway, "openai").1, "sk-0");

    let counted = gateway.post("/v1/responses/input_tokens", &[], sequel("openai/x", "how many?").to_string()).await;
    assert_eq!((counted.status, last(&gateway, "openai").1.as_str()), (200, "sk-1"), "{}", counted.text());
}

#[tokio::test]
async fn another_callers_things_are_not_on_record() {
    let key = |name: &str| json!({"name": name, "value": format!("vk-{name}")});
    let gateway = world().virtual_key(key("one")).virtual_key(key("two")).await;
    let (one, two) = (("x-bf-vk", "vk-one"), ("x-bf-vk", "vk-two"));
    let id = id_of(&respond(&gateway, &[one, SECOND], &json!({"model": "openai/x", "input": "[say: Hi]"})).await);
    let path = format!("/v1/responses/{id}");
    assert_eq!(gateway.get(&path, &[one]).await.status, 200);
    for caller in [&[two][..], &[]] {
        let answer = gateway.get(&path, caller).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.fault().message.contains("?provider="), "{}", answer.text());
        // Nothing is known of it, so nothing is said of where it is.
        let elsewhere = json!({"model": "second/x", "previous_response_id": id, "input": "[say: no]"});
        let answer = respond(&gateway, caller, &elsewhere).await;
        assert!(answer.status == 400 && !answer.text().contains("openai"), "{}", answer.text());
        assert_eq!(last(&gateway, "second").0, "/v1/responses", "its provider has the word");
    }
}

#[tokio::test]
async fn a_restarted_gateway_knows_nothing_and_learns_again() {
    let before = world().await;
    let id = id_of(&respond(&before, &[SECOND], &json!({"model": "openai/x", "input": "[say: Hi]"})).await);
    let keys = json!({"keys": [{"name": "key-0", "value": "sk-0"}, {"name": "key-1", "value": "sk-1"}]});
    let after = Gateway::start().provider_at("openai", Style::OpenAi, &before.upstream("openai").url(), &keys).await;
    let path = format!("/v1/responses/{id}");
    assert_eq!(after.get(&path, &[]).await.status, 400);
    assert_eq!(after.get(&format!("{path}?provider=openai"), &[SECOND]).await.json()["id"], json!(id));
    assert_eq!(after.get(&path, &[]).await.json()["id"], json!(id));
    assert_eq!(last(&before, "openai"), (path, "sk-1".to_owned()));
}

/// As another gateway that shares the record may have left it: the key is gone since, or belongs to others.
#[tokio::test]
async fn what_cannot_be_had_any_more_is_refused_clearly() {
    let granted = json!([{"provider": "openai", "key_ids": ["key-0"]}, {"provider": "second"}]);
    let narrow = json!({"id": "narrow", "name": "narrow", "value": "vk-narrow", "provider_configs": granted});
    let gateway = world().virtual_key(narrow).await;
    let keep = |caller: &str, provider: &str, key: &str| {
        let owned = Owned { provider: provider.into(), key: key.into(), id: "resp_1".into(), since: Vec::new() };
        gateway.owners().keep(caller, "resp_1", Arc::new(owned));
    };
    let sequel = |model: &str| json!({"model": model, "previous_response_id": "resp_1", "input": "[say: no]"});
    let vk = [("x-bf-vk", "vk-narrow")];
    for (caller, provider, key, headers, status, says) in [
        ("", "openai", "key-9", &[][..], 400, "under a key that is no longer configured"),
        ("", "closed", "key-0", &[], 400, "kept by closed, which is no longer configured"),
        ("narrow", "openai", "key-1", &vk, 403, "kept by openai under a key that this virtual key may not use"),
    ] {
        keep(caller, provider, key);
        for model in ["openai/x", "x"] {
            let answer = respond(&gateway, headers, &sequel(model)).await;
            let kind = if status == 403 { "provider_blocked" } else { "invalid_request_error" };
            assert_eq!((answer.status, answer.fault().kind.as_str()), (status, kind), "{}", answer.text());
            assert!(answer.fault().message.contains(says), "{}", answer.text());
        }
        let control = gateway.get("/v1/responses/resp_1", headers).await;
        let named = if provider == "closed" { (400, "closed") } else { (404, "resp_1 is kept under a key of openai") };
        assert_eq!(control.status, named.0, "{}", control.text());
        assert!(control.fault().message.contains(named.1), "{}", control.text());
    }
    assert_eq!(gateway.asked("openai").len() + gateway.asked("second").len(), 0);
    // Its way out: the caller says whom to ask.
    assert_eq!(gateway.get("/v1/responses/resp_1?provider=openai", &[]).await.status, 404);
    assert_eq!(gateway.upstream("openai").requests().len(), 2, "each key was asked");
}

const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=b");

/// A file to be uploaded, for a batch of one request.
fn form() -> String {
    let line = json!({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
        "body": {"model": "x", "messages": [{"role": "user", "content": "[say: done]"}]}});
    format!(
        "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\nContent-Disposition: form-data; \
         name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{line}\r\n--b--\r\n"
    )
}

#[tokio::test]
async fn a_batch_runs_where_its_file_is_and_leaves_its_results_there() {
    let gateway = world().await;
    let named = |answer: &Answer, field: &str| {
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()[field].as_str().unwrap().to_owned()
    };
    for (pin, key) in [(SECOND, "sk-1"), (FIRST, "sk-0")] {
        let file = named(&gateway.post("/v1/files?provider=openai", &[FORM, pin], form()).await, "id");
        assert_eq!(gateway.get(&format!("/v1/files/{file}"), &[]).await.json()["id"], json!(file));
        assert_eq!(last(&gateway, "openai").1, key);

        let body = json!({"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"});
        let json = ("content-type", "application/json");
        let batch = named(&gateway.post("/v1/batches", &[json], body.to_string()).await, "id");
        assert_eq!(last(&gateway, "openai"), ("/v1/batches".to_owned(), key.to_owned()));
        assert_eq!(gateway.upstream("openai").requests().pop().unwrap().json(), body);

        let results = named(&gateway.get(&format!("/v1/batches/{batch}"), &[]).await, "output_file_id");
        let content = gateway.get(&format!("/v1/files/{results}/content"), &[]).await;
        assert!(content.text().contains("chat.completion"), "{}", content.text());
        assert_eq!(last(&gateway, "openai"), (format!("/v1/files/{results}/content"), key.to_owned()));
    }
    let unknown = json!({"input_file_id": "file-unknown", "endpoint": "/v1/responses", "completion_window": "24h"});
    let answer = gateway.post("/v1/batches", &[], unknown.to_string()).await;
    assert!(answer.status == 400 && answer.fault().message.contains("?provider="), "{}", answer.text());
}

// === Replies that ran tools ===

fn with_tools() -> Setup {
    world().tool("demo", "demo")
}

const NO_TOOLS: (&str, &str) = ("x-bf-mcp-include-tools", "");

#[tokio::test]
async fn a_reply_that_ran_tools_is_continued_from_its_last_turn() {
    let gateway = with_tools().await;
    for stream in [false, true] {
        let script =
            r#"[call: demo-echo {"text":"first"}][then][call: demo-echo {"text":"second"}][then][say: {results}]"#;
        let body = json!({"model": "openai/x", "input": script, "stream": stream});
        let answer = respond(&gateway, &[SECOND], &body).await;
        assert_eq!(text_of(&answer), "first; second");
        let id = id_of(&answer);
        let whole = gateway.get(&format!("/v1/responses/{id}"), &[]).await.json();
        assert_eq!(
            whole["output"][0]["content"][0]["text"], "first; second",
            "the last turn is what the provider keeps"
        );
        // Named by a client that was shown it, the last turn's own id does as well.
        let last_turn = whole["id"].as_str().unwrap().to_owned();
        assert_eq!(id == last_turn, !stream, "{id} {last_turn}");
        for (name, headers) in [(&id, &[][..]), (&id, &[NO_TOOLS]), (&last_turn, &[])] {
            let body = format!(r#"{{"model":"openai/x","previous_response_id": "{name}","input":"[echo]"}}"#);
            let answer = gateway.post("/v1/responses", headers, body.clone()).await;
            let seen: Value = serde_json::from_str(&text_of(&answer)).unwrap();
            let ran = ["function_call", "function_call_output"];
            let all = [&["user"][..], &ran, &ran, &["assistant", "user"]].concat();
            assert_eq!(seen["roles"], json!(all), "the model sees everything");
            assert_eq!(last(&gateway, "openai").1, "sk-1");
            let sent = gateway.upstream("openai").requests().pop().unwrap();
            assert_eq!(sent.json()["previous_response_id"], json!(last_turn));
            if !headers.is_empty() {
                let wanted = body.replace("openai/x", "x").replace(name.as_str(), &last_turn);
                assert_eq!(String::from_utf8(sent.body.to_vec()).unwrap(), wanted, "nothing else is touched");
            }
        }
    }
}

#[tokio::test]
async fn a_turn_that_mixed_tools_is_continued_with_the_results_that_its_provider_was_not_told() {
    let gateway = with_tools().await;
    let tools = json!([{"type": "function", "name": "mine", "parameters": {"type": "object"}, "strict": false}]);
    for stream in [false, true] {
        for headers in [&[][..], &[NO_TOOLS]] {
            let before = gateway.tools("demo").calls().len();
            let script = r#"[call: demo-echo {"text":"a"}][then][call: demo-echo {"text":"b"}][call: mine {"q":"1"}][then][say: {results}]"#;
            let body = json!({"model": "openai/x", "input": script, "tools": tools, "stream": stream});
            let first = respond(&gateway, &[SECOND], &body).await;
            let id = id_of(&first);
            let response = if stream { events(&first).pop().unwrap()["response"].clone() } else { first.json() };
            let output = response["output"].as_array().unwrap();
            let call = output.iter().find(|item| item["type"] == "function_call").unwrap();
            assert_eq!(call["name"], "mine");
            let result = json!({"type": "function_call_output", "call_id": call["call_id"], "output": "from me"});
            let body = json!({"model": "openai/x", "previous_response_id": id, "input": [result], "tools": tools});
            assert_eq!(text_of(&respond(&gateway, headers, &body).await), "a; b; from me", "{stream} {headers:?}");
            assert_eq!(last(&gateway, "openai").1, "sk-1");
            assert_eq!(gateway.tools("demo").calls().len(), before + 2, "nothing runs twice");
        }
    }
}
