//! The rules of a stream: its head, its end, its errors, its silences, however the provider's bytes come.

use std::time::{Duration, Instant};

use bifrost_tests::{BOTH, Cell, Chat, Gateway, PROVIDERS, Style, clients, eventually, streams};
use serde_json::json;

fn model(provider: Style) -> String {
    format!("{}/scripted-small", provider.name())
}

fn openai(provider: Style, script: &str) -> Chat {
    Chat::openai(&model(provider), script).stream()
}

/// Amazon's frames have no comments, so that its clients are not pinged.
fn is_pinged(client: Style) -> bool {
    client != Style::Bedrock
}

#[tokio::test]
async fn the_head_is_that_of_an_event_stream() {
    let gateway = Gateway::every().await;
    for cell in streams() {
        let answer = gateway.ask(&cell.chat("[say: Hi]").header("x-request-id", "mine-1")).await;
        let framing = match cell.client {
            Style::Bedrock => "application/vnd.amazon.eventstream",
            _ => "text/event-stream",
        };
        assert_eq!(answer.header("content-type"), framing, "{cell:?}");
        assert_eq!(answer.header("cache-control"), "no-cache");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert_eq!(answer.header("x-request-id"), "mine-1");
        assert_eq!(answer.header("x-bifrost-provider"), cell.provider.name());
        answer.told();
    }
}

#[tokio::test]
async fn the_end_comes_once_also_when_the_provider_forgets_it() {
    let gateway = Gateway::every().await;
    for provider in BOTH {
        for script in ["[say: Hi]", "[say: Hi][no-done]"] {
            let answer = gateway.ask(&openai(provider, script)).await;
            assert_eq!(answer.told().text, "Hi", "{provider:?} {script}");
            assert_eq!(answer.text().matches("[DONE]").count(), 1, "{provider:?} {script}");
        }
        for script in ["[say: Hi]", "[say: Hi][no-done]"] {
            let answer = gateway.ask(&Chat::anthropic(&model(provider), script).stream()).await;
            assert_eq!(answer.told().text, "Hi", "{provider:?} {script}");
            assert!(!answer.text().contains("[DONE]"), "Anthropic has none");
        }
    }
}

#[tokio::test]
async fn a_provider_that_pings_for_ever_after_its_end_is_left() {
    let gateway = Gateway::every().await;
    // Google's streams say nothing of their end but the end itself.
    for cell in streams().filter(|cell| cell.provider != Style::Gemini) {
        let scripts = ["[say: Hi][ping-forever: 20ms]", "[say: Hi][no-done][ping-forever: 20ms]"];
        // The end of Responses is the response itself, and that of Bedrock what it cost: without it there is none.
        let ends = match (cell.client, cell.provider) {
            (Style::Responses, Style::OpenAi) | (_, Style::Responses | Style::Bedrock) => 1,
            _ => scripts.len(),
        };
        for script in scripts.into_iter().take(ends) {
            let began = Instant::now();
            let answer = gateway.ask(&cell.chat(script)).await;
            assert_eq!(answer.told().text, "Hi", "{cell:?} {script}");
            assert!(began.elapsed() < Duration::from_secs(5), "{cell:?} {script}: {:?}", began.elapsed());
        }
    }
    let busy = || PROVIDERS.iter().map(|style| gateway.upstream(style.name()).in_flight()).sum::<usize>();
    eventually("the providers are let go", || busy() == 0).await;
}

#[tokio::test]
async fn a_stream_that_arrives_byte_by_byte_is_the_same_stream() {
    let gateway = Gateway::every().await;
    for cell in streams() {
        let script = "[think: Hmm][say: Grüße \u{1F600}!][call: look {\"q\":\"ü\"}][chunks: 3]";
        let whole = gateway.ask(&cell.chat(script).tool("look")).await.told();
        for size in [1, 2, 7, 64] {
            let split = gateway.ask(&cell.chat(&format!("{script}[split: {size}]")).tool("look")).await;
            let split = split.told();
            assert_eq!((&split.text, &split.thinking), (&whole.text, &whole.thinking), "{cell:?} {size}");
            assert_eq!(split.calls[0].arguments, whole.calls[0].arguments, "{cell:?} {size}");
            assert_eq!(split.finish, whole.finish);
        }
    }
}

#[tokio::test]
async fn usage_is_shown_to_those_who_ask_and_hidden_from_those_who_do_not() {
    let gateway = Gateway::every().await;
    for provider in BOTH {
        let script = "[say: Hi][usage: in=11 out=4]";
        let asked = openai(provider, script);
        assert_eq!(gateway.ask(&asked).await.told().tokens(), (11, 4), "{provider:?}");
        let silent = Chat::openai(&model(provider), script).set("stream", json!(true));
        let told = gateway.ask(&silent).await.told();
        assert!(told.usage.is_null(), "{provider:?}: {}", told.usage);
        assert_eq!(told.extra["provider"], provider.name(), "extra_fields come all the same");
    }
    // The gateway knows the tokens of all four: it asked the provider for them.
    for provider in ["openai", "anthropic"] {
        assert_eq!(gateway.metric("bifrost_input_tokens_total", &[("provider", provider)]).await, Some(22.0));
    }
}

#[tokio::test]
async fn an_error_before_the_first_byte_is_an_ordinary_status() {
    let gateway = Gateway::every().await;
    for cell in streams() {
        for status in [400, 404, 500, 503] {
            refused(&gateway, cell, status).await;
        }
    }
    for cell in clients().filter(|cell| cell.stream) {
        // A rate limit parks the key.
        refused(&Gateway::both().await, cell, 429).await;
    }
}

async fn refused(gateway: &Gateway, cell: Cell, status: u16) {
    let answer = gateway.ask(&cell.chat(&format!("[fail: {status} no luck today]"))).await;
    assert_eq!((answer.status, answer.is_stream()), (status, false), "{cell:?} {}", answer.text());
    assert!(answer.fault().message.contains("no luck today"), "{cell:?} {}", answer.text());
}

#[tokio::test]
async fn an_error_as_the_first_event_is_an_ordinary_status_too() {
    let gateway = Gateway::every().await;
    for cell in streams() {
        let answer = gateway.ask(&cell.chat("[error-event]")).await;
        assert!(answer.status >= 500 && !answer.is_stream(), "{cell:?}: {}", answer.text());
        answer.fault();
        // What opens a stream, as the role chunk or message_start, is not content yet.
        let answer = gateway.ask(&cell.chat(&format!("[say: Hi][error-after: {}]", cell.opening()))).await;
        assert!(answer.status >= 500 && !answer.is_stream(), "{cell:?}: {}", answer.text());
    }
}

#[tokio::test]
async fn an_error_as_the_first_event_is_retried_and_falls_back() {
    let gateway = Gateway::start()
        .provider_keys("openai", Style::OpenAi, &["sk-1"], 1)
        .provider("anthropic", Style::Anthropic)
        .await;
    let retried = openai(Style::OpenAi, "[say: Second try][error-event][only: times=1]");
    assert_eq!(gateway.ask(&retried).await.told().text, "Second try");
    assert_eq!(gateway.asked("openai").len(), 2);

    let script = "[say: From {model}][error-event][only: style=openai]";
    let moved = openai(Style::OpenAi, script).set("fallbacks", json!(["anthropic/backup"]));
    let answer = gateway.ask(&moved).await;
    assert_eq!(answer.told().text, "From backup");
    assert_eq!(answer.header("x-bifrost-fallback-index"), "1");
}

#[tokio::test]
async fn an_error_in_the_middle_is_one_event_and_no_done() {
    let gateway = Gateway::every().await;
    for cell in streams() {
        let script = format!("[say: one two three four][chunks: 4][error-after: {}]", cell.opening() + 2);
        let answer = gateway.ask(&cell.chat(&script)).await;
        assert_eq!(answer.status, 200);
        answer.fault();
        let text = answer.text();
        assert!(text.contains("one"), "what came before is kept: {text}");
        assert_eq!(answer.faults(), 1, "{cell:?}: one error event: {text}");
        assert!(!answer.ended(), "{cell:?}: no end after an error: {text}");
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_in_the_middle_ends_with_an_error_event() {
    let gateway = Gateway::every().await;
    for cell in streams() {
        let script = format!("[say: one two three four][chunks: 4][cut-after: {}]", cell.opening() + 2);
        let answer = gateway.ask(&cell.chat(&script)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("one"), "{cell:?}: {}", answer.text());
        answer.fault();
        assert!(!answer.ended(), "{cell:?}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_before_content_is_an_ordinary_status() {
    let gateway = Gateway::every().await;
    for cell in streams() {
        for script in ["[say: Hi][cut: 30]", "[empty]"] {
            let answer = gateway.ask(&cell.chat(script)).await;
            assert_eq!((answer.status, answer.is_stream()), (502, false), "{cell:?}: {}", answer.text());
            answer.fault();
        }
    }
}

#[tokio::test]
async fn content_reaches_the_client_before_the_provider_has_finished() {
    let gateway = Gateway::every().await;
    for cell in streams() {
        // The provider says something, then nothing more: only a gateway that passes things on at once shows it.
        let chat = cell.chat(&format!("[say: first][hang-after: {}]", cell.opening() + 1));
        let mut live = gateway.open(&chat).await;
        live.until("first").await;
    }
}

#[tokio::test]
async fn a_silent_provider_is_bridged_by_pings() {
    let gateway = Gateway::every().ping_after(Duration::from_millis(40)).await;
    for cell in streams() {
        // Silence before the head.
        let answer = gateway.ask(&cell.chat("[say: Late][delay: 200ms]")).await;
        assert_eq!(answer.told().text, "Late", "{cell:?}");
        assert_eq!(!answer.comments().is_empty(), is_pinged(cell.client), "pinged before the head: {}", answer.text());
        // Silence within.
        let answer = gateway.ask(&cell.chat("[say: Slow][drip: 90ms]")).await;
        assert_eq!(answer.told().text, "Slow", "{cell:?}");
        assert_eq!(!answer.comments().is_empty(), is_pinged(cell.client), "pinged within: {}", answer.text());
    }
}

#[tokio::test]
async fn an_error_after_the_first_ping_is_the_one_event_of_the_stream() {
    let gateway = Gateway::every().ping_after(Duration::from_millis(30)).await;
    for cell in streams().filter(|cell| is_pinged(cell.client)) {
        let answer = gateway.ask(&cell.chat("[delay: 100ms][fail: 503 too busy]")).await;
        assert_eq!((answer.status, answer.is_stream()), (200, true));
        assert_eq!(answer.events().len(), 1, "{}", answer.text());
        assert!(answer.fault().message.contains("too busy"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_huge_reply_streams_through() {
    let gateway = Gateway::every().await;
    for cell in streams() {
        let answer = gateway.ask(&cell.chat("[huge: 2MB][chunks: 200]")).await;
        assert_eq!(answer.told().text.len(), 2 << 20, "{cell:?}");
    }
}
