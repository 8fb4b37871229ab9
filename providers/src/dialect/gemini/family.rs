//! What a model can, told from its name: generations of Gemini differ in what they take.

use crate::Text;

/// A generation of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Family {
    /// Major and minor version; models whose name does not say are taken for the newest.
    version: (u32, u32),
    pro: bool,
}

/// How a family is told how much to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinking {
    /// Not at all: the field is refused.
    No,
    /// `thinkingBudget`, at most this many tokens.
    Budget(u64),
    /// `thinkingLevel`; thinking cannot be switched off.
    Level,
}

impl Family {
    pub(super) fn of(model: &Text) -> Self {
        let plain = model.to_plain();
        let name = plain.rsplit('/').next().unwrap_or_default();
        let newest = (u32::MAX, 0);
        let version = match name {
            // Gemma and LearnLM are served by the same API, with what its first generation had.
            name if name.starts_with("gemma") || name.starts_with("learnlm") || name.starts_with("gemini-pro") => {
                (1, 0)
            }
            name => name.strip_prefix("gemini-").and_then(version).unwrap_or(newest),
        };
        Self { version, pro: name.contains("-pro") }
    }

    /// Does it take JSON Schema itself, rather than the subset of `OpenAPI`'s schemas that came before it?
    pub(super) fn takes_json_schema(self) -> bool {
        self.version >= (2, 0)
    }

    /// The largest budgets: <https://ai.google.dev/gemini-api/docs/thinking>.
    pub(super) fn thinking(self) -> Thinking {
        match self.version {
            (0..=1, _) | (2, 0..=4) => Thinking::No,
            (2, _) => Thinking::Budget(if self.pro { 32_768 } else { 24_576 }),
            _ => Thinking::Level,
        }
    }

    /// From the third generation on, calls must come back signed, and results may hold media.
    pub(super) fn is_third(self) -> bool {
        self.version >= (3, 0)
    }
}

/// `2.5-flash` to (2, 5).
fn version(rest: &str) -> Option<(u32, u32)> {
    let number = rest.split('-').next().unwrap_or_default();
    let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_told_by_name() {
        for (name, json_schema, thinking, third) in [
            ("gemini-1.5-pro", false, Thinking::No, false),
            ("gemini-pro", false, Thinking::No, false),
            ("gemma-3-27b-it", false, Thinking::No, false),
            ("gemini-2.0-flash", true, Thinking::No, false),
            ("gemini-2.5-flash-lite", true, Thinking::Budget(24_576), false),
            ("models/gemini-2.5-pro", true, Thinking::Budget(32_768), false),
            ("gemini-3-flash-preview", true, Thinking::Level, true),
            ("publishers/google/models/gemini-3.1-pro", true, Thinking::Level, true),
            ("gemini-flash-latest", true, Thinking::Level, true),
        ] {
            let family = Family::of(&name.into());
            assert_eq!(
                (family.takes_json_schema(), family.thinking(), family.is_third()),
                (json_schema, thinking, third),
                "{name}"
            );
        }
    }
}
