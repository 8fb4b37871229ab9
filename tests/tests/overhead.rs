//! The cost of our own code, gated in instructions, which a busy machine does not change.
//!
//! A lane's figure is (gateway - bare proxy of the same HTTP libraries) for one more request or chunk, counted by callgrind over the
//! release binary `overhead`; a crossing's is what its two codecs take, counted over the release binary `crossing_cost` (`tests/run` builds
//! both). Left out, loudly, where valgrind or a binary is missing.

#![cfg(test)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Instructions that our own code may take: the first bounds (60,000, 250,000, 3,000 and 14,000), tightened where they were beaten
/// to what was measured and a tenth.
const BOUNDS: [(&str, usize, usize, u64); 4] = [
    // lane, n of the shorter and the longer run, bound
    ("relay", 50, 150, 60_000),
    ("translate", 50, 150, 159_000),
    ("relay-chunks", 500, 2_500, 2_400),
    ("translate-chunks", 500, 2_500, 10_600),
];

/// What every crossing may take, tightened in the same way: client, provider, then instructions for a request of 8 KB with tools,
/// calls and results, for a reply of text and two calls, and for the same as a stream whose text comes in 64 pieces.
const CROSSINGS: &str = include_str!("crossings.tsv");

#[test]
fn our_own_code_stays_within_its_instruction_bounds() {
    let Some(binary) = built("overhead") else { return };
    let mut over = Vec::new();
    for (lane, short, long, bound) in BOUNDS {
        let ours = |through: &str| one_more(&binary, &[through, lane], short, long);
        let (gateway, bare) = (ours("gateway"), ours("bare"));
        let own = gateway.saturating_sub(bare);
        report(&format!("{lane}: {own} instructions of our own (gateway {gateway}, bare proxy {bare}; bound {bound})"));
        if own > bound {
            over.push(lane);
        }
    }
    assert!(over.is_empty(), "over their bound: {over:?}");
}

#[test]
fn every_crossing_stays_within_its_instruction_bounds() {
    let Some(binary) = built("crossing_cost") else { return };
    let rows: Vec<&str> = CROSSINGS.lines().skip(1).collect();
    assert_eq!(rows.len(), 30, "six dialects, each into five others");
    let (first, second) = rows.split_at(rows.len() / 2);
    // Counting is slow, and no count depends on what else runs.
    let over = std::thread::scope(|scope| {
        let other = scope.spawn(|| over_their_bounds(&binary, second));
        let mut over = over_their_bounds(&binary, first);
        over.extend(other.join().unwrap());
        over
    });
    assert!(over.is_empty(), "over their bound: {over:#?}");
}

fn over_their_bounds(binary: &Path, rows: &[&str]) -> Vec<String> {
    let mut over = Vec::new();
    for row in rows {
        let columns: Vec<&str> = row.split('\t').collect();
        let [client, provider, request, reply, stream] = columns.as_slice() else { panic!("{row}") };
        let mut taken = Vec::new();
        for (part, bound) in [("request", request), ("reply", reply), ("stream", stream)] {
            let instructions = one_more(binary, &[client, provider, part], 10, 30);
            if instructions > bound.parse().unwrap() {
                over.push(format!("{client} to {provider}, {part}: {instructions} of {bound}"));
            }
            taken.push(format!("{part} {instructions}"));
        }
        report(&format!("{client} to {provider}: {}", taken.join(", ")));
    }
    over
}

/// A release binary beside the one that runs, if there is all that it takes to count its instructions.
fn built(name: &str) -> Option<PathBuf> {
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        return left_out("valgrind is not installed");
    }
    // target/debug/deps/overhead-… -> target/release/overhead
    let mine = std::env::current_exe().unwrap();
    let path = mine.ancestors().nth(3).unwrap().join("release").join(name);
    if path.exists() { Some(path) } else { left_out(&format!("the release binary `{name}` is not built")) }
}

/// The cost of one more, start-up dropped out.
fn one_more(binary: &Path, workload: &[&str], short: usize, long: usize) -> u64 {
    (instructions(binary, workload, long) - instructions(binary, workload, short)) / (long - short) as u64
}

fn instructions(binary: &Path, workload: &[&str], count: usize) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(binary)
        .args(workload)
        .arg(count.to_string())
        .stdout(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{workload:?} {count}: {text}");
    let collected = text.lines().find_map(|line| line.split("Collected : ").nth(1)).unwrap();
    collected.trim().parse().unwrap()
}

#[expect(clippy::print_stderr, reason = "a figure and a gap must be seen in the log of the run")]
fn report(line: &str) {
    eprintln!("{line}");
}

fn left_out(why: &str) -> Option<PathBuf> {
    report(&format!("LEFT OUT: instruction bounds: {why}"));
    None
}
