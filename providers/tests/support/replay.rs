//! Frames through a reader, to its end or to its first failure.

use bifrost_providers::dialect::Frame;
use bifrost_providers::{ChatEvent, Codec, Failure};

pub(crate) fn read(
    codec: &dyn Codec,
    frames: impl IntoIterator<Item = Frame>,
) -> (Vec<ChatEvent>, Result<(), Box<Failure>>) {
    let mut reader = codec.reader();
    let mut events = Vec::new();
    for frame in frames {
        if let Err(failure) = reader.read(&frame, &mut events) {
            return (events, Err(failure));
        }
    }
    let end = reader.finish(&mut events);
    (events, end)
}
