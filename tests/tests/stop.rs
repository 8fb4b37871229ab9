//! Starting and stopping the real binary: signals, exit codes, and what it leaves behind.

use std::time::{Duration, Instant};

use bifrost_tests::{Chat, Client, OrFail as _, Process, Style, Upstream, eventually, fixtures};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;

const MODEL: &str = "openai/scripted-small";

async fn provider() -> Upstream {
    Upstream::start(Style::OpenAi).await.or_fail("a provider")
}

/// One provider, and stdio tool servers by name and scenario.
fn config(provider: &Upstream, servers: &[(&str, &str)]) -> Value {
    let server = |(name, scenario): &(&str, &str)| {
        let stdio = json!({"command": fixtures(), "args": ["tools", "--scenario", scenario]});
        json!({"name": name, "connection_type": "stdio", "stdio_config": stdio, "tools_to_auto_execute": ["*"]})
    };
    let servers: Vec<Value> = servers.iter().map(server).collect();
    json!({
        "providers": {"openai": {"keys": [{"value": "sk-1"}], "network_config": {"base_url": provider.url()}}},
        "mcp": {"client_configs": servers, "tool_manager_config": {"start_bound": "5s"}},
    })
}

/// Is a process there, and not just its unread exit code?
fn alive(pid: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

/// The process ids of a `fork` tool server and of its grandchild.
async fn family(client: &Client, server: &str) -> Vec<i64> {
    let call = json!({"name": format!("{server}-pids"), "arguments": {}}).to_string();
    let answer = client.post("/v1/mcp/tool/execute", &[], call).await.json();
    let pids: Value = serde_json::from_str(answer["content"].as_str().or_fail("content")).or_fail("process ids");
    ["pid", "child"].map(|key| pids[key].as_i64().or_fail(key)).to_vec()
}

#[tokio::test]
async fn a_stop_finishes_what_runs_and_takes_nothing_new() {
    let upstream = provider().await;
    let mut process = Process::start(Some(&config(&upstream, &[("demo", "demo")])), &[]);
    let client = process.client().await;
    let script = r#"[call: demo-slow {"ms":300}][then][say: one two three four][chunks: 20][drip: 20ms]"#;
    let mut live = client.open(&Chat::openai(MODEL, script).stream()).await;
    live.piece().await.or_fail("the stream has begun");
    process.signal(Signal::SIGTERM);
    let address = client.address().to_owned();
    let refused = async {
        while TcpStream::connect(&address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(bifrost_tests::PATIENCE, refused).await.or_fail("new connections are refused");
    let told = live.rest().await.told();
    assert_eq!(told.text, "one two three four");
    let (status, _) = process.ended().await;
    assert_eq!(status.code(), Some(0), "{}", process.stderr());
    assert_eq!(process.records().len(), 1, "the last record is written");
}

#[tokio::test]
async fn the_drain_is_bounded() {
    let upstream = provider().await;
    let mut process = Process::start(Some(&config(&upstream, &[])), &["--drain-seconds", "1"]);
    let client = process.client().await;
    let mut live = client.open(&Chat::openai(MODEL, "[say: one][hang-after: 3]").stream()).await;
    live.until("one").await;
    process.signal(Signal::SIGTERM);
    let (status, took) = process.ended().await;
    assert_eq!(status.code(), Some(0), "{}", process.stderr());
    assert!((Duration::from_millis(900)..Duration::from_secs(6)).contains(&took), "{took:?}");
    eventually("the provider is let go", || upstream.in_flight() == 0).await;
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let upstream = provider().await;
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let mut process = Process::start(Some(&config(&upstream, &[])), &["--drain-seconds", "600"]);
        let client = process.client().await;
        let mut live = client.open(&Chat::openai(MODEL, "[say: one][hang-after: 3]").stream()).await;
        live.until("one").await;
        process.signal(Signal::SIGINT);
        eventually("it says that it stops", || process.stderr().contains("stopping")).await;
        process.signal(second);
        let (_, took) = process.ended().await;
        assert!(took < Duration::from_secs(5), "{second}: {took:?}");
    }
}

#[tokio::test]
async fn neither_a_stop_nor_a_kill_leaves_tool_servers_behind() {
    let upstream = provider().await;
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut process = Process::start(Some(&config(&upstream, &[("stubborn", "fork")])), &["--drain-seconds", "1"]);
        let client = process.client().await;
        let pids = family(&client, "stubborn").await;
        assert!(pids.iter().all(|pid| alive(*pid)), "{pids:?}");
        drop(client);
        process.signal(signal);
        process.ended().await;
        eventually(&format!("{signal}: server and grandchild are gone"), || !pids.iter().any(|pid| alive(*pid))).await;
    }
}

#[tokio::test]
async fn it_starts_without_a_file() {
    let process = Process::start(None, &[]);
    let client = process.client().await;
    assert_eq!(client.get("/health", &[]).await.json()["status"], "ok");
    let answer = client.ask(&Chat::openai("openai/gpt-4o", "hi")).await;
    assert_eq!(answer.status, 400);
    assert!(answer.fault().message.contains("unknown provider 'openai'"), "{}", answer.text());
}

#[tokio::test]
async fn a_broken_file_stops_the_start_with_all_its_mistakes() {
    let upstream = provider().await;
    let mut wrong = config(&upstream, &[]);
    wrong["clinet"] = json!({});
    wrong["providers"]["openai"]["network_config"]["max_retries"] = json!("three");
    for (config, words) in
        [(wrong, vec!["clinet", "max_retries", "config.json"]), (json!("{\"providers\": "), vec!["config.json"])]
    {
        let mut process = Process::start(Some(&config), &[]);
        let (status, _) = process.ended().await;
        let stderr = process.stderr();
        assert_eq!(status.code(), Some(2), "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{word}: {stderr}");
        }
    }
}

#[tokio::test]
async fn a_tool_server_that_hangs_does_not_hold_up_the_start() {
    let upstream = provider().await;
    let mut config = config(&upstream, &[("stuck", "hangs:initialize"), ("demo", "demo")]);
    config["mcp"]["tool_manager_config"]["start_bound"] = json!("500ms");
    let began = Instant::now();
    let process = Process::start(Some(&config), &[]);
    let client = process.client().await;
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    let health = client.get("/health", &[]).await.json();
    assert_eq!(health["components"]["tool_servers"]["stuck"]["state"], "connecting", "{health}");
    assert_eq!(client.ask(&Chat::openai(MODEL, "[say: Hi]")).await.told().text, "Hi");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.or_fail("a port");
    let port = taken.local_addr().or_fail("an address").port().to_string();
    let mut process = Process::start(None, &["--port", &port]);
    let (status, _) = process.ended().await;
    assert!(status.code().is_some_and(|code| code != 0), "{}", process.stderr());
    let stderr = process.stderr();
    assert!(stderr.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{stderr}");
}
