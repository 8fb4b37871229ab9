//! Which of the tool servers' tools this caller gets: the one question that offering and executing both ask.

use std::collections::BTreeMap;

use bifrost_mcp::Allow;
use bifrost_mcp::{Caller, Rights, Selection};
use bifrost_policies::{AllowList, Principal};
use http::HeaderMap;

use super::{ask, names};
use crate::state::State;

/// The tools to add to a chat request; `None` where there are none, or where the operator adds them only on demand.
pub fn offered(state: &State, headers: &HeaderMap, principal: Option<&Principal>) -> Option<Selection> {
    let on_demand = !state.auto_inject;
    if on_demand && !headers.contains_key(&names::INCLUDE_CLIENTS) && !headers.contains_key(&names::INCLUDE_TOOLS) {
        return None;
    }
    if state.hub.catalog().tools().is_empty() {
        return None;
    }
    Some(allowed(state, headers, principal)).filter(|selection| !selection.tools().is_empty())
}

/// Every tool that this caller may see and run.
pub fn allowed(state: &State, headers: &HeaderMap, principal: Option<&Principal>) -> Selection {
    let clients = ask::list(headers, &names::INCLUDE_CLIENTS);
    let tools = ask::list(headers, &names::INCLUDE_TOOLS);
    let rights = principal.map_or(Rights::All, rights);
    let caller = Caller { include_clients: clients.as_deref(), include_tools: tools.as_deref(), rights: &rights };
    Selection::new(&state.hub.catalog(), &caller)
}

/// No tool at all; a call of one is answered with the reason that holds for this caller.
pub fn nothing(state: &State, principal: Option<&Principal>) -> Selection {
    let rights = principal.map_or(Rights::All, rights);
    Selection::new(&state.hub.catalog(), &Caller { include_clients: None, include_tools: Some(&[]), rights: &rights })
}

/// A virtual key has exactly the tools that it was granted; nobody in particular has all.
fn rights(principal: &Principal) -> Rights {
    let granted = principal.tools.servers.iter().map(|(server, allow)| (server.clone(), granted(allow)));
    Rights::OnlyGranted(granted.collect::<BTreeMap<_, _>>())
}

fn granted(allow: &AllowList) -> Allow {
    match allow {
        AllowList::All => Allow::All,
        AllowList::None => Allow::None,
        AllowList::Only(names) => Allow::Only(names.clone()),
    }
}
