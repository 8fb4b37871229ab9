//! What is said to an issuer of access tokens: an application's secret, a signed claim, or nothing but where one runs.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use super::role::Role;
use super::token::hide;
use super::{AuthScheme, AwsKeys, AwsRole, BadCredential, Credential};
use crate::Failure;
use crate::failure::FailureKind;
use crate::transport::{Call, Timeouts};

/// Where Entra ID issues tokens, outside sovereign clouds.
const ENTRA_AUTHORITY: &str = "https://login.microsoftonline.com";
/// Azure's model services, with whatever rights the application has there.
const ENTRA_SCOPE: &str = "https://cognitiveservices.azure.com/.default";
const GOOGLE_SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const GOOGLE_TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// How long a signed claim may be used; Google allows no more.
const CLAIM_LIFE: Duration = Duration::from_hours(1);
/// Where the answer does not say how long the token lives (RFC 6749, 5.1 recommends that it does).
const USUAL_LIFE: u64 = 3600;

/// An account, and how it asks for an access token.
pub struct Grant {
    uri: Uri,
    ask: Ask,
}

enum Ask {
    /// Fields of a form, the secret ones among them.
    Form(Vec<(&'static str, SecretString)>),
    /// A claim signed with a service account's key (RFC 7523).
    Claim(Box<ServiceAccount>),
    /// The metadata server of the machine that this runs on.
    Metadata,
    /// A role at AWS.
    Role(Box<Role>),
}

struct ServiceAccount {
    email: String,
    key_id: Option<String>,
    key: RsaKeyPair,
    audience: String,
}

/// An application's own login at Microsoft Entra ID
/// (<https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>).
#[derive(Clone, Debug)]
pub struct Entra {
    /// Who issues tokens; absent: `https://login.microsoftonline.com`.
    pub authority: Option<String>,
    pub tenant: String,
    pub client_id: String,
    pub client_secret: SecretString,
    /// What the token is for; empty: Azure's model services.
    pub scopes: Vec<String>,
}

/// The two kinds of Google's credential files, by the fields that count.
#[derive(Deserialize)]
struct GoogleFile {
    r#type: String,
    token_uri: Option<String>,
    client_email: Option<String>,
    private_key_id: Option<String>,
    private_key: Option<SecretString>,
    client_id: Option<SecretString>,
    client_secret: Option<SecretString>,
    refresh_token: Option<SecretString>,
}

/// RFC 6749, 5.1, and so everyone.
#[derive(Deserialize)]
struct Granted {
    access_token: SecretString,
    expires_in: Option<u64>,
}

/// RFC 6749, 5.2.
#[derive(Deserialize)]
struct Refused {
    error: String,
    error_description: Option<String>,
}

#[derive(Serialize)]
struct JoseHeader<'a> {
    alg: &'static str,
    typ: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'static str,
    aud: &'a str,
    iat: u64,
    exp: u64,
}

// === impl Grant ===

impl Grant {
    /// Entra ID, by client credentials.
    pub fn entra(entra: &Entra) -> Result<Self, BadCredential> {
        let authority = entra.authority.as_deref().unwrap_or(ENTRA_AUTHORITY).trim_end_matches('/');
        let tenant: String = form_urlencoded::byte_serialize(entra.tenant.as_bytes()).collect();
        let scope = if entra.scopes.is_empty() { ENTRA_SCOPE.to_owned() } else { entra.scopes.join(" ") };
        let fields = vec![
            ("grant_type", "client_credentials".into()),
            ("client_id", entra.client_id.as_str().into()),
            ("client_secret", entra.client_secret.clone()),
            ("scope", scope.into()),
        ];
        Ok(Self { uri: uri(&format!("{authority}/{tenant}/oauth2/v2.0/token"))?, ask: Ask::Form(fields) })
    }

    /// Google, by a service account's key file or by what `gcloud auth application-default login` writes.
    pub fn google_file(json: &SecretString) -> Result<Self, BadCredential> {
        let file: GoogleFile =
            serde_json::from_str(json.expose_secret()).map_err(|_| BadCredential::GoogleFile("it is not its JSON"))?;
        let missing = |field| BadCredential::GoogleFile(field);
        let token_uri = file.token_uri.unwrap_or_else(|| GOOGLE_TOKEN_URI.to_owned());
        let ask = match file.r#type.as_str() {
            "service_account" => Ask::Claim(Box::new(ServiceAccount {
                email: file.client_email.ok_or(missing("client_email is missing"))?,
                key_id: file.private_key_id,
                key: rsa_key(&file.private_key.ok_or(missing("private_key is missing"))?)?,
                audience: token_uri.clone(),
            })),
            "authorized_user" => Ask::Form(vec![
                ("grant_type", "refresh_token".into()),
                ("client_id", file.client_id.ok_or(missing("client_id is missing"))?),
                ("client_secret", file.client_secret.ok_or(missing("client_secret is missing"))?),
                ("refresh_token", file.refresh_token.ok_or(missing("refresh_token is missing"))?),
            ]),
            _ => return Err(missing("its type is neither service_account nor authorized_user")),
        };
        Ok(Self { uri: uri(&token_uri)?, ask })
    }

    /// Google, by the metadata server of the machine that this runs on
    /// (<https://cloud.google.com/compute/docs/access/authenticate-workloads#applications>).
    pub fn google_metadata(host: &str) -> Result<Self, BadCredential> {
        let path = "computeMetadata/v1/instance/service-accounts/default/token";
        Ok(Self { uri: uri(&format!("http://{host}/{path}?scopes={GOOGLE_SCOPE}"))?, ask: Ask::Metadata })
    }

    /// A role at AWS, taken on by this identity.
    pub fn aws_role(keys: AwsKeys, role: &AwsRole) -> Result<Self, BadCredential> {
        let (role, issuer) = Role::new(keys, role)?;
        Ok(Self { uri: uri(&format!("{}/", issuer.trim_end_matches('/')))?, ask: Ask::Role(Box::new(role)) })
    }

    /// Who is asked.
    pub(super) fn issuer(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    /// The request for a token. Fails only where a claim cannot be signed.
    pub(super) fn call(&self, now: SystemTime, timeouts: Timeouts) -> Result<Call, Box<Failure>> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let body = match &self.ask {
            Ask::Metadata => {
                headers.insert("metadata-flavor", HeaderValue::from_static("Google"));
                return Ok(Call { method: Method::GET, uri: self.uri.clone(), headers, body: Bytes::new(), timeouts });
            }
            Ask::Role(role) => return Ok(role.call(&self.uri, now, timeouts)),
            Ask::Form(fields) => form(fields.iter().map(|(name, value)| (*name, value.expose_secret()))),
            Ask::Claim(account) => {
                let claim = account.claim(now)?;
                let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
                form([grant, ("assertion", claim.as_str())].into_iter())
            }
        };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        Ok(Call { method: Method::POST, uri: self.uri.clone(), headers, body, timeouts })
    }

    /// What an answer grants, and for how long; or what is wrong with it.
    pub(super) fn granted(&self, body: &[u8]) -> Result<(Credential, Duration), &'static str> {
        if let Ask::Role(role) = &self.ask {
            return role.granted(body);
        }
        let granted: Granted = serde_json::from_slice(body).map_err(|_| "holds no access token")?;
        let credential = Credential::new(&granted.access_token, AuthScheme::Bearer)
            .map_err(|_| "holds a token that no header can carry")?;
        Ok((credential, Duration::from_secs(granted.expires_in.unwrap_or(USUAL_LIFE))))
    }

    /// Why it is refused, in the issuer's words.
    pub(super) fn refused(&self, body: &[u8]) -> Option<String> {
        if let Ask::Role(_) = &self.ask {
            return Role::refused(body);
        }
        let Refused { error, error_description } = serde_json::from_slice(body).ok()?;
        let why = error_description.as_deref().and_then(|why| why.lines().next());
        Some(why.map_or(error.clone(), |why| format!("{error}: {why}")))
    }

    /// A text without the account's secrets. Names of grants and scopes are none, but hiding them harms nobody.
    pub(super) fn redact(&self, text: &str) -> String {
        let fields = match &self.ask {
            Ask::Form(fields) => fields,
            Ask::Role(role) => return role.redact(text),
            Ask::Claim(_) | Ask::Metadata => return text.to_owned(),
        };
        let secrets = fields.iter().filter(|(name, _)| name.contains("secret") || name.contains("token"));
        secrets.fold(text.to_owned(), |text, (_, secret)| hide(&text, secret))
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("issuer", &self.issuer()).finish_non_exhaustive()
    }
}

// === impl ServiceAccount ===

impl ServiceAccount {
    /// A JSON Web Token that says who asks (<https://developers.google.com/identity/protocols/oauth2/service-account>).
    fn claim(&self, now: SystemTime) -> Result<String, Box<Failure>> {
        let unsigned = || Box::new(Failure::new(FailureKind::Credential, "the claim could not be signed"));
        let iat = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let head = JoseHeader { alg: "RS256", typ: "JWT", kid: self.key_id.as_deref() };
        let exp = iat + CLAIM_LIFE.as_secs();
        let claims = Claims { iss: &self.email, scope: GOOGLE_SCOPE, aud: &self.audience, iat, exp };
        let part = |json: serde_json::Result<Vec<u8>>| json.map(|json| URL_SAFE_NO_PAD.encode(json));
        let (Ok(head), Ok(claims)) = (part(serde_json::to_vec(&head)), part(serde_json::to_vec(&claims))) else {
            return Err(unsigned());
        };
        let said = format!("{head}.{claims}");
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), said.as_bytes(), &mut signature)
            .map_err(|_| unsigned())?;
        Ok(format!("{said}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn rsa_key(pem: &SecretString) -> Result<RsaKeyPair, BadCredential> {
    let bad = || BadCredential::GoogleFile("private_key is no RSA key in PEM");
    let key = match PrivateKeyDer::from_pem_slice(pem.expose_secret().as_bytes()).map_err(|_| bad())? {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(PrivatePkcs8KeyDer::secret_pkcs8_der(&der)),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(PrivatePkcs1KeyDer::secret_pkcs1_der(&der)),
        _ => return Err(bad()),
    };
    key.map_err(|_| bad())
}

fn form<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Bytes {
    Bytes::from(form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish())
}

fn uri(text: &str) -> Result<Uri, BadCredential> {
    let uri: Uri = text.parse().map_err(|_| BadCredential::Issuer)?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err(BadCredential::Issuer),
    }
}
