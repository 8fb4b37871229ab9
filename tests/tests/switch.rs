//! One conversation, another provider at every turn: calls, results and thinking of one are shown to the next, seals are not.

use bifrost_tests::{CLIENTS, Chat, Gateway, Style};

/// There and back again, and through every dialect.
const ROUTES: [&[&str]; 2] = [
    &["openai", "anthropic", "gemini", "openai"],
    &["bedrock", "responses", "cohere", "gemini", "anthropic", "openai", "bedrock", "anthropic", "responses", "gemini"],
];

/// What the scripted providers seal with, and the dialects in whose requests a seal may stand that its provider made.
const SEALS: [(&str, &[&str]); 3] =
    [("EqFixtur", &["anthropic", "bedrock"]), ("CikFixtr", &["gemini"]), ("gAAAAABfixture", &["responses"])];

#[tokio::test]
async fn a_conversation_moves_from_provider_to_provider_with_its_tools_and_its_thinking() {
    for route in ROUTES {
        for client in CLIENTS {
            for stream in [false, true] {
                travel(client, stream, route).await;
            }
        }
    }
}

/// A conversation of so many turns, each at the next provider, and each with calls of the client's own.
async fn travel(client: Style, stream: bool, route: &[&str]) {
    let gateway = Gateway::every().await;
    let mut talk: Option<Chat> = None;
    // Two providers speak Responses to who does, and neither knows the other's items: that is no change of dialect.
    let two_accounts = client == Style::Responses && route.contains(&"responses");
    let route: Vec<&str> = route.iter().copied().filter(|provider| !two_accounts || *provider != "openai").collect();
    for (turn, provider) in route.iter().enumerate() {
        let case = format!("{client:?} stream={stream} turn={turn} at {provider}");
        // A provider that signs refuses its own thinking altered, and a stranger's seal always.
        let script = format!(
            r#"[think: Thought {turn}.][call: look {{"q":"a{turn}"}}][call: look {{"q":"b{turn}"}}]
            [then][think: Found {turn}.][say: Turn {turn}: {{results}}.]"#
        );
        let model = format!("{provider}/scripted-small");
        let mut chat = match talk.take() {
            None => Chat::new(client, &model, &script).tool("look").streamed(stream),
            Some(chat) => chat.model(&model).say(&script),
        };
        let answer = gateway.ask(&chat).await;
        assert_eq!(answer.status, 200, "{case}: {}", answer.text());
        let first = answer.told();
        let thought = format!("Thought {turn}.");
        assert_eq!((first.called(), first.thinking.as_str()), (vec!["look", "look"], thought.as_str()), "{case}");
        chat = chat.results(&first, |call| call.arguments.replace(' ', ""));
        let answer = gateway.ask(&chat).await;
        assert_eq!(answer.status, 200, "{case}: {}", answer.text());
        let second = answer.told();
        assert_eq!(second.text, format!(r#"Turn {turn}: {{"q":"a{turn}"}}; {{"q":"b{turn}"}}."#), "{case}");
        talk = Some(chat.results(&second, |_| String::new()));
        keeps_seals_apart(&gateway, client, provider, &case);
    }
    let last = gateway.asked(route.last().unwrap()).pop().unwrap().to_string();
    for turn in 0..route.len() {
        assert!(last.contains(&format!("Turn {turn}: ")), "{client:?} {stream}: {last}");
    }
}

/// What a client of the provider's own dialect keeps in its history is relayed as it stands, where that does no harm.
fn keeps_seals_apart(gateway: &Gateway, client: Style, provider: &str, case: &str) {
    let asked = gateway.asked(provider).pop().unwrap().to_string();
    let strange = |(seal, makers): &&(&str, &[&str])| asked.contains(seal) && !makers.contains(&provider);
    let relayed = client == Style::OpenAi && provider == "openai";
    assert_eq!(SEALS.iter().find(strange).filter(|_| !relayed), None, "{case}: a stranger's seal: {asked}");
}
