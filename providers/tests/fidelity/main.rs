//! `docs/fidelity.md`: what survives a crossing, found by crossing, and where each promise is tested, found in the sources.
//!
//! The page is a golden: nobody writes a verdict by hand, and what is neither kept nor reported fails here.
#![cfg(test)]

mod cross;
mod facts;
mod page;
mod promises;

use std::path::{Path, PathBuf};

use cross::{Crossed, Direction, Verdict};

/// A file of the repository, by its path from the root.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

#[test]
fn the_page_of_fidelity_is_current() {
    let text = page::page(cross::crossings(), &promises::promises());
    let committed = std::fs::read_to_string(repository("docs/fidelity.md")).unwrap_or_default();
    if committed != text {
        let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fidelity.md");
        std::fs::write(&fresh, &text).unwrap();
        panic!("docs/fidelity.md is out of date: cp {} docs/fidelity.md", fresh.display());
    }
}

#[test]
fn nothing_is_lost_without_a_word() {
    let crossings = cross::crossings();
    assert!(crossings.len() > 1000, "only {} crossings", crossings.len());
    let lost = crossings.iter().flat_map(|crossed| {
        let silent = crossed.findings.iter().filter(|(_, verdict)| *verdict == Verdict::Lost);
        silent.map(move |(fact, _)| format!("{}: {fact:?}\n    {}", crossed.title(), crossed.written))
    });
    let lost: Vec<String> = lost.collect();
    assert!(lost.is_empty(), "{} lost:\n{}", lost.len(), lost.join("\n"));
}

/// Whoever reads a loss looks for it in the body that they sent, not in our model of it.
#[test]
fn every_loss_points_into_the_body_that_it_was_taken_from() {
    let astray = cross::crossings().iter().flat_map(|crossed| {
        let nowhere = crossed.losses.iter().filter(|loss| crossed.body.pointer(&loss.pointer).is_none());
        nowhere.map(move |loss| format!("{}: {} ({})", crossed.title(), loss.pointer, loss.reason))
    });
    let astray: Vec<String> = astray.collect();
    assert!(astray.is_empty(), "{} astray:\n{}", astray.len(), astray.join("\n"));
}

/// A dialect understands itself: were a reader of this test blind, it would be seen here.
#[test]
fn everything_is_kept_in_its_own_dialect() {
    for crossed in cross::crossings().iter().filter(|crossed| crossed.from == crossed.to) {
        assert!(!crossed.findings.is_empty(), "{}: nothing to look for", crossed.title());
        let kept = crossed.findings.iter().all(|(_, verdict)| *verdict == Verdict::Kept);
        assert!(kept, "{}: {:?}", crossed.title(), crossed.findings);
    }
}

#[test]
fn every_promise_is_tested_or_says_why_not() {
    let wrong: Vec<String> = promises::promises().iter().filter_map(promises::Promise::fault).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
