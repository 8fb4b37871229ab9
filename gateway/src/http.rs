//! The HTTP surface: routes, bodies in and out. Decides nothing about a request beyond what its path and size say.

pub mod batch;
pub mod body;
pub mod chat;
pub mod cors;
pub mod error;
pub mod health;
pub mod listen;
pub mod models;
pub mod orders;
pub mod patience;
pub mod routes;
pub mod sse;
pub mod tools;

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::Response;
use axum::routing::{get, post};
use futures::FutureExt as _;
use http::{HeaderValue, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use tower::Service as _;

use self::cors::Cors;
use self::routes::{Found, Serves};
use crate::engine::ask::{Link, labels};
use crate::metrics::{Exchange, RouteName};
use crate::state::Engine;

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
        let found = routes::find(request.method(), request.uri().path());
        let route = found.name(request.uri().path());
        let method = method_name(request.method());
        let size = request.body().size_hint().lower();
        let custom = labels(request.headers(), self.engine.metrics.custom());
        let origin = request.headers().get(http::header::ORIGIN).cloned();
        let answered = AssertUnwindSafe(self.dispatch(found, request, link)).catch_unwind().await;
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

    /// The table's routes have the road to themselves; the router serves whatever is asked less often, and refuses the rest.
    async fn dispatch(&self, found: Found, request: http::Request<Incoming>, link: Link) -> Response {
        let engine = self.engine.clone();
        if let Found::Route(route) = found {
            return match route.serves {
                Serves::Chat { .. } | Serves::Explain => chat::answer(engine, route, request, link).await,
                Serves::Order(endpoint) => Box::pin(orders::answer(engine, route, endpoint, request, link)).await,
                Serves::Verbatim(kind) => Box::pin(orders::pass(engine, route, kind, request, link)).await,
                Serves::Models(dialect) => Box::pin(models::list(engine, &route, dialect, request)).await,
            };
        }
        if let Some(origin) = Cors::asks(request.method(), request.headers()) {
            let permission = self.engine.state().cors.permission(&origin);
            return permission.unwrap_or_else(|| error::foreign(&self.engine, &request));
        }
        if routes::is_passthrough(request.uri().path()) {
            return Box::pin(error::closed(&engine, request)).await;
        }
        if let Found::OtherMethod { allowed, .. } = found {
            // What can be got can be asked after: the same answer, whose body the connection leaves out (RFC 9110, section 9.3.2).
            if *request.method() == http::Method::HEAD
                && let Found::Route(route) = routes::find(&http::Method::GET, request.uri().path())
                && let Serves::Models(dialect) = route.serves
            {
                return Box::pin(models::list(engine, &route, dialect, request)).await;
            }
            return Box::pin(error::other_method(&engine, request, &allowed)).await;
        }
        let Ok(response) = self.router.clone().call(request).await;
        response
    }
}

fn router(engine: Arc<Engine>) -> Router {
    Router::new()
        .route("/v1/mcp/tool/execute", post(tools::execute))
        .route("/health", get(health::health))
        .route("/metrics", get(health::metrics))
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::wrong_method)
        .with_state(engine)
}

impl Found {
    /// An unknown path is one route, whatever it says: metric labels are not the caller's to choose.
    fn name(&self, path: &str) -> RouteName {
        const ROUTER: [&str; 3] = ["/v1/mcp/tool/execute", "/health", "/metrics"];
        match self {
            Self::Route(route) => route.name,
            Self::OtherMethod { name, .. } => *name,
            Self::Nothing => RouteName::fixed(ROUTER.into_iter().find(|known| *known == path).unwrap_or("other")),
        }
    }
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
