//! The cost of our own code, gated in instructions, which a busy machine does not change.
//!
//! Each figure is (gateway - bare proxy of the same HTTP libraries) for one more request or chunk, counted by callgrind over the
//! release binary `overhead` (`tests/run` builds it). Left out, loudly, where valgrind or that binary is missing.

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

#[test]
fn our_own_code_stays_within_its_instruction_bounds() {
    let Some(binary) = binary() else { return left_out("the release binary `overhead` is not built") };
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        return left_out("valgrind is not installed");
    }
    let mut over = Vec::new();
    for (lane, short, long, bound) in BOUNDS {
        let ours = |through: &str| {
            let more = instructions(&binary, through, lane, long) - instructions(&binary, through, lane, short);
            more / (long - short) as u64
        };
        let (gateway, bare) = (ours("gateway"), ours("bare"));
        let own = gateway.saturating_sub(bare);
        report(&format!("{lane}: {own} instructions of our own (gateway {gateway}, bare proxy {bare}; bound {bound})"));
        if own > bound {
            over.push(lane);
        }
    }
    assert!(over.is_empty(), "over their bound: {over:?}");
}

fn binary() -> Option<PathBuf> {
    let mine = std::env::current_exe().ok()?;
    // target/debug/deps/overhead-… -> target/release/overhead
    let path = mine.ancestors().nth(3)?.join("release/overhead");
    path.exists().then_some(path)
}

fn instructions(binary: &Path, through: &str, lane: &str, count: usize) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(binary)
        .args([through, lane, &count.to_string()])
        .stdout(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{through} {lane} {count}: {text}");
    let collected = text.lines().find_map(|line| line.split("Collected : ").nth(1)).unwrap();
    collected.trim().parse().unwrap()
}

#[expect(clippy::print_stderr, reason = "a figure and a gap must be seen in the log of the run")]
fn report(line: &str) {
    eprintln!("{line}");
}

fn left_out(why: &str) {
    report(&format!("LEFT OUT: instruction bounds: {why}"));
}
