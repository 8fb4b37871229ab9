//! One conversation, another provider at every turn: calls, results and thinking of one are shown to the next, seals are not.

use bifrost_tests::{Chat, Gateway, Style};

const ROUTE: [&str; 4] = ["openai", "anthropic", "gemini", "openai"];

#[tokio::test]
async fn a_conversation_moves_from_provider_to_provider_with_its_tools_and_its_thinking() {
    let gateway = Gateway::every().await;
    // The clients whose dialects say whose seal it is that they carry.
    for client in [Style::OpenAi, Style::Responses, Style::Anthropic] {
        for stream in [false, true] {
            let mut chat = Chat::new(client, "openai/scripted-small", "Hello.").tool("look").streamed(stream);
            for (turn, provider) in ROUTE.into_iter().enumerate() {
                let case = format!("{client:?} stream={stream} turn={turn} at {provider}");
                // A provider that signs refuses its own thinking altered, and a stranger's seal always.
                let script = format!(
                    r#"[think: Thought {turn}.][say: Looking.][call: look {{"q":"a{turn}"}}][call: look {{"q":"b{turn}"}}]
                    [then][think: Found {turn}.][say: Turn {turn}: {{results}}.]"#
                );
                chat = chat.model(&format!("{provider}/scripted-small")).say(&script);
                let answer = gateway.ask(&chat).await;
                assert_eq!(answer.status, 200, "{case}: {}", answer.text());
                let first = answer.told();
                assert_eq!(
                    (first.called(), first.thinking.as_str()),
                    (vec!["look", "look"], format!("Thought {turn}.").as_str()),
                    "{case}"
                );
                chat = chat.results(&first, |call| call.arguments.replace(' ', ""));
                let answer = gateway.ask(&chat).await;
                assert_eq!(answer.status, 200, "{case}: {}", answer.text());
                let second = answer.told();
                assert_eq!(second.text, format!(r#"Turn {turn}: {{"q":"a{turn}"}}; {{"q":"b{turn}"}}."#), "{case}");
                chat = chat.results(&second, |_| String::new());
            }
            let asked = gateway.asked("openai").pop().unwrap().to_string();
            for turn in 0..4 {
                assert!(asked.contains(&format!("Turn {turn}: ")), "{client:?} {stream}: {asked}");
            }
            // What a client of the provider's own dialect keeps in its history is relayed as it stands.
            let relayed = client == Style::OpenAi;
            assert!(
                relayed || !asked.contains("EqFixtur") && !asked.contains("CikFixtr"),
                "a stranger's seal: {asked}"
            );
        }
    }
}
