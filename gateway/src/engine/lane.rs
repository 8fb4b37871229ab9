//! Which of three ways a request takes to one target.

use bifrost_providers::Dialect;

/// The way of one request to one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Same dialect at both ends and nobody needs the content: bytes are spliced and passed on.
    Relay,
    /// The dialects differ, or the conversation is another than the caller's bytes.
    Translate,
    /// Tools of the gateway are offered, so it must see what the model calls.
    Loop,
}

/// What the gateway has to do with a conversation's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing: the caller's bytes will do.
    AsItCame,
    /// It says another conversation than the caller's bytes, or frames the answer otherwise than the provider does.
    Changed,
    /// It offers tools, and so must see what the model calls.
    Watched,
}

impl Lane {
    /// A security decision as much as one of speed: a relayed reply is invisible to the gateway, so a request that is offered
    /// tools never takes that lane.
    pub fn choose(client: Dialect, upstream: Dialect, content: Content) -> Self {
        match content {
            Content::Watched => Self::Loop,
            Content::AsItCame if client == upstream => Self::Relay,
            Content::AsItCame | Content::Changed => Self::Translate,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Translate => "translate",
            Self::Loop => "loop",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_with_tools_is_never_relayed() {
        use Dialect::{AnthropicMessages as A, OpenAiChat as O};
        for (client, upstream) in [(A, A), (A, O), (O, A), (O, O)] {
            assert_eq!(Lane::choose(client, upstream, Content::Watched), Lane::Loop);
            assert_eq!(Lane::choose(client, upstream, Content::Changed), Lane::Translate);
        }
        assert_eq!(Lane::choose(O, O, Content::AsItCame), Lane::Relay);
        assert_eq!(Lane::choose(A, A, Content::AsItCame), Lane::Relay);
        assert_eq!(Lane::choose(O, A, Content::AsItCame), Lane::Translate);
    }
}
