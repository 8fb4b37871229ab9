//! Every combination of client dialect, provider dialect and way of answering, for tests that hold in all of them.

use bifrost_fixtures::Style;

use crate::chat::{BOTH, CLIENTS, PROVIDERS};
use crate::{Chat, Gateway, Told, dialect};

/// One combination.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// What the client speaks.
    pub client: Style,
    /// What the provider speaks; it is configured under its style's name.
    pub provider: Style,
    /// Is the answer a stream?
    pub stream: bool,
}

/// All combinations.
pub fn cells() -> impl Iterator<Item = Cell> {
    crossed(&CLIENTS, &PROVIDERS)
}

/// Every client over providers of two dialects, for what costs time or a world of its own.
pub fn clients() -> impl Iterator<Item = Cell> {
    crossed(&CLIENTS, &BOTH)
}

/// All combinations that stream.
pub fn streams() -> impl Iterator<Item = Cell> {
    cells().filter(|cell| cell.stream)
}

/// The combinations of two dialects, for what has nothing to do with wire formats.
pub fn few() -> impl Iterator<Item = Cell> {
    crossed(&BOTH, &BOTH)
}

fn crossed(clients: &'static [Style], providers: &'static [Style]) -> impl Iterator<Item = Cell> {
    let pairs = clients.iter().flat_map(|client| providers.iter().map(|provider| (*client, *provider)));
    pairs.flat_map(|(client, provider)| [false, true].map(|stream| Cell { client, provider, stream }))
}

impl Cell {
    /// A user's text (a script) to this provider.
    pub fn chat(self, script: &str) -> Chat {
        let model = format!("{}/scripted-small", self.provider.name());
        Chat::new(self.client, &model, script).streamed(self.stream)
    }

    /// The reply; fails the test, naming the combination, if it is an error or comes in the wrong way.
    pub async fn told(self, gateway: &Gateway, chat: &Chat) -> Told {
        let answer = gateway.ask(chat).await;
        assert_eq!((answer.status, answer.is_stream()), (200, self.stream), "{self:?}: {}", answer.text());
        answer.told()
    }

    /// How many frames of the provider's stream come before its first text.
    pub fn opening(self) -> usize {
        match (self.client, self.provider) {
            // OpenAI speaks Responses to those who do.
            (Style::Responses, Style::OpenAi) | (_, Style::Responses) => 4,
            (_, Style::OpenAi | Style::Bedrock) => 1,
            (_, Style::Cohere) => 2,
            (_, Style::Gemini) => 0,
            _ => 3,
        }
    }

    /// What the model said in the turn in which it called tools. Of Cohere's models that is their plan: thinking.
    pub fn said_before_calls(self, told: &Told) -> &str {
        if self.provider == Style::Cohere { &told.thinking } else { &told.text }
    }

    /// Is the client `OpenAI`'s? Only its replies have `extra_fields`.
    pub fn has_extra_fields(self) -> bool {
        self.client == Style::OpenAi
    }

    /// The client dialect's own word for one of `OpenAI`'s: why a reply ended, or what went wrong.
    pub fn word(self, openai: &'static str) -> &'static str {
        dialect::of(self.client).word(openai)
    }
}
