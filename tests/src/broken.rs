//! A provider that answers with exactly the bytes that a test gives it, and then closes, resets or falls silent.
//!
//! The scripted providers of the fixtures behave as the real APIs do; this one does what no API should. What it plays is chosen
//! by the key of the request, so that one provider plays many faults side by side and a key that rests harms no other case.

use std::collections::HashMap;
use std::sync::Arc;

use bifrost_fixtures::Style;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::OrFail as _;

pub mod wire;

/// One step of an answer. After the last one the connection is closed in order.
#[derive(Clone, Debug)]
pub enum Step {
    /// These bytes.
    Send(Bytes),
    /// The same bytes so many times.
    Repeat(Bytes, usize),
    /// The connection is reset.
    Reset,
    /// Nothing more, until the gateway hangs up.
    Silence,
}

/// What a request turned out to ask for, which an answer in its dialect hangs on.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The dialect of its path.
    pub style: Style,
    /// Is a stream wanted?
    pub stream: bool,
}

/// Makes an answer.
pub type Play = Arc<dyn Fn(Asked) -> Vec<Step> + Send + Sync>;

/// The answers, by the key of the request that gets them.
pub type Plays = HashMap<String, Play>;

/// A listening provider. It ends with the test's runtime.
#[derive(Debug)]
pub struct Broken {
    url: String,
    tasks: TaskTracker,
}

impl Broken {
    /// Begins to listen.
    pub async fn start(plays: Plays) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.or_fail("a port");
        let url = format!("http://{}", listener.local_addr().or_fail("an address"));
        let (tasks, plays) = (TaskTracker::new(), Arc::new(plays));
        let connections = tasks.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, plays.clone()));
            }
        });
        Self { url, tasks }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connections that are open, the listening itself left out.
    pub fn connections(&self) -> usize {
        self.tasks.len().saturating_sub(1)
    }
}

/// Path and body of a chat that says hello, as a client of this dialect sends it.
pub fn hello(client: Style, model: &str, stream: bool) -> (String, Value) {
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let (path, mut body) = match client {
        Style::OpenAi => ("/v1/chat/completions".to_owned(), json!({"messages": messages})),
        Style::Responses => ("/v1/responses".to_owned(), json!({"input": "Hi"})),
        Style::Anthropic => ("/anthropic/v1/messages".to_owned(), json!({"messages": messages, "max_tokens": 9})),
        Style::Gemini => {
            let operation = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
            let contents = json!([{"role": "user", "parts": [{"text": "Hi"}]}]);
            return (format!("/genai/v1beta/models/{model}:{operation}"), json!({"contents": contents}));
        }
        Style::Bedrock => {
            let operation = if stream { "converse-stream" } else { "converse" };
            let messages = json!([{"role": "user", "content": [{"text": "Hi"}]}]);
            return (
                format!("/bedrock/model/{}/{operation}", model.replace('/', "%2F")),
                json!({"messages": messages}),
            );
        }
        Style::Cohere => ("/cohere/v2/chat".to_owned(), json!({"messages": messages})),
    };
    if let Some(body) = body.as_object_mut() {
        body.insert("model".to_owned(), model.into());
        body.insert("stream".to_owned(), stream.into());
    }
    (path, body)
}

/// Answers the one request of a connection. A peer that leaves early is no fault of the provider's.
async fn answer(mut stream: TcpStream, plays: Arc<Plays>) {
    let Some(request) = request(&mut stream).await else { return };
    let play = key(&request).and_then(|key| plays.get(key)).or_fail(&format!("an answer to {request}"));
    for step in play(asked(&request)) {
        let sent = match step {
            Step::Send(bytes) => stream.write_all(&bytes).await,
            Step::Repeat(bytes, times) => repeat(&mut stream, &bytes, times).await,
            Step::Reset => return stream.set_zero_linger().or_fail("a reset"),
            Step::Silence => stream.read_to_end(&mut Vec::new()).await.map(|_| ()),
        };
        if sent.is_err() {
            return;
        }
    }
    // Whoever closes while bytes for it are under way resets: the request was read to its end.
    let _ = stream.shutdown().await;
}

async fn repeat(stream: &mut TcpStream, bytes: &[u8], times: usize) -> std::io::Result<()> {
    for _ in 0..times {
        stream.write_all(bytes).await?;
    }
    Ok(())
}

/// Head and body of a request, read to its end.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text.into_owned());
            }
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
}

/// The key that a request came with, in whichever header its dialect has for it.
fn key(request: &str) -> Option<&str> {
    const HEADERS: [&str; 3] = ["authorization: Bearer ", "x-api-key: ", "x-goog-api-key: "];
    request.lines().find_map(|line| HEADERS.iter().find_map(|header| line.strip_prefix(header)))
}

fn asked(request: &str) -> Asked {
    let path = request.lines().next().unwrap_or_default();
    let styles = [
        ("/chat/completions", Style::OpenAi),
        ("/responses", Style::Responses),
        ("/messages", Style::Anthropic),
        ("enerateContent", Style::Gemini),
        ("/converse", Style::Bedrock),
        ("/chat", Style::Cohere),
    ];
    let (_, style) =
        styles.into_iter().find(|(part, _)| path.contains(part)).or_fail(&format!("the dialect of {path}"));
    let in_path = path.contains(":stream") || path.contains("converse-stream");
    Asked { style, stream: in_path || request.contains("\"stream\":true") }
}
