//! Forms and files on their way through: sent while they come, in little memory, and never half believed.

use std::time::Duration;

use bifrost_tests::raw::{Provider, Sender};
use bifrost_tests::{Gateway, OrFail as _, Process, Setup, Style};
use serde_json::json;

const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=b");
const END: &str = "\r\n--b--\r\n";
const HEARD: &str = r#"{"text":"heard"}"#;

/// A gateway in front of it, with one place in its queue.
fn gateway(provider: &Provider) -> Setup {
    let patch = json!({"concurrency_and_buffer_size": {"concurrency": 1, "buffer_size": 10}});
    Gateway::start().provider_at("openai", Style::OpenAi, &provider.url(), &patch)
}

/// Fields of a form, and the beginning of its file.
fn fields(named: &[(&str, &str)]) -> String {
    let field = |(name, value): &(&str, &str)| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    named.iter().map(field).collect()
}

fn file() -> &'static str {
    "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n"
}

fn head_of_form(model: &str) -> String {
    fields(&[("model", model)]) + file()
}

const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";

#[tokio::test]
async fn a_form_goes_on_to_its_provider_while_it_comes() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    for announced in [true, false] {
        let head = head_of_form("openai/whisper-1");
        let length = head.len() + "first".len() + "second".len() + END.len();
        let mut client = Sender::open(gateway.address(), TRANSCRIPTIONS, FORM, announced.then_some(length)).await;
        let parts = [head + "first", "second".to_owned() + END];
        let send = async |client: &mut Sender, part: &str| {
            if announced { client.send(part).await } else { client.chunk(part).await }
        };
        send(&mut client, &parts[0]).await;
        let mut exchange = provider.asked().await;
        // The client has not sent the rest, and will not until the provider has this.
        exchange.until("first").await;
        send(&mut client, &parts[1]).await;
        if !announced {
            client.send("0\r\n\r\n").await;
        }
        exchange.until("--b--\r\n").await;
        assert_eq!(exchange.body(), head_of_form("whisper-1") + "firstsecond" + END);
        let text = exchange.text();
        let shorter = length - "openai/".len();
        assert_eq!(text.contains(&format!("content-length: {shorter}\r\n")), announced, "{text}");
        exchange.answer(200, HEARD).await;
        let (status, told) = client.answer().await;
        assert_eq!((status, &told["text"]), (200, &json!("heard")), "{told}");
        assert_eq!(told["extra_fields"]["provider"], "openai", "{told}");
    }
}

#[tokio::test]
async fn a_model_behind_the_file_is_waited_for() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let form = format!("{}sound\r\n{}--b--\r\n", file(), fields(&[("model", "openai/whisper-1"), ("stream", "false")]));
    let mut client = Sender::open(gateway.address(), TRANSCRIPTIONS, FORM, None).await;
    for piece in form.as_bytes().chunks(7) {
        client.chunk(piece).await;
    }
    client.send("0\r\n\r\n").await;
    let mut exchange = provider.asked().await;
    exchange.until("--b--\r\n").await;
    let sent = form.replace("openai/whisper-1", "whisper-1");
    assert_eq!(exchange.body(), sent);
    // All of it is here before it goes on, and so is its length.
    assert!(exchange.text().contains(&format!("content-length: {}\r\n", sent.len())), "{}", exchange.text());
    exchange.answer(200, HEARD).await;
    assert_eq!(client.answer().await.0, 200);
}

/// Resident memory of a process, in bytes.
fn resident(process: &Process) -> usize {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", process.pid())).or_fail("its memory");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.or_fail("a number of pages") * 4096
}

#[tokio::test]
async fn a_large_file_passes_through_in_little_memory_at_the_providers_pace() {
    const SIZE: usize = 64 << 20;
    const LITTLE: usize = 12 << 20;
    let provider = Provider::start();
    let config = gateway(&provider).config().clone();
    let process = Process::start(Some(&config), &[]);
    let gateway = process.client().await;
    let idle = resident(&process);
    let head = head_of_form("openai/whisper-1");
    let mut client = Sender::open(gateway.address(), TRANSCRIPTIONS, FORM, Some(head.len() + SIZE + END.len())).await;
    client.send(&head).await;
    let mut exchange = provider.asked().await;
    // Nobody reads: the client is brought to a stand by buffers of the kernel, long before it is through.
    let piece = vec![7; 64 << 10];
    let mut sent = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(500), client.write(&piece)).await {
        sent += written.or_fail("writing");
        assert!(sent < SIZE / 2, "{sent} bytes taken for a provider that reads nothing");
    }
    let mut most = resident(&process);
    let (mut writer, mut done) = (client, 0);
    let sending = async {
        while sent < SIZE {
            let count = piece.len().min(SIZE - sent);
            writer.send(&piece[..count]).await;
            sent += count;
        }
        writer.send(END).await;
        writer
    };
    let reading = async {
        let mut tail = Vec::new();
        while !tail.ends_with(END.as_bytes()) {
            exchange.read.clear();
            assert!(exchange.more().await, "the request ends after {done} bytes");
            done += exchange.read.len();
            tail.extend_from_slice(&exchange.read);
            tail.drain(..tail.len().saturating_sub(END.len()));
            if done % (4 << 20) < 64 << 10 {
                most = most.max(resident(&process));
            }
        }
        exchange.answer(200, HEARD).await;
    };
    let (client, ()) = tokio::join!(sending, reading);
    assert_eq!(client.answer().await.0, 200);
    assert!(done > SIZE, "{done}");
    assert!(most < idle + LITTLE, "{} KiB at rest, {} KiB while {} KiB passed", idle >> 10, most >> 10, SIZE >> 10);
}

/// A form with so large a file, whose prompt is a script.
fn form(script: &str, size: usize) -> Vec<u8> {
    let head = fields(&[("model", "openai/whisper-1"), ("prompt", script)]) + file();
    [head.as_bytes(), &vec![7; size], END.as_bytes()].concat()
}

#[tokio::test]
async fn a_small_form_is_sent_again_and_a_large_one_is_not() {
    let gateway = Gateway::start().provider_keys("openai", Style::OpenAi, &["bad-key", "sk-good"], 2).await;
    let upstream = gateway.upstream("openai");
    let small = form("[say: Again][fail: 503 times=1]", 100 << 10);
    let answer = gateway.post(TRANSCRIPTIONS, &[FORM], small.clone()).await;
    assert_eq!((answer.status, &answer.json()["text"]), (200, &json!("Again")), "{}", answer.text());
    let requests = upstream.requests();
    assert!((2..=3).contains(&requests.len()), "a refused key at most, a failure, and an answer");
    let sent = String::from_utf8_lossy(&small).replace("openai/whisper-1", "whisper-1");
    assert!(requests.iter().all(|request| request.body == sent.as_bytes()));

    let gateway = Gateway::start().provider_keys("openai", Style::OpenAi, &["sk-one", "sk-other"], 2).await;
    let answer = gateway.post(TRANSCRIPTIONS, &[FORM], form("[fail: 503 busy]", 4 << 20)).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(gateway.upstream("openai").requests().len(), 1, "what is not kept cannot be sent again");
    gateway.metric_becomes("bifrost_active_requests", &[], 0.0).await;
}

#[tokio::test]
async fn a_large_form_whose_provider_breaks_off_says_why_it_is_not_tried_again() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let form = form("", 4 << 20);
    let mut client = Sender::open(gateway.address(), TRANSCRIPTIONS, FORM, Some(form.len())).await;
    let reading = async {
        let mut exchange = provider.asked().await;
        exchange.until("--b--\r\n").await;
    };
    tokio::join!(client.send(&form), reading);
    let (status, told) = client.answer().await;
    let message = told["error"]["message"].as_str().or_fail("a message");
    assert!(status == 502 && message.contains("not tried again"), "{status} {told}");
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_reaches_the_client() {
    for (status, told) in [(413, 413), (401, 502)] {
        let provider = Provider::start();
        let gateway = gateway(&provider).await;
        let form = form("", 8 << 20);
        let mut client = Sender::open(gateway.address(), TRANSCRIPTIONS, FORM, Some(form.len())).await;
        let answering = async {
            let mut exchange = provider.asked().await;
            exchange.until("name=\"file\"").await;
            exchange.answer(status, r#"{"error":{"message":"no","type":"invalid_request_error","param":null}}"#).await;
            exchange
        };
        let (exchange, ()) = tokio::join!(answering, client.send(&form));
        let (answered, body) = client.answer().await;
        assert_eq!(answered, told, "{body}");
        gateway.metric_becomes("bifrost_active_requests", &[], 0.0).await;
        drop(exchange);
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_gives_its_place_back_and_lets_the_provider_go() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    for _ in 0..3 {
        let head = head_of_form("openai/whisper-1");
        let mut client = Sender::open(gateway.address(), TRANSCRIPTIONS, FORM, Some(head.len() + (8 << 20))).await;
        client.send(&head).await;
        let mut exchange = provider.asked().await;
        exchange.until("whisper-1").await;
        drop(client);
        while exchange.more().await {}
        gateway.metric_becomes("bifrost_active_requests", &[], 0.0).await;
    }
    // With one place only, a single lost one would hang this.
    let form = form("", 10);
    let mut client = Sender::open(gateway.address(), TRANSCRIPTIONS, FORM, Some(form.len())).await;
    client.send(&form).await;
    let mut exchange = provider.asked().await;
    exchange.until("--b--\r\n").await;
    exchange.answer(200, HEARD).await;
    assert_eq!(client.answer().await.0, 200);
}

#[tokio::test]
async fn what_is_wrong_with_a_form_is_the_clients_fault_wherever_it_stands() {
    let again = format!("\r\n{}", fields(&[("model", "openai/other")]));
    let long = "x".repeat(2_000_000);
    for (tail, status, word) in
        [(again.as_str(), 400, "/model"), (long.as_str(), 413, "larger than"), ("no end", 400, "boundary")]
    {
        let provider = Provider::start();
        let gateway = gateway(&provider).settings(&json!({"client": {"max_request_body_size_mb": 1}})).await;
        let mut client = Sender::open(gateway.address(), TRANSCRIPTIONS, FORM, None).await;
        client.chunk(head_of_form("openai/whisper-1")).await;
        let mut exchange = provider.asked().await;
        exchange.until("whisper-1").await;
        client.chunk(tail).await;
        client.send("0\r\n\r\n").await;
        let (answered, told) = client.answer().await;
        let message = told["error"]["message"].as_str().or_fail("a message");
        assert_eq!(answered, status, "{told}");
        assert!(message.contains(word), "{told}");
        while exchange.more().await {}
        assert!(!exchange.text().ends_with("0\r\n\r\n"), "the provider was given a whole form: {}", exchange.text());
        gateway.metric_becomes("bifrost_active_requests", &[], 0.0).await;
    }
}

#[tokio::test]
async fn a_form_that_names_no_boundary_is_told_so() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    for content_type in ["multipart/form-data", "Multipart/Form-Data; charset=utf-8", "multipart/form-data; boundary="]
    {
        let mut client = Sender::open(gateway.address(), TRANSCRIPTIONS, ("content-type", content_type), Some(3)).await;
        client.send("abc").await;
        let (status, told) = client.answer().await;
        let message = told["error"]["message"].as_str().or_fail("a message");
        assert!(status == 400 && message.contains("boundary"), "{content_type}: {told}");
    }
}

#[tokio::test]
async fn a_slow_client_is_no_slow_provider() {
    let provider = Provider::start();
    let hurry = json!({"providers": {"openai": {"network_config": {"default_request_timeout_in_seconds": 1}}}});
    let gateway = gateway(&provider).settings(&hurry).await;
    let form = form("", 10);
    let mut client = Sender::open(gateway.address(), TRANSCRIPTIONS, FORM, Some(form.len())).await;
    let (first, last) = form.split_at(form.len() - END.len());
    client.send(first).await;
    let mut exchange = provider.asked().await;
    // Longer than the provider may take is what is tried here, not a wait for something.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    client.send(last).await;
    exchange.until("--b--\r\n").await;
    exchange.answer(200, HEARD).await;
    assert_eq!(client.answer().await.0, 200);
    // The provider's own time counts.
    let mut client = Sender::open(gateway.address(), TRANSCRIPTIONS, FORM, Some(form.len())).await;
    client.send(&form).await;
    let (status, told) = client.answer().await;
    assert_eq!(status, 504, "{told}");
}

#[tokio::test]
async fn a_file_goes_on_to_its_provider_while_it_comes() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let mut client = Sender::open(gateway.address(), "/v1/files?provider=openai", FORM, Some(10)).await;
    client.send("first").await;
    let mut exchange = provider.asked().await;
    exchange.until("first").await;
    client.send("later").await;
    exchange.until("firstlater").await;
    let text = exchange.text();
    assert!(text.contains("content-length: 10\r\n") && text.contains(FORM.1), "{text}");
    exchange.answer(200, r#"{"id":"file-1"}"#).await;
    assert_eq!(client.answer().await.1["id"], "file-1");
}
