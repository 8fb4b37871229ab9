//! What the trunk says about each tool server: already resolved, with secrets in hand and durations typed.

use std::{collections::BTreeSet, fmt, path::PathBuf, sync::Arc, time::Duration};

use secrecy::SecretString;
use url::Url;

use crate::source::ToolSource;

/// One tool server that is reached over the Model Context Protocol.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Unique; the first half of the names its tools are offered under.
    pub name: String,
    pub transport: TransportSettings,
    /// Tools that may be offered and run, by the server's own names.
    pub execute: Allow,
    /// Of those, the tools that the gateway runs itself inside the tool loop.
    pub auto_execute: Allow,
    /// How long one call may take when the caller asks for nothing shorter.
    pub call_timeout: Duration,
    /// How long starting, shaking hands and listing may take together; `npx` downloads on its first start.
    pub connect_timeout: Duration,
    /// How often the tools are listed again although nothing announced a change; `None` never.
    pub sync_interval: Option<Duration>,
    /// Granted to every virtual key, listed there or not.
    pub on_all_virtual_keys: bool,
    /// Known by name, so that a call gets a clear refusal, but never connected.
    pub disabled: bool,
    pub era: Era,
}

/// How to reach a tool server.
#[derive(Clone)]
pub enum TransportSettings {
    /// A child process that speaks on its standard input and output.
    Stdio {
        command: String,
        args: Vec<String>,
        /// The only variables it gets besides `PATH`, `HOME`, `LANG`, `TMPDIR` and `USER`.
        env: Vec<(String, SecretString)>,
        cwd: Option<PathBuf>,
    },
    /// Streamable HTTP, either era of the protocol.
    Http { url: Url, headers: Vec<(String, SecretString)> },
    /// HTTP+SSE of protocol revision 2024-11-05: a GET stream plus a POST address that the stream announces.
    Sse { url: Url, headers: Vec<(String, SecretString)> },
}

/// Which tools of one server, by the server's own names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    All,
    None,
    Only(BTreeSet<String>),
}

/// Which generation of the protocol to speak: revision 2026-07-28 dropped the handshake and sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Era {
    /// Probe with `server/discover`, fall back to `initialize`.
    #[default]
    Auto,
    /// `initialize` at once: for servers that do not survive an unknown method before it.
    Legacy,
    /// `server/discover` only.
    Modern,
}

/// Tools that the embedding program brings along itself.
#[derive(Debug, Clone)]
pub struct LocalSource {
    pub name: String,
    pub source: Arc<dyn ToolSource>,
    pub execute: Allow,
    pub auto_execute: Allow,
    pub call_timeout: Duration,
    pub on_all_virtual_keys: bool,
}

// === impl TransportSettings ===

impl TransportSettings {
    /// Where an HTTP server is. Its path and query may hold a credential; hosted servers often put one there.
    pub(crate) fn url(&self) -> Option<&Url> {
        match self {
            Self::Stdio { .. } => None,
            Self::Http { url, .. } | Self::Sse { url, .. } => Some(url),
        }
    }
}

impl fmt::Debug for TransportSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdio { command, .. } => f.debug_struct("Stdio").field("command", command).finish_non_exhaustive(),
            Self::Http { url, .. } | Self::Sse { url, .. } => {
                f.debug_struct("Remote").field("host", &url.host_str()).finish_non_exhaustive()
            }
        }
    }
}

// === impl Allow ===

impl Allow {
    pub fn contains(&self, tool: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Only(names) => names.contains(tool),
        }
    }
}
