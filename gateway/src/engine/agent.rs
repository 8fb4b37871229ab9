//! The conversation with the model: one turn where the dialects differ, several where it calls the gateway's tools.
//!
//! After each turn: every call ours: run them in parallel, append the turn (signed thinking intact) and the results, ask
//! again. Any call the client's: stop and report faithfully; what was run is kept in the journal until the client comes back.
//! Limits end the loop openly (`extra_fields.mcp.stopped`), never as a made-up finish reason.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bifrost_providers::chat::{ContentForm, Extras, Message, Part, PartKind, Role, ToolCall, ToolChoice};
use bifrost_providers::reply::{Finish, FinishReason, Usage};
use bifrost_providers::{ChatReply, Losses};

use super::annex::LoopFacts;
use super::dispatch::{self, Started};
use super::execute::{self, Done, Executor};
use super::grant::Grant;
use super::offer::{Offer, Owner};
use super::plan::Plan;
use super::prose;
use super::refusal::Refusal;
use crate::config::MixedTurns;

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
    /// What the caller does not see of the conversation: the turns and results since its last message.
    stretch: Vec<Message>,
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
        Self {
            plan,
            facts: LoopFacts::default(),
            usage: None,
            losses: Losses::default(),
            limits,
            deadline: Instant::now() + limits.deadline,
            rounds: 0,
            calls: 0,
            stretch: Vec::new(),
        }
    }

    /// Asks the model with the conversation as it stands.
    pub async fn ask(&mut self, grant: &mut Grant) -> Result<Started, Refusal> {
        let bound = self.limits.deadline;
        let asked = tokio::time::timeout_at(self.deadline.into(), dispatch::dispatch(&mut self.plan, grant));
        asked.await.unwrap_or(Err(Refusal::RunDeadline(bound)))
    }

    /// The wall-clock end of the run, for waits inside a turn.
    pub fn deadline(&self) -> (Instant, Duration) {
        (self.deadline, self.limits.deadline)
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
        self.facts.turns += 1;
        self.add_usage(reply.usage.as_ref());
        if let Some(observer) = &self.plan.engine.observer {
            observer.turn_ended(&self.plan.ask.request_id, self.facts.turns, reply);
        }
        let (Some(offer), Some(choice)) = (&self.plan.offer, reply.choices.first()) else {
            return Ok(Step::Done(Ending::default()));
        };
        if choice.finish.reason == FinishReason::Pause {
            return Ok(self.resume(&choice.parts));
        }
        let calls = owned_calls(offer, &choice.parts);
        let (pending, ours): (Vec<_>, Vec<_>) =
            calls.into_iter().partition(|(_, owner)| matches!(owner, Owner::Client));
        let pending: Vec<ToolCall> = pending.into_iter().map(|(call, _)| call).collect();
        if ours.is_empty() || choice.finish.reason == FinishReason::Length {
            return Ok(Step::Done(self.nothing_run(pending)));
        }
        if let Some(limit) = self.limit_reached(ours.len()) {
            self.stop_for(limit, grant);
            return Ok(Step::Done(Ending { finish: None, reveal: self.all_calls(&ours, &pending) }));
        }
        let unanswered = self.all_calls(&ours, &pending);
        let Some(done) = self.run(ours, grant).await else {
            self.stop_for("agent_deadline", grant);
            return Ok(Step::Done(Ending { finish: None, reveal: unanswered }));
        };
        self.remember(&choice.parts, &done);
        if pending.is_empty() {
            self.ask_again(&choice.parts, &done);
            return Ok(Step::Again);
        }
        Ok(Step::Done(self.mixed(pending, &done)))
    }

    /// A turn that the provider paused goes back to it as it is.
    fn resume(&mut self, parts: &[Part]) -> Step {
        self.rounds += 1;
        if self.rounds >= self.limits.max_depth {
            self.facts.stopped = Some("max_agent_depth");
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
    fn nothing_run(&mut self, pending: Vec<ToolCall>) -> Ending {
        if pending.is_empty() {
            return Ending::default();
        }
        self.keep(&pending);
        let held = self.limits.mixed_turns == MixedTurns::Bifrost;
        let reveal = if held { pending.into_iter().map(call_part).collect() } else { Vec::new() };
        Ending { finish: None, reveal }
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

    fn all_calls(&self, ours: &[(ToolCall, Owner)], pending: &[ToolCall]) -> Vec<Part> {
        let held = self.limits.mixed_turns == MixedTurns::Bifrost;
        let pending = pending.iter().filter(|_| held).cloned();
        ours.iter().map(|(call, _)| call.clone()).chain(pending).map(call_part).collect()
    }

    fn stop_for(&mut self, limit: &'static str, grant: &mut Grant) {
        self.facts.stopped = Some(limit);
        grant.record().stopped = Some(limit);
    }

    /// Runs one round of calls; `None` when the run's time was up first. Dropped calls are cancelled at their servers.
    async fn run(&mut self, ours: Vec<(ToolCall, Owner)>, grant: &mut Grant) -> Option<Vec<Done>> {
        self.rounds += 1;
        self.calls += ours.len();
        let executor = Executor { hub: &self.plan.state.hub, max_result_bytes: self.limits.max_result_bytes };
        let running = tokio::time::timeout_at(self.deadline.into(), executor.run_all(ours));
        let done = running.await.ok()?;
        let before = self.facts.executed.len();
        self.facts.executed.extend(done.iter().map(Done::fact));
        if let (Some(observer), Some(calls)) = (&self.plan.engine.observer, self.facts.executed.get(before..)) {
            observer.tools_ran(&self.plan.ask.request_id, calls);
        }
        let record = grant.record();
        record.tools_executed.extend(done.iter().map(Done::line));
        record.turns = self.facts.turns as u64;
        Some(done)
    }

    fn remember(&mut self, parts: &[Part], done: &[Done]) {
        self.stretch.push(assistant(parts.to_vec()));
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

    fn mixed(&mut self, pending: Vec<ToolCall>, done: &[Done]) -> Ending {
        self.keep(&pending);
        if self.limits.mixed_turns == MixedTurns::Bifrost {
            let mut reveal = vec![Part::from(PartKind::Text(prose::text(done)))];
            reveal.extend(pending.into_iter().map(call_part));
            return Ending { finish: Some(finish(FinishReason::Stop)), reveal };
        }
        Ending { finish: Some(finish(FinishReason::ToolCalls)), reveal: Vec::new() }
    }

    /// Keeps the stretch for when the caller answers the pending calls. Without executed turns there is nothing to keep.
    fn keep(&self, pending: &[ToolCall]) {
        if self.stretch.is_empty() {
            return;
        }
        let ids: Vec<String> = pending.iter().map(|call| call.id.to_plain().into_owned()).collect();
        self.plan.engine.journal.keep(&self.plan.owner, &ids, Arc::new(self.stretch.clone()));
    }

    /// The parts of a turn that the client sees.
    pub fn visible(&self, parts: &[Part]) -> Vec<Part> {
        let hidden = |part: &Part| matches!(&part.kind, PartKind::ToolCall(call) if self.hides(&call.name.to_plain()));
        parts.iter().filter(|part| !hidden(part)).cloned().collect()
    }
}

fn owned_calls(offer: &Offer, parts: &[Part]) -> Vec<(ToolCall, Owner)> {
    let calls = parts.iter().filter_map(|part| match &part.kind {
        PartKind::ToolCall(call) => Some(call.clone()),
        _ => None,
    });
    calls.map(|call| (call.clone(), offer.owner(&call.name.to_plain()))).collect()
}

fn assistant(parts: Vec<Part>) -> Message {
    Message {
        role: Role::Assistant,
        parts,
        content: ContentForm::Parts,
        name: None,
        extras: Extras::default(),
        pointer: execute::AFTER_THE_LAST.to_owned(),
    }
}

fn call_part(call: ToolCall) -> Part {
    Part::from(PartKind::ToolCall(call))
}

fn finish(reason: FinishReason) -> Finish {
    Finish { reason, raw: None, stop_sequence: None }
}
