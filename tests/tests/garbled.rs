//! Requests and replies that are damaged, absurd or without end, in every dialect: named behaviour, bounded memory, no panic.

use std::collections::HashMap;
use std::sync::Arc;

use bifrost_tests::broken::wire::{self, answer, ending, open, opening, stream_type, text};
use bifrost_tests::broken::{Asked, Broken, Play, Step, hello};
use bifrost_tests::{Answer, Chat, Client, Ending, Gateway, OrFail as _, Process, Setup, Style, Told, eventually};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::faults::{CLIENTS, PROVIDERS};

/// A gateway whose providers, under their styles' names, all play this.
async fn world(play: impl Fn(Asked) -> Vec<Step> + Send + Sync + 'static) -> (Gateway, Broken) {
    let (setup, broken) = playing(HashMap::from([("key".to_owned(), Arc::new(play) as Play)])).await;
    (setup.await, broken)
}

async fn playing(plays: HashMap<String, Play>) -> (Setup, Broken) {
    let keys: Vec<Value> = plays.keys().map(|key| json!({"name": key, "value": key})).collect();
    let broken = Broken::start(plays).await;
    let setup = PROVIDERS.into_iter().fold(Gateway::start(), |setup, provider| {
        setup.provider_at(provider.name(), provider, broken.url(), &json!({"keys": keys}))
    });
    (setup, broken)
}

async fn ask(client: &Client, style: Style, provider: Style, stream: bool) -> Answer {
    let (path, body) = hello(style, &format!("{}/m", provider.name()), stream);
    post(client, style, &path, body.to_string()).await
}

async fn post(client: &Client, style: Style, path: &str, body: impl Into<Bytes>) -> Answer {
    client.send("POST", path, &[], body.into(), style).await.rest().await
}

/// A whole stream with this in the middle, and these tokens used.
fn stream(asked: Asked, middle: &[Bytes]) -> Vec<Step> {
    let mut steps = vec![open(200, stream_type(asked.style)), Step::Send(opening(asked.style))];
    steps.extend(middle.iter().cloned().map(Step::Send));
    steps.push(Step::Send(ending(asked.style, Some(&json!(7)))));
    steps
}

/// What all providers here say when nothing is wrong with them.
const SAID: &str = "Nothing is wrong.";

fn fine(asked: Asked) -> Vec<Step> {
    if asked.stream {
        return stream(asked, &[text(asked.style, SAID)]);
    }
    vec![answer(200, "application/json", &[], wire::reply(asked.style, SAID).to_string().as_bytes())]
}

/// Clients and providers for what is long: each dialect relayed, and one that is translated.
const PAIRS: [(Style, Style); 6] = [
    (Style::OpenAi, Style::OpenAi),
    (Style::Anthropic, Style::Anthropic),
    (Style::Gemini, Style::Gemini),
    (Style::Bedrock, Style::Bedrock),
    (Style::Cohere, Style::Cohere),
    (Style::Anthropic, Style::OpenAi),
];

// === requests ===

#[tokio::test]
async fn a_request_that_is_cut_or_is_none_is_refused_in_its_dialect() {
    let (gateway, broken) = world(fine).await;
    for client in CLIENTS {
        for provider in PROVIDERS {
            let (path, body) = hello(client, &format!("{}/m", provider.name()), false);
            let whole = body.to_string();
            let cuts = (0..whole.len()).step_by(whole.len() / 8).map(|end| whole.as_bytes()[..end].to_vec());
            let others =
                [&b"[]"[..], b"null", b"7", b"\"x\"", b"{\"a\":\xff}", b"<html>", b"{}}", b"\0"].map(<[u8]>::to_vec);
            for body in cuts.chain(others) {
                let about = format!("{client:?} to {provider:?}: {}", String::from_utf8_lossy(&body));
                let answer = post(&gateway, client, &path, body).await;
                assert_eq!(
                    (answer.status, answer.header("x-should-retry")),
                    (400, "false"),
                    "{about}: {}",
                    answer.text()
                );
                Ending::whole(&answer);
            }
            let answer = post(&gateway, client, &path, whole).await;
            assert!(
                answer.status == 200 && answer.text().contains(SAID),
                "{client:?} to {provider:?}: {}",
                answer.text()
            );
        }
    }
    eventually("nothing is left", || broken.connections() == 0).await;
}

/// A conversation whose user says something in a part that nobody knows.
fn unheard_of(client: Style) -> (&'static str, Value) {
    let part = json!({"type": "hologram", "hologram": {"depth": 3}});
    match client {
        Style::Responses => {
            ("input", json!([{"role": "user", "content": [{"type": "input_text", "text": "Hi"}, part]}]))
        }
        Style::Gemini => ("contents", json!([{"role": "user", "parts": [{"text": "Hi"}, {"hologram": {"depth": 3}}]}])),
        Style::Bedrock => {
            ("messages", json!([{"role": "user", "content": [{"text": "Hi"}, {"hologram": {"depth": 3}}]}]))
        }
        _ => ("messages", json!([{"role": "user", "content": [{"type": "text", "text": "Hi"}, part]}])),
    }
}

#[tokio::test]
async fn a_part_that_nobody_knows_is_passed_on_told_or_refused_but_never_dropped_in_silence() {
    let (gateway, _broken) = world(fine).await;
    for client in CLIENTS {
        for provider in PROVIDERS {
            let (path, mut body) = hello(client, &format!("{}/m", provider.name()), false);
            let losses = |answer: &Answer| answer.header("x-bifrost-losses").parse().unwrap_or(0);
            let usual: u64 = losses(&post(&gateway, client, &path, body.to_string()).await);
            let (field, conversation) = unheard_of(client);
            body[field] = conversation;
            let answer = post(&gateway, client, &path, body.to_string()).await;
            let about = format!("{client:?} to {provider:?}: {:?} {}", answer.headers, answer.text());
            let same = client == provider || (client, provider) == (Style::Responses, Style::OpenAi);
            let expected = u64::from(!same) * (usual + 1);
            assert!(answer.status == 200 || answer.status == 400 && !same, "{about}");
            assert!(answer.status == 400 || losses(&answer) == expected, "{about}");
        }
    }
}

/// How a client spells a follow-up whose second call, and its result, have the id of the first. `None` where calls have no ids, as
/// Google's.
fn under_one_id(chat: &Chat, told: &Told) -> Option<Chat> {
    let [first, second] = [0, 1].map(|at| format!("\"{}\"", told.calls[at].id));
    if first == second {
        return None;
    }
    let body = chat.body.to_string().replace(&second, &first);
    let mut chat = chat.clone();
    chat.body = serde_json::from_str(&body).or_fail("a body");
    Some(chat)
}

#[tokio::test]
async fn calls_of_one_id_are_passed_on_each_with_its_own_result_and_the_provider_judges() {
    let gateway = Gateway::every().await;
    for client in Style::ALL {
        for provider in Style::ALL {
            let model = format!("{}/scripted-small", provider.name());
            let script = r#"[call: look {"q":"early"}][call: seek {"q":"late"}][then][say: {results}]"#;
            let chat = Chat::new(client, &model, script).tool("look").tool("seek");
            let told = gateway.ask(&chat).await.told();
            let chat = chat.results(&told, |call| format!("by {}", call.name));
            let before = gateway.asked(provider.name()).len();
            let Some(chat) = under_one_id(&chat, &told) else {
                assert_eq!((client, provider), (Style::Gemini, Style::Gemini));
                continue;
            };
            let answer = gateway.ask(&chat).await;
            let about = format!("{client:?} to {provider:?}: {}", answer.text());
            let asked = gateway.asked(provider.name()).split_off(before);
            assert_eq!(asked.len(), 1, "{about}");
            // Nothing of either is lost on the way, whatever becomes of it.
            let said = asked[0].to_string();
            // What the user says, which is the script, has the arguments too.
            for (word, times) in [("early", 2), ("late", 2), ("by look", 1), ("by seek", 1)] {
                assert_eq!(said.matches(word).count(), times, "{about}: {word} in {said}");
            }
            let results = named_results(&asked[0]);
            assert!(results.is_empty() || results == ["look", "seek"], "{about}: {results:?} in {said}");
            match answer.status {
                200 => assert_eq!(answer.told().text, "by look; by seek", "{about}"),
                400 => {
                    let message = answer.fault().message;
                    assert!(["unique", "uplicate"].iter().any(|word| message.contains(word)), "{about}");
                }
                _ => panic!("{about}"),
            }
        }
    }
}

/// The functions that the results of a request to Gemini name, in their order; of other dialects there are none.
fn named_results(body: &Value) -> Vec<&str> {
    let parts = body["contents"].as_array().into_iter().flatten().filter_map(|content| content["parts"].as_array());
    parts.flatten().filter_map(|part| part["functionResponse"]["name"].as_str()).collect()
}

// === usage ===

/// What a provider writes for a number of tokens, and what is taken for it.
fn counts() -> Vec<(Option<Value>, u64)> {
    vec![
        (None, 0),
        (Some(Value::Null), 0),
        (Some(json!(7)), 7),
        (Some(json!(-5)), 0),
        (Some(json!(1.5)), 1),
        (Some(json!("many")), 0),
        (Some(json!(1_u64 << 63)), 1 << 63),
        (Some(json!(u64::MAX)), u64::MAX),
        (Some(json!(1e300)), u64::MAX),
    ]
}

#[tokio::test]
async fn tokens_that_cannot_be_are_never_negative_and_never_cost_the_reply() {
    let play = |count: Option<Value>| -> Play {
        Arc::new(move |asked: Asked| {
            let count = count.as_ref();
            if asked.stream {
                let end = ending(asked.style, count);
                let begun = [opening(asked.style), text(asked.style, SAID), end].map(Step::Send);
                return [vec![open(200, stream_type(asked.style))], begun.to_vec()].concat();
            }
            let reply = wire::counted(asked.style, SAID, count).to_string();
            vec![answer(200, "application/json", &[], reply.as_bytes())]
        })
    };
    let plays = counts().into_iter().enumerate().map(|(at, (count, _))| (format!("key-{at}"), play(count))).collect();
    let (setup, _broken) = playing(plays).await;
    let process = Process::start(Some(setup.config()), &[]);
    let client = process.client().await;
    let pairs = || CLIENTS.into_iter().flat_map(|style| PROVIDERS.map(|provider| (style, provider)));
    let ways = pairs().flat_map(|(style, provider)| [false, true].map(|stream| (style, provider, stream)));
    let mut expected = HashMap::new();
    for (style, provider, stream) in ways {
        for (at, (count, taken)) in counts().into_iter().enumerate() {
            let id = format!("{style:?} {provider:?} {stream} {count:?}");
            let (path, body) = hello(style, &format!("{}/m", provider.name()), stream);
            let key = format!("key-{at}");
            let headers = [("x-bf-api-key", key.as_str()), ("x-request-id", id.as_str())];
            let answer = client.send("POST", &path, &headers, body.to_string().into(), style).await.rest().await;
            assert!(answer.status == 200 && !answer.broken, "{id}: {} {}", answer.status, answer.text());
            assert!(answer.text().contains(SAID), "{id}: {}", answer.text());
            // A stream of Anthropic's has said something at its beginning, which counts where nothing better comes.
            let begun = if stream && provider == Style::Anthropic { [3, 1] } else { [taken; 2] };
            expected.insert(id, [taken, begun[0], begun[1]]);
        }
    }
    eventually("every request is recorded", || process.records().len() == expected.len()).await;
    for record in process.records() {
        let [taken, input, output] = expected[record["request_id"].as_str().or_fail("an id")];
        assert_eq!(record["outcome"], "success", "{record}");
        assert!(record["usage_input"] == taken || record["usage_input"] == input, "{record}");
        assert!(record["usage_output"] == taken || record["usage_output"] == output, "{record}");
    }
    let metrics = client.get("/metrics", &[]).await.text();
    assert!(!metrics.lines().any(|line| line.ends_with("NaN") || line.contains(" -")), "{metrics}");
}

#[tokio::test]
async fn of_counts_that_fall_while_a_stream_grows_the_latest_is_told_and_recorded_once() {
    let play = |asked: Asked| {
        let early = wire::counting(asked.style, SAID, &json!(900));
        stream(asked, &[early])
    };
    let keys = HashMap::from([("key".to_owned(), Arc::new(play) as Play)]);
    let (setup, _broken) = playing(keys).await;
    let process = Process::start(Some(setup.config()), &[]);
    let client = process.client().await;
    for style in CLIENTS {
        for provider in PROVIDERS {
            let answer = ask(&client, style, provider, true).await;
            let about = format!("{style:?} to {provider:?}: {}", answer.text());
            assert!(answer.status == 200 && !answer.broken && answer.text().contains(SAID), "{about}");
            assert!(!answer.text().contains(":-"), "{about}");
        }
    }
    let asked = CLIENTS.len() * PROVIDERS.len();
    eventually("every request is recorded", || process.records().len() == asked).await;
    for record in process.records() {
        assert_eq!((&record["outcome"], &record["usage_input"]), (&json!("success"), &json!(7)), "{record}");
        assert_eq!(record["usage_output"], 7, "{record}");
    }
    for metric in ["bifrost_input_tokens_total", "bifrost_output_tokens_total"] {
        client.metric_becomes(metric, &[], f64::from(7 * u32::try_from(asked).or_fail("few"))).await;
    }
}

// === streams ===

#[tokio::test]
async fn an_event_of_eight_mebibytes_passes_and_one_of_seventeen_is_refused() {
    let (gateway, _broken) =
        world(|asked: Asked| stream(asked, &[text(asked.style, &"long ".repeat((8 << 20) / 5))])).await;
    for (client, provider) in PAIRS {
        let answer = ask(&gateway, client, provider, true).await;
        assert!(
            answer.status == 200 && answer.body.len() > 8 << 20,
            "{client:?} to {provider:?}: {} bytes",
            answer.body.len()
        );
    }
    let endless = |asked: Asked| {
        let half = text(asked.style, "a b");
        let begun = if asked.style == Style::Bedrock {
            // A message that says it has 17 MiB.
            Bytes::from_static(b"\x01\x10\0\0\0\0\0\0\xff\xff\xff\xff")
        } else {
            half.slice(..half.len() / 2)
        };
        let mut steps = vec![open(200, stream_type(asked.style))];
        steps.extend([opening(asked.style), half, begun].map(Step::Send));
        steps.push(Step::Repeat(vec![b'x'; 1 << 20].into(), 17));
        steps
    };
    let (gateway, _broken) = world(endless).await;
    for (client, provider) in PAIRS {
        let ending = Ending::streamed(&ask(&gateway, client, provider, true).await);
        assert_eq!(ending.text, "a b", "{client:?} to {provider:?}: {ending:?}");
        assert!(ending.message.len() < 600, "{client:?} to {provider:?}: {ending:?}");
    }
}

#[tokio::test]
async fn a_stream_without_its_last_line_ends_is_whole() {
    let trimmed = |asked: Asked| {
        let end = ending(asked.style, Some(&json!(7)));
        let end = if asked.style == Style::Bedrock { end } else { end.slice(..end.trim_ascii_end().len()) };
        let mut steps = vec![open(200, stream_type(asked.style))];
        steps.extend([opening(asked.style), text(asked.style, SAID), end].map(Step::Send));
        steps
    };
    let (gateway, _broken) = world(trimmed).await;
    let (whole, _other) = world(fine).await;
    for provider in PROVIDERS {
        for client in CLIENTS {
            let answer = ask(&gateway, client, provider, true).await;
            let expected = ask(&whole, client, provider, true).await;
            let about = format!("{client:?} to {provider:?}");
            assert!(answer.status == 200 && answer.text().contains(SAID), "{about}: {}", answer.text());
            if client != Style::Bedrock {
                assert_eq!(answer.events().len(), expected.events().len(), "{about}: {}", answer.text());
            }
        }
    }
}

#[tokio::test]
async fn nothing_is_told_behind_the_end_of_a_reply() {
    let again = |asked: Asked| {
        let mut steps = fine(asked);
        steps.push(Step::Send(text(asked.style, "And again.")));
        steps
    };
    let (gateway, _broken) = world(again).await;
    // Of Gemini's streams the end is the end of the body.
    for provider in PROVIDERS.into_iter().filter(|provider| *provider != Style::Gemini) {
        for client in CLIENTS {
            let answer = ask(&gateway, client, provider, true).await;
            let text = answer.text();
            assert!(answer.status == 200 && text.contains(SAID), "{client:?} to {provider:?}: {text}");
            assert!(!text.contains("And again."), "{client:?} to {provider:?}: {text}");
        }
    }
}

#[tokio::test]
async fn an_event_that_is_no_json_is_shown_as_it_is_or_ends_the_stream() {
    let junk = Bytes::from_static(b"data: {\"oops\": \n\n");
    let (gateway, _broken) = world(move |asked: Asked| stream(asked, &[text(asked.style, SAID), junk.clone()])).await;
    for provider in PROVIDERS.into_iter().filter(|provider| *provider != Style::Bedrock) {
        for client in CLIENTS {
            let answer = ask(&gateway, client, provider, true).await;
            // The caller of a relayed stream may know what it is; whoever must be translated to cannot.
            if client == provider || (client, provider) == (Style::Responses, Style::OpenAi) {
                assert!(answer.text().contains("{\"oops\": "), "{client:?} to {provider:?}: {}", answer.text());
            } else {
                assert_eq!(Ending::streamed(&answer).text, SAID, "{client:?} to {provider:?}");
            }
        }
    }
}

#[tokio::test]
async fn ten_thousand_calls_of_one_id_all_arrive() {
    const MANY: usize = 10_000;
    let flood = |asked: Asked| stream(asked, &[wire::calls(asked.style, "look_it_up", MANY)]);
    let (gateway, _broken) = world(flood).await;
    let pairs =
        [(Style::Anthropic, Style::OpenAi), (Style::Responses, Style::Anthropic), (Style::OpenAi, Style::Gemini)];
    for (client, provider) in pairs {
        let answer = ask(&gateway, client, provider, true).await;
        let told = answer.text().matches("look_it_up").count();
        assert!(answer.status == 200 && !answer.broken && told >= MANY, "{client:?} to {provider:?}: {told}");
    }
}

#[tokio::test]
async fn arguments_of_fifty_mebibytes_arrive_whole() {
    let long = |asked: Asked| {
        let delta = json!({"tool_calls": [{"index": 0, "function": {"arguments": "x".repeat(1 << 20)}}]});
        let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": null}]});
        let mut steps = vec![open(200, stream_type(asked.style))];
        steps.extend([opening(asked.style), wire::calls(asked.style, "look", 1)].map(Step::Send));
        steps.push(Step::Repeat(format!("data: {chunk}\n\n").into(), 50));
        steps.push(Step::Send(ending(asked.style, None)));
        steps
    };
    let (gateway, _broken) = world(long).await;
    let answer = ask(&gateway, Style::Anthropic, Style::OpenAi, true).await;
    assert!(answer.status == 200 && !answer.broken && answer.body.len() > 50 << 20, "{} bytes", answer.body.len());
}
