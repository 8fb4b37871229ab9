//! Child processes: good ones, broken ones, and ones that do not want to end.

use std::time::{Duration, Instant};

use bifrost_mcp::{CallError, Era, Piece, State, TransportSettings};

use crate::support::{PATIENCE, World, eventually, is_alive, server, toolserver};

fn shell(name: &str, script: &str) -> bifrost_mcp::ServerSettings {
    let args = vec!["-c".to_owned(), script.to_owned()];
    server(name, TransportSettings::Stdio { command: "sh".to_owned(), args, env: Vec::new(), cwd: None })
}

#[tokio::test]
async fn tools_are_listed_called_and_reported() {
    let world = World::settled(vec![toolserver("plain", "plain")]).await;
    assert!(
        matches!(world.state("plain"), State::Ready { tools: 10, list_error: None, .. }),
        "{:?}",
        world.state("plain")
    );
    let outcome = world.call("plain-echo", r#"{"text":"hello"}"#).await;
    assert_eq!((outcome.text().as_str(), outcome.is_error, outcome.error), ("hello", false, None));
    let failed = world.call("plain_fail", "").await;
    assert_eq!((failed.text().as_str(), failed.error), ("no such file", Some(CallError::Tool)));
    let refused = world.call("plain-refuse", "{}").await;
    assert!(refused.is_error && refused.text().contains("I would rather not"), "{}", refused.text());
    let odd = world.call("plain-odd", "{}").await;
    assert_eq!(odd.text(), "kept\n{\"type\":\"hologram\",\"depth\":3}");
    assert!(matches!(odd.content[1], Piece::Other { ref kind, .. } if kind == "hologram"));
    let calls = world.seen.calls.lock().clone();
    assert_eq!(calls[0], ("plain/echo".to_owned(), None));
    assert_eq!(calls[1], ("plain/fail".to_owned(), Some("tool")));
    world.hub.close().await;
}

#[tokio::test]
async fn arguments_are_checked_before_anything_is_sent() {
    let world = World::settled(vec![toolserver("plain", "plain")]).await;
    for (arguments, complaint) in [
        (r#"{"text":1}"#, "/text: 1 is not of type \"string\""),
        ("{}", "\"text\" is a required property"),
        ("[]", "must be a JSON object"),
        ("{\"text\":", "failed to parse tool arguments for 'plain-echo'"),
    ] {
        let outcome = world.call("plain-echo", arguments).await;
        assert_eq!(outcome.error, Some(CallError::Arguments));
        assert!(outcome.text().contains(complaint), "{}", outcome.text());
    }
    world.hub.close().await;
}

#[tokio::test]
async fn bad_tools_are_dropped_one_by_one_and_the_first_of_two_wins() {
    let world = World::settled(vec![toolserver("broken", "broken")]).await;
    let states = world.hub.states();
    let rejected: Vec<_> = states[0].rejected.iter().map(|rejected| rejected.tool.as_str()).collect();
    assert_eq!(rejected, ["no_schema", "boolean_schema", "echo"]);
    let catalog = world.hub.catalog();
    assert_eq!(catalog.find("broken-echo").unwrap().description.as_deref(), Some("Says it again."));
    assert_eq!(world.call("broken-echo", r#"{"text":"still here"}"#).await.text(), "still here");
    world.hub.close().await;
}

#[tokio::test]
async fn a_cursor_that_repeats_ends_the_listing() {
    let world = World::settled(vec![toolserver("loop", "loop")]).await;
    assert!(matches!(world.state("loop"), State::Ready { tools: 10, .. }));
    world.hub.close().await;
}

#[tokio::test]
async fn a_listing_without_end_is_cut_off() {
    let world = World::settled(vec![toolserver("many", "endless")]).await;
    assert!(matches!(world.state("many"), State::Ready { tools: 10_000, .. }), "{:?}", world.state("many"));
    assert_eq!(world.hub.states()[0].rejected[0].tool, "tools beyond 10000");
    world.hub.close().await;
}

#[tokio::test]
async fn noise_on_standard_output_is_skipped() {
    let world = World::settled(vec![toolserver("noisy", "noisy")]).await;
    assert_eq!(world.call("noisy-echo", r#"{"text":"through"}"#).await.text(), "through");
    world.hub.close().await;
}

#[tokio::test]
async fn a_server_that_hangs_fails_alone() {
    let mut hanging = toolserver("hang", "hang");
    hanging.connect_timeout = Duration::from_millis(300);
    let mut missing = toolserver("missing", "plain");
    missing.transport = TransportSettings::Stdio {
        command: "/no/such/program".to_owned(),
        args: Vec::new(),
        env: Vec::new(),
        cwd: None,
    };
    let world = World::settled(vec![hanging, missing, toolserver("plain", "plain")]).await;
    assert!(matches!(world.state("plain"), State::Ready { .. }));
    let State::Failed { reason, .. } = world.state("hang") else { panic!("{:?}", world.state("hang")) };
    assert!(reason.contains("longer than 300ms"), "{reason}");
    let State::Failed { reason, .. } = world.state("missing") else { panic!("{:?}", world.state("missing")) };
    assert!(reason.contains("/no/such/program"), "{reason}");
    world.hub.close().await;
}

/// Lets time pass for other processes, and none for this one.
async fn a_moment() {
    tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(10))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_starts_slower_than_its_probe_waits_is_reached_at_the_first_attempt() {
    // While a thread is at work, the clock does not move by itself.
    let (rest, at_work) = std::sync::mpsc::channel::<()>();
    let clock = tokio::task::spawn_blocking(move || at_work.recv());
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    let program = crate::support::example("toolserver");
    let script = format!("until [ -e {} ]; do sleep 0.01; done; exec {} plain", gate.display(), program.display());
    let mut slow = shell("slow", &script);
    slow.connect_timeout = Duration::from_mins(10);
    let world = World::start(vec![slow]);
    for _ in 0..100 {
        a_moment().await;
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(world.state("slow"), State::Connecting);
    }
    std::fs::write(&gate, "").unwrap();
    let patience = Instant::now() + PATIENCE;
    while world.state("slow") == State::Connecting {
        assert!(Instant::now() < patience, "it never came up");
        a_moment().await;
    }
    assert!(matches!(world.state("slow"), State::Ready { tools: 10, .. }), "{:?}", world.state("slow"));
    drop(rest);
    clock.await.unwrap().unwrap_err();
    world.hub.close().await;
}

#[tokio::test]
async fn a_server_that_dies_of_the_probe_is_reached_the_old_way() {
    let world = World::start(vec![toolserver("old", "probe-dies")]);
    eventually("ready", PATIENCE, async || matches!(world.state("old"), State::Ready { .. })).await;
    world.hub.close().await;
}

#[tokio::test]
async fn a_death_in_mid_call_fails_at_once_and_heals() {
    let world = World::settled(vec![toolserver("plain", "plain")]).await;
    let started = Instant::now();
    let outcome = world.call("plain-die", "{}").await;
    assert_eq!(outcome.error, Some(CallError::Transport), "{}", outcome.text());
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());

    eventually("failed", PATIENCE, async || matches!(world.state("plain"), State::Failed { stale_tools: 10, .. }))
        .await;
    assert!(world.hub.catalog().find("plain-echo").is_some(), "its tools stay known");
    let refused = world.call("plain-echo", r#"{"text":"a"}"#).await;
    assert_eq!(refused.error, Some(CallError::Unavailable), "{}", refused.text());
    assert!(refused.text().contains("not connected: the connection"), "{}", refused.text());

    let dead = Instant::now();
    eventually("healed", PATIENCE, async || world.call("plain-echo", r#"{"text":"a"}"#).await.error.is_none()).await;
    assert!(dead.elapsed() < Duration::from_secs(5), "{:?}", dead.elapsed());
    world.hub.close().await;
}

#[tokio::test]
async fn an_announced_change_reaches_the_catalog() {
    let world = World::settled(vec![toolserver("plain", "plain")]).await;
    let before = world.hub.catalog();
    world.call("plain-grow", "{}").await;
    eventually("the new tool", PATIENCE, async || world.hub.catalog().find("plain-grown").is_some()).await;
    let after = world.hub.catalog();
    assert_eq!(after.generation(), before.generation() + 1, "five announcements, one change");
    assert!(before.find("plain-grown").is_none(), "a snapshot never changes");
    world.hub.close().await;
}

#[tokio::test]
async fn a_server_without_tools_is_ready_and_heals() {
    let world = World::settled(vec![toolserver("zero", "zero")]).await;
    assert!(matches!(world.state("zero"), State::Ready { tools: 0, .. }));
    eventually("tools", PATIENCE, async || matches!(world.state("zero"), State::Ready { tools: 10, .. })).await;
    world.hub.close().await;
}

#[tokio::test]
async fn a_large_result_is_cut_and_a_huge_one_refused() {
    let mut plain = toolserver("plain", "plain");
    plain.call_timeout = 3 * PATIENCE;
    let world = World::settled(vec![plain]).await;
    let large = world.call("plain-big", r#"{"bytes":1000000}"#).await;
    assert_eq!((large.truncated, large.is_error), (Some(1_000_000), false));
    assert!(large.text().ends_with("[The result was cut: it has 1000000 bytes, the limit is 262144.]"));
    let huge = world.call_within("plain-big", r#"{"bytes":100000000}"#, 3 * PATIENCE).await;
    assert_eq!(huge.error, Some(CallError::TooLarge), "{}", huge.text());
    let (says, size) = ("the answer of 1000000", " bytes is over the limit of 4194304 bytes for one message");
    assert!(huge.text().contains(says) && huge.text().ends_with(size), "{}", huge.text());
    assert_eq!(world.call("plain-echo", r#"{"text":"fine"}"#).await.text(), "fine");
    world.hub.close().await;
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_cancelled_upstream() {
    let world = World::settled(vec![toolserver("plain", "plain")]).await;
    let outcome = world.call_within("plain-slow", "{}", Duration::from_millis(200)).await;
    assert_eq!(outcome.error, Some(CallError::Timeout));
    assert_eq!(outcome.text(), "MCP tool call timed out after 200ms: plain-slow");
    eventually("cancelled", PATIENCE, async || world.call("plain-cancelled", "{}").await.text() == "1").await;
    world.hub.close().await;
}

#[tokio::test]
async fn a_server_that_stops_reading_holds_up_nobody() {
    let world = World::settled(vec![toolserver("deaf", "deaf")]).await;
    let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(1_000_000));
    for _ in 0..3 {
        let started = Instant::now();
        let outcome = world.call_within("deaf-echo", &long, Duration::from_millis(300)).await;
        assert_eq!(outcome.error, Some(CallError::Timeout));
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    }
    let started = Instant::now();
    world.hub.close().await;
    assert!(started.elapsed() < Duration::from_secs(7), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_call_whose_caller_leaves_is_cancelled_upstream() {
    let world = World::settled(vec![toolserver("plain", "plain")]).await;
    let left = tokio::time::timeout(Duration::from_millis(200), world.call("plain-slow", "{}")).await;
    assert!(left.is_err());
    eventually("cancelled", PATIENCE, async || world.call("plain-cancelled", "{}").await.text() == "1").await;
    world.hub.close().await;
}

#[tokio::test]
async fn a_server_gets_only_the_environment_it_was_given() {
    let mut plain = toolserver("plain", "plain");
    if let TransportSettings::Stdio { env, .. } = &mut plain.transport {
        env.push(("API_KEY".to_owned(), "s3cret".to_owned().into()));
    }
    let world = World::settled(vec![plain]).await;
    let text = world.call("plain-environment", "{}").await.text();
    let names: Vec<_> = text.lines().filter_map(|line| line.split('=').next()).collect();
    assert!(text.contains("API_KEY=s3cret"), "{text}");
    let known = ["API_KEY", "PATH", "HOME", "LANG", "TMPDIR", "USER"];
    assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
    world.hub.close().await;
}

#[tokio::test]
async fn closing_kills_even_a_group_that_ignores_every_request() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let program = crate::support::example("toolserver");
    let script = format!(
        "trap '' TERM; sleep 1000 & echo $! >{0}; echo $$ >>{0}; {1} plain; sleep 1000",
        pids.display(),
        program.display()
    );
    let mut stubborn = shell("stubborn", &script);
    stubborn.era = Era::Legacy;
    let world = World::settled(vec![stubborn]).await;
    assert!(matches!(world.state("stubborn"), State::Ready { .. }));
    let pids: Vec<i32> = std::fs::read_to_string(&pids).unwrap().lines().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.iter().filter(|pid| is_alive(**pid)).count(), 2);
    let started = Instant::now();
    world.hub.close().await;
    assert!(started.elapsed() < Duration::from_secs(7), "{:?}", started.elapsed());
    eventually("all dead", PATIENCE, async || pids.iter().all(|pid| !is_alive(*pid))).await;
}
