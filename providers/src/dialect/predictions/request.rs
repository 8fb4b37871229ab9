//! The request: a prompt, and what else the model takes.

use super::names_version;
use super::prompt::{NO_COUNTERPART, Prompt};
use super::words::{Images, Words};
use crate::chat::{Reasoning, ResponseFormat, Sampling, Stop, ToolChoice};
use crate::json::{Array, Sheet, write_str};
use crate::{ChatRequest, Dialect, Losses, Text};

/// Fields of OpenAI's chat that are no inputs of a model. All others that the canonical model does not know are: that is how a caller
/// says what this model alone has (`prompt_template`).
const NO_INPUTS: [&str; 17] = [
    "audio",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "metadata",
    "modalities",
    "moderation",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "stream_options",
    "top_logprobs",
    "web_search_options",
];

pub(super) fn encode(request: &ChatRequest, losses: &mut Losses) -> Vec<u8> {
    let model = request.model.to_plain();
    let words = Words::of(&model);
    let mut out = Vec::with_capacity(1024);
    let mut sheet = Sheet::new(&mut out);
    if names_version(&model) {
        sheet.text("version", &request.model);
    }
    let mut input = Sheet::new(sheet.key("input"));
    write_prompt(Prompt::of(request, losses), words, &mut input, losses);
    if let Some(limit) = request.max_tokens {
        input.number(words.limit, limit.value);
    }
    write_sampling(&request.sampling, words, &mut input, losses);
    write_stop(&request.stop, words, &mut input, losses);
    if let Some(reasoning) = &request.reasoning {
        write_effort(reasoning, words, &mut input, losses);
    }
    write_extras(request, &mut input, losses);
    input.end();
    // Older models are followed only where that was asked for.
    if request.stream {
        sheet.bool("stream", true);
    }
    sheet.end();
    lose_rest(request, losses);
    out
}

fn write_prompt(prompt: Prompt, words: &Words, input: &mut Sheet<'_>, losses: &mut Losses) {
    let Prompt { system, text, images } = prompt;
    match words.system {
        Some(name) if !system.is_empty() => _ = input.str(name, &system).str("prompt", &text),
        None if !system.is_empty() => _ = input.str("prompt", &format!("{system}\n\n{text}")),
        _ => _ = input.str("prompt", &text),
    }
    if images.is_empty() {
        return;
    }
    match words.images {
        Images::One(name) => {
            let mut images = images.into_iter();
            if let Some((url, _)) = images.next() {
                input.str(name, &url);
            }
            for (_, place) in images {
                losses.push(place, "predictions of this model show one picture");
            }
        }
        Images::Many(name) => {
            let mut array = Array::new(input.key(name));
            for (url, _) in &images {
                write_str(array.item(), url);
            }
            array.end();
        }
    }
}

fn write_sampling(sampling: &Sampling, words: &Words, input: &mut Sheet<'_>, losses: &mut Losses) {
    for (name, value) in [
        ("temperature", &sampling.temperature),
        ("top_p", &sampling.top_p),
        ("top_k", &sampling.top_k),
        ("presence_penalty", &sampling.presence_penalty),
        ("frequency_penalty", &sampling.frequency_penalty),
        ("seed", &sampling.seed),
    ] {
        match value {
            Some(value) if words.sampling.contains(&name) => _ = input.raw(name, value.get()),
            Some(_) => losses.push(format!("/{name}"), NO_COUNTERPART),
            None => {}
        }
    }
    if sampling.choices.is_some_and(|choices| choices > 1) {
        losses.push("/n", NO_COUNTERPART);
    }
}

/// They stand in one string, so that one with a comma in it cannot be said.
fn write_stop(stop: &Stop, words: &Words, input: &mut Sheet<'_>, losses: &mut Losses) {
    if stop.sequences.is_empty() {
        return;
    }
    let sequences: Vec<_> = stop.sequences.iter().map(Text::to_plain).collect();
    match words.stop {
        Some(name) if sequences.iter().all(|sequence| !sequence.contains(',')) => {
            input.str(name, &sequences.join(","));
        }
        _ => losses.push("/stop", NO_COUNTERPART),
    }
}

fn write_effort(reasoning: &Reasoning, words: &Words, input: &mut Sheet<'_>, losses: &mut Losses) {
    match (&reasoning.effort, words.effort) {
        (Some(effort), Some(name)) => _ = input.text(name, effort),
        (Some(_), None) => losses.push("/reasoning_effort", NO_COUNTERPART),
        (None, _) => {}
    }
    if reasoning.budget.is_some() {
        losses.push("/thinking/budget_tokens", NO_COUNTERPART);
    }
    losses.fields(&reasoning.extras, "/thinking", NO_COUNTERPART);
}

/// What OpenAI's callers say beside is for the model, unless it is a field of that API.
fn write_extras(request: &ChatRequest, input: &mut Sheet<'_>, losses: &mut Losses) {
    let mut inputs = request.extras.clone();
    if request.source == Dialect::OpenAiChat {
        let lost: Vec<&str> = NO_INPUTS.into_iter().filter(|name| inputs.remove(name).is_some()).collect();
        for name in lost {
            if request.extras.telling().any(|telling| telling == name) {
                losses.push(format!("/{name}"), NO_COUNTERPART);
            }
        }
        input.extras(&inputs);
    } else {
        losses.fields(&inputs, "", NO_COUNTERPART);
    }
}

/// What no prediction has.
fn lose_rest(request: &ChatRequest, losses: &mut Losses) {
    let demanded =
        matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Function(_) | ToolChoice::Foreign(..)));
    let shaped = request.response_format.as_ref().is_some_and(|format| !matches!(format, ResponseFormat::Text));
    for (place, is_said) in [
        ("/tools", !request.tools.is_empty()),
        ("/tool_choice", demanded),
        ("/response_format", shaped),
        ("/user", request.user.is_some()),
    ] {
        if is_said {
            losses.push(place, NO_COUNTERPART);
        }
    }
}
