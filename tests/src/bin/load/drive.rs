//! Callers: some that ask as fast as they are answered, and some that ask at a fixed rate.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream as BlockingStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::answer::Answer;
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
    /// What the right answer says.
    expected: &'static [u8],
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

async fn busy_caller(ask: &Ask, until: Instant) -> Tally {
    let (mut tally, mut connection, mut answer) = (Tally::default(), None, Answer::default());
    while Instant::now() < until && tally.errors < ERRORS {
        let began = Instant::now();
        let asked = tokio::time::timeout(PATIENCE, exchange(ask, &mut connection, &mut answer)).await;
        let outcome = asked.context("no answer in time").flatten();
        if outcome.is_err() {
            connection = None;
        }
        tally.count(began, outcome);
    }
    tally
}

async fn exchange(ask: &Ask, connection: &mut Option<TcpStream>, answer: &mut Answer) -> anyhow::Result<()> {
    let stream = match connection {
        Some(stream) => stream,
        None => connection.insert(TcpStream::connect(ask.to).await?),
    };
    stream.set_nodelay(true)?;
    stream.write_all(&ask.bytes).await?;
    answer.clear();
    let mut read = Vec::with_capacity(READ);
    loop {
        read.clear();
        stream.read_buf(&mut read).await?;
        if answer.add(&read)? {
            return ask.check(answer);
        }
    }
}

fn punctual_caller(ask: &Ask, schedule: &Schedule) -> Tally {
    let (mut tally, mut answer) = (Tally::default(), Answer::default());
    let mut connection = connect(ask).ok();
    while tally.errors < ERRORS {
        let Some(due) = schedule.next() else { break };
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let outcome = blocking_exchange(ask, &mut connection, &mut answer);
        if outcome.is_err() {
            connection = None;
        }
        tally.count(due, outcome);
    }
    tally
}

fn blocking_exchange(ask: &Ask, connection: &mut Option<BlockingStream>, answer: &mut Answer) -> anyhow::Result<()> {
    let stream = match connection {
        Some(stream) => stream,
        None => connection.insert(connect(ask)?),
    };
    stream.write_all(&ask.bytes)?;
    answer.clear();
    let mut buffer = vec![0; READ];
    loop {
        let length = stream.read(&mut buffer)?;
        if answer.add(buffer.get(..length).unwrap_or_default())? {
            return ask.check(answer);
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
    /// A POST of this body. The answer is right if it has the words of the provider's answer, or for a stream its end.
    pub(crate) fn new(url: &str, headers: &[String], body: &str, stream: bool) -> anyhow::Result<Self> {
        let rest = url.strip_prefix("http://").context("only http:// is measured")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let headers: String = headers.iter().flat_map(|header| [header.as_str(), "\r\n"]).collect();
        let length = body.len();
        let bytes = format!(
            "POST /{path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
        );
        let to = host.parse().with_context(|| format!("{host} is not an address and a port"))?;
        let expected = if stream { b"data: [DONE]".as_slice() } else { provider::WORDS.as_bytes() };
        Ok(Self { to, bytes: bytes.into_bytes(), expected })
    }

    fn check(&self, answer: &Answer) -> anyhow::Result<()> {
        if !answer.says(self.expected) {
            bail!("not the right answer: {}", answer.text());
        }
        Ok(())
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
