//! What is tried after a failure, in which order, and what the caller is told when nothing helps.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bifrost_tests::{BOTH, Cell, Chat, Gateway, Setup, Style, eventually, few};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const MODEL: &str = "openai/scripted-small";

/// The keys that the provider was asked with, in order.
fn keys(gateway: &Gateway, provider: &str) -> Vec<String> {
    let requests = gateway.upstream(provider).requests();
    let key = |value: Option<&str>| value.unwrap_or_default().trim_start_matches("Bearer ").to_owned();
    requests.iter().map(|request| key(request.header("authorization").or(request.header("x-api-key")))).collect()
}

/// One provider of this dialect, under its style's name, with one key and so many retries.
async fn retrying(style: Style, retries: u32) -> Gateway {
    Gateway::start().provider_keys(style.name(), style, &["sk-1"], retries).await
}

/// Both providers, with one key and so many retries.
async fn both_retrying(retries: u32) -> Gateway {
    let setup = Gateway::start().provider_keys("openai", Style::OpenAi, &["sk-1"], retries);
    setup.provider_keys("anthropic", Style::Anthropic, &["sk-1"], retries).await
}

#[tokio::test]
async fn a_passing_failure_is_retried_on_the_same_key() {
    let gateway = both_retrying(2).await;
    for cell in few() {
        for fault in ["[fail: 500]", "[fail: 502]", "[fail: 503]", "[fail: 504]", "[html]", "[cut: 20]"] {
            let before = keys(&gateway, cell.provider.name()).len();
            // The provider counts failures per text, so the text names the case.
            let chat = cell.chat(&format!("{cell:?} [say: At last]{fault}[only: times=2]"));
            assert_eq!(cell.told(&gateway, &chat).await.text, "At last", "{cell:?} {fault}");
            assert_eq!(keys(&gateway, cell.provider.name())[before..], ["sk-1"; 3], "{cell:?} {fault}");
        }
    }
}

#[tokio::test]
async fn retries_are_counted_and_back_off_grows() {
    let patch = json!({"network_config": {"max_retries": 3, "retry_backoff_initial": 20, "retry_backoff_max": 10_000}});
    let gateway = Gateway::start().provider_with("openai", Style::OpenAi, &patch).await;
    let answer = gateway.ask(&Chat::openai(MODEL, "[fail: 503]")).await;
    assert_eq!(answer.status, 503);
    let times: Vec<Instant> = gateway.upstream("openai").requests().iter().map(|request| request.at).collect();
    assert_eq!(times.len(), 4, "one attempt and three retries");
    let waits: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // 20 ms, 40 ms, 80 ms, each 20 % more or less.
    for (wait, least) in waits.iter().zip([16, 32, 64]) {
        assert!(*wait >= Duration::from_millis(least), "{waits:?}");
    }
}

#[tokio::test]
async fn what_the_caller_did_wrong_is_not_retried() {
    let gateway = both_retrying(5).await;
    for cell in few() {
        for status in [400, 404, 413, 422] {
            let before = keys(&gateway, cell.provider.name()).len();
            let answer = gateway.ask(&cell.chat(&format!("[fail: {status} your fault]"))).await;
            assert_eq!(answer.status, status, "{cell:?}");
            assert!(answer.fault().message.contains("your fault"), "{cell:?}");
            assert_eq!(keys(&gateway, cell.provider.name()).len(), before + 1, "{cell:?} {status}");
        }
    }
}

#[tokio::test]
async fn a_rate_limited_key_gives_way_at_once_and_rests() {
    for cell in few() {
        let name = cell.provider.name();
        let gateway = Gateway::start().provider_keys(name, cell.provider, &["limited-key", "sk-good"], 0).await;
        for _ in 0..8 {
            assert_eq!(cell.told(&gateway, &cell.chat("[say: Hi]")).await.text, "Hi", "{cell:?}");
        }
        let limited = keys(&gateway, name).iter().filter(|key| *key == "limited-key").count();
        assert!(limited <= 1, "{cell:?}: a key in cool-down is skipped by later requests: {:?}", keys(&gateway, name));
    }
}

#[tokio::test]
async fn a_rotation_is_counted() {
    let gateway = Gateway::start().provider_keys("openai", Style::OpenAi, &["limited-key", "sk-good"], 0).await;
    // Which key comes first is drawn; until the limited one has been met, nothing rotates.
    while !keys(&gateway, "openai").contains(&"limited-key".to_owned()) {
        gateway.ask(&Chat::openai(MODEL, "[say: Hi]")).await.told();
    }
    let labels = [("provider", "openai"), ("key_name", "key-0"), ("fail_reason", "rate_limited")];
    assert_eq!(gateway.metric("bifrost_key_rotation_events_total", &labels).await, Some(1.0));
}

#[tokio::test]
async fn retry_after_is_waited_out_where_it_is_short() {
    let gateway = retrying(Style::OpenAi, 1).await;
    let began = Instant::now();
    let told = gateway.ask(&Chat::openai(MODEL, "[say: Hi][fail: 429 retry-after=1 times=1]")).await.told();
    assert_eq!(told.text, "Hi");
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_long_retry_after_is_the_callers_to_wait() {
    for cell in few() {
        let gateway = retrying(cell.provider, 3).await;
        let began = Instant::now();
        let answer = gateway.ask(&cell.chat("[fail: 429 retry-after=60]")).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, "60"), "{cell:?}: {}", answer.text());
        answer.fault();
        assert!(began.elapsed() < Duration::from_secs(5), "{cell:?}");
        assert_eq!(keys(&gateway, cell.provider.name()).len(), 1, "{cell:?}");
        // The key rests: the next request is told at once, and the provider is left alone.
        let answer = gateway.ask(&cell.chat("[say: Hi]")).await;
        assert_eq!(answer.status, 429, "{cell:?}");
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!((50..=60).contains(&wait), "{cell:?}: {wait}");
        assert_eq!(keys(&gateway, cell.provider.name()).len(), 1, "{cell:?}");
    }
}

#[tokio::test]
async fn a_refused_key_is_parked_and_the_next_one_serves() {
    for cell in few() {
        let name = cell.provider.name();
        let gateway = Gateway::start().provider_keys(name, cell.provider, &["bad-key-1", "sk-good"], 0).await;
        for _ in 0..8 {
            assert_eq!(cell.told(&gateway, &cell.chat("[say: Hi]")).await.text, "Hi", "{cell:?}");
        }
        let refused = keys(&gateway, name).iter().filter(|key| *key == "bad-key-1").count();
        assert!(refused <= 1, "{cell:?}: {:?}", keys(&gateway, name));
        if refused == 1 {
            let labels = [("provider", name), ("key_name", "key-0")];
            assert_eq!(gateway.metric("bifrost_provider_key_up", &labels).await, Some(0.0), "{cell:?}");
        }
    }
}

#[tokio::test]
async fn when_every_key_is_refused_the_caller_is_not_blamed() {
    for cell in few() {
        let name = cell.provider.name();
        let gateway = Gateway::start().provider_keys(name, cell.provider, &["bad-key-1", "bad-key-2"], 3).await;
        for _ in 0..2 {
            let answer = gateway.ask(&cell.chat("[say: Hi]")).await;
            assert_eq!(answer.status, 502, "{cell:?}: {}", answer.text());
            if cell.client == Style::OpenAi {
                assert_eq!(answer.fault().kind, "upstream_credentials_exhausted", "{cell:?}");
            }
            assert!(!answer.text().contains("bad-key"), "{cell:?}: no key is shown: {}", answer.text());
        }
        assert_eq!(keys(&gateway, name).len(), 2, "{cell:?}: each key was tried once");
    }
}

// === fallbacks ===

#[tokio::test]
async fn a_fallback_of_the_other_dialect_takes_over() {
    for cell in few() {
        let gateway = Gateway::both().await;
        let other = if cell.provider == Style::OpenAi { Style::Anthropic } else { Style::OpenAi };
        let script = format!("[say: {{model}} here][fail: 503][only: style={}]", cell.provider.name());
        let chat = cell.chat(&script).set("fallbacks", json!([format!("{}/backup", other.name())]));
        let answer = gateway.ask(&chat).await;
        let told = answer.told();
        assert_eq!(told.text, "backup here", "{cell:?}");
        assert_eq!(answer.header("x-bifrost-provider"), other.name(), "{cell:?}");
        assert_eq!(answer.header("x-bifrost-resolved-model"), "backup", "{cell:?}");
        assert_eq!(answer.header("x-bifrost-fallback-index"), "1", "{cell:?}");
        if cell.has_extra_fields() {
            let routing = &told.extra["routing_info"];
            assert_eq!(
                (&routing["is_fallback"], &routing["provider"]),
                (&json!(true), &json!(other.name())),
                "{cell:?}"
            );
        }
    }
}

/// Two providers of one dialect besides the two usual ones.
async fn four() -> Gateway {
    Gateway::both().provider("second", Style::OpenAi).provider("third", Style::OpenAi).await
}

#[tokio::test]
async fn fallbacks_are_tried_in_order() {
    let gateway = four().await;
    let chat = Chat::openai(MODEL, "[say: {model}][fail: 500][only: model=a]");
    let chat = chat.set("model", json!("openai/a")).set("fallbacks", json!(["second/a", "third/b", "anthropic/c"]));
    assert_eq!(gateway.ask(&chat).await.told().text, "b");
    let asked = ["openai", "second", "third", "anthropic"].map(|name| gateway.asked(name).len());
    assert_eq!(asked, [1, 1, 1, 0]);
}

#[tokio::test]
async fn a_fallback_is_not_shown_reasoning_that_only_the_primary_can_read() {
    let gateway = Gateway::start().provider("first", Style::Responses).provider("second", Style::Responses).await;
    let asked = json!({"model": "first/x", "input": "[think: Hm][say: Hi]", "include": ["reasoning.encrypted_content"], "store": false});
    let said = gateway.post("/v1/responses", &[], asked.to_string()).await.json()["output"].clone();
    assert!(said[0]["encrypted_content"].is_string(), "{said}");
    let user = json!({"role": "user", "content": "[say: {model}][fail: 500][only: model=a]"});
    let input = [&user, &said[0], &said[1], &user];
    let body = json!({"model": "first/a", "fallbacks": ["second/b"], "store": false, "input": input});
    let answer = gateway.post("/v1/responses", &[], body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // The one that made it gets it back, byte for byte; the other would refuse it.
    assert_eq!(gateway.asked("first")[1]["input"], body["input"]);
    let asked = gateway.asked("second").pop().unwrap();
    let kinds: Vec<&str> = asked["input"].as_array().unwrap().iter().filter_map(|item| item["type"].as_str()).collect();
    assert!(!kinds.contains(&"reasoning") && asked["input"].as_array().unwrap().len() == 3, "{asked}");
    let losses = &answer.json()["extra_fields"]["losses"];
    assert_eq!(losses[0]["pointer"], "/input/1", "{losses}");
    let strict = gateway.post("/v1/responses", &[("x-bf-strict", "true")], body.to_string()).await;
    assert_eq!(strict.status, 500, "nobody is asked with less: {}", strict.text());
}

#[tokio::test]
async fn when_all_fail_the_primarys_error_is_the_answer() {
    for client in BOTH {
        for stream in [false, true] {
            let gateway = four().await;
            let cell = Cell { client, provider: Style::OpenAi, stream };
            let script = "[fail: 418 I am the primary][only: model=scripted-small]";
            gateway.upstream("second").inject(Some("[fail: 500 I am the second]")).unwrap();
            gateway.upstream("anthropic").inject(Some("[fail: 529 I am the third]")).unwrap();
            let chat = cell.chat(script).set("fallbacks", json!(["second/x", "anthropic/y"]));
            let answer = gateway.ask(&chat).await;
            assert_eq!(answer.status, 418, "{cell:?}: {}", answer.text());
            assert!(answer.fault().message.contains("I am the primary"), "{cell:?}: {}", answer.text());
            assert_eq!((gateway.asked("second").len(), gateway.asked("anthropic").len()), (1, 1), "{cell:?}");
        }
    }
}

#[tokio::test]
async fn a_fallback_that_names_nothing_known_is_left_out_and_listed() {
    let gateway = Gateway::both().await;
    let chat = Chat::openai(MODEL, "[say: Hi][fail: 500][only: style=openai]")
        .set("fallbacks", json!(["nowhere/x", "", "anthropic/y"]));
    let told = gateway.ask(&chat).await.told();
    assert_eq!(told.text, "Hi");
    let losses = told.extra["losses"].as_array().unwrap();
    assert!(losses.iter().any(|loss| loss["reason"].as_str().unwrap().contains("nowhere")), "{losses:?}");
}

#[tokio::test]
async fn a_conversation_in_the_loop_stays_where_it_was_answered() {
    for cell in few() {
        let gateway = Gateway::both().provider("second", cell.provider).tool("demo", "demo").await;
        let name = cell.provider.name();
        gateway.upstream(name).inject(Some("[fail: 500]")).unwrap();
        let script = r#"[call: demo-add {"a":1,"b":2}][then][say: {results}]"#;
        let chat = cell.chat(script).set("fallbacks", json!(["second/x"]));
        assert_eq!(cell.told(&gateway, &chat).await.text, "3", "{cell:?}");
        assert_eq!((gateway.asked(name).len(), gateway.asked("second").len()), (1, 2), "{cell:?}");
    }
}

// === broken providers ===

/// A port that nobody listens on.
async fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn nobody_at_home_is_a_502_and_falls_back() {
    let url = closed_port().await;
    for cell in few() {
        let gateway = Gateway::both().provider_at("gone", cell.provider, &url, &json!({})).await;
        let chat = cell.chat("[say: Hi]").set("model", json!("gone/x"));
        let answer = gateway.ask(&chat).await;
        assert_eq!(answer.status, 502, "{cell:?}: {}", answer.text());
        if cell.client == Style::OpenAi {
            assert_eq!(answer.fault().kind, "upstream_connection_failed", "{cell:?}");
        }
        let chat = chat.set("fallbacks", json!([format!("{}/y", cell.provider.name())]));
        assert_eq!(cell.told(&gateway, &chat).await.text, "Hi", "{cell:?}");
    }
}

#[tokio::test]
async fn silence_is_a_504_within_the_bound_that_was_set() {
    for cell in few() {
        let patch = json!({"network_config": {"first_byte_timeout": "150ms", "default_request_timeout_in_seconds": 1}});
        let gateway = Gateway::start().provider_with(cell.provider.name(), cell.provider, &patch).await;
        let began = Instant::now();
        let answer = gateway.ask(&cell.chat("[hang]")).await;
        assert_eq!((answer.status, answer.is_stream()), (504, false), "{cell:?}: {}", answer.text());
        answer.fault();
        assert!(began.elapsed() < Duration::from_secs(4), "{cell:?}: {:?}", began.elapsed());
        let upstream = gateway.upstream(cell.provider.name());
        eventually("the silent provider is let go", || upstream.in_flight() == 0).await;
    }
}

#[tokio::test]
async fn silence_falls_back() {
    for cell in few() {
        let patch = json!({"network_config": {"first_byte_timeout": "150ms", "default_request_timeout_in_seconds": 1}});
        let gateway = Gateway::both().provider_with("slow", cell.provider, &patch).await;
        gateway.upstream("slow").inject(Some("[hang]")).unwrap();
        let fallback = format!("{}/y", cell.provider.name());
        let chat = cell.chat("[say: Hi]").set("model", json!("slow/x")).set("fallbacks", json!([fallback]));
        let answer = gateway.ask(&chat).await;
        if cell.stream {
            assert_eq!(answer.told().text, "Hi", "{cell:?}");
        } else {
            // Without a stream only the whole request's time is bounded, and a deadline skips fallbacks.
            assert!(matches!(answer.status, 200 | 504), "{cell:?}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn a_page_of_html_is_no_reply() {
    for cell in few() {
        let gateway = Gateway::both().await;
        let answer = gateway.ask(&cell.chat("[html]")).await;
        assert_eq!((answer.status, answer.is_stream()), (502, false), "{cell:?}: {}", answer.text());
        assert!(answer.fault().message.len() < 500, "{cell:?}: an excerpt at most: {}", answer.text());
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for cell in few() {
        let gateway = Gateway::both().provider("elsewhere", cell.provider).await;
        let target = gateway.upstream("elsewhere").url();
        let answer = gateway.ask(&cell.chat(&format!("[redirect: {target}/v1/chat/completions]"))).await;
        assert!(answer.status >= 400, "{cell:?}: {} {}", answer.status, answer.text());
        answer.fault();
        assert_eq!(gateway.upstream("elsewhere").requests().len(), 0, "{cell:?}: the key went nowhere else");
    }
}

/// Two providers, `openai-canned` and `anthropic-canned`, that answer every request with the bytes set last, beside the usual
/// two.
struct Canned {
    gateway: Gateway,
    answer: Arc<Mutex<String>>,
    _serving: JoinSet<()>,
}

impl Canned {
    async fn new(answer: String, setup: Setup) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(answer));
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, answer.clone()));
        let setup = setup.provider_at("openai-canned", Style::OpenAi, &url, &json!({}));
        let gateway = setup.provider_at("anthropic-canned", Style::Anthropic, &url, &json!({})).await;
        Self { gateway, answer, _serving: serving }
    }

    fn answers(&self, answer: String) {
        *self.answer.lock().unwrap() = answer;
    }

    fn chat(cell: Cell) -> Chat {
        cell.chat("[say: Hi]").set("model", json!(format!("{}-canned/x", cell.provider.name())))
    }

    /// The same, with the usual provider of the dialect behind it.
    async fn falls_back(&self, cell: Cell) {
        let chat = Self::chat(cell).set("fallbacks", json!([format!("{}/y", cell.provider.name())]));
        assert_eq!(cell.told(&self.gateway, &chat).await.text, "Hi", "{cell:?}");
    }
}

async fn serve(listener: TcpListener, answer: Arc<Mutex<String>>) {
    let mut connections = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let answer = answer.lock().unwrap().clone();
        connections.spawn(async move {
            let mut head = vec![0; 64 << 10];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        });
    }
}

fn http_answer(content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn json_answer(body: &Value) -> String {
    http_answer("application/json", &body.to_string())
}

#[tokio::test]
async fn an_error_inside_a_200_counts_as_a_failure() {
    let openai = json!({"error": {"message": "inner trouble", "type": "server_error", "param": null, "code": null}});
    let anthropic = json!({"type": "error", "error": {"type": "overloaded_error", "message": "inner trouble"}});
    let canned = Canned::new(String::new(), Gateway::both()).await;
    for cell in few().filter(|cell| !cell.stream) {
        let error = if cell.provider == Style::OpenAi { &openai } else { &anthropic };
        canned.answers(json_answer(error));
        let answer = canned.gateway.ask(&Canned::chat(cell)).await;
        assert!(answer.status >= 400, "{cell:?}: {}", answer.text());
        assert!(answer.fault().message.contains("inner trouble"), "{cell:?}: {}", answer.text());
        canned.falls_back(cell).await;
    }
}

#[tokio::test]
async fn junk_inside_a_200_is_a_502() {
    // With tools on offer every reply is read; without, a reply of the caller's own dialect is passed on unread.
    for setup in [Gateway::both().tool("demo", "demo"), Gateway::both()] {
        let canned = Canned::new(String::new(), setup).await;
        for junk in [json!("hello"), json!({}), json!([1, 2]), json!({"choices": "none", "content": 7})] {
            canned.answers(json_answer(&junk));
            for cell in few() {
                let answer = canned.gateway.ask(&Canned::chat(cell)).await;
                assert_eq!((answer.status, answer.is_stream()), (502, false), "{cell:?} {junk}: {}", answer.text());
                answer.fault();
                canned.falls_back(cell).await;
            }
        }
    }
}

#[tokio::test]
async fn a_later_turn_is_tried_again_like_the_first() {
    let setup = Gateway::start().provider_keys("openai", Style::OpenAi, &["sk-1"], 2);
    let setup = setup.provider_keys("anthropic", Style::Anthropic, &["sk-1"], 2);
    let gateway = setup.tool("demo", "demo").await;
    for cell in few() {
        for fault in ["[fail: 503]", "[html]", "[empty]", "[cut: 20]", "[error-event]"] {
            let (before, ran) = (keys(&gateway, cell.provider.name()).len(), gateway.tools("demo").calls().len());
            let script = format!(
                r#"{cell:?} [call: demo-add {{"a":1,"b":2}}][then][say: At last {{results}}]{fault}[only: times=2]"#
            );
            assert_eq!(cell.told(&gateway, &cell.chat(&script)).await.text, "At last 3", "{cell:?} {fault}");
            assert_eq!(keys(&gateway, cell.provider.name()).len(), before + 4, "{cell:?} {fault}");
            assert_eq!(gateway.tools("demo").calls().len(), ran + 1, "{cell:?} {fault}: tools run once");
        }
    }
}

#[tokio::test]
async fn a_captive_portals_page_is_no_reply_although_it_says_200() {
    let page = "<html><body>Please log in to the hotel's network</body></html>";
    let canned = Canned::new(http_answer("text/html", page), Gateway::both()).await;
    for cell in few() {
        let answer = canned.gateway.ask(&Canned::chat(cell)).await;
        assert_eq!((answer.status, answer.is_stream()), (502, false), "{cell:?}: {}", answer.text());
        answer.fault();
        canned.falls_back(cell).await;
    }
}

#[tokio::test]
async fn a_stream_that_nobody_asked_for_is_no_reply() {
    let canned = Canned::new(http_answer("text/event-stream", "data: {\"id\":\"x\"}\n\n"), Gateway::both()).await;
    for cell in few().filter(|cell| !cell.stream) {
        assert_eq!(canned.gateway.ask(&Canned::chat(cell)).await.status, 502, "{cell:?}");
        canned.falls_back(cell).await;
    }
}

#[tokio::test]
async fn a_provider_that_answers_a_stream_whole_still_gives_the_client_its_stream() {
    let openai = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Whole."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    });
    let anthropic = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn", "stop_sequence": null,
        "content": [{"type": "text", "text": "Whole."}], "usage": {"input_tokens": 1, "output_tokens": 2},
    });
    let canned = Canned::new(String::new(), Gateway::both()).await;
    for cell in few().filter(|cell| cell.stream) {
        canned.answers(json_answer(if cell.provider == Style::OpenAi { &openai } else { &anthropic }));
        assert_eq!(cell.told(&canned.gateway, &Canned::chat(cell)).await.text, "Whole.", "{cell:?}");
    }
}
