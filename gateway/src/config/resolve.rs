//! Turns a checked [`File`] into [`Settings`]: defaults, references, and every rule that a schema cannot state.
//!
//! Each section has its own file; all of them share one [`Resolver`], which collects findings instead of stopping at the first.

mod keys;
mod providers;
mod proxy;
mod tools;
mod virtual_keys;

use std::collections::{BTreeSet, HashMap};

use secrecy::{ExposeSecret, SecretString};

use super::file::{Client, File};
use super::finding::{Finding, Mistake};
use super::period::{Period, Unit};
use super::secret::{Environment, Reference};
use super::settings::{ClientSettings, HeaderFilter, Listen, Models, Settings, Tools};
use super::tree::{Node, push};

pub(super) use providers::usual_key;

/// What the sections share while they resolve. Pointers are in documented names; the tree knows how the file spells them.
struct Resolver<'a> {
    tree: &'a Node,
    environment: Environment<'a>,
    /// `version: 2`: an empty list of models means none.
    empty_means_none: bool,
    /// Callers may bring keys, so that a provider needs none.
    direct_keys: bool,
    findings: Vec<Finding>,
    warnings: Vec<String>,
}

/// Names that must not repeat, with the place of the first use.
struct Names {
    what: &'static str,
    seen: HashMap<String, usize>,
}

/// Resolves the file. The settings are only good if there are no findings.
pub(super) fn resolve(file: &File, tree: &Node, environment: Environment<'_>) -> (Settings, Vec<Finding>) {
    let empty_means_none = file.version == Some(2);
    let direct_keys = file.client.allow_direct_keys;
    let (findings, warnings) = (Vec::new(), Vec::new());
    let mut resolver = Resolver { tree, environment, empty_means_none, direct_keys, findings, warnings };
    let client = client(&file.client);
    let providers = resolver.providers(&file.providers);
    let tools = resolver.tools(&file.mcp, &file.client);
    let virtual_keys = resolver.virtual_keys(file, &providers);
    if file.client.enforce_auth_on_inference && virtual_keys.is_empty() {
        resolver.warn("every request needs a virtual key, and there is none: every inference request will be refused");
    }
    let Resolver { findings, warnings, .. } = resolver;
    let listen = Listen::default();
    (Settings { listen, client, providers, virtual_keys, tools, warnings, origin: None }, findings)
}

/// Header names compare without case; they are kept in lower case.
fn lower(names: &[String]) -> Vec<String> {
    names.iter().map(|name| name.to_ascii_lowercase()).collect()
}

fn client(client: &Client) -> ClientSettings {
    let megabytes = usize::try_from(client.max_request_body_size_mb).unwrap_or(usize::MAX);
    ClientSettings {
        enforce_auth: client.enforce_auth_on_inference,
        drop_excess_requests: client.drop_excess_requests,
        text_over_chat: client.enable_litellm_fallbacks
            || client.compat.as_ref().is_some_and(|compat| compat.convert_text_to_chat),
        max_request_body_bytes: megabytes.saturating_mul(1_000_000),
        allowed_origins: client.allowed_origins.clone(),
        allowed_headers: client.allowed_headers.clone(),
        required_headers: lower(&client.required_headers),
        logging_headers: lower(&client.logging_headers),
        prometheus_labels: client.prometheus_labels.clone(),
        enable_logging: client.enable_logging,
        disable_content_logging: client.disable_content_logging,
        header_filter: HeaderFilter {
            allow: lower(&client.header_filter_config.allowlist),
            deny: lower(&client.header_filter_config.denylist),
        },
        allow_direct_keys: client.allow_direct_keys,
    }
}

// === impl Resolver ===

impl Resolver<'_> {
    fn complain(&mut self, mistake: Mistake, pointer: &str, message: impl Into<String>) {
        let spot = self.tree.spot(pointer);
        self.findings.push(Finding { mistake, place: Some(spot.place), path: spot.written, message: message.into() });
    }

    fn conflict(&mut self, pointer: &str, message: impl Into<String>) {
        self.complain(Mistake::Conflict, pointer, message);
    }

    fn warn(&mut self, message: impl Into<String>) {
        self.warnings.push(message.into());
    }

    /// How the file spells a pointer, for warnings.
    fn written(&self, pointer: &str) -> String {
        self.tree.spot(pointer).written
    }

    fn secret(&mut self, pointer: &str, reference: &Reference) -> Option<SecretString> {
        match reference.resolve(self.environment) {
            Ok(secret) => Some(secret),
            Err(error) => {
                self.complain(Mistake::MissingVariable, pointer, error.to_string());
                None
            }
        }
    }

    /// A reference whose content is not secret. An empty text is as good as none.
    fn text(&mut self, pointer: &str, reference: Option<&Reference>) -> Option<String> {
        let text = self.secret(pointer, reference?)?;
        Some(text.expose_secret().to_owned()).filter(|text| !text.trim().is_empty())
    }

    fn secrets<'r>(
        &mut self,
        pointer: &str,
        references: impl IntoIterator<Item = (&'r String, &'r Reference)>,
    ) -> Vec<(String, SecretString)> {
        let resolve = |(name, reference): (&String, &Reference)| {
            Some((name.clone(), self.secret(&push(pointer, name), reference)?))
        };
        references.into_iter().filter_map(resolve).collect()
    }

    /// Headers by name and value, both checked to be sendable.
    fn headers<'r>(
        &mut self,
        pointer: &str,
        references: impl IntoIterator<Item = (&'r String, &'r Reference)>,
    ) -> Vec<(String, SecretString)> {
        let headers = self.secrets(pointer, references);
        for (name, value) in &headers {
            let at = push(pointer, name);
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                self.conflict(&at, "not a valid header name");
            } else if http::HeaderValue::from_str(value.expose_secret()).is_err() {
                self.conflict(&at, "the value has characters that a header cannot carry");
            }
        }
        headers
    }

    /// A URL the gateway can call. The message does not quote it: it may hold credentials.
    fn url(&mut self, pointer: &str, text: &str) {
        let good = url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !good {
            self.conflict(pointer, "expected a URL that begins with http:// or https://");
        }
    }

    /// A time-out of at least a millisecond: anything shorter is a slip about the unit.
    fn timeout(&mut self, pointer: &str, period: Option<Period>, unit: Unit) -> Option<std::time::Duration> {
        let length = period?.length(unit);
        if length.is_none_or(|length| length.as_millis() == 0) {
            let unit = unit.name();
            let message = format!("expected at least 1 millisecond, such as `30s`; a bare number is {unit} here");
            self.conflict(pointer, message);
        }
        length
    }

    fn weight(&mut self, pointer: &str, weight: f64) -> f64 {
        if !weight.is_finite() || weight < 0.0 {
            self.conflict(pointer, "expected a weight of at least 0");
        }
        weight
    }

    /// Ruling on allow-lists of models: absent and `*` mean all; empty means all, or none with `version: 2`.
    fn models(&self, list: Option<&Vec<String>>) -> Models {
        match list {
            None => Models::All,
            Some(list) if list.iter().any(|model| model == "*") => Models::All,
            Some(list) if list.is_empty() && self.empty_means_none => Models::None,
            Some(list) if list.is_empty() => Models::All,
            Some(list) => Models::Only(list.clone()),
        }
    }

    /// Notes a name; a second use is a finding.
    fn unique(&mut self, names: &mut Names, pointer: &str, name: &str) {
        let line = self.tree.spot(pointer).place.line;
        if let Some(first) = names.seen.get(name) {
            let message = format!("the {} `{name}` is used twice; the first is in line {first}", names.what);
            self.complain(Mistake::Duplicate, pointer, message);
        } else {
            names.seen.insert(name.to_owned(), line);
        }
    }
}

// === impl Names ===

impl Names {
    fn of(what: &'static str) -> Self {
        Self { what, seen: HashMap::new() }
    }
}

/// A written list of tools: `*` is all, empty is none.
fn tools_of(list: &[String]) -> Tools {
    if list.iter().any(|tool| tool == "*") {
        Tools::All
    } else if list.is_empty() {
        Tools::None
    } else {
        Tools::Only(list.iter().cloned().collect::<BTreeSet<_>>())
    }
}
