//! Chat, on every route that speaks it: the body is collected, the engine answers.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bifrost_providers::endpoint::Endpoint;
use bifrost_providers::scan::Scan;
use http::Request;
use hyper::body::Incoming;

use super::{Prefix, body, error, sse};
use crate::engine::answer::{Reply, ReplyBody};
use crate::engine::ask::{Arrival, Ask, Link};
use crate::engine::{admit, serve};
use crate::state::Engine;

pub async fn answer(engine: Arc<Engine>, prefix: &'static Prefix, request: Request<Incoming>, link: Link) -> Response {
    let (head, mut body) = request.into_parts();
    let endpoint = Endpoint::chat(prefix.dialect);
    let arrival = Arrival::new(endpoint.request_type(false), prefix.dialect, &head.headers).over(link);
    let admitted = match admit(&engine, &arrival) {
        Ok(admitted) => admitted,
        Err(reply) => return error::unread(*reply, &head, body, engine.state().max_body_bytes).await,
    };
    let cap = admitted.state.max_body_bytes;
    let whole = match body::collect(&head.headers, &mut body, cap).await {
        Ok(whole) => whole,
        Err(refusal) => return error::unread(admitted.refuse(&refusal, prefix.dialect), &head, body, cap).await,
    };
    let ask = Ask {
        endpoint,
        dialect: prefix.dialect,
        default_provider: prefix.default_provider,
        request_id: arrival.request_id,
        scan: Scan::of(&whole),
        headers: head.headers,
        body: whole,
    };
    if ask.scan.as_ref().is_ok_and(|scan| scan.stream) {
        let (request_id, ping_after) = (ask.request_id.clone(), engine.ping_after);
        let work = Box::pin(serve(engine, admitted, ask));
        return respond(sse::answer(prefix.dialect, &request_id, work, ping_after).await);
    }
    respond(Box::pin(serve(engine, admitted, ask)).await)
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
