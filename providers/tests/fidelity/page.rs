//! The page, written from what was found.

use std::fmt::Write as _;

use bifrost_providers::Dialect;

use crate::cross::{LEFT_OUT, SIDES};
use crate::promises::Promise;
use crate::{Crossed, Direction, Verdict};

const HEAD: &str = "\
# What survives a crossing

A client speaks one dialect, a provider another, and the gateway translates. This page is written by a test
(`cargo test -p bifrost-providers --test fidelity`), which crosses a case for every feature between every two dialects, reads what was
written with the other dialect's reader, and looks for every single fact. Nobody writes a verdict by hand, and a fact that is neither
there nor reported fails the test. A model that declines and a filter that cuts in are one stop reason here. The cases are the tables in `providers/tests/tables/crossings/`.

- **kept**: it arrives as what it is.
- **as text**: the other dialect has no place of its own for it; its words stand in the text.
- **by a tool**: the model is made to call a tool whose arguments are the answer.
- **reported**: it is left out or changed, and named with its place and the reason in `extra_fields.losses` and the log.
- **left out**: not kept and not reported, on purpose, for the reason below the tables.
- **refused**: the body as a whole is refused.
- **-**: the dialect it comes from cannot say it.

A cell that says more than one word names the cases that are not kept.
";

/// Rows of the tables, in the order of the page.
const FEATURES: [&str; 15] = [
    "text",
    "images",
    "audio",
    "files",
    "tools",
    "tool choice",
    "parallel calls",
    "reasoning",
    "cache marks",
    "citations",
    "structured output",
    "log-probabilities",
    "refusals",
    "stop reasons",
    "usage details",
];

pub(crate) fn page(crossings: &[Crossed], promises: &[Promise]) -> String {
    let unknown = crossings.iter().find(|crossed| !FEATURES.contains(&crossed.case.feature.as_str()));
    assert!(unknown.is_none(), "no row for {:?}", unknown.map(Crossed::title));
    let mut text = HEAD.to_owned();
    for (direction, title, from, to) in [
        (Direction::Request, "Requests", "A client of", "to a provider of"),
        (Direction::Reply, "Replies", "A provider of", "to a client of"),
    ] {
        write!(text, "\n## {title}\n").unwrap();
        for side in &SIDES {
            write!(text, "\n{from} `{}` {to}:\n\n", side.dialect.name()).unwrap();
            let crossings: Vec<&Crossed> = crossings
                .iter()
                .filter(|crossed| (crossed.direction, crossed.from) == (direction, side.dialect))
                .collect();
            text.push_str(&table(&crossings));
        }
    }
    text.push_str("\nLeft out on purpose:\n\n");
    for (dialect, kind, reason) in LEFT_OUT {
        writeln!(text, "- `{}`, {kind}: {reason}.", dialect.name()).unwrap();
    }
    text.push_str(&reasons(crossings));
    text.push_str(&promised(promises));
    text
}

/// Features down, the other side's dialect across.
fn table(crossings: &[&Crossed]) -> String {
    let names: Vec<&str> = SIDES.iter().map(|side| side.dialect.name()).collect();
    let mut text = format!("| | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for feature in FEATURES {
        let cells = SIDES.iter().map(|side| {
            let cell = |crossed: &&&Crossed| crossed.to == side.dialect && crossed.case.feature == feature;
            cell_of(&crossings.iter().filter(cell).copied().collect::<Vec<_>>())
        });
        let cells: Vec<String> = cells.collect();
        if cells.iter().any(|cell| cell != "-") {
            writeln!(text, "| {feature} | {} |", cells.join(" | ")).unwrap();
        }
    }
    text
}

fn cell_of(cases: &[&Crossed]) -> String {
    let words: Vec<(&str, &str)> = cases.iter().map(|crossed| (crossed.case.what.as_str(), word(crossed))).collect();
    match words.as_slice() {
        [] => "-".to_owned(),
        [(_, first), rest @ ..] if rest.iter().all(|(_, word)| word == first) => (*first).to_owned(),
        _ => {
            let others = words.iter().filter(|(_, word)| *word != "kept");
            let others: Vec<String> = others.map(|(what, word)| format!("{what}: {word}")).collect();
            let kept = if others.len() < words.len() { "kept; " } else { "" };
            format!("{kept}{}", others.join("; "))
        }
    }
}

/// What became of a case: the worst that became of its facts.
fn word(crossed: &Crossed) -> &'static str {
    let has = |verdict| crossed.findings.iter().any(|(_, found)| *found == verdict);
    match () {
        () if has(Verdict::Lost) => "LOST",
        () if has(Verdict::Refused) => "refused",
        () if has(Verdict::Reported) => "reported",
        () if has(Verdict::ByTool) => "by a tool",
        () if has(Verdict::LeftOut) => "left out",
        () if has(Verdict::AsText) => "as text",
        () => "kept",
    }
}

/// Every report, in its own words, with the dialects it is made between.
fn reasons(crossings: &[Crossed]) -> String {
    let mut rows: Vec<(String, String, Vec<Dialect>)> = Vec::new();
    for crossed in crossings.iter().filter(|crossed| word(crossed) == "reported") {
        for loss in &crossed.losses {
            let what = format!(
                "{}: {}, {} | `{}`",
                crossed.from.name(),
                crossed.case.feature,
                crossed.case.what,
                loss.pointer
            );
            let reason = loss.reason.to_string();
            match rows
                .iter_mut()
                .find(|(known, why, _)| (known.as_str(), why.as_str()) == (what.as_str(), reason.as_str()))
            {
                Some((_, _, to)) => to.push(crossed.to),
                None => rows.push((what, reason, vec![crossed.to])),
            }
        }
    }
    let mut text =
        "\n## What is reported, in which words\n\n| What | Where | To | Why |\n|---|---|---|---|\n".to_owned();
    for (what, reason, to) in rows {
        let to: Vec<&str> = to.into_iter().map(Dialect::name).collect();
        writeln!(text, "| {what} | {} | {} |", to.join(", "), reason.replace('|', "\\|")).unwrap();
    }
    text
}

fn promised(promises: &[Promise]) -> String {
    let tested = promises.iter().filter(|promise| !promise.found.is_empty() || !promise.others.is_empty()).count();
    let mut text = format!(
        "\n## The promises, by name\n\n{tested} of {} are kept by a test. Each stands beside the file that has a test, or a row of \
         a table of tests, of its name, or the test that keeps it under another name, or why there is none.\n\n\
         | Promise | What it says | Tested |\n|---|---|---|\n",
        promises.len()
    );
    for Promise { name, meaning, note, found, others } in promises {
        let others = others.iter().map(|(test, file)| format!("`{test}` in {}", file.as_deref().unwrap_or("no file")));
        let mut places: Vec<String> = found.iter().cloned().chain(others).collect();
        if places.is_empty() {
            places.push((*note).to_owned());
        }
        writeln!(text, "| `{name}` | {meaning} | {} |", places.join(", ")).unwrap();
    }
    text
}
