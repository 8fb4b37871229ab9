//! A plain HTTP client on loopback, with answers read whole or piece by piece.

use std::time::{Duration, Instant};

use bifrost_fixtures::Style;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::answer::Answer;
use crate::{Chat, OrFail as _, PATIENCE};

/// The longest that any answer may take: far beyond every bound that a test sets, so that a hang fails by name.
const LONGEST: Duration = Duration::from_secs(30);

/// A client of one gateway.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    http: legacy::Client<HttpConnector, Full<Bytes>>,
}

/// An answer whose body is still coming. Dropping it hangs up.
#[derive(Debug)]
pub struct Live {
    /// The status code.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    body: Incoming,
    style: Style,
    read: Vec<u8>,
    broken: bool,
}

impl Client {
    /// A client of the server at this address (`127.0.0.1:8080`).
    pub fn new(address: &str) -> Self {
        let http = legacy::Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build_http();
        Self { base: format!("http://{address}"), http }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> &str {
        &self.base
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// Asks, and reads the whole answer.
    pub async fn ask(&self, chat: &Chat) -> Answer {
        self.open(chat).await.rest().await
    }

    /// Asks, and returns at the head of the answer.
    pub async fn open(&self, chat: &Chat) -> Live {
        let headers: Vec<_> = chat.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let body = Bytes::from(chat.body.to_string());
        self.send("POST", &chat.path(), &headers, body, chat.style).await
    }

    /// `GET`, whole.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let style = spoken_at(path);
        self.send("GET", path, headers, Bytes::new(), style).await.rest().await
    }

    /// `POST` of any bytes, whole.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let style = spoken_at(path);
        self.send("POST", path, headers, body.into(), style).await.rest().await
    }

    /// Any request, up to the head of its answer. The content type is JSON unless the headers say otherwise.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Bytes, style: Style) -> Live {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).or_fail("building a request");
        let answer = tokio::time::timeout(LONGEST, self.http.request(request)).await;
        Live::new(answer.or_fail("an answer in time").or_fail("an answer"), style)
    }

    /// The value of a metric: the sum over all series that carry these labels, `None` if there is none.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let text = self.get("/metrics", &[]).await.text();
        let wanted: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let series = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let rest = series.strip_prefix(name)?;
            let whole_name = rest.is_empty() || rest.starts_with('{');
            let matches = wanted.iter().all(|label| rest.contains(label.as_str()));
            (whole_name && matches).then(|| value.parse::<f64>().ok())?
        });
        series.reduce(|sum, value| sum + value)
    }
    /// Waits until a metric has this value.
    pub async fn metric_becomes(&self, name: &str, labels: &[(&str, &str)], wanted: f64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.metric(name, labels).await;
            if value.is_some_and(|value| (value - wanted).abs() < f64::EPSILON) {
                return;
            }
            assert!(Instant::now() < deadline, "{name} {labels:?} is {value:?}, not {wanted}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The dialect of a path, as far as its prefix says.
fn spoken_at(path: &str) -> Style {
    match path {
        _ if path.starts_with("/anthropic/") => Style::Anthropic,
        _ if path.starts_with("/genai/") => Style::Gemini,
        _ if path.starts_with("/bedrock/") => Style::Bedrock,
        _ if path.starts_with("/cohere/") => Style::Cohere,
        _ if path.ends_with("/responses") => Style::Responses,
        _ => Style::OpenAi,
    }
}

impl Live {
    fn new(response: Response<Incoming>, style: Style) -> Self {
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        Self { status, headers: head.headers, body, style, read: Vec::new(), broken: false }
    }

    /// The next piece of the body as it arrives; `None` at its end.
    pub async fn piece(&mut self) -> Option<Bytes> {
        loop {
            let frame = tokio::time::timeout(LONGEST, self.body.frame()).await.or_fail("a piece in time")?;
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => {
                    self.read.extend_from_slice(&data);
                    return Some(data);
                }
                Ok(Err(_trailers)) => {}
                Err(_) => {
                    self.broken = true;
                    return None;
                }
            }
        }
    }

    /// Reads until the body so far contains this text; fails the test if the body ends before.
    pub async fn until(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.read).contains(text) {
            let so_far = String::from_utf8_lossy(&self.read).into_owned();
            self.piece().await.or_fail(&format!("waiting for {text:?} after {so_far:?}"));
        }
    }

    /// Reads to the end.
    pub async fn rest(mut self) -> Answer {
        while self.piece().await.is_some() {}
        let Self { status, headers, style, read, broken, .. } = self;
        Answer { status, headers, body: Bytes::from(read), broken, style }
    }
}
