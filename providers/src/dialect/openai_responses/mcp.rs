//! The items in which a client is shown the gateway's own tools: which there are, that one runs and what it said, that one
//! wants approval.
//!
//! Each is made as canonical events (for a stream) or as a part (for a whole reply) that only this dialect's writer says; to
//! any other they are a loss. Coming back in a later request, they are turned into what every model understands: calls and
//! results.
//!
//! Source of the shapes: `openai` SDK 3.54, `types/responses/response_output_item.py`, `response_mcp_*_event.py` and
//! `mcp_tool_call_error.py`.

use super::spelling::{self, whole};
use super::wire::{OWN, tag};
use crate::chat::{ContentForm, Extras, Message, Part, PartKind, Raw, Role, Tool, ToolCall, ToolKind, ToolResult};
use crate::event::{Block, ChatEvent, Delta};
use crate::json::{Array, Sheet, fields, written};
use crate::{ChatRequest, Text};

/// A call that the gateway runs.
#[derive(Clone, Debug, Default)]
pub struct McpCall {
    /// The item's id: `mcp_..`, unique in the response.
    pub id: Text,
    /// The tool server, and the tool by its name there.
    pub server_label: Text,
    pub name: Text,
    /// The arguments' JSON text, as a JSON string in its escapes.
    pub arguments: Text,
    /// The approval request that this call was waiting for.
    pub approval_request_id: Option<Text>,
}

/// What became of a call: both in words.
#[derive(Clone, Debug)]
pub enum McpOutcome {
    Output(Text),
    /// The tool ran and failed, or could not be run.
    Error(Text),
}

/// The tools of one server.
#[derive(Clone, Debug, Default)]
pub struct McpTools {
    /// The item's id: `mcpl_..`, unique in the response.
    pub id: Text,
    pub server_label: Text,
    pub tools: Vec<McpTool>,
}

/// One tool of a server, by its name there.
#[derive(Clone, Debug)]
pub struct McpTool {
    pub name: Text,
    pub description: Option<Text>,
    /// JSON Schema of the arguments.
    pub input_schema: Raw,
}

/// A call that waits for the client's word.
#[derive(Clone, Debug, Default)]
pub struct McpApproval {
    /// The item's id, which the answer repeats: `mcpr_..`.
    pub id: Text,
    pub server_label: Text,
    pub name: Text,
    pub arguments: Text,
}

/// The client's word on a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpAnswer {
    pub approval_request_id: Text,
    pub approve: bool,
    pub reason: Option<Text>,
}

// === impl McpCall ===

impl McpCall {
    /// The call begins: its item, that it is in progress, and its arguments.
    pub fn begin(&self, index: u32) -> Vec<ChatEvent> {
        let id = &self.id;
        vec![
            opened(index, self.item("in_progress", &Text::default(), None)),
            about(id, "response.mcp_call.in_progress", None),
            about(id, "response.mcp_call_arguments.delta", Some(("delta", &self.arguments))),
            about(id, "response.mcp_call_arguments.done", Some(("arguments", &self.arguments))),
        ]
    }

    /// The call is over.
    pub fn end(&self, index: u32, outcome: &McpOutcome) -> Vec<ChatEvent> {
        let name = match outcome {
            McpOutcome::Output(_) => "response.mcp_call.completed",
            McpOutcome::Error(_) => "response.mcp_call.failed",
        };
        let [done, close] = closed(index, &self.done(outcome));
        vec![about(&self.id, name, None), done, close]
    }

    /// The whole call, for a reply in one piece.
    pub fn part(&self, outcome: &McpOutcome) -> Part {
        PartKind::Foreign(OWN, self.done(outcome)).into()
    }

    fn done(&self, outcome: &McpOutcome) -> Raw {
        let status = if matches!(outcome, McpOutcome::Output(_)) { "completed" } else { "failed" };
        self.item(status, &self.arguments, Some(outcome))
    }

    fn item(&self, status: &str, arguments: &Text, outcome: Option<&McpOutcome>) -> Raw {
        let mut out = Vec::new();
        let mut item = head(&mut out, CALL, &self.id, &self.server_label);
        item.text("name", &self.name).text("arguments", arguments).str("status", status);
        match &self.approval_request_id {
            Some(id) => item.text("approval_request_id", id),
            None => item.raw("approval_request_id", "null"),
        };
        match outcome {
            Some(McpOutcome::Output(text)) => _ = item.text("output", text).raw("error", "null"),
            Some(McpOutcome::Error(text)) => {
                item.raw("output", "null");
                let mut error = Sheet::new(item.key("error"));
                error.str("type", "mcp_tool_execution_error");
                let mut content = Array::new(error.key("content"));
                let mut block = Sheet::new(content.item());
                block.str("type", "text").text("text", text);
                block.end();
                content.end();
                error.end();
            }
            None => _ = item.raw("output", "null").raw("error", "null"),
        }
        item.end();
        written(out)
    }
}

// === impl McpTools ===

impl McpTools {
    /// The list, as events of a stream.
    pub fn events(&self, index: u32) -> Vec<ChatEvent> {
        let [done, close] = closed(index, &self.item(true));
        vec![
            opened(index, self.item(false)),
            about(&self.id, "response.mcp_list_tools.in_progress", None),
            about(&self.id, "response.mcp_list_tools.completed", None),
            done,
            close,
        ]
    }

    /// The list, for a reply in one piece.
    pub fn part(&self) -> Part {
        PartKind::Foreign(OWN, self.item(true)).into()
    }

    fn item(&self, listed: bool) -> Raw {
        let mut out = Vec::new();
        let mut item = head(&mut out, LIST, &self.id, &self.server_label);
        let mut tools = Array::new(item.key("tools"));
        for tool in self.tools.iter().filter(|_| listed) {
            let mut sheet = Sheet::new(tools.item());
            sheet.text("name", &tool.name).optional_text("description", tool.description.as_ref());
            sheet.raw("input_schema", tool.input_schema.get());
            sheet.end();
        }
        tools.end();
        item.end();
        written(out)
    }
}

// === impl McpApproval ===

impl McpApproval {
    /// The request, as events of a stream.
    pub fn events(&self, index: u32) -> Vec<ChatEvent> {
        let item = self.item();
        let [done, close] = closed(index, &item);
        vec![opened(index, item), done, close]
    }

    /// The request, for a reply in one piece.
    pub fn part(&self) -> Part {
        PartKind::Foreign(OWN, self.item()).into()
    }

    fn item(&self) -> Raw {
        let mut out = Vec::new();
        let mut item = head(&mut out, REQUEST, &self.id, &self.server_label);
        item.text("name", &self.name).text("arguments", &self.arguments);
        item.end();
        written(out)
    }
}

// === Coming back ===

/// What the gateway's own items of earlier turns said.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// Were there any, so that the conversation is another now?
    pub changed: bool,
    /// Servers whose tools the client has been shown.
    pub listed: Vec<Text>,
    /// Calls that waited for the client's word and have it now.
    pub answered: Vec<(ToolCall, McpAnswer)>,
}

/// Turns the gateway's own items of earlier turns into what a model understands: a call and its result in the place of each
/// `mcp_call`, nothing in the place of lists, requests and answers. `tool` gives the name under which the model knows a tool,
/// by server and name there; items of which it knows none are somebody else's, and stay.
pub fn settle_history(request: &mut ChatRequest, tool: impl Fn(&Text, &Text) -> Option<Text>) -> Settled {
    let mut settled = Settled::default();
    let mut kept = Vec::with_capacity(request.messages.len());
    let mut asked: Vec<ToolCall> = Vec::new();
    let mut ran: Vec<Text> = Vec::new();
    let mut results = Results::default();
    for message in std::mem::take(&mut request.messages) {
        let Some((kind, item)) = KINDS.iter().find_map(|kind| Some((*kind, item_of(&message, kind)?))) else {
            results.before(&message, &mut kept);
            kept.push(message);
            continue;
        };
        let text = |key: &str| item.find(key).and_then(Text::from_raw);
        let known = tool(&text("server_label").unwrap_or_default(), &text("name").unwrap_or_default());
        match (kind, known) {
            (CALL, Some(name)) => {
                ran.extend(text("approval_request_id"));
                let [call, result] = call_and_result(&item, name, &message);
                kept.push(call);
                results.take(result, &mut kept);
            }
            (REQUEST, Some(name)) => asked.push(call(&item, name)),
            (RESPONSE, _) if answered(&item, &asked).is_some() => settled.answered.extend(answered(&item, &asked)),
            (LIST, _) if lists_known(&item, &tool) => settled.listed.extend(text("server_label")),
            _ => {
                kept.push(message);
                continue;
            }
        }
        settled.changed = true;
    }
    results.put_back(&mut kept);
    request.messages = kept;
    // What ran in an earlier turn is not run again.
    settled.answered.retain(|(call, _)| !ran.contains(&call.id));
    settled
}

/// Results of calls that stand beside calls of the client's own: one turn of a model, whose results belong behind all of it.
#[derive(Default)]
struct Results {
    /// Is a call of the client's still without its result?
    open: bool,
    owed: Vec<Message>,
}

impl Results {
    fn take(&mut self, result: Message, kept: &mut Vec<Message>) {
        if self.open { self.owed.push(result) } else { kept.push(result) }
    }

    /// Sees to the order before another message.
    fn before(&mut self, message: &Message, kept: &mut Vec<Message>) {
        if message.role != Role::Assistant {
            self.put_back(kept);
        } else if message.parts.iter().any(|part| matches!(part.kind, PartKind::ToolCall(_))) {
            self.open = true;
        }
    }

    fn put_back(&mut self, kept: &mut Vec<Message>) {
        kept.append(&mut self.owed);
        self.open = false;
    }
}

const LIST: &str = "mcp_list_tools";
const CALL: &str = "mcp_call";
const REQUEST: &str = "mcp_approval_request";
const RESPONSE: &str = "mcp_approval_response";
const KINDS: [&str; 4] = [CALL, REQUEST, RESPONSE, LIST];

/// The request that this message is a client's word on, by its id.
pub fn answers_request(message: &Message) -> Option<String> {
    id_in(message, RESPONSE, "approval_request_id")
}

/// The id of the request for the client's word that this message is.
pub fn is_request(message: &Message) -> Option<String> {
    id_in(message, REQUEST, "id")
}

fn id_in(message: &Message, kind: &str, key: &str) -> Option<String> {
    let id = item_of(message, kind)?.find(key).and_then(Text::from_raw)?;
    Some(id.to_plain().into_owned())
}

/// May this body hold such items? Told from its bytes.
pub fn may_hold_items(body: &[u8]) -> bool {
    memchr::memmem::find(body, b"\"mcp_").is_some()
}

/// The servers that a request declares by their label alone (`{"type": "mcp", "server_label": ..}`, no address), among those
/// that `is_ours` knows: they are the gateway's, and no provider is told of them.
pub fn take_declared(request: &mut ChatRequest, is_ours: impl Fn(&str) -> bool) -> Vec<String> {
    let mut declared = Vec::new();
    request.tools.retain(|tool| {
        let label = own_label(tool).filter(|label| is_ours(label));
        let stays = label.is_none();
        declared.extend(label);
        stays
    });
    declared
}

fn own_label(tool: &Tool) -> Option<String> {
    let ToolKind::Foreign(OWN, raw) = &tool.kind else { return None };
    let fields = fields(Some(raw));
    let addressed = ["server_url", "connector_id"].iter().any(|key| fields.find(key).is_some());
    if tag(raw) != "mcp" || addressed {
        return None;
    }
    fields.find("server_label").and_then(Text::from_raw).map(|label| label.to_plain().into_owned())
}

/// The client's word on one of these calls.
fn answered(item: &Extras, asked: &[ToolCall]) -> Option<(ToolCall, McpAnswer)> {
    let id = item.find("approval_request_id").and_then(Text::from_raw)?;
    let call = asked.iter().find(|call| call.id == id)?;
    let approve = item.find("approve")?.get() == "true";
    let reason = item.find("reason").and_then(Text::from_raw);
    Some((call.clone(), McpAnswer { approval_request_id: id, approve, reason }))
}

fn call(item: &Extras, name: Text) -> ToolCall {
    let text = |key: &str| item.find(key).and_then(Text::from_raw).unwrap_or_default();
    ToolCall { id: text("id"), name, arguments: text("arguments"), custom: false }
}

/// A message that is one item of this kind: the item's fields.
fn item_of(message: &Message, kind: &str) -> Option<Extras> {
    let [part] = message.parts.as_slice() else { return None };
    let raw = spelling::latest(part)?;
    (tag(&raw) == kind).then(|| fields(Some(&raw)))
}

fn lists_known(item: &Extras, tool: impl Fn(&Text, &Text) -> Option<Text>) -> bool {
    let server = item.find("server_label").and_then(Text::from_raw).unwrap_or_default();
    let tools: Vec<&serde_json::value::RawValue> =
        item.find("tools").and_then(|list| serde_json::from_str(list.get()).ok()).unwrap_or_default();
    let name = |raw: &serde_json::value::RawValue| fields(Some(raw)).find("name").and_then(Text::from_raw);
    tools.into_iter().filter_map(name).any(|name| tool(&server, &name).is_some())
}

fn call_and_result(item: &Extras, name: Text, at: &Message) -> [Message; 2] {
    let text = |key: &str| item.find(key).and_then(Text::from_raw);
    let call = call(item, name);
    let error = item.find("error").filter(|error| error.get() != "null");
    let said = text("output").unwrap_or_else(|| Text::from_plain(error.map_or("", |error| error.get())));
    let result = ToolResult {
        call_id: call.id.clone(),
        parts: vec![PartKind::Text(said).into()],
        content: ContentForm::Plain,
        is_error: error.map(|_| true),
    };
    let message = |role, kind: PartKind| Message {
        role,
        parts: vec![kind.into()],
        content: ContentForm::Item,
        name: None,
        extras: Extras::default(),
        pointer: at.pointer.clone(),
    };
    [message(Role::Assistant, PartKind::ToolCall(call)), message(Role::Tool, PartKind::ToolResult(result))]
}

// === Pieces ===

fn head<'a>(out: &'a mut Vec<u8>, kind: &str, id: &Text, server_label: &Text) -> Sheet<'a> {
    let mut item = Sheet::new(out);
    item.str("type", kind).text("id", id).text("server_label", server_label);
    item
}

fn opened(index: u32, item: Raw) -> ChatEvent {
    ChatEvent::Open { index, choice: 0, block: Block::Foreign { source: OWN, raw: item } }
}

fn closed(index: u32, item: &Raw) -> [ChatEvent; 2] {
    let delta = Delta::Foreign { source: OWN, raw: whole(item) };
    [ChatEvent::Delta { index, delta }, ChatEvent::Close { index }]
}

/// An event about an item. The writer knows where in the output that stands.
fn about(id: &Text, name: &str, field: Option<(&'static str, &Text)>) -> ChatEvent {
    let mut out = Vec::new();
    let mut data = Sheet::new(&mut out);
    data.text("item_id", id);
    if let Some((key, text)) = field {
        data.text(key, text);
    }
    data.end();
    ChatEvent::Foreign { source: OWN, event: Some(Text::from_plain(name)), data: written(out) }
}
