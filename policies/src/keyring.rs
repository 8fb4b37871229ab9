//! From a credential to a principal.
//!
//! The values of virtual keys are hashed when they are put in and never kept, so no dump, log or debugger of this process
//! shows one. The hashes are keyed with numbers that this process has drawn for itself, so the timing of a lookup tells an
//! attacker nothing about a value.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use foldhash::HashMap;

use crate::denied::Denied;
use crate::principal::Principal;

/// What generated virtual keys start with. In a header that may as well hold a provider's key, this marks a virtual key.
const GENERATED_PREFIX: &str = "sk-bf-";

/// Every virtual key, by the [`Digest`] of its value.
#[derive(Clone, Default)]
pub struct Keyring {
    principals: HashMap<Digest, Arc<Principal>>,
    keys: [RandomState; 2],
}

/// Two `SipHash`es of a value, each under a key of its own: 128 bits that nobody outside this process can work out, and that
/// are made in a tenth of the time of a SHA-256.
type Digest = [u64; 2];

/// The credentials of one request, as its headers hold them; `bearer` without the word `Bearer`.
#[derive(Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// `x-bf-vk`: always a virtual key.
    pub vk_header: Option<&'a str>,
    /// `Authorization: Bearer …`
    pub bearer: Option<&'a str>,
    /// The access key of `Authorization: AWS4-HMAC-SHA256 Credential=…`, as AWS's SDKs sign. It names a virtual key or nobody:
    /// only who knows the secret beside it could check the signature.
    pub access_key: Option<&'a str>,
    /// `x-api-key`, as Anthropic's SDKs send it.
    pub x_api_key: Option<&'a str>,
    /// `api-key`, as Azure's SDKs send it.
    pub api_key: Option<&'a str>,
    /// `x-goog-api-key`, as Google's SDKs send it.
    pub x_goog_api_key: Option<&'a str>,
}

/// Who is asking. `None`: nobody in particular, which is fine unless `enforce`.
///
/// `x-bf-vk` holds a virtual key whatever it looks like. The other headers hold one if the keyring knows the value or if it
/// starts with `sk-bf-`; any other value there is left alone, because SDKs insist on sending some key.
///
/// # Errors
/// [`Denied::ConflictingCredentials`] for two different virtual keys, [`Denied::VirtualKeyRequired`] for none at all under
/// `enforce`, and whatever [`Keyring::find`] says.
pub fn identify(
    credentials: &Credentials<'_>,
    enforce: bool,
    keyring: &Keyring,
) -> Result<Option<Arc<Principal>>, Denied> {
    let mut claim: Option<&str> = None;
    for value in credentials.virtual_keys(keyring) {
        if claim.is_some_and(|earlier| earlier != value) {
            return Err(Denied::ConflictingCredentials);
        }
        claim = Some(value);
    }
    match claim {
        Some(value) => keyring.find(value).map(Some),
        None if enforce => Err(Denied::VirtualKeyRequired),
        None => Ok(None),
    }
}

// === impl Keyring ===

impl Keyring {
    /// Adds a virtual key. `false`, and nothing is changed, if the value already belongs to somebody.
    #[must_use]
    pub fn insert(&mut self, value: &str, principal: Arc<Principal>) -> bool {
        let digest = self.digest(value);
        let free = !self.principals.contains_key(&digest);
        if free {
            self.principals.insert(digest, principal);
        }
        free
    }

    /// The principal that holds this virtual key.
    ///
    /// # Errors
    /// [`Denied::VirtualKeyNotFound`] for a value that nobody issued, [`Denied::VirtualKeyBlocked`] for an inactive one.
    pub fn find(&self, value: &str) -> Result<Arc<Principal>, Denied> {
        let principal = self.principals.get(&self.digest(value)).ok_or(Denied::VirtualKeyNotFound)?;
        if !principal.is_active {
            return Err(Denied::VirtualKeyBlocked { reason: "it is not active" });
        }
        Ok(Arc::clone(principal))
    }

    /// How many virtual keys there are.
    pub fn len(&self) -> usize {
        self.principals.len()
    }

    /// Whether there is no virtual key at all.
    pub fn is_empty(&self) -> bool {
        self.principals.is_empty()
    }

    /// Whether a value from a header of many uses is a virtual key. Without any key there is nothing worth hashing for.
    fn claims(&self, value: &str) -> bool {
        value.starts_with(GENERATED_PREFIX) || (!self.is_empty() && self.principals.contains_key(&self.digest(value)))
    }

    fn digest(&self, value: &str) -> Digest {
        self.keys.each_ref().map(|key| key.hash_one(value))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("len", &self.len()).finish()
    }
}

// === impl Credentials ===

impl<'a> Credentials<'a> {
    /// A value that is no virtual key, for callers who may bring a provider's own: the first there is.
    pub fn brought(&self, keyring: &Keyring) -> Option<&'a str> {
        let all = [self.bearer, self.x_api_key, self.x_goog_api_key, self.api_key];
        all.into_iter().flatten().map(str::trim).find(|value| !value.is_empty() && !keyring.claims(value))
    }

    /// The values that are virtual keys. An empty header counts as absent: clients send one when a variable is unset.
    fn virtual_keys(&self, keyring: &Keyring) -> impl Iterator<Item = &'a str> {
        let certain = self.vk_header.into_iter();
        let authorized = self.bearer.or(self.access_key);
        let possible = [authorized, self.x_api_key, self.api_key, self.x_goog_api_key].into_iter().flatten();
        let trimmed = |value: &'a str| Some(value.trim()).filter(|value| !value.is_empty());
        certain.filter_map(trimmed).chain(possible.filter_map(trimmed).filter(|value| keyring.claims(value)))
    }
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = [self.vk_header, self.bearer, self.access_key, self.x_api_key, self.api_key, self.x_goog_api_key];
        f.debug_struct("Credentials").field("len", &held.iter().flatten().count()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Credentials<'_> = Credentials {
        vk_header: None,
        bearer: None,
        access_key: None,
        x_api_key: None,
        api_key: None,
        x_goog_api_key: None,
    };

    fn keyring() -> Keyring {
        let mut keyring = Keyring::default();
        for (value, name, is_active) in
            [("vk_12345", "old style", true), ("sk-bf-1", "generated", true), ("vk-off", "off", false)]
        {
            let principal = Principal { name: name.into(), is_active, ..Principal::default() };
            assert!(keyring.insert(value, Arc::new(principal)));
        }
        keyring
    }

    #[test]
    fn headers_name_a_principal_or_a_refusal() {
        let blocked = Denied::VirtualKeyBlocked { reason: "it is not active" };
        let table = [
            ("nothing", NONE, Ok(None)),
            ("x-bf-vk", Credentials { vk_header: Some("vk_12345"), ..NONE }, Ok(Some("old style"))),
            ("spaces around it", Credentials { vk_header: Some(" vk_12345 "), ..NONE }, Ok(Some("old style"))),
            ("x-bf-vk, unknown", Credentials { vk_header: Some("whatever"), ..NONE }, Err(Denied::VirtualKeyNotFound)),
            (
                "x-bf-vk, case matters",
                Credentials { vk_header: Some("VK_12345"), ..NONE },
                Err(Denied::VirtualKeyNotFound),
            ),
            ("x-bf-vk, empty", Credentials { vk_header: Some(""), ..NONE }, Ok(None)),
            ("inactive", Credentials { vk_header: Some("vk-off"), ..NONE }, Err(blocked.clone())),
            ("bearer, generated", Credentials { bearer: Some("sk-bf-1"), ..NONE }, Ok(Some("generated"))),
            ("bearer, old style", Credentials { bearer: Some("vk_12345"), ..NONE }, Ok(Some("old style"))),
            ("bearer, inactive", Credentials { bearer: Some("vk-off"), ..NONE }, Err(blocked)),
            (
                "bearer, looks generated",
                Credentials { bearer: Some("sk-bf-2"), ..NONE },
                Err(Denied::VirtualKeyNotFound),
            ),
            ("bearer, an SDK's dummy", Credentials { bearer: Some("sk-dummy"), ..NONE }, Ok(None)),
            ("access key", Credentials { access_key: Some("vk_12345"), ..NONE }, Ok(Some("old style"))),
            ("access key, AWS's own", Credentials { access_key: Some("AKIAIOSFODNN7EXAMPLE"), ..NONE }, Ok(None)),
            ("x-api-key", Credentials { x_api_key: Some("sk-bf-1"), ..NONE }, Ok(Some("generated"))),
            ("api-key", Credentials { api_key: Some("sk-bf-1"), ..NONE }, Ok(Some("generated"))),
            ("x-goog-api-key", Credentials { x_goog_api_key: Some("sk-bf-1"), ..NONE }, Ok(Some("generated"))),
            (
                "a virtual key and an SDK's dummy",
                Credentials { vk_header: Some("vk_12345"), bearer: Some("sk-dummy"), ..NONE },
                Ok(Some("old style")),
            ),
            (
                "the same twice",
                Credentials { vk_header: Some("sk-bf-1"), bearer: Some("sk-bf-1"), ..NONE },
                Ok(Some("generated")),
            ),
            (
                "two different ones",
                Credentials { vk_header: Some("vk_12345"), x_api_key: Some("sk-bf-1"), ..NONE },
                Err(Denied::ConflictingCredentials),
            ),
            (
                "two different ones, one of them unknown",
                Credentials { vk_header: Some("nobody"), bearer: Some("vk_12345"), ..NONE },
                Err(Denied::ConflictingCredentials),
            ),
        ];
        let keyring = keyring();
        for (what, credentials, expected) in table {
            let found = identify(&credentials, false, &keyring);
            let name = found.clone().map(|principal| principal.map(|principal| principal.name.clone()));
            assert_eq!(name, expected.map(|name| name.map(str::to_owned)), "{what}");
            let enforced = identify(&credentials, true, &keyring);
            let wanted = if found == Ok(None) { Err(Denied::VirtualKeyRequired) } else { found };
            assert_eq!(enforced, wanted, "enforced: {what}");
        }
    }

    /// A virtual key never goes to a provider, whatever header it came in.
    #[test]
    fn what_is_no_virtual_key_may_be_a_providers() {
        let keyring = keyring();
        for (credentials, brought) in [
            (NONE, None),
            (Credentials { bearer: Some("sk-own"), ..NONE }, Some("sk-own")),
            (Credentials { x_goog_api_key: Some(" AIza "), ..NONE }, Some("AIza")),
            (Credentials { vk_header: Some("sk-own"), ..NONE }, None),
            (Credentials { access_key: Some("AKIAIOSFODNN7EXAMPLE"), ..NONE }, None),
            (Credentials { bearer: Some("sk-bf-1"), x_api_key: Some("sk-own"), ..NONE }, Some("sk-own")),
            (Credentials { bearer: Some("sk-bf-unknown"), api_key: Some("vk_12345"), ..NONE }, None),
            (Credentials { bearer: Some(""), ..NONE }, None),
        ] {
            assert_eq!(credentials.brought(&keyring), brought, "{:?}", credentials.bearer);
        }
    }

    #[test]
    fn a_value_belongs_to_one_principal() {
        let mut keyring = keyring();
        assert!(!keyring.insert("vk_12345", Arc::new(Principal { name: "thief".into(), ..Principal::default() })));
        assert_eq!(keyring.find("vk_12345").unwrap().name, "old style");
        assert_eq!(keyring.len(), 3);
    }

    #[test]
    fn debug_shows_no_value() {
        let credentials = Credentials { vk_header: Some("vk_12345"), bearer: Some("sk-bf-1"), ..NONE };
        let text = format!("{:?} {credentials:?}", keyring());
        assert_eq!(text, "Keyring { len: 3 } Credentials { len: 2 }");
    }
}
