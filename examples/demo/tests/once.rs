//! The demo as a newcomer starts it: the whole program, on real sockets.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.args(["--simulate", "--port", "0"]).args(arguments);
    command
}

fn once(arguments: &[&str]) -> (Output, String) {
    let output = demo(arguments).arg("--once").output().expect("the demo starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

#[test]
fn the_loop_runs_and_is_told_in_order() {
    let (output, text) = once(&[]);
    assert!(output.status.success(), "{text}");
    let mut rest = text.as_str();
    for expected in [
        "10 discovered, 3 offered",
        "weather-get_weather",
        "Turn 1",
        "Let me look up Paris and Tokyo.",
        r#"calls     weather-get_weather {"city":"Paris"}"#,
        r#"answers   {"city":"Paris","temperature_c":11.5"#,
        r#"calls     weather-get_weather {"city":"Tokyo"}"#,
        "Turn 2",
        r#"calls     weather-compare {"a":11.5,"b":16}"#,
        "Turn 3",
        "**Tokyo** is the warmer one",
        "3 turns of the model, 3 tool calls run by the gateway",
        "tokens",
        "cost",
    ] {
        let at = rest.find(expected).unwrap_or_else(|| panic!("no {expected:?}, or not in order, in:\n{text}"));
        rest = &rest[at + expected.len()..];
    }
    assert!(text.lines().all(|line| line.chars().count() < 80), "{text}");
}

#[test]
fn both_simulated_providers_play_the_agent() {
    let (output, text) = once(&["--model", "openai/demo-agent", "--ask", "Lima or Oslo?"]);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("**Lima** is the warmer one"), "{text}");
}

#[test]
fn an_answer_without_tools_is_no_success() {
    for (model, reason) in [("openai/some-model", "without calling a tool"), ("nobody/x", "nobody")] {
        let (output, text) = once(&["--model", model]);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let told = text.split_once("The demo failed").unwrap_or_else(|| panic!("{text}")).1;
        assert!(told.contains(reason), "{text}");
    }
}

#[test]
fn it_stays_up_with_three_things_to_try_and_ends_on_a_signal() {
    let mut child = demo(&[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let until = lines.by_ref().find(|line| line.contains("extra_fields"));
    assert!(until.is_some(), "it ended by itself");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert!(child.wait().unwrap().success());
    // The rest of the last paragraph, then nothing: no complaint, no panic.
    assert!(lines.all(|line| line.trim().is_empty() || line.contains("what the gateway did")));
}
