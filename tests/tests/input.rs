//! Hostile and broken requests: refused with the right status in the caller's dialect, before a provider hears of them.

use bifrost_tests::{Answer, BOTH, Chat, Gateway, OrFail as _, Style, few};
use bytes::Bytes;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const OPENAI: &str = "/v1/chat/completions";
const ANTHROPIC: &str = "/anthropic/v1/messages";

/// No provider was asked, and the gateway goes on serving.
async fn unharmed(gateway: &Gateway) {
    for provider in ["openai", "anthropic"] {
        assert_eq!(gateway.upstream(provider).requests().len(), 0, "{provider} saw a request");
    }
    assert_eq!(gateway.ask(&Chat::openai("openai/scripted-small", "[say: Hi]")).await.told().text, "Hi");
}

fn refused(answer: &Answer, status: u16, about: &str) {
    assert_eq!(answer.status, status, "{about}: {}", answer.text());
    assert_eq!(answer.header("x-should-retry"), "false", "{about}");
    assert!(!answer.header("x-request-id").is_empty(), "{about}");
    let fault = answer.fault();
    assert!(fault.message.len() < 1000, "{about}: the message quotes too much: {fault:?}");
}

#[tokio::test]
async fn bodies_that_are_no_request_are_refused() {
    let gateway = Gateway::both().await;
    let deep = |open: &str| open.repeat(100_000);
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"hello".to_vec(),
        b"[1,2]".to_vec(),
        b"null".to_vec(),
        b"\"a string\"".to_vec(),
        b"{".to_vec(),
        br#"{"model":"openai/x","messages":[{"role":"user""#.to_vec(),
        br#"{"model":"openai/x","messages":[]}}"#.to_vec(),
        br#"{"model":"openai/x","messages":[],"temperature":NaN}"#.to_vec(),
        b"{'model':'openai/x','messages':[]}".to_vec(),
        b"{\"model\":\"openai/\xff\xfe\",\"messages\":[]}".to_vec(),
        deep("[").into_bytes(),
        deep("{\"a\":").into_bytes(),
        format!(r#"{{"model":"openai/x","messages":{}"#, deep("[")).into_bytes(),
    ];
    for path in [OPENAI, ANTHROPIC] {
        for body in &bodies {
            let start = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            refused(&gateway.post(path, &[], body.clone()).await, 400, &format!("{path} {start}"));
        }
    }
    unharmed(&gateway).await;
}

#[tokio::test]
async fn deep_nesting_inside_a_request_does_no_harm() {
    let gateway = Gateway::both().tool("demo", "demo").await;
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for path in [OPENAI, ANTHROPIC] {
        let body = format!(r#"{{"model":"openai/x","max_tokens":9,"messages":[{{"role":"user","content":{deep}}}]}}"#);
        refused(&gateway.post(path, &[], body).await, 400, path);
        let body = format!(
            r#"{{"model":"openai/x","max_tokens":9,"messages":[{{"role":"user","content":"hi"}}],"x":{deep}}}"#
        );
        let answer = gateway.post(path, &[], body).await;
        assert!(matches!(answer.status, 200 | 400), "{path}: {}", answer.text());
    }
    assert_eq!(gateway.ask(&Chat::openai("openai/scripted-small", "[say: Hi]")).await.told().text, "Hi");
}

#[tokio::test]
async fn requests_without_their_essentials_are_refused() {
    let gateway = Gateway::both().await;
    let messages = json!([{"role": "user", "content": "hi"}]);
    // The body without max_tokens, and a word that the message must hold.
    let cases = [
        (json!({"messages": messages}), "model"),
        (json!({"model": null, "messages": messages}), "model"),
        (json!({"model": 7, "messages": messages}), "model"),
        (json!({"model": "", "messages": messages}), "model"),
        (json!({"model": "openai/scripted-small"}), "messages"),
        (json!({"model": "openai/x", "messages": messages, "stream": "yes"}), "stream"),
        (json!({"model": "openai/x", "messages": messages, "fallbacks": "anthropic/x"}), "fallbacks"),
        (json!({"model": "openai/x", "messages": messages, "fallbacks": [1]}), "fallbacks"),
    ];
    for path in [OPENAI, ANTHROPIC] {
        for (body, word) in &cases {
            let answer = gateway.post(path, &[], body.to_string()).await;
            refused(&answer, 400, &format!("{path} {body}"));
            assert!(answer.fault().message.contains(word), "{path} {body}: {:?}", answer.fault());
        }
    }
    // Where the route has a provider of its own, whatever is no known prefix is its model's name.
    let format = "model must be in the format 'provider/model'";
    for (model, words) in
        [("gpt-4o", format), ("/x", format), ("openai/", format), ("nowhere/x", "unknown provider 'nowhere'")]
    {
        let answer = gateway.post(OPENAI, &[], json!({"model": model, "messages": messages}).to_string()).await;
        refused(&answer, 400, model);
        assert!(answer.fault().message.contains(words), "{model}: {:?}", answer.fault());
    }
    unharmed(&gateway).await;
}

#[tokio::test]
async fn what_must_be_read_is_read_strictly() {
    // In these lanes the gateway reads the whole request, so it can say what is wrong and where.
    let gateway = Gateway::both().await;
    let cases = [
        ("messages", json!("hi")),
        ("messages", json!([{"role": "user", "content": 7}])),
        ("messages", json!(["hi"])),
        ("tools", json!("none")),
    ];
    for client in BOTH {
        let provider = if client == Style::OpenAi { "anthropic" } else { "openai" };
        for (field, value) in &cases {
            let chat = Chat::new(client, &format!("{provider}/x"), "hi").set(field, value.clone());
            let answer = gateway.ask(&chat).await;
            refused(&answer, 400, &format!("{client:?} {field} {value}"));
            assert!(
                answer.fault().message.contains(&format!("/{field}")),
                "{client:?} {field} {value}: {:?}",
                answer.fault()
            );
        }
    }
    unharmed(&gateway).await;
}

#[tokio::test]
async fn a_model_name_cannot_smuggle_headers_or_metrics() {
    let gateway = Gateway::both().await;
    for name in ["x\r\nset-cookie: a=b", "x\n# HELP fake", "x\"} 1\nfake{a=\"b", "\u{0}\u{1f600}"] {
        for client in BOTH {
            let answer = gateway.ask(&Chat::new(client, &format!("openai/{name}"), "[say: Hi]")).await;
            assert_eq!(answer.header("set-cookie"), "", "{name:?}");
            assert!(matches!(answer.status, 200 | 400), "{name:?}: {}", answer.text());
        }
    }
    let metrics = gateway.get("/metrics", &[]).await.text();
    assert!(!metrics.lines().any(|line| line.starts_with("set-cookie") || line.starts_with("fake")), "{metrics}");
}

/// A gateway that takes a megabyte.
async fn small() -> Gateway {
    Gateway::both().settings(&json!({"client": {"max_request_body_size_mb": 1}})).await
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_by_its_length() {
    let gateway = small().await;
    for path in [OPENAI, ANTHROPIC, "/v1/mcp/tool/execute"] {
        let answer = gateway.post(path, &[], vec![b' '; (1 << 20) + 1]).await;
        refused(&answer, 413, path);
        // Announced only: refused before a byte of it has come.
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n\r\n"
        );
        let answer = raw(&gateway, &[head.as_bytes()]).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{path}: {answer}");
    }
    unharmed(&gateway).await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_without_a_length_too() {
    let gateway = small().await;
    let chunk = [b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat();
    for path in [OPENAI, ANTHROPIC] {
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
        let mut parts = vec![head.as_bytes()];
        parts.extend(std::iter::repeat_n(chunk.as_slice(), 40));
        let answer = raw(&gateway, &parts).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{path}: {answer}");
    }
    unharmed(&gateway).await;
}

/// Sends these bytes over a connection of its own and returns what comes back first.
async fn raw(gateway: &Gateway, parts: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(gateway.address()).await.or_fail("connecting");
    for part in parts {
        // The answer may come, and the connection close, before everything is sent.
        if stream.write_all(part).await.is_err() {
            break;
        }
    }
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(bifrost_tests::PATIENCE, stream.read(&mut answer)).await;
    let read = read.or_fail("an answer in time").unwrap_or(0);
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test]
async fn broken_http_closes_the_connection_and_nothing_else() {
    let gateway = Gateway::both().await;
    let attempts: [&[u8]; 6] = [
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n x: folded\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx y: 1\r\n\r\n",
    ];
    for attempt in attempts {
        let answer = raw(&gateway, &[attempt]).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    unharmed(&gateway).await;
}

#[tokio::test]
async fn compressed_bodies_are_refused() {
    let gateway = Gateway::both().await;
    for path in [OPENAI, ANTHROPIC] {
        for encoding in ["gzip", "zstd", "br", "deflate"] {
            let answer =
                gateway.post(path, &[("content-encoding", encoding)], Bytes::from_static(b"\x1f\x8b\x08")).await;
            refused(&answer, 415, &format!("{path} {encoding}"));
        }
    }
    unharmed(&gateway).await;
}

#[tokio::test]
async fn what_can_be_got_can_be_asked_after() {
    let gateway = Gateway::both().await;
    for (path, status) in [("/v1/models", 200), ("/anthropic/v1/models", 200), (OPENAI, 405)] {
        let head = gateway.send("HEAD", path, &[], Bytes::new(), Style::OpenAi).await.rest().await;
        assert_eq!((head.status, head.text().as_str()), (status, ""), "{path}: {:?}", head.headers);
    }
}

#[tokio::test]
async fn unknown_routes_and_wrong_methods_are_told_in_the_paths_dialect() {
    let gateway = Gateway::both().await;
    for path in
        ["/", "/v1", "/v1/chat", "/v1/chat/completions/", "//v1/chat/completions", "/v1/%63hat/completions", "/v3/x"]
    {
        refused(&gateway.post(path, &[], "{}").await, 404, path);
    }
    for path in ["/anthropic/v1/nothing", "/anthropic/v1/messages/x/y"] {
        refused(&gateway.post(path, &[], "{}").await, 404, path);
    }
    refused(&gateway.get(OPENAI, &[]).await, 405, OPENAI);
    refused(&gateway.get(ANTHROPIC, &[]).await, 405, ANTHROPIC);
    refused(&gateway.post("/v1/models", &[], "{}").await, 405, "/v1/models");
    unharmed(&gateway).await;
}

// === tool execution ===

const EXECUTE: &str = "/v1/mcp/tool/execute";
const RESPONSES: &str = "/v1/mcp/tool/execute?format=responses";

#[tokio::test]
async fn tool_execution_refuses_what_it_cannot_run() {
    let gateway =
        Gateway::both().tool_with("demo", "demo", &json!({"tools_to_execute": ["add", "fail", "echo"]})).await;
    let call = |name: &str, arguments: &str| {
        json!({"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}).to_string()
    };
    let good = call("demo-add", r#"{"a":1,"b":2}"#);
    // Path, body, status, a word that the message must hold.
    let cases = [
        (EXECUTE, call("demo-none", "{}"), 400, "not available or not permitted"),
        (EXECUTE, call("nothing", "{}"), 400, "not available or not permitted"),
        (RESPONSES, r#"{"type":"function_call","name":"nothing"}"#.to_owned(), 400, "not available or not permitted"),
        (RESPONSES, r#"{"type":"function_call","name":"demo-big"}"#.to_owned(), 403, "not permitted"),
        (EXECUTE, call("demo-big", r#"{"bytes":1}"#), 403, "not permitted"),
        (EXECUTE, call("demo-add", r#"{"a":"one","b":2}"#), 400, "demo-add"),
        (EXECUTE, call("demo-add", r#"{"a":1}"#), 400, "demo-add"),
        (EXECUTE, call("demo-add", "{"), 400, "failed to parse tool arguments"),
        (EXECUTE, call("", "{}"), 400, "Tool function name is required"),
        (EXECUTE, "{}".to_owned(), 400, "Tool function name is required"),
        (EXECUTE, "[]".to_owned(), 400, "object"),
        (EXECUTE, "nonsense".to_owned(), 400, "invalid request body"),
        ("/v1/mcp/tool/execute?format=xml", good.clone(), 400, "Invalid format value, must be 'chat' or 'responses'"),
    ];
    for (path, body, status, word) in cases {
        let answer = gateway.post(path, &[], body.clone()).await;
        refused(&answer, status, &format!("{path} {body}"));
        assert!(answer.fault().message.contains(word), "{body}: {:?}", answer.fault());
    }
    assert_eq!(gateway.tools("demo").calls().len(), 0, "nothing of it reached the tool server");

    let narrowed = gateway.post(EXECUTE, &[("x-bf-mcp-include-clients", "other")], good.clone()).await;
    refused(&narrowed, 403, "narrowed");
    assert_eq!(gateway.post(EXECUTE, &[], good).await.json()["content"], "3");
    unharmed(&gateway).await;
}

#[tokio::test]
async fn tool_execution_answers_in_both_formats_and_tells_failures_as_results() {
    let gateway = Gateway::both().tool("demo", "demo").await;
    let body = r#"{"type":"function_call","call_id":"k","name":"demo_add","arguments":"{\"a\":1,\"b\":2}"}"#;
    let answer = gateway.post(RESPONSES, &[], body).await;
    assert_eq!(answer.json(), json!({"type": "function_call_output", "call_id": "k", "output": "3"}));
    let flat = gateway.post(EXECUTE, &[], r#"{"name":"demo-add","arguments":{"a":2,"b":3}}"#).await;
    assert_eq!(flat.json()["content"], "5");
    let failed = gateway.post(EXECUTE, &[], r#"{"name":"demo-fail","arguments":{"message":"out of ink"}}"#).await;
    assert_eq!(failed.status, 200, "{}", failed.text());
    assert!(failed.json()["content"].as_str().or_fail("content").contains("out of ink"), "{}", failed.text());
}

#[tokio::test]
async fn tool_execution_has_the_callers_rights() {
    let gateway = Gateway::both()
        .tool("demo", "demo")
        .virtual_key(json!({"name": "none", "value": "vk-none"}))
        .virtual_key(json!({"name": "adder", "value": "vk-add", "mcp_configs": [
            {"mcp_client_name": "demo", "tools_to_execute": ["add"]}]}))
        .settings(&json!({"client": {"enforce_auth_on_inference": true}}))
        .await;
    let body = r#"{"name":"demo-add","arguments":{"a":1,"b":2}}"#;
    refused(&gateway.post(EXECUTE, &[], body).await, 401, "no key");
    refused(&gateway.post(EXECUTE, &[("x-bf-vk", "vk-none")], body).await, 403, "no grant");
    let other = r#"{"name":"demo-echo","arguments":{"text":"x"}}"#;
    let answer = gateway.post(EXECUTE, &[("x-bf-vk", "vk-add")], other).await;
    refused(&answer, 403, "another tool");
    assert_eq!(answer.fault().kind, "mcp_tool_blocked");
    // What is not granted and what does not exist are the same to a virtual key.
    let nothing = gateway.post(EXECUTE, &[("x-bf-vk", "vk-add")], r#"{"name":"demo-nothing"}"#).await;
    refused(&nothing, 403, "no such tool");
    let told = |answer: &Answer, name: &str| answer.fault().message.replace(name, "it");
    assert_eq!(told(&nothing, "demo-nothing"), told(&answer, "demo-echo"));
    assert_eq!(gateway.tools("demo").calls().len(), 0);
    assert_eq!(gateway.post(EXECUTE, &[("x-bf-vk", "vk-add")], body).await.json()["content"], "3");
}

// === who is not known ===

/// Sends the head of a request that announces this much, and so much of its body.
async fn send(gateway: &Gateway, head: &str, announced: usize, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address()).await.or_fail("connecting");
    let head = format!("POST {OPENAI} HTTP/1.1\r\nhost: x\r\ncontent-length: {announced}\r\n{head}\r\n");
    stream.write_all(head.as_bytes()).await.or_fail("writing a head");
    stream.write_all(body).await.or_fail("writing a body");
    stream
}

async fn answer_of(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(bifrost_tests::PATIENCE, stream.read_to_end(&mut answer)).await;
    read.or_fail("an end of the connection").or_fail("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn who_is_not_known_is_refused_before_the_body_is_read() {
    let gateway = Gateway::both().settings(&json!({"client": {"enforce_auth_on_inference": true}})).await;
    // A body that is never sent; a client that waits to be asked for it is answered at once.
    let stream = send(&gateway, "expect: 100-continue\r\n", 50_000_000, b"").await;
    let answer = answer_of(stream).await;
    assert!(answer.starts_with("HTTP/1.1 401 ") && !answer.contains("100 Continue"), "{answer}");
    assert!(answer.contains("connection: close") && answer.contains("virtual_key_required"), "{answer}");
    // One that breaks off.
    let answer = answer_of(send(&gateway, "x-bf-vk: nobody\r\n", 50_000_000, b"{").await).await;
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("virtual_key_not_found"), "{answer}");
    for provider in ["openai", "anthropic"] {
        assert_eq!(gateway.upstream(provider).requests().len(), 0);
    }
}

#[tokio::test]
async fn who_sends_much_before_it_reads_hears_the_refusal() {
    let gateway = Gateway::both()
        .settings(&json!({"client": {"enforce_auth_on_inference": true, "max_request_body_size_mb": 16}}))
        .virtual_key(json!({"name": "known", "value": "sk-bf-known"}))
        .await;
    let big = vec![b'x'; 12 << 20];
    let unknown = gateway.post(OPENAI, &[("x-bf-vk", "nobody")], big.clone()).await;
    refused(&unknown, 401, "a big body from nobody");
    let compressed =
        gateway.post(OPENAI, &[("x-bf-vk", "sk-bf-known"), ("content-encoding", "gzip")], big.clone()).await;
    refused(&compressed, 415, "a big body in the wrong form");
    let too_big = gateway.post(OPENAI, &[("x-bf-vk", "sk-bf-known")], [big.clone(), big].concat()).await;
    refused(&too_big, 413, "a body over the cap");
    assert!(!too_big.broken);
}

// === web pages ===

/// Asks as a browser does before it sends a page's request.
async fn may(gateway: &Gateway, origin: &str, path: &str) -> Answer {
    let headers = [("origin", origin), ("access-control-request-method", "POST")];
    let style = if path == ANTHROPIC { Style::Anthropic } else { Style::OpenAi };
    gateway.send("OPTIONS", path, &headers, Bytes::new(), style).await.rest().await
}

#[tokio::test]
async fn pages_may_call_where_the_operator_allows_their_origin() {
    let gateway = Gateway::both()
        .settings(&json!({"client": {"allowed_origins": ["https://*.example.com"], "allowed_headers": ["x-team"]}}))
        .await;
    for path in [OPENAI, ANTHROPIC] {
        for origin in ["http://localhost:3000", "https://app.example.com"] {
            let answer = may(&gateway, origin, path).await;
            assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, origin), "{path}");
            assert_eq!(answer.header("access-control-allow-credentials"), "true");
            assert!(answer.header("access-control-allow-methods").contains("POST"), "{:?}", answer.headers);
            let headers = answer.header("access-control-allow-headers");
            assert!(headers.contains("Authorization") && headers.contains("x-team"), "{headers}");
        }
        let answer = may(&gateway, "https://evil.example", path).await;
        refused(&answer, 403, path);
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
    }
    let hi = |origin: &str| Chat::openai("openai/scripted-small", "[say: Hi]").header("origin", origin);
    for stream in [false, true] {
        let answer = gateway.ask(&hi("https://app.example.com").streamed(stream)).await;
        assert_eq!(answer.told().text, "Hi");
        assert_eq!(answer.header("access-control-allow-origin"), "https://app.example.com", "{stream}");
        assert_eq!(answer.header("vary"), "Origin", "{stream}");
    }
    // The page sees nothing of the answer; whoever is no browser is not concerned.
    let answer = gateway.ask(&hi("https://evil.example")).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, ""));
    // Without a question there is no permission to give.
    let plain = gateway.send("OPTIONS", OPENAI, &[], Bytes::new(), Style::OpenAi).await.rest().await;
    refused(&plain, 405, "OPTIONS");
}

#[tokio::test]
async fn callers_headers_reach_the_provider_where_they_may() {
    let filter = json!({"client": {"header_filter_config": {"allowlist": ["x-tenant", "x-plain"], "denylist": ["traceparent"]}}});
    for (setup, narrowed) in [(Gateway::both(), false), (Gateway::both().settings(&filter), true)] {
        let gateway = setup.await;
        for cell in few() {
            let chat = cell
                .chat("[say: Hi]")
                .header("x-bf-eh-X-Tenant", "acme")
                .header("x-bf-eh-x-other", "o")
                .header("x-bf-eh-authorization", "Bearer stolen")
                .header("x-bf-eh-host", "elsewhere")
                .header("x-bf-eh-x-bf-vk", "vk")
                .header("x-plain", "p")
                .header("traceparent", "t");
            cell.told(&gateway, &chat).await;
            let sent = gateway.upstream(cell.provider.name()).requests().pop().or_fail("a request");
            assert_eq!(sent.header("x-tenant"), Some("acme"), "{cell:?}");
            assert_eq!(sent.header("x-other"), (!narrowed).then_some("o"), "{cell:?}");
            assert_eq!(sent.header("x-plain"), narrowed.then_some("p"), "{cell:?}");
            assert_eq!(sent.header("traceparent"), (!narrowed).then_some("t"), "{cell:?}");
            let all = format!("{:?}", sent.headers);
            assert!(!all.contains("stolen") && !all.contains("elsewhere") && !all.contains("x-bf-"), "{cell:?}: {all}");
        }
    }
}
