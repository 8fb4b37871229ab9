//! Callers: some that ask as fast as they are answered, and some that ask at a fixed rate.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream as BlockingStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::answer::{Answer, Right};
use crate::provider;

/// The longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A caller that has failed so often gives up: asking on would measure how fast something fails.
const ERRORS: usize = 20;
/// Callers of an open loop: more than ever wait at once, unless the target cannot keep up with the rate.
const OPEN_CALLERS: usize = 32;
/// What is read at once.
const READ: usize = 16 << 10;

/// One request, ready to be sent again and again.
#[derive(Debug)]
pub(crate) struct Ask {
    to: SocketAddr,
    bytes: Vec<u8>,
    right: Right,
}

/// What the requests of one caller came to.
#[derive(Debug, Default)]
struct Tally {
    latencies: Vec<Duration>,
    errors: usize,
    first_error: Option<String>,
}

/// Keeps so many callers busy for so long. `{"requests", "errors", "first_error", "rps", "p50_us", "p99_us"}`
pub(crate) async fn closed(ask: &Ask, conns: usize, duration: Duration) -> anyhow::Result<Value> {
    let began = Instant::now();
    let callers = (0..conns).map(|_| busy_caller(ask, began + duration));
    let tallies = futures::future::join_all(callers).await;
    summary(tallies, began.elapsed())
}

/// Asks at a fixed rate for so long; latency counts from the instant at which a request was due, sent or not. As [`closed`].
///
/// Every caller is a thread: the system wakes one some 50 microseconds after the instant, the runtime's timer up to a
/// millisecond.
pub(crate) fn open(ask: &Ask, rate: f64, duration: Duration) -> anyhow::Result<Value> {
    ensure!(rate > 0.0, "a rate is more than nothing");
    let schedule = Schedule {
        // By then every caller is connected.
        began: Instant::now() + Duration::from_millis(100),
        interval: Duration::from_secs_f64(1.0 / rate),
        duration,
        next: AtomicU32::new(0),
    };
    let tallies = thread::scope(|scope| {
        let callers: Vec<_> = (0..OPEN_CALLERS).map(|_| scope.spawn(|| punctual_caller(ask, &schedule))).collect();
        callers.into_iter().filter_map(|caller| caller.join().ok()).collect::<Vec<_>>()
    });
    ensure!(tallies.len() == OPEN_CALLERS, "a caller panicked");
    summary(tallies, schedule.began.elapsed())
}

/// When which request is due.
#[derive(Debug)]
struct Schedule {
    began: Instant,
    interval: Duration,
    duration: Duration,
    next: AtomicU32,
}

impl Schedule {
    /// The next instant that no other caller has taken.
    fn next(&self) -> Option<Instant> {
        let after = self.interval * self.next.fetch_add(1, Ordering::Relaxed);
        (after < self.duration).then(|| self.began + after)
    }
}

// === Callers ===

/// A caller's connection, for as long as it can be used, and what it reads with.
#[derive(Debug)]
struct Caller<S> {
    connection: Option<S>,
    answer: Answer,
    buffer: Vec<u8>,
}

async fn busy_caller(ask: &Ask, until: Instant) -> Tally {
    let (mut tally, mut caller) = (Tally::default(), Caller::new());
    while Instant::now() < until && tally.errors < ERRORS {
        let began = Instant::now();
        let asked = tokio::time::timeout(PATIENCE, caller.exchange(ask)).await;
        tally.count(began, caller.judge(ask, asked.context("no answer in time").flatten()));
    }
    tally
}

fn punctual_caller(ask: &Ask, schedule: &Schedule) -> Tally {
    let (mut tally, mut caller) = (Tally::default(), Caller::new());
    caller.connection = connect(ask).ok();
    while tally.errors < ERRORS {
        let Some(due) = schedule.next() else { break };
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let asked = caller.exchange_blocking(ask);
        tally.count(due, caller.judge(ask, asked));
    }
    tally
}

impl<S> Caller<S> {
    fn new() -> Self {
        Self { connection: None, answer: Answer::default(), buffer: vec![0; READ] }
    }

    /// Is it the right answer? The next request gets a new connection unless this one is known to be good.
    fn judge(&mut self, ask: &Ask, asked: anyhow::Result<()>) -> anyhow::Result<()> {
        if asked.is_err() || !self.answer.keeps() {
            self.connection = None;
        }
        asked.and_then(|()| self.answer.check(&ask.right))
    }
}

impl Caller<TcpStream> {
    async fn exchange(&mut self, ask: &Ask) -> anyhow::Result<()> {
        let stream = match &mut self.connection {
            Some(stream) => stream,
            empty => {
                let stream = TcpStream::connect(ask.to).await?;
                stream.set_nodelay(true)?;
                empty.insert(stream)
            }
        };
        stream.write_all(&ask.bytes).await?;
        self.answer.clear();
        loop {
            let length = stream.read(&mut self.buffer).await?;
            if self.answer.add(self.buffer.get(..length).unwrap_or_default())? {
                return Ok(());
            }
        }
    }
}

impl Caller<BlockingStream> {
    fn exchange_blocking(&mut self, ask: &Ask) -> anyhow::Result<()> {
        let stream = match &mut self.connection {
            Some(stream) => stream,
            empty => empty.insert(connect(ask)?),
        };
        stream.write_all(&ask.bytes)?;
        self.answer.clear();
        loop {
            let length = stream.read(&mut self.buffer)?;
            if self.answer.add(self.buffer.get(..length).unwrap_or_default())? {
                return Ok(());
            }
        }
    }
}

fn connect(ask: &Ask) -> anyhow::Result<BlockingStream> {
    let stream = BlockingStream::connect(ask.to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

// === impl Ask ===

impl Ask {
    /// A POST of this body, which asks for a stream or not.
    pub(crate) fn new(url: &str, headers: &[String], body: &str, stream: bool) -> anyhow::Result<Self> {
        let rest = url.strip_prefix("http://").context("only http:// is measured")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let headers: String = headers.iter().flat_map(|header| [header.as_str(), "\r\n"]).collect();
        let length = body.len();
        let bytes = format!(
            "POST /{path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
        );
        let to = host.parse().with_context(|| format!("{host} is not an address and a port"))?;
        let right = if stream { provider::STREAM } else { provider::REPLY };
        Ok(Self { to, bytes: bytes.into_bytes(), right })
    }
}

// === Sums ===

impl Tally {
    fn count(&mut self, began: Instant, outcome: anyhow::Result<()>) {
        match outcome {
            Ok(()) => self.latencies.push(began.elapsed()),
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }
}

fn summary(tallies: Vec<Tally>, took: Duration) -> anyhow::Result<Value> {
    let errors: usize = tallies.iter().map(|tally| tally.errors).sum();
    let first_error = tallies.iter().find_map(|tally| tally.first_error.clone());
    let mut latencies: Vec<Duration> = tallies.into_iter().flat_map(|tally| tally.latencies).collect();
    latencies.sort_unstable();
    let percentile = |percent: usize| {
        let at = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
        latencies.get(at).map(|latency| tenths(latency.as_secs_f64() * 1e6))
    };
    Ok(json!({
        "requests": latencies.len(),
        "errors": errors,
        "first_error": first_error,
        "rps": tenths(f64::from(u32::try_from(latencies.len())?) / took.as_secs_f64()),
        "p50_us": percentile(50),
        "p99_us": percentile(99),
    }))
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::net::TcpListener;
    use tokio_util::task::TaskTracker;

    /// A server that gives every connection the same bytes for each request, in pieces of so many bytes, and ends it after so
    /// many requests.
    async fn server(answer: String, piece: usize, requests: usize) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (connections, answer) = (TaskTracker::new(), std::sync::Arc::new(answer));
        connections.clone().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, answer.clone(), piece, requests));
            }
        });
        Ok(address)
    }

    async fn serve(mut stream: TcpStream, answer: std::sync::Arc<String>, piece: usize, requests: usize) {
        let mut request = Vec::new();
        for _ in 0..requests {
            request.clear();
            while !request.ends_with(b"}") {
                if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
                    return;
                }
            }
            for piece in answer.as_bytes().chunks(piece) {
                if stream.write_all(piece).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
    }

    /// A stream as nginx passes it on: cut anywhere, here into chunks of so many bytes.
    fn stream(texts: usize, chunk: usize, connection: &str) -> String {
        let body = format!("data: {{{}}}\n\n", provider::STREAM.words).repeat(texts) + provider::STREAM.end;
        let chunks = body.as_bytes().chunks(chunk).map(|chunk| {
            let text = std::str::from_utf8(chunk).unwrap();
            format!("{:x}\r\n{text}\r\n", chunk.len())
        });
        let head = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n{connection}\r\n");
        format!("{head}{}0\r\n\r\n", chunks.collect::<String>())
    }

    async fn check(answer: String, piece: usize, requests: usize) -> (Value, Value) {
        let address = server(answer, piece, requests).await.unwrap();
        let ask = Ask::new(&format!("http://{address}/v1"), &[], "{}", true).unwrap();
        let busy = closed(&ask, 4, Duration::from_millis(50)).await.unwrap();
        let punctual = move || open(&ask, 200.0, Duration::from_millis(50)).unwrap();
        (busy, tokio::task::spawn_blocking(punctual).await.unwrap())
    }

    #[tokio::test]
    async fn every_answer_is_right_however_it_is_cut() {
        for (chunk, piece) in [(7, 4096), (4096, 11), (1000, 1000), (13, 1)] {
            let (busy, punctual) = check(stream(64, chunk, ""), piece, usize::MAX).await;
            assert_eq!((&busy["errors"], &punctual["errors"]), (&json!(0), &json!(0)), "{busy} {punctual}");
            assert!(busy["requests"].as_u64() >= Some(4));
            assert_eq!(punctual["requests"], 10);
        }
    }

    #[tokio::test]
    async fn a_connection_that_is_closed_in_good_order_is_opened_again() {
        let (busy, punctual) = check(stream(64, 4096, "connection: close\r\n"), 4096, 1).await;
        assert_eq!((&busy["errors"], &punctual["errors"]), (&json!(0), &json!(0)), "{busy} {punctual}");
        assert_eq!(punctual["requests"], 10);
    }

    #[tokio::test]
    async fn a_wrong_answer_is_an_error_and_is_shown() {
        let (busy, punctual) = check(stream(63, 4096, ""), 4096, usize::MAX).await;
        assert_eq!((&busy["requests"], &punctual["requests"]), (&json!(0), &json!(0)));
        assert_eq!(punctual["errors"], 10);
        assert!(busy["first_error"].as_str().unwrap().contains("63 times, not 64"), "{busy}");
    }

    #[tokio::test]
    async fn an_answer_that_ends_too_soon_is_an_error() {
        let whole = stream(64, 4096, "");
        let (busy, punctual) = check(whole[..whole.len() - 1].to_owned(), 4096, 1).await;
        assert_eq!((&busy["requests"], &punctual["requests"]), (&json!(0), &json!(0)));
        assert!(busy["first_error"].as_str().unwrap().contains("ended in the middle"), "{busy}");
    }
}
