//! What the inputs of a model are called: every model has its own, and those of one owner are much alike.
//!
//! Sources: the input schemas on the pages of `meta/meta-llama-3.1-405b-instruct`, `openai/o4-mini`, `anthropic/claude-4-sonnet`,
//! `google/gemini-2.5-flash` and `deepseek-ai/deepseek-r1` at <https://replicate.com>.

/// The inputs of an owner's models.
#[derive(Debug)]
pub(super) struct Words {
    owner: &'static str,
    /// Absent where there is only a prompt.
    pub(super) system: Option<&'static str>,
    /// The output limit.
    pub(super) limit: &'static str,
    pub(super) images: Images,
    /// Stop sequences, joined by commas.
    pub(super) stop: Option<&'static str>,
    /// How much to think, in a word.
    pub(super) effort: Option<&'static str>,
    /// The numbers of sampling that it takes.
    pub(super) sampling: &'static [&'static str],
}

/// How pictures are shown to it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Images {
    /// One.
    One(&'static str),
    Many(&'static str),
}

/// How most models have it.
const USUAL: Words = Words {
    owner: "",
    system: Some("system_prompt"),
    limit: "max_tokens",
    images: Images::One("image"),
    stop: Some("stop_sequences"),
    effort: None,
    sampling: &["temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "seed"],
};

const OWNERS: [Words; 5] = [
    Words {
        owner: "openai",
        limit: "max_completion_tokens",
        images: Images::Many("image_input"),
        stop: None,
        effort: Some("reasoning_effort"),
        sampling: &["temperature", "top_p", "presence_penalty", "frequency_penalty"],
        ..USUAL
    },
    Words { owner: "anthropic", stop: None, sampling: &[], ..USUAL },
    Words {
        owner: "google",
        system: Some("system_instruction"),
        limit: "max_output_tokens",
        images: Images::Many("images"),
        stop: None,
        sampling: &["temperature", "top_p"],
        ..USUAL
    },
    Words {
        owner: "deepseek-ai",
        system: None,
        stop: None,
        sampling: &["temperature", "top_p", "presence_penalty", "frequency_penalty"],
        ..USUAL
    },
    Words {
        owner: "xai",
        system: None,
        stop: None,
        sampling: &["temperature", "top_p", "presence_penalty", "frequency_penalty"],
        ..USUAL
    },
];

impl Words {
    /// Of a model of this name (`owner/name`); of a version that stands alone nobody knows whose it is.
    pub(super) fn of(model: &str) -> &'static Self {
        let owner = model.split_once('/').map_or("", |(owner, _)| owner);
        OWNERS.iter().find(|words| words.owner == owner).unwrap_or(&USUAL)
    }
}
