//! What is no chat: embeddings, sound, pictures, token counts, files. Passed on as it came, under the same rights and keys.

use bifrost_tests::{Answer, Gateway, Style};
use serde_json::{Value, json};

async fn ask(gateway: &Gateway, path: &str, body: &Value) -> Answer {
    gateway.post(path, &[], body.to_string()).await
}

fn last_sent(gateway: &Gateway, provider: &str) -> (String, Vec<u8>) {
    let request = gateway.upstream(provider).requests().pop().unwrap();
    (request.path.clone(), request.body.to_vec())
}

#[tokio::test]
async fn an_order_goes_to_the_provider_of_its_model_with_every_other_byte_as_it_came() {
    let gateway = Gateway::both().await;
    let body = r#"{"model" : "openai/text-embedding-3-small","input":["a\u0062", "b"],  "dimensions":4, "x_new":1.50, "fallbacks":[]}"#;
    let answer = gateway.post("/v1/embeddings", &[], body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json();
    assert_eq!(told["data"].as_array().unwrap().len(), 2);
    assert_eq!(told["extra_fields"]["request_type"], "embedding");
    assert_eq!(answer.header("x-bifrost-resolved-model"), "text-embedding-3-small");
    let (path, sent) = last_sent(&gateway, "openai");
    let want = r#"{"model" : "text-embedding-3-small","input":["a\u0062", "b"],  "dimensions":4, "x_new":1.50}"#;
    assert_eq!((path.as_str(), String::from_utf8(sent).unwrap().as_str()), ("/v1/embeddings", want));
}

#[tokio::test]
async fn every_order_of_openai_is_served_on_every_prefix() {
    let gateway = Gateway::both().await;
    for (path, body) in [
        ("/v1/embeddings", json!({"input": "x"})),
        ("/v1/moderations", json!({"input": "x"})),
        ("/v1/images/generations", json!({"prompt": "x"})),
        ("/v1/completions", json!({"prompt": "x"})),
        ("/v1/responses/input_tokens", json!({"input": "x"})),
    ] {
        for prefix in ["", "/openai", "/litellm"] {
            let mut body = body.clone();
            body["model"] = json!(if prefix.is_empty() { "openai/some-model" } else { "some-model" });
            let answer = ask(&gateway, &format!("{prefix}{path}"), &body).await;
            assert_eq!(answer.status, 200, "{prefix}{path}: {}", answer.text());
            let (asked, sent) = last_sent(&gateway, "openai");
            let sent: Value = serde_json::from_slice(&sent).unwrap();
            assert_eq!((asked.as_str(), &sent["model"]), (path, &json!("some-model")), "{prefix}{path}");
        }
    }
}

#[tokio::test]
async fn sound_is_passed_on_as_it_is() {
    let gateway = Gateway::both().await;
    let answer =
        ask(&gateway, "/v1/audio/speech", &json!({"model": "openai/tts-1", "input": "x", "voice": "alloy"})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.header("content-type").starts_with("audio/"), "{:?}", answer.headers);
    assert!(!answer.body.is_empty());
    let direct = Gateway::both().await;
    let again = ask(&direct, "/openai/audio/speech", &json!({"model": "tts-1", "input": "x", "voice": "alloy"})).await;
    assert_eq!(again.body, answer.body);
}

#[tokio::test]
async fn a_form_keeps_its_file_and_gets_the_providers_name_of_the_model() {
    let gateway = Gateway::both().await;
    let form = |model: &str| {
        let head = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n";
        let tail = format!("\r\n--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--b--\r\n");
        [head.as_bytes(), b"RIFF\x00\xff\r\n-b".as_slice(), tail.as_bytes()].concat()
    };
    let headers = [("content-type", "multipart/form-data; boundary=b")];
    let answer = gateway.post("/v1/audio/transcriptions", &headers, form("openai/whisper-1")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.json()["text"].is_string());
    assert_eq!(last_sent(&gateway, "openai").1, form("whisper-1"));

    let answer = gateway.post("/v1/audio/transcriptions", &headers, "--b\r\n\r\nx").await;
    assert_eq!(answer.status, 400, "{}", answer.text());
}

#[tokio::test]
async fn an_order_falls_back_and_says_what_nobody_offers() {
    let gateway = Gateway::both().await;
    let body = json!({"model": "anthropic/x", "input": "x"});
    let answer = ask(&gateway, "/v1/embeddings", &body).await;
    assert_eq!(answer.status, 400);
    assert!(answer.fault().message.contains("not supported by anthropic"), "{}", answer.text());
    let body = json!({"model": "anthropic/x", "input": "x", "fallbacks": ["openai/text-embedding-3-small"]});
    let answer = ask(&gateway, "/v1/embeddings", &body).await;
    assert_eq!((answer.status, answer.header("x-bifrost-provider")), (200, "openai"), "{}", answer.text());
    assert_eq!(ask(&gateway, "/v1/embeddings", &json!({"input": "x"})).await.status, 400);
    assert_eq!(gateway.upstream("anthropic").requests().len(), 0);
}

#[tokio::test]
async fn tokens_are_counted_by_the_provider_of_the_model() {
    let gateway = Gateway::both().await;
    let body = json!({"model": "claude", "messages": [{"role": "user", "content": "x"}]});
    let answer = ask(&gateway, "/anthropic/v1/messages/count_tokens", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.json()["input_tokens"].is_u64());
}

#[tokio::test]
async fn files_belong_to_the_provider_that_is_named() {
    let gateway = Gateway::both()
        .virtual_key(json!({"name": "one", "value": "vk-one", "provider_configs": [{"provider": "anthropic"}]}))
        .await;
    let form = "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{}\r\n--b--\r\n";
    let headers = [("content-type", "multipart/form-data; boundary=b")];
    let made = gateway.post("/v1/files?provider=openai", &headers, form).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(gateway.get(&format!("/openai/v1/files/{id}"), &[]).await.json()["id"], json!(id));
    assert_eq!(gateway.get(&format!("/openai/files/{id}/content"), &[]).await.text(), "{}");
    assert_eq!(last_sent(&gateway, "openai").0, format!("/v1/files/{id}/content"));

    let unnamed = gateway.get("/v1/files", &[]).await;
    assert_eq!(unnamed.status, 400);
    assert!(unnamed.fault().message.contains("?provider="), "{}", unnamed.text());
    let foreign = gateway.get("/v1/files?provider=openai", &[("x-bf-vk", "vk-one")]).await;
    assert_eq!((foreign.status, foreign.fault().kind.as_str()), (403, "provider_blocked"));
    for path in ["/v1/files/../models", "/v1/files/%2e%2e/models", "/v1/files//x", "/v1/files/a%2Fb"] {
        assert_eq!(gateway.get(&format!("{path}?provider=openai"), &[]).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn text_completions_go_over_chat_where_the_operator_says_so() {
    let gateway = Gateway::both().settings(&json!({"client": {"compat": {"convert_text_to_chat": true}}})).await;
    for model in ["anthropic/x", "openai/x"] {
        let answer = ask(&gateway, "/v1/completions", &json!({"model": model, "prompt": "[say: Hi there]"})).await;
        let told = answer.json();
        assert_eq!(
            (&told["object"], &told["choices"][0]["text"]),
            (&json!("text_completion"), &json!("Hi there")),
            "{told}"
        );
        assert_eq!(told["extra_fields"]["request_type"], "text_completion");
        let body = json!({"model": model, "prompt": "[say: Hi there]", "stream": true});
        let stream = ask(&gateway, "/v1/completions", &body).await.text();
        let text: String = stream
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
            .filter_map(|chunk| chunk["choices"][0]["text"].as_str().map(str::to_owned))
            .collect();
        assert_eq!(text, "Hi there", "{stream}");
        assert!(stream.trim_end().ends_with("data: [DONE]"), "{stream}");
    }
    let tokens = ask(&gateway, "/v1/completions", &json!({"model": "openai/x", "prompt": [1, 2]})).await;
    assert_eq!(tokens.status, 400, "{}", tokens.text());
}

#[tokio::test]
async fn embeddings_are_had_of_providers_that_speak_otherwise() {
    let gateway = Gateway::start().provider("cohere", Style::Cohere).provider("gemini", Style::Gemini).await;
    for model in ["cohere/embed-v4.0", "gemini/gemini-embedding-001"] {
        let answer = ask(&gateway, "/v1/embeddings", &json!({"model": model, "input": ["a", "b"]})).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text());
        let told = answer.json();
        let data = told["data"].as_array().unwrap();
        assert_eq!((data.len(), &told["object"], &data[1]["index"]), (2, &json!("list"), &json!(1)), "{told}");
        assert!(data[0]["embedding"][0].is_number(), "{told}");

        let body = json!({"model": model, "input": "a", "encoding_format": "base64"});
        let told = ask(&gateway, "/v1/embeddings", &body).await.json();
        assert!(told["data"][0]["embedding"].is_string(), "{told}");
    }
    let body = json!({"model": "cohere/rerank-v3.5", "query": "q", "documents": ["a", "b"], "top_n": 1});
    let ranked = ask(&gateway, "/v1/rerank", &body).await;
    assert_eq!(ranked.status, 200, "{}", ranked.text());
    assert_eq!(ranked.json()["results"].as_array().unwrap().len(), 1, "{}", ranked.text());
}

#[tokio::test]
async fn a_passthrough_passes_what_a_model_does_and_nothing_else() {
    let gateway = Gateway::both().tool("demo", "demo").await;
    let chat = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "[say: Hi]"}]});
    let answer = ask(&gateway, "/openai_passthrough/v1/chat/completions", &chat).await;
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "Hi", "{}", answer.text());
    assert_eq!(last_sent(&gateway, "openai").1, chat.to_string().into_bytes(), "no tools are added");
    let chat = json!({"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "[say: Hi]"}]});
    let answer = ask(&gateway, "/anthropic_passthrough/v1/messages", &chat).await;
    assert_eq!(answer.json()["content"][0]["text"], "Hi", "{}", answer.text());
    for path in ["/openai_passthrough/v1/models", "/openai_passthrough/v1/files", "/anthropic_passthrough/v1/x"] {
        assert_eq!(gateway.get(path, &[]).await.status, 403, "{path}");
        assert_eq!(ask(&gateway, path, &chat).await.status, 403, "{path}");
    }
}
