//! Runs the tool calls of one turn, all at once, and shapes what comes back for the model, the caller and the log.

use std::sync::Arc;
use std::time::Instant;

use bifrost_mcp::{CallLimits, Hub, Outcome, Piece, Tool};
use bifrost_providers::Text;
use bifrost_providers::chat::{
    ContentForm, Extras, Media, MediaSource, Message, Part, PartKind, Role, ToolCall, ToolResult,
};
use futures::future::join_all;

use super::annex::ExecutedCall;
use super::grant::ms;
use super::offer::Owner;
use crate::record::Executed;

/// RFC 6901's name for the place behind the last element: where the gateway's own messages stand in the caller's list.
pub const AFTER_THE_LAST: &str = "/messages/-";

/// What running tools needs.
#[derive(Debug)]
pub struct Executor<'a> {
    pub hub: &'a Arc<Hub>,
    pub max_result_bytes: usize,
}

/// One call that has been answered.
#[derive(Debug)]
pub struct Done {
    pub call: ToolCall,
    /// What ran it; `None` where nothing did.
    pub tool: Option<Arc<Tool>>,
    arguments: String,
    outcome: Outcome,
}

impl Executor<'_> {
    /// Answers come back in the order of the calls, whichever ended first; beside them the calls that had not ended by the
    /// deadline. What did end in time has run, and is never forgotten over the others.
    pub async fn run_all(&self, calls: Vec<(ToolCall, Owner)>, deadline: Instant) -> (Vec<Done>, Vec<ToolCall>) {
        let running = calls.into_iter().map(|(call, owner)| async move {
            let unfinished = call.clone();
            tokio::time::timeout_at(deadline.into(), self.run(call, owner)).await.map_err(|_| unfinished)
        });
        let (mut done, mut unfinished) = (Vec::new(), Vec::new());
        for ended in join_all(running).await {
            match ended {
                Ok(answered) => done.push(answered),
                Err(call) => unfinished.push(call),
            }
        }
        (done, unfinished)
    }

    async fn run(&self, call: ToolCall, owner: Owner) -> Done {
        match owner {
            Owner::Gateway(tool) => {
                let arguments = call.arguments.to_plain().into_owned();
                let limits = CallLimits { timeout: None, max_result_bytes: self.max_result_bytes };
                let outcome = self.hub.call(&tool, &arguments, limits).await;
                Done { call, tool: Some(tool), arguments, outcome }
            }
            Owner::Nobody(reason) => Done::refused(call, reason),
            Owner::Client | Owner::Approval(_) => Done::refused(call, "this call is the caller's to answer".to_owned()),
        }
    }
}

impl Done {
    /// A call that nothing ran. The model is told why.
    pub fn refused(call: ToolCall, reason: String) -> Self {
        let outcome = Outcome::refused(&call.name.to_plain(), reason);
        Self { arguments: call.arguments.to_plain().into_owned(), call, tool: None, outcome }
    }

    pub fn is_error(&self) -> bool {
        self.outcome.is_error
    }

    fn server(&self) -> String {
        self.tool.as_ref().map(|tool| tool.server.to_string()).unwrap_or_default()
    }

    /// The result as a message for the model.
    pub fn message(&self) -> Message {
        let result = ToolResult {
            call_id: self.call.id.clone(),
            parts: self.parts(),
            content: ContentForm::Parts,
            is_error: self.outcome.is_error.then_some(true),
        };
        Message {
            role: Role::Tool,
            parts: vec![Part::from(PartKind::ToolResult(result))],
            content: ContentForm::Parts,
            name: None,
            extras: Extras::default(),
            pointer: AFTER_THE_LAST.to_owned(),
        }
    }

    /// Images stay images; everything else is text.
    fn parts(&self) -> Vec<Part> {
        if !self.outcome.content.iter().any(|piece| matches!(piece, Piece::Image { .. })) {
            return vec![Part::from(PartKind::Text(Text::from_plain(&self.text())))];
        }
        let parts = self.outcome.content.iter().map(|piece| match piece {
            Piece::Image { mime, data } => PartKind::Image(Media {
                source: MediaSource::Base64(Text::from_plain(data)),
                mime: Some(Text::from_plain(mime)),
                ..Media::default()
            }),
            other => PartKind::Text(Text::from_plain(&other.to_string())),
        });
        parts.map(Part::from).collect()
    }

    pub fn text(&self) -> String {
        self.outcome.text()
    }

    /// For `extra_fields.mcp.executed[]`.
    pub fn fact(&self) -> ExecutedCall {
        ExecutedCall {
            id: self.call.id.to_plain().into_owned(),
            name: self.call.name.to_plain().into_owned(),
            server: self.server(),
            arguments: self.arguments.clone(),
            result: self.text(),
            is_error: self.outcome.is_error,
            duration_ms: ms(self.outcome.duration),
            truncated_from_bytes: self.outcome.truncated,
        }
    }

    /// For the log record: no content.
    pub fn line(&self) -> Executed {
        Executed {
            id: self.call.id.to_plain().into_owned(),
            name: self.call.name.to_plain().into_owned(),
            server: self.server(),
            duration_ms: ms(self.outcome.duration),
            is_error: self.outcome.is_error,
            truncated_from_bytes: self.outcome.truncated,
        }
    }
}
