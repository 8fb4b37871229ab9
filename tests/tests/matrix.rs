//! Every client dialect over every provider dialect, streamed and whole: what is said arrives, and nothing else.

use bifrost_tests::{BOTH, Chat, Gateway, Style};

struct Cell {
    client: Style,
    provider: Style,
    stream: bool,
}

fn cells() -> impl Iterator<Item = Cell> {
    let pairs = BOTH.into_iter().flat_map(|client| BOTH.map(|provider| (client, provider)));
    pairs.flat_map(|(client, provider)| [false, true].map(|stream| Cell { client, provider, stream }))
}

impl Cell {
    fn chat(&self, text: &str) -> Chat {
        let model = format!("{}/scripted-small", self.provider.name());
        Chat::new(self.client, &model, text).streamed(self.stream)
    }
}

#[tokio::test]
async fn text_arrives() {
    let gateway = Gateway::both().await;
    for cell in cells() {
        let answer = gateway.ask(&cell.chat("[say: Grüße, \"world\"\n\u{1F600}][chunks: 5]")).await;
        let told = answer.told();
        assert_eq!(told.text, "Grüße, \"world\"\n\u{1F600}");
    }
}
