//! Reads from a relayed reply what the gateway needs to know, and never touches it.
//!
//! A [`Tap`] looks at each event of a stream: is it content yet, is it the usage chunk, is it an error inside a 200, is it the
//! last one? [`whole`] does the same for a reply in one piece. Once content was seen, a plain delta is told by its bytes alone;
//! JSON is parsed only where those say that there is something to find. What it means in which dialect is one file each.

use crate::chat::Raw;
use crate::dialect::{Dialect, Frame};
use crate::failure::{Failure, FailureKind};
use crate::framing::Event;
use crate::json::{Fault, Reader, utf8};
use crate::reply::Usage;
use crate::text::Text;
use bytes::Bytes;
use http::StatusCode;

mod anthropic_messages;
mod bedrock_converse;
mod cohere_chat;
mod gemini;
mod kept;
mod openai_chat;
mod openai_responses;
mod predictions;
mod spent;

pub use kept::kept;
pub use spent::spent;

/// Follows one relayed stream.
#[derive(Debug)]
pub struct Tap {
    dialect: Dialect,
    facts: Facts,
    content: bool,
    done: bool,
}

/// What an event of a stream is to the gateway.
#[derive(Debug)]
pub enum Seen {
    /// Nothing yet that could not be taken back: a role, a ping, a comment, an empty block, a chunk without choices.
    Preamble,
    /// Part of the answer: text, reasoning, a refusal, a tool call, or something that only the client understands.
    Content,
    /// Says why a choice stopped. May carry the last content and the usage too.
    Finish,
    /// Only usage, no choices: the chunk that `stream_options.include_usage` adds, to be hidden from who did not ask for it.
    Usage,
    /// The provider failed inside its 200. Also a stream that begins with something that is not its dialect.
    Error(Box<Failure>),
    /// The dialect's own end (`[DONE]`, `message_stop`, `response.completed`, which says finish and usage too). Nothing of interest follows.
    Terminal,
}

/// What a reply in one piece says.
#[derive(Debug, Default)]
pub struct Whole {
    pub usage: Option<Usage>,
    /// The provider's word for why the first choice stopped.
    pub finish: Option<Text>,
    pub model: Option<Text>,
    /// The reply's id, where its provider keeps it to be asked for by it.
    pub kept: Option<Text>,
    /// An error where a reply was promised: an error object, or a body that is none of the dialect.
    pub error: Option<Box<Failure>>,
}

/// What a stream has said so far.
#[derive(Debug, Default)]
struct Facts {
    usage: Option<Usage>,
    /// The provider's usage object, where it comes in parts (Anthropic's), merged.
    report: Option<Raw>,
    /// Are these counts the last ones?
    is_usage_final: bool,
    finish: Option<Text>,
    model: Option<Text>,
    kept: Option<Text>,
    /// The data of the latest event that is no error, where the dialect numbers its events.
    latest: Bytes,
}

// === impl Tap ===

impl Tap {
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, facts: Facts::default(), content: false, done: false }
    }

    /// Looks at the next event. Behind the terminal event everything is terminal.
    pub fn event(&mut self, event: &Event) -> Seen {
        if event.is_comment() {
            return Seen::Preamble;
        }
        // OpenAI's last word; gateways put it behind other dialects too.
        if self.done || event.frame.data.trim_ascii() == b"[DONE]" {
            self.done = true;
            return Seen::Terminal;
        }
        let seen = match self.dialect {
            Dialect::OpenAiChat => openai_chat::event(&event.frame, self.content, &mut self.facts),
            Dialect::OpenAiResponses => openai_responses::event(&event.frame, self.content, &mut self.facts),
            Dialect::AnthropicMessages => anthropic_messages::event(&event.frame, self.content, &mut self.facts),
            Dialect::Gemini => gemini::event(&event.frame, self.content, &mut self.facts),
            Dialect::CohereChat => cohere_chat::event(&event.frame, self.content, &mut self.facts),
            Dialect::BedrockConverse => bedrock_converse::event(&event.frame, self.content, &mut self.facts),
            Dialect::Predictions => predictions::event(&event.frame, self.content, &mut self.facts),
        };
        match seen {
            Seen::Content | Seen::Finish => self.content = true,
            Seen::Terminal => self.done = true,
            Seen::Preamble | Seen::Usage | Seen::Error(_) => {}
        }
        seen
    }

    /// Tokens, normalised as [`Usage`] says: the latest count of each kind. `None` where the provider reported nothing.
    pub fn usage(&self) -> Option<Usage> {
        self.facts.usage.clone()
    }

    /// The provider's word for why the latest choice stopped (`stop`, `end_turn`).
    pub fn finish(&self) -> Option<&Text> {
        self.facts.finish.as_ref()
    }

    /// The model that answers, by the provider's name for it.
    pub fn model(&self) -> Option<&Text> {
        self.facts.model.as_ref()
    }

    /// The reply's id, where its provider keeps it to be asked for by it. Said by the first event.
    pub fn kept(&self) -> Option<&Text> {
        self.facts.kept.as_ref()
    }

    /// The data of the latest event, where a client of the dialect counts them: what is put behind it needs the next number.
    /// Empty for the other dialects, and before the first event.
    pub fn latest(&self) -> &[u8] {
        &self.facts.latest
    }

    /// Was there content: is it too late to try elsewhere?
    pub fn has_content(&self) -> bool {
        self.content
    }

    /// Was the dialect's own end seen?
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Has everything come that a reply needs, its finish and its usage? Some providers leave the terminal event out, and a
    /// stream that is complete need not be waited for. With several choices the others may still be on their way.
    pub fn is_complete(&self) -> bool {
        self.done || (self.finish().is_some() && self.facts.is_usage_final)
    }
}

/// Reads a reply in one piece, as far as its top level.
pub fn whole(dialect: Dialect, body: &[u8]) -> Whole {
    let read = utf8(body).and_then(|text| match dialect {
        Dialect::OpenAiChat => openai_chat::whole(text),
        Dialect::OpenAiResponses => openai_responses::whole(text),
        Dialect::AnthropicMessages => anthropic_messages::whole(text),
        Dialect::Gemini => gemini::whole(text),
        Dialect::CohereChat => cohere_chat::whole(text),
        Dialect::BedrockConverse => bedrock_converse::whole(text),
        Dialect::Predictions => predictions::whole(text),
    });
    read.unwrap_or_else(|| Whole { error: Some(unreadable(dialect, body)), ..Whole::default() })
}

// === Shared by the dialects ===

/// A string with something in it.
fn text(json: Option<&str>) -> Option<Text> {
    json.and_then(Text::from_json).filter(|text| !text.is_empty())
}

/// Takes the next value. Does it hold anything, apart from the fields named in `heads`? Null, empty strings, lists and objects
/// are nothing; but what is no object at all is something that we do not understand, and so the client's.
fn has_substance(reader: &mut Reader<'_>, heads: &[&str]) -> Result<bool, Fault> {
    if reader.is_null() {
        return reader.raw().map(|_| false);
    }
    let mut found = false;
    let is_object = reader.object(|reader, key| {
        found |= !matches!(reader.raw()?, "null" | "\"\"" | "[]" | "{}") && !heads.contains(&key);
        Ok(())
    })?;
    Ok(found || !is_object)
}

/// What an error object in a 200 means. Its status is the one it stands for, or none where it does not say.
fn failure(dialect: Dialect, body: &[u8]) -> Box<Failure> {
    let failure = dialect.codec().decode_error(StatusCode::OK, body);
    let status = failure.status.filter(|status| !status.is_success());
    Box::new(Failure { status, body: Bytes::copy_from_slice(body), ..failure })
}

/// Not the dialect. Before any content that is a failed attempt; behind content it is passed on, the client may know better.
fn strange(dialect: Dialect, frame: &Frame, content: bool) -> Seen {
    if content { Seen::Content } else { Seen::Error(unreadable(dialect, &frame.data)) }
}

fn unreadable(dialect: Dialect, body: &[u8]) -> Box<Failure> {
    const QUOTED_CHARS: usize = 120;
    let text = String::from_utf8_lossy(body.get(..4 * QUOTED_CHARS).unwrap_or(body));
    let start: String = text.trim().chars().take(QUOTED_CHARS).collect();
    let message = format!("not a reply of {}: {start:?}", dialect.name());
    Box::new(Failure::new(FailureKind::Unreadable, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::Splitter;

    /// A short word for each event, and the tap at the end.
    fn tapped(dialect: Dialect, stream: &str) -> (Vec<&'static str>, Tap) {
        let mut splitter = Splitter::new(1 << 20);
        splitter.push(Bytes::copy_from_slice(stream.as_bytes()));
        let mut events: Vec<Event> = splitter.by_ref().map(Result::unwrap).collect();
        events.extend(splitter.finish());
        let mut tap = Tap::new(dialect);
        let word = |event: &Event| match tap.event(event) {
            Seen::Preamble => "preamble",
            Seen::Content => "content",
            Seen::Finish => "finish",
            Seen::Usage => "usage",
            Seen::Error(_) => "error",
            Seen::Terminal => "terminal",
        };
        (events.iter().map(word).collect(), tap)
    }

    fn chunks(chunks: &[&str]) -> (Vec<&'static str>, Tap) {
        tapped(Dialect::OpenAiChat, &format!("data: {}\n\n", chunks.join("\n\ndata: ")))
    }

    fn failed(dialect: Dialect, stream: &str) -> Failure {
        let mut splitter = Splitter::new(1 << 20);
        splitter.push(Bytes::copy_from_slice(stream.as_bytes()));
        match Tap::new(dialect).event(&splitter.next().unwrap().unwrap()) {
            Seen::Error(failure) => *failure,
            other => panic!("{stream}: {other:?}"),
        }
    }

    #[test]
    fn an_openai_stream_is_told_apart_event_by_event() {
        let (words, tap) = chunks(&[
            r#"{"model":"gpt-x","choices":[],"prompt_filter_results":[]}"#,
            r#"{"model":"gpt-x","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"finish_reason":null}],"usage":null}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"Hi \"usage\": {"},"finish_reason":null}],"usage":null}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"error"},"finish_reason": null}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4}}}"#,
            "[DONE]",
        ]);
        assert_eq!(words, ["preamble", "preamble", "content", "content", "finish", "usage", "terminal"]);
        assert!(tap.is_done() && tap.is_complete() && tap.has_content());
        assert_eq!((tap.finish().unwrap().as_escaped(), tap.model().unwrap().as_escaped()), ("stop", "gpt-x"));
        let usage = tap.usage().unwrap();
        assert_eq!((usage.input, usage.output, usage.total, usage.cache_read), (10, 5, Some(15), Some(4)));
    }

    #[test]
    fn every_kind_of_content_counts_as_content() {
        for delta in [
            r#"{"content":"a"}"#,
            r#"{"reasoning_content":"a"}"#,
            r#"{"role":"assistant","content":null,"reasoning":"a"}"#,
            r#"{"refusal":"no"}"#,
            r#"{"tool_calls":[{"index":0}]}"#,
            r#"{"images":[{}]}"#,
        ] {
            let (words, _) = chunks(&[&format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#)]);
            assert_eq!(words, ["content"], "{delta}");
        }
        for block in [
            r#"{"type":"tool_use","id":"t","name":"n","input":{}}"#,
            r#"{"type":"text","text":"a"}"#,
            r#"{"type":"redacted_thinking","data":"x"}"#,
        ] {
            let stream = format!(
                "event: content_block_start\ndata: {{\"type\":\"content_block_start\",\"content_block\":{block}}}\n\n"
            );
            assert_eq!(tapped(Dialect::AnthropicMessages, &stream).0, ["content"], "{block}");
        }
    }

    #[test]
    fn usage_beside_a_finish_or_beside_content_is_read_and_stays_visible() {
        let (words, tap) = chunks(&[
            r#"{"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"b"}}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"c"},"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":3}}"#,
        ]);
        assert_eq!(words, ["content", "content", "finish"]);
        assert_eq!(tap.usage().unwrap().output, 3);
        assert!(tap.is_complete() && !tap.is_done(), "no [DONE] came");
    }

    #[test]
    fn an_anthropic_stream_is_told_apart_and_its_counts_are_merged() {
        let (words, tap) = tapped(
            Dialect::AnthropicMessages,
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude\",\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":7,\"cache_read_input_tokens\":100,\"cache_creation_input_tokens\":30,\"cache_creation\":{\"ephemeral_5m_input_tokens\":10,\"ephemeral_1h_input_tokens\":20},\"output_tokens\":1}}}\n\n\
             event: ping\ndata: {\"type\":\"ping\"}\n\n\
             event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
             event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n\
             data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"!\"}}\n\n\
             event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n\
             event: tomorrow\ndata: {\"type\":\"tomorrow\"}\n\n\
             event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":42,\"cache_read_input_tokens\":null}}\n\n\
             event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        );
        let expected =
            ["preamble", "preamble", "preamble", "content", "content", "preamble", "content", "finish", "terminal"];
        assert_eq!(words, expected);
        let usage = tap.usage().unwrap();
        assert_eq!((usage.input, usage.output, usage.cache_read, usage.cache_write), (137, 42, Some(100), Some(30)));
        assert_eq!((usage.cache_write_5m, usage.cache_write_1h), (Some(10), Some(20)));
        assert_eq!((tap.finish().unwrap().as_escaped(), tap.model().unwrap().as_escaped()), ("end_turn", "claude"));
    }

    #[test]
    fn a_stream_of_responses_is_told_apart_event_by_event() {
        let (words, tap) = tapped(
            Dialect::OpenAiResponses,
            "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"model\":\"gpt-x\",\"status\":\"in_progress\",\"error\":null,\"usage\":null}}\n\n\
             data: {\"type\":\"response.in_progress\",\"response\":{}}\n\n\
             data: {\"type\":\"response.output_item.added\",\"item\":{\"type\":\"reasoning\",\"summary\":[]}}\n\n\
             event: response.content_part.added\ndata: {\"part\":{\"type\":\"output_text\",\"text\":\"\"}}\n\n\
             event: response.output_text.delta\ndata: {\"delta\":\"\"}\n\n\
             event: response.output_text.delta\ndata: {\"delta\":\"Hi \\\"error\\\"\"}\n\n\
             data: {\"type\":\"response.output_text.delta\",\"delta\":\"!\"}\n\n\
             data: {\"type\":\"response.output_item.done\",\"item\":{\"type\":\"message\"}}\n\n\
             data: {\"type\":\"tomorrow\"}\n\n\
             data: {\"type\":\"response.incomplete\",\"response\":{\"status\":\"incomplete\",\"incomplete_details\":{\"reason\":\"max_output_tokens\"},\"usage\":{\"input_tokens\":7,\"input_tokens_details\":{\"cached_tokens\":3},\"output_tokens\":4,\"output_tokens_details\":{\"reasoning_tokens\":2},\"total_tokens\":11}}}\n\n",
        );
        let expected = [
            "preamble", "preamble", "preamble", "preamble", "preamble", "content", "content", "content", "content",
            "terminal",
        ];
        assert_eq!(words, expected);
        let usage = tap.usage().unwrap();
        assert_eq!((usage.input, usage.output, usage.cache_read, usage.reasoning), (7, 4, Some(3), Some(2)));
        assert_eq!(
            (tap.finish().unwrap().as_escaped(), tap.model().unwrap().as_escaped()),
            ("max_output_tokens", "gpt-x")
        );
        let call =
            "data: {\"type\":\"response.output_item.added\",\"item\":{\"type\":\"function_call\",\"name\":\"f\"}}\n\n";
        assert_eq!(tapped(Dialect::OpenAiResponses, call).0, ["content"]);
    }

    #[test]
    fn a_gemini_stream_is_told_apart_and_ends_with_its_body() {
        let (words, tap) = tapped(
            Dialect::Gemini,
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\"}],\"role\":\"model\"},\"index\":0}],\"modelVersion\":\"g\"}\r\n\r\n\
             data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hm\",\"thought\":true}]},\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":7}}\r\n\r\n\
             data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\",\"thoughtSignature\":\"c\"}]},\"finishReason\":\"MAX_TOKENS\"}],\"usageMetadata\":{\"promptTokenCount\":7,\"candidatesTokenCount\":2,\"thoughtsTokenCount\":3,\"totalTokenCount\":12}}\r\n\r\n",
        );
        assert_eq!(words, ["preamble", "content", "finish"]);
        let usage = tap.usage().unwrap();
        assert_eq!((usage.input, usage.output, usage.reasoning), (7, 5, Some(3)));
        assert_eq!((tap.finish().unwrap().as_escaped(), tap.model().unwrap().as_escaped()), ("MAX_TOKENS", "g"));
        assert!(!tap.is_complete() && tap.has_content());
        // A blocked prompt is an answer, to a client that knows how to read it.
        let (words, tap) = tapped(Dialect::Gemini, "data: {\"promptFeedback\":{\"blockReason\":\"SAFETY\"}}\n\n");
        assert_eq!((words.as_slice(), tap.finish().unwrap().as_escaped()), (&["finish"][..], "SAFETY"));
        let error = br#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}"#;
        assert_eq!(whole(Dialect::Gemini, error).error.unwrap().kind, FailureKind::RateLimited);
    }

    #[test]
    fn a_cohere_stream_is_told_apart_event_by_event() {
        let event = |name: &str, rest: &str| format!("event: {name}\ndata: {{{rest}\"type\":\"{name}\"}}\n\n");
        let end = |finish: &str| {
            let usage = r#"{"billed_units":{"input_tokens":3,"output_tokens":2},"tokens":{"input_tokens":500}}"#;
            event("message-end", &format!(r#""delta":{{"finish_reason":"{finish}","usage":{usage},"error":"m"}},"#))
        };
        let start = event("message-start", r#""id":"r","delta":{"message":{"content":[]}},"#);
        let stream = [
            start.clone(),
            event("content-start", r#""index":0,"delta":{"message":{"content":{"type":"text","text":""}}},"#),
            event("content-delta", r#""index":0,"delta":{"message":{"content":{"text":"a"}}},"#),
            event("content-end", r#""index":0,"#),
            end("COMPLETE"),
            "data: [DONE]\n\n".to_owned(),
        ];
        let (words, tap) = tapped(Dialect::CohereChat, &stream.concat());
        assert_eq!(words, ["preamble", "preamble", "content", "preamble", "finish", "terminal"]);
        let usage = tap.usage().unwrap();
        assert_eq!((usage.input, usage.output, tap.finish().unwrap().as_escaped()), (3, 2, "COMPLETE"));
        assert!(tap.is_complete() && tap.model().is_none());
        for name in ["tool-plan-delta", "tool-call-start", "citation-start", "tomorrow"] {
            assert_eq!(tapped(Dialect::CohereChat, &event(name, "")).0, ["content"], "{name}");
        }
        // Before its first word and behind it.
        let (words, _) = tapped(Dialect::CohereChat, &(start + &end("ERROR")));
        assert_eq!(words, ["preamble", "error"]);
        let (words, _) = tapped(Dialect::CohereChat, &(event("tool-plan-delta", "") + &end("TIMEOUT")));
        assert_eq!(words, ["content", "error"]);
        let failed = failed(Dialect::CohereChat, &end("ERROR"));
        assert_eq!((failed.kind, failed.message.as_str()), (FailureKind::Unavailable, "m"));
        assert_eq!(tapped(Dialect::CohereChat, "data: {\"message\":\"m\"}\n\n").0, ["error"]);
        let said = br#"{"message":{"content":[{"type":"text","text":"a"}]},"finish_reason":"ERROR"}"#;
        assert!(whole(Dialect::CohereChat, said).error.is_none());
        let silent = br#"{"message":{"content":[],"tool_plan":""},"finish_reason":"ERROR"}"#;
        assert_eq!(whole(Dialect::CohereChat, silent).error.unwrap().kind, FailureKind::Unavailable);
        assert_eq!(whole(Dialect::CohereChat, br#"{"message":"m"}"#).error.unwrap().message, "m");
    }

    #[test]
    fn errors_inside_a_200_are_failures_wherever_they_stand() {
        use FailureKind::{Credential, RateLimited, Rejected, Unavailable, Unreadable};
        for (dialect, stream, kind, message) in [
            (
                Dialect::AnthropicMessages,
                "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}\n\n",
                Unavailable,
                "m",
            ),
            (
                Dialect::AnthropicMessages,
                "data: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"m\"}}\n\n",
                RateLimited,
                "m",
            ),
            (
                Dialect::OpenAiChat,
                "data: {\"error\":{\"message\":\"m\",\"type\":\"server_error\",\"code\":null}}\n\n",
                Unavailable,
                "m",
            ),
            (
                Dialect::OpenAiChat,
                "data: {\"error\":{\"message\":\"m\",\"code\":429},\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}]}\n\n",
                RateLimited,
                "m",
            ),
            (Dialect::OpenAiChat, "data: {\"error\":\"invalid model\"}\n\n", Unavailable, "invalid model"),
            (
                Dialect::OpenAiChat,
                "data: {\"object\":\"error\",\"message\":\"m\",\"type\":\"invalid_model\",\"code\":\"1500\"}\n\n",
                Rejected,
                "m",
            ),
            (
                Dialect::OpenAiResponses,
                "data: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"m\"}}}\n\n",
                Unavailable,
                "m",
            ),
            (
                Dialect::OpenAiResponses,
                "event: error\ndata: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"m\"}\n\n",
                RateLimited,
                "m",
            ),
            (Dialect::OpenAiChat, "data: {\"code\":401,\"message\":\"m\",\"type\":\"Bad\"}\n\n", Credential, "m"),
            (
                Dialect::OpenAiChat,
                "data: <html>log in</html>\n\n",
                Unreadable,
                "not a reply of openai_chat: \"<html>log in</html>\"",
            ),
            (
                Dialect::AnthropicMessages,
                "<html>log in</html>\ndata: x\n\n",
                Unreadable,
                "not a reply of anthropic_messages: \"x\"",
            ),
        ] {
            let failure = failed(dialect, stream);
            assert_eq!((failure.kind, failure.message.as_str()), (kind, message), "{stream}");
            assert!(failure.status.is_some() || kind == Unreadable);
        }
    }

    #[test]
    fn an_error_behind_content_is_still_seen_and_garbage_is_passed_on() {
        let content = r#"{"choices":[{"delta":{"content":"a"}}]}"#;
        let (words, _) = chunks(&[
            content,
            "{\"choices\":[{\"delta\"",
            r#"{"error":{"message":"m"}}"#,
            r#"{"code":400,"message":"m"}"#,
            content,
        ]);
        assert_eq!(words, ["content", "content", "error", "error", "content"]);
    }

    #[test]
    fn odd_counts_never_fail_and_are_never_negative() {
        let usage = |json: &str| {
            let body = format!(r#"{{"choices":[],"usage":{json}}}"#);
            whole(Dialect::OpenAiChat, body.as_bytes()).usage
        };
        let odd = usage(r#"{"prompt_tokens":-5,"completion_tokens":12.9,"total_tokens":"x"}"#).unwrap();
        assert_eq!((odd.input, odd.output, odd.total, odd.total()), (0, 12, None, 12));
        let huge = usage(
            r#"{"prompt_tokens":9223372036854775808,"completion_tokens":1e300,"total_tokens":99999999999999999999999}"#,
        )
        .unwrap();
        assert_eq!((huge.input, huge.output, huge.total), (1 << 63, u64::MAX, Some(u64::MAX)));
        let reasoning = usage(r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":35,"completion_tokens_details":{"reasoning_tokens":20}}"#).unwrap();
        assert_eq!((reasoning.output, reasoning.reasoning), (25, Some(20)));
        assert_eq!(usage(r#"{"prompt_tokens":9,"prompt_cache_hit_tokens":8}"#).unwrap().cache_read, Some(8));
        for nothing in ["null", "7", "[]", "\"x\""] {
            assert!(usage(nothing).is_none(), "{nothing}");
        }
        let body = br#"{"type":"message","content":[],"usage":{"input_tokens":18446744073709551615,"cache_read_input_tokens":9}}"#;
        assert_eq!(whole(Dialect::AnthropicMessages, body).usage.unwrap().input, u64::MAX);
    }

    #[test]
    fn a_whole_reply_is_read_and_a_captive_page_is_no_reply() {
        let read = whole(
            Dialect::OpenAiChat,
            br#"{"model":"m","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}"#,
        );
        assert_eq!((read.finish.unwrap().as_escaped(), read.usage.unwrap().input), ("stop", 1));
        assert!(read.error.is_none());
        for body in ["<html></html>", "", "[]", "{\"choices\":[", "null", "{\"choices\":7,\"content\":7}", "{}"] {
            for dialect in [Dialect::OpenAiChat, Dialect::AnthropicMessages] {
                let error = whole(dialect, body.as_bytes()).error.unwrap();
                assert_eq!(error.kind, FailureKind::Unreadable, "{body}");
            }
        }
        let error =
            whole(Dialect::AnthropicMessages, br#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#)
                .error
                .unwrap();
        assert_eq!((error.kind, error.status.unwrap().as_u16()), (FailureKind::Unavailable, 529));
        let failed = br#"{"status":"failed","error":{"code":"server_error","message":"m"},"output":[]}"#;
        assert_eq!(whole(Dialect::OpenAiResponses, failed).error.unwrap().kind, FailureKind::Unavailable);
        for body in ["{\"choices\":[]}", "{\"output\":7}", "[]"] {
            let error = whole(Dialect::OpenAiResponses, body.as_bytes()).error.unwrap();
            assert_eq!(error.kind, FailureKind::Unreadable, "{body}");
        }
        assert!(whole(Dialect::OpenAiChat, br#"{"error":{"message":"m"}}"#).error.is_some());
        assert!(whole(Dialect::OpenAiChat, br#"{"detail":"Invalid API Key"}"#).error.is_some());
    }

    proptest::proptest! {
        #[test]
        fn damaged_events_never_panic(at in proptest::prelude::any::<proptest::sample::Index>(), byte: u8, which in 0..7_usize) {
            let events: [&[u8]; 7] = [
                br#"data: {"type":"message-end","delta":{"finish_reason":"ERROR","error":"m","usage":{"billed_units":{"input_tokens":1}}}}"#,
                br#"data: {"type":"response.completed","response":{"status":"completed","model":"m","error":null,"usage":{"input_tokens":1}}}"#,
                br#"data: {"model":"m","choices":[{"delta":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}"#,
                br#"data: {"error":{"message":"m","type":"t","code":429,"param":null},"choices":[]}"#,
                br#"data: {"type":"message_start","message":{"model":"m","usage":{"input_tokens":1,"cache_creation":{}}}}"#,
                br#"data: {"type":"content_block_start","content_block":{"type":"text","text":""},"usage":{"output_tokens":1}}"#,
                br#"data: {"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1}}"#,
            ];
            let mut event = events[which].to_vec();
            let at = at.index(event.len());
            event[at] = byte;
            for dialect in [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::AnthropicMessages, Dialect::Gemini, Dialect::CohereChat] {
                let mut splitter = Splitter::new(1 << 20);
                splitter.push(Bytes::from(event.clone()));
                let mut tap = Tap::new(dialect);
                for event in splitter.next().into_iter().filter_map(Result::ok).chain(splitter.finish()) {
                    tap.event(&event);
                    tap.usage();
                    whole(dialect, &event.frame.data);
                }
            }
        }
    }
}
