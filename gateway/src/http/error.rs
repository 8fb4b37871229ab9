//! Answers to requests that never reach the engine, in the dialect that their path suggests.

use std::any::Any;
use std::sync::Arc;

use axum::BoxError;
use axum::extract::{Request, State};
use axum::response::Response;
use bifrost_providers::Dialect;
use http::request::Parts;
use http::{HeaderValue, StatusCode, Version, header};
use http_body::Body;
use hyper::body::Incoming;

use super::body;
use super::chat::respond;
use super::routes::dialect_of;
use crate::engine::answer::Reply;
use crate::engine::ask::Arrival;
use crate::engine::grant::Grant;
use crate::engine::refusal::Refusal;
use crate::engine::refuse;
use crate::state::Engine;

/// A refusal that needs no engine, recorded like every other.
pub fn refused(engine: &Arc<Engine>, arrival: &Arrival<'_>, refusal: &Refusal) -> Response {
    respond(refuse(refusal, arrival.dialect, Grant::open(engine, arrival)))
}

/// A refusal given before the body was read. What still comes of it is let arrive; where it does not end, the connection does.
pub async fn unread<B>(reply: Reply, head: &Parts, body: B, cap: usize) -> Response
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    let mut response = respond(reply);
    let arrived = body::discard(&head.headers, body, cap).await;
    if !arrived && head.version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

pub async fn no_such_route(engine: State<Arc<Engine>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let message = format!("no such route: {} {}", head.method, head.uri.path());
    let refusal = Refusal::Http { status: StatusCode::NOT_FOUND, kind: "not_found_error", message };
    misdirected(&engine, &refusal, &head, body).await
}

/// What a passthrough does not pass.
pub async fn closed(engine: &Arc<Engine>, request: http::Request<Incoming>) -> Response {
    let (head, body) = request.into_parts();
    let message = format!("{} {} is not passed on: only what a model does is", head.method, head.uri.path());
    let refusal = Refusal::Http { status: StatusCode::FORBIDDEN, kind: "permission_error", message };
    misdirected(engine, &refusal, &head, body).await
}

/// A path of the table, asked in a way that it does not answer.
pub async fn other_method(
    engine: &Arc<Engine>,
    request: http::Request<Incoming>,
    allowed: &[http::Method],
) -> Response {
    let mut response = wrong_method(State(engine.clone()), request).await;
    let allowed = allowed.iter().map(http::Method::as_str).collect::<Vec<_>>().join(", ");
    if let Ok(allowed) = HeaderValue::try_from(allowed) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

pub async fn wrong_method<B>(engine: State<Arc<Engine>>, request: http::Request<B>) -> Response
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    let (head, body) = request.into_parts();
    let message = format!("{} does not answer {}", head.uri.path(), head.method);
    let refusal = Refusal::Http { status: StatusCode::METHOD_NOT_ALLOWED, kind: "invalid_request_error", message };
    misdirected(&engine, &refusal, &head, body).await
}

/// A page whose origin may not call.
pub fn foreign(engine: &Arc<Engine>, request: &http::Request<Incoming>) -> Response {
    let message = "this origin may not call the gateway (client.allowed_origins)".to_owned();
    let refusal = Refusal::Http { status: StatusCode::FORBIDDEN, kind: "origin_not_allowed", message };
    refused(engine, &Arrival::new("unknown", dialect_of(request.uri().path()), request.headers()), &refusal)
}

async fn misdirected<B>(engine: &Arc<Engine>, refusal: &Refusal, head: &Parts, body: B) -> Response
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    let arrival = Arrival::new("unknown", dialect_of(head.uri.path()), &head.headers);
    let reply = refuse(refusal, arrival.dialect, Grant::open(engine, &arrival));
    unread(reply, head, body, engine.state().max_body_bytes).await
}

/// A panic is a bug of ours: logged with its message, told without it.
pub fn panicked(panic: &(dyn Any + Send)) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(panic.message = message, "a request handler panicked");
    let refusal = Refusal::Http {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        kind: "internal_error",
        message: "internal error of the gateway".to_owned(),
    };
    respond(refusal.reply(Dialect::OpenAiChat, None))
}
