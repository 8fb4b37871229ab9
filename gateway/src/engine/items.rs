//! OpenAI's Responses shows a client the gateway's own tools as items: which there are, every call that ran, every call that
//! waits for the client's word. A client that sends items back holds the whole conversation; for one that drops them the
//! journal is there. Other dialects have no such items.
//!
//! A client asks for its word on calls by declaring a server by its label (`{"type": "mcp", "server_label": ".."}`): a call of
//! a tool there that the operator did not mark as automatic is then an `mcp_approval_request`, and runs once approved.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bifrost_mcp::{Catalog, Tool};
use bifrost_providers::chat::{Message, Part, PartKind, ToolCall};
use bifrost_providers::dialect::openai_responses::mcp::{
    self, McpAnswer, McpApproval, McpCall, McpOutcome, McpTool, McpTools,
};
use bifrost_providers::{ChatEvent, ChatRequest, Text};
use serde_json::value::RawValue;

use super::agent::assistant;
use super::execute::{Done, Executor};
use super::grant::Grant;
use super::offer::Owner;
use super::plan::Plan;

/// What stands in front of a call's id in the request for a word on it.
const WAITS: &str = "mcpr_";

/// What a Responses client said about the gateway's tools, and is to see of them.
#[derive(Debug, Default)]
pub struct Items {
    approving: Vec<String>,
    /// Servers whose tools it has been shown before.
    listed: Vec<Text>,
    answered: Vec<(ToolCall, McpAnswer)>,
    /// Approved calls that ran before the model was asked.
    resumed: Vec<Done>,
}

/// One item of a reply.
#[derive(Clone, Debug)]
pub enum Item {
    Tools(McpTools),
    Call(McpCall, McpOutcome),
    Approval(McpApproval),
}

impl Item {
    pub fn events(&self, index: u32) -> Vec<ChatEvent> {
        match self {
            Self::Tools(tools) => tools.events(index),
            Self::Call(call, outcome) => {
                let mut events = call.begin(index);
                events.extend(call.end(index, outcome));
                events
            }
            Self::Approval(approval) => approval.events(index),
        }
    }

    pub fn part(&self) -> Part {
        match self {
            Self::Tools(tools) => tools.part(),
            Self::Call(call, outcome) => call.part(outcome),
            Self::Approval(approval) => approval.part(),
        }
    }

    /// A call that ran; nothing for one that no server was asked to run.
    pub fn ran(done: &Done, approval_request_id: Option<Text>) -> Option<Self> {
        let tool = done.tool.as_ref()?;
        let said = Text::from_plain(&done.text());
        let outcome = if done.is_error() { McpOutcome::Error(said) } else { McpOutcome::Output(said) };
        let call = McpCall {
            id: prefixed("mcp_", &done.call.id),
            server_label: Text::from_plain(&tool.server),
            name: Text::from_plain(&tool.tool),
            arguments: done.call.arguments.clone(),
            approval_request_id,
        };
        Some(Self::Call(call, outcome))
    }

    /// A call that waits.
    pub fn waits(call: &ToolCall, tool: &Tool) -> Self {
        Self::Approval(McpApproval {
            id: prefixed(WAITS, &call.id),
            server_label: Text::from_plain(&tool.server),
            name: Text::from_plain(&tool.tool),
            arguments: call.arguments.clone(),
        })
    }
}

impl Items {
    /// Reads a conversation, and turns what was shown in it into what a model understands. True where there was any of that.
    pub fn read(chat: &mut ChatRequest, catalog: &Catalog) -> (Self, bool) {
        let named = |server: &Text, tool: &Text| {
            let (server, tool) = (server.to_plain(), tool.to_plain());
            let found = catalog.tools().iter().find(|known| *known.server == *server && *known.tool == *tool);
            found.map(|known| Text::from_plain(&known.name))
        };
        let settled = mcp::settle_history(chat, named);
        let ours = |label: &str| catalog.tools().iter().any(|tool| *tool.server == *label);
        let approving = mcp::take_declared(chat, ours);
        let items = Self { approving, listed: settled.listed, answered: settled.answered, resumed: Vec::new() };
        (items, settled.changed)
    }

    /// Servers whose calls the client wants to have a word on.
    pub fn approving(&self) -> &[String] {
        &self.approving
    }

    /// What stands in front of a reply: the tools that the client has not been shown, and what ran on its word.
    pub fn opening<'a>(&self, offered: impl Iterator<Item = &'a Arc<Tool>>) -> Vec<Item> {
        let mut servers: BTreeMap<&str, Vec<McpTool>> = BTreeMap::new();
        for tool in offered {
            servers.entry(&tool.server).or_default().push(listed(tool));
        }
        servers.retain(|server, _| self.listed.iter().all(|shown| shown.to_plain() != *server));
        let lists = servers.into_iter().map(|(server, tools)| {
            let id = Text::from_plain(&format!("mcpl_{}", uuid::Uuid::now_v7().simple()));
            Item::Tools(McpTools { id, server_label: Text::from_plain(server), tools })
        });
        let ran = self.resumed.iter().filter_map(|done| Item::ran(done, Some(done.call.id.clone())));
        lists.chain(ran).collect()
    }

    /// Approved calls that ran before the model was asked.
    pub fn resumed(&self) -> &[Done] {
        &self.resumed
    }
}

/// Runs the calls that the client has approved, and puts them with their results, or with its refusal, behind the conversation.
pub async fn resume(plan: &mut Plan, grant: &mut Grant) {
    let answered = plan.items.as_mut().map(|items| std::mem::take(&mut items.answered)).unwrap_or_default();
    if answered.is_empty() {
        return;
    }
    let calls: Vec<(ToolCall, Owner)> =
        answered.iter().map(|(call, answer)| (call.clone(), plan.owner_after(call, answer))).collect();
    let limits = plan.state.limits;
    let executor = Executor { hub: &plan.state.hub, max_result_bytes: limits.max_result_bytes };
    let began = Instant::now();
    let (mut done, unfinished) = executor.run_all(calls, limits.deadline_from(began)).await;
    let late = |call| Done::refused(call, format!("the call did not finish within {:?}", limits.deadline));
    done.extend(unfinished.into_iter().map(late));
    grant.waited_tools(began.elapsed());
    grant.record().tools_executed.extend(done.iter().filter(|done| done.tool.is_some()).map(Done::line));
    if plan.sequel.is_some() {
        // The provider that keeps the reply has the calls, and waits for what they said.
        if let Some(chat) = plan.canonical() {
            chat.messages.extend(done.iter().map(by_the_providers_id));
        }
    } else if let Some(chat) = plan.canonical() {
        let parts = done.iter().map(|done| super::agent::call_part(done.call.clone())).collect();
        chat.messages.push(assistant(parts));
        chat.messages.extend(done.iter().map(Done::message));
    }
    if let Some(items) = &mut plan.items {
        items.resumed = done;
    }
}

impl Plan {
    fn owner_after(&self, call: &ToolCall, answer: &McpAnswer) -> Owner {
        if !answer.approve {
            let reason = answer.reason.as_ref().map_or_else(String::new, |reason| format!(": {}", reason.to_plain()));
            return Owner::Nobody(format!("the user did not approve this call{reason}"));
        }
        match &self.offer {
            Some(offer) => offer.owner_on_the_users_word(&call.name.to_plain()),
            None => Owner::Nobody(format!("tool '{}' is not available or not permitted", call.name.to_plain())),
        }
    }
}

fn listed(tool: &Arc<Tool>) -> McpTool {
    McpTool {
        name: Text::from_plain(&tool.tool),
        description: tool.description.as_deref().map(Text::from_plain),
        input_schema: RawValue::to_owned(&tool.schema),
    }
}

/// A result as it belongs to the call that the provider made, rather than to the request that its client was shown.
fn by_the_providers_id(done: &Done) -> Message {
    let mut message = done.message();
    for part in &mut message.parts {
        if let PartKind::ToolResult(result) = &mut part.kind {
            let id = result.call_id.to_plain();
            result.call_id = Text::from_plain(id.strip_prefix(WAITS).unwrap_or(&id));
        }
    }
    message
}

fn prefixed(prefix: &str, id: &Text) -> Text {
    Text::from_plain(&format!("{prefix}{}", id.to_plain()))
}
