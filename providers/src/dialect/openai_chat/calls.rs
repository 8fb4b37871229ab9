//! Tool calls as they grow over the chunks of one choice.
//!
//! Only the first delta of a call has its id and name; later ones have its index. Servers leave out the index, send it as 0
//! for several whole calls, or repeat id and name in every delta: an id not seen before is another call, whatever its index.

use serde_json::value::RawValue;

use super::message::{LEGACY, arguments};
use super::stream::Emit;
use super::wire::{self, object};
use crate::chat::Extras;
use crate::event::{Block, Delta};
use crate::json::{self, decode};
use crate::{Dialect, Malformed, Text};

/// The calls of one choice, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<Call>);

#[derive(Debug, Default)]
struct Call {
    /// The index that the server gives it, where it gives one.
    position: Option<u64>,
    id: Text,
    name: Text,
    custom: bool,
    /// Its block, while one is open.
    open: Option<u32>,
    /// Arguments that came before the name did.
    waiting: Text,
    extras: Extras,
    begun: bool,
}

/// One delta of one call.
#[derive(Debug)]
struct Fragment {
    position: Option<u64>,
    id: Text,
    name: Text,
    arguments: Text,
    custom: bool,
    extras: Extras,
}

impl Calls {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes one element of `delta.tool_calls`.
    pub(super) fn grow(&mut self, choice: u32, raw: &RawValue, emit: &mut Emit<'_>) -> Result<(), Malformed> {
        let fragment = Fragment::of(decode(raw.get().as_bytes())?);
        let at = self.find(&fragment).unwrap_or_else(|| {
            self.0.push(Call { position: fragment.position, custom: fragment.custom, ..Call::default() });
            self.0.len() - 1
        });
        if let Some(call) = self.0.get_mut(at) {
            call.grow(at, choice, fragment, emit);
        }
        Ok(())
    }

    /// Takes a `delta.function_call` of the legacy API, which makes one call without an id.
    pub(super) fn grow_legacy(&mut self, choice: u32, body: wire::FunctionBody<'_>, emit: &mut Emit<'_>) {
        let mut extras = Extras::default();
        if self.0.is_empty() {
            extras.push(LEGACY, json::null());
            let id = Text::from_plain(&format!("call_{}", body.name.as_ref().map(Text::to_plain).unwrap_or_default()));
            self.0.push(Call { id, ..Call::default() });
        }
        let fragment = Fragment {
            position: None,
            id: Text::default(),
            name: body.name.unwrap_or_default(),
            arguments: body.arguments.map(arguments).unwrap_or_default(),
            custom: false,
            extras,
        };
        if let Some(call) = self.0.first_mut() {
            call.grow(0, choice, fragment, emit);
        }
    }

    /// Closes every block. A call that never got a name is passed on as it is.
    pub(super) fn close(&mut self, choice: u32, emit: &mut Emit<'_>) {
        for (at, call) in self.0.iter_mut().enumerate() {
            if !call.begun {
                call.open(at, choice, emit);
            }
            if let Some(index) = call.open.take() {
                emit.close(index);
            }
        }
    }

    fn find(&self, fragment: &Fragment) -> Option<usize> {
        let Fragment { position, id, name, .. } = fragment;
        let here = |call: &Call| position.is_none() || call.position == *position;
        if !id.is_empty() {
            // The cheaper question first: of thousands of calls each is looked for among all the others.
            let fits = |call: &Call| here(call) && (call.id == *id || (position.is_some() && call.id.is_empty()));
            let found = self.0.iter().rposition(fits)?;
            if self.0.get(found).is_some_and(|call| call.id == *id) {
                return Some(found);
            }
            return self.0.iter().rposition(|call| here(call) && call.id == *id).or(Some(found));
        }
        let at = self.0.iter().rposition(here)?;
        let renamed =
            |call: &Call| !name.is_empty() && !call.name.is_empty() && (position.is_none() || call.name != *name);
        if self.0.get(at).is_some_and(renamed) { None } else { Some(at) }
    }
}

impl Call {
    fn grow(&mut self, at: usize, choice: u32, fragment: Fragment, emit: &mut Emit<'_>) {
        if self.id.is_empty() {
            self.id = fragment.id;
        }
        if self.name.is_empty() {
            self.name = fragment.name;
        }
        let named = !self.name.is_empty();
        if self.open.is_none() && !fragment.extras.is_empty() {
            self.extras = fragment.extras;
        } else if let (Some(index), Some(_)) = (self.open, fragment.extras.telling().next()) {
            emit.delta(index, Delta::Foreign { source: Dialect::OpenAiChat, raw: object(&fragment.extras) });
        }
        self.waiting.push(&fragment.arguments);
        // A block that was closed by the finish reason opens again only for more arguments.
        if self.open.is_none() && named && (!self.begun || !self.waiting.is_empty()) {
            self.open(at, choice, emit);
        } else {
            self.flush(emit);
        }
    }

    fn open(&mut self, at: usize, choice: u32, emit: &mut Emit<'_>) {
        if self.id.is_empty() {
            // Results must name their call: one without an id gets one that no other reply has.
            self.id = Text::from_plain(&format!("call_{}_{at}", emit.reply_id.to_plain()));
        }
        let (id, name, extras) = (self.id.clone(), self.name.clone(), std::mem::take(&mut self.extras));
        self.open = Some(emit.open(choice, Block::ToolCall { id, name, custom: self.custom, extras }));
        self.begun = true;
        self.flush(emit);
    }

    fn flush(&mut self, emit: &mut Emit<'_>) {
        if let Some(index) = self.open.filter(|_| !self.waiting.is_empty()) {
            emit.delta(index, Delta::Arguments(std::mem::take(&mut self.waiting)));
        }
    }
}

impl Fragment {
    fn of(call: wire::ToolCall<'_>) -> Self {
        let mut extras = call.extras;
        let position = extras.remove("index").and_then(|raw| raw.get().parse().ok());
        extras.remove("type");
        extras.remove("id");
        let (name, arguments, custom, inner) = match (call.function, call.custom) {
            (Some(body), _) => (body.name, body.arguments.map(arguments), false, body.extras),
            (None, Some(body)) => (body.name, body.input, true, body.extras),
            (None, None) => (None, None, false, Extras::default()),
        };
        if inner.telling().next().is_some() {
            extras.push(if custom { "custom" } else { "function" }, object(&inner));
        }
        Self {
            position,
            id: call.id.unwrap_or_default(),
            name: name.unwrap_or_default(),
            arguments: arguments.unwrap_or_default(),
            custom,
            extras,
        }
    }
}
