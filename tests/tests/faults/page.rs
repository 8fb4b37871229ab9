//! The page of failures, made of what the tests saw.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bifrost_tests::Style;

use super::rows::{Moment, ROWS, Row};
use super::{CLIENTS, Case, Outcome, PROVIDERS};

const INTRODUCTION: &str = "\
# Failures

What a client is told of what goes wrong upstream, by the moment at which it goes wrong. Made by the test
`every_failure_is_told_in_the_callers_dialect_whenever_it_happens`, which asks a gateway in each of six dialects for each of these
answers of providers that speak five; what holds everywhere it also checks, and [errors](errors.md) says.

A column is what a client of that dialect reads as the kind of error: `error.type` of OpenAI's (of its Responses in mid-stream
`code`) and of Anthropic's, `error.status` of Gemini's, `x-amzn-errortype` or the exception of Bedrock's, and in a stream Cohere's
`finish_reason`; Cohere's errors have no kind. *Wait* is `retry-after` in seconds, *Again* is `x-should-retry` where it is sent,
*Elsewhere* whether `fallbacks` are tried. Providers with the same answers share a row.
";

/// What is known of one fault at one provider.
#[derive(Default)]
struct Line {
    /// By client and by whether it is streamed.
    told: Vec<(Style, bool, Outcome)>,
    moves: bool,
}

/// All lines, by fault and provider.
#[derive(Default)]
pub(crate) struct Page {
    lines: BTreeMap<(usize, usize), Line>,
}

impl Page {
    /// `None`: the answer came from the other provider.
    pub(crate) fn add(&mut self, case: &Case, outcome: Option<Outcome>) {
        let provider = PROVIDERS.iter().position(|provider| *provider == case.provider).unwrap_or_default();
        let line = self.lines.entry((case.at, provider)).or_default();
        match outcome {
            _ if case.fallback => line.moves = outcome.is_none(),
            Some(outcome) => line.told.push((case.client, case.stream, outcome)),
            None => {}
        }
    }

    pub(crate) fn written(&self) -> String {
        let mut page = INTRODUCTION.to_owned();
        for (moment, title) in [
            (Moment::BeforeReply, "Before there is a reply"),
            (Moment::BeforeContent, "In a stream, before its first content"),
            (Moment::MidStream, "In a stream, after content"),
        ] {
            write!(page, "\n## {title}\n\n").unwrap();
            page.push_str(
                "| The provider | Speaks | Status | Wait | Again | Elsewhere | OpenAI | Responses | Anthropic | Gemini | Bedrock | Cohere |\n",
            );
            page.push_str("|---|---|---|---|---|---|---|---|---|---|---|---|\n");
            for (at, row) in ROWS.iter().enumerate().filter(|(_, row)| row.moment == moment) {
                self.write(&mut page, at, row);
            }
        }
        page
    }

    /// The lines of one fault, those of providers with the same answers as one.
    fn write(&self, page: &mut String, at: usize, row: &Row) {
        let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
        for (place, provider) in PROVIDERS.iter().enumerate() {
            let Some(line) = self.lines.get(&(at, place)) else { continue };
            let cells = line.cells();
            match groups.iter_mut().find(|(known, _)| *known == cells) {
                Some((_, providers)) => providers.push(provider.name()),
                None => groups.push((cells, vec![provider.name()])),
            }
        }
        for (cells, providers) in groups {
            let providers = if providers.len() == PROVIDERS.len() { "any".to_owned() } else { providers.join(", ") };
            writeln!(page, "| {} | {providers} | {cells} |", row.name).unwrap();
        }
    }
}

impl Line {
    /// Cells that are the same for every client say it once; where they are not, each way is named.
    fn cells(&self) -> String {
        let all = |of: fn(&Outcome) -> String| {
            let mut values: Vec<String> = self.told.iter().map(|(_, _, outcome)| of(outcome)).collect();
            values.sort();
            values.dedup();
            values.join(" or ")
        };
        let mut cells = vec![
            all(|outcome| outcome.status.to_string()),
            all(|outcome| outcome.wait.clone()),
            all(|outcome| outcome.should_retry.clone()),
            if self.moves { "yes" } else { "no" }.to_owned(),
        ];
        for client in CLIENTS {
            let mut kinds: Vec<&str> = self
                .told
                .iter()
                .filter(|(of, ..)| *of == client)
                .map(|(_, _, outcome)| outcome.kind.as_str())
                .collect();
            kinds.dedup();
            cells.push(kinds.join(" or "));
        }
        cells.join(" | ")
    }
}
