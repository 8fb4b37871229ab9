//! Text completions over chat: what is asked, what is refused, and what recorded answers of chat models read as.
#![cfg(test)]

#[path = "support/crossing.rs"]
mod crossing;
#[path = "support/fold.rs"]
mod fold;
#[path = "support/recorded.rs"]
mod recorded;

use bifrost_providers::completion::{decode_request, encode_reply, writer};
use bifrost_providers::dialect::{Problem, WriterOptions};
use bifrost_providers::event::unfold;
use bifrost_providers::{ChatEvent, ChatReply, Dialect, Losses};
use crossing::{read, write};
use fold::fold;
use http::StatusCode;
use recorded::{Recording, recordings};
use serde_json::{Value, json};

const SOURCES: [(&str, Dialect); 5] = [
    ("chat/completions", Dialect::OpenAiChat),
    ("/responses", Dialect::OpenAiResponses),
    ("/messages", Dialect::AnthropicMessages),
    ("enerateContent", Dialect::Gemini),
    ("/v2/chat", Dialect::CohereChat),
];

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(bytes)))
}

/// What a chat provider of this dialect is asked for, and what was lost.
fn asked(request: &Value, provider: Dialect) -> (Value, Vec<String>) {
    let mut losses = Losses::default();
    let chat = decode_request(request.to_string().as_bytes(), &mut losses).unwrap();
    let body = value(&provider.codec().encode_request(&chat, &mut losses));
    (body, losses.iter().map(|loss| loss.pointer.clone()).collect())
}

fn told(events: &[ChatEvent], include_usage: bool, annex: Option<&str>) -> Vec<Value> {
    let mut writer = writer(WriterOptions { include_usage, ..WriterOptions::default() });
    let mut out = Vec::new();
    for event in events {
        writer.write(event, annex.filter(|_| matches!(event, ChatEvent::Stop { .. })), &mut out);
    }
    let text = String::from_utf8(out).unwrap();
    let chunks: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(chunks.last(), Some(&"[DONE]"), "{text}");
    chunks[..chunks.len() - 1].iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect()
}

/// The text and the finish that the chunks of one choice add up to, and the usage.
fn joined(chunks: &[Value], index: u64) -> (String, Value, Value) {
    let (mut text, mut finish, mut usage) = (String::new(), Value::Null, Value::Null);
    for chunk in chunks {
        assert_eq!(chunk["object"], "text_completion", "{chunk}");
        for choice in chunk["choices"].as_array().unwrap().iter().filter(|choice| choice["index"] == index) {
            assert!(finish.is_null(), "{choice} behind its finish");
            text += choice["text"].as_str().unwrap();
            finish = choice["finish_reason"].clone();
        }
        usage = chunk.get("usage").cloned().unwrap_or(usage);
    }
    (text, finish, usage)
}

fn whole(reply: &ChatReply) -> (Value, Losses) {
    let mut losses = Losses::default();
    (value(&encode_reply(reply, None, &mut losses)), losses)
}

#[test]
fn a_prompt_is_a_user_message_and_parameters_keep_their_meaning() {
    let request = json!({"model":"m","prompt":"Say \"hi\"","max_tokens":5,"temperature":0.5,"top_p":1,"n":2,"stop":["a"],"seed":7,
        "logprobs":3,"presence_penalty":0.25,"frequency_penalty":0.5,"user":"u","logit_bias":{"5":1},"stream":true,
        "stream_options":{"include_usage":true},"best_of":2});
    let (openai, lost) = asked(&request, Dialect::OpenAiChat);
    let expected = json!({"model":"m","messages":[{"role":"user","content":"Say \"hi\""}],"max_tokens":5,"temperature":0.5,"top_p":1,
        "n":2,"stop":["a"],"seed":7,"logprobs":true,"top_logprobs":3,"presence_penalty":0.25,"frequency_penalty":0.5,"user":"u",
        "logit_bias":{"5":1},"stream":true,"stream_options":{"include_usage":true}});
    assert_eq!((openai, lost), (expected, vec![]));
    let (anthropic, lost) = asked(&request, Dialect::AnthropicMessages);
    assert_eq!(anthropic["messages"], json!([{"role":"user","content":"Say \"hi\""}]));
    assert!(lost.contains(&"/n".to_owned()) && lost.contains(&"/logit_bias".to_owned()), "{lost:?}");
    let (plain, lost) = asked(
        &json!({"model":"m","prompt":["only"],"stop":"x","echo":false,"suffix":null,"best_of":3}),
        Dialect::OpenAiChat,
    );
    assert_eq!((&plain["messages"][0]["content"], &plain["stop"]), (&json!("only"), &json!("x")));
    assert_eq!(lost, ["/best_of"]);
}

#[test]
fn what_cannot_be_had_of_a_chat_model_is_refused_with_its_place() {
    for (fields, pointer) in [
        (json!({}), "/prompt"),
        (json!({"prompt":null}), "/prompt"),
        (json!({"prompt":[]}), "/prompt"),
        (json!({"prompt":["a","b"]}), "/prompt"),
        (json!({"prompt":[1,2]}), "/prompt"),
        (json!({"prompt":[[1,2]]}), "/prompt"),
        (json!({"prompt":"a","echo":true}), "/echo"),
        (json!({"prompt":"a","suffix":"end"}), "/suffix"),
        (json!({"prompt":"a","stop":7}), "/stop"),
        (json!({"prompt":"a","max_tokens":"x"}), "/max_tokens"),
    ] {
        let mut request = fields.clone();
        request["model"] = json!("m");
        let fault = decode_request(request.to_string().as_bytes(), &mut Losses::default()).unwrap_err();
        assert_eq!(fault.pointer, pointer, "{fields}: {fault}");
    }
    let nameless = decode_request(br#"{"prompt":"a"}"#, &mut Losses::default()).unwrap_err();
    assert_eq!(nameless.pointer, "/model");
}

/// An answer of any dialect, streamed or whole, reads the same as a completion.
#[test]
fn every_recorded_answer_is_a_text_completion_whole_and_streamed() {
    for (path, dialect) in SOURCES {
        let mut count = 0;
        for Recording { name, response, .. } in recordings(path).iter().filter(|one| is_answer(one, dialect)) {
            let events = match dialect.codec().decode_reply(response.as_bytes()) {
                Ok(reply) => unfold(&reply),
                Err(_) => read(dialect.codec(), response, name),
            };
            let reply = fold(&events);
            let (body, _) = whole(&reply);
            let chunks = told(&events, true, None);
            for choice in body["choices"].as_array().unwrap() {
                let (text, finish, usage) = joined(&chunks, choice["index"].as_u64().unwrap());
                assert_eq!((json!(text), &finish), (choice["text"].clone(), &choice["finish_reason"]), "{name}");
                assert_eq!(usage, body.get("usage").cloned().unwrap_or_default(), "{name}");
                assert!(["stop", "length", "content_filter"].contains(&finish.as_str().unwrap()), "{name}: {finish}");
            }
            // The words are those that OpenAI's clients read, by a reader of their own.
            let openai = value(&Dialect::OpenAiChat.codec().encode_reply(&reply, None, &mut Losses::default()));
            let message = &openai["choices"][0]["message"];
            let said =
                [&message["content"], &message["refusal"]].map(|text| text.as_str().unwrap_or_default()).concat();
            let is_list = message["content"].is_array();
            assert!(is_list || body["choices"][0]["text"] == json!(said), "{name}: {body}");
            count += 1;
        }
        report(dialect, count);
    }
}

#[expect(clippy::print_stderr, reason = "a test that replays traffic says how much")]
fn report(dialect: Dialect, count: usize) {
    eprintln!("read {count} answers of {} as text", dialect.name());
}

/// Some recordings were cut, or carry an error, on purpose.
fn is_answer(recording: &Recording, dialect: Dialect) -> bool {
    let codec = dialect.codec();
    if !recording.is_ok() {
        return false;
    }
    if !recording.is_stream() {
        return codec.decode_reply(recording.response.as_bytes()).is_ok_and(|reply| !reply.choices.is_empty());
    }
    let mut reader = codec.reader();
    let mut splitter = bifrost_providers::sse::Splitter::new(1 << 24);
    splitter.push(recording.response.clone().into());
    let mut events: Vec<_> = splitter.by_ref().filter_map(Result::ok).collect();
    events.extend(splitter.finish());
    let mut out = Vec::new();
    let sound =
        events.iter().filter(|event| !event.is_comment()).all(|event| reader.read(&event.frame, &mut out).is_ok());
    sound && reader.finish(&mut out).is_ok()
}

#[test]
fn log_probabilities_are_lists_beside_each_other() {
    let token = |token: &str, logprob: f64| json!({"token":token,"logprob":logprob,"bytes":null,"top_logprobs":[{"token":token,"logprob":logprob},{"token":"x","logprob":-9}]});
    let body = json!({"id":"r","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Größe"},
        "finish_reason":"length","logprobs":{"content":[token("Grö", -0.5), token("ße", -0.25)]}}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}});
    let reply = Dialect::OpenAiChat.codec().decode_reply(body.to_string().as_bytes()).unwrap();
    let (completion, losses) = whole(&reply);
    let expected = json!({"tokens":["Grö","ße"],"token_logprobs":[-0.5,-0.25],"text_offset":[0,3],
        "top_logprobs":[{"Grö":-0.5,"x":-9},{"ße":-0.25,"x":-9}]});
    assert_eq!(
        completion["choices"][0],
        json!({"text":"Größe","index":0,"logprobs":expected,"finish_reason":"length"})
    );
    assert_eq!(completion["usage"]["total_tokens"], 3);
    assert!(losses.is_empty(), "{losses:?}");
    let chunks = told(&unfold(&reply), false, None);
    assert!(chunks.iter().any(|chunk| chunk["choices"][0]["logprobs"]["tokens"] == json!(["Grö", "ße"])), "{chunks:?}");
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()), "nobody asked");
}

#[test]
fn what_is_no_text_is_told_and_the_annex_comes_last() {
    let body = json!({"id":"r","type":"message","role":"assistant","model":"m","stop_reason":"refusal","content":[
        {"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"so"},{"type":"tool_use","id":"c","name":"f","input":{}}],
        "usage":{"input_tokens":1,"output_tokens":2}});
    let reply = Dialect::AnthropicMessages.codec().decode_reply(body.to_string().as_bytes()).unwrap();
    let mut losses = Losses::default();
    let completion = value(&encode_reply(&reply, Some("{\"a\":1}"), &mut losses));
    assert_eq!(
        (&completion["choices"][0]["text"], &completion["choices"][0]["finish_reason"]),
        (&json!("so"), &json!("content_filter"))
    );
    assert_eq!((&completion["object"], &completion["extra_fields"]), (&json!("text_completion"), &json!({"a":1})));
    let lost: Vec<&str> = losses.iter().map(|loss| loss.pointer.as_str()).collect();
    assert_eq!(lost, ["/choices/0/message/content/0", "/choices/0/message/content/2"]);
    for include_usage in [false, true] {
        let chunks = told(&unfold(&reply), include_usage, Some("{\"a\":1}"));
        let (end, before) = chunks.split_last().unwrap();
        assert_eq!(end["extra_fields"], json!({"a":1}));
        assert_eq!(end.get("usage").is_some(), include_usage);
        assert!(before.iter().all(|chunk| chunk.get("extra_fields").is_none() && chunk.get("usage").is_none()));
    }
}

#[test]
fn an_error_in_the_middle_is_one_event_and_no_done() {
    let reply = json!({"id":"r","created":1,"model":"m","choices":[{"index":0,"message":{"content":"so"},"finish_reason":"stop"}]});
    let events = unfold(&Dialect::OpenAiChat.codec().decode_reply(reply.to_string().as_bytes()).unwrap());
    let mut writer = writer(WriterOptions::default());
    let mut out = Vec::new();
    for event in events.iter().filter(|event| !matches!(event, ChatEvent::Stop { .. })) {
        writer.write(event, None, &mut out);
    }
    let problem = Problem {
        status: StatusCode::BAD_GATEWAY,
        kind: "upstream".into(),
        code: None,
        param: None,
        message: "broke".into(),
        annex: None,
    };
    writer.fail(&problem, &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(!text.contains("[DONE]") && !text.contains("\"stop\""), "{text}");
    let last: Value = serde_json::from_str(text.trim().rsplit("data: ").next().unwrap()).unwrap();
    assert_eq!(last["error"]["message"], "broke");
    // What a chat client reads of the same events is still a whole answer.
    assert!(write(Dialect::OpenAiChat.codec(), &events).ends_with("data: [DONE]\n\n"));
}
