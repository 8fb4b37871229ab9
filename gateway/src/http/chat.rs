//! Chat, on every route that speaks it: the body is collected, the engine answers.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use bifrost_providers::endpoint::Endpoint;
use bifrost_providers::scan::Scan;
use http::Request;
use hyper::body::Incoming;

use super::{Prefix, body, error, sse};
use crate::engine::answer::{Reply, ReplyBody};
use crate::engine::ask::Ask;
use crate::engine::serve;
use crate::state::Engine;

pub async fn answer(engine: Arc<Engine>, prefix: &'static Prefix, request: Request<Incoming>) -> Response {
    let received = Instant::now();
    let (head, body) = request.into_parts();
    let cap = engine.state().max_body_bytes;
    let body = match body::collect(&head.headers, body, cap).await {
        Ok(body) => body,
        Err(refusal) => return error::refused(&refusal, prefix.dialect, &head.headers),
    };
    let ask = Ask {
        endpoint: Endpoint::chat(prefix.dialect),
        dialect: prefix.dialect,
        default_provider: prefix.default_provider,
        request_id: Ask::request_id(&head.headers),
        scan: Scan::of(&body),
        headers: head.headers,
        body,
        received,
    };
    if ask.scan.as_ref().is_ok_and(|scan| scan.stream) {
        let (request_id, ping_after) = (ask.request_id.clone(), engine.ping_after);
        let work = Box::pin(serve(engine, ask));
        return respond(sse::answer(prefix.dialect, &request_id, work, ping_after).await);
    }
    respond(Box::pin(serve(engine, ask)).await)
}

/// The engine's answer as the framework's.
pub fn respond(reply: Reply) -> Response {
    let body = match reply.body {
        ReplyBody::Whole(bytes) => Body::from(bytes),
        ReplyBody::Events(stream) => Body::new(stream),
    };
    let mut response = Response::new(body);
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}
