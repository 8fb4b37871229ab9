//! What is no chat: the body is collected, the engine passes it on.

use std::sync::Arc;

use axum::response::Response;
use bifrost_providers::Malformed;
use bifrost_providers::endpoint::Endpoint;
use bifrost_providers::multipart::{Form, boundary};
use bifrost_providers::scan::{Field, Named, Scan};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, header};
use hyper::body::Incoming;

use super::chat::{self, respond};
use super::routes::Route;
use super::{body, error};
use crate::engine::ask::{Arrival, Ask, Link};
use crate::engine::order::{self, Paper};
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
    let (head, body) = request.into_parts();
    let arrival = Arrival::new(endpoint.request_type(false), route.dialect, &head.headers).over(link);
    let (admitted, body) = match received(&engine, &arrival, &head, body).await {
        Ok(received) => received,
        Err(refused) => return *refused,
    };
    let request_id = arrival.request_id;
    let (body, scan, paper) = read(&route, &head.headers, body);
    let Route { dialect, default_provider, .. } = route;
    let framing = dialect.framing();
    let headers = head.headers;
    let with_tools = false;
    let ask = Ask { endpoint, dialect, framing, default_provider, with_tools, headers, body, scan, request_id };
    if endpoint == Endpoint::Completions && admitted.state.text_over_chat {
        return chat::served(engine, admitted, Arc::new(ask)).await;
    }
    respond(Box::pin(order::serve(engine, admitted, ask, paper)).await)
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
    let (admitted, body) = match received(&engine, &arrival, &head, body).await {
        Ok(received) => received,
        Err(refused) => return *refused,
    };
    let (provider, query) = provider_of(head.uri.query().unwrap_or_default());
    let path = if query.is_empty() { route.upstream } else { format!("{}?{query}", route.upstream) };
    let asked = Verbatim {
        method: head.method,
        path,
        dialect: route.dialect,
        provider: provider.or_else(|| route.default_provider.map(str::to_owned)),
        content_type: head.headers.get(header::CONTENT_TYPE).cloned(),
        headers: head.headers,
        body,
    };
    respond(Box::pin(verbatim::serve(admitted, asked)).await)
}

/// Who asks, and the whole body; or the answer to a request that may not be read, or cannot be.
async fn received(
    engine: &Arc<Engine>,
    arrival: &Arrival<'_>,
    head: &Parts,
    mut body: Incoming,
) -> Result<(Admitted, Bytes), Box<Response>> {
    let admitted = match admit(engine, arrival) {
        Ok(admitted) => admitted,
        Err(reply) => return Err(Box::new(error::unread(*reply, head, body, engine.state().max_body_bytes).await)),
    };
    let cap = admitted.state.max_body_bytes;
    match body::collect(&head.headers, &mut body, cap).await {
        Ok(whole) => Ok((admitted, whole)),
        Err(refusal) => {
            let reply = admitted.refuse(&refusal, arrival.dialect);
            Err(Box::new(error::unread(reply, head, body, cap).await))
        }
    }
}

fn read(route: &Route, headers: &HeaderMap, body: Bytes) -> (Bytes, Result<Scan, Malformed>, Paper) {
    let content_type = headers.get(header::CONTENT_TYPE);
    let form = content_type.and_then(|value| Some((value, boundary(value.to_str().ok()?)?)));
    let Some((content_type, boundary)) = form else {
        let (body, scan) = route.read(body);
        return (body, scan, Paper::Json);
    };
    match Form::of(&body, boundary) {
        Ok(form) => {
            let scan = scan_of(&form, route.named.as_deref());
            (body, Ok(scan), Paper::Form(form, content_type.clone()))
        }
        Err(malformed) => (body, Err(malformed), Paper::Form(Form::default(), HeaderValue::from_static(""))),
    }
}

/// What a form says, as a body would say it. The model's field is empty: forms have their own way of changing it.
fn scan_of(form: &Form, in_path: Option<&str>) -> Scan {
    let name = in_path.map(str::to_owned).or_else(|| form.model.as_ref().map(|model| model.text.clone()));
    let field = Field { entry: 0..0, value: 0..0 };
    Scan {
        model: name.map(|name| Named { field, name }),
        provider: None,
        stream: form.stream,
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
