//! A server of protocol revision 2024-11-05: one GET stream, and messages by POST.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State as Shared,
    http::{HeaderMap, StatusCode},
    response::sse::{Event, Sse},
    routing::{get, post},
};
use bifrost_mcp::{CallError, State, TransportSettings};
use futures::{Stream, StreamExt as _};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::support::{PATIENCE, World, eventually, server};

/// The answers of the one client, and the tokens its requests carried.
#[derive(Clone, Default)]
struct OldServer {
    answers: Arc<Mutex<Option<mpsc::UnboundedSender<Event>>>>,
    tokens: Arc<Mutex<Vec<String>>>,
}

fn token(headers: &HeaderMap) -> String {
    headers.get("x-token").and_then(|value| value.to_str().ok()).unwrap_or("none").to_owned()
}

async fn stream(
    Shared(server): Shared<OldServer>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (send, mut receive) = mpsc::unbounded_channel();
    send.send(Event::default().event("endpoint").data("/message?session=1")).unwrap();
    *server.answers.lock() = Some(send);
    server.tokens.lock().push(token(&headers));
    Sse::new(futures::stream::poll_fn(move |context| receive.poll_recv(context)).map(Ok))
}

async fn message(Shared(server): Shared<OldServer>, headers: HeaderMap, Json(message): Json<Value>) -> StatusCode {
    server.tokens.lock().push(token(&headers));
    let result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => json!({"protocolVersion": "2024-11-05", "capabilities": {"tools": {}},
            "serverInfo": {"name": "old", "version": "1"}}),
        "tools/list" => json!({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}),
        "tools/call" => json!({"content": [{"type": "text", "text": message["params"]["arguments"]["text"]}]}),
        _ => return StatusCode::ACCEPTED,
    };
    let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
    let sent = server
        .answers
        .lock()
        .as_ref()
        .map(|answers| answers.send(Event::default().event("message").data(answer.to_string())));
    if sent.is_some_and(|sent| sent.is_ok()) { StatusCode::ACCEPTED } else { StatusCode::NOT_FOUND }
}

#[tokio::test]
async fn the_legacy_transport_lists_calls_and_reconnects() {
    let old = OldServer::default();
    let app = Router::new().route("/sse", get(stream)).route("/message", post(message)).with_state(old.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/sse", listener.local_addr().unwrap()).parse().unwrap();
    let tasks = TaskTracker::new();
    let serving = tasks.spawn(async move { axum::serve(listener, app).await });

    let headers = vec![("x-token".to_owned(), "t0ken".to_owned().into())];
    let world = World::settled(vec![server("old", TransportSettings::Sse { url, headers })]).await;
    assert!(matches!(world.state("old"), State::Ready { tools: 1, .. }), "{:?}", world.state("old"));
    assert_eq!(world.call("old-echo", r#"{"text":"hello"}"#).await.text(), "hello");
    assert!(old.tokens.lock().iter().all(|token| token == "t0ken"), "{:?}", old.tokens.lock());

    old.answers.lock().take();
    let mut missed = 0;
    eventually("reconnected", PATIENCE, async || {
        let outcome = world.call_within("old-echo", r#"{"text":"again"}"#, Duration::from_secs(1)).await;
        missed += usize::from(outcome.error == Some(CallError::Unavailable));
        outcome.text() == "again"
    })
    .await;
    assert!(missed > 0, "the broken stream was noticed");
    world.hub.close().await;
    serving.abort();
}

#[tokio::test]
async fn a_stream_that_names_a_foreign_endpoint_is_refused() {
    let foreign = || async {
        let event = Event::default().event("endpoint").data("http://127.0.0.1:1/message");
        Sse::new(futures::stream::iter([Ok::<_, Infallible>(event)]))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/sse", listener.local_addr().unwrap()).parse().unwrap();
    let serving =
        TaskTracker::new().spawn(async move { axum::serve(listener, Router::new().route("/sse", get(foreign))).await });
    let world = World::settled(vec![server("foreign", TransportSettings::Sse { url, headers: Vec::new() })]).await;
    let State::Failed { reason, .. } = world.state("foreign") else { panic!("{:?}", world.state("foreign")) };
    assert!(reason.contains("another origin"), "{reason}");
    world.hub.close().await;
    serving.abort();
}
