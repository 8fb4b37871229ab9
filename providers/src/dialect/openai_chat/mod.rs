//! OpenAI chat completions.

/// The codec.
#[derive(Clone, Copy, Debug)]
pub struct OpenAiChat;
