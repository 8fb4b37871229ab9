//! Replays recorded OpenAI-chat traffic through the codec.

#[path = "support/frames.rs"]
mod frames;
#[path = "support/recorded.rs"]
mod recorded;
