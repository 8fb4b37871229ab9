//! What has a model and is no chat: embeddings, speech, pictures, moderation. The body goes as it came but for the model's
//! name, under the same keys, queues, retries and fallbacks as chat; so does the answer come back.

use std::sync::Arc;
use std::time::SystemTime;

use bifrost_providers::endpoint::Endpoint;
use bifrost_providers::failure::FailureKind;
use bifrost_providers::mapped::{Address, Mapping, Memo, Sent, Shape, mended, own_form, shape};
use bifrost_providers::multipart::boundary;
use bifrost_providers::provider::{Outgoing, failure_of};
use bifrost_providers::scan::{Scan, Splice};
use bifrost_providers::transport::Answer;
use bifrost_providers::{Dialect, Failure, Losses, tap};
use bytes::Bytes;
use http::HeaderValue;

use super::answer::Reply;
use super::ask::Ask;
use super::attempt::{MAX_ERROR_BYTES, MAX_REPLY_BYTES};
use super::dispatch::{Errand, Ready, Received, Started, dispatch};
use super::grant::Grant;
use super::lane::Lane;
use super::passing::{self, Passed};
use super::plan::{Plan, Prepared};
use super::refusal::Refusal;
use super::upload::Upload;
use super::{Admitted, annex, demand_model, refuse, relay, route};
use crate::state::{Engine, ProviderState, Site};

/// How a body is written.
#[derive(Debug)]
pub enum Paper {
    Json,
    /// A form that is still coming, and the `content-type` that says its boundary.
    Form(Upload, HeaderValue),
}

/// A request on its way.
#[derive(Debug)]
struct Order {
    plan: Plan,
    paper: Paper,
    /// How the answer of the place that is asked now becomes the caller's, where it speaks other words.
    crossing: Option<Crossing>,
}

/// A request in another provider's words.
#[derive(Debug)]
struct Crossing {
    mapping: Mapping,
    memo: Memo,
    body: Vec<Bytes>,
    address: Option<Address>,
}

/// Answers one request. Never fails: a refusal is an answer too.
pub async fn serve(engine: Arc<Engine>, admitted: Admitted, ask: Ask, paper: Paper) -> Reply {
    let dialect = ask.dialect;
    let Admitted { state, principal, mut grant } = admitted;
    let mut order = Order { plan: Plan::new(engine, state, Arc::new(ask), principal), paper, crossing: None };
    match order.started(&mut grant).await {
        Ok(started) => order.reply(started, grant),
        Err(refusal) => refuse(&refusal, dialect, grant),
    }
}

impl Order {
    async fn started(&mut self, grant: &mut Grant) -> Result<Started<Passed>, Refusal> {
        let ask = self.plan.ask.clone();
        let scan = ask.scan.as_ref().map_err(Clone::clone)?;
        grant.describe(ask.endpoint, scan);
        demand_model(scan)?;
        route(&mut self.plan, scan)?;
        if self.is_said_anew()
            && let Some(upload) = self.upload()
        {
            upload.whole().await?;
        }
        let started = dispatch(self, grant).await;
        // A provider is not to blame for a body that breaks off.
        started.map_err(|refusal| self.upload().and_then(Upload::fault).unwrap_or(refusal))
    }

    fn upload(&self) -> Option<&Upload> {
        match &self.paper {
            Paper::Json => None,
            Paper::Form(upload, _) => Some(upload),
        }
    }

    fn reply(&self, started: Started<Passed>, mut grant: Grant) -> Reply {
        let Started { served, mut source } = started;
        let mut losses = served.losses.clone();
        if let Passed::Whole { body, usage, losses: of_answer, .. } = &mut source {
            losses.extend(std::mem::take(of_answer));
            grant.lost(&losses);
            if let Some(usage) = usage {
                grant.record().take_usage(usage);
            }
            if self.plan.ask.dialect == Dialect::OpenAiChat && body.starts_with(b"{") {
                *body = relay::with_annex(body, |out| annex::write(out, &grant, &losses, None));
            }
        }
        passing::reply(served, source, grant, losses.len())
    }

    /// How it is asked at a place. What no other form is known of goes as it is, where the provider has it.
    fn shape(&self, site: &Site<'_>) -> Option<Shape> {
        let asked = self.plan.ask.endpoint;
        if let Some(own) = own_form(asked).filter(|own| site.provider.has(own.endpoint())) {
            return Some(Shape::Mapped(own));
        }
        shape(asked, site.dialect).or_else(|| site.provider.has(asked).then_some(Shape::Same(asked)))
    }

    /// Is it to be said in other words at any of its targets? Then all of it must be here first.
    fn is_said_anew(&self) -> bool {
        let Plan { ask, state, targets, .. } = &self.plan;
        targets.iter().any(|target| {
            let mut keys = state.providers.get(&target.provider).into_iter().flat_map(ProviderState::key_states);
            keys.any(|key| matches!(self.shape(&key.site(&target.model, ask.dialect)), Some(Shape::Mapped(_))))
        })
    }

    fn said_in_json(&self, scan: &Scan, site: &Site<'_>) -> Bytes {
        let mut splice = Splice::new(&self.plan.ask.body);
        match &scan.model {
            // Who counts for a model has to be told which.
            Some(named) if self.plan.ask.endpoint == Endpoint::CountMessages => {
                if named.name != site.model {
                    splice.replace_text(&named.field, site.model);
                }
            }
            _ => site.provider.name_model(&mut splice, scan, site.model),
        }
        self.drop_our_fields(&mut splice, scan);
        splice.build()
    }

    fn without_our_fields(&self, scan: &Scan) -> Bytes {
        let mut splice = Splice::new(&self.plan.ask.body);
        self.drop_our_fields(&mut splice, scan);
        splice.build()
    }

    /// What a body says to the gateway alone, and by the gateway's names.
    fn drop_our_fields(&self, splice: &mut Splice, scan: &Scan) {
        let own = [scan.fallbacks.as_ref(), scan.provider.as_ref().map(|provider| &provider.field)];
        for field in own.into_iter().flatten() {
            splice.remove(field);
        }
        if let Some(sequel) = &self.plan.sequel {
            sequel.rename(splice);
        }
    }

    async fn answered(
        &self,
        answer: Result<Answer, Box<Failure>>,
        Ready { site, operation, .. }: &Ready<'_>,
    ) -> Result<Received<Passed>, Box<Failure>> {
        let Answer { status, headers, body } = answer?;
        if !status.is_success() {
            let body = body.collect(MAX_ERROR_BYTES).await?;
            let mut failure = failure_of(site.dialect.codec(), status, &headers, body, SystemTime::now());
            if self.crossing.is_some() {
                // Its words are not the caller's.
                failure.body = Bytes::new();
            }
            return Err(failure);
        }
        let answer = Passed::read(&headers, body, MAX_REPLY_BYTES).await?;
        let answer = self.in_the_callers_words(*operation, answer)?;
        Ok(Received { status, headers, answer })
    }

    /// An answer that makes no sense is a failed attempt like any other.
    fn in_the_callers_words(&self, operation: Endpoint, answer: Passed) -> Result<Passed, Box<Failure>> {
        let (content_type, body) = match answer {
            Passed::Whole { content_type, body, .. } => (content_type, body),
            Passed::Growing { content_type, body, .. } => {
                let as_events = self.crossing.as_ref().is_some_and(|crossing| crossing.memo.wants_events());
                return Ok(Passed::Growing { content_type, body, as_events });
            }
        };
        let Some(Crossing { mapping, memo, .. }) = &self.crossing else {
            let usage = tap::spent(&body);
            let body = mended(operation, &self.plan.ask.body, &body).map_or(body, Bytes::from);
            return Ok(Passed::Whole { content_type, body, usage, losses: Losses::default() });
        };
        let mut losses = Losses::default();
        let answered = mapping.reply(memo, &body, &mut losses).map_err(|malformed| {
            Box::new(Failure::new(
                FailureKind::Unreadable,
                format!("the answer is not what was asked for: {malformed}"),
            ))
        })?;
        let content_type = answered.content_type.map(HeaderValue::from_static).or(content_type);
        Ok(Passed::Whole { content_type, body: answered.body.into(), usage: answered.usage, losses })
    }
}

impl Errand for Order {
    type Answer = Passed;

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn plan_mut(&mut self) -> &mut Plan {
        &mut self.plan
    }

    fn operation(&self, site: &Site<'_>) -> Option<Endpoint> {
        let endpoint = match self.shape(site)? {
            Shape::Same(endpoint) => endpoint,
            Shape::Mapped(mapping) => mapping.endpoint(),
            Shape::OverChat => return None,
        };
        Some(endpoint).filter(|endpoint| site.provider.has(*endpoint))
    }

    fn prepare(&mut self, site: &Site<'_>) -> Result<Prepared, Refusal> {
        let ask = self.plan.ask.clone();
        let scan = ask.scan.as_ref().map_err(Clone::clone)?;
        let mut losses = self.plan.noted.clone();
        self.crossing = None;
        let (lane, body) = match (&self.paper, self.shape(site)) {
            (paper, Some(Shape::Mapped(mapping))) => {
                let Sent { body, memo, address } = match paper {
                    Paper::Json => mapping.request(&self.without_our_fields(scan), site.model, &mut losses)?,
                    Paper::Form(upload, content_type) => {
                        let boundary = content_type.to_str().ok().and_then(boundary).unwrap_or_default();
                        mapping.form((&upload.form(), &upload.kept()), boundary, site.model, &mut losses)?
                    }
                };
                let whole = body.first().filter(|_| body.len() == 1).cloned().unwrap_or_default();
                self.crossing = Some(Crossing { mapping, memo, body, address });
                (Lane::Translate, whole)
            }
            (Paper::Form(..), _) => (Lane::Relay, Bytes::new()),
            (Paper::Json, _) => (Lane::Relay, self.said_in_json(scan, site)),
        };
        let body = self.operation(site).map_or(body.clone(), |endpoint| site.provider.counted(endpoint, body));
        if !losses.is_empty() && ask.strict() {
            return Err(Refusal::Strict(losses));
        }
        Ok(Prepared { lane, body, losses, hide_usage: false })
    }

    fn is_spent(&self) -> bool {
        self.upload().is_some_and(Upload::is_spent)
    }

    async fn attempt(&self, ready: &Ready<'_>) -> Result<Received<Passed>, Box<Failure>> {
        let Ready { key, site, operation, prepared, forwarded } = ready;
        let credential = key.credential().await?;
        let address = self.crossing.as_ref().and_then(|crossing| crossing.address.as_ref());
        let mut call = site.provider.call(Outgoing {
            endpoint: *operation,
            model: address.map_or(site.model, |address| &address.named),
            stream: self.plan.stream(),
            credential: credential.as_deref(),
            forwarded,
            content_type: match &self.paper {
                Paper::Json => None,
                Paper::Form(_, content_type) => Some(content_type),
            },
            body: prepared.body.clone(),
            now: SystemTime::now(),
        })?;
        if let Some(address) = address {
            call.add_query(&address.query)?;
        }
        match self.upload() {
            None => self.answered(site.provider.send(call).await, ready).await,
            Some(upload) => {
                let live = match &self.crossing {
                    Some(crossing) => upload.pour_instead(crossing.body.clone()),
                    None => upload.pour(site.model),
                };
                let answer = site.provider.pour(call, live).await;
                self.answered(answer, ready).await.map_err(|failure| upload.explained(failure))
            }
        }
    }
}
