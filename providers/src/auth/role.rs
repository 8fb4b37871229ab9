//! A role at AWS that an identity takes on: temporary keys from the Security Token Service, renewed like an access token.
//!
//! Source: <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>. Its answers are XML of a fixed form, of
//! which three elements count, whose values hold nothing that XML would escape.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Method, Uri, header};
use secrecy::SecretString;
use url::form_urlencoded;

use super::{AwsKeys, BadCredential, Credential};
use crate::transport::{Call, Timeouts};

/// What is asked for, and so what is granted: every role allows it, and a role taken on by another role no more.
const LIFE: Duration = Duration::from_hours(1);

/// A role, and what its account wants to be told.
#[derive(Clone, Debug)]
pub struct AwsRole {
    /// `arn:aws:iam::123456789012:role/name`
    pub arn: String,
    /// Under which name its account logs who has it.
    pub session_name: String,
    /// What the account agreed on with whoever may take the role.
    pub external_id: Option<String>,
    /// Who issues its keys; absent: AWS in the identity's region.
    pub endpoint: Option<String>,
    /// What its keys sign for: `bedrock`.
    pub service: &'static str,
}

/// A role with the identity that takes it on.
pub(super) struct Role {
    identity: Credential,
    region: String,
    service: &'static str,
    form: String,
}

impl Role {
    /// The role, and the URL of who is asked for it.
    pub(super) fn new(keys: AwsKeys, role: &AwsRole) -> Result<(Self, String), BadCredential> {
        let region = keys.region.clone();
        let issuer = role.endpoint.clone().unwrap_or_else(|| format!("https://sts.{region}.amazonaws.com"));
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", "AssumeRole").append_pair("Version", "2011-06-15");
        form.append_pair("RoleArn", &role.arn).append_pair("RoleSessionName", &role.session_name);
        form.append_pair("DurationSeconds", &LIFE.as_secs().to_string());
        if let Some(id) = &role.external_id {
            form.append_pair("ExternalId", id);
        }
        let identity = Credential::aws(keys, "sts")?;
        Ok((Self { identity, region, service: role.service, form: form.finish() }, issuer))
    }

    pub(super) fn call(&self, uri: &Uri, now: SystemTime, timeouts: Timeouts) -> Call {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let body = self.form.clone().into();
        let mut call = Call { method: Method::POST, uri: uri.clone(), headers, body, timeouts };
        self.identity.apply(&mut call, now);
        call
    }

    /// The role's keys, and how long they serve; or what is wrong with the answer.
    pub(super) fn granted(&self, body: &[u8]) -> Result<(Credential, Duration), &'static str> {
        let text = String::from_utf8_lossy(body);
        let secret = |name| element(&text, name).map(SecretString::from);
        let (Some(access_key), Some(secret_key), Some(session_token)) =
            (element(&text, "AccessKeyId"), secret("SecretAccessKey"), secret("SessionToken"))
        else {
            return Err("holds no keys of a role");
        };
        let keys = AwsKeys {
            access_key: access_key.to_owned(),
            secret_key,
            session_token: Some(session_token),
            region: self.region.clone(),
        };
        let credential = Credential::aws(keys, self.service).map_err(|_| "holds keys that no header can carry")?;
        Ok((credential, LIFE))
    }

    /// Why the role is refused, in the issuer's words.
    pub(super) fn refused(body: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(body);
        let code = element(&text, "Code")?;
        Some(format!("{code}: {}", element(&text, "Message").unwrap_or_default()))
    }

    pub(super) fn redact(&self, text: &str) -> String {
        self.identity.redact(text)
    }
}

/// What stands between an element's tags.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (value, _) = rest.split_once(&format!("</{name}>"))?;
    Some(value.trim()).filter(|value| !value.is_empty())
}
