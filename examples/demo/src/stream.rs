//! Reads the gateway's streamed answer: server-sent events whose data are OpenAI chat chunks.

use serde_json::Value;

/// What a chunk of the answer says, as far as the demo shows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    Thinking(String),
    Text(String),
    Finish(String),
    Tokens(Tokens),
    /// The gateway's own account of the tool loop (`extra_fields.mcp`).
    Account(Account),
    Error(String),
    Done,
}

/// Tokens of the whole answer, all turns together. `input` includes what came from a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) input: u64,
    pub(crate) cached: u64,
    pub(crate) output: u64,
}

/// How the tool loop went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) turns: u64,
    /// Tool calls that the gateway ran.
    pub(crate) calls: usize,
    /// Of these, how many failed.
    pub(crate) failed: usize,
    /// The limit that ended the loop, where one did.
    pub(crate) stopped: Option<String>,
}

/// Splits bytes into events; a line that is not whole yet waits for the rest.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pending: Vec<u8>,
}

impl Reader {
    /// Everything that these bytes complete, in order.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Vec<Said> {
        self.pending.extend_from_slice(bytes);
        let Some(end) = self.pending.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let whole: Vec<u8> = self.pending.drain(..=end).collect();
        // The gateway writes each event's data on one line, and comments on lines that begin with a colon.
        let text = String::from_utf8_lossy(&whole);
        text.lines().filter_map(|line| line.strip_prefix("data: ")).flat_map(said).collect()
    }
}

fn said(data: &str) -> Vec<Said> {
    if data == "[DONE]" {
        return vec![Said::Done];
    }
    let Ok(chunk) = serde_json::from_str::<Value>(data) else {
        return vec![Said::Error(format!("not a chunk: {data}"))];
    };
    let text = |pointer: &str| chunk.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let filled = |pointer: &str| text(pointer).filter(|text| !text.is_empty());
    let all = [
        text("/error/message").map(Said::Error),
        filled("/choices/0/delta/reasoning_content").map(Said::Thinking),
        filled("/choices/0/delta/content").map(Said::Text),
        text("/choices/0/finish_reason").map(Said::Finish),
        chunk.pointer("/usage/prompt_tokens").map(|_| Said::Tokens(tokens(&chunk))),
        chunk.pointer("/extra_fields/mcp").map(|mcp| Said::Account(account(mcp))),
    ];
    all.into_iter().flatten().collect()
}

fn tokens(chunk: &Value) -> Tokens {
    let count = |pointer: &str| chunk.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    Tokens {
        input: count("/usage/prompt_tokens"),
        cached: count("/usage/prompt_tokens_details/cached_tokens"),
        output: count("/usage/completion_tokens"),
    }
}

fn account(mcp: &Value) -> Account {
    let executed = mcp.get("executed").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let failed = |call: &&Value| call.get("is_error").and_then(Value::as_bool) == Some(true);
    Account {
        turns: mcp.get("turns").and_then(Value::as_u64).unwrap_or_default(),
        calls: executed.len(),
        failed: executed.iter().filter(failed).count(),
        stopped: mcp.get("stopped").and_then(Value::as_str).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = concat!(
        ": ping\n\n",
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"},\"finish_reason\":null}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"It is 5 °C.\"},\"finish_reason\":null}]}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3,\"prompt_tokens_details\":{\"cached_tokens\":4}},\
         \"extra_fields\":{\"mcp\":{\"turns\":2,\"executed\":[{\"is_error\":false},{\"is_error\":true}]}}}\n\n",
        "data: [DONE]\n\n",
    );

    #[test]
    fn a_stream_says_the_same_wherever_it_is_cut() {
        let expected = [
            Said::Thinking("hm".into()),
            Said::Text("It is 5 °C.".into()),
            Said::Finish("stop".into()),
            Said::Tokens(Tokens { input: 9, cached: 4, output: 3 }),
            Said::Account(Account { turns: 2, calls: 2, failed: 1, stopped: None }),
            Said::Done,
        ];
        assert_eq!(Reader::default().read(STREAM.as_bytes()), expected);
        for cut in 0..STREAM.len() {
            let (head, tail) = STREAM.as_bytes().split_at(cut);
            let mut reader = Reader::default();
            let mut said = reader.read(head);
            said.extend(reader.read(tail));
            assert_eq!(said, expected, "cut at {cut}");
        }
    }

    #[test]
    fn an_error_event_is_an_error() {
        let said = Reader::default().read(b"data: {\"error\":{\"message\":\"down\"}}\n\n");
        assert_eq!(said, [Said::Error("down".into())]);
    }
}
