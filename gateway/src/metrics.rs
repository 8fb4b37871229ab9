//! Prometheus metrics: names, labels and buckets of the public contract, handles resolved once per series.
//!
//! A label value may come from a caller (a model name, a `x-bf-dim-*` header), so the number of series is capped: past
//! [`MAX_SERIES`] new combinations are counted under `other` instead of growing memory.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::HashMap;
use parking_lot::Mutex;
use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder,
};

use crate::record::Record;

/// Distinct label sets before new ones fold into `other`.
const MAX_SERIES: usize = 2_000;
const OTHER: &str = "other";

const UPSTREAM_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0,
    600.0, 900.0,
];
const FIRST_TOKEN_SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0];
const INTER_TOKEN_SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const OVERHEAD_MICROSECONDS: &[f64] =
    &[100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 2.5e4, 5e4, 1e5, 2.5e5, 5e5, 1e6, 2.5e6, 5e6, 1e7, 3e7];
const TOOL_SECONDS: &[f64] = &[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
const RETRIES: &[f64] = &[0.0, 1.0, 2.0, 3.0, 5.0, 10.0];
const SIZES: &[f64] = &[1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// The base label set. Labels of features that come later are present and empty, so that dashboards need no change.
const BASE: &[&str] = &[
    "provider",
    "model",
    "alias",
    "method",
    "virtual_key_id",
    "virtual_key_name",
    "routing_engine_used",
    "routing_rule_id",
    "routing_rule_name",
    "complexity_tier",
    "complexity_mechanism",
    "selected_key_id",
    "selected_key_name",
    "fallback_index",
    "team_id",
    "team_name",
    "customer_id",
    "customer_name",
    "business_unit_id",
    "business_unit_name",
    "project_id",
    "project_name",
];

/// The values of the base labels that this version produces. Borrowed from the record of a request, which most often names a
/// series that there is already; owned where they stand for one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Labels<'a> {
    pub provider: Cow<'a, str>,
    pub model: Cow<'a, str>,
    pub method: &'static str,
    pub virtual_key_id: Cow<'a, str>,
    pub virtual_key_name: Cow<'a, str>,
    pub key_id: Cow<'a, str>,
    pub key_name: Cow<'a, str>,
    pub fallback_index: usize,
    /// Values of the configured custom labels, in their order.
    pub custom: Cow<'a, [String]>,
}

impl Labels<'_> {
    fn values(&self, fallback_index: &str) -> Vec<String> {
        BASE.iter()
            .map(|name| match *name {
                "provider" => &self.provider,
                "model" => &self.model,
                "method" => self.method,
                "virtual_key_id" => &self.virtual_key_id,
                "virtual_key_name" => &self.virtual_key_name,
                "selected_key_id" => &self.key_id,
                "selected_key_name" => &self.key_name,
                "fallback_index" => fallback_index,
                _ => "",
            })
            .map(str::to_owned)
            .chain(self.custom.iter().cloned())
            .collect()
    }

    fn folded(&self) -> Labels<'static> {
        Labels {
            provider: owned(&self.provider),
            model: OTHER.into(),
            method: self.method,
            custom: vec![OTHER.into(); self.custom.len()].into(),
            ..Labels::default()
        }
    }

    fn to_owned(&self) -> Labels<'static> {
        Labels {
            provider: owned(&self.provider),
            model: owned(&self.model),
            method: self.method,
            virtual_key_id: owned(&self.virtual_key_id),
            virtual_key_name: owned(&self.virtual_key_name),
            key_id: owned(&self.key_id),
            key_name: owned(&self.key_name),
            fallback_index: self.fallback_index,
            custom: self.custom.to_vec().into(),
        }
    }
}

fn owned(text: &str) -> Cow<'static, str> {
    Cow::Owned(text.to_owned())
}

/// The handles of one label set.
#[derive(Debug)]
struct Series {
    requests: Counter,
    requests_alias: Counter,
    duration_alias: Histogram,
    success: Counter,
    latency_success: Histogram,
    latency_error: Histogram,
    input: Counter,
    output: Counter,
    cache_read: Counter,
    cache_write: Counter,
    first_token: Histogram,
    inter_token: Histogram,
    overhead: Histogram,
    retries: Histogram,
}

/// A route's name: texts of the program's own, put together only where a name is new. A caller can invent none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteName(pub [&'static str; 5]);

impl Hash for RouteName {
    /// Where it stands tells nearly all routes apart.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [_, mount, path, ..] = self.0;
        (mount, path).hash(state);
    }
}

impl RouteName {
    /// A name in one piece.
    pub const fn fixed(name: &'static str) -> Self {
        Self([name, "", "", "", ""])
    }

    pub fn text(&self) -> String {
        self.0.concat()
    }
}

/// What one HTTP exchange is counted under. Of the caller's own text only the values of the operator's labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Exchange {
    pub route: RouteName,
    pub method: &'static str,
    pub status: u16,
    /// Values of the configured custom labels, in their order.
    pub custom: Vec<String>,
}

/// All metrics of one gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    custom: Vec<String>,
    series: Mutex<HashMap<Labels<'static>, Arc<Series>>>,
    vectors: Vectors,
    routes: Mutex<HashMap<Exchange, Arc<Route>>>,
}

#[derive(Debug)]
struct Vectors {
    requests: CounterVec,
    requests_alias: CounterVec,
    duration_alias: HistogramVec,
    success: CounterVec,
    errors: CounterVec,
    latency: HistogramVec,
    input: CounterVec,
    output: CounterVec,
    cache_read: CounterVec,
    cache_write: CounterVec,
    first_token: HistogramVec,
    inter_token: HistogramVec,
    overhead: HistogramVec,
    retries: HistogramVec,
    rotations: CounterVec,
    key_up: GaugeVec,
    active: GaugeVec,
    tool_duration: HistogramVec,
    http: HttpVectors,
    log_dropped: Gauge,
    queue_waiting: GaugeVec,
}

/// What is counted of every HTTP exchange.
#[derive(Debug)]
struct HttpVectors {
    requests: CounterVec,
    duration: HistogramVec,
    request_size: HistogramVec,
    response_size: HistogramVec,
}

/// The handles of one route and status.
#[derive(Debug)]
pub struct Route {
    requests: Counter,
    duration: Histogram,
    request_size: Histogram,
    response_size: Histogram,
}

impl Metrics {
    /// `custom`: names of the operator's own labels (`client.prometheus_labels`), letters, digits and underscores.
    pub fn new(custom: Vec<String>) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let vectors = Vectors::register(&registry, &custom)?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self { registry, custom, series: Mutex::default(), vectors, routes: Mutex::default() })
    }

    /// Names of the custom labels.
    pub fn custom(&self) -> &[String] {
        &self.custom
    }

    /// Counts one finished request that reached a provider.
    pub fn finished(&self, labels: &Labels<'_>, record: &Record) {
        let series = self.series(labels);
        let seconds = record.upstream_latency_ms / 1e3;
        series.requests.inc();
        series.requests_alias.inc();
        series.duration_alias.observe(record.latency_ms / 1e3);
        if record.outcome == "success" {
            series.success.inc();
            series.latency_success.observe(seconds);
        } else {
            series.latency_error.observe(seconds);
            self.error(labels, record);
        }
        series.input.inc_by(to_f64(record.usage_input));
        series.output.inc_by(to_f64(record.usage_output));
        series.cache_read.inc_by(to_f64(record.usage_cache_read));
        series.cache_write.inc_by(to_f64(record.usage_cache_write));
        if let Some(first) = record.first_token_ms {
            series.first_token.observe(first / 1e3);
        }
        if let Some(gap) = record.inter_token_ms {
            series.inter_token.observe(gap / 1e3);
        }
        series.overhead.observe(record.overhead_ms * 1e3);
        series.retries.observe(f64::from(record.retries));
    }

    fn error(&self, labels: &Labels<'_>, record: &Record) {
        // The cap on series holds here too: what was folded for the other counters is folded for this one.
        let labels = if self.known(labels).is_some() { labels.clone() } else { labels.folded() };
        let mut values = labels.values(&labels.fallback_index.to_string());
        values.push(record.status.to_string());
        values.push(record.error_class.to_owned());
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        self.vectors.errors.with_label_values(&values).inc();
    }

    fn series(&self, labels: &Labels<'_>) -> Arc<Series> {
        if let Some(series) = self.known(labels) {
            return series;
        }
        let mut known = self.series.lock();
        let labels = if known.len() < MAX_SERIES { labels.to_owned() } else { labels.folded() };
        known.entry(labels.clone()).or_insert_with(|| Arc::new(self.vectors.series(&labels))).clone()
    }

    fn known(&self, labels: &Labels<'_>) -> Option<Arc<Series>> {
        let series = self.series.lock();
        let series: &HashMap<Labels<'_>, _> = &series;
        series.get(labels).cloned()
    }

    pub fn rotated(&self, provider: &str, model: &str, key: (&str, &str), reason: &str) {
        let model = if self.series.lock().len() < MAX_SERIES { model } else { OTHER };
        self.vectors.rotations.with_label_values(&[provider, model, key.0, key.1, reason]).inc();
    }

    pub fn key_up(&self, provider: &str, key: (&str, &str), up: bool) {
        self.vectors.key_up.with_label_values(&[provider, key.0, key.1]).set(if up { 1.0 } else { 0.0 });
    }

    /// A request is running for as long as the answer is held.
    pub fn active(&self, method: &'static str) -> Active {
        let gauge = self.vectors.active.with_label_values(&[method]);
        gauge.inc();
        Active(gauge)
    }

    pub fn tool(&self, server: &str, tool: &str, method: &str, error: Option<&str>, seconds: f64) {
        let values = [server, tool, method, error.unwrap_or("")];
        self.vectors.tool_duration.with_label_values(&values).observe(seconds);
    }

    pub fn log_dropped(&self, total: u64) {
        self.vectors.log_dropped.set(to_f64(total));
    }

    pub fn queue_waiting(&self, provider: &str, waiting: usize) {
        self.vectors.queue_waiting.with_label_values(&[provider]).set(to_f64(waiting as u64));
    }

    /// Counts one HTTP exchange; `sizes` are those of the request and of a whole answer, in bytes.
    pub fn http(&self, exchange: Exchange, seconds: f64, sizes: (u64, Option<u64>)) {
        let route = self.route(exchange);
        route.requests.inc();
        route.duration.observe(seconds);
        route.request_size.observe(to_f64(sizes.0));
        if let Some(size) = sizes.1 {
            route.response_size.observe(to_f64(size));
        }
    }

    fn route(&self, mut exchange: Exchange) -> Arc<Route> {
        let mut routes = self.routes.lock();
        if let Some(route) = routes.get(&exchange) {
            return route.clone();
        }
        if routes.len() >= MAX_SERIES {
            exchange.custom.fill(OTHER.to_owned());
        }
        let made = || Arc::new(self.vectors.http.route(&exchange));
        routes.entry(exchange.clone()).or_insert_with(made).clone()
    }

    /// The exposition text for a scrape.
    pub fn expose(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

/// One running request; leaves the gauge when dropped.
#[derive(Debug)]
pub struct Active(Gauge);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Vectors {
    fn register(registry: &Registry, custom: &[String]) -> prometheus::Result<Self> {
        let base: Vec<&str> = BASE.iter().copied().chain(custom.iter().map(String::as_str)).collect();
        let errors: Vec<&str> = base.iter().copied().chain(["status_code", "error_type"]).collect();
        let latency: Vec<&str> = base.iter().copied().chain(["is_success"]).collect();
        let make = Maker { registry };
        Ok(Self {
            requests: make.counter("bifrost_upstream_requests_total", "Requests sent to providers", &base)?,
            requests_alias: make.counter("bifrost_requests_total", "Requests sent to providers", &base)?,
            duration_alias: make.histogram(
                "bifrost_request_duration_seconds",
                "Duration of requests",
                &base,
                UPSTREAM_SECONDS,
            )?,
            success: make.counter("bifrost_success_requests_total", "Requests answered well", &base)?,
            errors: make.counter("bifrost_error_requests_total", "Requests that failed", &errors)?,
            latency: make.histogram(
                "bifrost_upstream_latency_seconds",
                "Time spent waiting for providers",
                &latency,
                UPSTREAM_SECONDS,
            )?,
            input: make.counter("bifrost_input_tokens_total", "Input tokens", &base)?,
            output: make.counter("bifrost_output_tokens_total", "Output tokens", &base)?,
            cache_read: make.counter(
                "bifrost_cache_read_input_tokens_total",
                "Input tokens read from a cache",
                &base,
            )?,
            cache_write: make.counter(
                "bifrost_cache_write_input_tokens_total",
                "Input tokens written to a cache",
                &base,
            )?,
            first_token: make.histogram(
                "bifrost_stream_first_token_latency_seconds",
                "Time to the first content of a stream",
                &base,
                FIRST_TOKEN_SECONDS,
            )?,
            inter_token: make.histogram(
                "bifrost_stream_inter_token_latency_seconds",
                "Mean time between the pieces of a stream, one observation per stream",
                &base,
                INTER_TOKEN_SECONDS,
            )?,
            overhead: make.histogram(
                "bifrost_overhead_latency_microseconds",
                "Time until the first content or the whole reply, without the waits for providers and tools",
                &base,
                OVERHEAD_MICROSECONDS,
            )?,
            retries: make.histogram("bifrost_request_retries", "Retries per request", &base, RETRIES)?,
            rotations: make.counter(
                "bifrost_key_rotation_events_total",
                "Changes of key after a failure",
                &["provider", "requested_model", "key_id", "key_name", "fail_reason"],
            )?,
            key_up: make.gauge(
                "bifrost_provider_key_up",
                "1 while a key is usable",
                &["provider", "key_id", "key_name"],
            )?,
            active: make.gauge("bifrost_active_requests", "Requests in progress", &["method"])?,
            tool_duration: make.histogram(
                "bifrost_mcp_client_operation_duration_seconds",
                "Duration of operations on tool servers",
                &["mcp_client", "mcp_tool_name", "mcp_method", "error_type"],
                TOOL_SECONDS,
            )?,
            http: HttpVectors::register(&make, custom)?,
            log_dropped: make
                .gauge("bifrost_log_records_dropped", "Log records lost because the writer fell behind", &[])?
                .with_label_values(&[] as &[&str]),
            queue_waiting: make.gauge("bifrost_queue_waiting", "Requests waiting for a provider", &["provider"])?,
        })
    }

    fn series(&self, labels: &Labels<'_>) -> Series {
        let owned = labels.values(&labels.fallback_index.to_string());
        let base: Vec<&str> = owned.iter().map(String::as_str).collect();
        let with = |last: &'static str| base.iter().copied().chain([last]).collect::<Vec<_>>();
        Series {
            requests: self.requests.with_label_values(&base),
            requests_alias: self.requests_alias.with_label_values(&base),
            duration_alias: self.duration_alias.with_label_values(&base),
            success: self.success.with_label_values(&base),
            latency_success: self.latency.with_label_values(&with("true")),
            latency_error: self.latency.with_label_values(&with("false")),
            input: self.input.with_label_values(&base),
            output: self.output.with_label_values(&base),
            cache_read: self.cache_read.with_label_values(&base),
            cache_write: self.cache_write.with_label_values(&base),
            first_token: self.first_token.with_label_values(&base),
            inter_token: self.inter_token.with_label_values(&base),
            overhead: self.overhead.with_label_values(&base),
            retries: self.retries.with_label_values(&base),
        }
    }
}

impl HttpVectors {
    fn register(make: &Maker<'_>, custom: &[String]) -> prometheus::Result<Self> {
        let labels = ["path", "method", "status"].into_iter().chain(custom.iter().map(String::as_str));
        let labels: Vec<&str> = labels.collect();
        Ok(Self {
            requests: make.counter("http_requests_total", "HTTP requests", &labels)?,
            duration: make.histogram(
                "http_request_duration_seconds",
                "Duration of HTTP requests until the head of the answer",
                &labels,
                UPSTREAM_SECONDS,
            )?,
            request_size: make.histogram("http_request_size_bytes", "Size of HTTP requests", &labels, SIZES)?,
            response_size: make.histogram("http_response_size_bytes", "Size of whole HTTP answers", &labels, SIZES)?,
        })
    }

    fn route(&self, exchange: &Exchange) -> Route {
        let (route, status) = (exchange.route.text(), exchange.status.to_string());
        let custom = exchange.custom.iter().map(String::as_str);
        let values: Vec<&str> = [route.as_str(), exchange.method, &status].into_iter().chain(custom).collect();
        Route {
            requests: self.requests.with_label_values(&values),
            duration: self.duration.with_label_values(&values),
            request_size: self.request_size.with_label_values(&values),
            response_size: self.response_size.with_label_values(&values),
        }
    }
}

struct Maker<'a> {
    registry: &'a Registry,
}

impl Maker<'_> {
    fn counter(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<CounterVec> {
        let made = CounterVec::new(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
        let made = GaugeVec::new(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn histogram(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> prometheus::Result<HistogramVec> {
        let made = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?;
        self.registry.register(Box::new(made.clone()))?;
        Ok(made)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counters in Prometheus are floating point")]
fn to_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_capped_and_fold_into_other() {
        let metrics = Metrics::new(vec!["team".into()]).unwrap();
        for i in 0..MAX_SERIES + 50 {
            let (model, custom) = (format!("m{i}").into(), vec![String::new()].into());
            let labels = Labels { model, custom, ..Labels::default() };
            metrics.finished(&labels, &Record { outcome: "success", ..Record::default() });
        }
        assert!(metrics.series.lock().len() <= MAX_SERIES + 1);
        assert!(metrics.expose().contains("model=\"other\""));
    }

    #[test]
    fn failing_requests_are_capped_as_well() {
        let metrics = Metrics::new(Vec::new()).unwrap();
        for i in 0..MAX_SERIES + 50 {
            let labels = Labels { model: format!("m{i}").into(), ..Labels::default() };
            metrics.finished(&labels, &Record { outcome: "error", error_class: "rate_limited", ..Record::default() });
        }
        let exposed = metrics.expose();
        let series = exposed.lines().filter(|line| line.starts_with("bifrost_error_requests_total{")).count();
        assert_eq!(series, MAX_SERIES + 1);
    }

    fn exchange(method: &'static str, custom: Vec<String>) -> Exchange {
        Exchange { route: RouteName::fixed("other"), method, status: 404, custom }
    }

    #[test]
    fn exchanges_are_capped_as_well() {
        let metrics = Metrics::new(vec!["team".into()]).unwrap();
        for i in 0..MAX_SERIES + 50 {
            metrics.http(exchange("GET", vec![i.to_string()]), 0.1, (0, None));
        }
        assert_eq!(metrics.routes.lock().len(), MAX_SERIES + 1);
        assert!(
            metrics.expose().contains(r#"http_requests_total{method="GET",path="other",status="404",team="other"} 50"#)
        );
    }

    #[test]
    fn each_method_of_a_path_is_counted_for_itself() {
        let metrics = Metrics::new(Vec::new()).unwrap();
        metrics.http(exchange("GET", Vec::new()), 0.1, (0, None));
        metrics.http(exchange("PUT", Vec::new()), 0.1, (0, None));
        let exposed = metrics.expose();
        for method in ["GET", "PUT"] {
            assert!(
                exposed
                    .contains(&format!("http_requests_total{{method=\"{method}\",path=\"other\",status=\"404\"}} 1"))
            );
        }
    }

    #[test]
    fn a_running_request_leaves_the_gauge_when_dropped() {
        let metrics = Metrics::new(Vec::new()).unwrap();
        let running = metrics.active("chat_completion");
        assert!(metrics.expose().contains("bifrost_active_requests{method=\"chat_completion\"} 1"));
        drop(running);
        assert!(metrics.expose().contains("bifrost_active_requests{method=\"chat_completion\"} 0"));
    }
}
