//! The conversation with the model: one turn where the dialects differ, several where it calls the gateway's tools.
//!
//! After each turn: every call ours: run them in parallel, append the turn (signed thinking intact) and the results, ask
//! again. Any call the client's: stop and report faithfully; what was run is kept in the journal until the client comes back.
//! Limits end the loop openly (`extra_fields.mcp.stopped`), never as a made-up finish reason.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bifrost_providers::chat::{ContentForm, Extras, Message, Part, PartKind, Role, ToolCall, ToolChoice};
use bifrost_providers::reply::{Finish, FinishReason, Usage};
use bifrost_providers::{ChatReply, Dialect, Losses};

use super::annex::LoopFacts;
use super::dispatch::{self, Started};
use super::execute::{self, Done, Executor};
use super::grant::Grant;
use super::items::{Item, Items};
use super::offer::{Offer, Owner};
use super::owners::{self, Trail};
use super::plan::Plan;
use super::prose;
use super::refusal::Refusal;
use crate::config::MixedTurns;

/// Stands for a deadline that no clock can hold: longer than any process lives.
const FOREVER: Duration = Duration::from_hours(365 * 24);

/// Bounds of one run, over all its turns.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rounds of tool calls.
    pub max_depth: usize,
    /// Tool calls of the whole run.
    pub max_calls: usize,
    /// Wall time of the whole run.
    pub deadline: Duration,
    pub max_result_bytes: usize,
    pub mixed_turns: MixedTurns,
}

impl Limits {
    /// When a run that begins at this moment is to be over.
    pub fn deadline_from(&self, began: Instant) -> Instant {
        began.checked_add(self.deadline).unwrap_or(began + FOREVER)
    }
}

/// A conversation under way.
#[derive(Debug)]
pub struct Talk {
    pub plan: Plan,
    pub facts: LoopFacts,
    /// Tokens of all turns so far.
    pub usage: Option<Usage>,
    /// What could not cross, in any turn.
    pub losses: Losses,
    limits: Limits,
    deadline: Instant,
    rounds: usize,
    calls: usize,
    /// What is to be shown of the gateway's tools, where the caller's dialect has items for that.
    items: Vec<Item>,
    /// What the caller does not see of the conversation: the turns and results since its last message.
    stretch: Vec<Message>,
    /// What the provider of the last turn speaks.
    source: Dialect,
    /// What providers keep of the reply.
    trail: Trail,
}

/// What comes after a turn.
#[derive(Debug)]
pub enum Step {
    /// Tools were run: ask the model again.
    Again,
    Done(Ending),
}

/// How a conversation ends.
#[derive(Debug, Default)]
pub struct Ending {
    /// Replaces the provider's finish, where the reply differs from what the provider said.
    pub finish: Option<Finish>,
    /// Parts that were held back and belong to the reply after all.
    pub reveal: Vec<Part>,
}

impl Talk {
    pub fn new(plan: Plan) -> Self {
        let limits = plan.state.limits;
        let resumed = plan.items.as_ref().map_or(&[][..], Items::resumed).iter();
        let executed = resumed.filter(|done| done.tool.is_some()).map(Done::fact).collect();
        let source = plan.ask.dialect;
        Self {
            plan,
            facts: LoopFacts { executed, ..LoopFacts::default() },
            usage: None,
            losses: Losses::default(),
            limits,
            deadline: limits.deadline_from(Instant::now()),
            rounds: 0,
            calls: 0,
            stretch: Vec::new(),
            source,
            trail: Trail::default(),
            items: Vec::new(),
        }
    }

    /// What the reply begins with, where its dialect shows the gateway's tools.
    pub fn opening(&self) -> Vec<Item> {
        match (&self.plan.items, &self.plan.offer) {
            (Some(items), Some(offer)) => items.opening(offer.added()),
            _ => Vec::new(),
        }
    }

    /// What the last turn has to show of the gateway's tools.
    pub fn take_items(&mut self) -> Vec<Item> {
        std::mem::take(&mut self.items)
    }

    /// Asks the model with the conversation as it stands.
    pub async fn ask(&mut self, grant: &mut Grant) -> Result<Started, Refusal> {
        let bound = self.limits.deadline;
        let asked = tokio::time::timeout_at(self.deadline.into(), dispatch::dispatch(&mut self.plan, grant));
        asked.await.unwrap_or(Err(Refusal::RunDeadline(bound)))
    }

    /// A turn has begun. Where its provider keeps it, its caller may ask for it from now on.
    pub fn begun(&mut self, turn: &Started, grant: &Grant) {
        let kept = turn.kept(grant);
        if let Some(kept) = kept.clone() {
            owners::seen(&*self.plan.engine.owners, self.plan.owner(), kept);
        }
        self.trail.begin(kept);
    }

    /// Bounds a wait inside a turn by the end of the run. Without tools there is no run, and a long answer is only long.
    pub async fn bounded<T>(&self, work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
        if !self.offers_tools() {
            return work.await;
        }
        let bound = self.limits.deadline;
        tokio::time::timeout_at(self.deadline.into(), work).await.unwrap_or(Err(Refusal::RunDeadline(bound)))
    }

    /// What the caller is told of the loop; nothing where there was none.
    pub fn told(&self) -> Option<&LoopFacts> {
        self.offers_tools().then_some(&self.facts)
    }

    pub fn offers_tools(&self) -> bool {
        self.plan.offer.is_some()
    }

    /// Is this call kept from the client?
    pub fn hides(&self, name: &str) -> bool {
        let Some(offer) = &self.plan.offer else { return false };
        self.limits.mixed_turns == MixedTurns::Bifrost || !matches!(offer.owner(name), Owner::Client)
    }

    pub fn add_usage(&mut self, usage: Option<&Usage>) {
        let Some(turn) = usage else { return };
        match &mut self.usage {
            Some(sum) => sum.add(turn),
            none => *none = Some(turn.clone()),
        }
    }

    /// Decides what follows a whole turn, and runs the tools it calls for.
    pub async fn after_turn(&mut self, reply: &ChatReply, grant: &mut Grant) -> Result<Step, Refusal> {
        let step = self.decided(reply, grant).await;
        self.trail.end(&reply.id.to_plain(), &*self.plan.engine.owners, self.plan.owner());
        step
    }

    async fn decided(&mut self, reply: &ChatReply, grant: &mut Grant) -> Result<Step, Refusal> {
        self.facts.turns += 1;
        self.source = reply.source;
        self.add_usage(reply.usage.as_ref());
        self.account(reply, grant);
        if let Some(observer) = &self.plan.engine.observer {
            observer.turn_ended(&self.plan.ask.request_id, self.facts.turns, reply);
        }
        let Some(choice) = reply.choices.first() else { return Ok(Step::Done(Ending::default())) };
        let Some(offer) = &self.plan.offer else {
            self.keep_seals(reply, &choice.parts);
            return Ok(Step::Done(Ending::default()));
        };
        let parts = self.as_history(reply, &choice.parts);
        self.trail.said(|| assistant(parts.clone()));
        if choice.finish.reason == FinishReason::Pause {
            return Ok(self.resume(&parts, grant));
        }
        let calls = owned_calls(offer, &parts);
        let (pending, ours): (Vec<_>, Vec<_>) =
            calls.into_iter().partition(|(_, owner)| matches!(owner, Owner::Client));
        let pending: Vec<ToolCall> = pending.into_iter().map(|(call, _)| call).collect();
        if ours.is_empty() || choice.finish.reason == FinishReason::Length {
            return Ok(Step::Done(self.nothing_run(&without(&parts, &ours), pending)));
        }
        let (ours, waits) = self.show_what_waits(ours);
        if ours.is_empty() {
            return Ok(Step::Done(self.nothing_run(&parts, pending)));
        }
        if let Some(limit) = self.limit_reached(ours.len()) {
            self.stop_for(limit, grant);
            let unanswered = ours.into_iter().map(|(call, _)| call).collect();
            return Ok(Step::Done(self.hand_over(&parts, unanswered, pending, &[])));
        }
        let (done, unfinished) = self.run(ours, grant).await;
        if !unfinished.is_empty() {
            self.stop_for("agent_deadline", grant);
            return Ok(Step::Done(self.hand_over(&parts, unfinished, pending, &done)));
        }
        if pending.is_empty() && !waits {
            self.remember(&parts, &done);
            self.ask_again(&parts, &done);
            return Ok(Step::Again);
        }
        Ok(Step::Done(self.hand_over(&parts, Vec::new(), pending, &done)))
    }

    /// A turn as part of the conversation. What only the provider's dialect says of a part (a citation, a caller) belongs to
    /// that dialect; in a request of another it would be taken for the caller's own.
    fn as_history(&self, reply: &ChatReply, parts: &[Part]) -> Vec<Part> {
        let mut parts = parts.to_vec();
        if reply.source != self.plan.ask.dialect {
            for part in &mut parts {
                part.extras = Extras::default();
            }
        }
        parts
    }

    /// Calls that wait for the client's word are shown as such, and run when it comes back with it. True where there are any.
    fn show_what_waits(&mut self, calls: Vec<(ToolCall, Owner)>) -> (Vec<(ToolCall, Owner)>, bool) {
        let (waiting, ours): (Vec<_>, Vec<_>) =
            calls.into_iter().partition(|(_, owner)| matches!(owner, Owner::Approval(_)));
        let items = waiting.iter().filter_map(|(call, owner)| match owner {
            Owner::Approval(tool) => Some(Item::waits(call, tool)),
            _ => None,
        });
        self.items.extend(items);
        (ours, !waiting.is_empty())
    }

    /// Whatever ends the request from here on, these turns have been paid for.
    fn account(&self, reply: &ChatReply, grant: &mut Grant) {
        let record = grant.record();
        record.finish = reply.choices.first().map(|choice| word(&choice.finish));
        record.turns = self.facts.turns as u64;
        if let Some(usage) = &self.usage {
            record.take_usage(usage);
        }
    }

    /// A turn that the provider paused goes back to it as it is.
    fn resume(&mut self, parts: &[Part], grant: &mut Grant) -> Step {
        self.rounds += 1;
        if self.rounds >= self.limits.max_depth {
            self.stop_for("max_agent_depth", grant);
            return Step::Done(Ending::default());
        }
        let turn = assistant(parts.to_vec());
        self.stretch.push(turn.clone());
        if let Some(chat) = self.plan.canonical() {
            chat.messages.push(turn);
        }
        Step::Again
    }

    /// The client's calls only (or none, or a turn cut short): as the provider said, unless calls were held for prose.
    fn nothing_run(&mut self, parts: &[Part], pending: Vec<ToolCall>) -> Ending {
        if pending.is_empty() {
            return Ending::default();
        }
        self.hand_over(parts, Vec::new(), pending, &[])
    }

    /// Ends the reply with calls that the caller is to answer: its own, and those of ours that a limit left unanswered. What it
    /// does not see of the conversation is kept until it does.
    fn hand_over(
        &mut self,
        parts: &[Part],
        unanswered: Vec<ToolCall>,
        pending: Vec<ToolCall>,
        done: &[Done],
    ) -> Ending {
        let hidden = !self.stretch.is_empty() || !done.is_empty() || self.loses_seals(parts);
        self.remember(parts, done);
        if hidden {
            self.keep(unanswered.iter().chain(&pending));
        }
        let held = self.limits.mixed_turns == MixedTurns::Bifrost;
        let pending = pending.into_iter().filter(|_| held);
        let calls = unanswered.into_iter().chain(pending).map(call_part);
        if done.is_empty() {
            return Ending { finish: None, reveal: calls.collect() };
        }
        let prose = held.then(|| Part::from(PartKind::Text(prose::text(done))));
        let reason = if held { FinishReason::Stop } else { FinishReason::ToolCalls };
        Ending { finish: Some(finish(reason)), reveal: prose.into_iter().chain(calls).collect() }
    }

    /// A run that ends in an error: a limit behind it is told like any other.
    pub fn broke_off(&mut self, refusal: &Refusal, grant: &mut Grant) {
        if matches!(refusal, Refusal::RunDeadline(_)) {
            self.stop_for("agent_deadline", grant);
        }
    }

    fn limit_reached(&self, wanted: usize) -> Option<&'static str> {
        if self.rounds >= self.limits.max_depth {
            return Some("max_agent_depth");
        }
        if self.calls + wanted > self.limits.max_calls {
            return Some("max_tool_calls");
        }
        (Instant::now() >= self.deadline).then_some("agent_deadline")
    }

    fn stop_for(&mut self, limit: &'static str, grant: &mut Grant) {
        self.facts.stopped = Some(limit);
        grant.record().stopped = Some(limit);
    }

    /// Runs one round of calls. The second list are those that were cut off when the run's time was up; dropping them cancels
    /// them at their servers.
    async fn run(&mut self, ours: Vec<(ToolCall, Owner)>, grant: &mut Grant) -> (Vec<Done>, Vec<ToolCall>) {
        self.rounds += 1;
        self.calls += ours.len();
        let executor = Executor { hub: &self.plan.state.hub, max_result_bytes: self.limits.max_result_bytes };
        let began = Instant::now();
        let (done, unfinished) = executor.run_all(ours, self.deadline).await;
        grant.waited_tools(began.elapsed());
        self.trail.ran(&done);
        let before = self.facts.executed.len();
        self.facts.executed.extend(done.iter().map(Done::fact));
        if self.plan.items.is_some() {
            self.items.extend(done.iter().filter_map(|done| Item::ran(done, None)));
        }
        if let (Some(observer), Some(calls)) = (&self.plan.engine.observer, self.facts.executed.get(before..)) {
            observer.tools_ran(&self.plan.ask.request_id, calls);
        }
        grant.record().tools_executed.extend(done.iter().map(Done::line));
        (done, unfinished)
    }

    /// As if the caller held it, who may show it to another provider next.
    fn remember(&mut self, parts: &[Part], done: &[Done]) {
        let mut parts = parts.to_vec();
        if self.source != self.plan.ask.dialect {
            for part in &mut parts {
                self.plan.ask.dialect.hold(part);
            }
        }
        self.stretch.push(assistant(parts));
        self.stretch.extend(done.iter().map(Done::message));
    }

    fn ask_again(&mut self, parts: &[Part], done: &[Done]) {
        let Some(chat) = self.plan.canonical() else { return };
        chat.messages.push(assistant(parts.to_vec()));
        chat.messages.extend(done.iter().map(Done::message));
        // A choice that forced the first call would force one in every turn, and the model could never answer.
        if matches!(chat.tool_choice, Some(ToolChoice::Required | ToolChoice::Function(_) | ToolChoice::Foreign(..))) {
            chat.tool_choice = Some(ToolChoice::Auto);
        }
    }

    /// Keeps the stretch for when the caller answers these calls.
    fn keep<'a>(&self, calls: impl Iterator<Item = &'a ToolCall>) {
        let ids: Vec<String> = calls.map(|call| call.id.to_plain().into_owned()).collect();
        self.plan.engine.journal.keep(&self.plan.place(), &ids, Arc::new(self.stretch.clone()));
    }

    /// A turn without tools of ours, to a caller that may not bring its seals back: providers that sealed the reasoning before a
    /// call want to see it with the result.
    fn keep_seals(&mut self, reply: &ChatReply, parts: &[Part]) {
        if self.loses_seals(parts) {
            let parts = self.as_history(reply, parts);
            self.remember(&parts, &[]);
            self.keep(calls(&parts));
        }
    }

    /// Is there a call with a seal, on it or on the reasoning before it, that the caller may not bring back?
    fn loses_seals(&self, parts: &[Part]) -> bool {
        let dialect = self.plan.ask.dialect;
        calls(parts).next().is_some() && parts.iter().any(|part| !dialect.brings_back_seal_of(part))
    }

    /// The parts of a turn that the client sees.
    pub fn visible(&self, parts: &[Part]) -> Vec<Part> {
        let hidden = |part: &Part| matches!(&part.kind, PartKind::ToolCall(call) if self.hides(&call.name.to_plain()));
        parts.iter().filter(|part| !hidden(part)).cloned().collect()
    }
}

fn owned_calls(offer: &Offer, parts: &[Part]) -> Vec<(ToolCall, Owner)> {
    calls(parts).map(|call| (call.clone(), offer.owner(&call.name.to_plain()))).collect()
}

fn calls(parts: &[Part]) -> impl Iterator<Item = &ToolCall> {
    parts.iter().filter_map(|part| match &part.kind {
        PartKind::ToolCall(call) => Some(call),
        _ => None,
    })
}

/// A turn without these calls: cut short, they were never whole.
fn without(parts: &[Part], calls: &[(ToolCall, Owner)]) -> Vec<Part> {
    let cut = |part: &&Part| match &part.kind {
        PartKind::ToolCall(call) => calls.iter().any(|(cut, _)| cut.id == call.id && cut.name == call.name),
        _ => false,
    };
    parts.iter().filter(|part| !cut(part)).cloned().collect()
}

pub fn assistant(parts: Vec<Part>) -> Message {
    Message {
        role: Role::Assistant,
        parts,
        content: ContentForm::Parts,
        name: None,
        extras: Extras::default(),
        pointer: execute::AFTER_THE_LAST.to_owned(),
    }
}

pub fn call_part(call: ToolCall) -> Part {
    Part::from(PartKind::ToolCall(call))
}

/// The provider's own word for a finish, or the usual one.
fn word(finish: &Finish) -> String {
    let usual = match finish.reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Refusal => "refusal",
        FinishReason::Pause => "pause_turn",
        FinishReason::Other => "other",
    };
    finish.raw.as_ref().map_or_else(|| usual.to_owned(), |raw| raw.to_plain().into_owned())
}

fn finish(reason: FinishReason) -> Finish {
    Finish { reason, raw: None, stop_sequence: None }
}
