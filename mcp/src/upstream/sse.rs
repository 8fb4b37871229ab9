//! HTTP+SSE of protocol revision 2024-11-05, which the SDK no longer has: one long GET whose first event, `endpoint`,
//! names the address to POST messages to; answers arrive as events of that GET.

use std::{fmt, io, pin::Pin};

use ::http::{HeaderMap, header};
use futures::{Stream, StreamExt as _};
use rmcp::{
    RoleClient,
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use secrecy::SecretString;
use sse_stream::{Sse, SseStream};
use url::Url;

use super::{Surroundings, http};

/// Speaks with one server; the GET stream is its connection.
pub(super) struct SseTransport {
    client: reqwest::Client,
    headers: HeaderMap,
    endpoint: Url,
    events: Events,
}

type Events = Pin<Box<dyn Stream<Item = Result<Sse, sse_stream::Error>> + Send>>;

#[derive(Debug, thiserror::Error)]
pub(super) enum SseError {
    #[error("{0}")]
    Settings(String),
    #[error("{0}")]
    Http(#[source] reqwest::Error),
    #[error("the server answered with HTTP {0}")]
    Status(reqwest::StatusCode),
    #[error("the stream ended before it named its endpoint")]
    NoEndpoint,
    #[error("the stream names an endpoint on another origin: {0}")]
    ForeignEndpoint(String),
}

/// Opens the stream and waits for the endpoint. The caller bounds the time.
pub(super) async fn connect(
    url: &Url,
    headers: &[(String, SecretString)],
    around: &Surroundings,
) -> Result<SseTransport, SseError> {
    let client = http::client(url, around).map_err(SseError::Settings)?;
    let headers = http::header_map(headers).map_err(SseError::Settings)?;
    let get = client.get(url.clone()).headers(headers.clone()).header(header::ACCEPT, "text/event-stream");
    let response = get.send().await.map_err(SseError::http)?;
    if !response.status().is_success() {
        return Err(SseError::Status(response.status()));
    }
    let bytes = bounded(response.bytes_stream().map(|chunk| chunk.map_err(io::Error::other)), around.max_message_bytes);
    let mut events: Events = Box::pin(SseStream::from_bytes_stream(bytes));
    while let Some(Ok(event)) = events.next().await {
        if event.event.as_deref() == Some("endpoint") {
            let endpoint = endpoint(url, event.data.as_deref().unwrap_or_default())?;
            return Ok(SseTransport { client, headers, endpoint, events });
        }
    }
    Err(SseError::NoEndpoint)
}

/// Resolves the announced address. Another origin would receive our headers, so it is refused.
fn endpoint(stream: &Url, announced: &str) -> Result<Url, SseError> {
    let foreign = || SseError::ForeignEndpoint(announced.to_owned());
    let endpoint = stream.join(announced.trim()).map_err(|_| foreign())?;
    if endpoint.origin() == stream.origin() { Ok(endpoint) } else { Err(foreign()) }
}

type Chunk = io::Result<bytes::Bytes>;

/// Ends with an error once an event grows over the limit: a stream, unlike a line, cannot be skipped. Counts from the
/// last empty line, which ends an event.
fn bounded(chunks: impl Stream<Item = Chunk> + Send, limit: usize) -> impl Stream<Item = Chunk> + Send {
    chunks.scan((0_usize, b'\n'), move |(size, last), chunk| {
        let checked = chunk.and_then(|chunk| {
            for byte in &chunk {
                let ends_event = matches!((*last, *byte), (b'\n', b'\n' | b'\r') | (b'\r', b'\r'));
                *size = if ends_event { 0 } else { *size + 1 };
                *last = *byte;
                if *size > limit {
                    return Err(io::Error::other(format!("an event has more than {limit} bytes")));
                }
            }
            Ok(chunk)
        });
        futures::future::ready(Some(checked))
    })
}

// === impl SseError ===

impl SseError {
    /// Without the address: its path or query may hold a credential.
    fn http(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

// === impl SseTransport ===

impl Transport<RoleClient> for SseTransport {
    type Error = SseError;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let post = self.client.post(self.endpoint.clone()).headers(self.headers.clone()).json(&item);
        async move {
            let response = post.send().await.map_err(SseError::http)?;
            if response.status().is_success() { Ok(()) } else { Err(SseError::Status(response.status())) }
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let event = match self.events.next().await? {
                Ok(event) => event,
                Err(error) => {
                    tracing::debug!(%error, "the event stream of a tool server broke");
                    return None;
                }
            };
            if !matches!(event.event.as_deref(), None | Some("" | "message")) {
                continue;
            }
            match serde_json::from_str(event.data.as_deref().unwrap_or_default()) {
                Ok(message) => return Some(message),
                Err(error) => tracing::debug!(%error, "an event of a tool server is no JSON-RPC message"),
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.events = Box::pin(futures::stream::empty());
        Ok(())
    }
}

impl fmt::Debug for SseTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseTransport").field("endpoint", &self.endpoint.as_str()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_must_share_the_origin_of_its_stream() {
        let stream = Url::parse("http://tools.test:8080/a/sse").unwrap();
        let cases = [
            ("/message?session=1", Some("http://tools.test:8080/message?session=1")),
            ("message", Some("http://tools.test:8080/a/message")),
            ("http://tools.test:8080/m", Some("http://tools.test:8080/m")),
            ("http://tools.test:9090/m", None),
            ("https://tools.test:8080/m", None),
            ("//elsewhere.test/m", None),
        ];
        for (announced, expected) in cases {
            assert_eq!(endpoint(&stream, announced).ok().map(String::from).as_deref(), expected, "{announced}");
        }
    }

    #[tokio::test]
    async fn an_endless_event_is_given_up_and_small_ones_are_not() {
        let chunk = |text: &'static str| Ok(bytes::Bytes::from_static(text.as_bytes()));
        let small =
            futures::stream::iter(vec![chunk("data: 12\n\nda"), chunk("ta: 34\r\n\r\n"), chunk("data: 56\n\n")]);
        assert!(bounded(small, 12).all(|chunk| futures::future::ready(chunk.is_ok())).await);
        let endless = futures::stream::iter(vec![chunk("data: 12\n\n"), chunk("data: 1"), chunk("23456789")]);
        assert!(bounded(endless, 12).any(|chunk| futures::future::ready(chunk.is_err())).await);
    }
}
