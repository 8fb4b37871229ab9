//! How a form is demanded of a model that has no place for it (`outputConfig.textFormat`): as a tool whose arguments are the answer.
//!
//! The tool's name is nobody else's, so that its call is known again in the reply, where it becomes the text that was asked for.

use serde_json::value::RawValue;

use super::wire::{fields_of, object_of};
use crate::Text;
use crate::chat::Raw;
use crate::json::{self, Object};
use crate::reply::{Finish, FinishReason};

/// The tool's name.
pub(super) const ANSWER: &str = "bifrost_structured_answer";

const DESCRIPTION: &str = "Gives the final answer. Call it once, when nothing else is left to do.";

/// The schema of a tool that has none, and of an answer that is to be any object.
pub(super) const ANY_OBJECT: &str = r#"{"type":"object"}"#;

/// Is this call the answer?
pub(super) fn is_answer(name: &Text) -> bool {
    name.as_escaped() == ANSWER
}

/// A reply whose only call is the answer has not stopped for a call.
pub(super) fn settle(finish: &mut Finish, calls: bool) {
    if finish.reason == FinishReason::ToolCalls && !calls {
        *finish = Finish::default();
    }
}

/// Writes the tool.
pub(super) fn write_tool(schema: &RawValue, description: Option<&Text>, out: &mut Vec<u8>) {
    let mut tool = Object::new(out);
    let mut spec = Object::new(tool.key("toolSpec"));
    spec.str("name", ANSWER);
    let mut told = Text::from_plain(DESCRIPTION);
    if let Some(description) = description {
        told.push(&" ".into());
        told.push(description);
    }
    spec.text("description", &told);
    let mut input = Object::new(spec.key("inputSchema"));
    input.raw("json", object_schema(schema).get());
    input.end();
    spec.end();
    tool.end();
}

/// A tool's schema must say `"type":"object"` itself; other dialects take that as understood.
pub(super) fn object_schema(schema: &RawValue) -> Raw {
    let mut fields = fields_of(schema);
    if fields.find("type").is_some() {
        return schema.to_owned();
    }
    fields.push("type", json::raw(r#""object""#.into()));
    object_of(&fields)
}
