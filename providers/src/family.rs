//! Whose model it is. Some providers serve several vendors' models, each over the API of its vendor.

/// The vendor of a model, as configuration names it (`model_family`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    Anthropic,
    OpenAi,
    Mistral,
    Cohere,
    Gemini,
    Nova,
    Titan,
}

/// Each family's name, and what the names of its models have in common.
const FAMILIES: [(Family, &str, &[&str]); 7] = [
    (Family::Anthropic, "anthropic", &["claude"]),
    (Family::OpenAi, "openai", &["gpt-"]),
    (Family::Mistral, "mistral", &["mistral", "mixtral", "ministral", "codestral", "magistral", "devstral"]),
    (Family::Cohere, "cohere", &["cohere", "command-"]),
    (Family::Gemini, "gemini", &["gemini"]),
    (Family::Nova, "nova", &["amazon.nova"]),
    (Family::Titan, "titan", &["amazon.titan"]),
];

impl Family {
    /// As configuration names it.
    pub fn name(self) -> &'static str {
        FAMILIES.iter().find(|(family, ..)| *family == self).map_or("", |(_, name, _)| name)
    }

    /// By the name that configuration has for it.
    pub fn named(name: &str) -> Option<Self> {
        FAMILIES.iter().find(|(_, of, _)| *of == name).map(|(family, ..)| *family)
    }

    /// By the name of a model, which may stand within a region's or a vendor's prefix (`us.anthropic.claude-sonnet-4-v1:0`).
    pub fn of(model: &str) -> Option<Self> {
        let model = model.to_ascii_lowercase();
        let holds = |words: &[&str]| words.iter().any(|word| model.contains(word));
        FAMILIES.iter().find(|(.., words)| holds(words)).map(|(family, ..)| *family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_told_by_the_names_of_their_models() {
        for (model, family) in [
            ("claude-sonnet-4@20250514", Some(Family::Anthropic)),
            ("eu.anthropic.Claude-3-haiku-20240307-v1:0", Some(Family::Anthropic)),
            ("gemini-2.5-flash", Some(Family::Gemini)),
            ("gpt-4o", Some(Family::OpenAi)),
            ("amazon.nova-lite-v1:0", Some(Family::Nova)),
            ("my-deployment", None),
            ("", None),
        ] {
            assert_eq!(Family::of(model), family, "{model}");
        }
        assert!(FAMILIES.iter().all(|(family, name, _)| Family::named(name) == Some(*family)));
    }
}
