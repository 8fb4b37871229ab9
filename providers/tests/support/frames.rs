//! A small, slow, obviously right splitter of server-sent events: the oracle that readers are tested with.

use bifrost_providers::dialect::Frame;

/// Splits a stream that comes in pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    pending: Vec<u8>,
}

impl Splitter {
    /// Takes the next bytes and gives the frames they complete. Frames of comments only are left out.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for byte in bytes {
            self.pending.push(*byte);
            if self.pending.ends_with(b"\n\n") || self.pending.ends_with(b"\n\r\n") {
                frames.extend(frame(&std::mem::take(&mut self.pending)));
            }
        }
        frames
    }

    /// The stream ended: an event without its blank line still counts.
    pub(crate) fn finish(&mut self) -> Option<Frame> {
        frame(&std::mem::take(&mut self.pending))
    }
}

/// The frames of a whole body.
pub(crate) fn frames(body: &[u8]) -> Vec<Frame> {
    let mut splitter = Splitter::default();
    let mut frames = splitter.push(body);
    frames.extend(splitter.finish());
    frames
}

fn frame(event: &[u8]) -> Option<Frame> {
    let text = std::str::from_utf8(event).expect("a recorded stream is UTF-8");
    let field = |line: &str, name: &str| {
        let value = line.strip_prefix(name)?.strip_prefix(':')?;
        Some(value.strip_prefix(' ').unwrap_or(value).to_owned())
    };
    let data: Vec<String> = text.lines().filter_map(|line| field(line, "data")).collect();
    let name = text.lines().find_map(|line| field(line, "event"));
    (!data.is_empty()).then(|| Frame { event: name.map(Into::into), data: data.join("\n").into() })
}

#[test]
fn frames_are_the_same_however_they_are_cut() {
    let body = b": ping\n\nevent: a\ndata: {\"x\":1}\n\ndata: [DONE]";
    let whole = frames(body);
    assert_eq!(whole.len(), 2);
    for at in 0..body.len() {
        let mut splitter = Splitter::default();
        let mut cut = splitter.push(&body[..at]);
        cut.extend(splitter.push(&body[at..]));
        cut.extend(splitter.finish());
        assert_eq!(cut, whole, "cut at {at}");
    }
}
