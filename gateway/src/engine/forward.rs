//! Which of a caller's headers a provider sees.
//!
//! The few that any provider may see, and those that the caller asks to be forwarded: `x-bf-eh-<name>`, or by their own name
//! where the operator allows that (`client.header_filter_config`). Credentials, framing and the gateway's own headers never
//! cross, whoever asks: that is decided where a call is made (`providers::provider::headers`).

use bifrost_providers::Dialect;
use bifrost_providers::provider::forwardable;
use http::{HeaderMap, HeaderName};

use crate::config::HeaderFilter;

/// In front of the name of a header that is to be forwarded.
const PREFIX: &str = "x-bf-eh-";

/// The headers that go to a provider of this dialect.
pub fn forwarded(client: &HeaderMap, filter: &HeaderFilter, upstream: Dialect) -> HeaderMap {
    let mut headers = forwardable(client, upstream);
    let asked = client.iter().filter_map(|(name, value)| Some((asked_for(name, filter, &headers)?, value)));
    for (wanted, value) in asked.collect::<Vec<_>>() {
        headers.append(wanted, value.clone());
    }
    for denied in &filter.deny {
        headers.remove(denied.as_str());
    }
    headers
}

/// The name under which a header is forwarded because somebody asked for it.
fn asked_for(name: &HeaderName, filter: &HeaderFilter, usual: &HeaderMap) -> Option<HeaderName> {
    let allowed = |name: &str| filter.allow.iter().any(|allowed| allowed == name);
    match name.as_str().strip_prefix(PREFIX) {
        Some(inner) if filter.allow.is_empty() || allowed(inner) => HeaderName::try_from(inner).ok(),
        None if allowed(name.as_str()) && !usual.contains_key(name) => Some(name.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// What of these headers is forwarded, as `name: value` lines.
    fn check(sent: &[(&'static str, &'static str)], allow: &[&str], deny: &[&str]) -> Vec<String> {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let filter = HeaderFilter { allow: owned(allow), deny: owned(deny) };
        let mut client = HeaderMap::new();
        for (name, value) in sent {
            client.append(*name, HeaderValue::from_static(value));
        }
        let headers = forwarded(&client, &filter, Dialect::AnthropicMessages);
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn callers_ask_by_prefix_and_operators_allow_by_name() {
        let sent = [("x-bf-eh-x-tenant", "a"), ("x-bf-eh-x-tenant", "b"), ("x-plain", "p"), ("traceparent", "t")];
        assert_eq!(check(&sent, &[], &[]), ["traceparent: t", "x-tenant: a", "x-tenant: b"]);
        assert_eq!(check(&sent, &["x-plain", "traceparent"], &[]), ["traceparent: t", "x-plain: p"]);
        assert_eq!(check(&sent, &[], &["x-tenant", "traceparent"]), [""; 0]);
        assert_eq!(check(&sent, &["x-plain"], &["x-plain"]), ["traceparent: t"]);
        assert_eq!(check(&[("x-bf-eh-", "no name")], &[], &[]), [""; 0]);
    }
}
