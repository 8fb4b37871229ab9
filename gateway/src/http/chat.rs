//! Chat, on every route that speaks it: the body is collected, the engine answers.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bifrost_providers::dialect::Action;
use bifrost_providers::endpoint::Endpoint;
use bifrost_providers::framing::Framing;
use bifrost_providers::scan::{Scan, Splice};
use bifrost_providers::{Dialect, Malformed};
use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;

use super::routes::{Route, Serves};
use super::{body, error, sse};
use crate::engine::answer::{Reply, ReplyBody};
use crate::engine::ask::{Arrival, Ask, Link, api_version, has_options};
use crate::engine::explain::explain;
use crate::engine::{Admitted, admit, serve};
use crate::state::Engine;

pub async fn answer(engine: Arc<Engine>, route: Route, request: Request<Incoming>, link: Link) -> Response {
    let (head, mut body) = request.into_parts();
    let dialect = route.dialect_of_chat();
    let arrival = Arrival::new(route.request_type(), dialect, &head.headers).over(link);
    let admitted = match admit(&engine, &arrival) {
        Ok(admitted) => admitted,
        Err(reply) => return error::unread(*reply, &head, body, engine.state().max_body_bytes).await,
    };
    let cap = admitted.state.max_body_bytes;
    let whole = match body::collect(&head.headers, &mut body, cap).await {
        Ok(whole) => whole,
        Err(refusal) => return error::unread(admitted.refuse(&refusal, dialect), &head, body, cap).await,
    };
    let framing = framing(dialect, head.uri.query());
    let api_version = api_version(head.uri.query());
    let (body, scan) = route.read(whole);
    let explains = route.serves == Serves::Explain;
    let dialect = if explains { spoken(dialect, &body) } else { dialect };
    let endpoint = Endpoint::chat(dialect);
    let Route { default_provider, with_tools, .. } = route;
    let request_id = arrival.request_id;
    let headers = head.headers;
    let has_options = has_options(&headers);
    let ask = Ask {
        endpoint,
        dialect,
        framing,
        default_provider,
        with_tools,
        headers,
        body,
        scan,
        api_version,
        request_id,
        has_options,
    };
    if explains {
        return respond(explain(engine, admitted, ask));
    }
    served(engine, admitted, Arc::new(ask)).await
}

/// The answer to an admitted request, with pings where it is a stream.
pub async fn served(engine: Arc<Engine>, admitted: Admitted, ask: Arc<Ask>) -> Response {
    let (dialect, framing) = (ask.dialect, ask.framing);
    if ask.scan.as_ref().is_ok_and(|scan| scan.stream) {
        let (request_id, ping_after) = (ask.request_id.clone(), engine.ping_after);
        let work = Box::pin(serve(engine, admitted, ask));
        return respond(sse::answer((dialect, framing), &request_id, work, ping_after).await);
    }
    respond(Box::pin(serve(engine, admitted, ask)).await)
}

/// How a client of this dialect wants its streams. Google's say so in the query (<https://ai.google.dev/api/generate-content>).
fn framing(dialect: Dialect, query: Option<&str>) -> Framing {
    let asks_for_events = |query: &str| query.split('&').any(|pair| matches!(pair, "alt=sse" | "$alt=sse"));
    match dialect {
        Dialect::Gemini if !query.is_some_and(asks_for_events) => Framing::JsonArray,
        _ => dialect.framing(),
    }
}

impl Route {
    fn dialect_of_chat(&self) -> Dialect {
        match self.serves {
            Serves::Chat { dialect, .. } => dialect,
            _ => self.dialect,
        }
    }

    fn request_type(&self) -> &'static str {
        match self.serves {
            Serves::Explain => "explain",
            _ => Endpoint::chat(self.dialect_of_chat()).request_type(false),
        }
    }

    /// Reads a request of chat, whose model and framing the path may say.
    pub fn read(&self, body: Bytes) -> (Bytes, Result<Scan, Malformed>) {
        match (&self.named, self.serves) {
            (Some(model), serves) if self.dialect_of_chat().names_model_in_url() => {
                let stream = matches!(serves, Serves::Chat { stream: Some(true), .. });
                let action = Action { dialect: self.dialect_of_chat(), model: Cow::Borrowed(model), stream, sse: true };
                let scan = action.scan(&body);
                (body, scan)
            }
            (Some(model), _) => with_model(model, body),
            (None, _) => {
                let scan = Scan::of(&body);
                (body, scan)
            }
        }
    }
}

/// OpenAI's two dialects share a mount: the body tells which one is spoken.
fn spoken(mount: Dialect, body: &Bytes) -> Dialect {
    #[derive(serde::Deserialize)]
    struct Telling {
        messages: Option<serde::de::IgnoredAny>,
        input: Option<serde::de::IgnoredAny>,
    }
    let telling = serde_json::from_slice::<Telling>(body);
    let responses = telling.is_ok_and(|body| body.messages.is_none() && body.input.is_some());
    if mount == Dialect::OpenAiChat && responses { Dialect::OpenAiResponses } else { mount }
}

/// A body that says the model of its path, whatever it said: in this dialect everybody behind looks for it there.
fn with_model(model: &str, body: Bytes) -> (Bytes, Result<Scan, Malformed>) {
    let place = match Scan::place_of_model(&body) {
        Ok(place) => place,
        Err(malformed) => return (body, Err(malformed)),
    };
    let mut splice = Splice::new(&body);
    match &place {
        Some(field) => splice.replace_text(field, model),
        None => splice.append_text("model", model),
    };
    let body = splice.build();
    let scan = Scan::of(&body);
    (body, scan)
}

/// The engine's answer as the framework's.
pub fn respond(reply: Reply) -> Response {
    let body = match reply.body {
        ReplyBody::Whole(bytes) => Body::from(bytes),
        ReplyBody::Events(stream) => Body::new(stream),
        ReplyBody::Passed(body) => Body::new(body),
    };
    let mut response = Response::new(body);
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_names_the_model_is_believed_whatever_the_body_says() {
        for (said, told) in [
            (r#"{"n":1}"#, r#"{"n":1,"model":"openai/x"}"#),
            (r#"{"model":"gpt-4o","n":1}"#, r#"{"model":"openai/x","n":1}"#),
            // langchain's `AzureChatOpenAI`.
            (r#"{"model": null, "n":1}"#, r#"{"model": "openai/x", "n":1}"#),
            (r#"{"model":""}"#, r#"{"model":"openai/x"}"#),
        ] {
            let (body, scan) = with_model("openai/x", Bytes::from_static(said.as_bytes()));
            assert_eq!((&*body, scan.unwrap().model.unwrap().name.as_str()), (told.as_bytes(), "openai/x"), "{said}");
        }
        let (_, scan) = with_model("openai/x", Bytes::from_static(br#"{"model":1,"model":2}"#));
        assert_eq!(scan.unwrap_err().pointer, "/model");
    }
}
