//! A prediction that has ended.

use serde_json::value::RawValue;

use super::OWN;
use crate::chat::{Extras, Part, PartKind};
use crate::dialect::raw::need;
use crate::json::{self, Str, wire};
use crate::reply::{Choice, Finish, FinishReason, Usage};
use crate::{ChatReply, Malformed, Text};

wire! {
    pub(crate) struct PredictionWire<'a> {
        "id" => id: Text,
        "model" => model: Text,
        "version" => version: Text,
        "created_at" => created_at: Str<'a>,
        "status" => status: Str<'a>,
        "error" => error: &'a RawValue,
        "output" => output: &'a RawValue,
        "metrics" => metrics: &'a RawValue,
        "urls" => urls: &'a RawValue,
    }
}

wire! {
    struct MetricsWire<'a> {
        "input_token_count" | "token_input_count" => input: &'a RawValue,
        "output_token_count" | "token_output_count" => output: &'a RawValue,
    }
}

/// What a model of several answers puts around its words.
#[derive(serde::Deserialize)]
struct Worded {
    text: Text,
}

/// Fields of a prediction that say again what the caller knows, or when what happened.
const ECHOES: [&str; 11] = [
    "completed_at",
    "data_removed",
    "deadline",
    "deployment",
    "input",
    "source",
    "started_at",
    "stream",
    "urls",
    "webhook",
    "webhook_events_filter",
];

/// How far a prediction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Succeeded,
    /// Or was cancelled.
    Failed,
}

impl State {
    /// By the word for it; what nobody knows is still on its way.
    pub(crate) fn of(word: &str) -> Self {
        match word {
            "succeeded" | "successful" => Self::Succeeded,
            "failed" | "canceled" | "aborted" => Self::Failed,
            _ => Self::Running,
        }
    }
}

pub(super) fn decode(body: &[u8]) -> Result<ChatReply, Malformed> {
    let wire: PredictionWire<'_> = json::decode(body)?;
    let root = String::new;
    let status = need(wire.status.as_ref(), &root, "status", "a string")?.as_str();
    if State::of(status) != State::Succeeded {
        let expected = format!("\"succeeded\", not {status:?}");
        return Err(Malformed { pointer: "/status".to_owned(), expected });
    }
    let text = wire.output.map(text_of).unwrap_or_default();
    let finish = Finish { reason: FinishReason::Stop, raw: Some(Text::from_plain(status)), stop_sequence: None };
    let choice = Choice { parts: vec![Part::from(PartKind::Text(text))], finish, ..Choice::default() };
    Ok(ChatReply {
        source: OWN,
        id: need(wire.id, &root, "id", "a string")?,
        model: wire.model.or(wire.version).unwrap_or_default(),
        created: wire.created_at.as_ref().and_then(|time| unix_seconds(time.as_str())),
        choices: vec![choice],
        usage: wire.metrics.and_then(|metrics| count_usage(metrics.get())),
        extras: telling(&wire.extras),
    })
}

/// The words of an output: a string, a list of strings that are its pieces, or an object that has them as `text`. Whatever else a
/// model puts out is told as the JSON that it is.
pub(super) fn text_of(output: &RawValue) -> Text {
    if let Some(text) = Text::from_raw(output) {
        return text;
    }
    let at = "/output";
    if let Ok(pieces) = json::decode_at::<Vec<Text>>(output, at) {
        let mut text = Text::default();
        for piece in &pieces {
            text.push(piece);
        }
        return text;
    }
    match serde_json::from_str::<Worded>(output.get()) {
        Ok(worded) => worded.text,
        Err(_) if output.get() == "null" => Text::default(),
        Err(_) => Text::from_plain(output.get()),
    }
}

/// Tokens, of models that are paid by them.
pub(crate) fn count_usage(metrics: &str) -> Option<Usage> {
    let wire: MetricsWire<'_> = json::decode(metrics.as_bytes()).ok()?;
    let [input, output] = [wire.input, wire.output].map(|count| count.and_then(|count| json::count(count.get())));
    input.or(output)?;
    let raw = Some((OWN, json::copy(metrics)));
    Some(Usage { input: input.unwrap_or(0), output: output.unwrap_or(0), raw, ..Usage::default() })
}

/// What is said beside the output and known from nowhere else, such as the model's `logs`.
fn telling(extras: &Extras) -> Extras {
    let mut kept = Extras::default();
    for (key, value) in extras.iter().filter(|(key, value)| !ECHOES.contains(key) && value.get() != "\"\"") {
        kept.push(key, value.to_owned());
    }
    kept
}

/// Seconds of a time such as `2023-09-08T16:19:34.765994Z`.
pub(crate) fn unix_seconds(time: &str) -> Option<u64> {
    let digits = |from: usize, to: usize| time.get(from..to)?.parse::<u64>().ok();
    let [year, month, day] = [digits(0, 4)?, digits(5, 7)?, digits(8, 10)?];
    let [hour, minute, second] = [digits(11, 13)?, digits(14, 16)?, digits(17, 19)?];
    // Days since 1970 by counting years from March, so that a leap day is the last of its year
    // (<https://howardhinnant.github.io/date_algorithms.html#days_from_civil>).
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let from_march = (month + 9) % 12;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * from_march + 2) / 5 + day;
    Some((days.checked_sub(719_469)? * 24 + hour) * 3600 + minute * 60 + second)
}
