//! Server-sent events and AWS's messages: a stream says the same wherever it is cut, and what is written can be read.

#![no_main]

use bifrost_providers::dialect::Frame;
use bifrost_providers::eventstream::write_event;
use bifrost_providers::framing::{Event, Framing, Unframed};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1 << 16;

// The first byte says how it is framed, the second where it is cut.
fuzz_target!(|data: &[u8]| {
    let [first, second, stream @ ..] = data else { return };
    let framing = if first % 2 == 0 { Framing::Sse } else { Framing::EventStream };
    let at = usize::from(*second).min(stream.len());
    assert_eq!(told(&events(framing, &[stream])), told(&events(framing, &[&stream[..at], &stream[at..]])));
    if stream.len() < LIMIT / 2 {
        let mut out = Vec::new();
        write_event(&mut out, "chunk", stream);
        let read = events(Framing::EventStream, &[&out]);
        let data = read.first().and_then(|event| event.as_ref().ok()).map(|event| event.frame.data.clone());
        assert_eq!((read.len(), data.as_deref()), (1, Some(stream)));
    }
});

/// What a stream says, and its bytes. To which event the second half of a split line end belongs says nothing.
fn told(events: &[Result<Event, Unframed>]) -> (Vec<&Frame>, Vec<u8>, Option<Unframed>) {
    let sound = events.iter().filter_map(|event| event.as_ref().ok());
    let frames = sound.clone().filter(|event| !event.is_comment()).map(|event| &event.frame).collect();
    let bytes = sound.flat_map(|event| event.raw.iter().copied()).collect();
    (frames, bytes, events.iter().find_map(|event| event.as_ref().err().copied()))
}

fn events(framing: Framing, chunks: &[&[u8]]) -> Vec<Result<Event, Unframed>> {
    let mut splitter = framing.splitter(LIMIT);
    let mut events = Vec::new();
    for chunk in chunks {
        splitter.push(Bytes::copy_from_slice(chunk));
        while let Some(event) = splitter.next() {
            let failed = event.is_err();
            events.push(event);
            if failed {
                return events;
            }
        }
    }
    events.extend(splitter.finish());
    events
}
