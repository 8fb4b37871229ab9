//! AWS Signature Version 4: a signature over the whole request, made with a secret that is never sent.
//!
//! Rules: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>. The path is normalised
//! and encoded once more, as every service but S3 wants it. Signed are `host`, the content type and whatever begins with
//! `x-amz-`: the least that AWS accepts, so that a proxy on the way may touch the rest.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// All but what RFC 3986 never reserves.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for a whole path.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// Signs requests with one AWS identity, for one service in one region.
#[derive(Clone)]
pub(super) struct Signer {
    pub(super) access_key: String,
    pub(super) secret_key: SecretString,
    /// Of a temporary identity.
    pub(super) session_token: Option<HeaderValue>,
    pub(super) region: String,
    pub(super) service: &'static str,
}

/// A request as it is about to be sent.
#[derive(Debug)]
pub(super) struct Unsigned<'a> {
    pub(super) method: &'a Method,
    /// Absolute, in the escapes in which it is sent.
    pub(super) uri: &'a Uri,
    pub(super) body: &'a [u8],
}

/// What a signature is good for: that day, region and service.
struct Scope<'a> {
    signer: &'a Signer,
    /// `20150830T123600Z`.
    time: String,
}

// === impl Signer ===

impl Signer {
    /// Puts `x-amz-date`, `x-amz-security-token` and `authorization` on the request, in place of whatever stood there. AWS takes
    /// a signature for five minutes around `now`.
    pub(super) fn sign(&self, request: &Unsigned<'_>, headers: &mut HeaderMap, now: SystemTime) {
        let scope = Scope { signer: self, time: timestamp(now) };
        headers.remove(header::AUTHORIZATION);
        headers.remove(TOKEN);
        if let Ok(date) = HeaderValue::try_from(&scope.time) {
            headers.insert(DATE, date);
        }
        if let Some(token) = &self.session_token {
            headers.insert(TOKEN, token.clone());
        }
        if let Ok(mut value) = HeaderValue::try_from(scope.authorization(request, headers)) {
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
    }
}

// === impl Scope ===

impl Scope<'_> {
    fn authorization(&self, request: &Unsigned<'_>, headers: &HeaderMap) -> String {
        let signed = signed_headers(request.uri, headers);
        let names = signed.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
        let canonical = canonical_request(request, &signed, &names);
        let signature = hex(&hmac(&self.key(), self.string_to_sign(&canonical).as_bytes()));
        let identity = &self.signer.access_key;
        format!("{ALGORITHM} Credential={identity}/{}, SignedHeaders={names}, Signature={signature}", self.path())
    }

    fn string_to_sign(&self, canonical: &str) -> String {
        format!("{ALGORITHM}\n{}\n{}\n{}", self.time, self.path(), hex(&Sha256::digest(canonical)))
    }

    /// `20150830/us-east-1/bedrock/aws4_request`.
    fn path(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.day(), self.signer.region, self.signer.service)
    }

    fn day(&self) -> &str {
        self.time.split('T').next().unwrap_or_default()
    }

    fn key(&self) -> [u8; 32] {
        let secret = format!("AWS4{}", self.signer.secret_key.expose_secret());
        let day = hmac(secret.as_bytes(), self.day().as_bytes());
        let steps = [&self.signer.region, self.signer.service, "aws4_request"];
        steps.into_iter().fold(day, |key, step| hmac(&key, step.as_bytes()))
    }
}

// === The canonical request ===

fn canonical_request(request: &Unsigned<'_>, signed: &[(String, String)], names: &str) -> String {
    let mut out = format!(
        "{}\n{}\n{}\n",
        request.method,
        canonical_path(request.uri.path()),
        canonical_query(request.uri.query().unwrap_or_default())
    );
    for (name, value) in signed {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{name}:{value}");
    }
    let _ = write!(out, "\n{names}\n{}", hex(&Sha256::digest(request.body)));
    out
}

/// Segments that mean nothing are left out, and what is escaped already is escaped again.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    let mut normal = format!("/{}", segments.join("/"));
    if normal.len() > 1 && ["/", "/.", "/.."].iter().any(|end| path.ends_with(end)) {
        normal.push('/');
    }
    utf8_percent_encode(&normal, RESERVED_IN_PATH).to_string()
}

fn canonical_query(query: &str) -> String {
    let encode = |text: &str| {
        let plain: Cow<'_, [u8]> = percent_decode_str(text).into();
        percent_encoding::percent_encode(&plain, RESERVED).to_string()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encode(key), encode(value))
        })
        .collect();
    pairs.sort();
    pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&")
}

/// Names in lower case and in their order, values without the whitespace that says nothing; several values of one name are one.
fn signed_headers(uri: &Uri, headers: &HeaderMap) -> Vec<(String, String)> {
    let wanted = |name: &HeaderName| *name == header::CONTENT_TYPE || name.as_str().starts_with("x-amz-");
    let mut signed: Vec<(String, String)> = headers
        .keys()
        .filter(|name| wanted(name))
        .map(|name| {
            let values = headers.get_all(name).iter().map(squeezed);
            (name.to_string(), values.collect::<Vec<_>>().join(","))
        })
        .collect();
    signed.push((header::HOST.to_string(), host(uri)));
    signed.sort();
    signed
}

fn squeezed(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// As the HTTP client writes it: the port only where it is not the usual one.
fn host(uri: &Uri) -> String {
    let usual = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    let name = uri.host().unwrap_or_default();
    match uri.port_u16().filter(|port| *port != usual) {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    }
}

// === Helpers ===

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    // A key of any length is taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// ISO 8601 without punctuation, in UTC. A time before 1970 is 1970.
fn timestamp(now: SystemTime) -> String {
    const DAY_SECONDS: u64 = 86_400;
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (year, month, day) = civil(seconds / DAY_SECONDS);
    let of_day = seconds % DAY_SECONDS;
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// Year, month and day of a number of days since 1970-01-01 in the Gregorian calendar, whose years begin with March here, so
/// that the leap day is the last (<https://howardhinnant.github.io/date_algorithms.html#civil_from_days>).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Neither the secret nor the token is printed.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("access_key", &self.access_key)
            .field("region", &self.region)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// 2015-08-30 12:36:00 UTC, when all of AWS's vectors were signed.
    const THEN: u64 = 1_440_938_160;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn signer(service: &'static str, token: Option<&'static str>) -> Signer {
        Signer {
            access_key: "AKIDEXAMPLE".into(),
            secret_key: SecretString::from("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: token.map(HeaderValue::from_static),
            region: "us-east-1".into(),
            service,
        }
    }

    fn signature(headers: &HeaderMap) -> String {
        let value = headers[header::AUTHORIZATION].to_str().unwrap();
        value.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    /// AWS's published test suite (`aws-sig-v4-test-suite`): name, method, path and query, a header, body, signature.
    #[test]
    fn the_published_vectors_are_signed_alike() {
        const FORM: &str = "application/x-www-form-urlencoded";
        for (name, method, target, content_type, body, expected) in [
            ("get-vanilla", "GET", "/", "", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("post-vanilla", "POST", "/", "", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            (
                "get-vanilla-query-order-key-case",
                "GET",
                "/?Param2=value2&Param1=value1",
                "",
                "",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "get-slash-dot-slash",
                "GET",
                "/./",
                "",
                "",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "get-relative",
                "GET",
                "/example/..",
                "",
                "",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "post-x-www-form-urlencoded",
                "POST",
                "/",
                FORM,
                "Param1=value1",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ] {
            let uri: Uri = format!("https://example.amazonaws.com{target}").parse().unwrap();
            let mut headers = HeaderMap::new();
            if !content_type.is_empty() {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let request = Unsigned { method: &method, uri: &uri, body: body.as_bytes() };
            signer("service", None).sign(&request, &mut headers, at(THEN));
            assert_eq!(headers[DATE], "20150830T123600Z");
            assert_eq!(signature(&headers), expected, "{name}");
        }
    }

    /// `post-sts-header-before` of the same suite, and the example of the IAM documentation.
    #[test]
    fn bdk_sigv4_clock_skew_session_token_refresh() {
        const TOKEN_OF_VECTOR: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
        let uri: Uri = "https://example.amazonaws.com/".parse().unwrap();
        let request = Unsigned { method: &Method::POST, uri: &uri, body: b"" };
        let signed = |token, now| {
            let mut headers = HeaderMap::new();
            signer("service", token).sign(&request, &mut headers, now);
            headers
        };
        let headers = signed(Some(TOKEN_OF_VECTOR), at(THEN));
        assert_eq!(signature(&headers), "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead");
        assert!(
            headers[header::AUTHORIZATION]
                .to_str()
                .unwrap()
                .contains("SignedHeaders=host;x-amz-date;x-amz-security-token")
        );
        // The clock is an argument: a request that is sent again later is signed for that time, and with that token.
        let mut again = headers.clone();
        signer("service", Some("another")).sign(&request, &mut again, at(THEN + 86_400));
        assert_eq!(again[DATE], "20150831T123600Z");
        assert_eq!(again[TOKEN], "another");
        assert_eq!(again, signed(Some("another"), at(THEN + 86_400)), "nothing of the first signature is left");
        signer("service", None).sign(&request, &mut again, at(THEN));
        assert!(!again.contains_key(TOKEN), "a lasting identity has no token");

        let uri: Uri = "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08".parse().unwrap();
        let mut headers = HeaderMap::new();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, form);
        signer("iam", None).sign(&Unsigned { method: &Method::GET, uri: &uri, body: b"" }, &mut headers, at(THEN));
        assert_eq!(signature(&headers), "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
    }

    /// As AWS's own Python SDK signs them (botocore 1.44.5).
    #[test]
    fn calls_of_bedrock_are_signed_as_the_official_sdk_signs_them() {
        for (path, body, expected) in [
            (
                "amazon.nova-lite-v1%3A0/converse",
                r#"{"messages":[]}"#,
                "2a2d094e2f2c3db248bdf8159ce65eb6201190056141c69fd6ab42b2e7f527fe",
            ),
            (
                "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.x/converse-stream",
                "{}",
                "3597e8163bdde8addcd50c89715c95552ee5930c19be6154d82618ef04c80b32",
            ),
        ] {
            let uri: Uri = format!("https://bedrock-runtime.us-east-1.amazonaws.com/model/{path}").parse().unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
            let request = Unsigned { method: &Method::POST, uri: &uri, body: body.as_bytes() };
            signer("bedrock", None).sign(&request, &mut headers, at(THEN));
            assert_eq!(signature(&headers), expected, "{path}");
        }
    }

    /// A model's name is escaped in the URL, and once more in what is signed.
    #[test]
    fn a_path_is_escaped_once_more_than_it_is_sent() {
        for (path, expected) in [
            ("/model/amazon.nova-lite-v1%3A0/converse", "/model/amazon.nova-lite-v1%253A0/converse"),
            ("/", "/"),
            ("", "/"),
            ("//a/./b/../c/", "/a/c/"),
            ("/../..", "/"),
        ] {
            assert_eq!(canonical_path(path), expected);
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (THEN, "20150830T123600Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(timestamp(at(seconds)), text);
        }
        assert_eq!(timestamp(UNIX_EPOCH - Duration::from_secs(1)), "19700101T000000Z");
    }

    #[test]
    fn the_host_is_signed_as_it_is_sent_and_secrets_are_not_printed() {
        for (uri, expected) in [
            ("https://h:443/", "h"),
            ("http://h:80/", "h"),
            ("http://127.0.0.1:9/", "127.0.0.1:9"),
            ("https://h:80/", "h:80"),
        ] {
            assert_eq!(host(&uri.parse().unwrap()), expected);
        }
        assert!(!format!("{:?}", signer("s", Some("token-of-mine"))).contains("token-of-mine"));
        assert!(!format!("{:?}", signer("s", None)).contains("wJalr"));
    }
}
