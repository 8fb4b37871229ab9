//! Replays recorded OpenAI-chat traffic through the codec.
#![cfg(test)]

#[path = "support/frames.rs"]
mod frames;
#[path = "support/recorded.rs"]
mod recorded;
