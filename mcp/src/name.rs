//! The names tools are offered under: `<server>-<tool>`, at most 64 characters of `[a-zA-Z0-9_-]`.
//!
//! Every provider accepts such names, and OpenAI and Anthropic refuse the whole request over one that is longer. A
//! name that cannot be spelled so gets an alias: what can be kept of it, then a hash of the full name. The alias depends
//! on nothing but the two names, so it is the same on every replica and after every restart.

use sha2::{Digest, Sha256};

/// The longest function name that OpenAI, Anthropic and Gemini all accept.
pub(crate) const MAX_NAME: usize = 64;
/// Hexadecimal digits of the hash in an alias.
const HASH_DIGITS: usize = 8;

/// `<server>-<tool>`, whether or not it can be offered like that.
pub(crate) fn canonical(server: &str, tool: &str) -> String {
    format!("{server}-{tool}")
}

/// Whether every provider accepts this name.
pub(crate) fn is_legal(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(is_legal_byte)
}

/// A legal name for a tool whose canonical name is not. `attempt` is 0, or higher when that alias is taken.
pub(crate) fn alias(server: &str, tool: &str, attempt: u32) -> String {
    let mut hasher = Sha256::new();
    // The length makes the border between the names part of the hash: two pairs never hash the same bytes.
    hasher.update((server.len() as u64).to_be_bytes());
    hasher.update(server.as_bytes());
    hasher.update(tool.as_bytes());
    if attempt > 0 {
        hasher.update(attempt.to_be_bytes());
    }
    let digest = hex::encode(hasher.finalize());
    let keep = MAX_NAME - HASH_DIGITS - 1;
    let kept = canonical(server, tool).chars().take(keep).map(legal_or_underscore).collect::<String>();
    format!("{kept}-{}", digest.get(..HASH_DIGITS).unwrap_or(&digest))
}

fn is_legal_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn legal_or_underscore(character: char) -> char {
    if character.is_ascii_alphanumeric() || character == '-' { character } else { '_' }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_alias_never_changes_between_versions() {
        assert_eq!(alias("files", "read.file", 0), "files-read_file-82e2463c");
        assert_ne!(alias("files", "read.file", 0), alias("files", "read.file", 1));
    }

    #[test]
    fn the_border_between_server_and_tool_is_part_of_the_hash() {
        assert_ne!(alias("a-b", "c", 0), alias("a", "b-c", 0));
    }

    proptest! {
        #[test]
        fn an_alias_is_legal_and_stable(server in "[a-z][a-z0-9_]{0,80}", tool in "\\PC{0,300}") {
            let name = alias(&server, &tool, 0);
            prop_assert!(is_legal(&name), "{name}");
            prop_assert_eq!(name, alias(&server, &tool, 0));
        }
    }
}
