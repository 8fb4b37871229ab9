//! What has a model and is no chat: embeddings, speech, pictures, moderation. The body goes as it came but for the model's
//! name, under the same keys, queues, retries and fallbacks as chat; so does the answer come back.

use std::sync::Arc;
use std::time::SystemTime;

use bifrost_providers::endpoint::Endpoint;
use bifrost_providers::multipart::Form;
use bifrost_providers::provider::{Outgoing, failure_of};
use bifrost_providers::scan::{Scan, Splice};
use bifrost_providers::transport::Answer;
use bifrost_providers::{Dialect, Failure, tap};
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
use super::{Admitted, annex, demand_model, refuse, relay, route};
use crate::state::{Engine, Site};

/// How a body is written.
#[derive(Debug)]
pub enum Paper {
    Json,
    /// A form, and the `content-type` that says its boundary.
    Form(Form, HeaderValue),
}

/// A request on its way.
#[derive(Debug)]
struct Order {
    plan: Plan,
    paper: Paper,
}

/// Answers one request. Never fails: a refusal is an answer too.
pub async fn serve(engine: Arc<Engine>, admitted: Admitted, ask: Ask, paper: Paper) -> Reply {
    let dialect = ask.dialect;
    let Admitted { state, principal, mut grant } = admitted;
    let mut order = Order { plan: Plan::new(engine, state, Arc::new(ask), principal), paper };
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
        dispatch(self, grant).await
    }

    fn reply(&self, started: Started<Passed>, mut grant: Grant) -> Reply {
        let Started { served, mut source } = started;
        if let Passed::Whole { body, .. } = &mut source {
            if let Some(usage) = tap::spent(body) {
                grant.record().take_usage(&usage);
            }
            if self.plan.ask.dialect == Dialect::OpenAiChat && body.starts_with(b"{") {
                *body = relay::with_annex(body, |out| annex::write(out, &grant, &self.plan.noted, None));
            }
        }
        passing::reply(served, source, grant, self.plan.noted.len())
    }

    fn said_in_json(&self, scan: &Scan, site: &Site<'_>) -> Bytes {
        let mut splice = Splice::new(&self.plan.ask.body);
        site.provider.name_model(&mut splice, scan, site.model);
        let own = [scan.fallbacks.as_ref(), scan.provider.as_ref().map(|provider| &provider.field)];
        for field in own.into_iter().flatten() {
            splice.remove(field);
        }
        splice.build()
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
        Some(self.plan.ask.endpoint).filter(|endpoint| site.provider.has(*endpoint))
    }

    fn prepare(&mut self, site: &Site<'_>) -> Result<Prepared, Refusal> {
        let scan = self.plan.ask.scan.as_ref().map_err(Clone::clone)?;
        let body = match &self.paper {
            Paper::Json => self.said_in_json(scan, site),
            Paper::Form(form, _) => form.with_model(&self.plan.ask.body, site.model),
        };
        Ok(Prepared { lane: Lane::Relay, body, losses: self.plan.noted.clone(), hide_usage: false })
    }

    async fn attempt(&self, ready: &Ready<'_>) -> Result<Received<Passed>, Box<Failure>> {
        let Ready { key, site, operation, prepared, forwarded } = ready;
        let credential = key.credential().await?;
        let call = site.provider.call(Outgoing {
            endpoint: *operation,
            model: site.model,
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
        let Answer { status, headers, body } = site.provider.send(call).await?;
        if !status.is_success() {
            let body = body.collect(MAX_ERROR_BYTES).await?;
            return Err(failure_of(site.dialect.codec(), status, &headers, body, SystemTime::now()));
        }
        let answer = Passed::read(&headers, body, MAX_REPLY_BYTES).await?;
        Ok(Received { status, headers, answer })
    }
}
