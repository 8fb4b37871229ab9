//! What an operator sees: health, metrics, headers, `extra_fields`, one log record per request, and never a secret.

use bifrost_tests::{Chat, Gateway, OrFail as _, PROVIDERS, Process, Setup, Style, eventually, few, fixtures};
use futures::future::join_all;
use serde_json::{Value, json};

const MODEL: &str = "openai/scripted-small";

fn world() -> Setup {
    Gateway::both().tool("demo", "demo")
}

#[tokio::test]
async fn health_names_the_components_and_a_failed_tool_server() {
    let gateway = world().tool("gone", "dies:start").loop_settings(&json!({"start_bound": "500ms"})).await;
    let answer = gateway.get("/health", &[]).await;
    assert_eq!(answer.status, 200, "a tool server that is down is no reason to be taken out of service");
    let health = answer.json();
    assert_eq!(health["status"], "ok");
    let servers = &health["components"]["tool_servers"];
    assert_eq!((&servers["demo"]["state"], &servers["demo"]["tools"]), (&json!("ready"), &json!(10)), "{health}");
    assert!(matches!(servers["gone"]["state"].as_str(), Some("failed" | "connecting")), "{health}");
    assert_eq!(health["components"]["providers"], 2);
}

/// Label names of the contract's base set.
const BASE: [&str; 22] = [
    "provider",
    "model",
    "alias",
    "method",
    "virtual_key_id",
    "virtual_key_name",
    "routing_engine_used",
    "routing_rule_id",
    "routing_rule_name",
    "complexity_tier",
    "complexity_mechanism",
    "selected_key_id",
    "selected_key_name",
    "fallback_index",
    "team_id",
    "team_name",
    "customer_id",
    "customer_name",
    "business_unit_id",
    "business_unit_name",
    "project_id",
    "project_name",
];

#[tokio::test]
async fn metrics_have_the_names_and_labels_that_dashboards_use() {
    let gateway = world()
        .settings(&json!({"client": {"prometheus_labels": ["team_color"]}}))
        .virtual_key(json!({"id": "id-vk", "name": "tester", "value": "vk-1", "mcp_configs": [
            {"mcp_client_name": "demo", "tools_to_execute": ["*"]}]}))
        .await;
    let script =
        r#"[call: demo-add {"a":1,"b":2}][usage: in=10 out=2 cached=4][then][say: {results}][usage: in=20 out=3]"#;
    let chat = Chat::openai(MODEL, script).stream().header("x-bf-vk", "vk-1").header("x-bf-dim-team_color", "red");
    gateway.ask(&chat).await.told();
    gateway.ask(&Chat::openai(MODEL, "[fail: 418]")).await.fault();

    let text = gateway.get("/metrics", &[]).await.text();
    let series = |name: &str| {
        let found = text.lines().find(|line| line.starts_with(&format!("{name}{{")) && line.contains("tester"));
        found.or_fail(&format!("{name} in {text}"))
    };
    for name in [
        "bifrost_upstream_requests_total",
        "bifrost_requests_total",
        "bifrost_success_requests_total",
        "bifrost_input_tokens_total",
        "bifrost_output_tokens_total",
        "bifrost_cache_read_input_tokens_total",
        "bifrost_upstream_latency_seconds_count",
        "bifrost_request_duration_seconds_count",
        "bifrost_stream_first_token_latency_seconds_count",
        "bifrost_stream_inter_token_latency_seconds_count",
        "bifrost_overhead_latency_microseconds_count",
        "bifrost_request_retries_count",
    ] {
        let line = series(name);
        for label in BASE {
            assert!(line.contains(&format!("{label}=\"")), "{label} of {line}");
        }
        assert!(line.contains(r#"team_color="red""#), "the operator's own label: {line}");
    }
    let labels = [("provider", "openai"), ("virtual_key_name", "tester"), ("method", "chat_completion_stream")];
    for (name, wanted) in [("bifrost_input_tokens_total", 30.0), ("bifrost_output_tokens_total", 5.0)] {
        assert_eq!(gateway.metric(name, &labels).await, Some(wanted), "{name}");
    }
    let failed = [("status_code", "418"), ("model", "scripted-small"), ("selected_key_name", "openai-key")];
    assert_eq!(gateway.metric("bifrost_error_requests_total", &failed).await, Some(1.0));
    let tool = [("mcp_client", "demo"), ("mcp_tool_name", "add"), ("mcp_method", "tools/call")];
    assert_eq!(gateway.metric("bifrost_mcp_client_operation_duration_seconds_count", &tool).await, Some(1.0));
    let http = [("path", "/v1/chat/completions"), ("method", "POST"), ("status", "200"), ("team_color", "red")];
    for name in ["http_requests_total", "http_request_duration_seconds_count", "http_request_size_bytes_count"] {
        assert_eq!(gateway.metric(name, &http).await, Some(1.0), "{name}");
    }
    for name in ["http_request_duration_seconds_count", "http_request_size_bytes_count", "bifrost_active_requests"] {
        assert!(gateway.metric(name, &[]).await.is_some(), "{name}");
    }
    assert!(text.contains("process_resident_memory_bytes"), "{text}");
}

#[tokio::test]
async fn the_gateways_own_time_is_told_from_that_of_providers_and_tools() {
    let gateway = world().await;
    for cell in few() {
        let labels = [("provider", cell.provider.name())];
        let overhead = async || gateway.metric("bifrost_overhead_latency_microseconds_sum", &labels).await;
        let before = overhead().await.unwrap_or(0.0);
        let script = r#"[call: demo-slow {"ms":400}][delay: 400ms][then][say: Done.][delay: 400ms]"#;
        let began = std::time::Instant::now();
        cell.told(&gateway, &cell.chat(script)).await;
        let whole = began.elapsed();
        let own = overhead().await.or_fail("a sum") - before;
        assert!(whole.as_millis() >= 1200 && own > 0.0, "{cell:?}: {own} us of {whole:?}");
        assert!(own < 400_000.0, "{cell:?}: {own} us of {whole:?} hold a wait for somebody else");
    }
}

#[tokio::test]
async fn the_pace_of_a_stream_is_measured_without_its_tools() {
    let gateway = Gateway::every().tool("demo", "demo").await;
    // Each provider has observations of its own, so they need not wait for each other.
    let paces = PROVIDERS.map(|provider| pace_at(&gateway, provider));
    join_all(paces).await;
}

async fn pace_at(gateway: &Gateway, provider: Style) {
    for cell in bifrost_tests::streams().filter(|cell| cell.provider == provider) {
        let labels = [("provider", provider.name())];
        let name = |part: &str| format!("bifrost_stream_inter_token_latency_seconds_{part}");
        let (count, sum) = (name("count"), name("sum"));
        let read = async |name: &str| gateway.metric(name, &labels).await.unwrap_or(0.0);
        let before = (read(&count).await, read(&sum).await);
        let script = r#"[call: demo-slow {"ms":2000}][then][say: one two three four five][chunks: 10][drip: 20ms]"#;
        cell.told(gateway, &cell.chat(script)).await;
        assert!((read(&count).await - before.0 - 1.0).abs() < f64::EPSILON, "{cell:?}: one observation");
        let mean = read(&sum).await - before.1;
        // The tool alone would add 200 ms to each gap.
        assert!((0.005..0.15).contains(&mean), "{cell:?}: {mean} s between pieces that come every 20 ms or so");
    }
}

#[tokio::test]
async fn the_facts_travel_in_headers_everywhere_and_in_the_body_where_it_has_room() {
    let gateway = world().await;
    for cell in few() {
        let answer = gateway.ask(&cell.chat("[say: Hi]").header("x-request-id", "mine-7")).await;
        let told = answer.told();
        let request_type = if cell.stream { "chat_completion_stream" } else { "chat_completion" };
        let name = cell.provider.name();
        for (header, wanted) in [
            ("x-bifrost-provider", name.to_owned()),
            ("x-bifrost-original-model", format!("{name}/scripted-small")),
            ("x-bifrost-resolved-model", "scripted-small".to_owned()),
            ("x-bifrost-request-type", request_type.to_owned()),
            ("x-request-id", "mine-7".to_owned()),
        ] {
            assert_eq!(answer.header(header), wanted, "{cell:?} {header}");
        }
        assert!(answer.header("x-bifrost-upstream-latency-ms").parse::<f64>().is_ok(), "{cell:?}");
        if !cell.has_extra_fields() {
            assert!(!answer.text().contains("extra_fields"), "{cell:?}: {}", answer.text());
            continue;
        }
        let extra = &told.extra;
        assert_eq!((&extra["provider"], &extra["request_type"]), (&json!(name), &json!(request_type)), "{cell:?}");
        assert_eq!(extra["routing_info"]["key"], format!("{name}-key"), "{cell:?}");
        assert!(extra["latency"].as_f64().is_some_and(|ms| ms > 0.0), "{cell:?}: {extra}");
    }
}

#[tokio::test]
async fn a_providers_own_headers_are_passed_on() {
    let gateway = Gateway::both().await;
    let openai = gateway.ask(&Chat::openai(MODEL, "[say: Hi]")).await;
    assert_eq!(openai.header("x-ratelimit-limit-requests"), "10000");
    assert!(openai.header("x-bifrost-upstream-request-id").starts_with("req_fixture"));
    let anthropic = gateway.ask(&Chat::anthropic("anthropic/x", "[say: Hi]")).await;
    assert_eq!(anthropic.header("anthropic-ratelimit-requests-limit"), "4000");
    assert!(anthropic.header("request-id").starts_with("req_fixture"));
}

/// A configuration for the real binary: one provider, one stdio tool server, secrets in every place that takes one.
fn config(provider: &str) -> Value {
    json!({
        "version": 1,
        "client": {"prometheus_labels": ["color"]},
        "providers": {"openai": {
            "keys": [{"name": "one", "value": "sk-canary-provider"}],
            "network_config": {"base_url": provider, "extra_headers": {"x-extra": "canary-header"}},
        }},
        "mcp": {"client_configs": [{
            "name": "piped", "connection_type": "stdio", "tools_to_auto_execute": ["*"],
            "stdio_config": {"command": fixtures(), "args": ["tools", "--scenario", "demo"], "env": {"SECRET": "canary-env"}},
        }]},
        "governance": {"virtual_keys": [{"name": "tester", "value": "sk-bf-canary-vk", "mcp_configs": [
            {"mcp_client_name": "piped", "tools_to_execute": ["*"]}]}]},
    })
}

#[tokio::test]
async fn one_record_per_request_says_what_happened() {
    let upstream = bifrost_tests::Upstream::start(Style::OpenAi).await.or_fail("a provider");
    let process = Process::start(Some(&config(&upstream.url())), &[]);
    let client = process.client().await;
    let script = r#"[call: piped-add {"a":1,"b":2}][usage: in=10 out=4][then][say: {results}][usage: in=20 out=5]"#;
    let chat = Chat::openai(MODEL, script).header("x-bf-vk", "sk-bf-canary-vk").header("x-request-id", "r-1");
    assert_eq!(client.ask(&chat).await.told().text, "3");
    let refused = Chat::openai(MODEL, "canary-prompt [fail: 418 teapot]").header("x-request-id", "r-2");
    client.ask(&refused.header("x-bf-vk", "sk-bf-canary-vk")).await.fault();
    let unknown = Chat::openai(MODEL, "x").header("x-bf-vk", "sk-bf-canary-unknown").header("x-request-id", "r-3");
    client.ask(&unknown).await.fault();
    eventually("three records", || process.records().len() == 3).await;

    let records = process.records();
    let record = |id: &str| records.iter().find(|record| record["request_id"] == id).or_fail(id);
    let good = record("r-1");
    for (field, wanted) in [
        ("outcome", json!("success")),
        ("status", json!(200)),
        ("provider", json!("openai")),
        ("model", json!("scripted-small")),
        ("model_requested", json!(MODEL)),
        ("lane", json!("loop")),
        ("key_name", json!("one")),
        ("virtual_key_name", json!("tester")),
        ("usage_input", json!(30)),
        ("usage_output", json!(9)),
        ("turns", json!(2)),
    ] {
        assert_eq!(good[field], wanted, "{field} of {good}");
    }
    assert_eq!(good["tools_executed"][0]["name"], "piped-add", "{good}");
    let bad = record("r-2");
    assert_eq!((&bad["outcome"], &bad["status"]), (&json!("error"), &json!(418)), "{bad}");
    assert_eq!(bad["attempts"][0]["status"], 418, "{bad}");
    assert_eq!(record("r-3")["status"], 401);

    let metrics = client.get("/metrics", &[]).await.text();
    let health = client.get("/health", &[]).await.text();
    let everything = format!("{}{records:?}{metrics}{health}", process.stderr());
    assert!(!everything.contains("canary"), "a secret or a prompt is shown: {everything}");
}

#[tokio::test]
async fn one_record_per_tool_execution_says_what_happened() {
    let upstream = bifrost_tests::Upstream::start(Style::OpenAi).await.or_fail("a provider");
    let process = Process::start(Some(&config(&upstream.url())), &[]);
    let client = process.client().await;
    let execute = async |id: &str, key: &str, body: Value| {
        let headers = [("x-request-id", id), ("x-bf-vk", key)];
        let answer = client.post("/v1/mcp/tool/execute", &headers, body.to_string()).await;
        assert_eq!(answer.header("x-request-id"), id, "{}", answer.text());
        answer.status
    };
    let key = "sk-bf-canary-vk";
    let call = json!({"id": "c-1", "name": "piped-add", "arguments": {"a": 1, "b": 2}});
    assert_eq!(execute("t-1", key, call).await, 200);
    assert_eq!(execute("t-2", key, json!({"name": "piped-fail", "arguments": {"message": "canary"}})).await, 200);
    assert_eq!(execute("t-3", key, json!({"name": "piped-add", "arguments": {"a": "canary"}})).await, 400);
    assert_eq!(execute("t-4", key, json!({"name": "piped-nothing"})).await, 403);
    assert_eq!(execute("t-5", "sk-bf-canary-unknown", json!({"name": "piped-add"})).await, 401);
    eventually("five records", || process.records().len() == 5).await;

    let records = process.records();
    let record = |id: &str| records.iter().find(|record| record["request_id"] == id).or_fail(id);
    // Its id; the outcome, the status, whose key, and whether the one tool that was called failed.
    for (id, outcome, status, who, failed) in [
        ("t-1", "success", 200, json!("tester"), json!(false)),
        ("t-2", "success", 200, json!("tester"), json!(true)),
        ("t-3", "error", 400, json!("tester"), json!(true)),
        ("t-4", "error", 403, json!("tester"), Value::Null),
        ("t-5", "error", 401, Value::Null, Value::Null),
    ] {
        let record = record(id);
        assert_eq!(record["request_type"], "mcp_tool_execution", "{record}");
        assert_eq!((&record["outcome"], &record["status"]), (&json!(outcome), &json!(status)), "{record}");
        assert_eq!(
            (&record["virtual_key_name"], &record["tools_executed"][0]["is_error"]),
            (&who, &failed),
            "{record}"
        );
        assert!(record["latency_ms"].as_f64().is_some_and(|ms| ms >= 0.0), "{record}");
    }
    let ran = &record("t-1")["tools_executed"][0];
    assert_eq!((&ran["id"], &ran["name"], &ran["server"]), (&json!("c-1"), &json!("piped-add"), &json!("piped")));
    assert!(ran["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{ran}");
    assert_eq!(record("t-4")["error_type"], "mcp_tool_blocked");
    assert!(!format!("{records:?}").contains("canary"), "arguments or results are in the log: {records:?}");
    let tool = [("mcp_client", "piped"), ("mcp_tool_name", "add")];
    let counted = client.metric("bifrost_mcp_client_operation_duration_seconds_count", &tool).await;
    assert_eq!(counted, Some(2.0));
    let http = [("path", "/v1/mcp/tool/execute"), ("status", "200")];
    assert_eq!(client.metric("http_requests_total", &http).await, Some(2.0));
    assert_eq!(client.metric("bifrost_active_requests", &[("method", "mcp_tool_execution")]).await, Some(0.0));
}

#[tokio::test]
async fn what_is_refused_before_the_engine_is_recorded_once() {
    let upstream = bifrost_tests::Upstream::start(Style::OpenAi).await.or_fail("a provider");
    let mut config = config(&upstream.url());
    config["client"]["max_request_body_size_mb"] = json!(1);
    let process = Process::start(Some(&config), &[]);
    let client = process.client().await;
    let long = format!("/nowhere/{}", "x".repeat(5000));
    let big = "x".repeat(2 << 20);
    // Method, path, further headers, body, status, request type, dialect.
    let chat = "/v1/chat/completions";
    let cases = [
        ("GET", long.as_str(), vec![], "", 404, "unknown", "openai"),
        ("POST", "/anthropic/v1/nothing", vec![], "{}", 404, "unknown", "anthropic"),
        ("GET", chat, vec![], "", 405, "unknown", "openai"),
        ("POST", chat, vec![("x-bf-vk", "sk-bf-canary-vk")], big.as_str(), 413, "chat_completion", "openai"),
        ("POST", chat, vec![("content-encoding", "gzip")], "x", 415, "chat_completion", "openai"),
        ("GET", "/v1/models", vec![("x-bf-vk", "nobody")], "", 401, "list_models", "openai"),
    ];
    for (at, (method, path, headers, body, ..)) in cases.iter().enumerate() {
        let id = format!("n-{at}");
        let headers: Vec<_> = headers.iter().copied().chain([("x-request-id", id.as_str())]).collect();
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        let answer = client.send(method, path, &headers, body, Style::OpenAi).await.rest().await;
        assert_eq!(answer.status, cases[at].4, "{method} {path}");
        assert_eq!(answer.header("x-request-id"), id);
    }
    let marker = Chat::openai(MODEL, "[say: Hi]").header("x-request-id", "last");
    client.ask(&marker).await.told();
    eventually("the last record", || process.records().iter().any(|record| record["request_id"] == "last")).await;
    let records = process.records();
    assert_eq!(records.len(), cases.len() + 1, "one each: {records:?}");
    for (at, (method, path, _, _, status, request_type, dialect)) in cases.iter().enumerate() {
        let record = records.iter().find(|record| record["request_id"] == format!("n-{at}")).or_fail(path);
        assert_eq!((&record["outcome"], &record["status"]), (&json!("error"), &json!(status)), "{method}: {record}");
        assert_eq!(record["request_type"], *request_type, "{record}");
        assert!(record["dialect"].as_str().is_some_and(|name| name.starts_with(dialect)), "{record}");
        assert!(record.to_string().len() < 2000, "a caller's text is kept short: {record}");
    }
    assert_eq!(records[3]["virtual_key_name"], "tester", "{:?}", records[3]);
    assert_eq!(client.metric("bifrost_error_requests_total", &[]).await, None, "no provider was asked");
    assert_eq!(client.metric("bifrost_active_requests", &[]).await, Some(0.0));
}

#[tokio::test]
async fn every_attempt_is_recorded() {
    let upstream = bifrost_tests::Upstream::start(Style::OpenAi).await.or_fail("a provider");
    let mut config = config(&upstream.url());
    config["providers"]["openai"]["keys"] = json!([{"name": "one", "value": "sk-1"}]);
    config["providers"]["openai"]["network_config"]["max_retries"] = json!(2);
    config["providers"]["openai"]["network_config"]["retry_backoff_initial"] = json!(1);
    let process = Process::start(Some(&config), &[]);
    let client = process.client().await;
    assert_eq!(client.ask(&Chat::openai(MODEL, "[say: Hi][fail: 503 times=2 busy]")).await.told().text, "Hi");
    eventually("a record", || process.records().len() == 1).await;
    let record = process.records().remove(0);
    assert_eq!(record["retries"], 2, "{record}");
    let attempts = record["attempts"].as_array().or_fail("attempts");
    assert_eq!(attempts.len(), 2, "{record}");
    for attempt in attempts {
        assert_eq!((&attempt["status"], &attempt["rotated"]), (&json!(503), &json!(false)), "{record}");
        assert!(attempt["reason"].as_str().or_fail("a reason").contains("busy"), "{record}");
    }
}
