//! What a tool server sends, read leniently: one bad tool or one unknown block never costs the rest.

use rmcp::model::{ContentBlock, ResourceContents, ServerResult, Tool as WireTool};
use serde::Deserialize as _;
use serde_json::Value;

use crate::{
    call::Piece,
    catalog::Rejected,
    source::{Answer, Definition, SourceError},
};

/// One page of `tools/list`.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) tools: Vec<Definition>,
    pub(super) rejected: Vec<Rejected>,
    pub(super) next: Option<String>,
}

// === tools/list ===

/// Reads a page. The typed result arrives when every tool is well formed, the raw one otherwise.
pub(super) fn page(result: ServerResult) -> Result<Page, SourceError> {
    match result {
        ServerResult::ListToolsResult(list) => {
            let mut page = Page { next: list.next_cursor, ..Page::default() };
            for tool in &list.tools {
                page.take(tool);
            }
            Ok(page)
        }
        ServerResult::EmptyResult(_) => Ok(Page::default()),
        ServerResult::CustomResult(raw) => lenient_page(&raw.0),
        other => Err(SourceError::Protocol(format!("tools/list was answered with {}", name_of(&other)))),
    }
}

fn lenient_page(raw: &Value) -> Result<Page, SourceError> {
    let Some(items) = raw.get("tools").and_then(Value::as_array) else {
        return Err(SourceError::Protocol("tools/list was answered without a list of tools".to_owned()));
    };
    let next = raw.get("nextCursor").and_then(Value::as_str).map(str::to_owned);
    let mut page = Page { next, ..Page::default() };
    for (at, item) in items.iter().enumerate() {
        match WireTool::deserialize(item) {
            Ok(tool) => page.take(&tool),
            Err(error) => page.reject(item.get("name").and_then(Value::as_str), at, error.to_string()),
        }
    }
    Ok(page)
}

impl Page {
    fn take(&mut self, tool: &WireTool) {
        match Definition::new(&tool.name, tool.description.as_deref(), &tool.input_schema) {
            Ok(definition) => self.tools.push(definition),
            Err(reason) => self.reject(Some(&tool.name), self.tools.len(), reason),
        }
    }

    fn reject(&mut self, name: Option<&str>, at: usize, reason: String) {
        let tool =
            name.map_or_else(|| format!("tool number {}", at + 1), |name| crate::call::cut(name, 128).to_owned());
        self.rejected.push(Rejected { tool, reason });
    }
}

// === tools/call ===

/// Reads the answer of a call.
pub(super) fn answer(result: ServerResult) -> Result<Answer, SourceError> {
    match result {
        ServerResult::CallToolResult(result) => {
            let mut content: Vec<Piece> = result.content.into_iter().map(piece).collect();
            if content.is_empty() {
                content.extend(result.structured_content.as_ref().map(Piece::structured));
            }
            Ok(Answer { content, is_error: result.is_error == Some(true) })
        }
        ServerResult::EmptyResult(_) => Ok(Answer::default()),
        ServerResult::CustomResult(raw) => Ok(lenient_answer(&raw.0)),
        ServerResult::InputRequiredResult(_) => Err(SourceError::NeedsInput("input_required".to_owned())),
        ServerResult::CreateTaskResult(_) => Err(SourceError::NeedsInput("task".to_owned())),
        // A result that happens to look like that of another method is still this tool's answer.
        other => serde_json::to_value(&other)
            .map(|raw| lenient_answer(&raw))
            .map_err(|error| SourceError::Protocol(error.to_string())),
    }
}

fn lenient_answer(raw: &Value) -> Answer {
    let is_error = raw.get("isError").and_then(Value::as_bool) == Some(true);
    let mut content = match raw.get("content") {
        Some(Value::Array(blocks)) => blocks.iter().map(lenient_piece).collect(),
        Some(Value::String(text)) => vec![Piece::Text(text.clone())],
        Some(Value::Null) | None => Vec::new(),
        Some(other) => vec![Piece::other(other)],
    };
    if content.is_empty() {
        let structured = raw.get("structuredContent");
        let bare = raw.as_object().is_some_and(|object| !object.is_empty() && !object.contains_key("content"));
        content.extend(structured.or(bare.then_some(raw)).map(Piece::structured));
    }
    Answer { content, is_error }
}

fn lenient_piece(block: &Value) -> Piece {
    match ContentBlock::deserialize(block) {
        Ok(known) => piece(known),
        Err(_) => Piece::other(block),
    }
}

fn piece(block: ContentBlock) -> Piece {
    match block {
        ContentBlock::Text(text) => Piece::Text(text.text),
        ContentBlock::Image(image) => Piece::Image { mime: image.mime_type, data: image.data },
        ContentBlock::Audio(audio) => Piece::Audio { mime: audio.mime_type, data: audio.data },
        ContentBlock::Resource(embedded) => match embedded.resource {
            ResourceContents::TextResourceContents { uri, mime_type, text, .. } => {
                Piece::Resource { uri, mime: mime_type, text: Some(text) }
            }
            ResourceContents::BlobResourceContents { uri, mime_type, .. } => {
                Piece::Resource { uri, mime: mime_type, text: None }
            }
            other => raw_piece(&other),
        },
        other => raw_piece(&other),
    }
}

fn raw_piece(block: &impl serde::Serialize) -> Piece {
    Piece::other(&serde_json::to_value(block).unwrap_or_default())
}

fn name_of(result: &ServerResult) -> String {
    let text = format!("{result:?}");
    text.split(['(', ' ', '{']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn result(raw: &Value) -> ServerResult {
        serde_json::from_str(&raw.to_string()).unwrap()
    }

    #[test]
    fn one_bad_tool_does_not_hide_the_good_ones() {
        let page = page(result(&json!({"tools": [
            {"name": "good", "inputSchema": {"type": "object"}},
            {"name": "no_schema"},
            {"name": "boolean", "inputSchema": true},
            {"inputSchema": {"type": "object"}},
            {"name": "text", "inputSchema": {"type": "string"}},
            {"name": "also_good", "inputSchema": {}},
        ], "nextCursor": "2"})))
        .unwrap();
        let names: Vec<_> = page.tools.iter().map(|tool| &*tool.name).collect();
        assert_eq!(names, ["good", "also_good"]);
        let rejected: Vec<_> = page.rejected.iter().map(|rejected| rejected.tool.as_str()).collect();
        assert_eq!(rejected, ["no_schema", "boolean", "tool number 4", "text"]);
        assert_eq!(page.next.as_deref(), Some("2"));
    }

    #[test]
    fn answers_survive_what_nobody_knows() {
        let text = |text: &str| Piece::Text(text.to_owned());
        let cases = [
            (json!({"content": [{"type": "text", "text": "a"}]}), vec![text("a")], false),
            (json!({"content": [], "structuredContent": {"b": 1}}), vec![text(r#"{"b":1}"#)], false),
            (
                json!({"content": [{"type": "text", "text": "a"}], "structuredContent": {"b": 1}}),
                vec![text("a")],
                false,
            ),
            (
                json!({"content": [{"type": "text", "text": "a"}, {"type": "hologram"}], "isError": true}),
                vec![text("a"), Piece::other(&json!({"type": "hologram"}))],
                true,
            ),
            (json!({"content": "just text"}), vec![text("just text")], false),
            (json!({}), vec![], false),
            (json!({"answer": 42}), vec![text(r#"{"answer":42}"#)], false),
        ];
        for (raw, content, is_error) in cases {
            assert_eq!(answer(result(&raw)).unwrap(), Answer { content, is_error }, "{raw}");
        }
    }

    #[test]
    fn a_tool_that_asks_back_is_reported() {
        let raw = json!({"resultType": "input_required", "requestState": "x"});
        assert!(matches!(answer(result(&raw)), Err(SourceError::NeedsInput(_))));
    }
}
