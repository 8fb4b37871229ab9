//! Crosses every case of the fixtures from its dialect to every other, and says what became of each fact.

use std::sync::LazyLock;

use bifrost_providers::{Dialect, Loss, Losses};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::facts::{self, Fact, SPOKEN, STOP_WORD};

/// A dialect, its cases, the least that a request and a reply of it say, and a model of which all is known that can be.
pub(crate) struct Side {
    pub(crate) dialect: Dialect,
    cases: &'static str,
    request: fn() -> Value,
    reply: fn() -> Value,
    model: &'static str,
}

pub(crate) const SIDES: [Side; 6] = [
    Side {
        dialect: Dialect::OpenAiChat,
        cases: include_str!("../tables/crossings/openai_chat.jsonl"),
        request: || json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]}),
        reply: || {
            json!({"id": "r", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x"}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})
        },
        model: "gpt-5",
    },
    Side {
        dialect: Dialect::OpenAiResponses,
        cases: include_str!("../tables/crossings/openai_responses.jsonl"),
        request: || json!({"model": "m", "input": [{"role": "user", "content": "hello"}]}),
        reply: || {
            json!({"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed",
            "output": [{"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "text": "x", "annotations": []}]}],
            "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}})
        },
        model: "gpt-5",
    },
    Side {
        dialect: Dialect::AnthropicMessages,
        cases: include_str!("../tables/crossings/anthropic_messages.jsonl"),
        request: || json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}),
        reply: || {
            json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
            "content": [{"type": "text", "text": "x"}], "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 3, "output_tokens": 2}})
        },
        model: "claude-opus-4-6",
    },
    Side {
        dialect: Dialect::Gemini,
        cases: include_str!("../tables/crossings/gemini.jsonl"),
        request: || json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}),
        reply: || {
            json!({"responseId": "r", "modelVersion": "m", "candidates": [{"index": 0, "finishReason": "STOP",
                "content": {"role": "model", "parts": [{"text": "x"}]}}],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}})
        },
        model: "gemini-3-pro",
    },
    Side {
        dialect: Dialect::BedrockConverse,
        cases: include_str!("../tables/crossings/bedrock_converse.jsonl"),
        request: || json!({"messages": [{"role": "user", "content": [{"text": "hello"}]}]}),
        reply: || {
            json!({"output": {"message": {"role": "assistant", "content": [{"text": "x"}]}}, "stopReason": "end_turn",
            "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}, "metrics": {"latencyMs": 1}})
        },
        model: "anthropic.claude-opus-4-6-v1",
    },
    Side {
        dialect: Dialect::CohereChat,
        cases: include_str!("../tables/crossings/cohere_chat.jsonl"),
        request: || json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]}),
        reply: || {
            json!({"id": "r", "finish_reason": "COMPLETE",
            "message": {"role": "assistant", "content": [{"type": "text", "text": "x"}]},
            "usage": {"billed_units": {"input_tokens": 3, "output_tokens": 2},
                "tokens": {"input_tokens": 3, "output_tokens": 2}}})
        },
        model: "command-a-reasoning-08-2025",
    },
];

/// What the gateway calls the tool that stands for a structured answer.
const ANSWER_TOOL: &str = "bifrost_structured_answer";

/// What a dialect's replies say for their own clients only: nobody else misses it, and the reason stands on the page.
pub(crate) const LEFT_OUT: [(Dialect, &str, &str); 1] = [(
    Dialect::CohereChat,
    "tokens read from a cache",
    "Cohere counts its own templates among `cached_tokens`, which may be more than all that it bills: no discount elsewhere",
)];

/// One line of a fixture: what stands in the request or the reply instead of the usual.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) feature: String,
    pub(crate) what: String,
    request: Option<Value>,
    reply: Option<Value>,
    /// Words that the other side's body must contain, for what the canonical model has no field for.
    #[serde(default)]
    marks: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From a client to a provider.
    Request,
    /// From a provider to a client.
    Reply,
}

/// What became of one fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Kept,
    /// Its words stand in the text, not in a place of their own.
    AsText,
    /// The model is made to call a tool whose arguments are the answer.
    ByTool,
    /// It is on the list of losses.
    Reported,
    /// It is left out on purpose and without a word: see [`LEFT_OUT`].
    LeftOut,
    /// The whole body is refused.
    Refused,
    /// None of these.
    Lost,
}

#[derive(Debug)]
pub(crate) struct Crossed {
    pub(crate) case: Case,
    pub(crate) direction: Direction,
    pub(crate) from: Dialect,
    pub(crate) to: Dialect,
    pub(crate) findings: Vec<(Fact, Verdict)>,
    /// What was reported of this case and is not reported of the usual body.
    pub(crate) losses: Vec<Loss>,
    /// The caller's body.
    pub(crate) body: Value,
    /// The other side's body.
    pub(crate) written: String,
}

impl Crossed {
    pub(crate) fn title(&self) -> String {
        let Case { feature, what, .. } = &self.case;
        format!("{:?} {} -> {}: {feature}, {what}", self.direction, self.from.name(), self.to.name())
    }
}

/// All of them, crossed once.
pub(crate) fn crossings() -> &'static [Crossed] {
    static CROSSINGS: LazyLock<Vec<Crossed>> = LazyLock::new(cross_all);
    &CROSSINGS
}

fn cross_all() -> Vec<Crossed> {
    let mut crossings = Vec::new();
    for from in &SIDES {
        for line in from.cases.lines() {
            let case: Case = serde_json::from_str(line).unwrap_or_else(|fault| panic!("{fault}: {line}"));
            crossings.extend(SIDES.iter().map(|to| crossed(&case, from, to)));
        }
    }
    crossings
}

/// A body, read and written in the other dialect: what it said, what was written, what that says, and what was reported.
struct Told {
    said: Vec<Fact>,
    written: Value,
    arrived: Vec<Fact>,
    losses: Losses,
}

fn crossed(case: &Case, from: &Side, to: &Side) -> Crossed {
    let (direction, usual, patch) = match (&case.request, &case.reply) {
        (Some(patch), None) => (Direction::Request, (from.request)(), patch),
        (None, Some(patch)) => (Direction::Reply, (from.reply)(), patch),
        _ => panic!("a case is a request or a reply: {case:?}"),
    };
    let tell = if direction == Direction::Request { tell_request } else { tell_reply };
    let mut body = usual.clone();
    merge(&mut body, patch);
    let result = |findings, losses, written: String| {
        let (case, from, to, body) = (case.clone(), from.dialect, to.dialect, body.clone());
        Crossed { case, direction, from, to, findings, losses, body, written }
    };
    let Some(told) = tell(&body, from, to) else {
        return result(vec![(Fact::new("body", ""), Verdict::Refused)], Vec::new(), String::new());
    };
    let always = tell(&usual, from, to).map(|told| told.losses).unwrap_or_default();
    let is_new = |loss: &&Loss| !always.iter().any(|other| other == *loss);
    let losses: Vec<Loss> = told.losses.iter().filter(is_new).cloned().collect();
    let written = told.written.to_string();
    let mut findings: Vec<(Fact, Verdict)> = Vec::new();
    for fact in &told.said {
        let verdict = match verdict(fact, &told.arrived, &written) {
            Verdict::Lost if !losses.is_empty() => Verdict::Reported,
            Verdict::Lost if LEFT_OUT.iter().any(|(whose, kind, _)| (*whose, *kind) == (from.dialect, fact.kind)) => {
                Verdict::LeftOut
            }
            verdict => verdict,
        };
        findings.push((fact.clone(), verdict));
    }
    for mark in &case.marks {
        let verdict = match written.contains(mark.as_str()) {
            true => Verdict::Kept,
            false if losses.is_empty() => Verdict::Lost,
            false => Verdict::Reported,
        };
        findings.push((Fact::new("mark", mark), verdict));
    }
    result(findings, losses, written)
}

fn verdict(fact: &Fact, arrived: &[Fact], written: &str) -> Verdict {
    let as_text = |other: &Fact| SPOKEN.contains(&other.kind) && other.words.contains(fact.words.as_str());
    let by_tool = Fact::new("tool choice", ANSWER_TOOL);
    match fact.kind {
        _ if arrived.contains(fact) => Verdict::Kept,
        STOP_WORD if written.contains(&fact.words) => Verdict::Kept,
        "any JSON" | "answer's schema" if arrived.contains(&by_tool) => Verdict::ByTool,
        _ if !fact.words.is_empty() && arrived.iter().any(as_text) => Verdict::AsText,
        _ => Verdict::Lost,
    }
}

fn tell_request(body: &Value, from: &Side, to: &Side) -> Option<Told> {
    let mut request = from.dialect.codec().decode_request(body.to_string().as_bytes()).ok()?;
    request.model = to.model.into();
    let mut losses = Losses::default();
    let written = to.dialect.codec().encode_request(&request, &mut losses);
    let again = to.dialect.codec().decode_request(&written).unwrap();
    let written: Value = serde_json::from_slice(&written).unwrap();
    let said = facts::of_request(&request, body);
    let losses = losses.in_a_body_of(from.dialect);
    Some(Told { said, arrived: facts::of_request(&again, &written), written, losses })
}

fn tell_reply(body: &Value, from: &Side, to: &Side) -> Option<Told> {
    let reply = from.dialect.codec().decode_reply(body.to_string().as_bytes()).ok()?;
    let mut losses = Losses::default();
    let written = to.dialect.codec().encode_reply(&reply, None, &mut losses);
    let again = to.dialect.codec().decode_reply(&written).unwrap();
    let written: Value = serde_json::from_slice(&written).unwrap();
    let losses = losses.in_a_body_of(from.dialect);
    Some(Told { said: facts::of_reply(&reply, body), arrived: facts::of_reply(&again, &written), written, losses })
}

/// Lays the patch over the body: objects field by field, all else whole.
fn merge(body: &mut Value, patch: &Value) {
    match (body, patch) {
        (Value::Object(body), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(body.entry(key).or_insert(Value::Null), value);
            }
        }
        (body, patch) => *body = patch.clone(),
    }
}
