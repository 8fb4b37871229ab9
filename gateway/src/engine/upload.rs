//! A request body that goes on to its provider while it comes: forms with sound and pictures, files.
//!
//! It is read no faster than the provider takes it. What has been read is kept as long as it is little, so that the request can
//! be sent again, to the same provider or another; beyond that it is gone, and a failure is final ([`Upload::is_spent`]). A form
//! that says its model behind a file has to be kept up to there.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bifrost_providers::failure::FailureKind;
use bifrost_providers::multipart::{Form, FormReader};
use bifrost_providers::transport::{Alarm, Clock, Live, Pace};
use bifrost_providers::{Failure, Malformed};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::refusal::Refusal;

/// The longest that a client may keep others waiting for its body, all waits together. Big images over a slow line make it; a
/// client that sends a byte a second does not.
pub const DEADLINE: Duration = Duration::from_mins(2);

/// So much of a body is kept for another attempt: most JSON and many a voice message.
pub const REPLAY_BYTES: usize = 1 << 20;

/// What is kept lies in pieces of about this size.
const PIECE_BYTES: usize = 64 << 10;

/// A body as the HTTP layer has it.
pub type Arriving = UnsyncBoxBody<Bytes, BoxError>;
type BoxError = Box<dyn Error + Send + Sync>;

/// One request's body, shared by whoever reads it and whoever decides what becomes of it.
#[derive(Clone, Debug)]
pub struct Upload(Arc<Mutex<Source>>);

/// What is wrong with a body.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    #[error("the request body is larger than {cap} bytes (client.max_request_body_size_mb)")]
    TooLarge { cap: usize },
    #[error("the request body did not arrive within {DEADLINE:?}")]
    Late,
    #[error("the request body could not be read: {0}")]
    Broken(String),
    #[error("invalid request body: expected {}", .0.expected)]
    Malformed(Malformed),
}

struct Source {
    /// `None` at its end.
    body: Option<Arriving>,
    /// Where it is a form.
    form: Option<FormReader>,
    cap: usize,
    announced: Option<usize>,
    read: usize,
    /// All that has been read; `None` once that is too much.
    kept: Option<Kept>,
    fault: Option<Fault>,
    /// Counts the attempts: only the latest may read on.
    attempt: usize,
    wait: Wait,
    /// When the provider last took something.
    taken: Instant,
}

#[derive(Default)]
struct Kept {
    pieces: Vec<Bytes>,
    open: BytesMut,
    length: usize,
}

/// The client's clock, which runs while nothing of its body is here.
#[derive(Default)]
struct Wait {
    before: Duration,
    since: Option<Instant>,
    alarm: Option<Alarm>,
}

/// The body of one attempt: first what is kept, then what comes.
struct Pour {
    source: Arc<Mutex<Source>>,
    attempt: usize,
    kept: VecDeque<Bytes>,
    /// How much is to come in all, where that is known.
    left: Option<usize>,
}

// === impl Upload ===

impl Upload {
    /// `boundary`: of a form. At most `cap` bytes are taken; `announced` is the client's word for how many there are.
    pub fn new(body: Arriving, boundary: Option<&str>, cap: usize, announced: Option<usize>) -> Self {
        let source = Source {
            body: Some(body).filter(|body| !body.is_end_stream()),
            form: boundary.map(FormReader::new),
            cap,
            announced,
            read: 0,
            kept: Some(Kept::default()),
            fault: None,
            attempt: 0,
            wait: Wait::default(),
            taken: Instant::now(),
        };
        Self(Arc::new(Mutex::new(source)))
    }

    /// Reads a form until its model and every field in front of a file behind it are known. `model_known`: the path says it.
    pub async fn head(&self, model_known: bool) -> Result<Form, Refusal> {
        let is_enough = |form: &FormReader| form.is_in_file() && (model_known || form.form().model().is_some());
        self.keep_until(is_enough).await
    }

    /// Reads a form to its end, and keeps it all.
    pub async fn whole(&self) -> Result<Form, Refusal> {
        self.keep_until(|_| false).await
    }

    async fn keep_until(&self, is_enough: impl Fn(&FormReader) -> bool) -> Result<Form, Refusal> {
        let form = poll_fn(|cx| self.0.lock().poll_kept(cx, &is_enough)).await?;
        Ok(form)
    }

    /// The form as far as it is known.
    pub fn form(&self) -> Form {
        self.0.lock().form()
    }

    /// What has been read, in order; nothing where that was too much to keep.
    pub fn kept(&self) -> Vec<Bytes> {
        self.0.lock().kept.as_mut().map(Kept::pieces).unwrap_or_default()
    }

    /// Has it no bytes at all?
    pub fn is_empty(&self) -> bool {
        let source = self.0.lock();
        source.body.is_none() && source.read == 0
    }

    /// Sends it, from its beginning, with this model where it is a form that says one. Whoever sent it before reads no further.
    pub fn pour(&self, model: &str) -> Live {
        let pieces = self.form().with_model(&self.kept(), model);
        self.pour_instead(pieces)
    }

    /// The same with other words for what has been read; what is still to come follows.
    pub fn pour_instead(&self, pieces: Vec<Bytes>) -> Live {
        let mut source = self.0.lock();
        source.attempt += 1;
        source.taken = Instant::now();
        let known = pieces.iter().map(Bytes::len).sum::<usize>();
        let left = match &source.body {
            None => Some(known),
            Some(_) => source.announced.and_then(|all| all.checked_sub(source.read)?.checked_add(known)),
        };
        let pour = Pour { source: self.0.clone(), attempt: source.attempt, kept: pieces.into(), left };
        Live { body: pour.boxed_unsync(), pace: Arc::new(self.clone()) }
    }

    /// Can it no longer be sent from its beginning?
    pub fn is_spent(&self) -> bool {
        let source = self.0.lock();
        source.kept.is_none() || source.fault.is_some()
    }

    /// What is wrong with it, which no provider is to blame for.
    pub fn fault(&self) -> Option<Refusal> {
        self.0.lock().fault.clone().map(Refusal::from)
    }

    /// A failure of an attempt, with what the body has to do with it.
    pub fn explained(&self, mut failure: Box<Failure>) -> Box<Failure> {
        let source = self.0.lock();
        if let Some(fault) = &source.fault {
            return Box::new(Failure::new(FailureKind::Broken, fault.to_string()));
        }
        if source.kept.is_none() {
            let why = format!("not tried again: {} bytes of the request body are sent and not kept", source.read);
            failure.message = format!("{} ({why})", failure.message);
        }
        failure
    }

    /// What nobody has read. Whoever was sending it is stopped.
    pub fn rest(&self) -> Option<Arriving> {
        let mut source = self.0.lock();
        source.attempt += 1;
        source.body.take()
    }
}

// === impl Source ===

impl Source {
    fn form(&self) -> Form {
        self.form.as_ref().map(|reader| reader.form().clone()).unwrap_or_default()
    }

    fn poll_kept(
        &mut self,
        cx: &mut Context<'_>,
        is_enough: &impl Fn(&FormReader) -> bool,
    ) -> Poll<Result<Form, Fault>> {
        while !self.form.as_ref().is_some_and(is_enough) {
            match ready!(self.poll_read(cx)) {
                Some(Ok(data)) => {
                    if let Some(kept) = &mut self.kept {
                        kept.push(&data);
                    }
                }
                Some(Err(fault)) => return Poll::Ready(Err(fault)),
                None => break,
            }
        }
        Poll::Ready(Ok(self.form()))
    }

    /// Reads what comes for an attempt under way.
    fn poll_poured(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        let read = ready!(self.poll_read(cx));
        if let Some(Ok(data)) = &read {
            match &mut self.kept {
                Some(kept) if kept.length + data.len() <= REPLAY_BYTES => kept.push(data),
                _ => self.kept = None,
            }
        }
        Poll::Ready(read)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        if let Some(fault) = &self.fault {
            return Poll::Ready(Some(Err(fault.clone())));
        }
        let read = loop {
            let Some(body) = &mut self.body else { return Poll::Ready(None) };
            let frame = match Pin::new(body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    ready!(self.wait.poll(cx));
                    break Err(Fault::Late);
                }
            };
            self.wait.is_over();
            break match frame.map(|frame| frame.map(Frame::into_data)) {
                None => self.ended().map(|()| None),
                Some(Err(error)) => Err(Fault::Broken(error.to_string())),
                Some(Ok(Err(_trailers))) => continue,
                Some(Ok(Ok(data))) => self.came(&data).map(|()| Some(data)),
            };
        };
        Poll::Ready(match read {
            Ok(data) => data.map(Ok),
            Err(fault) => {
                self.fault = Some(fault.clone());
                Some(Err(fault))
            }
        })
    }

    fn came(&mut self, data: &Bytes) -> Result<(), Fault> {
        if data.len() > self.cap.saturating_sub(self.read) {
            return Err(Fault::TooLarge { cap: self.cap });
        }
        self.read += data.len();
        if let Some(form) = &mut self.form {
            form.push(data).map_err(Fault::Malformed)?;
        }
        // A provider that was told the length asks for nothing behind the last byte.
        if self.body.as_ref().is_some_and(Body::is_end_stream) { self.ended() } else { Ok(()) }
    }

    fn ended(&mut self) -> Result<(), Fault> {
        self.body = None;
        self.form.as_ref().map_or(Ok(()), FormReader::finish).map_err(Fault::Malformed)
    }
}

impl Pace for Upload {
    fn clock(&self) -> Clock {
        let source = self.0.lock();
        if source.wait.since.is_some() { Clock::Stopped } else { Clock::Since(source.taken) }
    }
}

// === impl Kept ===

impl Kept {
    /// Copied, because many small pieces would hold on to the large buffers that they were read into.
    fn push(&mut self, data: &[u8]) {
        self.length += data.len();
        self.open.extend_from_slice(data);
        if self.open.len() >= PIECE_BYTES {
            self.close();
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.pieces.push(std::mem::take(&mut self.open).freeze());
        }
    }

    fn pieces(&mut self) -> Vec<Bytes> {
        self.close();
        self.pieces.clone()
    }
}

// === impl Wait ===

impl Wait {
    /// Ready when the client has used up its time.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let left = DEADLINE.saturating_sub(self.before);
        self.alarm.get_or_insert_with(|| Alarm::at(since + left)).poll(cx)
    }

    fn is_over(&mut self) {
        if let Some(since) = self.since.take() {
            self.before += since.elapsed();
            self.alarm = None;
        }
    }
}

// === impl Pour ===

impl Body for Pour {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let mut source = this.source.lock();
        if source.attempt != this.attempt {
            return Poll::Ready(Some(Err("nobody waits for this attempt any more".into())));
        }
        let next = match this.kept.pop_front() {
            Some(kept) => Some(Ok(kept)),
            None => ready!(source.poll_poured(cx)),
        };
        source.taken = Instant::now();
        Poll::Ready(next.map(|data| {
            let data = data?;
            this.left = this.left.map(|left| left.saturating_sub(data.len()));
            Ok(Frame::data(data))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left as u64))
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let (status, kind) = match fault {
            Fault::Malformed(malformed) => return Self::Malformed(malformed),
            Fault::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large"),
            Fault::Late => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Fault::Broken(_) => (StatusCode::BAD_REQUEST, "invalid_request_error"),
        };
        Self::Http { status, kind, message: fault.to_string() }
    }
}

/// A body holds a conversation, which is not printed.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("read", &self.read).field("fault", &self.fault).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;

    /// An upload, and where its bytes come from.
    fn upload(boundary: Option<&str>) -> (mpsc::UnboundedSender<Bytes>, Upload) {
        let (client, mut bytes) = mpsc::unbounded_channel::<Bytes>();
        let stream = futures::stream::poll_fn(move |cx| bytes.poll_recv(cx));
        let frames = futures::StreamExt::map(stream, |bytes| Ok(Frame::data(bytes)));
        (client, Upload::new(StreamBody::new(frames).boxed_unsync(), boundary, usize::MAX, None))
    }

    async fn next(live: &mut Live) -> Option<Result<usize, String>> {
        let frame = live.body.frame().await?;
        Some(frame.map(|frame| frame.into_data().unwrap().len()).map_err(|error| error.to_string()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_may_keep_others_waiting_for_so_long_in_all() {
        let (client, upload) = upload(None);
        let mut live = upload.pour("");
        for _ in 0..3 {
            assert!(timeout(DEADLINE / 4, next(&mut live)).await.is_err());
            assert_eq!(live.pace.clock(), Clock::Stopped);
            client.send(Bytes::from_static(b"x")).unwrap();
            assert_eq!(next(&mut live).await, Some(Ok(1)));
            // The provider's own time is not the client's.
            tokio::time::advance(DEADLINE).await;
            assert_eq!(live.pace.clock(), Clock::Since(Instant::now() - DEADLINE));
        }
        let began = Instant::now();
        assert!(next(&mut live).await.unwrap().unwrap_err().contains("did not arrive"));
        assert!(began.elapsed() < DEADLINE / 3, "{:?}", began.elapsed());
        assert_eq!(upload.fault().unwrap().status(), StatusCode::REQUEST_TIMEOUT);
    }

    #[tokio::test]
    async fn little_is_sent_again_from_its_beginning_and_an_attempt_that_was_given_up_reads_no_further() {
        let (client, upload) = upload(None);
        let mut first = upload.pour("");
        client.send(Bytes::from(vec![1; REPLAY_BYTES])).unwrap();
        assert_eq!(next(&mut first).await, Some(Ok(REPLAY_BYTES)));
        let mut second = upload.pour("");
        assert!(next(&mut first).await.unwrap().is_err());
        assert_eq!((next(&mut second).await, upload.is_spent()), (Some(Ok(REPLAY_BYTES)), false));
        client.send(Bytes::from_static(b"more")).unwrap();
        assert_eq!((next(&mut second).await, upload.is_spent()), (Some(Ok(4)), true));
        let failure = upload.explained(Box::new(Failure::new(FailureKind::Broken, "gone")));
        assert!(failure.message.starts_with("gone (not tried again: 1048580 bytes"), "{}", failure.message);
        drop(client);
        assert_eq!(next(&mut second).await, None);
    }

    #[tokio::test]
    async fn a_form_that_was_held_to_its_end_can_always_be_sent_again() {
        let (client, upload) = upload(Some("b"));
        let part = "--b\r\nContent-Disposition: form-data; name=";
        client.send(format!("{part}file; filename=a\r\n\r\n").into()).unwrap();
        client.send(Bytes::from(vec![1; 2 * REPLAY_BYTES])).unwrap();
        client.send(format!("\r\n{part}model\r\n\r\nlong-name\r\n--b--\r\n").into()).unwrap();
        drop(client);
        let form = upload.head(false).await.unwrap();
        assert_eq!((form.model(), upload.is_spent()), (Some("long-name"), false));
        for _ in 0..2 {
            let mut live = upload.pour("m");
            let known = live.body.size_hint().exact().unwrap();
            let mut sent = 0;
            while let Some(Ok(count)) = next(&mut live).await {
                sent += count as u64;
            }
            assert_eq!((sent, live.body.is_end_stream()), (known, true));
        }
    }
}
