//! The engine: what happens to a chat request between the HTTP layer and the providers.
//!
//! [`serve`] is the story; each of its steps is a room below. Nothing here knows the HTTP framework.

pub mod agent;
pub mod annex;
pub mod answer;
pub mod ask;
pub mod attempt;
pub mod dispatch;
pub mod execute;
pub mod explain;
pub mod forward;
pub mod gather;
pub mod grant;
pub mod hold;
pub mod items;
pub mod journal;
pub mod keys;
pub mod lane;
pub mod models;
pub mod names;
pub mod observe;
pub mod offer;
pub mod order;
pub mod owners;
pub mod passing;
pub mod plan;
pub mod prose;
pub mod pump;
pub mod refusal;
pub mod relay;
pub mod select;
pub mod sequel;
pub mod stitch;
pub mod translate;
pub mod upload;
pub mod verbatim;

use std::sync::Arc;

use bifrost_policies::{Principal, identify, targets};
use bifrost_providers::scan::Scan;
use bifrost_providers::{Dialect, Malformed};
use http::{HeaderValue, header};

use crate::state::{Engine, State};
use agent::Talk;
use annex::LoopFacts;
use answer::{Reply, ReplyBody};
use ask::{Arrival, Ask};
use dispatch::{Source, Started, dispatch};
use grant::Grant;
use keys::OwnKey;
use lane::Lane;
use offer::Offer;
use plan::Plan;
use pump::Pump;
use refusal::Refusal;
use relay::RelayBody;
use sequel::Sequel;

/// A chat request that may be read: who asks, and the snapshot that says so.
#[derive(Debug)]
pub struct Admitted {
    pub state: Arc<State>,
    principal: Option<Arc<Principal>>,
    grant: Grant,
}

/// Opens the account of a chat request, and settles who asks before anything of the body is read: who nobody knows learns
/// nothing else, and is given no memory.
pub fn admit(engine: &Arc<Engine>, arrival: &Arrival<'_>) -> Result<Admitted, Box<Reply>> {
    let state = engine.state();
    let mut grant = Grant::open(engine, arrival);
    grant.keep_headers(arrival.headers, &state.logging_headers);
    let identified = state
        .demand_headers(arrival.headers)
        .and_then(|()| Ok(identify(&ask::credentials(arrival.headers), state.enforce_auth, &state.keyring)?));
    match identified {
        Ok(principal) => {
            grant.belongs_to(principal.as_deref());
            Ok(Admitted { state, principal, grant })
        }
        Err(refusal) => Err(Box::new(refuse(&refusal, arrival.dialect, grant))),
    }
}

/// The answer to a request that gets none, settled and recorded.
pub fn refuse(refusal: &Refusal, dialect: Dialect, grant: Grant) -> Reply {
    broken_off(refusal, None, dialect, grant)
}

fn broken_off(refusal: &Refusal, facts: Option<&LoopFacts>, dialect: Dialect, grant: Grant) -> Reply {
    let annex = annex::extra_fields(&grant, &bifrost_providers::Losses::default(), facts);
    let mut reply = refusal.reply(dialect, Some(annex));
    annex::headers(&mut reply.headers, &grant, 0);
    if !grant.facts().tools_executed.is_empty() {
        // A client that sends the same request again would run the same tools again.
        reply.headers.insert(&names::SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    grant.fail(refusal, None);
    reply
}

impl Admitted {
    /// The answer to an admitted request whose body cannot be had.
    pub fn refuse(self, refusal: &Refusal, dialect: Dialect) -> Reply {
        refuse(refusal, dialect, self.grant)
    }
}

/// Answers one chat request. Never fails: a refusal is an answer too.
pub async fn serve(engine: Arc<Engine>, admitted: Admitted, ask: Arc<Ask>) -> Reply {
    let Admitted { state, principal, mut grant } = admitted;
    let plan = Box::new(Plan::new(engine, state, ask.clone(), principal));
    match story(plan, &mut grant).await {
        Ok(answer) => answer.reply(grant),
        Err(Broken { refusal, facts }) => broken_off(&refusal, facts.as_deref(), ask.dialect, grant),
    }
}

/// Where it goes, with which tools; then the first answer, and the lane that carries it.
async fn story(mut plan: Box<Plan>, grant: &mut Grant) -> Result<Answer, Broken> {
    let ask = plan.ask.clone();
    let scan = ask.scan.as_ref().map_err(Clone::clone)?;
    grant.describe(ask.endpoint, scan);
    aim(&mut plan, scan, grant)?;
    if plan.items.is_some() {
        // In a box of its own: few requests have any, and every request carries the room for this.
        Box::pin(items::resume(&mut plan, grant)).await;
    }

    let started = dispatch(&mut *plan, grant).await?;
    match started.served.lane {
        Lane::Relay if plan.stream() == started.is_stream() => Ok(Answer::Relay(plan, started)),
        // A provider that answers a stream request whole has its reply written as a stream.
        _ if plan.stream() => Ok(Answer::Live(Box::new(Talk::new(*plan)), started)),
        _ => {
            let mut talk = Talk::new(*plan);
            match Box::pin(translate::whole(&mut talk, started, grant)).await {
                Ok(reply) => Ok(Answer::Whole(reply, Box::new(talk))),
                Err(refusal) => {
                    talk.broke_off(&refusal, grant);
                    Err(Broken { refusal, facts: talk.told().cloned().map(Box::new) })
                }
            }
        }
    }
}

/// All that is decided before anybody is asked.
fn aim(plan: &mut Plan, scan: &Scan, grant: &mut Grant) -> Result<(), Refusal> {
    if plan.ask.is_text() {
        // Texts have neither messages nor tools.
        demand_model(scan)?;
        return route(plan, scan);
    }
    demand_chat(plan.ask.dialect, scan)?;
    route(plan, scan)?;
    if plan.ask.with_tools { offer_tools(plan, scan, grant) } else { Ok(()) }
}

fn route(plan: &mut Plan, scan: &Scan) -> Result<(), Refusal> {
    let mut fallbacks = plan.ask.fallbacks(scan)?;
    let asked_for = fallbacks.len();
    fallbacks.retain(|name| ask::is_model_name(name));
    if fallbacks.len() < asked_for {
        plan.noted.push("/fallbacks", "an entry cannot be the name of a model");
    }
    plan.sequel = Sequel::of(plan)?;
    let model = scan.model.as_ref().map(|model| model.name.as_str()).unwrap_or_default();
    let owner =
        plan.sequel.as_ref().filter(|_| plan.state.known.split(model).is_none()).map(|sequel| sequel.provider());
    let request = bifrost_policies::Request {
        model,
        provider: scan.provider.as_ref().map(|provider| provider.name.as_str()).or(owner),
        default_provider: plan.ask.default_provider,
        fallbacks: &fallbacks,
    };
    let routed = targets(&request, plan.principal.as_deref(), &plan.state.known, &mut rand::rng())?;
    for dropped in routed.dropped {
        plan.noted.push("/fallbacks", format!("{}: {}", dropped.fallback, dropped.reason));
    }
    plan.targets = routed.targets;
    plan.own_key = OwnKey::of(&plan.ask, &plan.state);
    plan.keep_to_the_owner()
}

/// Puts back what the caller's conversation lacks of earlier turns, and offers the gateway's tools where the caller may see
/// any.
fn offer_tools(plan: &mut Plan, scan: &Scan, grant: &mut Grant) -> Result<(), Refusal> {
    let mut offered = select::offered(&plan.state, &plan.ask.headers, plan.principal.as_deref());
    let one_choice = scan.n.is_none_or(|choices| choices <= 1);
    if !one_choice && offered.take().is_some() {
        plan.noted.push("/n", "the gateway's tools are not offered when more than one choice is asked for");
    }
    let selection = if let Some(selection) = offered {
        plan.decode()?;
        plan.restore();
        selection
    } else {
        // What was run for this conversation belongs to it, whatever the caller wants to see of the tools now. A model that
        // calls one of them again is told that it is not to be had.
        if !plan.restore_if_known() || !one_choice {
            return Ok(());
        }
        select::nothing(&plan.state, plan.principal.as_deref())
    };
    let approving = plan.items.as_ref().map(|items| items.approving().to_vec()).unwrap_or_default();
    let chat = plan.decode()?;
    let offer = Offer::new(selection, chat).approved_by_client(approving);
    offer.merge(chat);
    grant.record().tools_offered = offer.count() as u64;
    plan.offer = Some(offer);
    Ok(())
}

/// What every chat dialect demands, said before any provider is asked.
fn demand_chat(dialect: Dialect, scan: &Scan) -> Result<(), Refusal> {
    demand_model(scan)?;
    match conversation_field(dialect) {
        Some(pointer) if scan.messages.is_none() => missing(pointer, "missing; expected a list of messages"),
        _ => Ok(()),
    }
}

/// What everything that is routed by its model demands.
fn demand_model(scan: &Scan) -> Result<(), Refusal> {
    match &scan.model {
        None => missing("/model", "missing; expected the name of a model, such as openai/gpt-4o-mini"),
        Some(model) if !ask::is_model_name(&model.name) => {
            missing("/model", "expected the name of a model: one line of at most 512 bytes")
        }
        Some(_) => Ok(()),
    }
}

fn missing(pointer: &str, expected: &str) -> Result<(), Refusal> {
    Err(Refusal::Malformed(Malformed { pointer: pointer.to_owned(), expected: expected.to_owned() }))
}

/// Where a dialect's requests must have their conversation. OpenAI's Responses may have it at the provider instead, and Bedrock's a
/// prompt that is kept there.
fn conversation_field(dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::OpenAiChat | Dialect::AnthropicMessages | Dialect::CohereChat => Some("/messages"),
        Dialect::Gemini => Some("/contents"),
        Dialect::OpenAiResponses | Dialect::BedrockConverse | Dialect::Predictions => None,
    }
}

/// A request that ends without an answer, and what its loop had done by then: tools that ran are not forgotten over an error.
struct Broken {
    refusal: Refusal,
    facts: Option<Box<LoopFacts>>,
}

impl<E: Into<Refusal>> From<E> for Broken {
    fn from(error: E) -> Self {
        Self { refusal: error.into(), facts: None }
    }
}

/// The first answer, by lane.
enum Answer {
    Relay(Box<Plan>, Started),
    Live(Box<Talk>, Started),
    Whole(Reply, Box<Talk>),
}

impl Answer {
    fn reply(self, grant: Grant) -> Reply {
        match self {
            Self::Relay(plan, started) => relayed(&plan, started, grant),
            Self::Live(talk, started) => {
                let mut headers = started.served.headers.clone();
                answer::mark_stream(&mut headers, talk.plan.ask.framing);
                annex::headers(&mut headers, &grant, grant.facts().losses.len());
                let body = Pump::new(|out| translate::live(*talk, started, grant, out));
                Reply { status: http::StatusCode::OK, headers, body: ReplyBody::Events(Box::pin(body)), problem: None }
            }
            Self::Whole(reply, talk) => {
                grant.succeed(talk.usage.as_ref(), None);
                reply
            }
        }
    }
}

fn relayed(plan: &Plan, started: Started, grant: Grant) -> Reply {
    if let Some(owned) = started.kept(&grant) {
        owners::seen(&*plan.engine.owners, plan.owner(), owned);
    }
    let Started { served, source } = started;
    match source {
        Source::Stream(held) => {
            let mut headers = served.headers.clone();
            answer::mark_stream(&mut headers, plan.ask.framing);
            annex::headers(&mut headers, &grant, plan.noted.len());
            let status = served.status;
            let body = RelayBody::new(*held, served, plan.noted.clone(), grant);
            Reply { status, headers, body: ReplyBody::Events(Box::pin(body)), problem: None }
        }
        Source::Whole { body, tap, .. } => {
            let mut headers = served.headers.clone();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            annex::headers(&mut headers, &grant, plan.noted.len());
            let body = relay::whole(served.upstream, body, &plan.noted, &grant);
            grant.succeed(tap.usage.as_ref(), tap.finish.map(|finish| finish.to_plain().into_owned()));
            Reply { status: served.status, headers, body: ReplyBody::Whole(body), problem: None }
        }
    }
}

impl State {
    fn demand_headers(&self, headers: &http::HeaderMap) -> Result<(), Refusal> {
        let missing: Vec<&str> =
            self.required_headers.iter().map(String::as_str).filter(|name| !headers.contains_key(*name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Refusal::Http {
            status: http::StatusCode::BAD_REQUEST,
            kind: "missing_required_headers",
            message: format!("missing required headers: {}", missing.join(", ")),
        })
    }
}
