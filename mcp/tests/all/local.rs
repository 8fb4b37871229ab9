//! Tools of the embedding program, and the names of servers.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bifrost_mcp::{
    Allow, Answer, CallLimits, Caller, Decision, Definition, Hub, Listing, LocalSource, Piece, Rights, Selection,
    SourceError, StartError, ToolSource,
};
use serde_json::{Map, Value, json};

use crate::support::{PATIENCE, settings, toolserver};

#[derive(Debug)]
struct Clock;

#[async_trait]
impl ToolSource for Clock {
    async fn list(&self) -> Result<Listing, SourceError> {
        let schema = json!({"properties": {"zone": {"type": "string"}}});
        let tools =
            ["now", "never"].map(|name| Definition::new(name, Some("Tells."), schema.as_object().unwrap()).unwrap());
        Ok(Listing::new(tools, Vec::new()))
    }

    async fn call(&self, tool: &str, arguments: Map<String, Value>) -> Result<Answer, SourceError> {
        match tool {
            "now" => {
                Ok(Answer { content: vec![Piece::Text(format!("noon in {}", arguments["zone"]))], is_error: false })
            }
            _ => std::future::pending().await,
        }
    }
}

fn clock(name: &str) -> LocalSource {
    LocalSource {
        name: name.to_owned(),
        source: Arc::new(Clock),
        execute: Allow::All,
        auto_execute: Allow::Only(["now".to_owned()].into()),
        call_timeout: Duration::from_millis(50),
        on_all_virtual_keys: true,
    }
}

#[tokio::test]
async fn the_embedding_program_can_bring_tools() {
    let (settings, _) = settings(Vec::new(), vec![clock("clock")]);
    let hub = Hub::start(settings).unwrap();
    assert!(hub.settled(PATIENCE).await);
    let rights = Rights::OnlyGranted([].into());
    let caller = Caller { include_clients: None, include_tools: None, rights: &rights };
    let selection = Selection::new(&hub.catalog(), &caller);
    let Decision::Auto(now) = selection.decide("clock-now") else { panic!("{selection:?}") };
    let Decision::Manual(never) = selection.decide("clock_never") else { panic!("{selection:?}") };
    assert_eq!(hub.call(&now, r#"{"zone":"Bern"}"#, CallLimits::default()).await.text(), "noon in \"Bern\"");
    let outcome = hub.call(&never, "", CallLimits::default()).await;
    assert_eq!(outcome.text(), "MCP tool call timed out after 50ms: clock-never");
    hub.close().await;
}

#[tokio::test]
async fn names_are_unique_and_printable() {
    let (twice, _) = settings(vec![toolserver("a", "plain")], vec![clock("a")]);
    assert_eq!(Hub::start(twice).err(), Some(StartError::NameTaken("a".to_owned())));
    let (bad, _) = settings(vec![], vec![clock("a b")]);
    assert_eq!(Hub::start(bad).err(), Some(StartError::BadName("a b".to_owned())));
}
