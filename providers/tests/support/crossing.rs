//! A whole stream through a codec: its bytes to events, and events to bytes.

use bifrost_providers::dialect::WriterOptions;
use bifrost_providers::sse::{Event, Splitter};
use bifrost_providers::{ChatEvent, Codec};

/// The events of a stream that must be sound.
pub(crate) fn read(codec: &dyn Codec, body: &str, name: &str) -> Vec<ChatEvent> {
    let mut reader = codec.reader();
    let mut events = Vec::new();
    let mut splitter = Splitter::new(1 << 24);
    splitter.push(body.to_owned().into());
    let mut frames: Vec<Event> = splitter.by_ref().map(|event| event.unwrap()).collect();
    frames.extend(splitter.finish());
    for event in frames.iter().filter(|event| !event.is_comment()) {
        reader.read(&event.frame, &mut events).unwrap_or_else(|failure| panic!("{name}: {failure}"));
    }
    reader.finish(&mut events).unwrap_or_else(|failure| panic!("{name}: {failure}"));
    events
}

/// The stream of these events, with usage.
pub(crate) fn write(codec: &dyn Codec, events: &[ChatEvent]) -> String {
    let mut writer = codec.writer(WriterOptions { include_usage: true, ..WriterOptions::default() });
    let mut out = Vec::new();
    for event in events {
        writer.write(event, None, &mut out);
    }
    String::from_utf8(out).unwrap()
}
