//! [`ToolSource`]: anything that has tools. A connected tool server is one; an embedding program can bring others.

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::{call::Piece, catalog::Rejected, schema::Checker};

/// Something that has tools and can run them.
#[async_trait]
pub trait ToolSource: Debug + Send + Sync {
    /// Every tool it has, whatever the caller may use of it.
    async fn list(&self) -> Result<Listing, SourceError>;

    /// Runs one tool. The hub has validated `arguments` and bounds the time: dropping the future must end the work.
    async fn call(&self, tool: &str, arguments: Map<String, Value>) -> Result<Answer, SourceError>;
}

/// What one listing brought.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    pub tools: Vec<Arc<Definition>>,
    /// Left out, each with its reason, so that one bad tool never hides the good ones.
    pub rejected: Vec<Rejected>,
}

/// A tool as its source describes it, made safe to pass on. Its validator is compiled at its first call.
#[derive(Debug)]
pub struct Definition {
    pub(crate) name: Arc<str>,
    pub(crate) description: Option<Arc<str>>,
    pub(crate) schema: Arc<serde_json::value::RawValue>,
    pub(crate) checker: Checker,
}

/// What a tool answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    pub content: Vec<Piece>,
    /// The tool itself says that it failed.
    pub is_error: bool,
}

/// Why a source could not list or answer. The texts are shown to the model and the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing was sent.
    #[error("{0}")]
    Unavailable(String),
    /// The connection broke; a call may or may not have run.
    #[error("{0}")]
    Transport(String),
    #[error("the tool server refused the call: {0}")]
    Protocol(String),
    /// The message was not read.
    #[error("the answer of {bytes} bytes is over the limit of {limit} bytes for one message")]
    TooLarge { bytes: usize, limit: usize },
    /// Multi-round requests and tasks need a person or a poll, and a shared connection has neither.
    #[error("the tool asks for more input ({0}), which this gateway cannot pass on")]
    NeedsInput(String),
    #[error("timed out")]
    TimedOut,
}

/// Tool descriptions beyond this are cut: a model reads each of them in every request.
const MAX_DESCRIPTION_BYTES: usize = 16 * 1024;
/// Longer names of a server's own are refused; the specification recommends 128 characters at most.
const MAX_OWN_NAME_BYTES: usize = 1024;

// === impl Definition ===

impl Definition {
    /// `schema` is the JSON Schema of the arguments. The error says, in words, why the tool cannot be offered.
    pub fn new(name: &str, description: Option<&str>, schema: &Map<String, Value>) -> Result<Self, String> {
        if name.is_empty() || name.len() > MAX_OWN_NAME_BYTES {
            return Err(format!("its name has {} bytes, not 1 to {MAX_OWN_NAME_BYTES}", name.len()));
        }
        let schema = crate::schema::normalise(schema)?;
        Ok(Self {
            name: Arc::from(name),
            description: description.map(visible).filter(|text| !text.is_empty()).map(Arc::from),
            checker: Checker::new(Arc::clone(&schema)),
            schema,
        })
    }

    /// Whether a new listing may keep this definition, with its compiled validator.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.name == other.name && self.description == other.description && self.schema.get() == other.schema.get()
    }
}

/// The text without what a human reviewer would not see but a model would: control, zero-width and direction characters.
fn visible(text: &str) -> String {
    let hidden = |character: char| {
        matches!(character, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{E0000}'..='\u{E007F}')
            || (character.is_control() && !matches!(character, '\n' | '\t'))
    };
    let text = text.chars().filter(|character| !hidden(*character)).collect::<String>();
    crate::call::cut(&text, MAX_DESCRIPTION_BYTES).to_owned()
}

// === impl Listing ===

impl Listing {
    /// Sorts the tools and drops those whose name was already taken: the first one a server names wins.
    pub fn new(tools: impl IntoIterator<Item = Definition>, mut rejected: Vec<Rejected>) -> Self {
        let mut sorted: Vec<Arc<Definition>> = tools.into_iter().map(Arc::new).collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        sorted.dedup_by(|later, first| {
            let twice = later.name == first.name;
            if twice {
                rejected.push(Rejected { tool: later.name.to_string(), reason: "listed more than once".to_owned() });
            }
            twice
        });
        Self { tools: sorted, rejected }
    }

    /// This listing, with every definition that did not change taken from `before`.
    #[must_use]
    pub(crate) fn keeping(mut self, before: &Self) -> Self {
        for tool in &mut self.tools {
            let known = before.tools.binary_search_by(|old| old.name.cmp(&tool.name)).ok();
            let same = known.and_then(|at| before.tools.get(at)).filter(|old| old.says_the_same(tool));
            if let Some(same) = same {
                *tool = Arc::clone(same);
            }
        }
        self
    }

    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.tools.len() == other.tools.len()
            && self.tools.iter().zip(&other.tools).all(|(a, b)| a.says_the_same(b))
            && self.rejected == other.rejected
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(name: &str, description: &str) -> Definition {
        Definition::new(name, Some(description), json!({}).as_object().unwrap()).unwrap()
    }

    #[test]
    fn hidden_characters_do_not_reach_the_model() {
        let tool = tool("t", "Reads\u{200B} a file.\n\u{202E}\u{E0041}\u{1b}[0mOK\ttab");
        assert_eq!(tool.description.as_deref(), Some("Reads a file.\n[0mOK\ttab"));
    }

    #[test]
    fn the_first_of_two_tools_with_one_name_wins() {
        let listing = Listing::new([tool("b", "first"), tool("a", ""), tool("b", "second")], Vec::new());
        let names: Vec<_> = listing.tools.iter().map(|tool| &*tool.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(listing.tools[1].description.as_deref(), Some("first"));
        assert_eq!(listing.rejected[0].tool, "b");
    }

    #[test]
    fn unchanged_definitions_are_kept() {
        let before = Listing::new([tool("a", "same"), tool("b", "old")], Vec::new());
        let after = Listing::new([tool("a", "same"), tool("b", "new")], Vec::new()).keeping(&before);
        assert!(Arc::ptr_eq(&before.tools[0], &after.tools[0]));
        assert!(!Arc::ptr_eq(&before.tools[1], &after.tools[1]));
        assert!(!after.says_the_same(&before));
    }
}
