//! Putting a credential on a request: one that a key holds, or one that it has to fetch first.

mod grant;
mod role;
mod sigv4;
mod token;

pub use grant::{Entra, Grant};
pub use role::AwsRole;
pub use token::Tokens;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderName, HeaderValue, header};
use secrecy::{ExposeSecret, SecretString};

use crate::Failure;
use crate::transport::Call;

/// Where a provider wants its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthScheme {
    /// `authorization: Bearer <key>`.
    Bearer,
    /// A header of its own, named in lower case: `x-api-key`, `api-key`.
    Header(&'static str),
    /// AWS Signature Version 4 for this service (`bedrock`): see [`Credential::aws`]. A plain key is sent as with `Bearer`, which
    /// is what AWS's own API keys are for.
    Sigv4(&'static str),
    /// No key is sent.
    None,
}

/// A key as a ready header, or what makes a signature; and where it belongs. Headers are marked sensitive: they are not printed
/// and not put into HTTP/2's header table.
#[derive(Clone, Debug)]
pub struct Credential {
    proof: Proof,
    places: Vec<(&'static str, String)>,
}

/// How a key lets itself in.
#[derive(Clone, Debug)]
pub enum Access {
    /// By what it holds.
    Held(Credential),
    /// By an access token, fetched and renewed when it is due.
    Fetched(Arc<Tokens>),
}

/// An identity at AWS.
#[derive(Clone)]
pub struct AwsKeys {
    pub access_key: String,
    pub secret_key: SecretString,
    /// Of a temporary identity.
    pub session_token: Option<SecretString>,
    /// `us-east-1`. Part of the signature, and of the host.
    pub region: String,
}

/// How a request shows whose it is.
#[derive(Clone, Debug)]
enum Proof {
    None,
    Header(HeaderName, HeaderValue),
    Aws(Box<sigv4::Signer>),
}

/// A key that no request can carry. Says nothing of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCredential {
    #[error("the key is empty")]
    Empty,
    #[error("the key holds a line break or another character that a header cannot carry")]
    Unprintable,
    #[error("auth_credentials: {0}")]
    GoogleFile(&'static str),
    #[error("who issues access tokens must be at a URL that begins with http:// or https://")]
    Issuer,
    #[error("{0} is empty, or holds a character that a URL cannot carry as it is")]
    Place(&'static str),
}

// === impl Access ===

impl Access {
    /// The credential as it is to be sent now. Waits, and can fail, only where a token has to be fetched.
    pub async fn credential(&self) -> Result<Cow<'_, Credential>, Box<Failure>> {
        match self {
            Self::Held(credential) => Ok(Cow::Borrowed(credential)),
            // In a box of its own: few keys have tokens, and every request carries the room for this.
            Self::Fetched(tokens) => Box::pin(tokens.credential()).await.map(Cow::Owned),
        }
    }

    /// A text without the key, should whoever wrote it have quoted it.
    pub fn redact(&self, text: &str) -> String {
        match self {
            Self::Held(credential) => credential.redact(text),
            Self::Fetched(tokens) => tokens.redact(text),
        }
    }
}

// === impl Credential ===

impl Credential {
    /// Fails on an empty key, and on line breaks, control characters and anything outside ASCII.
    pub fn new(key: &SecretString, scheme: AuthScheme) -> Result<Self, BadCredential> {
        let proof = match scheme {
            AuthScheme::Bearer | AuthScheme::Sigv4(_) => {
                Proof::Header(header::AUTHORIZATION, header_value("Bearer ", key)?)
            }
            AuthScheme::Header(name) => Proof::Header(HeaderName::from_static(name), header_value("", key)?),
            AuthScheme::None => Proof::None,
        };
        Ok(Self { proof, places: Vec::new() })
    }

    /// Signs requests to this service of AWS (`bedrock`), and fills the place `{region}` of a provider's URL.
    pub fn aws(keys: AwsKeys, service: &'static str) -> Result<Self, BadCredential> {
        let AwsKeys { access_key, secret_key, session_token, region } = keys;
        check(&access_key)?;
        check(secret_key.expose_secret())?;
        let session_token = session_token.map(|token| header_value("", &token)).transpose()?;
        let signer = sigv4::Signer { access_key, secret_key, session_token, region: region.clone(), service };
        Self { proof: Proof::Aws(Box::new(signer)), places: Vec::new() }.in_place("region", region)
    }

    /// The same credential, which fills the place `{name}` of its provider's URL: `region`, `project`. The value is a piece of a
    /// host name or of a path.
    pub fn in_place(mut self, name: &'static str, value: String) -> Result<Self, BadCredential> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if value.is_empty() || !value.bytes().all(is_plain) {
            return Err(BadCredential::Place(name));
        }
        self.places.push((name, value));
        Ok(self)
    }

    /// The text with this credential's places filled in.
    pub(crate) fn fill(&self, template: String) -> String {
        self.places.iter().fold(template, |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    /// A text without the key, should whoever wrote it have quoted it.
    pub fn redact(&self, text: &str) -> String {
        let without = |text: &str, secret: &str| text.replace(secret, "[key]");
        match &self.proof {
            Proof::None => text.to_owned(),
            Proof::Header(_, value) => {
                let key = value.to_str().unwrap_or_default();
                without(text, key.strip_prefix("Bearer ").unwrap_or(key))
            }
            Proof::Aws(signer) => {
                let text = without(text, signer.secret_key.expose_secret());
                let token = signer.session_token.as_ref().and_then(|token| token.to_str().ok());
                token.map_or(text.clone(), |token| without(&text, token))
            }
        }
    }

    /// Puts the key on a request, in place of whatever stood there; or signs the request as it is, which must be the last thing
    /// done to it. `now` is for signatures.
    pub fn apply(&self, call: &mut Call, now: SystemTime) {
        match &self.proof {
            Proof::None => {}
            Proof::Header(name, value) => {
                call.headers.insert(name.clone(), value.clone());
            }
            Proof::Aws(signer) => {
                let request = sigv4::Unsigned { method: &call.method, uri: &call.uri, body: &call.body };
                signer.sign(&request, &mut call.headers, now);
            }
        }
    }
}

fn check(key: &str) -> Result<(), BadCredential> {
    if key.is_empty() {
        return Err(BadCredential::Empty);
    }
    let is_printable = key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if is_printable { Ok(()) } else { Err(BadCredential::Unprintable) }
}

fn header_value(prefix: &str, key: &SecretString) -> Result<HeaderValue, BadCredential> {
    let key = key.expose_secret();
    check(key)?;
    let mut value = HeaderValue::try_from(format!("{prefix}{key}")).map_err(|_| BadCredential::Unprintable)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The secret is not printed.
impl fmt::Debug for AwsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsKeys")
            .field("access_key", &self.access_key)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;
    use crate::transport::Timeouts;

    fn applied(credential: &Credential) -> HeaderMap {
        let timeouts = Timeouts { first_byte: Duration::from_secs(1), idle: Duration::from_secs(1), total: None };
        let mut call = Call {
            method: http::Method::POST,
            uri: "https://bedrock-runtime.us-east-1.amazonaws.com/model/m/converse".parse().unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"{}"),
            timeouts,
        };
        credential.apply(&mut call, UNIX_EPOCH);
        call.headers
    }

    #[test]
    fn each_scheme_has_its_header_and_no_scheme_prints_the_key() {
        let key = SecretString::from("sk-secret");
        for (scheme, name, value) in [
            (AuthScheme::Bearer, "authorization", "Bearer sk-secret"),
            (AuthScheme::Header("x-api-key"), "x-api-key", "sk-secret"),
            (AuthScheme::Sigv4("bedrock"), "authorization", "Bearer sk-secret"),
        ] {
            let credential = Credential::new(&key, scheme).unwrap();
            let headers = applied(&credential);
            assert_eq!(headers.len(), 1);
            assert_eq!(headers[name], value);
            assert!(headers[name].is_sensitive());
            assert!(!format!("{credential:?} {headers:?}").contains("secret"));
            assert_eq!(credential.redact("bad key sk-secret."), "bad key [key].");
        }
        assert!(applied(&Credential::new(&key, AuthScheme::None).unwrap()).is_empty());
    }

    fn keys(secret: &str, token: Option<&str>, region: &str) -> AwsKeys {
        AwsKeys {
            access_key: "AKID".into(),
            secret_key: secret.into(),
            session_token: token.map(Into::into),
            region: region.into(),
        }
    }

    #[test]
    fn an_identity_at_aws_signs_and_says_its_region() {
        let credential = Credential::aws(keys("hush", Some("token"), "eu-west-1"), "bedrock").unwrap();
        let headers = applied(&credential);
        let authorization = headers["authorization"].to_str().unwrap();
        let start = "AWS4-HMAC-SHA256 Credential=AKID/19700101/eu-west-1/bedrock/aws4_request, \
                     SignedHeaders=host;x-amz-date;x-amz-security-token, Signature=";
        assert!(authorization.starts_with(start), "{authorization}");
        assert!(headers["authorization"].is_sensitive() && headers["x-amz-security-token"].is_sensitive());
        assert_eq!(credential.fill("https://x.{region}.amazonaws.com".into()), "https://x.eu-west-1.amazonaws.com");
        assert_eq!(credential.redact("hush, token"), "[key], [key]");
        assert!(!format!("{credential:?}").contains("hush"));
        for (bad, why) in [
            (keys("", None, "r"), BadCredential::Empty),
            (keys("a\nb", None, "r"), BadCredential::Unprintable),
            (keys("a", Some(""), "r"), BadCredential::Empty),
            (keys("a", None, ""), BadCredential::Place("region")),
            (keys("a", None, "evil.example/#"), BadCredential::Place("region")),
        ] {
            assert_eq!(Credential::aws(bad, "bedrock").unwrap_err(), why);
        }
    }

    #[test]
    fn keys_that_would_break_the_header_are_refused_without_an_echo() {
        for key in ["", "sk\r\nx-evil: 1", "sk\n", "sk\0", "sk\t", "schlüssel"] {
            let error = Credential::new(&SecretString::from(key), AuthScheme::Bearer).unwrap_err();
            assert!(!error.to_string().contains("sk"), "{error}");
        }
    }
}
