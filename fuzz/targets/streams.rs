//! Streams of every dialect: their readers obey the grammar of events (debug assertions check it in every reader), and what was
//! read can be written in every dialect.

#![no_main]

use bifrost_fuzz::DIALECTS;
use bifrost_providers::dialect::{Frame, WriterOptions};
use bifrost_providers::event::Fold;
use bifrost_providers::tap::Tap;
use bifrost_providers::{ChatEvent, Dialect, Losses};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

// The first byte says whose stream it is. One line is one frame: `name` and data, with a tab between them, or data alone.
fuzz_target!(|data: &[u8]| {
    let Some((first, lines)) = data.split_first() else { return };
    let from = DIALECTS[usize::from(*first) % DIALECTS.len()];
    let frames: Vec<Frame> = lines.split(|byte| *byte == b'\n').map(frame).collect();
    if let Some(events) = read(from, &frames) {
        DIALECTS.iter().for_each(|to| write(*to, &events));
    }
});

fn frame(line: &[u8]) -> Frame {
    match line.iter().position(|byte| *byte == b'\t') {
        Some(at) => Frame { event: Some(Bytes::copy_from_slice(&line[..at])), data: Bytes::copy_from_slice(&line[at + 1..]) },
        None => Frame { event: None, data: Bytes::copy_from_slice(line) },
    }
}

/// The events of a stream that is sound to its end.
fn read(from: Dialect, frames: &[Frame]) -> Option<Vec<ChatEvent>> {
    let mut tap = Tap::new(from);
    let mut reader = from.codec().reader();
    let mut events = Vec::new();
    for frame in frames {
        let event = bifrost_providers::framing::Event { raw: frame.data.clone(), frame: frame.clone() };
        tap.event(&event);
    }
    for frame in frames {
        reader.read(frame, &mut events).ok()?;
    }
    reader.finish(&mut events).ok()?;
    Some(events)
}

fn write(to: Dialect, events: &[ChatEvent]) {
    let mut writer = to.codec().writer(WriterOptions { include_usage: true, framing: to.framing() });
    let mut fold = Fold::new();
    let mut out = Vec::new();
    for event in events {
        writer.write(event, None, &mut out);
        fold.push(event);
    }
    let whole = to.codec().encode_reply(&fold.finish(), None, &mut Losses::default());
    assert!(to.codec().decode_reply(&whole).is_ok(), "{}", String::from_utf8_lossy(&whole));
}
