//! [`Selection`]: the one function that decides which tools a caller may see and run.
//!
//! Listing, searching, the tool loop, the execution endpoint and `/mcp` all ask it, so that what is offered and what can
//! be called are the same set. A tool must pass every filter: the server's own list, the principal's rights, and the
//! two request headers, which only ever narrow.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    catalog::{Catalog, Tool},
    settings::Allow,
};

/// What is known about the caller of one request.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// `x-bf-mcp-include-clients`, split at commas: server names, or `*`. `None` without the header.
    pub include_clients: Option<&'a [String]>,
    /// `x-bf-mcp-include-tools`, split at commas: tool names, or `<server>-*`. `None` without the header.
    pub include_tools: Option<&'a [String]>,
    pub rights: &'a Rights,
}

/// What the principal may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rights {
    /// A request without a virtual key, where those are admitted.
    All,
    /// Exactly these tools of these servers, plus servers that are granted to every virtual key.
    OnlyGranted(BTreeMap<String, Allow>),
}

/// The tools of one request. It keeps its catalog, so a change in mid-request cannot split what was decided.
#[derive(Debug, Clone)]
pub struct Selection {
    catalog: Arc<Catalog>,
    offered: Vec<Arc<Tool>>,
    /// One per tool of the catalog, in its order.
    verdicts: Vec<Verdict>,
}

/// What happens to a tool call of this name.
#[derive(Debug, Clone)]
pub enum Decision {
    /// The gateway runs it.
    Auto(Arc<Tool>),
    /// The caller decides; the execution endpoint runs it.
    Manual(Arc<Tool>),
    /// A tool of ours that this caller may not run. The reason can be shown.
    Refused { reason: String },
    /// None of ours: a tool the caller brought along.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Offered,
    NotGranted,
    NotExecutable,
    FilteredByRequest,
}

// === impl Selection ===

impl Selection {
    pub fn new(catalog: &Arc<Catalog>, caller: &Caller<'_>) -> Self {
        let verdicts: Vec<_> = catalog.tools().iter().map(|tool| judge(catalog, caller, tool)).collect();
        let offered = catalog
            .tools()
            .iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| **verdict == Verdict::Offered)
            .map(|(tool, _)| Arc::clone(tool))
            .collect();
        Self { catalog: Arc::clone(catalog), offered, verdicts }
    }

    /// The tools to offer, sorted.
    pub fn tools(&self) -> &[Arc<Tool>] {
        &self.offered
    }

    /// What to do with a call of this name, in any of its accepted spellings.
    pub fn decide(&self, name: &str) -> Decision {
        let Some(at) = self.catalog.position(name) else {
            return match self.catalog.disabled_server(name) {
                Some(server) => Decision::Refused {
                    reason: format!("tool '{name}' is not permitted (client {server} is disabled)"),
                },
                None => Decision::Unknown,
            };
        };
        let (Some(tool), Some(verdict)) = (self.catalog.tools().get(at), self.verdicts.get(at)) else {
            return Decision::Unknown;
        };
        match verdict {
            Verdict::Offered if tool.auto => Decision::Auto(Arc::clone(tool)),
            Verdict::Offered => Decision::Manual(Arc::clone(tool)),
            refused => Decision::Refused { reason: refused.reason(name) },
        }
    }
}

/// Rights come first: a principal without them learns nothing about how a server is configured.
fn judge(catalog: &Catalog, caller: &Caller<'_>, tool: &Tool) -> Verdict {
    if !caller.rights.allow(tool) {
        Verdict::NotGranted
    } else if !tool.executable {
        Verdict::NotExecutable
    } else if !caller.asks_for(catalog, tool) {
        Verdict::FilteredByRequest
    } else {
        Verdict::Offered
    }
}

impl Verdict {
    fn reason(self, name: &str) -> String {
        match self {
            Self::NotExecutable => {
                format!("tool '{name}' is not permitted (not in client's ToolsToExecute allow-list)")
            }
            Self::FilteredByRequest => format!("tool '{name}' is not permitted (filtered by request context)"),
            Self::NotGranted | Self::Offered => format!("tool '{name}' is not available or not permitted"),
        }
    }
}

impl Rights {
    fn allow(&self, tool: &Tool) -> bool {
        match self {
            Self::All => true,
            // A grant says exactly what it grants; only a server it does not mention falls back to the grant for all.
            Self::OnlyGranted(grants) => match grants.get(&*tool.server) {
                Some(allow) => allow.contains(&tool.tool),
                None => tool.on_all_virtual_keys,
            },
        }
    }
}

impl Caller<'_> {
    fn asks_for(&self, catalog: &Catalog, tool: &Tool) -> bool {
        let client = |entry: &String| entry == "*" || **entry == *tool.server;
        let named = |entry: &String| {
            let all_of = entry.strip_suffix("-*").or_else(|| entry.strip_suffix("_*"));
            entry == "*"
                || all_of.is_some_and(|server| *server == *tool.server)
                || catalog.find(entry).is_some_and(|found| found.name == tool.name)
        };
        self.include_clients.is_none_or(|entries| entries.iter().any(client))
            && self.include_tools.is_none_or(|entries| entries.iter().any(named))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::catalog::{
        Shelf,
        tests::{catalog, shelf},
    };

    fn names(selection: &Selection) -> Vec<&str> {
        selection.tools().iter().map(|tool| &*tool.name).collect()
    }

    fn only(tools: &[&str]) -> Allow {
        Allow::Only(tools.iter().map(ToString::to_string).collect())
    }

    type List = &'static [&'static str];

    fn two_servers() -> Arc<Catalog> {
        let files = Shelf {
            execute: only(&["read", "write"]),
            auto_execute: only(&["read", "delete"]),
            ..shelf("files", &["read", "write", "delete"])
        };
        let open = Shelf { on_all_virtual_keys: true, ..shelf("open", &["now"]) };
        let off = Shelf { disabled: true, ..shelf("off", &[]) };
        Arc::new(catalog([files, open, off]))
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rights_decide_what_a_virtual_key_gets() {
        let catalog = two_servers();
        let granted = |grants: &[(&str, Allow)]| {
            Rights::OnlyGranted(grants.iter().map(|(server, allow)| ((*server).to_owned(), allow.clone())).collect())
        };
        let cases: [(Rights, &[&str]); 5] = [
            (Rights::All, &["files-read", "files-write", "open-now"]),
            (granted(&[]), &["open-now"]),
            (granted(&[("files", only(&["read"]))]), &["files-read", "open-now"]),
            (granted(&[("files", Allow::All), ("open", Allow::None)]), &["files-read", "files-write"]),
            (granted(&[("files", Allow::None)]), &["open-now"]),
        ];
        for (rights, expected) in cases {
            let caller = Caller { include_clients: None, include_tools: None, rights: &rights };
            assert_eq!(names(&Selection::new(&catalog, &caller)), expected, "{rights:?}");
        }
    }

    #[test]
    fn headers_narrow() {
        let catalog = two_servers();
        let cases: [(Option<List>, Option<List>, List); 8] = [
            (Some(&[]), None, &[]),
            (None, Some(&[]), &[]),
            (Some(&["*"]), None, &["files-read", "files-write", "open-now"]),
            (Some(&["open"]), None, &["open-now"]),
            (None, Some(&["files-*"]), &["files-read", "files-write"]),
            (None, Some(&["files_write", "open-now"]), &["files-write", "open-now"]),
            (Some(&["open"]), Some(&["files-*"]), &[]),
            (None, Some(&["files-delete"]), &[]),
        ];
        for (clients, tools, expected) in cases {
            let (clients, tools) = (clients.map(strings), tools.map(strings));
            let caller =
                Caller { include_clients: clients.as_deref(), include_tools: tools.as_deref(), rights: &Rights::All };
            assert_eq!(names(&Selection::new(&catalog, &caller)), expected, "{clients:?} {tools:?}");
        }
    }

    #[test]
    fn a_refusal_says_why() {
        let catalog = two_servers();
        let clients = strings(&["files"]);
        let rights = Rights::OnlyGranted(BTreeMap::from([("files".to_owned(), only(&["read", "delete"]))]));
        let caller = Caller { include_clients: Some(&clients), include_tools: None, rights: &rights };
        let selection = Selection::new(&catalog, &caller);
        let reason = |name: &str| match selection.decide(name) {
            Decision::Refused { reason } => reason,
            other => format!("{other:?}"),
        };
        assert_eq!(reason("files-write"), "tool 'files-write' is not available or not permitted");
        assert_eq!(
            reason("files-delete"),
            "tool 'files-delete' is not permitted (not in client's ToolsToExecute allow-list)"
        );
        assert_eq!(reason("open-now"), "tool 'open-now' is not permitted (filtered by request context)");
        assert_eq!(reason("off-anything"), "tool 'off-anything' is not permitted (client off is disabled)");
        assert!(matches!(selection.decide("files-read"), Decision::Auto(_)));
        assert!(matches!(selection.decide("my_own_tool"), Decision::Unknown));
    }

    fn allows() -> impl Strategy<Value = Allow> {
        prop_oneof![
            Just(Allow::All),
            Just(Allow::None),
            prop::collection::btree_set("[abcd]", 0..4).prop_map(Allow::Only),
        ]
    }

    fn entries() -> impl Strategy<Value = Option<Vec<String>>> {
        prop::option::of(prop::collection::vec(
            prop_oneof![
                "[xyz]".prop_map(String::from),
                Just("*".to_owned()),
                "[xyz]-[abcd*]".prop_map(String::from),
                "[xyz]_[abcd]".prop_map(String::from)
            ],
            0..4,
        ))
    }

    fn servers() -> impl Strategy<Value = Vec<Shelf>> {
        prop::collection::vec((allows(), allows(), any::<bool>()), 3..=3).prop_map(|rules| {
            let named = ["x", "y", "z"].into_iter().zip(rules);
            named
                .map(|(server, (execute, auto_execute, on_all_virtual_keys))| Shelf {
                    execute,
                    auto_execute,
                    on_all_virtual_keys,
                    ..shelf(server, &["a", "b", "c", "d"])
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_offered_is_what_can_be_called(
            shelves in servers(), clients in entries(), tools in entries(),
            grants in prop::option::of(prop::collection::btree_map("[xyz]", allows(), 0..3)),
        ) {
            let catalog = Arc::new(catalog(shelves));
            let rights = grants.map_or(Rights::All, Rights::OnlyGranted);
            let caller = Caller { include_clients: clients.as_deref(), include_tools: tools.as_deref(), rights: &rights };
            let selection = Selection::new(&catalog, &caller);
            let offered: BTreeSet<&str> = names(&selection).into_iter().collect();
            let callable: BTreeSet<&str> = catalog.tools().iter()
                .filter(|tool| matches!(selection.decide(&tool.name), Decision::Auto(_) | Decision::Manual(_)))
                .map(|tool| &*tool.name)
                .collect();
            prop_assert_eq!(&offered, &callable);

            let unfiltered = Selection::new(&catalog, &Caller { include_clients: None, include_tools: None, rights: &rights });
            prop_assert!(offered.is_subset(&names(&unfiltered).into_iter().collect()), "headers only narrow");
            let everyone = Selection::new(&catalog, &Caller { rights: &Rights::All, ..caller });
            prop_assert!(offered.is_subset(&names(&everyone).into_iter().collect()), "rights only narrow");
        }
    }
}
