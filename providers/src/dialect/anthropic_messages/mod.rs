//! Anthropic Messages.

/// The codec.
#[derive(Clone, Copy, Debug)]
pub struct AnthropicMessages;
