//! One admitted request, from its first byte to its last: settled exactly once, whatever ends it.
//!
//! A grant travels with the work, into the response body if that grows. Dropped without a word (the client left, a task was
//! cancelled, something panicked) it settles as cancelled, so gauges, metrics and the log record are never owed.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bifrost_policies::{Principal, Target};
use bifrost_providers::Losses;
use bifrost_providers::endpoint::Endpoint;
use bifrost_providers::reply::Usage;
use bifrost_providers::scan::Scan;
use http::HeaderMap;

use super::ask::{self, Arrival, Link};
use super::hold::Pace;
use super::lane::Lane;
use super::refusal::Refusal;
use crate::metrics::{Active, Labels};
use crate::record::{Record, unix_ms};
use crate::state::{Engine, KeyState, Site};

/// The status that stands for "the client left" (nginx's 499, as the contract has it).
const CLIENT_LEFT: u16 = 499;

/// Headers that are never logged, whatever the operator asks for: they hold keys.
const CREDENTIALS: [&str; 7] =
    ["authorization", "proxy-authorization", "cookie", "x-bf-vk", "x-api-key", "api-key", "x-goog-api-key"];

/// The account of one request.
#[derive(Debug)]
pub struct Grant {
    record: Box<Record>,
    engine: Arc<Engine>,
    received: Instant,
    custom_labels: Vec<String>,
    link: Option<Link>,
    /// Gaps between the pieces of streams, over all turns.
    pace: Pace,
    settled: bool,
    _active: Active,
}

impl Grant {
    pub fn open(engine: &Arc<Engine>, arrival: &Arrival<'_>) -> Self {
        let request_type = arrival.request_type;
        Self {
            record: Box::new(Record {
                time_unix_ms: unix_ms(),
                request_id: arrival.request_id.clone(),
                request_type,
                dialect: arrival.dialect.name(),
                ..Record::default()
            }),
            engine: engine.clone(),
            received: arrival.received,
            custom_labels: ask::labels(arrival.headers, engine.metrics.custom()),
            link: arrival.link.clone(),
            pace: Pace::default(),
            settled: false,
            _active: engine.metrics.active(request_type),
        }
    }

    /// Headers that the operator wants in the log.
    pub fn keep_headers(&mut self, headers: &HeaderMap, names: &[String]) {
        let names = names.iter().filter(|name| !CREDENTIALS.contains(&name.as_str()));
        let present = names.filter_map(|name| Some((name.clone(), clipped(ask::text(headers, name)?))));
        self.record.metadata.extend(present);
    }

    /// What the body says of itself.
    pub fn describe(&mut self, endpoint: Endpoint, scan: &Scan) {
        self.record.stream = scan.stream;
        self.record.request_type = endpoint.request_type(scan.stream);
        if let Some(model) = &scan.model {
            self.record.model_requested = clipped(&model.name);
        }
    }

    pub fn belongs_to(&mut self, principal: Option<&Principal>) {
        if let Some(principal) = principal {
            // An empty string costs more to grow than a new one to make.
            self.record.virtual_key_id = principal.id.as_str().into();
            self.record.virtual_key_name = principal.name.as_str().into();
        }
    }

    /// The target that the account stands for: the one that is asked now, and in the end the one whose answer or error it is.
    pub fn asked(&mut self, target: &Target) {
        self.record.provider = target.provider.to_string();
        self.record.model = target.model.as_str().into();
        self.record.fallback_index = target.fallback_index;
    }

    /// The key of the attempt under way, and what the provider is asked for under it: an alias is not the provider's name.
    pub fn goes_to(&mut self, key: &KeyState, site: &Site<'_>, lane: Lane) {
        self.record.lane = lane.name();
        self.record.key_id = key.id.as_str().into();
        self.record.key_name = key.name.as_str().into();
        if self.record.model != site.model {
            site.model.clone_into(&mut self.record.model);
        }
    }

    pub fn record(&mut self) -> &mut Record {
        &mut self.record
    }

    pub fn facts(&self) -> &Record {
        &self.record
    }

    pub fn elapsed(&self) -> Duration {
        self.received.elapsed()
    }

    /// The client is about to see the first real content.
    pub fn first_content(&mut self) {
        if self.record.first_token_ms.is_none() {
            let elapsed = ms(self.received.elapsed());
            self.record.first_token_ms = Some(elapsed);
            self.record.overhead_ms = self.overhead(elapsed);
        }
    }

    /// What is left of the time until now without the waits for providers and tools: the gateway's own work, and the time that
    /// it let pass on purpose (queues, back-off).
    fn overhead(&self, elapsed_ms: f64) -> f64 {
        (elapsed_ms - self.record.upstream_latency_ms - self.record.tools_ms).max(0.0)
    }

    /// A stream that has ended, or been left, came at this pace.
    pub fn paced(&mut self, pace: Pace) {
        self.pace.gaps = self.pace.gaps.saturating_add(pace.gaps);
        self.pace.time += pace.time;
    }

    pub fn waited_tools(&mut self, spent: Duration) {
        self.record.tools_ms += ms(spent);
    }

    pub fn waited_upstream(&mut self, spent: Duration) {
        self.record.upstream_latency_ms += ms(spent);
    }

    pub fn lost(&mut self, losses: &Losses) {
        for loss in losses.iter() {
            self.record.losses.push(loss.pointer.clone(), loss.reason.clone());
        }
    }

    pub fn succeed(mut self, usage: Option<&Usage>, finish: Option<String>) {
        if let Some(usage) = usage {
            self.record.take_usage(usage);
        }
        if finish.is_some() {
            self.record.finish = finish;
        }
        self.settle("success", 200);
    }

    /// Tokens of what was answered before it went wrong are spent all the same.
    pub fn fail(mut self, refusal: &Refusal, usage: Option<&Usage>) {
        if let Some(usage) = usage {
            self.record.take_usage(usage);
        }
        self.record.error_class = refusal.class();
        self.record.error_type = Some(clipped(&refusal.kind()));
        self.record.error_message = Some(clipped(&refusal.message_for_log()));
        self.settle("error", refusal.status().as_u16());
    }

    fn settle(&mut self, outcome: &'static str, status: u16) {
        self.settled = true;
        self.record.outcome = outcome;
        self.record.status = status;
        self.record.latency_ms = ms(self.received.elapsed());
        if self.record.first_token_ms.is_none() {
            self.record.overhead_ms = self.overhead(self.record.latency_ms);
        }
        self.record.inter_token_ms = self.pace.time.checked_div(self.pace.gaps).map(ms);
        if !self.record.provider.is_empty() {
            self.engine.metrics.finished(&self.labels(), &self.record);
        }
        self.engine.log.push(&self.record);
    }

    fn labels(&self) -> Labels<'_> {
        let record = &self.record;
        Labels {
            provider: record.provider.as_str().into(),
            model: clip(&record.model),
            method: record.request_type,
            virtual_key_id: record.virtual_key_id.as_str().into(),
            virtual_key_name: record.virtual_key_name.as_str().into(),
            key_id: record.key_id.as_str().into(),
            key_name: record.key_name.as_str().into(),
            fallback_index: record.fallback_index,
            custom: self.custom_labels.as_slice().into(),
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if !self.settled {
            let stalled = self.link.as_ref().is_some_and(Link::is_given_up);
            self.record.error_class = if stalled { "client_stalled" } else { "request_cancelled" };
            self.record.error_type = Some(self.record.error_class.to_owned());
            self.settle("cancelled", CLIENT_LEFT);
        }
    }
}

/// The longest text of a caller or a provider that a record or a label keeps, in characters: thousands of records wait in
/// memory, and either may send megabytes.
const LONGEST_TEXT: usize = 1_000;

/// The beginning of a text that somebody else wrote.
pub fn clipped(text: &str) -> String {
    clip(text).into_owned()
}

fn clip(text: &str) -> Cow<'_, str> {
    // Few texts have more bytes than the most characters.
    let end = if text.len() <= LONGEST_TEXT { None } else { text.char_indices().nth(LONGEST_TEXT) };
    match end {
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(text),
    }
}

pub fn ms(duration: Duration) -> f64 {
    // Microseconds are as fine as anybody reads them.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_write_is_kept_short() {
        assert_eq!(clipped("é"), "é");
        assert_eq!(clipped(&"é".repeat(1 << 20)).chars().count(), LONGEST_TEXT + 1);
    }
}
