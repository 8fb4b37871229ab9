//! Places in a provider's queue: never more than there are, never lost, whoever leaves and whenever.

use std::time::{Duration, Instant};

use bifrost_fixtures::mcp::CallState;
use bifrost_tests::{BOTH, Cell, Chat, Gateway, OrFail as _, PATIENCE, Setup, Style, eventually, few, within};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

const MODEL: &str = "openai/scripted-small";
/// How soon a provider must hear that nobody waits any more.
const SOON: Duration = Duration::from_secs(1);

/// One provider under this style's name, with so many places and so many waiters.
fn narrow(style: Style, places: usize, waiters: usize, drop_excess: bool) -> Setup {
    let queue = json!({"concurrency_and_buffer_size": {"concurrency": places, "buffer_size": waiters}});
    Gateway::start()
        .provider_with(style.name(), style, &queue)
        .settings(&json!({"client": {"drop_excess_requests": drop_excess}}))
}

/// Asks in the background; aborting the set hangs up.
fn ask(tasks: &mut JoinSet<u16>, gateway: &Gateway, chat: &Chat) {
    let (client, chat) = ((**gateway).clone(), chat.clone());
    tasks.spawn(async move { client.ask(&chat).await.status });
}

/// Every place is free again, and nothing is counted as running.
async fn all_quiet(gateway: &Gateway, style: Style) {
    let upstream = gateway.upstream(style.name());
    within(SOON, "the provider is let go", || upstream.in_flight() == 0).await;
    gateway.metric_becomes("bifrost_active_requests", &[], 0.0).await;
    gateway.metric_becomes("bifrost_queue_waiting", &[], 0.0).await;
}

#[tokio::test]
async fn a_full_queue_refuses_with_503_and_advice() {
    let gateway = narrow(Style::OpenAi, 1, 1, true).await;
    let mut tasks = JoinSet::new();
    ask(&mut tasks, &gateway, &Chat::openai(MODEL, "[hang]"));
    eventually("the first has the place", || gateway.upstream("openai").in_flight() == 1).await;
    ask(&mut tasks, &gateway, &Chat::openai(MODEL, "[say: Hi]"));
    gateway.metric_becomes("bifrost_queue_waiting", &[("provider", "openai")], 1.0).await;
    for client in BOTH {
        for stream in [false, true] {
            let answer = gateway.ask(&Chat::new(client, MODEL, "[say: Hi]").streamed(stream)).await;
            assert_eq!((answer.status, answer.is_stream()), (503, false), "{client:?}: {}", answer.text());
            assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{client:?}");
            let fault = answer.fault();
            assert!(fault.message.contains("queue") && fault.message.contains("full"), "{fault:?}");
            if client == Style::OpenAi {
                assert_eq!(fault.kind, "request_dropped");
            }
        }
    }
    assert_eq!(gateway.upstream("openai").requests().len(), 1);
    drop(tasks);
    all_quiet(&gateway, Style::OpenAi).await;
}

#[tokio::test]
async fn a_full_queue_falls_back_where_it_can() {
    let gateway = narrow(Style::OpenAi, 1, 0, true).provider("anthropic", Style::Anthropic).await;
    let mut tasks = JoinSet::new();
    ask(&mut tasks, &gateway, &Chat::openai(MODEL, "[hang]"));
    eventually("the place is taken", || gateway.upstream("openai").in_flight() == 1).await;
    let chat = Chat::openai(MODEL, "[say: Elsewhere]").set("fallbacks", json!(["anthropic/x"]));
    assert_eq!(gateway.ask(&chat).await.told().text, "Elsewhere");
}

#[tokio::test]
async fn those_who_wait_are_served_and_the_places_are_never_exceeded() {
    for cell in few() {
        let gateway = narrow(cell.provider, 3, 100, false).await;
        let mut tasks = JoinSet::new();
        for n in 0..20 {
            // Whole replies take their time before the head, streams between their frames.
            let pace = if cell.stream { "[drip: 3ms]" } else { "[delay: 15ms]" };
            ask(&mut tasks, &gateway, &cell.chat(&format!("[say: {n}]{pace}")));
        }
        let mut most = 0;
        let upstream = gateway.upstream(cell.provider.name());
        while let Some(ended) = {
            let next = tokio::time::timeout(Duration::from_millis(1), tasks.join_next()).await;
            most = most.max(upstream.in_flight());
            next.unwrap_or(Some(Ok(200)))
        } {
            assert_eq!(ended.or_fail("a request"), 200, "{cell:?}");
        }
        assert_eq!(upstream.requests().len(), 20, "{cell:?}");
        assert!(most <= 3, "{cell:?}: {most} at once");
        all_quiet(&gateway, cell.provider).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_at_any_moment_gives_its_place_back() {
    let scripts = [
        "[hang]",
        "[say: Hi][delay: 30ms]",
        "[say: one two three][chunks: 10][drip: 5ms]",
        "[say: one][hang-after: 3]",
        "[fail: 503]",
        r#"[call: demo-slow {"ms":30}][then][say: one two][drip: 5ms]"#,
        r#"[call: demo-slow {"ms":60000}]"#,
        r#"[call: demo-add {"a":1,"b":2}][then][hang]"#,
    ];
    for cell in few() {
        let gateway = narrow(cell.provider, 1, 100, false).tool("demo", "demo").await;
        for script in scripts {
            for after_ms in [0, 1, 3, 10, 25] {
                let client = (*gateway).clone();
                let chat = cell.chat(script);
                let asked = tokio::time::timeout(Duration::from_millis(after_ms), client.ask(&chat));
                drop(asked.await);
            }
        }
        all_quiet(&gateway, cell.provider).await;
        // With one place only, a single lost one would hang this for ever.
        assert_eq!(cell.told(&gateway, &cell.chat("[say: Still here]")).await.text, "Still here", "{cell:?}");
    }
}

/// A provider with one place whose retries wait this long.
fn patient(style: Style, back_off_ms: u64) -> Setup {
    let queue = json!({"concurrency": 1, "buffer_size": 100});
    let network = json!({"max_retries": 2, "retry_backoff_initial": back_off_ms, "retry_backoff_max": back_off_ms});
    let patch = json!({"concurrency_and_buffer_size": queue, "network_config": network});
    Gateway::start().provider_with(style.name(), style, &patch)
}

#[tokio::test]
async fn a_retry_that_waits_gives_its_place_to_others() {
    for cell in few() {
        let gateway = patient(cell.provider, 60_000).await;
        let upstream = gateway.upstream(cell.provider.name());
        let mut waiting = JoinSet::new();
        ask(&mut waiting, &gateway, &cell.chat("[fail: 503]"));
        eventually("the first attempt has failed", || upstream.requests().len() == 1 && upstream.in_flight() == 0)
            .await;
        let other = cell.chat("[say: Meanwhile]");
        let answer = tokio::time::timeout(PATIENCE, gateway.ask(&other)).await;
        assert_eq!(answer.map(|answer| answer.told().text), Ok("Meanwhile".to_owned()), "{cell:?}");
        drop(waiting);
        all_quiet(&gateway, cell.provider).await;
    }
}

#[tokio::test]
async fn retries_never_exceed_the_places() {
    for cell in few() {
        let gateway = patient(cell.provider, 3).await;
        let upstream = gateway.upstream(cell.provider.name());
        let mut tasks = JoinSet::new();
        for n in 0..10 {
            ask(&mut tasks, &gateway, &cell.chat(&format!("[say: {n}][fail: 503 times=2][delay: 2ms]")));
        }
        let mut most = 0;
        while !tasks.is_empty() {
            let next = tokio::time::timeout(Duration::from_millis(1), tasks.join_next()).await;
            most = most.max(upstream.in_flight());
            if let Ok(Some(ended)) = next {
                assert_eq!(ended.or_fail("a request"), 200, "{cell:?}");
            }
        }
        assert_eq!(upstream.requests().len(), 30, "{cell:?}");
        assert!(most <= 1, "{cell:?}: {most} at once");
        all_quiet(&gateway, cell.provider).await;
    }
}

#[tokio::test]
async fn a_retry_that_is_not_let_in_again_fails_as_its_attempt_did() {
    let gateway = patient(Style::OpenAi, 50)
        .settings(&json!({"client": {"drop_excess_requests": true}}))
        .settings(&json!({"providers": {"openai": {"concurrency_and_buffer_size": {"buffer_size": 0}}}}))
        .await;
    let upstream = gateway.upstream("openai");
    let mut tasks = JoinSet::new();
    let (client, chat) = ((*gateway).clone(), Chat::openai(MODEL, "[fail: 503 busy]"));
    let mut failing = JoinSet::new();
    failing.spawn(async move { client.ask(&chat).await });
    eventually("the first attempt has failed", || upstream.requests().len() == 1 && upstream.in_flight() == 0).await;
    ask(&mut tasks, &gateway, &Chat::openai(MODEL, "[hang]"));
    let answer = failing.join_next().await.or_fail("a task").or_fail("an answer");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.fault().message.contains("busy"), "{}", answer.text());
    drop(tasks);
    all_quiet(&gateway, Style::OpenAi).await;
}

#[tokio::test]
async fn a_client_that_leaves_the_queue_leaves_no_trace() {
    let gateway = narrow(Style::OpenAi, 1, 10, false).await;
    let mut first = JoinSet::new();
    ask(&mut first, &gateway, &Chat::openai(MODEL, "[hang]"));
    eventually("the place is taken", || gateway.upstream("openai").in_flight() == 1).await;
    let mut others = JoinSet::new();
    for _ in 0..5 {
        ask(&mut others, &gateway, &Chat::openai(MODEL, "[say: never sent]"));
    }
    gateway.metric_becomes("bifrost_queue_waiting", &[], 5.0).await;
    drop(others);
    gateway.metric_becomes("bifrost_queue_waiting", &[], 0.0).await;
    drop(first);
    all_quiet(&gateway, Style::OpenAi).await;
    assert_eq!(gateway.upstream("openai").requests().len(), 1, "nothing was sent for those who left");
}

/// A request that is left running, and the time until the provider has heard that the client is gone.
async fn leaves(gateway: &Gateway, cell: Cell, script: &str, running: impl FnMut() -> bool) -> Duration {
    let mut tasks = JoinSet::new();
    ask(&mut tasks, gateway, &cell.chat(script));
    eventually("the request is under way", running).await;
    let began = Instant::now();
    drop(tasks);
    let upstream = gateway.upstream(cell.provider.name());
    within(SOON, "the provider is let go", || upstream.in_flight() == 0).await;
    began.elapsed()
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_provider_within_a_second() {
    for cell in few() {
        let gateway = Gateway::both().await;
        let upstream = gateway.upstream(cell.provider.name());
        for script in ["[hang]", "[say: one two three][hang-after: 3]"] {
            leaves(&gateway, cell, script, || upstream.in_flight() == 1).await;
        }
        assert_eq!(upstream.disconnects(), 2, "{cell:?}");
        all_quiet(&gateway, cell.provider).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_the_loop_cancels_the_tools() {
    for cell in few() {
        let gateway = Gateway::both().tool("demo", "demo").await;
        let tools = gateway.tools("demo");
        let running = || tools.calls().len() == 2;
        let script = r#"[call: demo-slow {"ms":60000}][call: demo-slow {"ms":60001}]"#;
        leaves(&gateway, cell, script, running).await;
        let cancelled = || tools.calls().iter().all(|call| call.state == CallState::Cancelled);
        within(SOON, "the tools are cancelled", cancelled).await;
        // In the second turn it is the provider again.
        let upstream = gateway.upstream(cell.provider.name());
        let before = upstream.requests().len();
        let script = r#"[call: demo-add {"a":1,"b":2}][then][hang]"#;
        leaves(&gateway, cell, script, || upstream.requests().len() == before + 2).await;
        all_quiet(&gateway, cell.provider).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_no_failure_of_the_provider() {
    let gateway = Gateway::both().await;
    let cell = Cell { client: Style::OpenAi, provider: Style::OpenAi, stream: true };
    leaves(&gateway, cell, "[say: one][hang-after: 3]", || gateway.upstream("openai").in_flight() == 1).await;
    let labels = [("provider", "openai"), ("status_code", "499"), ("error_type", "request_cancelled")];
    gateway.metric_becomes("bifrost_error_requests_total", &labels, 1.0).await;
}

#[tokio::test]
async fn many_clients_at_once_are_all_served() {
    let gateway = Gateway::both().tool("demo", "demo").await;
    let mut tasks = JoinSet::new();
    for n in 0..10 {
        for cell in few() {
            let script = format!(r#"[call: demo-echo {{"text":"{n}"}}][then][say: {{results}}]"#);
            let (client, chat) = ((*gateway).clone(), cell.chat(&script));
            tasks.spawn(async move { (n, client.ask(&chat).await.told().text) });
        }
    }
    while let Some(ended) = tasks.join_next().await {
        let (n, text) = ended.or_fail("a request");
        assert_eq!(text, n.to_string(), "every caller gets its own answer");
    }
}

/// Asks over a connection that nobody reads from yet, and that takes in little by itself.
async fn unread(gateway: &Gateway, chat: &Chat) -> TcpStream {
    let socket = TcpSocket::new_v4().or_fail("a socket");
    socket.set_recv_buffer_size(64 << 10).or_fail("a small buffer");
    let mut stream = socket.connect(gateway.address().parse().or_fail("an address")).await.or_fail("a connection");
    let body = chat.body.to_string();
    let head = format!("POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", chat.path(), body.len());
    stream.write_all(head.as_bytes()).await.or_fail("writing");
    stream.write_all(body.as_bytes()).await.or_fail("writing");
    stream
}

#[tokio::test]
async fn a_client_that_stops_reading_a_stream_does_not_keep_its_place() {
    for cell in few().filter(|cell| cell.stream) {
        let gateway = narrow(cell.provider, 1, 100, false).stalled_after(Duration::from_millis(300)).await;
        let upstream = gateway.upstream(cell.provider.name());
        let stalled = unread(&gateway, &cell.chat("[huge: 16MB]")).await;
        eventually("the stream flows", || upstream.in_flight() == 1).await;
        assert_eq!(cell.told(&gateway, &cell.chat("[say: My turn]")).await.text, "My turn", "{cell:?}");
        assert_eq!(upstream.disconnects(), 1, "{cell:?}: the provider was let go");
        let labels = [("error_type", "client_stalled"), ("status_code", "499")];
        gateway.metric_becomes("bifrost_error_requests_total", &labels, 1.0).await;
        all_quiet(&gateway, cell.provider).await;
        drop(stalled);
    }
}

#[tokio::test]
async fn a_whole_reply_that_nobody_fetches_ends_its_connection() {
    let gateway = Gateway::both().stalled_after(Duration::from_millis(300)).await;
    for client in BOTH {
        let mut stalled = unread(&gateway, &Chat::new(client, MODEL, "[huge: 16MB]")).await;
        stalled.readable().await.or_fail("the beginning of the answer");
        // What was on its way is still there to read; the rest is not.
        let cut = async {
            // Not reading for three times the bound is what is tried here, not a wait for something: to look would be to read.
            tokio::time::sleep(Duration::from_millis(900)).await;
            let mut read = Vec::new();
            let ended = stalled.read_to_end(&mut read).await;
            (ended.is_err() || read.len() < 16 << 20, read.len())
        };
        let (cut, length) = tokio::time::timeout(PATIENCE, cut).await.or_fail("an end");
        assert!(cut, "{client:?}: all {length} bytes came after all");
    }
}

#[tokio::test]
async fn a_slow_reader_gets_it_all() {
    let gateway = Gateway::both().stalled_after(Duration::from_secs(1)).await;
    for cell in few().filter(|cell| cell.stream && cell.provider == Style::OpenAi) {
        let mut slow = unread(&gateway, &cell.chat("[huge: 3MB]")).await;
        let mut read = Vec::new();
        let mut piece = vec![0; 128 << 10];
        let end: &[u8] = if cell.client == Style::OpenAi { b"[DONE]" } else { b"message_stop" };
        // For longer than the bound in all, and never for long at once.
        while !read.ends_with(b"0\r\n\r\n") {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let more = tokio::time::timeout(PATIENCE, slow.read(&mut piece)).await.or_fail("more").or_fail("reading");
            assert!(more > 0, "{cell:?}: cut after {} bytes", read.len());
            read.extend_from_slice(&piece[..more]);
        }
        let tail = &read[read.len() - 400..];
        assert!(tail.windows(end.len()).any(|window| window == end), "{cell:?}: {}", String::from_utf8_lossy(tail));
    }
}
