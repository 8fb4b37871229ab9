//! What goes back to the HTTP layer: a status, headers, and a body that is whole or grows.

use std::convert::Infallible;
use std::pin::Pin;

use bifrost_providers::dialect::Problem;
use bifrost_providers::framing::Framing;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Body;

/// The answer to one request.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: ReplyBody,
    /// What was refused, for a client that has already been sent the head of a stream.
    pub problem: Option<Box<Problem>>,
}

/// A growing body. It cannot fail: what goes wrong in the middle is an error event inside it.
pub type StreamBody = Pin<Box<dyn Body<Data = Bytes, Error = Infallible> + Send>>;

/// A body that is passed on.
pub type PassedBody = Pin<Box<dyn Body<Data = Bytes, Error = std::io::Error> + Send>>;

/// What the head of every stream says.
pub fn mark_stream(headers: &mut HeaderMap, framing: Framing) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(framing.content_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if framing == Framing::EventStream {
        // What AWS's messages hold (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>).
        headers.insert("x-amzn-bedrock-content-type", HeaderValue::from_static("application/json"));
    }
}

/// The body of an answer.
pub enum ReplyBody {
    Whole(Bytes),
    /// A stream. Every chunk ends at the end of an event, so that a ping may stand between any two.
    Events(StreamBody),
    /// Whatever a provider answers, as it comes. It may break off.
    Passed(PassedBody),
}

impl std::fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(bytes) => write!(f, "Whole({} bytes)", bytes.len()),
            Self::Events(_) => f.write_str("Events"),
            Self::Passed(_) => f.write_str("Passed"),
        }
    }
}
