//! Named deviations of providers from the dialect they speak, applied to the canonical request before it is encoded.
//!
//! A request that is relayed is not touched: its caller wrote it for this provider. What cannot be said is a [`crate::Loss`].

use crate::chat::{ChatRequest, Message, Part, PartKind, Role, ToolChoice};
use crate::{Dialect, Losses, Text};

/// One deviation. Its doc says who has it and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quirk {
    /// The output limit is called `max_tokens`. Mistral refuses `max_completion_tokens` (`extra_forbidden`), Ollama ignores
    /// it (ollama/ollama#7125).
    MaxTokensLegacy,
    /// A limit from another dialect is called `max_completion_tokens`: OpenAI's reasoning models refuse `max_tokens`
    /// (<https://platform.openai.com/docs/api-reference/chat/create>). An OpenAI caller's own spelling stays.
    MaxCompletionTokens,
    /// No `stream_options`: Mistral refuses them and sends usage in its last chunk unasked.
    NoStreamOptions,
    /// No reasoning in the history: Mistral, Groq and Cerebras refuse `reasoning_content` on assistant messages.
    NoReasoningInput,
    /// `seed` is called `random_seed` (Mistral, <https://docs.mistral.ai/api>).
    RandomSeed,
    /// `tool_choice: "any"` is the older word for `"required"` (Mistral).
    AnyForRequired,
    /// Tool call ids are exactly nine letters or digits (Mistral: "must be a-z, A-Z, 0-9, with a length of 9").
    ToolCallIdNineAlnum,
    /// Only OpenAI itself knows the role `developer`.
    DeveloperAsSystem,
    /// The body says this version of Anthropic's API and not the model, which stands in the URL (Claude at Google Cloud,
    /// <https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai>). See [`crate::provider::Provider::name_model`].
    AnthropicVersionInBody(&'static str),
    /// Tokens are counted of a request's own fields: Google Cloud knows no `generateContentRequest` around them
    /// (<https://docs.cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.publishers.models/countTokens>).
    CountsFieldsAlone,
}

impl Quirk {
    /// What it means for a request, in a sentence for the documents.
    pub fn says(self) -> String {
        match self {
            Self::MaxTokensLegacy => "The output limit is called `max_tokens`.".to_owned(),
            Self::MaxCompletionTokens => {
                "An output limit from another dialect is called `max_completion_tokens`.".to_owned()
            }
            Self::NoStreamOptions => "`stream_options` are left out; usage comes unasked.".to_owned(),
            Self::NoReasoningInput => "Reasoning in the history is left out, and the loss is told.".to_owned(),
            Self::RandomSeed => "`seed` is called `random_seed`.".to_owned(),
            Self::AnyForRequired => "`tool_choice: \"required\"` is called `\"any\"`.".to_owned(),
            Self::ToolCallIdNineAlnum => "Ids of tool calls are made of nine letters and digits.".to_owned(),
            Self::DeveloperAsSystem => "The role `developer` becomes `system`.".to_owned(),
            Self::AnthropicVersionInBody(version) => {
                format!("The model stands in the URL alone, and the body says `anthropic_version: {version}`.")
            }
            Self::CountsFieldsAlone => {
                "Tokens are counted of contents, system instruction, tools and generation config alone.".to_owned()
            }
        }
    }
}

/// Bends a request to a provider's deviations, in the order of the list.
///
/// Clears [`ChatRequest::include_usage`] under [`Quirk::NoStreamOptions`]: what the *caller* asked for must be read before.
pub fn apply(quirks: &[Quirk], request: &mut ChatRequest, losses: &mut Losses) {
    for quirk in quirks {
        match quirk {
            Quirk::MaxTokensLegacy => name_limit(request, true),
            Quirk::MaxCompletionTokens if request.source == Dialect::OpenAiChat => {}
            Quirk::MaxCompletionTokens => name_limit(request, false),
            Quirk::NoStreamOptions => {
                request.include_usage = false;
                request.extras.remove("stream_options");
            }
            Quirk::NoReasoningInput => drop_reasoning(request, losses),
            Quirk::RandomSeed => rename_seed(request, losses),
            Quirk::AnyForRequired => say_any(request),
            Quirk::ToolCallIdNineAlnum => request.messages.iter_mut().for_each(shorten_ids),
            Quirk::DeveloperAsSystem => request.messages.iter_mut().for_each(no_developer),
            // A matter of the written body, relayed ones included.
            Quirk::AnthropicVersionInBody(_) | Quirk::CountsFieldsAlone => {}
        }
    }
}

fn name_limit(request: &mut ChatRequest, legacy: bool) {
    if let Some(limit) = &mut request.max_tokens {
        limit.legacy = legacy;
    }
}

fn drop_reasoning(request: &mut ChatRequest, losses: &mut Losses) {
    request.messages.retain_mut(|message| {
        let before = message.parts.len();
        message.parts.retain(|part| !matches!(part.kind, PartKind::Thinking { .. } | PartKind::Redacted { .. }));
        let signed = message.parts.iter_mut().map(unsign).filter(|signed| *signed).count();
        if signed > 0 || message.parts.len() < before {
            losses.push(message.pointer.clone(), "this provider takes no reasoning in the history");
        }
        // A message of nothing but reasoning goes; one that was empty from the start is the caller's business.
        before == 0 || !message.parts.is_empty()
    });
}

/// Where OpenAI's dialect has a signature over a call: <https://ai.google.dev/gemini-api/docs/thought-signatures>.
const EXTRA_CONTENT: &str = "extra_content";

/// Takes away a call's signature, which is a seal over the reasoning before it. True where there was one.
fn unsign(part: &mut Part) -> bool {
    let signed = part.signature.take().is_some();
    if signed {
        part.extras.remove(EXTRA_CONTENT);
    }
    signed
}

fn rename_seed(request: &mut ChatRequest, losses: &mut Losses) {
    let Some(seed) = request.sampling.seed.take() else { return };
    if request.source == Dialect::OpenAiChat {
        request.extras.push("random_seed", seed);
    } else {
        losses.push("/seed", "this provider's random_seed cannot be said from another dialect");
    }
}

fn say_any(request: &mut ChatRequest) {
    if matches!(request.tool_choice, Some(ToolChoice::Required))
        && let Ok(any) = serde_json::value::to_raw_value("any")
    {
        request.tool_choice = Some(ToolChoice::Foreign(Dialect::OpenAiChat, any));
    }
}

fn no_developer(message: &mut Message) {
    if message.role == Role::Developer {
        message.role = Role::System;
    }
}

fn shorten_ids(message: &mut Message) {
    for part in &mut message.parts {
        match &mut part.kind {
            PartKind::ToolCall(call) => shorten(&mut call.id),
            PartKind::ToolResult(result) => shorten(&mut result.call_id),
            _ => {}
        }
    }
}

const ID_LENGTH: usize = 9;
const ALPHANUMERIC: [u8; 62] = *b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// An id that already fits stays; any other becomes a hash of itself, so that a call and its result still agree, on every
/// replica and in every later turn. No way back is needed: the model names only calls it makes, and those ids fit.
fn shorten(id: &mut Text) {
    let fits = id.len() == ID_LENGTH && id.as_escaped().bytes().all(|byte| byte.is_ascii_alphanumeric());
    if fits {
        return;
    }
    let mut rest = fnv1a(id.to_plain().as_bytes());
    let mut short = String::with_capacity(ID_LENGTH);
    for _ in 0..ID_LENGTH {
        let digit = usize::try_from(rest % 62).unwrap_or_default();
        short.extend(ALPHANUMERIC.get(digit).map(|&byte| char::from(byte)));
        rest /= 62;
    }
    *id = Text::from_plain(&short);
}

/// FNV-1a, 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>): the standard library's hashers may change between releases.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{ContentForm, Extras, MaxTokens, Part, Sampling, Stop, ToolCall, ToolResult};

    fn message(role: Role, at: usize, parts: Vec<PartKind>) -> Message {
        let parts = parts.into_iter().map(Part::from).collect();
        let pointer = format!("/messages/{at}");
        Message { role, parts, content: ContentForm::Parts, name: None, extras: Extras::default(), pointer }
    }

    fn request(source: Dialect) -> ChatRequest {
        let call = ToolCall { id: "call_PTLP8xhu3uwZk4l3nlnrrJha".into(), name: "f".into(), ..ToolCall::default() };
        let result = ToolResult { call_id: call.id.clone(), ..ToolResult::default() };
        let thinking = || PartKind::Thinking { text: "hm".into(), signature: None };
        ChatRequest {
            source,
            model: "m".into(),
            messages: vec![
                message(Role::Developer, 0, vec![PartKind::Text("be brief".into())]),
                message(Role::Assistant, 1, vec![thinking(), PartKind::ToolCall(call)]),
                message(Role::Tool, 2, vec![PartKind::ToolResult(result)]),
                message(Role::Assistant, 3, vec![thinking()]),
                message(Role::User, 4, vec![]),
            ],
            tools: vec![],
            tool_choice: Some(ToolChoice::Required),
            parallel_tool_calls: None,
            max_tokens: Some(MaxTokens { value: 10, legacy: source == Dialect::AnthropicMessages }),
            sampling: Sampling { seed: Some(serde_json::value::to_raw_value(&7).unwrap()), ..Sampling::default() },
            stop: Stop::default(),
            response_format: None,
            reasoning: None,
            user: None,
            stream: true,
            include_usage: true,
            extras: Extras::default(),
        }
    }

    fn bent(quirk: Quirk, source: Dialect) -> (ChatRequest, Losses) {
        let (mut request, mut losses) = (request(source), Losses::default());
        apply(&[quirk], &mut request, &mut losses);
        (request, losses)
    }

    #[test]
    fn the_output_limit_has_the_providers_name() {
        use Dialect::{AnthropicMessages, OpenAiChat};
        for (quirk, source, legacy) in [
            (Quirk::MaxTokensLegacy, OpenAiChat, true),
            (Quirk::MaxTokensLegacy, AnthropicMessages, true),
            (Quirk::MaxCompletionTokens, AnthropicMessages, false),
        ] {
            assert_eq!(bent(quirk, source).0.max_tokens.unwrap().legacy, legacy);
        }
        let mut own = request(OpenAiChat);
        own.max_tokens = Some(MaxTokens { value: 10, legacy: true });
        apply(&[Quirk::MaxCompletionTokens], &mut own, &mut Losses::default());
        assert!(own.max_tokens.unwrap().legacy, "an OpenAI caller's own spelling stays");
    }

    #[test]
    fn usage_is_not_asked_for_where_stream_options_are_refused() {
        assert!(!bent(Quirk::NoStreamOptions, Dialect::OpenAiChat).0.include_usage);
    }

    #[test]
    fn reasoning_that_is_refused_is_dropped_and_reported() {
        let (request, losses) = bent(Quirk::NoReasoningInput, Dialect::OpenAiChat);
        let pointers: Vec<_> = losses.iter().map(|loss| loss.pointer.as_str()).collect();
        assert_eq!(pointers, ["/messages/1", "/messages/3"]);
        let kept: Vec<_> = request.messages.iter().map(|message| message.pointer.as_str()).collect();
        assert_eq!(kept, ["/messages/0", "/messages/1", "/messages/2", "/messages/4"]);
        assert!(matches!(request.messages[1].parts[..], [Part { kind: PartKind::ToolCall(_), .. }]));
    }

    #[test]
    fn a_seed_is_renamed_in_its_own_dialect_and_a_loss_from_another() {
        let (request, losses) = bent(Quirk::RandomSeed, Dialect::OpenAiChat);
        assert_eq!(request.extras.find("random_seed").unwrap().get(), "7");
        assert!(request.sampling.seed.is_none() && losses.is_empty());
        assert_eq!(bent(Quirk::RandomSeed, Dialect::AnthropicMessages).1.len(), 1);
    }

    #[test]
    fn required_becomes_any() {
        let (request, _) = bent(Quirk::AnyForRequired, Dialect::AnthropicMessages);
        let Some(ToolChoice::Foreign(Dialect::OpenAiChat, raw)) = request.tool_choice else { panic!() };
        assert_eq!(raw.get(), "\"any\"");
    }

    #[test]
    fn developers_speak_as_the_system() {
        assert_eq!(bent(Quirk::DeveloperAsSystem, Dialect::OpenAiChat).0.messages[0].role, Role::System);
    }

    #[test]
    fn a_call_and_its_result_get_the_same_short_id() {
        let (request, _) = bent(Quirk::ToolCallIdNineAlnum, Dialect::OpenAiChat);
        let PartKind::ToolCall(call) = &request.messages[1].parts[1].kind else { panic!() };
        let PartKind::ToolResult(result) = &request.messages[2].parts[0].kind else { panic!() };
        assert_eq!(call.id, result.call_id);
        assert_eq!(call.id, "D1WYc4JnA".into(), "the same on every replica and after every release");
    }

    #[test]
    fn ids_that_fit_stay_and_others_fit_afterwards() {
        for (id, stays) in [("abcDEF123", true), ("call_0fypS1hVX", false), ("", false), ("é2345678", false)] {
            let mut short = Text::from(id);
            shorten(&mut short);
            assert_eq!(short == Text::from(id), stays, "{id}");
            assert_eq!(short.len(), ID_LENGTH);
            assert!(short.as_escaped().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
    }
}
