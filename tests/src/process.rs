//! The real binaries as child processes: what only a whole process can show (signals, exit codes, what it leaves behind).

use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Client, OrFail as _, PATIENCE};

/// The gateway's binary.
pub fn bifrost() -> PathBuf {
    binary("bifrost")
}

/// The binary with scripted providers and tool servers.
pub fn fixtures() -> PathBuf {
    binary("bifrost-fixtures")
}

/// Test executables are in `<target>/<profile>/deps`, binaries one level up.
fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().or_fail("the test executable's own path");
    let path = own.parent().and_then(|deps| deps.parent()).or_fail("a target directory").join(name);
    assert!(
        path.exists(),
        "{} is not built; run `cargo build -p bifrost-gateway -p bifrost-fixtures --bins` first (tests/run does)",
        path.display()
    );
    path
}

/// A running `bifrost`, with its own directory. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: std::process::Child,
    directory: TempDir,
}

impl Process {
    /// Starts it with this configuration file (none: without a file) and these further arguments.
    pub fn start(config: Option<&Value>, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().or_fail("a directory");
        let file = |name: &str| std::fs::File::create(directory.path().join(name)).or_fail(name);
        let mut command = Command::new(bifrost());
        if let Some(config) = config {
            let path = directory.path().join("config.json");
            std::fs::write(&path, config.as_str().map_or_else(|| config.to_string(), str::to_owned))
                .or_fail("a config");
            command.arg("--config").arg(path);
        }
        if !arguments.contains(&"--port") {
            command.args(["--port", "0"]);
        }
        let command = command.args(["--log-style", "json"]).args(arguments);
        let command = command.current_dir(directory.path()).env_clear();
        let child = command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr")).spawn();
        Self { child: child.or_fail("starting bifrost"), directory }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).or_fail("a process id")
    }

    /// What it wrote to standard error so far: its events.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("stderr")).or_fail("its standard error")
    }

    /// What it wrote to standard output so far: one record per request.
    pub fn records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.directory.path().join("stdout")).or_fail("its standard output");
        text.lines().map(|line| serde_json::from_str(line).or_fail("a log record")).collect()
    }

    /// A client of it, once it listens.
    pub async fn client(&self) -> Client {
        let address = || {
            let text = self.stderr();
            let (_, rest) = text.split_once("listening on http://")?;
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || ".:[]".contains(c)))?;
            rest.get(..end).map(str::to_owned)
        };
        crate::eventually("bifrost listens", || address().is_some()).await;
        Client::new(&address().or_fail("its address"))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).or_fail("sending a signal");
    }

    /// Waits for its end, at most [`PATIENCE`]. How it ended, and after how long.
    pub async fn ended(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().or_fail("waiting for bifrost") {
                return (status, began.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        None.or_fail(&format!("bifrost did not end: {}", self.stderr()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already ended is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
