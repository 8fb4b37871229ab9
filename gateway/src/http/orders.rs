//! What is no chat: JSON is collected, forms and files are passed on while they come.

use std::sync::Arc;

use axum::response::Response;
use bifrost_providers::Malformed;
use bifrost_providers::endpoint::Endpoint;
use bifrost_providers::multipart::{Form, boundary, is_form};
use bifrost_providers::scan::{Field, Named, Scan};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::chat::{self, respond};
use super::routes::Route;
use super::{body, error};
use crate::engine::answer::{Reply, ReplyBody};
use crate::engine::ask::{Arrival, Ask, Link, api_version, has_options};
use crate::engine::order::{self, Paper};
use crate::engine::refusal::Refusal;
use crate::engine::upload::Upload;
use crate::engine::verbatim::{self, Verbatim};
use crate::engine::{Admitted, admit};
use crate::state::Engine;

/// Something that a model does.
pub async fn answer(
    engine: Arc<Engine>,
    route: Route,
    endpoint: Endpoint,
    request: Request<Incoming>,
    link: Link,
) -> Response {
    let (head, mut body) = request.into_parts();
    let arrival = Arrival::new(endpoint.request_type(false), route.dialect, &head.headers).over(link);
    let admitted = match admit(&engine, &arrival) {
        Ok(admitted) => admitted,
        Err(reply) => return error::unread(*reply, &head, body, engine.state().max_body_bytes).await,
    };
    let form = match form_type(&head.headers) {
        Ok(form) => form,
        Err(refusal) => return unreadable(admitted, &refusal, &arrival, &head, body).await,
    };
    if let Some((content_type, boundary)) = form {
        let upload = match upload(&admitted, &head, body, Some(boundary)) {
            Ok(upload) => upload,
            Err((refusal, body)) => return unreadable(admitted, &refusal, &arrival, &head, body).await,
        };
        let cap = admitted.state.max_body_bytes;
        let reply = match upload.head(route.named.is_some()).await {
            Ok(form) => {
                let scan = scan_of(&form, route.named.as_deref());
                let ask = asked(endpoint, &route, &head, (Bytes::new(), Ok(scan)), &arrival);
                let paper = Paper::Form(upload.clone(), content_type.clone());
                Box::pin(order::serve(engine, admitted, ask, paper)).await
            }
            Err(refusal) => admitted.refuse(&refusal, arrival.dialect),
        };
        return told(reply, &upload, &head, cap).await;
    }
    let whole = match body::collect(&head.headers, &mut body, admitted.state.max_body_bytes).await {
        Ok(whole) => whole,
        Err(refusal) => return unreadable(admitted, &refusal, &arrival, &head, body).await,
    };
    let ask = asked(endpoint, &route, &head, route.read(whole), &arrival);
    if endpoint == Endpoint::Completions && admitted.state.text_over_chat {
        return chat::served(engine, admitted, Arc::new(ask)).await;
    }
    respond(Box::pin(order::serve(engine, admitted, ask, Paper::Json)).await)
}

/// What belongs to one provider's account.
pub async fn pass(
    engine: Arc<Engine>,
    route: Route,
    kind: &'static str,
    request: Request<Incoming>,
    link: Link,
) -> Response {
    let (head, body) = request.into_parts();
    let arrival = Arrival::new(kind, route.dialect, &head.headers).over(link);
    let admitted = match admit(&engine, &arrival) {
        Ok(admitted) => admitted,
        Err(reply) => return error::unread(*reply, &head, body, engine.state().max_body_bytes).await,
    };
    let upload = match upload(&admitted, &head, body, None) {
        Ok(upload) => upload,
        Err((refusal, body)) => return unreadable(admitted, &refusal, &arrival, &head, body).await,
    };
    let cap = admitted.state.max_body_bytes;
    let (provider, query) = provider_of(head.uri.query().unwrap_or_default());
    let asked = Verbatim {
        method: head.method.clone(),
        path: route.upstream,
        query,
        dialect: route.dialect,
        provider,
        default_provider: route.default_provider,
        content_type: head.headers.get(header::CONTENT_TYPE).cloned(),
        headers: head.headers.clone(),
        body: upload.clone(),
    };
    let reply = Box::pin(verbatim::serve(engine, admitted, asked)).await;
    told(reply, &upload, &head, cap).await
}

fn asked(
    endpoint: Endpoint,
    route: &Route,
    head: &Parts,
    (body, scan): (Bytes, Result<Scan, Malformed>),
    arrival: &Arrival<'_>,
) -> Ask {
    let Route { dialect, default_provider, .. } = *route;
    Ask {
        endpoint,
        dialect,
        framing: dialect.framing(),
        default_provider,
        with_tools: false,
        headers: head.headers.clone(),
        body,
        scan,
        api_version: api_version(head.uri.query()),
        request_id: arrival.request_id.clone(),
        has_options: has_options(&head.headers),
    }
}

/// A body that is read as far as its provider takes it.
fn upload(
    admitted: &Admitted,
    head: &Parts,
    body: Incoming,
    boundary: Option<&str>,
) -> Result<Upload, (Refusal, Incoming)> {
    let cap = admitted.state.max_body_bytes;
    match body::announced(&head.headers, cap) {
        Ok(announced) => Ok(Upload::new(body.map_err(Into::into).boxed_unsync(), boundary, cap, announced)),
        Err(refusal) => Err((refusal, body)),
    }
}

/// The answer to a request whose body cannot be had.
async fn unreadable(
    admitted: Admitted,
    refusal: &Refusal,
    arrival: &Arrival<'_>,
    head: &Parts,
    body: Incoming,
) -> Response {
    let cap = admitted.state.max_body_bytes;
    error::unread(admitted.refuse(refusal, arrival.dialect), head, body, cap).await
}

/// The answer, once the client can be expected to read it: most read nothing while they send. An answer that grows has begun
/// while the body is still on its way, which goes on.
async fn told(reply: Reply, upload: &Upload, head: &Parts, cap: usize) -> Response {
    if matches!(reply.body, ReplyBody::Passed(_)) {
        return respond(reply);
    }
    match upload.rest() {
        Some(rest) => error::unread(reply, head, rest, cap).await,
        None => respond(reply),
    }
}

/// The content type of a form, and its boundary; nothing where the body is none.
fn form_type(headers: &HeaderMap) -> Result<Option<(&HeaderValue, &str)>, Refusal> {
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else { return Ok(None) };
    let text = content_type.to_str().unwrap_or_default();
    match boundary(text) {
        Some(boundary) => Ok(Some((content_type, boundary))),
        None if is_form(text) => Err(Refusal::Malformed(Malformed {
            pointer: String::new(),
            expected: "the boundary of the form in content-type: multipart/form-data; boundary=..".into(),
        })),
        None => Ok(None),
    }
}

/// What a form says, as a body would say it. The model's field is empty: forms have their own way of changing it.
fn scan_of(form: &Form, in_path: Option<&str>) -> Scan {
    let name = in_path.or(form.model()).map(str::to_owned);
    let field = Field { entry: 0..0, value: 0..0 };
    Scan {
        model: name.map(|name| Named { field, name }),
        provider: None,
        stream: form.stream(),
        fallbacks: None,
        stream_options: None,
        has_tools: false,
        n: None,
        messages: None,
        max_tokens: None,
        end: 0,
    }
}

/// The provider that a query names, and the query without it.
fn provider_of(query: &str) -> (Option<String>, String) {
    let mut provider = None;
    let rest: Vec<&str> = query
        .split('&')
        .filter(|pair| match pair.strip_prefix("provider=") {
            Some(name) => {
                provider = (!name.is_empty()).then(|| name.to_owned());
                false
            }
            None => !pair.is_empty(),
        })
        .collect();
    (provider, rest.join("&"))
}
