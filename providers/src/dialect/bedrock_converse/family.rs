//! What a model can, told from its name. Bedrock serves many makers' models through one API, which takes fields that not every
//! model takes.

use crate::Text;

/// Regions that stand before a model's name where requests may run in several of them (inference profiles).
const SPREADS: &[&str] = &["us.", "us-gov.", "eu.", "apac.", "au.", "ca.", "jp.", "sa.", "global."];

/// Models made before Bedrock could hold an answer to a schema (`outputConfig.textFormat`,
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html>), by the beginning of their names.
const BEFORE_FORMATS: &[&str] = &[
    "ai21.",
    "amazon.",
    "anthropic.claude-3",
    "anthropic.claude-instant",
    "anthropic.claude-opus-4-1-",
    "anthropic.claude-opus-4-2",
    "anthropic.claude-sonnet-4-2",
    "anthropic.claude-v2",
    "cohere.",
    "deepseek.r1",
    "meta.",
    "mistral.mistral-7b",
    "mistral.mistral-large-24",
    "mistral.mistral-small-24",
    "mistral.mixtral",
    "mistral.pixtral",
    "writer.",
];

/// Makers whose models cannot be made to call a tool
/// (<https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-supported-models-features.html>).
const UNFORCED: &[&str] = &["ai21", "meta", "writer"];

/// Who made a model, as far as that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    Anthropic,
    /// Amazon's Nova.
    Nova,
    Cohere,
    OpenAi,
    /// One whose models cannot be made to call a tool.
    Unforced,
    /// Anybody else, who does without what Anthropic and Nova alone can.
    Plain,
    /// Whoever stands behind the name of a resource of one's own (an application inference profile, provisioned throughput).
    Unknown,
}

/// What a model can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Family {
    maker: Maker,
    takes_formats: bool,
    is_second_nova: bool,
}

/// How a model is made to call a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Force {
    /// A certain one, or any.
    One,
    /// Any.
    Any,
    /// Not at all.
    No,
}

/// How a model is told how hard to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// `outputConfig.effort`.
    Output,
    /// `additionalModelRequestFields.reasoning_effort`: OpenAI's open models.
    Plain,
    /// `additionalModelRequestFields.reasoningConfig`: Nova 2.
    Config,
}

/// The model that an id or a resource name stands for, without the region: what it is priced and described as. A resource of one's
/// own does not say.
pub fn base_model(id: &str) -> &str {
    let name = if id.starts_with("arn:") { id.rsplit('/').next().unwrap_or(id) } else { id };
    SPREADS.iter().find_map(|spread| name.strip_prefix(spread)).unwrap_or(name)
}

impl Family {
    pub(super) fn of(model: &Text) -> Self {
        let plain = model.to_plain();
        let name = base_model(&plain);
        let maker = match name.split_once('.').map(|(maker, _)| maker) {
            Some("anthropic") => Maker::Anthropic,
            Some("amazon") if name.starts_with("amazon.nova") => Maker::Nova,
            Some("cohere") => Maker::Cohere,
            Some("openai") => Maker::OpenAi,
            Some(maker) if UNFORCED.contains(&maker) => Maker::Unforced,
            Some(_) => Maker::Plain,
            None => Maker::Unknown,
        };
        let takes_formats = !BEFORE_FORMATS.iter().any(|start| name.starts_with(start));
        Self { maker, takes_formats, is_second_nova: name.starts_with("amazon.nova-2") }
    }

    fn is_anthropic_or_unknown(self) -> bool {
        matches!(self.maker, Maker::Anthropic | Maker::Unknown)
    }

    /// Is its reasoning signed? Then none comes back without its signature, and to the others none with one.
    pub(super) fn signs_reasoning(self) -> bool {
        self.is_anthropic_or_unknown()
    }

    /// Does it take a budget of thinking (`thinking.budget_tokens`)?
    pub(super) fn takes_thinking_budget(self) -> bool {
        self.is_anthropic_or_unknown()
    }

    /// Does it take cache points? <https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html>
    pub(super) fn caches(self) -> bool {
        self.is_anthropic_or_unknown() || self.maker == Maker::Nova
    }

    /// Does it take the status of a tool's result? The service model says: Nova and Claude only.
    pub(super) fn takes_status(self) -> bool {
        self.caches()
    }

    pub(super) fn takes_formats(self) -> bool {
        self.takes_formats
    }

    pub(super) fn force(self) -> Force {
        match self.maker {
            // The service model says of `tool`: Claude and Nova only. Of `any` it says nothing.
            Maker::Anthropic | Maker::Nova | Maker::Unknown => Force::One,
            Maker::Cohere | Maker::OpenAi | Maker::Plain => Force::Any,
            Maker::Unforced => Force::No,
        }
    }

    pub(super) fn effort(self) -> Effort {
        match self.maker {
            Maker::OpenAi => Effort::Plain,
            Maker::Nova if self.is_second_nova => Effort::Config,
            _ => Effort::Output,
        }
    }

    /// Where `top_k` stands among the additional fields: the object and the key.
    pub(super) fn top_k(self) -> (Option<&'static str>, &'static str) {
        match self.maker {
            Maker::Nova => (Some("inferenceConfig"), "topK"),
            Maker::Cohere => (None, "k"),
            _ => (None, "top_k"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bdk_inference_profile_arn_cost_name() {
        for (id, base) in [
            ("amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0"),
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-haiku-4-5-20251001-v1:0"),
            ("global.anthropic.claude-sonnet-4-6", "anthropic.claude-sonnet-4-6"),
            ("arn:aws:bedrock:us-east-1::foundation-model/meta.llama3-70b", "meta.llama3-70b"),
            (
                "arn:aws:bedrock:us-east-1:123456789012:inference-profile/eu.amazon.nova-pro-v1:0",
                "amazon.nova-pro-v1:0",
            ),
            ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3", "a1b2c3"),
        ] {
            assert_eq!(base_model(id), base);
        }
    }

    #[test]
    fn what_a_model_can_is_told_from_its_name() {
        for (name, signed, caches, formats, force) in [
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", true, true, true, Force::One),
            ("anthropic.claude-opus-4-6-v1", true, true, true, Force::One),
            ("anthropic.claude-opus-4-1-20250805-v1:0", true, true, false, Force::One),
            ("anthropic.claude-sonnet-4-20250514-v1:0", true, true, false, Force::One),
            ("anthropic.claude-3-7-sonnet-20250219-v1:0", true, true, false, Force::One),
            ("amazon.nova-lite-v1:0", false, true, false, Force::One),
            ("mistral.mistral-large-2402-v1:0", false, false, false, Force::Any),
            ("mistral.mistral-large-3-675b-instruct", false, false, true, Force::Any),
            ("meta.llama3-3-70b-instruct-v1:0", false, false, false, Force::No),
            ("deepseek.v3.2", false, false, true, Force::Any),
            ("minimax.minimax-m2", false, false, true, Force::Any),
            ("arn:aws:bedrock:us-east-1:1:application-inference-profile/a1b2", true, true, true, Force::One),
        ] {
            let family = Family::of(&name.into());
            let told = (family.signs_reasoning(), family.caches(), family.takes_formats(), family.force());
            assert_eq!(told, (signed, caches, formats, force), "{name}");
        }
        for (name, effort) in [
            ("openai.gpt-oss-120b-1:0", Effort::Plain),
            ("us.amazon.nova-2-lite-v1:0", Effort::Config),
            ("anthropic.claude-opus-4-6-v1", Effort::Output),
        ] {
            assert_eq!(Family::of(&name.into()).effort(), effort, "{name}");
        }
    }
}
