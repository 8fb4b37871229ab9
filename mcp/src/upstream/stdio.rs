//! A tool server as a child process: one JSON-RPC message per line on its standard input and output.
//!
//! The child leads its own process group and gets almost none of our environment. It ends in the order the specification
//! gives: its input closes, then `SIGTERM`, then `SIGKILL`, the last two to the whole group.

use std::{io, path::Path, process::Stdio, sync::Arc, time::Duration};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use rmcp::{
    RoleClient,
    model::{
        ClientJsonRpcMessage, ClientRequest, ErrorCode, ErrorData, JsonRpcError, JsonRpcMessage, JsonRpcVersion2_0,
        NumberOrString, RequestId, ServerJsonRpcMessage,
    },
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use secrecy::ExposeSecret as _;
use tokio::{
    io::{AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex,
    time::timeout,
};

use super::{
    Surroundings,
    lines::{BoundedLines, Line},
};
use crate::settings::TransportSettings;

/// All that a tool server inherits: where programs, the user's files and temporary files are.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TMPDIR", "USER"];
/// How long a server may take to end by itself once its input is closed.
const INPUT_CLOSED_GRACE: Duration = Duration::from_secs(2);
/// How long it may take after `SIGTERM`; longer than the guard needs to end everything itself.
const TERM_GRACE: Duration = Duration::from_millis(2500);
/// Bytes read from a server at once; the kernel's pipes hold as much.
const READ_BUFFER: usize = 64 * 1024;
/// Longest line of its standard error that is logged.
const MAX_LOG_LINE: usize = 8 * 1024;
/// The code of the errors we put in the place of messages that could not be read; outside the ranges of JSON-RPC and MCP.
pub(super) const UNREADABLE: ErrorCode = ErrorCode(-31_001);

/// Speaks with one child process. Dropping it kills the whole process group.
#[derive(Debug)]
pub(super) struct StdioTransport {
    lines: BoundedLines<BufReader<ChildStdout>>,
    /// `None` once closed. Shared because sends may overlap and outlive the borrow of the transport.
    stdin: Arc<Mutex<Option<ChildStdin>>>,
    group: ProcessGroup,
    probe: Probe,
}

/// The question whether a server is of the modern era. The SDK waits ten seconds for the answer and then goes on with the older
/// handshake; a server that takes longer to start answers both, and the SDK would take the first answer for the second.
#[derive(Debug, Default)]
struct Probe {
    asked: Option<RequestId>,
    /// The answer that nobody waits for any more.
    given_up: Option<RequestId>,
}

/// A child that leads a process group.
#[derive(Debug)]
struct ProcessGroup {
    child: Child,
    id: Pid,
    /// Its leader is the guard, which ends all descendants itself when it is asked to.
    guarded: bool,
}

/// Starts the server of `settings`, which must be of the stdio kind.
pub(super) fn spawn(server: &str, settings: &TransportSettings, around: &Surroundings) -> io::Result<StdioTransport> {
    let TransportSettings::Stdio { command, args, env, cwd } = settings else {
        return Err(io::Error::other("not a stdio tool server"));
    };
    let mut process = guarded(around.guard.as_deref(), command);
    process.args(args).env_clear().process_group(0);
    // Only these few are passed on as they are; everything else about the environment is the trunk's to resolve.
    process.envs(std::env::vars_os().filter(|(name, _)| INHERITED.iter().any(|kept| name == kept)));
    process.envs(env.iter().map(|(name, value)| (name, value.expose_secret())));
    if let Some(cwd) = cwd {
        process.current_dir(cwd);
    }
    process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process.spawn().map_err(|error| io::Error::new(error.kind(), format!("{command}: {error}")))?;
    let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(io::Error::other("the child process has no pipes"));
    };
    let id = child.id().and_then(|id| i32::try_from(id).ok()).ok_or_else(|| io::Error::other("the child has no id"))?;
    let (server, cancel) = (server.to_owned(), around.cancel.clone());
    around.tracker.spawn(async move {
        let logging = log_stderr(&server, BoundedLines::new(BufReader::new(stderr), MAX_LOG_LINE));
        cancel.run_until_cancelled(logging).await;
    });
    Ok(StdioTransport {
        lines: BoundedLines::new(BufReader::with_capacity(READ_BUFFER, stdout), around.max_message_bytes),
        stdin: Arc::new(Mutex::new(Some(stdin))),
        group: ProcessGroup { child, id: Pid::from_raw(id), guarded: around.guard.is_some() },
        probe: Probe::default(),
    })
}

/// The command, wrapped in the guard that outlives us, where there is one.
fn guarded(guard: Option<&Path>, command: &str) -> Command {
    let Some(guard) = guard else { return Command::new(command) };
    let mut process = Command::new(guard);
    process.args([crate::guard::SUBCOMMAND, "--", command]);
    process
}

async fn log_stderr(server: &str, mut lines: BoundedLines<BufReader<tokio::process::ChildStderr>>) {
    while let Ok(Some(line)) = lines.next().await {
        if let Line::Whole(bytes) = line {
            let text = String::from_utf8_lossy(&bytes);
            tracing::debug!(server.name = server, "tool server says: {}", text.trim_end());
        }
    }
}

// === impl StdioTransport ===

impl Transport<RoleClient> for StdioTransport {
    type Error = io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.probe.sent(&item);
        let stdin = Arc::clone(&self.stdin);
        async move {
            let mut line = serde_json::to_vec(&item)?;
            line.push(b'\n');
            let mut stdin = stdin.lock().await;
            let Some(pipe) = stdin.as_mut() else { return Err(io::ErrorKind::BrokenPipe.into()) };
            pipe.write_all(&line).await?;
            pipe.flush().await
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let message = match self.lines.next().await {
                Ok(Some(Line::Whole(bytes))) => read(&bytes),
                Ok(Some(Line::Oversized { id, bytes })) => too_large(id, bytes),
                Ok(None) => return None,
                Err(error) => {
                    tracing::debug!(%error, "reading from a tool server failed");
                    return None;
                }
            };
            match message {
                Some(late) if self.probe.is_late(&late) => {
                    tracing::debug!("a tool server took longer to start than the probe of its era waits");
                }
                Some(message) => return Some(message),
                None => {}
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        // A server that does not read leaves a send waiting with the lock; the signals end that as well.
        if let Ok(mut stdin) = self.stdin.try_lock() {
            stdin.take();
        }
        self.group.end().await
    }
}

/// A message, or `None` for a line that is none: some servers log to standard output.
fn read(line: &[u8]) -> Option<ServerJsonRpcMessage> {
    match serde_json::from_slice(line) {
        Ok(message) => Some(message),
        Err(error) => {
            let id = line.trim_ascii_start().starts_with(b"{").then(|| super::lines::find_id(line)).flatten();
            tracing::debug!(%error, "a line of a tool server is no JSON-RPC message");
            id.map(|id| failure(id, format!("the answer could not be read: {error}"), None))
        }
    }
}

/// Without an id the message answers nothing that we could fail; the timeout of the call will.
fn too_large(id: Option<i64>, bytes: usize) -> Option<ServerJsonRpcMessage> {
    tracing::warn!(message.bytes = bytes, "a message of a tool server was dropped: it is over the limit");
    id.map(|id| failure(id, "the answer is too large".to_owned(), Some(bytes)))
}

fn failure(id: i64, message: String, bytes: Option<usize>) -> ServerJsonRpcMessage {
    ServerJsonRpcMessage::Error(JsonRpcError {
        jsonrpc: JsonRpcVersion2_0,
        id: Some(NumberOrString::Number(id)),
        error: ErrorData::new(UNREADABLE, message, bytes.map(serde_json::Value::from)),
    })
}

// === impl Probe ===

impl Probe {
    fn sent(&mut self, message: &ClientJsonRpcMessage) {
        let JsonRpcMessage::Request(request) = message else { return };
        match request.request {
            ClientRequest::DiscoverRequest(_) => self.asked = Some(request.id.clone()),
            ClientRequest::InitializeRequest(_) => self.given_up = self.asked.take(),
            _ => {}
        }
    }

    fn is_late(&self, message: &ServerJsonRpcMessage) -> bool {
        let answered = match message {
            JsonRpcMessage::Response(response) => Some(&response.id),
            JsonRpcMessage::Error(error) => error.id.as_ref(),
            _ => None,
        };
        answered.is_some() && answered == self.given_up.as_ref()
    }
}

// === impl ProcessGroup ===

impl ProcessGroup {
    /// Ends the group, the gentle way first, and reaps its leader.
    async fn end(&mut self) -> io::Result<()> {
        if timeout(INPUT_CLOSED_GRACE, self.child.wait()).await.is_err() {
            self.signal(Signal::SIGTERM);
            if timeout(TERM_GRACE, self.child.wait()).await.is_err() {
                self.signal(Signal::SIGKILL);
            }
        }
        self.child.wait().await?;
        // The leader may be gone while others of its group are not.
        self.signal(Signal::SIGKILL);
        Ok(())
    }

    /// Fails only when nobody is left to get the signal.
    fn signal(&self, signal: Signal) {
        let _nobody_left = killpg(self.id, signal);
    }
}

impl Drop for ProcessGroup {
    /// The runtime reaps the leader.
    fn drop(&mut self) {
        if self.child.id().is_some() {
            self.signal(if self.guarded { Signal::SIGTERM } else { Signal::SIGKILL });
        }
    }
}
