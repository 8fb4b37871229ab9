//! [`Link`]: one living connection to a tool server: the handshake, the lenient listing, and calls that can be cancelled.

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt as _, Peer, RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, CancelledNotificationParam, ClientCapabilities, ClientRequest,
        Implementation, InitializeRequestParams, ListToolsRequest, PaginatedRequestParams, ProtocolVersion, RequestId,
        ServerResult, SubscriptionFilter,
    },
    service::{
        ClientCacheConfig, NotificationContext, PeerRequestOptions, RequestHandle, RunningService, ServiceError,
        SubscriptionEnd,
    },
};
use serde_json::{Map, Value};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use url::Url;

use super::{Surroundings, answer, http, sse, stdio};
use crate::{
    catalog::Rejected,
    settings::{Era, ServerSettings, TransportSettings},
    source::{Answer, Listing, SourceError, ToolSource},
};

/// More tools or pages of one server are cut off: no caller can use them, and a cursor may never end.
const MAX_TOOLS: usize = 10_000;
const MAX_PAGES: usize = 200;
/// How long one page may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait before asking for change notifications again after the stream of them broke.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);

/// A connected tool server.
#[derive(Debug)]
pub(super) struct Link {
    peer: Peer<RoleClient>,
    /// Rung when a call finds the connection broken.
    doubt: Arc<Notify>,
    tracker: TaskTracker,
    max_message_bytes: usize,
    url: Option<Url>,
}

/// What the SDK runs for one connection.
pub(super) type Running = RunningService<RoleClient, Events>;

/// Hears what a server says unasked. It offers nothing in return: no sampling, no elicitation, no roots, because no
/// server message can be attributed to one of the callers that share the connection.
#[derive(Debug, Clone)]
pub(super) struct Events {
    pub(super) changed: Arc<Notify>,
}

/// Tells the server that nobody waits for the answer any more, unless it came.
struct CancelOnDrop {
    peer: Peer<RoleClient>,
    tracker: TaskTracker,
    id: Option<RequestId>,
}

// === connecting ===

/// Opens the transport and shakes hands. The caller bounds the time.
pub(super) async fn connect(
    settings: &ServerSettings,
    era: Era,
    events: Events,
    around: &Surroundings,
) -> Result<Running, String> {
    let mode = lifecycle(era);
    let running = match &settings.transport {
        stdio @ TransportSettings::Stdio { .. } => {
            let transport = stdio::spawn(&settings.name, stdio, around).map_err(|error| error.to_string())?;
            Box::pin(events.serve_with_lifecycle(transport, mode)).await
        }
        TransportSettings::Http { url, headers } => {
            let transport = http::streamable(url, headers, around)?;
            Box::pin(events.serve_with_lifecycle(transport, mode)).await
        }
        TransportSettings::Sse { url, headers } => {
            let transport = sse::connect(url, headers, around).await.map_err(|error| told(&error, Some(url)))?;
            Box::pin(events.serve_with_lifecycle(transport, ClientLifecycleMode::Initialize)).await
        }
    };
    let running = running.map_err(|error| told(&error, settings.transport.url()))?;
    // A cached list would hide that a server is gone; the catalog is our cache.
    running.peer().set_response_cache_config(ClientCacheConfig::disabled()).await;
    Ok(running)
}

fn lifecycle(era: Era) -> ClientLifecycleMode {
    let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
    match era {
        Era::Auto => ClientLifecycleMode::Auto { preferred_versions, legacy_version: None },
        Era::Legacy => ClientLifecycleMode::Initialize,
        Era::Modern => ClientLifecycleMode::Discover { preferred_versions },
    }
}

/// An error with its causes: the outermost text alone often says only that something failed. The address is left out,
/// because its path or query may hold a credential, and callers read this.
fn told(error: &dyn std::error::Error, url: Option<&Url>) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    if let Some(url) = url {
        text = text.replace(url.as_str(), "its address");
    }
    crate::call::cut(&text, 1000).to_owned()
}

/// The era that was spoken in the end.
pub(super) fn negotiated(running: &Running) -> Era {
    let modern = running.peer().peer_info().is_some_and(|info| info.protocol_version == ProtocolVersion::V_2026_07_28);
    if modern { Era::Modern } else { Era::Legacy }
}

// === impl Link ===

impl Link {
    pub(super) fn new(running: &Running, url: Option<&Url>, doubt: &Arc<Notify>, around: &Surroundings) -> Self {
        Self {
            peer: running.peer().clone(),
            doubt: Arc::clone(doubt),
            tracker: around.tracker.clone(),
            max_message_bytes: around.max_message_bytes,
            url: url.cloned(),
        }
    }

    /// Rings `changed` for every change of the tools that a modern server announces. Legacy servers announce theirs
    /// through [`Events`]. Never ends; after a break it listens again, and asks for a new listing in case it missed one.
    pub(super) async fn watch(&self, changed: &Notify) {
        let info = self.peer.peer_info();
        let announces = info.as_ref().and_then(|info| info.capabilities.tools.as_ref()?.list_changed) == Some(true);
        let modern = info.is_some_and(|info| info.protocol_version == ProtocolVersion::V_2026_07_28);
        if !(announces && modern) {
            return std::future::pending().await;
        }
        loop {
            let filter = SubscriptionFilter::builder().tools_list_changed().build();
            match self.peer.listen(filter).await {
                Ok(mut subscription) => {
                    while let Ok(Some(_)) = subscription.next().await {
                        changed.notify_one();
                    }
                    if matches!(subscription.end(), Some(SubscriptionEnd::Graceful(_))) {
                        tracing::debug!("a tool server ended the announcement of changes");
                    }
                    tokio::time::sleep(LISTEN_AGAIN).await;
                    changed.notify_one();
                }
                Err(ServiceError::McpError(error)) => {
                    tracing::debug!(%error, "a tool server does not announce changes");
                    return std::future::pending().await;
                }
                Err(_) => tokio::time::sleep(LISTEN_AGAIN).await,
            }
        }
    }

    async fn request(&self, request: ClientRequest, options: PeerRequestOptions) -> Result<ServerResult, SourceError> {
        let sent = self.peer.send_cancellable_request(request, options).await;
        let handle: RequestHandle<RoleClient> = sent.map_err(|error| self.failure(&error))?;
        let mut abandoned =
            CancelOnDrop { peer: self.peer.clone(), tracker: self.tracker.clone(), id: Some(handle.id.clone()) };
        let result = handle.await_response().await;
        abandoned.id = None;
        result.map_err(|error| self.failure(&error))
    }

    fn failure(&self, error: &ServiceError) -> SourceError {
        match error {
            ServiceError::McpError(error) if error.code == stdio::UNREADABLE => {
                match error.data.as_ref().and_then(Value::as_u64) {
                    Some(bytes) => SourceError::TooLarge {
                        bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
                        limit: self.max_message_bytes,
                    },
                    None => SourceError::Protocol(error.message.to_string()),
                }
            }
            ServiceError::McpError(error) => SourceError::Protocol(crate::call::cut(&error.message, 4096).to_owned()),
            ServiceError::Timeout { .. } => SourceError::TimedOut,
            // The SDK says the same of one answer that broke off and of the whole connection.
            ServiceError::TransportClosed if !self.peer.is_transport_closed() => {
                self.doubt.notify_one();
                let limit = self.max_message_bytes;
                SourceError::Transport(format!("its answer broke off, or has a message of more than {limit} bytes"))
            }
            other => {
                self.doubt.notify_one();
                SourceError::Transport(format!(
                    "the connection to the tool server failed: {}",
                    told(other, self.url.as_ref())
                ))
            }
        }
    }
}

#[async_trait]
impl ToolSource for Link {
    /// Page by page, until there is no cursor, or it was seen before, or there is more than anyone could use.
    async fn list(&self) -> Result<Listing, SourceError> {
        let (mut tools, mut rejected) = (Vec::new(), Vec::new());
        let (mut cursor, mut seen): (Option<String>, HashSet<String>) = (None, HashSet::new());
        for _ in 0..MAX_PAGES {
            let params = cursor.map(|cursor| PaginatedRequestParams::default().with_cursor(Some(cursor)));
            let request = ClientRequest::ListToolsRequest(ListToolsRequest { params, ..Default::default() });
            let page = answer::page(self.request(request, PeerRequestOptions::with_timeout(PAGE_TIMEOUT)).await?)?;
            tools.extend(page.tools);
            rejected.extend(page.rejected);
            if tools.len() > MAX_TOOLS {
                rejected.push(beyond(format!("tools beyond {MAX_TOOLS}")));
                tools.truncate(MAX_TOOLS);
                return Ok(Listing::new(tools, rejected));
            }
            match page.next {
                None => return Ok(Listing::new(tools, rejected)),
                Some(next) if !seen.insert(next.clone()) => {
                    rejected.push(beyond("pages after a cursor that was given twice".to_owned()));
                    return Ok(Listing::new(tools, rejected));
                }
                Some(next) => cursor = Some(next),
            }
        }
        rejected.push(beyond(format!("pages beyond {MAX_PAGES}")));
        Ok(Listing::new(tools, rejected))
    }

    async fn call(&self, tool: &str, arguments: Map<String, Value>) -> Result<Answer, SourceError> {
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        answer::answer(self.request(request, PeerRequestOptions::no_options()).await?)
    }
}

fn beyond(tool: String) -> Rejected {
    Rejected { tool, reason: "not read".to_owned() }
}

// === impl Events ===

impl ClientHandler for Events {
    fn get_info(&self) -> InitializeRequestParams {
        let us = Implementation::new("bifrost", env!("CARGO_PKG_VERSION"));
        InitializeRequestParams::new(ClientCapabilities::default(), us)
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.changed.notify_one();
    }
}

// === impl CancelOnDrop ===

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let peer = self.peer.clone();
        self.tracker.spawn(async move {
            let why = Some("the caller went away".to_owned());
            let _gone = peer.notify_cancelled(CancelledNotificationParam::new(Some(id), why)).await;
        });
    }
}
