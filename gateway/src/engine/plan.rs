//! What has been decided about a request before anybody is asked, and the body that each target gets.

use std::sync::Arc;

use bifrost_policies::{Pinned, Principal, ProviderGrant, Target, Wanted};
use bifrost_providers::chat::PartKind;
use bifrost_providers::dialect::openai_responses::{depends_on_provider, holds_seals, kept, may_refer, mcp};
use bifrost_providers::quirk;
use bifrost_providers::scan::Splice;
use bifrost_providers::{ChatRequest, Dialect, Losses, Malformed, Text};
use bytes::Bytes;

use super::ask::Ask;
use super::items::Items;
use super::journal;
use super::keys::OwnKey;
use super::lane::{Content, Lane};
use super::offer::Offer;
use super::refusal::Refusal;
use super::sequel::Sequel;
use crate::state::{Engine, Site, State};

/// A request on its way to its targets.
#[derive(Debug)]
pub struct Plan {
    pub engine: Arc<Engine>,
    pub state: Arc<State>,
    pub ask: Arc<Ask>,
    pub principal: Option<Arc<Principal>>,
    /// Where this request's own journal entries are kept.
    pub place: String,
    pub targets: Vec<Target>,
    /// The provider's key that the request brought.
    pub own_key: Option<OwnKey>,
    /// What the request continues, where its owner is on record.
    pub sequel: Option<Box<Sequel>>,
    /// The target to begin with: later turns stay where the first one was answered.
    pub at: usize,
    /// The gateway's tools, where any are offered.
    pub offer: Option<Offer>,
    /// What a client of OpenAI's Responses sees of those.
    pub items: Option<Items>,
    /// What is lost whichever target answers.
    pub noted: Losses,
    /// The canonical request, once something needs it.
    chat: Option<ChatRequest>,
    /// Is the canonical conversation another than that of the body?
    restored: bool,
}

/// The body for one place, and what it cost to say it there.
#[derive(Debug)]
pub struct Prepared {
    pub lane: Lane,
    pub body: Bytes,
    pub losses: Losses,
    /// The gateway asked for a usage chunk that the client did not ask for.
    pub hide_usage: bool,
}

impl Plan {
    pub fn new(engine: Arc<Engine>, state: Arc<State>, ask: Arc<Ask>, principal: Option<Arc<Principal>>) -> Self {
        Self {
            engine,
            state,
            ask,
            principal,
            place: String::new(),
            targets: Vec::new(),
            own_key: None,
            sequel: None,
            at: 0,
            offer: None,
            items: None,
            noted: Losses::default(),
            chat: None,
            restored: false,
        }
    }

    /// Is the client waiting for a stream?
    pub fn stream(&self) -> bool {
        self.ask.scan.as_ref().is_ok_and(|scan| scan.stream)
    }

    /// The canonical request; decoded from the body at the first call.
    pub fn decode(&mut self) -> Result<&mut ChatRequest, Malformed> {
        if self.chat.is_none() {
            let mut chat = self.ask.decode(&mut self.noted)?;
            // The gateway's own fields end here.
            chat.extras.remove("fallbacks");
            if chat.extras.find("provider").is_some_and(|value| value.get().starts_with('"')) {
                chat.extras.remove("provider");
            }
            if let Some(sequel) = &self.sequel {
                sequel.retell(&mut chat);
            }
            self.chat = Some(chat);
        }
        self.chat.as_mut().ok_or_else(|| Malformed { pointer: String::new(), expected: "a chat request".into() })
    }

    /// The canonical request, if it has been needed.
    pub fn canonical(&mut self) -> Option<&mut ChatRequest> {
        self.chat.as_mut()
    }

    /// Did the caller ask for the usage chunk of its stream?
    pub fn wants_usage(&self) -> bool {
        let scan = self.ask.scan.as_ref().ok();
        let asked = scan.and_then(|scan| scan.stream_options.as_ref()?.include_usage.as_ref());
        asked.is_some_and(|(_, asked)| *asked)
    }

    /// Puts back what the caller never saw of its own conversation, in the canonical request: see [`super::journal`]. Once:
    /// what is back would be found again. Where callers see it all, it is only put in other words: see [`super::items`].
    pub fn restore(&mut self) {
        let Some(chat) = &mut self.chat else { return };
        let owner = self.principal.as_ref().map_or("", |principal| principal.id.as_str());
        self.place = journal::place(owner, chat.messages.last());
        let mut referred = false;
        if self.ask.dialect == Dialect::OpenAiResponses {
            referred = journal::put_back(&*self.engine.items, owner, &mut chat.messages);
            let (items, changed) = Items::read(chat, &self.state.hub.catalog());
            self.items = Some(items);
            self.restored |= changed;
        }
        // A client that sent back what it was shown lacks nothing.
        self.restored = self.restored || journal::restore(&*self.engine.journal, owner, &mut chat.messages);
        self.restored |= referred;
    }

    /// Remembers what a reply said in the gateway's own ids, unless its caller wants nothing kept (`store: false`).
    pub fn keep_items(&self, written: &[u8]) {
        let declined = |chat: &ChatRequest| chat.extras.find("store").is_some_and(|store| store.get() == "false");
        if self.ask.dialect != Dialect::OpenAiResponses || self.chat.as_ref().is_some_and(declined) {
            return;
        }
        for (id, item) in kept(written) {
            self.engine.items.keep(self.owner(), &[id], Arc::new(vec![item]));
        }
    }

    /// Where this request's own journal entries are kept.
    pub fn place(&self) -> String {
        if !self.place.is_empty() {
            return self.place.clone();
        }
        let said_last = self.chat.as_ref().and_then(|chat| chat.messages.last());
        journal::place(self.owner(), said_last)
    }

    /// Leaves only targets that have what the request continues.
    pub fn keep_to_the_owner(&mut self) -> Result<(), Refusal> {
        if let Some(sequel) = self.sequel.take() {
            sequel.aim(self)?;
            self.restored = sequel.has_more();
            self.sequel = Some(sequel);
        }
        Ok(())
    }

    /// Whose journal entries, and whose things at providers, this request may use.
    pub fn owner(&self) -> &str {
        self.principal.as_ref().map_or("", |principal| principal.id.as_str())
    }

    /// The same for a request that nothing else needs decoded: only where it may have something to find, and without a trace
    /// where it finds nothing. A body that cannot be read is the provider's to judge, as on the relay lane.
    pub fn restore_if_known(&mut self) -> bool {
        let shows_items = self.ask.dialect == Dialect::OpenAiResponses;
        let shown = shows_items && mcp::may_hold_items(&self.ask.body);
        let may_lack = self.restored
            || shown
            || !self.engine.journal.is_empty() && journal::has_calls(self.ask.dialect, &self.ask.body)
            || !self.engine.items.is_empty() && shows_items && may_refer(&self.ask.body);
        if !may_lack || self.decode().is_err() {
            return false;
        }
        self.restore();
        if !self.restored {
            self.chat = None;
            self.items = None;
        }
        self.restored
    }

    /// The body for this place, in the lane that it takes.
    pub fn said_at(&mut self, site: &Site<'_>) -> Result<Prepared, Refusal> {
        let lane = Lane::choose(self.ask.dialect, site.dialect, self.content(site));
        let prepared = match lane {
            Lane::Relay => self.splice(site)?,
            Lane::Translate | Lane::Loop => self.translate(lane, site)?,
        };
        if !prepared.losses.is_empty() && self.ask.strict() {
            return Err(Refusal::Strict(prepared.losses));
        }
        Ok(prepared)
    }

    fn content(&self, site: &Site<'_>) -> Content {
        if self.offer.is_some() {
            return Content::Watched;
        }
        // Providers are asked for events, so another framing is ours to make; and what was made for another provider's reply
        // is to be taken out.
        let reframed = self.stream() && self.ask.framing != self.ask.dialect.framing();
        let made_here = || self.ask.dialect.holds_what_was_made_here(&self.ask.body);
        if self.restored || reframed || self.ask.is_text() || made_here() || self.sealed_elsewhere(site).is_some() {
            Content::Changed
        } else {
            Content::AsItCame
        }
    }

    /// Whose reasoning the body holds, where it is sealed and a fallback is asked that is another provider: nothing in a seal of
    /// Responses says whose it is, so that it is taken for the one's that the caller asks.
    fn sealed_elsewhere(&self, site: &Site<'_>) -> Option<&Arc<str>> {
        if self.at == 0 || [self.ask.dialect, site.dialect] != [Dialect::OpenAiResponses; 2] {
            return None;
        }
        let [first, here] = [self.targets.first()?, self.targets.get(self.at)?].map(|target| &target.provider);
        Some(first).filter(|first| *first != here && holds_seals(&self.ask.body))
    }

    /// The caller's own bytes, apart from the model's name and the gateway's own fields.
    fn splice(&self, site: &Site<'_>) -> Result<Prepared, Refusal> {
        let scan = self.ask.scan.as_ref().map_err(Clone::clone)?;
        let mut splice = Splice::new(&self.ask.body);
        site.provider.name_model(&mut splice, scan, site.model);
        let own = [scan.fallbacks.as_ref(), scan.provider.as_ref().map(|provider| &provider.field)];
        for field in own.into_iter().flatten() {
            splice.remove(field);
        }
        if let Some(sequel) = &self.sequel {
            sequel.rename(&mut splice);
        }
        let hide_usage = scan.stream && site.provider.takes_stream_options() && !self.wants_usage();
        if hide_usage {
            splice.ask_usage(scan);
        }
        Ok(Prepared { lane: Lane::Relay, body: splice.build(), losses: self.noted.clone(), hide_usage })
    }

    fn translate(&mut self, lane: Lane, site: &Site<'_>) -> Result<Prepared, Refusal> {
        let stream = self.stream();
        let mut chat = self.decode()?.clone();
        if self.ask.dialect == Dialect::AnthropicMessages && chat.extras.find("thread").is_some() {
            return Err(Refusal::ThreadUnsupported);
        }
        if let Some((field, reason)) = depends_on_provider(&chat)
            && site.dialect != self.ask.dialect
        {
            return Err(Refusal::HeldElsewhere { field, reason, provider: site.provider.name().into() });
        }
        chat.model = Text::from_plain(site.model);
        chat.stream = stream;
        chat.include_usage = stream;
        let mut lost = Losses::default();
        if let Some(owner) = self.sealed_elsewhere(site) {
            leave_reasoning(&mut chat, owner, &mut lost);
        }
        quirk::apply(site.provider.quirks(site.dialect), &mut chat, &mut lost);
        let body = site.dialect.codec().encode_request(&chat, &mut lost);
        let mut losses = self.noted.clone();
        losses.extend(lost.in_the_body(chat.source, &self.ask.body));
        let body = site.provider.enveloped(Bytes::from(body), site.model);
        Ok(Prepared { lane, body, losses, hide_usage: false })
    }

    /// What a key must have to be picked for this target.
    pub fn wanted<'a>(&'a self, target: &'a Target) -> Wanted<'a> {
        let within = self.principal.as_ref().and_then(|principal| {
            let grants = principal.provider_grants.as_ref()?;
            let of_target =
                |grant: &&ProviderGrant| *grant.provider == *target.provider && grant.allows_model(&target.model);
            grants.iter().find(of_target)?.key_ids.as_deref()
        });
        let insisted = if target.fallback_index == 0 { self.pinned() } else { None };
        let pinned = insisted.or_else(|| self.sequel.as_ref().map(|sequel| Pinned::Id(sequel.key())));
        Wanted { model: &target.model, within, pinned, affinity: self.ask.affinity() }
    }

    /// The provider key that the caller insists on, if it does.
    pub fn pinned(&self) -> Option<Pinned<'_>> {
        self.ask.pinned()
    }
}

/// Leaves out what only its owner can read of a caller's conversation. What the loop has added since is the answering provider's own.
fn leave_reasoning(chat: &mut ChatRequest, owner: &str, lost: &mut Losses) {
    chat.messages.retain_mut(|message| {
        let (before, is_callers) = (message.parts.len(), !message.pointer.is_empty());
        message
            .parts
            .retain(|part| !is_callers || !matches!(part.kind, PartKind::Thinking { .. } | PartKind::Redacted { .. }));
        if message.parts.len() < before {
            lost.push(message.pointer.clone(), format!("only {owner} can read this reasoning"));
        }
        before == 0 || !message.parts.is_empty()
    });
}
