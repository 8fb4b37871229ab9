//! Which tools a request is offered, and whose a call is.
//!
//! One selection serves for offering *and* for executing, so a tool that was not offered cannot be run.

use std::collections::HashSet;
use std::sync::Arc;

use bifrost_mcp::Tool as OfferedTool;
use bifrost_mcp::{Decision, Selection};
use bifrost_providers::ChatRequest;
use bifrost_providers::chat::{Extras, Function, Tool, ToolKind};
use bifrost_providers::text::Text;
use serde_json::value::RawValue;

/// The gateway's tools for one request, beside the caller's own.
#[derive(Debug)]
pub struct Offer {
    selection: Selection,
    callers_own: HashSet<String>,
    /// Servers whose calls the client wants to have a word on.
    approving: Vec<String>,
}

/// Who answers a tool call.
#[derive(Clone, Debug)]
pub enum Owner {
    /// The gateway runs it, unseen by the client.
    Gateway(Arc<OfferedTool>),
    /// The client declared it, or runs it itself: it is shown and left pending.
    Client,
    /// The client wants a word on it, after which the gateway runs it.
    Approval(Arc<OfferedTool>),
    /// Nobody: the model is told so.
    Nobody(String),
}

impl Offer {
    pub fn new(selection: Selection, chat: &ChatRequest) -> Self {
        let callers_own = chat.tools.iter().filter_map(declared_name).collect();
        Self { selection, callers_own, approving: Vec::new() }
    }

    /// With these servers' calls subject to the client's word, where the gateway would not run them by itself.
    #[must_use]
    pub fn approved_by_client(self, servers: Vec<String>) -> Self {
        Self { approving: servers, ..self }
    }

    /// How many tools are offered.
    pub fn count(&self) -> usize {
        self.selection.tools().len()
    }

    /// Adds the offered tools behind the caller's own, in their stable order. A name the caller uses stays the caller's.
    pub fn merge(&self, chat: &mut ChatRequest) {
        chat.tools.extend(self.added().map(|tool| declare(tool)));
    }

    /// The offered tools whose names the caller does not use itself.
    pub fn added(&self) -> impl Iterator<Item = &Arc<OfferedTool>> {
        self.selection.tools().iter().filter(|tool| !self.callers_own.contains(tool.name.as_ref()))
    }

    pub fn owner(&self, name: &str) -> Owner {
        if self.callers_own.contains(name) {
            return Owner::Client;
        }
        match self.selection.decide(name) {
            Decision::Auto(tool) => Owner::Gateway(tool),
            Decision::Manual(tool) if self.approving.iter().any(|server| **server == *tool.server) => {
                Owner::Approval(tool)
            }
            Decision::Manual(_) => Owner::Client,
            Decision::Refused { reason } => Owner::Nobody(reason),
            Decision::Unknown => Owner::Nobody(format!("tool '{name}' is not available or not permitted")),
        }
    }

    /// The same for a call that the user has approved. What this caller may not have, no word opens.
    pub fn owner_on_the_users_word(&self, name: &str) -> Owner {
        match self.selection.decide(name) {
            Decision::Manual(tool) => Owner::Gateway(tool),
            _ => self.owner(name),
        }
    }
}

fn declared_name(tool: &Tool) -> Option<String> {
    match &tool.kind {
        ToolKind::Function(function) => Some(function.name.to_plain().into_owned()),
        ToolKind::Foreign(_, raw) => {
            #[derive(serde::Deserialize)]
            struct Named {
                name: Option<String>,
                custom: Option<Inner>,
            }
            #[derive(serde::Deserialize)]
            struct Inner {
                name: Option<String>,
            }
            let named: Named = serde_json::from_str(raw.get()).ok()?;
            named.name.or_else(|| named.custom?.name)
        }
    }
}

fn declare(tool: &OfferedTool) -> Tool {
    let function = Function {
        name: Text::from_plain(&tool.name),
        description: tool.description.as_deref().map(Text::from_plain),
        schema: Some(RawValue::to_owned(&tool.schema)),
        strict: None,
    };
    Tool { kind: ToolKind::Function(function), cache: None, extras: Extras::default() }
}
