//! The guard: what is left of a tool server when the gateway is killed, and when it is not.

use std::{
    io::{BufRead, BufReader, Write as _},
    process::Stdio,
    time::Duration,
};

use bifrost_mcp::{Hub, State};
use tokio::process::Command;

use crate::support::{PATIENCE, eventually, example, is_alive, settings, toolserver};

/// A tree that does not want to die: a server, a child of it, and one that left the process group.
fn stubborn_tree(pids: &std::path::Path) -> String {
    format!(
        "trap '' TERM INT; (trap '' TERM; echo $$ >>{0}; sleep 1000) & setsid sleep 1000 & echo $! >>{0}; echo done >>{0}; sleep 1000; sleep 1000",
        pids.display()
    )
}

fn pids_in(file: &std::path::Path) -> Vec<i32> {
    std::fs::read_to_string(file).unwrap_or_default().lines().filter_map(|pid| pid.parse().ok()).collect()
}

fn children_of(pid: i32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|child| {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        parent == Some(pid)
    })
    .collect()
}

fn everyone_below(pid: i32) -> Vec<i32> {
    let children = children_of(pid);
    children.iter().copied().chain(children.iter().flat_map(|child| everyone_below(*child))).collect()
}

#[tokio::test]
async fn a_killed_gateway_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    // The shell stands for the gateway. It must not be replaced by the guard, hence the second command.
    let mut gateway = Command::new("sh")
        .arg("-c")
        .arg("\"$0\" tool-guard -- sh -c \"$1\"; true")
        .arg(example("guard"))
        .arg(stubborn_tree(&pids))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the tree", PATIENCE, async || std::fs::read_to_string(&pids).is_ok_and(|text| text.contains("done")))
        .await;
    let root = i32::try_from(gateway.id().unwrap()).unwrap();
    let mut everyone: Vec<i32> = Vec::new();
    eventually("all five", PATIENCE, async || {
        everyone = everyone_below(root);
        everyone.len() >= 5
    })
    .await;
    assert!(pids_in(&pids).iter().all(|pid| everyone.contains(pid)), "{everyone:?}");

    gateway.start_kill().unwrap();
    gateway.wait().await.unwrap();
    let what = "the guard, the server, its child and the one that left the group are gone";
    eventually(what, Duration::from_secs(2), async || everyone.iter().all(|pid| !is_alive(*pid))).await;
}

#[tokio::test]
async fn the_guard_ends_with_its_server_and_tells_its_status() {
    let status =
        Command::new(example("guard")).args(["tool-guard", "--", "sh", "-c", "exit 7"]).status().await.unwrap();
    assert_eq!(status.code(), Some(7));
    let missing = Command::new(example("guard")).args(["tool-guard", "--", "/no/such/program"]).status().await.unwrap();
    assert_eq!(missing.code(), Some(127));
}

#[test]
fn a_thread_that_ends_is_no_dead_gateway() {
    // The kernel reports the death of the thread that started the guard, here one that lives only this long.
    let started = std::thread::spawn(|| {
        let mut guard = std::process::Command::new(example("guard"))
            .args(["tool-guard", "--", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(guard.stdout.take().unwrap());
        say(&mut guard, &mut stdout);
        (guard, stdout)
    });
    let (mut guard, mut stdout) = started.join().unwrap();
    for _ in 0..10 {
        say(&mut guard, &mut stdout);
    }
    drop(guard.stdin.take());
    assert_eq!(guard.wait().unwrap().code(), Some(0), "the server ended by itself");
}

fn say(guard: &mut std::process::Child, stdout: &mut impl BufRead) {
    guard.stdin.as_mut().unwrap().write_all(b"hello\n").unwrap();
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "hello\n");
}

#[tokio::test]
async fn a_guarded_server_works_and_closes() {
    let (mut settings, _) = settings(vec![toolserver("plain", "guarded-one")], Vec::new());
    settings.guard = Some(example("guard"));
    let hub = Hub::start(settings).unwrap();
    assert!(hub.settled(PATIENCE).await);
    assert!(matches!(hub.states()[0].state, State::Ready { tools: 10, .. }), "{:?}", hub.states());
    let own = i32::try_from(std::process::id()).unwrap();
    let guarded = |pid: &i32| {
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.contains("tool-guard") && command.contains("guarded-one")
    };
    let below: Vec<i32> = children_of(own)
        .into_iter()
        .filter(guarded)
        .flat_map(|guard| [vec![guard], everyone_below(guard)].concat())
        .collect();
    assert_eq!(below.len(), 2, "the guard and the server");
    hub.close().await;
    eventually("both gone", PATIENCE, async || below.iter().all(|pid| !is_alive(*pid))).await;
}
