//! Collects a request body under a size cap and a deadline, before anything looks at it.

use std::time::Duration;

use axum::BoxError;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::engine::refusal::Refusal;
use crate::engine::upload::{DEADLINE, Fault};

/// How long a body that is refused may go on arriving.
const FAREWELL: Duration = Duration::from_secs(5);

/// The whole body, or why not: 413 before anything is buffered where the length is announced, 408, 415.
pub async fn collect<B>(headers: &HeaderMap, body: &mut B, cap: usize) -> Result<Bytes, Refusal>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    announced(headers, cap)?;
    let collected = tokio::time::timeout(DEADLINE, whole(Limited::new(body, cap))).await;
    match collected {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => Err(Fault::TooLarge { cap }.into()),
        Ok(Err(error)) => Err(Fault::Broken(error.to_string()).into()),
        Err(_) => Err(Fault::Late.into()),
    }
}

/// The length that is announced, where one is; or why nothing of the body is to be read.
pub fn announced(headers: &HeaderMap, cap: usize) -> Result<Option<usize>, Refusal> {
    refuse_encodings(headers)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > cap) {
        return Err(Fault::TooLarge { cap }.into());
    }
    Ok(announced)
}

/// A body that came in one piece, as most do, is that piece.
async fn whole<B>(mut body: Limited<&mut B>) -> Result<Bytes, BoxError>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(mut data) = frame?.into_data() else { continue };
        if whole.is_empty() && body.is_end_stream() {
            return Ok(data.copy_to_bytes(data.remaining()));
        }
        whole.put(data);
    }
    Ok(whole.freeze())
}

/// Lets a body that nobody wants arrive, unread and unkept: a client whose connection breaks while it still sends does not see
/// the answer. Bounded in time, and in bytes by twice the cap. False where there is more to come, so that the connection must
/// end with the answer.
pub async fn discard<B>(headers: &HeaderMap, body: B, cap: usize) -> bool
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    if headers.contains_key(header::EXPECT) {
        // It waits to be asked for its body.
        return body.is_end_stream();
    }
    let mut body = Limited::new(body, cap.saturating_mul(2));
    let read = async {
        while let Some(frame) = body.frame().await {
            if frame.is_err() {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(FAREWELL, read).await.unwrap_or(false)
}

/// A compressed body could be a thousand times its size; nobody's SDK sends one.
fn refuse_encodings(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding.as_bytes() != b"identity" => Err(Refusal::Http {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            kind: "unsupported_media_type",
            message: "the request body is compressed; send it as it is".to_owned(),
        }),
        _ => Ok(()),
    }
}
