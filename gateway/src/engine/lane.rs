//! Which of three ways a request takes to one target.

use bifrost_providers::Dialect;

/// The way of one request to one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Same dialect at both ends and nobody needs the content: bytes are spliced and passed on.
    Relay,
    /// The dialects differ.
    Translate,
    /// Tools of the gateway are offered, so it must see what the model calls.
    Loop,
}

impl Lane {
    /// A security decision as much as one of speed: a relayed reply is invisible to the gateway, so a request that is offered
    /// tools never takes that lane.
    pub fn choose(client: Dialect, upstream: Dialect, tools_offered: bool) -> Self {
        if tools_offered {
            Self::Loop
        } else if client == upstream {
            Self::Relay
        } else {
            Self::Translate
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
            assert_eq!(Lane::choose(client, upstream, true), Lane::Loop);
        }
        assert_eq!(Lane::choose(O, O, false), Lane::Relay);
        assert_eq!(Lane::choose(A, A, false), Lane::Relay);
        assert_eq!(Lane::choose(O, A, false), Lane::Translate);
    }
}
