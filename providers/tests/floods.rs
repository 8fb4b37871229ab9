//! Thousands of tool calls in one reply, or in one conversation, cost what so many calls cost: nothing looks at each of them once
//! for every other one.
//!
//! The measure is the thread's own time on the processor, which does not grow because others use the machine. What is quadratic
//! takes 64 times as long for eight times as many calls, what is not about eight times.
#![cfg(test)]

use bifrost_providers::dialect::{Frame, WriterOptions};
use bifrost_providers::event::{Fold, unfold};
use bifrost_providers::{ChatEvent, ChatReply, ChatRequest, Codec, Dialect, Losses};
use serde_json::{Value, json};

const FEW: usize = 400;
const TIMES_MORE: usize = 8;
/// So many times as long may many calls take: over twice what is linear, for caches, and a third of what is quadratic.
const BOUND: u32 = 20;
/// Below this, in milliseconds, many calls cost too little for a ratio to mean anything.
const NOTHING_MS: f64 = 2.0;

/// How the calls of a stream grow.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// Each is over before the next begins.
    OneByOne,
    /// All begin, then all grow, then all end: the first one first.
    Together,
    /// The same, and they grow and end in the other direction.
    Backwards,
}

const ORDERS: [Order; 3] = [Order::OneByOne, Order::Together, Order::Backwards];

#[derive(Clone, Copy, Debug)]
enum Step {
    Begin(usize),
    Grow(usize),
    End(usize),
}

fn steps(order: Order, count: usize) -> Vec<Step> {
    let all = |step: fn(usize) -> Step| (0..count).map(step);
    match order {
        Order::OneByOne => (0..count).flat_map(|at| [Step::Begin(at), Step::Grow(at), Step::End(at)]).collect(),
        Order::Together => all(Step::Begin).chain(all(Step::Grow)).chain(all(Step::End)).collect(),
        Order::Backwards => all(Step::Begin).chain(all(Step::Grow).rev()).chain(all(Step::End).rev()).collect(),
    }
}

// === streams ===

/// A stream of so many calls, as the dialect's providers send it.
fn stream(dialect: Dialect, order: Order, count: usize) -> Vec<Frame> {
    let mut frames: Vec<Value> = steps(order, count).into_iter().filter_map(|step| frame_of(dialect, step)).collect();
    let (before, after) = around(dialect, count);
    frames.splice(..0, before);
    frames.extend(after);
    frames.into_iter().map(framed).collect()
}

/// A frame whose name, where the dialect has one, stands beside its data.
fn framed(mut frame: Value) -> Frame {
    let name = frame.as_object_mut().unwrap().remove(":name").or_else(|| frame.get("type").cloned());
    let event = name.and_then(|name| Some(name.as_str()?.to_owned().into()));
    Frame { event, data: frame.to_string().into() }
}

fn id(at: usize) -> String {
    format!("call_{at:06}")
}

fn frame_of(dialect: Dialect, step: Step) -> Option<Value> {
    let chunk = |call: Value| {
        json!({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": null}]})
    };
    let named = |name: &str, mut event: Value| {
        event[":name"] = name.into();
        event
    };
    Some(match (dialect, step) {
        (Dialect::OpenAiChat, Step::Begin(at)) => chunk(json!({"index": at, "id": id(at), "type": "function",
            "function": {"name": "look", "arguments": ""}})),
        (Dialect::OpenAiChat, Step::Grow(at)) => chunk(json!({"index": at, "function": {"arguments": "{}"}})),
        (Dialect::OpenAiResponses, Step::Begin(at)) => {
            json!({"type": "response.output_item.added", "output_index": at, "item": item(at, "")})
        }
        (Dialect::OpenAiResponses, Step::Grow(at)) => json!({"type": "response.function_call_arguments.delta",
            "output_index": at, "item_id": format!("fc_{at}"), "delta": "{}"}),
        (Dialect::OpenAiResponses, Step::End(at)) => {
            json!({"type": "response.output_item.done", "output_index": at, "item": item(at, "{}")})
        }
        (Dialect::AnthropicMessages, Step::Begin(at)) => json!({"type": "content_block_start", "index": at,
            "content_block": {"type": "tool_use", "id": id(at), "name": "look", "input": {}}}),
        (Dialect::AnthropicMessages, Step::Grow(at)) => json!({"type": "content_block_delta", "index": at,
            "delta": {"type": "input_json_delta", "partial_json": "{}"}}),
        (Dialect::AnthropicMessages, Step::End(at)) => json!({"type": "content_block_stop", "index": at}),
        (Dialect::Gemini, Step::Begin(at)) => {
            json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": [part(at)]}}], "responseId": "r"})
        }
        (Dialect::CohereChat, Step::Begin(at)) => json!({"type": "tool-call-start", "index": at,
            "delta": {"message": {"tool_calls": {"id": id(at), "type": "function",
                "function": {"name": "look", "arguments": ""}}}}}),
        (Dialect::CohereChat, Step::Grow(at)) => json!({"type": "tool-call-delta", "index": at,
            "delta": {"message": {"tool_calls": {"function": {"arguments": "{}"}}}}}),
        (Dialect::CohereChat, Step::End(at)) => json!({"type": "tool-call-end", "index": at}),
        (Dialect::BedrockConverse, Step::Begin(at)) => named(
            "contentBlockStart",
            json!({"contentBlockIndex": at,
            "start": {"toolUse": {"toolUseId": id(at), "name": "look"}}}),
        ),
        (Dialect::BedrockConverse, Step::Grow(at)) => {
            named("contentBlockDelta", json!({"contentBlockIndex": at, "delta": {"toolUse": {"input": "{}"}}}))
        }
        (Dialect::BedrockConverse, Step::End(at)) => named("contentBlockStop", json!({"contentBlockIndex": at})),
        // Predictions have no calls.
        (Dialect::OpenAiChat, Step::End(_))
        | (Dialect::Gemini, Step::Grow(_) | Step::End(_))
        | (Dialect::Predictions, _) => return None,
    })
}

fn item(at: usize, arguments: &str) -> Value {
    json!({"type": "function_call", "id": format!("fc_{at}"), "call_id": id(at), "name": "look", "arguments": arguments,
        "status": "completed"})
}

fn part(at: usize) -> Value {
    json!({"functionCall": {"id": id(at), "name": "look", "args": {}}})
}

/// What comes before the calls, and behind them.
fn around(dialect: Dialect, count: usize) -> (Vec<Value>, Vec<Value>) {
    match dialect {
        Dialect::OpenAiChat => {
            let end = json!({"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}});
            (vec![], vec![end])
        }
        Dialect::OpenAiResponses => {
            let response = |status: &str, output: Vec<Value>| {
                json!({"id": "resp_1", "object": "response", "created_at": 1,
                "model": "m", "status": status, "output": output})
            };
            let items = (0..count).map(|at| item(at, "{}")).collect();
            (
                vec![json!({"type": "response.created", "response": response("in_progress", vec![])})],
                vec![json!({"type": "response.completed", "response": response("completed", items)})],
            )
        }
        Dialect::AnthropicMessages => (
            vec![json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant",
                "model": "m", "content": [], "usage": {"input_tokens": 1, "output_tokens": 1}}})],
            vec![
                json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}}),
                json!({"type": "message_stop"}),
            ],
        ),
        Dialect::Gemini => {
            (vec![], vec![json!({"candidates": [{"index": 0, "finishReason": "STOP"}], "responseId": "r"})])
        }
        Dialect::Predictions => (vec![], vec![]),
        Dialect::CohereChat => (
            vec![json!({"type": "message-start", "id": "1", "delta": {"message": {"role": "assistant"}}})],
            vec![json!({"type": "message-end", "delta": {"finish_reason": "TOOL_CALL"}})],
        ),
        Dialect::BedrockConverse => (
            vec![json!({":name": "messageStart", "role": "assistant"})],
            vec![
                json!({":name": "messageStop", "stopReason": "tool_use"}),
                json!({":name": "metadata", "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}}),
            ],
        ),
    }
}

fn read(codec: &dyn Codec, frames: &[Frame]) -> Vec<ChatEvent> {
    let mut reader = codec.reader();
    let mut events = Vec::new();
    for frame in frames {
        reader.read(frame, &mut events).unwrap();
    }
    reader.finish(&mut events).unwrap();
    events
}

fn write(codec: &dyn Codec, events: &[ChatEvent]) -> usize {
    let mut writer = codec.writer(WriterOptions { include_usage: true, ..WriterOptions::default() });
    let mut out = Vec::new();
    for event in events {
        writer.write(event, None, &mut out);
    }
    memchr::memmem::find_iter(&out, "call_").count()
}

fn fold(events: &[ChatEvent]) -> ChatReply {
    let mut fold = Fold::new();
    for event in events {
        fold.push(event);
    }
    fold.finish()
}

// === costs ===

/// Milliseconds that this thread spent on a processor so far (proc(5), `schedstat`).
fn spent_ms() -> f64 {
    // The account is brought up to date when the thread gives way, else only at every tick.
    std::thread::yield_now();
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}

fn cost<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let before = spent_ms();
    let done = work();
    (spent_ms() - before, done)
}

/// The names of what costs too much for so many more, of the same things done with few and with many calls.
#[derive(Default)]
struct Verdict(Vec<String>);

impl Verdict {
    /// Does the work with few calls and with many, and gives back what came of many.
    fn check<I, T>(&mut self, name: &str, [few, many]: [&I; 2], work: impl Fn(&I) -> T) -> T {
        let (little, _) = cost(|| work(few));
        let (much, done) = cost(|| work(many));
        let bound = f64::from(BOUND) * little;
        if much > bound.max(NOTHING_MS) {
            self.0.push(format!("{name}: {little:.2} ms, and {much:.2} ms for {TIMES_MORE} times as many"));
        }
        done
    }

    fn deliver(self) {
        assert!(self.0.is_empty(), "{} things are not linear:\n{}", self.0.len(), self.0.join("\n"));
    }
}

#[test]
fn a_stream_of_thousands_of_calls_costs_what_so_many_calls_cost() {
    let mut verdict = Verdict::default();
    for dialect in Dialect::ALL {
        for order in ORDERS {
            let frames = [FEW, FEW * TIMES_MORE].map(|count| stream(dialect, order, count));
            let about = format!("{} {order:?}", dialect.name());
            let few = read(dialect.codec(), &frames[0]);
            let many = verdict
                .check(&format!("reading {about}"), [&frames[0], &frames[1]], |frames| read(dialect.codec(), frames));
            let folded = verdict.check(&format!("folding {about}"), [&few, &many], |events| fold(events));
            assert_eq!(folded.choices[0].parts.len(), FEW * TIMES_MORE, "{about}");
            for client in Dialect::ALL {
                let name = format!("writing {about} to {}", client.name());
                let told = verdict.check(&name, [&few, &many], |events| write(client.codec(), events));
                assert!(told >= FEW * TIMES_MORE, "{name}: {told}");
            }
        }
    }
    verdict.deliver();
}

// === whole ===

#[test]
fn a_reply_of_thousands_of_calls_costs_what_so_many_calls_cost() {
    let mut verdict = Verdict::default();
    for dialect in Dialect::ALL {
        let replies =
            [FEW, FEW * TIMES_MORE].map(|count| fold(&read(dialect.codec(), &stream(dialect, Order::OneByOne, count))));
        for client in Dialect::ALL {
            let about = format!("{} for {}", dialect.name(), client.name());
            let encode = |reply: &ChatReply| client.codec().encode_reply(reply, None, &mut Losses::default());
            let few = encode(&replies[0]);
            let many = verdict.check(&format!("encoding {about}"), [&replies[0], &replies[1]], encode);
            let decoded = verdict.check(&format!("decoding {about}"), [&few, &many], |body: &Vec<u8>| {
                client.codec().decode_reply(body).unwrap()
            });
            assert_eq!(decoded.choices[0].parts.len(), FEW * TIMES_MORE, "{about}");
        }
        verdict.check(&format!("unfolding {}", dialect.name()), [&replies[0], &replies[1]], unfold);
    }
    verdict.deliver();
}

// === requests ===

/// A conversation with so many calls, all of tools of their own, and their results, in this order or the other.
fn conversation(count: usize, backwards: bool) -> Value {
    let call =
        |at| json!({"id": id(at), "type": "function", "function": {"name": format!("look_{at}"), "arguments": "{}"}});
    let result = |at| json!({"role": "tool", "tool_call_id": id(at), "content": "found"});
    let calls: Vec<Value> = (0..count).map(call).collect();
    let mut results: Vec<Value> = (0..count).map(result).collect();
    if backwards {
        results.reverse();
    }
    let mut messages =
        vec![json!({"role": "user", "content": "Hi"}), json!({"role": "assistant", "tool_calls": calls})];
    messages.append(&mut results);
    json!({"model": "m", "messages": messages})
}

#[test]
fn a_conversation_of_thousands_of_calls_costs_what_so_many_calls_cost() {
    let mut verdict = Verdict::default();
    for backwards in [false, true] {
        let [few, many] = [FEW, FEW * TIMES_MORE].map(|count| conversation(count, backwards).to_string().into_bytes());
        let chats = [&few, &many].map(|body: &Vec<u8>| Dialect::OpenAiChat.codec().decode_request(body).unwrap());
        for dialect in Dialect::ALL {
            let about = format!("{}, backwards: {backwards}", dialect.name());
            let encode = |chat: &ChatRequest| dialect.codec().encode_request(chat, &mut Losses::default());
            let few = encode(&chats[0]);
            let many = verdict.check(&format!("encoding {about}"), [&chats[0], &chats[1]], encode);
            verdict.check(&format!("decoding {about}"), [&few, &many], |body: &Vec<u8>| {
                dialect.codec().decode_request(body).unwrap()
            });
        }
    }
    verdict.deliver();
}

#[test]
fn thousands_of_losses_cost_what_so_many_losses_cost() {
    let mut verdict = Verdict::default();
    let losses = |count: &usize| {
        let mut losses = Losses::default();
        for at in (0..*count).chain(0..*count) {
            losses.push(format!("/messages/{at}/content/0/cache_control"), "cannot be said");
        }
        let mut joined = losses.clone().in_a_body_of(Dialect::BedrockConverse);
        joined.extend(losses);
        joined.len()
    };
    let count = verdict.check("losing", [&FEW, &(FEW * TIMES_MORE)], losses);
    assert!((FEW * TIMES_MORE..=2 * FEW * TIMES_MORE).contains(&count));
    verdict.deliver();
}
