//! Every client dialect over every provider dialect, streamed and whole: what the model says arrives, and so does what the
//! caller said. One table of cells; each test is one kind of content.

use bifrost_tests::{Chat, Gateway, Style, cells};
use serde_json::{Value, json};

#[tokio::test]
async fn text_arrives_with_its_finish_and_usage() {
    let gateway = Gateway::every().await;
    for cell in cells() {
        let chat = cell.chat("[say: Grüße, \"world\"\n\u{1F600}][chunks: 5][usage: in=9 out=3]");
        let told = cell.told(&gateway, &chat).await;
        assert_eq!(told.text, "Grüße, \"world\"\n\u{1F600}", "{cell:?}");
        assert_eq!(told.finish, cell.word("stop"), "{cell:?}");
        assert_eq!(told.tokens(), (9, 3), "{cell:?}");
        assert_eq!((told.calls.len(), told.thinking.as_str(), told.refusal.as_deref()), (0, "", None), "{cell:?}");
    }
}

#[tokio::test]
async fn cached_tokens_are_counted_once_in_either_way_of_counting() {
    let gateway = Gateway::every().await;
    for cell in cells() {
        let told = cell.told(&gateway, &cell.chat("[say: Hi][usage: in=100 out=7 cached=40]")).await;
        // What Cohere counts as cached is of another sum than what it bills: it means nothing in other dialects.
        let cached = if cell.provider == Style::Cohere && cell.client != Style::Cohere { 0 } else { 40 };
        // Anthropic and Amazon count what was cached beside the input, the others within.
        let beside = matches!(cell.client, Style::Anthropic | Style::Bedrock);
        let input = if beside { 100 - cached } else { 100 };
        assert_eq!((told.tokens().0, told.cached().unwrap_or(0)), (input, cached), "{cell:?}: {}", told.usage);
    }
}

#[tokio::test]
async fn parallel_tool_calls_of_the_client_come_apart_again() {
    let gateway = Gateway::every().await;
    for cell in cells() {
        let chat =
            cell.chat(r#"[say: Let me see.][call: look {"q":"a\"b"}][call: look {"q":"ü"}][call: find {"q":"c"}]"#);
        let told = cell.told(&gateway, &chat.tool("look").tool("find")).await;
        let calls: Vec<(&str, Value)> = told
            .calls
            .iter()
            .map(|call| (call.name.as_str(), serde_json::from_str(&call.arguments).unwrap()))
            .collect();
        let wanted = [("look", json!({"q": "a\"b"})), ("look", json!({"q": "ü"})), ("find", json!({"q": "c"}))];
        assert_eq!(calls, wanted, "{cell:?}");
        assert_eq!(cell.said_before_calls(&told), "Let me see.", "{cell:?}");
        assert_eq!(told.finish, cell.word("tool_calls"), "{cell:?}");
        let ids: std::collections::BTreeSet<&str> = told.calls.iter().map(|call| call.id.as_str()).collect();
        // What is relayed has the ids that the provider gave, and Gemini gave none before its third generation.
        let given = if (cell.client, cell.provider) == (Style::Gemini, Style::Gemini) { 1 } else { 3 };
        assert_eq!(ids.len(), given, "{cell:?}: ids are unique");
    }
}

#[tokio::test]
async fn the_results_of_the_clients_tools_reach_the_model() {
    let gateway = Gateway::every().await;
    for cell in cells() {
        let chat =
            cell.chat(r#"[call: look {"q":"a"}][call: look {"q":"b"}][then][say: I got {results}.]"#).tool("look");
        let first = cell.told(&gateway, &chat).await;
        let second = chat.results(&first, |call| format!("<{}>", call.arguments.replace(' ', "")));
        let told = cell.told(&gateway, &second).await;
        assert_eq!(told.text, r#"I got <{"q":"a"}>; <{"q":"b"}>."#, "{cell:?}");
    }
}

#[tokio::test]
async fn thinking_arrives_and_comes_back_signed() {
    let gateway = Gateway::every().await;
    for cell in cells() {
        let script = r#"[think: Hm, let me think.][call: look {"q":"a"}][then][say: Done.]"#;
        let chat = cell.chat(script).tool("look");
        let first = cell.told(&gateway, &chat).await;
        assert_eq!(first.thinking, "Hm, let me think.", "{cell:?}");
        // A provider that signs refuses the second turn with 400 if the thinking came back altered, or not at all.
        let told = cell.told(&gateway, &chat.results(&first, |_| "x".into())).await;
        assert_eq!(told.text, "Done.", "{cell:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_as_the_dialect_tells_it() {
    let gateway = Gateway::every().await;
    for cell in cells() {
        let told = cell.told(&gateway, &cell.chat("[refuse: I will not do that.]")).await;
        let said = told.refusal.clone().unwrap_or_default() + &told.text;
        assert_eq!(said, "I will not do that.", "{cell:?}");
        let has_field = |style| matches!(style, Style::OpenAi | Style::Responses);
        match cell.provider {
            // Cohere's models refuse in text, and there is nothing else to know it by.
            Style::Cohere => assert_eq!(told.finish, cell.word("stop"), "{cell:?}: {told:?}"),
            provider if has_field(provider) && has_field(cell.client) => assert!(told.refusal.is_some(), "{cell:?}"),
            // The others say it in text and in their reason; OpenAI's word for that reason is the filter's.
            _ => assert_eq!(told.finish, cell.word("content_filter"), "{cell:?}: {told:?}"),
        }
    }
}

#[tokio::test]
async fn a_reply_that_is_too_long_says_so() {
    let gateway = Gateway::every().await;
    for cell in cells() {
        let told = cell.told(&gateway, &cell.chat("[say: Once upon][finish: length]")).await;
        assert_eq!(told.finish, cell.word("length"), "{cell:?}");
    }
}

const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";

#[tokio::test]
async fn an_image_reaches_the_provider_in_its_own_form() {
    let gateway = Gateway::every().await;
    for cell in cells() {
        let chat = cell.chat("").show("[say: Red.]", PIXEL);
        assert_eq!(cell.told(&gateway, &chat).await.text, "Red.", "{cell:?}");

        let asked = gateway.asked(cell.provider.name()).pop().unwrap();
        assert_eq!(picture(&asked), ["image/png", PIXEL], "{cell:?}");
    }
}

/// Kind and data of the picture in a provider's request, in whichever form.
fn picture(asked: &Value) -> [&str; 2] {
    let first = ["messages", "input", "contents"].iter().find_map(|list| asked[list].get(0)).unwrap();
    let part = first["parts"].get(1).or(first["content"].get(1)).unwrap();
    let url = part["image_url"]["url"].as_str().or(part["image_url"].as_str());
    if let Some((kind, data)) = url.and_then(|url| url.strip_prefix("data:")?.split_once(";base64,")) {
        return [kind, data];
    }
    let text = |places: [&str; 3]| places.iter().find_map(|place| part.pointer(place)?.as_str()).unwrap();
    let kind = text(["/inlineData/mimeType", "/source/media_type", "/image/format"]);
    let data = text(["/inlineData/data", "/source/data", "/image/source/bytes"]);
    [if kind == "png" { "image/png" } else { kind }, data]
}

#[tokio::test]
async fn system_text_stop_sequences_and_limits_cross() {
    let gateway = Gateway::every().await;
    for cell in cells() {
        let chat = cell.chat("hello").system("[say: As told.]").limits(77, 0.5, &["END"]);
        assert_eq!(cell.told(&gateway, &chat).await.text, "As told.", "{cell:?}");

        let asked = gateway.asked(cell.provider.name()).pop().unwrap();
        let settings = asked.get("generationConfig").or(asked.get("inferenceConfig")).unwrap_or(&asked);
        let limits = ["max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens", "maxTokens"];
        let limit = limits.iter().find_map(|name| settings.get(name)).unwrap();
        let stops = ["stop", "stop_sequences", "stopSequences"];
        let stop = stops.iter().find_map(|name| settings.get(name)).unwrap_or(&Value::Null);
        let temperature = &settings["temperature"];
        // Responses have no stop sequences.
        let none = [cell.client, cell.provider].contains(&Style::Responses);
        let wanted = if none { Value::Null } else { json!(["END"]) };
        assert_eq!((limit, temperature, stop), (&json!(77), &json!(0.5), &wanted), "{cell:?}");
    }
}

#[tokio::test]
async fn what_cannot_cross_is_listed_and_strict_callers_are_refused() {
    let gateway = Gateway::every().await;
    let chat = Chat::openai("anthropic/scripted-small", "[say: Hi]").set("logit_bias", json!({"50256": -100}));
    let answer = gateway.ask(&chat).await;
    let told = answer.told();
    let losses = told.extra["losses"].as_array().unwrap();
    assert!(losses.iter().any(|loss| loss["pointer"] == "/logit_bias"), "{losses:?}");
    assert_eq!(answer.header("x-bifrost-losses"), losses.len().to_string());

    let strict = gateway.ask(&chat.clone().header("x-bf-strict", "true")).await;
    assert_eq!(strict.status, 422, "{}", strict.text());
    assert_eq!(strict.fault().kind, "lossy_translation");
    assert_eq!(gateway.asked("anthropic").len(), 1, "nothing was sent for the strict caller");

    let strict = Chat::openai("anthropic/scripted-small", "[say: Hi]").header("x-bf-strict", "true");
    assert_eq!(gateway.ask(&strict).await.told().text, "Hi", "nothing is lost of this one");
}

#[tokio::test]
async fn a_relayed_request_keeps_every_byte_that_is_not_the_gateways() {
    let gateway = Gateway::every().await;
    let body = r#"{"model" : "openai/scripted-small",  "seed":12345678901234567890, "x_unknown":{"b":1.50,"a":[ 1,2 ]},
      "messages":[{"content":"[say: Hi]\u00e9","role":"user"}], "fallbacks":["anthropic/x"]  }"#;
    let answer = gateway.post("/v1/chat/completions", &[], body).await;
    assert_eq!(answer.told().text, "Hi");
    let sent = gateway.upstream("openai").requests().pop().unwrap();
    let sent = String::from_utf8(sent.body.to_vec()).unwrap();
    for kept in [r#""seed":12345678901234567890"#, r#""x_unknown":{"b":1.50,"a":[ 1,2 ]}"#, r"[say: Hi]\u00e9"] {
        assert!(sent.contains(kept), "{kept} in {sent}");
    }
    assert!(sent.contains(r#""scripted-small""#) && !sent.contains("fallbacks"), "{sent}");
}

#[tokio::test]
async fn a_bare_model_belongs_to_the_provider_of_its_route() {
    let gateway = Gateway::every().await;
    let routes = ["/openai/chat/completions", "/openai/v1/chat/completions"];
    for route in routes {
        let chat = Chat::openai("scripted-small", "[say: {model}]").route(route);
        assert_eq!(gateway.ask(&chat).await.told().text, "scripted-small");
    }
    assert_eq!(gateway.ask(&Chat::anthropic("scripted-large", "[say: {model}]")).await.told().text, "scripted-large");
    assert_eq!((gateway.asked("openai").len(), gateway.asked("anthropic").len()), (2, 1));

    let separate = Chat::openai("scripted-small", "[say: {model}]").set("provider", json!("anthropic"));
    assert_eq!(gateway.ask(&separate).await.told().text, "scripted-small");
    assert_eq!(gateway.asked("anthropic").len(), 2, "the documented body with a separate provider");
}
