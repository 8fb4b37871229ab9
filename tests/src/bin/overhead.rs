//! One workload for callgrind: requests through the gateway, or through a bare proxy made of the same HTTP libraries.
//!
//! `overhead <through> <lane> <n>`, where *through* is `gateway` or `bare` and *lane* is `relay`, `translate`, `relay-chunks` or
//! `translate-chunks`. The difference between two runs of different `n` is the cost of one more request (or chunk), start-up
//! dropped out; the difference between `gateway` and `bare` is the cost of our own code. `tests/overhead.rs` does the sums.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::bail;
use bifrost_gateway::record::LogStyle;
use bifrost_gateway::{Gateway, Options, config};
use bifrost_tests::canned::{Chunks, listen};
use bytes::{Bytes, BytesMut};
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

/// The gateway's own allocator, on both sides of the comparison.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [through, lane, count] = arguments.as_slice() else { bail!("usage: overhead gateway|bare LANE N") };
    let workload = Workload::named(lane, count.parse()?)?;
    // One thread: the count must not depend on who wakes whom.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(through, workload))
}

/// What is sent, and what the provider answers.
#[derive(Clone)]
struct Workload {
    path: &'static str,
    request: Bytes,
    requests: usize,
    /// `anthropic` where the dialects differ.
    provider: &'static str,
    reply: Bytes,
    chunk: Bytes,
    chunks: usize,
    tail: Bytes,
}

impl Workload {
    fn named(lane: &str, count: usize) -> anyhow::Result<Self> {
        let (provider, size, stream) = match lane {
            "relay" => ("openai", 2_000, false),
            "relay-chunks" => ("openai", 2_000, true),
            "translate" => ("anthropic", 8_000, false),
            "translate-chunks" => ("anthropic", 8_000, true),
            other => bail!("no lane {other}"),
        };
        let (requests, chunks) = if stream { (1, count) } else { (count, 0) };
        let openai = provider == "openai";
        Ok(Self {
            path: "/v1/chat/completions",
            request: chat_body(provider, size, stream),
            requests,
            provider,
            reply: Bytes::from_static(if openai { OPENAI_REPLY } else { ANTHROPIC_REPLY }.as_bytes()),
            chunk: Bytes::from_static(if openai { OPENAI_CHUNK } else { ANTHROPIC_CHUNK }.as_bytes()),
            chunks,
            tail: Bytes::from_static(if openai { OPENAI_TAIL } else { ANTHROPIC_TAIL }.as_bytes()),
        })
    }

    fn streams(&self) -> bool {
        self.chunks > 0
    }

    fn head(&self) -> &'static str {
        if self.provider == "anthropic" { ANTHROPIC_HEAD } else { "" }
    }
}

/// A conversation of about `size` bytes, with escapes in it, as real ones have.
fn chat_body(provider: &str, size: usize, stream: bool) -> Bytes {
    let line = "The quick brown fox jumps over the lazy dog, and says: \\\"hello\\\".\\n";
    let text = line.repeat((size / 4 / line.len()).max(1));
    let turn = |role: &str| format!(r#"{{"role":"{role}","content":"{text}"}}"#);
    let turns = ["system", "user", "assistant", "user"].map(turn).join(",");
    let rest = format!(r#""temperature":0.7,"max_tokens":512,"stream":{stream},"user":"u-1""#);
    Bytes::from(format!(r#"{{"model":"{provider}/some-model-4o","messages":[{turns}],{rest}}}"#))
}

async fn run(through: &str, workload: Workload) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let provider = provider(workload.clone(), &tasks).await?;
    match through {
        "bare" => drive(proxy(provider, &tasks).await?, &workload).await,
        "gateway" => {
            let settings = settings(provider)?;
            let options = Options { log_style: LogStyle::Json, ..Options::default() };
            let gateway = Gateway::start(&settings, options).await?;
            drive(gateway.address(), &workload).await
        }
        other => bail!("through {other}?"),
    }
}

/// Two providers, a virtual key, logging and metrics on: the gateway as it is used.
fn settings(provider: SocketAddr) -> anyhow::Result<config::Settings> {
    let network = format!(r#""network_config":{{"base_url":"http://{provider}"}}"#);
    let entry = |name: &str| format!(r#""{name}":{{"keys":[{{"name":"k","value":"sk-test","weight":1}}],{network}}}"#);
    let text = format!(
        r#"{{"version":1,"providers":{{{},{}}},"governance":{{"virtual_keys":[{{"name":"vk","value":"{KEY}"}}]}}}}"#,
        entry("openai"),
        entry("anthropic"),
    );
    let file = tempfile::Builder::new().suffix(".json").tempfile()?;
    std::fs::write(file.path(), text)?;
    let mut settings = config::load(file.path(), &|_| None)?;
    settings.listen.port = 0;
    Ok(settings)
}

const KEY: &str = "sk-bf-overhead";

/// Sends the requests one after the other on one connection, and reads every byte of the answers.
async fn drive(to: SocketAddr, workload: &Workload) -> anyhow::Result<()> {
    let mut connection = TcpStream::connect(to).await?;
    connection.set_nodelay(true)?;
    let mut request = format!(
        "POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nx-bf-vk: {KEY}\r\ncontent-length: {}\r\n\r\n",
        workload.path,
        workload.request.len()
    )
    .into_bytes();
    request.extend_from_slice(&workload.request);
    let mut answer = BytesMut::with_capacity(64 << 10);
    for _ in 0..workload.requests {
        connection.write_all(&request).await?;
        answer.clear();
        while !complete(&answer, workload.streams()) {
            if connection.read_buf(&mut answer).await? == 0 {
                bail!("the connection ended in the middle of an answer");
            }
        }
        if !answer.starts_with(b"HTTP/1.1 200") {
            bail!("{}", String::from_utf8_lossy(&answer));
        }
    }
    Ok(())
}

/// Reads as little of the head as it can: what this costs is counted along, and the gateway's heads are longer than the proxy's.
fn complete(answer: &[u8], stream: bool) -> bool {
    if stream {
        return answer.ends_with(b"0\r\n\r\n");
    }
    let Some(end) = memmem::find(answer, b"\r\n\r\n") else { return false };
    let (head, body) = answer.split_at(end + 4);
    let length = memmem::find(head, b"content-length: ").and_then(|at| head.get(at + 16..));
    let digits = length.into_iter().flatten().take_while(|byte| byte.is_ascii_digit());
    let length = digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
    length > 0 && body.len() >= length
}

/// A provider that answers the same every time.
async fn provider(workload: Workload, tasks: &TaskTracker) -> anyhow::Result<SocketAddr> {
    listen(tasks, 0, move |request: Request<Incoming>| {
        let workload = workload.clone();
        async move {
            let _ = request.into_body().collect().await;
            Ok::<_, Infallible>(workload.answer())
        }
    })
    .await
}

impl Workload {
    fn answer(&self) -> Response<Either<Full<Bytes>, Chunks>> {
        let (kind, body) = if self.streams() {
            let head = Bytes::from_static(self.head().as_bytes());
            let chunks = Chunks::new(head, self.chunk.clone(), self.chunks, self.tail.clone());
            ("text/event-stream", Either::Right(chunks))
        } else {
            ("application/json", Either::Left(Full::new(self.reply.clone())))
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
        response
    }
}

/// The least that can stand between a client and a provider: the gateway's HTTP libraries, and nothing of the gateway.
async fn proxy(to: SocketAddr, tasks: &TaskTracker) -> anyhow::Result<SocketAddr> {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    listen(tasks, 0, move |request: Request<Incoming>| {
        let client = client.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let mut onward = Request::new(Full::new(body));
            *onward.method_mut() = head.method;
            *onward.uri_mut() = format!("http://{to}{}", head.uri).parse::<Uri>()?;
            onward.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
            let answer = client.request(onward).await?;
            if answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream") {
                return Ok(answer.map(Either::Right));
            }
            let (head, body) = answer.into_parts();
            let body = Full::new(body.collect().await?.to_bytes());
            anyhow::Ok(Response::from_parts(head, Either::Left(body)))
        }
    })
    .await
}

const OPENAI_REPLY: &str = r#"{"id":"chatcmpl-9hqPd1CzRLh5Kp2sQvVt0YbXw7Ne","object":"chat.completion","created":1719000000,"model":"some-model-4o","choices":[{"index":0,"message":{"role":"assistant","content":"The quick brown fox jumps over the lazy dog while the gateway forwards each byte of this answer from the provider to the caller without changing any of it.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":42,"completion_tokens":180,"total_tokens":222,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}},"service_tier":"default","system_fingerprint":"fp_44709d6fcb"}"#;
const ANTHROPIC_REPLY: &str = r#"{"id":"msg_013Zva2CMHLNnXjNJJKqJ2EF","type":"message","role":"assistant","model":"some-model-4o","content":[{"type":"text","text":"The quick brown fox jumps over the lazy dog while the gateway forwards each byte of this answer from the provider to the caller without changing any of it."}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":2095,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":503}}"#;
const OPENAI_CHUNK: &str = "data: {\"id\":\"chatcmpl-9hqPd1CzRLh5Kp2sQvVt0YbXw7Ne\",\"object\":\"chat.completion.chunk\",\"created\":1719000000,\"model\":\"some-model-4o\",\"system_fingerprint\":\"fp_44709d6fcb\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" fox\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n";
const OPENAI_TAIL: &str = "data: {\"id\":\"chatcmpl-9\",\"object\":\"chat.completion.chunk\",\"created\":1719000000,\"model\":\"some-model-4o\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"id\":\"chatcmpl-9\",\"object\":\"chat.completion.chunk\",\"created\":1719000000,\"model\":\"some-model-4o\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":12,\"total_tokens\":21}}\n\ndata: [DONE]\n\n";
const ANTHROPIC_HEAD: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_013Zva2CMHLNnXjNJJKqJ2EF\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"model\":\"some-model-4o\",\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
const ANTHROPIC_CHUNK: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" and the quick brown fox jumps over the lazy dog, as foxes do when nobody looks and the afternoon is long enough for it, or so they say\"}}\n\n";
const ANTHROPIC_TAIL: &str = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":15}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
