//! What would become of a chat request: decided as if it were to be answered, and told instead. Nobody is asked anything.

use std::sync::Arc;
use std::time::Instant;

use bifrost_policies::{Denied, KeySet, Target};
use bifrost_providers::Losses;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::value::RawValue;

use super::annex;
use super::answer::{Reply, ReplyBody};
use super::ask::Ask;
use super::dispatch::Errand as _;
use super::grant::Grant;
use super::keys::{Keys, OwnKey};
use super::plan::Plan;
use super::refusal::Refusal;
use super::{Admitted, Broken, aim, broken_off};
use crate::state::Engine;

/// The answer to `POST /v1/explain`.
#[derive(Serialize)]
struct Explanation {
    object: &'static str,
    dialect: &'static str,
    request_type: &'static str,
    model: String,
    stream: bool,
    virtual_key: Option<String>,
    /// In the order in which they would be tried.
    targets: Vec<TargetPlan>,
    /// What the gateway would add to the caller's own, in this order.
    tools: Vec<ToolPlan>,
    /// What is lost wherever it goes.
    losses: Vec<LossLine>,
}

/// One target: what it would be sent, or why it would be sent nothing.
#[derive(Serialize)]
struct TargetPlan {
    provider: String,
    model: String,
    fallback_index: usize,
    why: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<Sent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Fault>,
}

/// The request as it would go out, under a key that may be used for it now.
#[derive(Serialize)]
struct Sent {
    key: String,
    /// By the provider's own name.
    model: String,
    dialect: &'static str,
    lane: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Box<RawValue>>,
    losses: Vec<LossLine>,
}

#[derive(Serialize)]
struct ToolPlan {
    name: String,
    server: String,
    /// Does the gateway run it, or hand its calls to the caller?
    auto_execute: bool,
}

#[derive(Serialize)]
struct LossLine {
    pointer: String,
    reason: String,
}

#[derive(Serialize)]
struct Fault {
    status: u16,
    r#type: String,
    message: String,
}

/// Explains one chat request. What would be refused before any target is chosen is refused here too, in the same words.
pub fn explain(engine: Arc<Engine>, admitted: Admitted, ask: Ask) -> Reply {
    let dialect = ask.dialect;
    let Admitted { state, principal, mut grant } = admitted;
    let mut plan = Plan::new(engine, state, Arc::new(ask), principal);
    match story(&mut plan, &mut grant) {
        Ok(explanation) => told(&explanation, grant),
        Err(Broken { refusal, facts }) => broken_off(&refusal, facts.as_deref(), dialect, grant),
    }
}

fn story(plan: &mut Plan, grant: &mut Grant) -> Result<Explanation, Broken> {
    let ask = plan.ask.clone();
    let scan = ask.scan.as_ref().map_err(Clone::clone)?;
    aim(plan, scan, grant)?;
    let request_type = ask.endpoint.request_type(scan.stream);
    let targets = plan.targets.clone();
    Ok(Explanation {
        object: "bifrost.explanation",
        dialect: ask.dialect.name(),
        request_type,
        model: scan.model.as_ref().map(|model| model.name.clone()).unwrap_or_default(),
        stream: scan.stream,
        virtual_key: plan.principal.as_ref().map(|principal| principal.name.clone()),
        targets: targets.iter().map(|target| target_plan(plan, target)).collect(),
        tools: plan.offer.iter().flat_map(super::offer::Offer::added).map(tool_plan).collect(),
        losses: lines(&plan.noted),
    })
}

fn target_plan(plan: &mut Plan, target: &Target) -> TargetPlan {
    let (sent, error) = match sent(plan, target) {
        Ok(sent) => (Some(sent), None),
        Err(refusal) => (None, Some(fault(&refusal))),
    };
    TargetPlan {
        provider: target.provider.to_string(),
        model: target.model.clone(),
        fallback_index: target.fallback_index,
        why: target.why.words(),
        sent,
        error,
    }
}

fn sent(plan: &mut Plan, target: &Target) -> Result<Sent, Refusal> {
    let state = plan.state.clone();
    let no_key = || Denied::NoKeys { provider: target.provider.to_string(), model: target.model.clone() };
    let upstream = state.providers.get(&target.provider).ok_or_else(no_key)?;
    let brought = OwnKey::at(plan, target, upstream)?;
    let keys = Keys::new(upstream, brought.as_ref());
    let (wanted, now) = (keys.wanted(plan, target), Instant::now());
    let picked = keys.pick(&wanted, &KeySet::default(), now);
    let index = picked.map_err(|none| none.denied(&target.provider, &wanted, now).unwrap_or_else(no_key))?;
    let key = keys.key(index).ok_or_else(no_key)?;
    let site = key.site(&target.model, plan.ask.dialect);
    upstream.demand(&site, plan.operation(&site), (plan.ask.endpoint, plan.stream()))?;
    let prepared = plan.prepare(&site)?;
    Ok(Sent {
        key: key.name.clone(),
        model: site.model.to_owned(),
        dialect: site.dialect.name(),
        lane: prepared.lane.name(),
        body: serde_json::from_slice(&prepared.body).ok(),
        losses: lines(&prepared.losses),
    })
}

fn tool_plan(tool: &Arc<bifrost_mcp::Tool>) -> ToolPlan {
    ToolPlan { name: tool.name.to_string(), server: tool.server.to_string(), auto_execute: tool.auto }
}

fn lines(losses: &Losses) -> Vec<LossLine> {
    losses.iter().map(|loss| LossLine { pointer: loss.pointer.clone(), reason: loss.reason.to_string() }).collect()
}

fn fault(refusal: &Refusal) -> Fault {
    Fault { status: refusal.status().as_u16(), r#type: refusal.kind(), message: refusal.message() }
}

fn told(explanation: &Explanation, grant: Grant) -> Reply {
    let body = serde_json::to_vec(explanation).unwrap_or_default();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    annex::headers(&mut headers, &grant, 0);
    grant.succeed(None, None);
    Reply { status: StatusCode::OK, headers, body: ReplyBody::Whole(body.into()), problem: None }
}
