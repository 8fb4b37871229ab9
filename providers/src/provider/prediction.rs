//! How a prediction is made: Replicate answers at once that it has begun, and the rest is asked for, by the call that this makes of
//! several.
//!
//! - A whole answer: the prediction is looked at again and again until it has ended.
//! - A stream: the events at the address that the prediction names, between the prediction as it began and as it ended, which says
//!   what it cost. A model that does not stream is waited for.
//!
//! Whoever stops waiting, for whatever reason, has the prediction cancelled: it would go on, and cost, without a reader.
//!
//! Source: <https://replicate.com/docs/reference/http>, <https://replicate.com/docs/topics/predictions/lifecycle>.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};

use crate::dialect::escaped;
use crate::dialect::predictions::{PREDICTION, PredictionWire, State, failed};
use crate::failure::FailureKind;
use crate::framing::Event;
use crate::json::{self, Str, wire};
use crate::sse::Splitter;
use crate::transport::{Answer, AnswerBody, Call, Timeouts, Transport, Wrapping};
use crate::{Dialect, Failure};

/// The largest prediction that is read: its input stands in it too.
const MAX_BYTES: usize = 64 << 20;

/// The largest event that is looked into.
const MAX_EVENT_BYTES: usize = 16 << 20;

/// How long to leave it alone between two looks: short at first, for models that answer at once.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Looks that may fail in a row: a prediction is not lost over one that does.
const PATIENCE: u32 = 3;

/// How long a prediction whose stream has ended may take to say so too.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// After how long the provider itself gives a prediction up, whatever became of us; it takes at least five seconds.
const CANCEL_AFTER: HeaderName = HeaderName::from_static("cancel-after");
const SHORTEST_LIFE: Duration = Duration::from_secs(5);

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

wire! {
    struct UrlsWire<'a> {
        "stream" => stream: Str<'a>,
    }
}

/// A prediction as far as it matters here.
struct Seen {
    id: String,
    state: State,
    /// What it says of having failed.
    failure: Option<Box<Failure>>,
    stream: Option<String>,
    body: Bytes,
}

/// Where a prediction is asked after, and how.
#[derive(Clone)]
struct Desk {
    transport: Arc<Transport>,
    headers: HeaderMap,
    /// Of all predictions: `https://api.replicate.com/v1/predictions`.
    place: String,
    timeouts: Timeouts,
}

/// Cancels a prediction that nobody waits for any longer.
struct Watch {
    desk: Desk,
    id: Option<String>,
}

/// Makes a prediction of this call. `place`: where predictions are. `events`: is a stream wanted?
pub(super) async fn carry(
    transport: &Arc<Transport>,
    mut call: Call,
    (place, events): (String, bool),
) -> Result<Answer, Box<Failure>> {
    let limit = call.timeouts.total.unwrap_or(call.timeouts.first_byte);
    let desk = Desk::of(transport, &call, place);
    call.headers.insert(header::ACCEPT, JSON);
    if !events {
        call.headers.insert(CANCEL_AFTER, life(limit));
    }
    let Answer { status, headers, body } = transport.send(call).await?;
    if !status.is_success() {
        return Ok(Answer { status, headers, body });
    }
    let begun = Seen::of(body.collect(MAX_BYTES).await?)?;
    let mut watch = Watch { desk: desk.clone(), id: Some(begun.id.clone()) };
    if let Some(stream) = begun.stream.clone().filter(|_| events && begun.state == State::Running) {
        return desk.follow(&stream, begun, watch).await;
    }
    let ended = tokio::time::timeout(limit, desk.end_of(begun)).await;
    let ended = ended.map_err(|_| too_slow(limit))??;
    watch.id = None;
    match ended.failure {
        None => Ok(Answer { status: StatusCode::OK, headers, body: desk.answer(ended.body)? }),
        Some(failure) => Err(failure),
    }
}

// === impl Desk ===

impl Desk {
    fn of(transport: &Arc<Transport>, call: &Call, place: String) -> Self {
        let mut headers = call.headers.clone();
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::ACCEPT, JSON);
        Self { transport: transport.clone(), headers, place, timeouts: call.timeouts }
    }

    /// Looks until the prediction has ended.
    async fn end_of(&self, mut seen: Seen) -> Result<Seen, Box<Failure>> {
        let (mut pause, mut failed) = (FIRST_PAUSE, 0);
        while seen.state == State::Running {
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
            match self.look(&seen.id).await {
                Ok(newer) => (seen, failed) = (newer, 0),
                Err(_) if failed + 1 < PATIENCE => failed += 1,
                Err(failure) => return Err(failure),
            }
        }
        Ok(seen)
    }

    async fn look(&self, id: &str) -> Result<Seen, Box<Failure>> {
        let call = self.call(Method::GET, &format!("{}/{}", self.place, escaped(id)))?;
        let answer = self.transport.send(call).await?;
        let body = answer.body.collect(MAX_BYTES).await?;
        if !answer.status.is_success() {
            return Err(Box::new(Dialect::Predictions.codec().decode_error(answer.status, &body)));
        }
        Seen::of(body)
    }

    /// The events of a prediction, between what it was and what it is when they have ended.
    async fn follow(self, stream: &str, begun: Seen, watch: Watch) -> Result<Answer, Box<Failure>> {
        let mut call = self.call(Method::GET, stream)?;
        call.headers.insert(header::ACCEPT, EVENTS);
        if !is_at_home(&call.uri, &self.place) {
            call.headers.remove(header::AUTHORIZATION);
        }
        let Answer { status, headers, body } = self.transport.send(call).await?;
        if !status.is_success() {
            return Ok(Answer { status, headers, body });
        }
        let ahead = Some(event(&begun.body));
        let wrapping =
            Wrapping { ahead, is_last: Some(Box::new(last_seen())), behind: Some(Box::pin(self.ending(begun, watch))) };
        Ok(Answer { status, headers, body: body.wrapped(wrapping) })
    }

    /// The prediction as it ended, as one event. Nothing where it does not say: its words are out, only their price is not known.
    async fn ending(self, begun: Seen, mut watch: Watch) -> Option<Bytes> {
        let ended = tokio::time::timeout(LAST_LOOK, self.end_of(begun)).await.ok()?.ok()?;
        watch.id = None;
        Some(event(&ended.body))
    }

    fn call(&self, method: Method, uri: &str) -> Result<Call, Box<Failure>> {
        let uri: Uri = uri.parse().map_err(|_| unreadable(&format!("no URL: {uri:?}")))?;
        Ok(Call { method, uri, headers: self.headers.clone(), body: Bytes::new(), timeouts: self.timeouts })
    }

    /// What was read on the way is the answer.
    fn answer(&self, whole: Bytes) -> Result<AnswerBody, Box<Failure>> {
        let peer = self.call(Method::GET, &self.place)?.uri.into_parts().authority;
        let peer = peer.ok_or_else(|| unreadable("no host"))?;
        Ok(AnswerBody::here(whole, peer, self.timeouts.idle))
    }
}

// === impl Seen ===

impl Seen {
    fn of(body: Bytes) -> Result<Self, Box<Failure>> {
        let wire: PredictionWire<'_> =
            json::decode(&body).map_err(|fault| unreadable(&format!("not a prediction: {fault}")))?;
        let id = wire.id.ok_or_else(|| unreadable("a prediction without an id"))?.to_plain().into_owned();
        let status = wire.status.as_ref().map_or("", Str::as_str);
        let state = State::of(status);
        let failure = (state == State::Failed).then(|| Box::new(failed(status, wire.error)));
        let urls = wire.urls.and_then(|urls| json::decode::<UrlsWire<'_>>(urls.get().as_bytes()).ok());
        let stream = urls.and_then(|urls| urls.stream).map(|url| url.0.into_owned());
        Ok(Self { id, state, failure, stream, body })
    }
}

// === impl Watch ===

impl Drop for Watch {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        if let Ok(call) = self.desk.call(Method::POST, &format!("{}/{}/cancel", self.desk.place, escaped(&id))) {
            self.desk.transport.send_aside(call);
        }
    }
}

// === What is said ===

fn life(limit: Duration) -> HeaderValue {
    let seconds = limit.max(SHORTEST_LIFE).as_secs();
    HeaderValue::try_from(format!("{seconds}s")).unwrap_or(HeaderValue::from_static("5m"))
}

/// The whole prediction as an event. JSON that came over several lines is put on one, which is the same JSON.
fn event(prediction: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(prediction.len() + 32);
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(PREDICTION);
    out.extend_from_slice(b"\ndata: ");
    out.extend(prediction.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// Tells the piece behind which a stream has no more to say.
fn last_seen() -> impl FnMut(&Bytes) -> bool + Send {
    let mut splitter = Splitter::new(MAX_EVENT_BYTES);
    move |piece| {
        splitter.push(piece.clone());
        let is_last = |event: Result<Event, _>| {
            event.is_ok_and(|event| matches!(event.frame.event.as_deref(), Some(b"done" | b"error")))
        };
        splitter.by_ref().any(is_last)
    }
}

/// Is the address one of the provider's own, so that it may be shown the key? Streams come from another host of the same domain.
fn is_at_home(uri: &Uri, place: &str) -> bool {
    let Ok(home) = place.parse::<Uri>() else { return false };
    let domain = |host: &str| host.split_once('.').map_or_else(|| host.to_owned(), |(_, domain)| domain.to_owned());
    let (Some(host), Some(own)) = (uri.host(), home.host()) else { return false };
    let is_same = uri.authority() == home.authority();
    is_same || (uri.scheme_str() == Some("https") && domain(own).contains('.') && domain(host) == domain(own))
}

fn unreadable(message: &str) -> Box<Failure> {
    Box::new(Failure::new(FailureKind::Unreadable, message))
}

fn too_slow(limit: Duration) -> Box<Failure> {
    let message = format!("the prediction did not end within {limit:?}");
    Box::new(Failure::new(FailureKind::TotalTimeout, message))
}
