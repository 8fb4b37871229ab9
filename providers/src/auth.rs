//! Putting a credential on a request.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use secrecy::{ExposeSecret, SecretString};

/// Where a provider wants its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthScheme {
    /// `authorization: Bearer <key>`.
    Bearer,
    /// A header of its own, named in lower case: `x-api-key`, `api-key`.
    Header(&'static str),
    /// No key is sent.
    None,
}

/// A key as a ready header, marked sensitive: it is not printed and not put into HTTP/2's header table.
#[derive(Clone, Debug)]
pub struct Credential(Option<(HeaderName, HeaderValue)>);

/// A key that no header can carry. Says nothing of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCredential {
    #[error("the key is empty")]
    Empty,
    #[error("the key holds a line break or another character that a header cannot carry")]
    Unprintable,
}

impl Credential {
    /// Fails on an empty key, and on line breaks, control characters and anything outside ASCII.
    pub fn new(key: &SecretString, scheme: AuthScheme) -> Result<Self, BadCredential> {
        let (name, prefix) = match scheme {
            AuthScheme::Bearer => (header::AUTHORIZATION, "Bearer "),
            AuthScheme::Header(name) => (HeaderName::from_static(name), ""),
            AuthScheme::None => return Ok(Self(None)),
        };
        let key = key.expose_secret();
        if key.is_empty() {
            return Err(BadCredential::Empty);
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            return Err(BadCredential::Unprintable);
        }
        let mut value = HeaderValue::try_from(format!("{prefix}{key}")).map_err(|_| BadCredential::Unprintable)?;
        value.set_sensitive(true);
        Ok(Self(Some((name, value))))
    }

    /// A text without the key, should whoever wrote it have quoted it.
    pub fn redact(&self, text: &str) -> String {
        let value = self.0.as_ref().and_then(|(_, value)| value.to_str().ok());
        match value.map(|value| value.strip_prefix("Bearer ").unwrap_or(value)) {
            Some(key) => text.replace(key, "[key]"),
            None => text.to_owned(),
        }
    }

    /// Puts the key on a request, in place of whatever stood there.
    pub fn apply(&self, headers: &mut HeaderMap) {
        if let Some((name, value)) = &self.0 {
            headers.insert(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_has_its_header_and_no_scheme_prints_the_key() {
        let key = SecretString::from("sk-secret");
        for (scheme, name, value) in [
            (AuthScheme::Bearer, "authorization", "Bearer sk-secret"),
            (AuthScheme::Header("x-api-key"), "x-api-key", "sk-secret"),
        ] {
            let credential = Credential::new(&key, scheme).unwrap();
            let mut headers = HeaderMap::new();
            credential.apply(&mut headers);
            assert_eq!(headers.len(), 1);
            assert_eq!(headers[name], value);
            assert!(headers[name].is_sensitive());
            assert!(!format!("{credential:?} {headers:?}").contains("secret"));
            assert_eq!(credential.redact("bad key sk-secret."), "bad key [key].");
        }
        let mut headers = HeaderMap::new();
        Credential::new(&key, AuthScheme::None).unwrap().apply(&mut headers);
        assert!(headers.is_empty());
    }

    #[test]
    fn keys_that_would_break_the_header_are_refused_without_an_echo() {
        for key in ["", "sk\r\nx-evil: 1", "sk\n", "sk\0", "sk\t", "schlüssel"] {
            let error = Credential::new(&SecretString::from(key), AuthScheme::Bearer).unwrap_err();
            assert!(!error.to_string().contains("sk"), "{error}");
        }
    }
}
