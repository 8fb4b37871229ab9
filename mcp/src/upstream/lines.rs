//! Lines with an upper bound: a server that never ends its line costs a fixed amount of memory.

use std::io;

use memchr::memmem;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// Bytes kept of either end of a line that is too long, to find out which request it answers.
const ENDS: usize = 512;

/// Reads lines. Cancel safe: what was read of a line stays here.
#[derive(Debug)]
pub(super) struct BoundedLines<R> {
    reader: R,
    limit: usize,
    line: Vec<u8>,
    /// Bytes of the current line; more than `line` holds once it is over the limit.
    seen: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Whole(Vec<u8>),
    /// Dropped. `id` is that of the JSON-RPC message it was, where it can be told.
    Oversized {
        id: Option<i64>,
        bytes: usize,
    },
}

// === impl BoundedLines ===

impl<R: AsyncBufRead + Unpin> BoundedLines<R> {
    pub(super) fn new(reader: R, limit: usize) -> Self {
        Self { reader, limit, line: Vec::new(), seen: 0 }
    }

    /// The next line that is not empty, or `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let available = self.reader.fill_buf().await?;
            let at_end = available.is_empty();
            let newline = memchr::memchr(b'\n', available);
            let take = newline.map_or(available.len(), |at| at + 1);
            let chunk = available.get(..take).unwrap_or_default();
            append(&mut self.line, chunk, self.seen, self.limit);
            self.seen += take;
            self.reader.consume(take);
            if newline.is_some() || at_end {
                match self.finish() {
                    Some(line) => return Ok(Some(line)),
                    None if at_end => return Ok(None),
                    None => {}
                }
            }
        }
    }

    fn finish(&mut self) -> Option<Line> {
        let bytes = std::mem::take(&mut self.seen);
        let line = std::mem::take(&mut self.line);
        if bytes > self.limit {
            return Some(Line::Oversized { id: find_id(&line), bytes });
        }
        (!line.trim_ascii().is_empty()).then_some(Line::Whole(line))
    }
}

/// Adds to the line; past the limit only its two ends are kept.
fn append(line: &mut Vec<u8>, chunk: &[u8], seen: usize, limit: usize) {
    if seen + chunk.len() <= limit {
        line.extend_from_slice(chunk);
        return;
    }
    line.extend_from_slice(chunk);
    if line.len() > 2 * ENDS {
        line.drain(ENDS..line.len() - ENDS);
        line.shrink_to(2 * ENDS);
    }
}

/// The id of a JSON-RPC response, from the start or the end of its text: before the result or after it.
pub(super) fn find_id(line: &[u8]) -> Option<i64> {
    let start = line.get(..ENDS.min(line.len()))?;
    let before_result =
        memmem::find(start, b"\"result\"").or_else(|| memmem::find(start, b"\"error\"")).unwrap_or(start.len());
    let end = line.get(line.len().saturating_sub(ENDS)..)?;
    id_in(start.get(..before_result)?).or_else(|| {
        let at = memmem::rfind(end, b"\"id\"")?;
        let tail = end.get(at..)?.trim_ascii_end().strip_suffix(b"}")?;
        // More closing brackets mean that this id is inside of the result.
        (!tail.iter().any(|byte| matches!(byte, b'}' | b']'))).then(|| id_in(tail)).flatten()
    })
}

fn id_in(text: &[u8]) -> Option<i64> {
    let at = memmem::find(text, b"\"id\"")? + 4;
    let value = text.get(at..)?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(value.get(..digits)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(text: &[u8], limit: usize) -> Vec<Line> {
        let mut lines = BoundedLines::new(tokio::io::BufReader::with_capacity(7, text), limit);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            all.push(line);
        }
        all
    }

    #[tokio::test]
    async fn lines_are_split_and_empty_ones_skipped() {
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        assert_eq!(lines(b"one\n\r\n\ntwo\nthree", 100).await, [whole("one\n"), whole("two\n"), whole("three")]);
    }

    #[tokio::test]
    async fn a_line_over_the_limit_is_dropped_and_the_next_one_read() {
        let long = format!("{{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":\"{}\"}}\nnext\n", "x".repeat(5000));
        let read = lines(long.as_bytes(), 1000).await;
        assert_eq!(read[0], Line::Oversized { id: Some(7), bytes: 5000 + 37 });
        assert_eq!(read[1], Line::Whole(b"next\n".to_vec()));
    }

    #[test]
    fn the_id_is_found_before_or_after_the_result() {
        let cases = [
            (r#"{"jsonrpc":"2.0","id":12,"result":{"id":3}}"#, Some(12)),
            (r#"{"result":{"id":3,"content":[]},"jsonrpc":"2.0","id" : 12}"#, Some(12)),
            (r#"{"result":{"id":3}}"#, None),
            (r#"{"result":{"a":{"id":3}},"jsonrpc":"2.0"}"#, None),
            ("no json", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(find_id(text.as_bytes()), expected, "{text}");
        }
    }
}
