//! [`Catalog`]: an immutable snapshot of every tool of every server, sorted, so that requests stay byte-identical and
//! prompt caches warm.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use serde_json::value::RawValue;

use crate::{
    name,
    settings::Allow,
    source::{Definition, Listing},
};

/// Every tool that is known now, whoever may use it. [`crate::Selection`] says what one caller gets of it.
#[derive(Debug, Default)]
pub struct Catalog {
    generation: u64,
    /// Sorted by server, then by the server's own name.
    tools: Vec<Arc<Tool>>,
    /// Exposed names and the other accepted spellings, to positions in `tools`. Ambiguous spellings are left out.
    index: HashMap<Box<str>, usize>,
    disabled: Vec<Arc<str>>,
}

/// A tool as a model sees it, and what the gateway needs to run it.
#[derive(Clone)]
pub struct Tool {
    /// Offered to models: `<server>-<tool>`, or its alias; at most 64 characters of `[a-zA-Z0-9_-]`.
    pub name: Arc<str>,
    pub server: Arc<str>,
    /// The server's own name for it.
    pub tool: Arc<str>,
    pub description: Option<Arc<str>>,
    /// JSON Schema of the arguments: `type` is `object`, `properties` is present.
    pub schema: Arc<RawValue>,
    /// The gateway runs it inside the tool loop; otherwise the caller decides.
    pub auto: bool,
    /// False when the configuration of its server leaves it out of `tools_to_execute`.
    pub executable: bool,
    /// How long a call may take.
    pub call_timeout: Duration,
    /// Every virtual key may use it.
    pub on_all_virtual_keys: bool,
    pub(crate) definition: Arc<Definition>,
}

/// A tool that a server listed and that cannot be offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The server's own name, or its position in the list where it has none.
    pub tool: String,
    pub reason: String,
}

/// One server's part of the catalog, and the rules for it.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    pub(crate) server: Arc<str>,
    pub(crate) execute: Allow,
    pub(crate) auto_execute: Allow,
    pub(crate) call_timeout: Duration,
    pub(crate) on_all_virtual_keys: bool,
    pub(crate) disabled: bool,
    pub(crate) listing: Arc<Listing>,
}

// === impl Catalog ===

impl Catalog {
    pub(crate) fn build(shelves: &BTreeMap<Arc<str>, Shelf>, generation: u64) -> Self {
        let names = exposed_names(shelves);
        let mut tools = Vec::with_capacity(names.len());
        let mut names = names.into_iter();
        for (shelf, definition) in definitions(shelves) {
            let executable = shelf.execute.contains(&definition.name);
            tools.push(Arc::new(Tool {
                name: names.next().unwrap_or_else(|| Arc::from(name::alias(&shelf.server, &definition.name, 0))),
                server: Arc::clone(&shelf.server),
                tool: Arc::clone(&definition.name),
                description: definition.description.clone(),
                schema: Arc::clone(&definition.schema),
                auto: executable && shelf.auto_execute.contains(&definition.name),
                executable,
                call_timeout: shelf.call_timeout,
                on_all_virtual_keys: shelf.on_all_virtual_keys,
                definition: Arc::clone(definition),
            }));
        }
        let disabled = shelves.values().filter(|shelf| shelf.disabled).map(|shelf| Arc::clone(&shelf.server)).collect();
        Self { generation, index: index(&tools), tools, disabled }
    }

    /// Counts up with every change of any tool.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// All tools, sorted by server and name, also those that nobody may execute.
    pub fn tools(&self) -> &[Arc<Tool>] {
        &self.tools
    }

    /// Finds a tool by the name it is offered under, or by `<server>-<tool>` or `<server>_<tool>`.
    pub fn find(&self, name: &str) -> Option<&Arc<Tool>> {
        self.position(name).and_then(|at| self.tools.get(at))
    }

    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// The disabled server whose tool this name would be.
    pub(crate) fn disabled_server(&self, name: &str) -> Option<&Arc<str>> {
        self.disabled.iter().find(|server| {
            let rest = name.strip_prefix(&***server);
            rest.is_some_and(|rest| rest.starts_with(['-', '_']))
        })
    }
}

fn definitions(shelves: &BTreeMap<Arc<str>, Shelf>) -> impl Iterator<Item = (&Shelf, &Arc<Definition>)> {
    shelves.values().flat_map(|shelf| shelf.listing.tools.iter().map(move |definition| (shelf, definition)))
}

/// The names of all definitions, in their order. Legal canonical names are given out first, so that an alias can never
/// take the name another tool has by right; where two tools have a right to it, the first one keeps it.
fn exposed_names(shelves: &BTreeMap<Arc<str>, Shelf>) -> Vec<Arc<str>> {
    let mut taken: HashSet<Arc<str>> = HashSet::new();
    let mut names: Vec<Option<Arc<str>>> = definitions(shelves)
        .map(|(shelf, definition)| {
            let canonical = Arc::<str>::from(name::canonical(&shelf.server, &definition.name));
            (name::is_legal(&canonical) && taken.insert(Arc::clone(&canonical))).then_some(canonical)
        })
        .collect();
    for (slot, (shelf, definition)) in names.iter_mut().zip(definitions(shelves)) {
        if slot.is_none() {
            let aliases = (0..).map(|attempt| Arc::<str>::from(name::alias(&shelf.server, &definition.name, attempt)));
            *slot = aliases.into_iter().find(|alias| taken.insert(Arc::clone(alias)));
        }
    }
    names.into_iter().flatten().collect()
}

fn index(tools: &[Arc<Tool>]) -> HashMap<Box<str>, usize> {
    let mut index: HashMap<Box<str>, usize> = HashMap::with_capacity(tools.len() * 2);
    for (at, tool) in tools.iter().enumerate() {
        index.insert(Box::from(&*tool.name), at);
    }
    let mut spellings: HashMap<Box<str>, Option<usize>> = HashMap::with_capacity(tools.len());
    for (at, tool) in tools.iter().enumerate() {
        let canonical = name::canonical(&tool.server, &tool.tool);
        for spelling in [format!("{}_{}", tool.server, tool.tool), canonical] {
            if index.contains_key(spelling.as_str()) {
                continue;
            }
            // A spelling that two tools could mean is nobody's: guessing could run the wrong one.
            spellings.entry(spelling.into_boxed_str()).and_modify(|claim| *claim = None).or_insert(Some(at));
        }
    }
    index.extend(spellings.into_iter().filter_map(|(spelling, at)| Some((spelling, at?))));
    index
}

// === impl Tool ===

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tool").field("name", &self.name).field("auto", &self.auto).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;

    /// A shelf on which everything may be executed and nothing runs by itself.
    pub(crate) fn shelf(server: &str, tools: &[&str]) -> Shelf {
        let definitions = tools.iter().map(|tool| Definition::new(tool, None, &Map::new()).unwrap());
        Shelf {
            server: Arc::from(server),
            execute: Allow::All,
            auto_execute: Allow::None,
            call_timeout: Duration::from_secs(30),
            on_all_virtual_keys: false,
            disabled: false,
            listing: Arc::new(Listing::new(definitions, Vec::new())),
        }
    }

    pub(crate) fn catalog(shelves: impl IntoIterator<Item = Shelf>) -> Catalog {
        let shelves = shelves.into_iter().map(|shelf| (Arc::clone(&shelf.server), shelf)).collect();
        Catalog::build(&shelves, 1)
    }

    fn found<'a>(catalog: &'a Catalog, name: &str) -> Option<(&'a str, &'a str)> {
        catalog.find(name).map(|tool| (&*tool.server, &*tool.tool))
    }

    #[test]
    fn both_separators_and_the_canonical_name_of_an_alias_are_accepted() {
        let catalog = catalog([shelf("files", &["read", "ns.write"])]);
        assert_eq!(found(&catalog, "files-read"), Some(("files", "read")));
        assert_eq!(found(&catalog, "files_read"), Some(("files", "read")));
        assert_eq!(found(&catalog, "files-ns.write"), Some(("files", "ns.write")));
        assert_eq!(found(&catalog, &name::alias("files", "ns.write", 0)), Some(("files", "ns.write")));
        assert_eq!(found(&catalog, "read"), None);
    }

    #[test]
    fn a_spelling_that_means_two_tools_means_none() {
        let catalog = catalog([shelf("a", &["b_c"]), shelf("a_b", &["c"])]);
        assert_eq!(found(&catalog, "a_b_c"), None);
        assert_eq!(found(&catalog, "a-b_c"), Some(("a", "b_c")));
        assert_eq!(found(&catalog, "a_b-c"), Some(("a_b", "c")));
    }

    #[test]
    fn two_servers_with_a_right_to_one_name_get_two_names() {
        let catalog = catalog([shelf("a", &["b-c"]), shelf("a-b", &["c"])]);
        assert_eq!(found(&catalog, "a-b-c"), Some(("a", "b-c")));
        assert_eq!(found(&catalog, &name::alias("a-b", "c", 0)), Some(("a-b", "c")));
    }

    #[test]
    fn an_alias_gives_way_to_a_tool_that_is_really_called_so() {
        let taken = name::alias("s", "x.y", 0);
        let own = taken.strip_prefix("s-").unwrap();
        let catalog = catalog([shelf("s", &["x.y", own])]);
        assert_eq!(found(&catalog, &taken), Some(("s", own)));
        assert_eq!(found(&catalog, &name::alias("s", "x.y", 1)), Some(("s", "x.y")));
    }

    #[test]
    fn schemas_are_shared_with_the_definition() {
        let definition =
            Definition::new("t", Some("Does."), json!({"properties": {"a": {}}}).as_object().unwrap()).unwrap();
        assert_eq!(definition.schema.get(), r#"{"type":"object","properties":{"a":{}}}"#);
    }

    proptest! {
        #[test]
        fn names_are_legal_unique_and_lead_back(
            servers in prop::collection::btree_map("[a-z][a-z0-9_-]{0,40}", prop::collection::vec("\\PC{1,90}", 1..12), 1..5)
        ) {
            let shelves = servers.iter().map(|(server, tools)| {
                shelf(server, &tools.iter().map(String::as_str).collect::<Vec<_>>())
            });
            let catalog = catalog(shelves);
            let mut seen = HashSet::new();
            for tool in catalog.tools() {
                prop_assert!(name::is_legal(&tool.name));
                prop_assert!(seen.insert(Arc::clone(&tool.name)));
                prop_assert_eq!(found(&catalog, &tool.name), Some((&*tool.server, &*tool.tool)));
            }
        }
    }
}
