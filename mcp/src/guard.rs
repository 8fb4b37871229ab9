//! The guard of a stdio tool server: a process between the gateway and the server that outlives the gateway's death.
//!
//! A gateway that is killed cannot clean up. Its tool servers, and what those started, would live on. So each server
//! starts below a guard, the gateway's own binary with a hidden subcommand. When the gateway is gone the guard kills
//! every descendant, also those that left the process group, and ends. It speaks on neither pipe; the server inherits
//! both.
//!
//! The kernel tells the guard of its parent's death with `SIGUSR1`, but it tells of the death of the parent *thread*,
//! which may well be one worker of a healthy gateway. So the signal is only a reason to look who the parent is now, and
//! a slow poll looks as well.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    os::unix::process::{ExitStatusExt as _, parent_id},
    process::ExitStatus,
    time::Duration,
};

use nix::{
    sys::{
        prctl,
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::{Instant, interval, sleep, sleep_until},
};

/// The hidden subcommand that runs the guard: `<program> tool-guard -- COMMAND ARGS...`.
pub const SUBCOMMAND: &str = "tool-guard";

/// How often the guard looks who its parent is, in case no signal came.
const POLL: Duration = Duration::from_millis(250);
/// How long the server may take to end after `SIGTERM` before it is killed with all its descendants.
const TERM_GRACE: Duration = Duration::from_millis(1500);
/// How long killing may take before the guard gives up.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);
/// What shells answer for a command that cannot be run.
const CANNOT_RUN: i32 = 127;

/// Runs `COMMAND ARGS...` and guards it; returns the exit status for the process. Call it before any runtime starts.
pub fn run(command: impl IntoIterator<Item = OsString>) -> i32 {
    let parent = parent_id();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(guard(parent, command.into_iter().collect())).unwrap_or(CANNOT_RUN),
        Err(_) => CANNOT_RUN,
    }
}

async fn guard(parent: u32, command: Vec<OsString>) -> std::io::Result<i32> {
    let (program, args) = command.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut told = signal(SignalKind::user_defined1())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut children = signal(SignalKind::child())?;
    // Orphans of the server become our children instead of init's, so that we can find and reap them.
    prctl::set_child_subreaper(true)?;
    prctl::set_pdeathsig(Signal::SIGUSR1)?;
    let mut server = Command::new(program).args(args).spawn()?;
    let mut poll = interval(POLL);
    let mut deadline: Option<Instant> = None;
    let status = loop {
        tokio::select! {
            status = server.wait() => break status.ok(),
            _ = poll.tick() => {}
            _ = told.recv() => {}
            _ = children.recv() => reap_orphans(&server),
            // The whole group got the signal; an operator who means only the guard means the server as well.
            _ = terminate.recv() => deadline = deadline.or_else(|| Some(forward(&server, Signal::SIGTERM))),
            _ = interrupt.recv() => deadline = deadline.or_else(|| Some(forward(&server, Signal::SIGINT))),
            () = until(deadline) => break None,
        }
        if parent_id() != parent {
            break None;
        }
    };
    kill_descendants().await;
    Ok(status.map_or(128 + Signal::SIGKILL as i32, exit_code))
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn forward(server: &Child, signal: Signal) -> Instant {
    if let Some(pid) = server.id().and_then(|id| i32::try_from(id).ok()) {
        let _gone = kill(Pid::from_raw(pid), signal);
    }
    Instant::now() + TERM_GRACE
}

/// As shells report it: the status, or 128 plus the signal.
fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

/// Reaps what was orphaned below us, but never the server itself: its status belongs to `wait`.
fn reap_orphans(server: &Child) {
    let server = server.id().and_then(|id| i32::try_from(id).ok());
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(status) = waitid(Id::All, look) {
        match status.pid() {
            Some(pid) if Some(pid.as_raw()) != server => drop(waitpid(pid, Some(WaitPidFlag::WNOHANG))),
            _ => return,
        }
    }
}

/// Kills until nothing is left below us: a process may start another one while we look.
async fn kill_descendants() {
    let deadline = Instant::now() + KILL_TIMEOUT;
    while Instant::now() < deadline {
        for pid in descendants(std::process::id().cast_signed()) {
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => break,
                Ok(_) => {}
                // Nobody is left.
                Err(_) => return,
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// All processes below this one, as `/proc` tells.
fn descendants(root: i32) -> HashSet<i32> {
    let parents: HashMap<i32, i32> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| Some((pid, parent_of(pid)?)))
        .collect();
    let mut below = HashSet::from([root]);
    loop {
        let before = below.len();
        below.extend(
            parents.iter().filter(|(_, parent)| below.contains(parent)).map(|(pid, _)| *pid).collect::<Vec<_>>(),
        );
        if below.len() == before {
            below.remove(&root);
            return below;
        }
    }
}

/// The fourth field of `/proc/<pid>/stat`; the second one, in brackets, may hold anything.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
