//! The HTTP surface: routes, bodies in and out. Decides nothing about a request beyond what its path and size say.

pub mod batch;
pub mod body;
pub mod chat;
pub mod cors;
pub mod error;
pub mod health;
pub mod listen;
pub mod models;
pub mod patience;
pub mod sse;
pub mod tools;

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use bifrost_providers::Dialect;
use futures::FutureExt as _;
use http::{HeaderValue, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use tower::Service as _;

use self::cors::Cors;
use crate::engine::ask::{Link, labels};
use crate::metrics::Exchange;
use crate::state::Engine;

/// One way in to chat: a path, the dialect spoken there, and the provider of a model that names none.
#[derive(Clone, Copy, Debug)]
pub struct Prefix {
    pub path: &'static str,
    pub dialect: Dialect,
    pub default_provider: Option<&'static str>,
}

/// Every chat route. A further SDK's base URL is a row here.
const CHAT: &[Prefix] = &[
    Prefix { path: "/v1/chat/completions", dialect: Dialect::OpenAiChat, default_provider: None },
    Prefix { path: "/openai/chat/completions", dialect: Dialect::OpenAiChat, default_provider: Some("openai") },
    Prefix { path: "/openai/v1/chat/completions", dialect: Dialect::OpenAiChat, default_provider: Some("openai") },
    Prefix { path: "/anthropic/v1/messages", dialect: Dialect::AnthropicMessages, default_provider: Some("anthropic") },
];

/// Every list of models.
const MODELS: &[Prefix] = &[
    Prefix { path: "/v1/models", dialect: Dialect::OpenAiChat, default_provider: None },
    Prefix { path: "/openai/models", dialect: Dialect::OpenAiChat, default_provider: Some("openai") },
    Prefix { path: "/openai/v1/models", dialect: Dialect::OpenAiChat, default_provider: Some("openai") },
    Prefix { path: "/anthropic/v1/models", dialect: Dialect::AnthropicMessages, default_provider: Some("anthropic") },
];

/// The whole surface: every route, and around all of them what holds for each exchange.
#[derive(Clone, Debug)]
pub struct Surface {
    engine: Arc<Engine>,
    router: Router,
}

impl Surface {
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { router: router(engine.clone()), engine }
    }

    /// How long a client may go without reading.
    pub fn patience(&self) -> Duration {
        self.engine.stalled_after
    }

    /// Answers one request, counts it, and turns a panic into a 500: one bad request must not take others along.
    pub async fn answer(self, request: http::Request<Incoming>, link: Link) -> Result<Response, Infallible> {
        let began = Instant::now();
        let route = route_of(request.uri().path());
        let method = method_name(request.method());
        let size = request.body().size_hint().lower();
        let custom = labels(request.headers(), self.engine.metrics.custom());
        let origin = request.headers().get(http::header::ORIGIN).cloned();
        let answered = AssertUnwindSafe(self.dispatch(request, link)).catch_unwind().await;
        let mut response = answered.unwrap_or_else(|panic| error::panicked(&*panic));
        if let Some(origin) = origin {
            self.engine.state().cors.mark(&origin, response.headers_mut());
        }
        let sizes = (size, response.body().size_hint().exact());
        let seconds = began.elapsed().as_secs_f64();
        let exchange = Exchange { route, method, status: response.status().as_u16(), custom };
        self.engine.metrics.http(exchange, seconds, sizes);
        Ok(response)
    }

    /// Chat has the road to itself; the router serves whatever is asked less often, and refuses the rest.
    async fn dispatch(&self, request: http::Request<Incoming>, link: Link) -> Response {
        if request.method() == http::Method::POST
            && let Some(prefix) = CHAT.iter().find(|prefix| prefix.path == request.uri().path())
        {
            return chat::answer(self.engine.clone(), prefix, request, link).await;
        }
        if let Some(origin) = Cors::asks(request.method(), request.headers()) {
            let permission = self.engine.state().cors.permission(&origin);
            return permission.unwrap_or_else(|| error::foreign(&self.engine, &request));
        }
        let Ok(response) = self.router.clone().call(request).await;
        response
    }
}

fn router(engine: Arc<Engine>) -> Router {
    let mut router = Router::new();
    for prefix in CHAT {
        // Only to say which method is the right one.
        router = router.route(prefix.path, post(error::no_such_route));
    }
    for prefix in MODELS {
        let handler = move |State(engine): State<Arc<Engine>>, request: Request| models::list(engine, prefix, request);
        router = router.route(prefix.path, get(handler));
    }
    router
        .route("/v1/mcp/tool/execute", post(tools::execute))
        .route("/health", get(health::health))
        .route("/metrics", get(health::metrics))
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::wrong_method)
        .with_state(engine)
}

/// The dialect whose errors a path's callers understand.
pub fn dialect_of(path: &str) -> Dialect {
    if path.starts_with("/anthropic/") { Dialect::AnthropicMessages } else { Dialect::OpenAiChat }
}

/// An unknown path is one route, whatever it says: metric labels are not the caller's to choose.
fn route_of(path: &str) -> &'static str {
    const OTHERS: [&str; 3] = ["/v1/mcp/tool/execute", "/health", "/metrics"];
    let rows = CHAT.iter().chain(MODELS).map(|prefix| prefix.path);
    rows.chain(OTHERS).find(|known| *known == path).unwrap_or("other")
}

fn method_name(method: &http::Method) -> &'static str {
    match *method {
        http::Method::GET => "GET",
        http::Method::POST => "POST",
        http::Method::OPTIONS => "OPTIONS",
        http::Method::HEAD => "HEAD",
        http::Method::PUT => "PUT",
        http::Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// A plain JSON answer.
fn json(status: StatusCode, body: impl Into<axum::body::Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
