//! Which web pages may call, by their origin (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
//!
//! A page on this machine always may; others where the operator says so (`client.allowed_origins`). Browsers enforce it, so
//! nothing here keeps out a client that is none: that is what keys are for.

use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// What a page may send without the operator's word.
const HEADERS: &str = "Content-Type, Authorization, X-Requested-With";
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, DELETE, OPTIONS");
/// How long a browser may remember the answer: a day, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");
/// The beginnings of origins on this machine.
const LOOPBACK: [&str; 5] =
    ["http://localhost", "https://localhost", "http://127.0.0.1", "https://127.0.0.1", "http://0.0.0.0"];
/// No origin is longer: a host name has at most 253 characters.
const MAX_ORIGIN: usize = 300;

/// The operator's rules.
#[derive(Debug)]
pub struct Cors {
    origins: Vec<String>,
    headers: HeaderValue,
}

impl Cors {
    /// `origins`: exact, `*`, or with `*` for anything but a dot or a slash. `headers`: what pages may send besides the usual;
    /// the fault where that is no list of header names.
    pub fn new(origins: Vec<String>, headers: &[String]) -> Result<Self, String> {
        if let Some(bad) = headers.iter().find(|name| http::HeaderName::try_from(name.as_str()).is_err()) {
            return Err(bad.clone());
        }
        let headers = [&[HEADERS.to_owned()], headers].concat().join(", ");
        Ok(Self { origins, headers: HeaderValue::try_from(&headers).map_err(|_| headers)? })
    }

    /// Is this a browser's question whether a page may send a request? Then the origin of the page.
    pub fn asks(method: &http::Method, headers: &HeaderMap) -> Option<HeaderValue> {
        let asks = method == http::Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        asks.then(|| headers.get(header::ORIGIN).cloned())?
    }

    /// The answer to that question; nothing where the page may not.
    pub fn permission(&self, origin: &HeaderValue) -> Option<Response> {
        let mut response = Response::new(axum::body::Body::empty());
        *response.status_mut() = StatusCode::OK;
        let headers = response.headers_mut();
        if !self.mark(origin, headers) {
            return None;
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone());
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        Some(response)
    }

    /// Lets the page of this origin read the answer, if it may.
    pub fn mark(&self, origin: &HeaderValue, headers: &mut HeaderMap) -> bool {
        if !origin.to_str().is_ok_and(|origin| self.allows(origin)) {
            return false;
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        // A cache must not show one page's permission to another.
        if !headers.get_all(header::VARY).iter().any(|known| known == "Origin") {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        true
    }

    fn allows(&self, origin: &str) -> bool {
        let on_this_machine = || {
            let mut rests = LOOPBACK.iter().filter_map(|start| origin.strip_prefix(start));
            rests.any(|rest| rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
        };
        origin.len() <= MAX_ORIGIN
            && (on_this_machine() || self.origins.iter().any(|pattern| pattern == "*" || matches(pattern, origin)))
    }
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `*` stands for one or more characters that are no dot and no slash, so `https://*.example.com` is one level of names.
fn matches(pattern: &str, origin: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == origin };
    let Some(rest) = origin.strip_prefix(before) else { return false };
    let longest = rest.find(['.', '/']).unwrap_or(rest.len());
    (1..=longest).any(|end| rest.get(end..).is_some_and(|rest| matches(after, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_exact_or_on_this_machine_or_match_a_label() {
        let cors = Cors::new(vec!["https://app.example.com".into(), "https://*.example.org:8443".into()], &[]).unwrap();
        for (origin, allowed) in [
            ("http://localhost", true),
            ("https://localhost:3000", true),
            ("http://127.0.0.1:5173", true),
            ("http://0.0.0.0:80", true),
            ("https://0.0.0.0", false),
            ("http://localhost.evil.com", false),
            ("http://localhost:3000.evil.com", false),
            ("http://localhost:", false),
            ("http://127.0.0.1.evil.com", false),
            ("https://app.example.com", true),
            ("http://app.example.com", false),
            ("https://app.example.com:444", false),
            ("https://app.example.com.evil.com", false),
            ("https://a.example.org:8443", true),
            ("https://a.b.example.org:8443", false),
            ("https://.example.org:8443", false),
            ("https://evil.com/.example.org:8443", false),
            ("null", false),
        ] {
            assert_eq!(cors.allows(origin), allowed, "{origin}");
        }
        let any = Cors::new(vec!["*".into()], &[]).unwrap();
        assert!(any.allows("https://anything.example") && !any.allows(&format!("https://{}", "a".repeat(MAX_ORIGIN))));
    }

    /// A preflight's answer is marked as such, and once more as every answer is.
    #[test]
    fn an_answer_that_is_marked_twice_varies_once() {
        let cors = Cors::new(Vec::new(), &[]).unwrap();
        let origin = HeaderValue::from_static("http://localhost:3000");
        let mut answer = cors.permission(&origin).unwrap();
        assert!(cors.mark(&origin, answer.headers_mut()));
        assert_eq!(answer.headers().get_all(header::VARY).iter().count(), 1);
    }

    #[test]
    fn a_header_that_is_none_is_told() {
        assert_eq!(Cors::new(Vec::new(), &["x-ok".into(), "no name".into()]).unwrap_err(), "no name");
    }
}
