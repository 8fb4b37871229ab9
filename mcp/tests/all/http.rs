//! Streamable HTTP, both eras, against the SDK's own server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::Request, http::StatusCode, middleware::Next, response::IntoResponse as _};
use bifrost_mcp::{CallError, Era, Hub, State, TransportSettings};
use parking_lot::Mutex;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult, PaginatedRequestParams,
        ServerCapabilities, ServerConfig, SubscriptionFilter, Tool,
    },
    service::{RequestContext, SubscriptionContext},
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::support::{PATIENCE, World, eventually, server, settings};

#[derive(Debug, Clone, Default)]
struct Probe(Arc<Facts>);

#[derive(Debug, Default)]
struct Facts {
    grown: AtomicBool,
    changed: Notify,
    listening: AtomicBool,
    cancelled: AtomicUsize,
    echoed: AtomicUsize,
    /// Values of the `authorization` header that arrived.
    tokens: Mutex<Vec<String>>,
    /// The next request with a session is told that there is none.
    forget: AtomicBool,
}

impl ServerHandler for Probe {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        self.0.listening.store(true, Ordering::SeqCst);
        loop {
            tokio::select! {
                () = self.0.changed.notified() => {
                    let _gone = context.sink().notify_tool_list_changed().await;
                }
                () = context.cancelled() => return Ok(()),
            }
        }
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut names = vec!["echo", "slow", "big"];
        if self.0.grown.load(Ordering::SeqCst) {
            names.push("grown");
        }
        let tools = names.into_iter().map(|name| Tool::new(name, "A tool.", serde_json::Map::new())).collect();
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let text = match &*request.name {
            "slow" => {
                let until_cancelled = context.ct.cancelled();
                let _late = tokio::time::timeout(Duration::from_mins(1), until_cancelled).await;
                self.0.cancelled.fetch_add(1, Ordering::SeqCst);
                String::new()
            }
            "big" => "x".repeat(20_000_000),
            _ => {
                self.0.echoed.fetch_add(1, Ordering::SeqCst);
                arguments["text"].to_string()
            }
        };
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }
}

struct Remote {
    probe: Probe,
    url: url::Url,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Answers 404 to one request of a known session, as a server does that was restarted.
async fn forget(probe: Probe, request: Request, next: Next) -> axum::response::Response {
    let token = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("none");
    probe.0.tokens.lock().push(token.to_owned());
    let in_session = request.headers().contains_key("mcp-session-id") && request.method() == "POST";
    if in_session && probe.0.forget.swap(false, Ordering::SeqCst) {
        return StatusCode::NOT_FOUND.into_response();
    }
    next.run(request).await
}

async fn remote() -> Remote {
    let probe = Probe::default();
    let (served, watched) = (probe.clone(), probe.clone());
    let config = StreamableHttpServerConfig::default().with_sse_keep_alive(Some(Duration::from_millis(100)));
    let service: StreamableHttpService<Probe, LocalSessionManager> =
        StreamableHttpService::new(move || Ok(served.clone()), Arc::default(), config);
    let app = Router::new()
        .nest_service("/mcp", service)
        .layer(axum::middleware::from_fn(move |request, next| forget(watched.clone(), request, next)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp?key=s3cret", listener.local_addr().unwrap()).parse().unwrap();
    let serving = TaskTracker::new().spawn(async move { axum::serve(listener, app).await });
    Remote { probe, url, serving }
}

async fn connected(remote: &Remote, era: Era) -> World {
    let transport = TransportSettings::Http {
        url: remote.url.clone(),
        headers: vec![("Authorization".to_owned(), "Bearer t0ken".to_owned().into())],
    };
    let world = World::settled(vec![bifrost_mcp::ServerSettings { era, ..server("far", transport) }]).await;
    assert!(matches!(world.state("far"), State::Ready { tools: 3, .. }), "{:?}", world.state("far"));
    world
}

#[tokio::test]
async fn both_eras_list_and_call() {
    let remote = remote().await;
    for era in [Era::Auto, Era::Legacy, Era::Modern] {
        remote.probe.0.tokens.lock().clear();
        let world = connected(&remote, era).await;
        assert_eq!(world.names(), ["far-big", "far-echo", "far-slow"]);
        assert_eq!(world.call("far-echo", r#"{"text":"hi"}"#).await.text(), "\"hi\"");
        let tokens = remote.probe.0.tokens.lock().clone();
        assert!(tokens.len() > 2 && tokens.iter().all(|token| token == "Bearer t0ken"), "{tokens:?}");
        world.hub.close().await;
    }
}

#[tokio::test]
async fn a_call_whose_caller_leaves_is_cancelled_upstream_in_both_eras() {
    let remote = remote().await;
    for (era, cancelled) in [(Era::Legacy, 1), (Era::Modern, 2)] {
        let world = connected(&remote, era).await;
        let left = tokio::time::timeout(Duration::from_millis(300), world.call("far-slow", "{}")).await;
        assert!(left.is_err());
        let facts = &remote.probe.0;
        eventually("cancelled", PATIENCE, async || facts.cancelled.load(Ordering::SeqCst) == cancelled).await;
        world.hub.close().await;
    }
}

#[tokio::test]
async fn a_modern_server_announces_changes() {
    let remote = remote().await;
    let world = connected(&remote, Era::Auto).await;
    let facts = &remote.probe.0;
    eventually("listening", PATIENCE, async || facts.listening.load(Ordering::SeqCst)).await;
    facts.grown.store(true, Ordering::SeqCst);
    facts.changed.notify_one();
    eventually("the new tool", PATIENCE, async || world.hub.catalog().find("far-grown").is_some()).await;
    world.hub.close().await;
}

#[tokio::test]
async fn an_expired_session_is_renewed_and_the_call_runs_once() {
    let remote = remote().await;
    let world = connected(&remote, Era::Legacy).await;
    remote.probe.0.forget.store(true, Ordering::SeqCst);
    let outcome = world.call("far-echo", r#"{"text":"hi"}"#).await;
    assert_eq!(outcome.text(), "\"hi\"");
    assert!(!remote.probe.0.forget.load(Ordering::SeqCst), "the session did expire");
    assert_eq!(remote.probe.0.echoed.load(Ordering::SeqCst), 1);
    world.hub.close().await;
}

#[tokio::test]
async fn a_huge_result_is_refused_in_both_eras() {
    let remote = remote().await;
    for era in [Era::Legacy, Era::Modern] {
        let world = connected(&remote, era).await;
        let outcome = world.call_within("far-big", "{}", PATIENCE).await;
        assert_eq!(outcome.error, Some(CallError::Transport), "{era:?}: {} bytes", outcome.text().len());
        assert!(outcome.text().ends_with("has a message of more than 4194304 bytes"), "{}", outcome.text());
        assert_eq!(world.call("far-echo", r#"{"text":"hi"}"#).await.text(), "\"hi\"", "the connection survives");
        world.hub.close().await;
    }
}

#[tokio::test]
async fn a_server_that_is_gone_fails_calls_and_is_found_out() {
    let remote = remote().await;
    let world = connected(&remote, Era::Modern).await;
    remote.serving.abort();
    let mut told = String::new();
    eventually("failed", PATIENCE, async || {
        let outcome = world.call_within("far-echo", "{}", Duration::from_secs(2)).await;
        told = outcome.text();
        outcome.error == Some(CallError::Unavailable)
    })
    .await;
    assert!(told.contains("its address") && !told.contains("s3cret"), "an address may hold a credential: {told}");
    assert!(matches!(world.state("far"), State::Failed { stale_tools: 3, .. } | State::Connecting));
    world.hub.close().await;
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_never_dialled() {
    let remote = remote().await;
    let transport = TransportSettings::Http { url: remote.url.clone(), headers: Vec::new() };
    let (mut settings, _) = settings(vec![server("far", transport)], Vec::new());
    settings.address_allowed = Arc::new(|address| !address.is_loopback());
    let hub = Hub::start(settings).unwrap();
    assert!(hub.settled(PATIENCE).await);
    let State::Failed { reason, .. } = &hub.states()[0].state else { panic!("{:?}", hub.states()) };
    assert_eq!(reason, "the address of 127.0.0.1 may not be dialled");
    hub.close().await;
}
