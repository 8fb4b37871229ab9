//! Access tokens: fetched when first needed and renewed ahead of their end, by one request while the others go on.
//!
//! What is asked for, and how, is a [`Grant`]; the request goes over the provider's own [`Transport`], so that its proxy, its
//! certificates and its address rule hold here too.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use super::{Credential, Grant};
use crate::Failure;
use crate::failure::FailureKind;
use crate::transport::{Answer, Timeouts, Transport};

/// A token is renewed when it has so long left. Google's metadata server hands out the old one until five minutes before its
/// end, and its own libraries ask at 3:45 (<https://cloud.google.com/compute/docs/access/authenticate-workloads>).
const AHEAD: Duration = Duration::from_secs(225);
/// Of a short-lived token, the part of its life at whose beginning it is renewed.
const AHEAD_OF_SHORT: u32 = 4;
/// A token is not used in its last seconds: it has to outlive the way to the provider.
const SPENT: Duration = Duration::from_secs(10);
/// After a renewal that failed, while the old token still serves.
const AGAIN: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(10);
/// Real answers have a few kilobytes.
const MAX_ANSWER_BYTES: usize = 256 << 10;

/// The access tokens of one account.
pub struct Tokens {
    grant: Grant,
    transport: Arc<Transport>,
    held: Mutex<Held>,
    /// Held by whoever fetches.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Held {
    token: Option<Token>,
    /// The latest fetch that failed, and when it ended.
    failed: Option<(Instant, Box<Failure>)>,
}

#[derive(Clone)]
struct Token {
    credential: Credential,
    due: Instant,
    spent: Instant,
}

// === impl Tokens ===

impl Tokens {
    /// Nothing is fetched yet.
    pub fn new(grant: Grant, transport: Arc<Transport>) -> Self {
        Self { grant, transport, held: Mutex::default(), turn: tokio::sync::Mutex::new(()) }
    }

    /// The token as it is to be sent now. Waits only where there is none, and then everybody waits for one fetch.
    ///
    /// Failures name the issuer: `Credential` where it refuses the account, otherwise what the transport says.
    pub async fn credential(&self) -> Result<Credential, Box<Failure>> {
        let asked = Instant::now();
        if let Some(token) = self.token(asked) {
            if asked < token.due {
                return Ok(token.credential);
            }
            // One renews it; the others go on with what is still good.
            let Ok(_turn) = self.turn.try_lock() else { return Ok(token.credential) };
            return Ok(self.renewed().await.unwrap_or(token.credential));
        }
        let _turn = self.turn.lock().await;
        // Whoever had the turn before may have brought a token, or the answer that there is none.
        if let Some(token) = self.token(Instant::now()) {
            return Ok(token.credential);
        }
        if let Some(failure) = self.failed_since(asked) {
            return Err(failure);
        }
        self.renewed().await
    }

    /// A text without the account's secrets, should whoever wrote it have quoted one.
    pub fn redact(&self, text: &str) -> String {
        let text = self.grant.redact(text);
        self.held.lock().token.as_ref().map_or_else(|| text.clone(), |token| token.credential.redact(&text))
    }

    fn token(&self, now: Instant) -> Option<Token> {
        self.held.lock().token.clone().filter(|token| now < token.spent)
    }

    fn failed_since(&self, asked: Instant) -> Option<Box<Failure>> {
        self.held.lock().failed.as_ref().filter(|(at, _)| *at >= asked).map(|(_, failure)| failure.clone())
    }

    async fn renewed(&self) -> Result<Credential, Box<Failure>> {
        let fetched = self.fetch().await;
        let now = Instant::now();
        let mut held = self.held.lock();
        match fetched {
            Ok((credential, life)) => {
                let ahead = AHEAD.min(life / AHEAD_OF_SHORT);
                let spent = now + life.saturating_sub(SPENT);
                held.token = Some(Token { credential: credential.clone(), due: now + life - ahead, spent });
                held.failed = None;
                Ok(credential)
            }
            Err(mut failure) => {
                failure.message = format!("no access token from {}: {}", self.grant.issuer(), failure.message);
                held.failed = Some((now, failure.clone()));
                if let Some(token) = held.token.as_mut().filter(|token| now < token.spent) {
                    token.due = now + AGAIN;
                    tracing::warn!(%failure, "an access token could not be renewed; the old one still serves");
                }
                Err(failure)
            }
        }
    }

    async fn fetch(&self) -> Result<(Credential, Duration), Box<Failure>> {
        let timeouts = Timeouts { first_byte: PATIENCE, idle: PATIENCE, total: None };
        let call = self.grant.call(SystemTime::now(), timeouts)?;
        let Answer { status, body, .. } = self.transport.send(call).await?;
        let body = body.collect(MAX_ANSWER_BYTES).await?;
        if !status.is_success() {
            return Err(self.refusal(status, &body));
        }
        let unreadable = |what| Box::new(Failure::new(FailureKind::Unreadable, format!("the answer {what}")));
        self.grant.granted(&body).map_err(unreadable)
    }

    /// The issuer's own words, without what it may quote of the account.
    fn refusal(&self, status: http::StatusCode, body: &[u8]) -> Box<Failure> {
        let kind = match status.as_u16() {
            429 => FailureKind::RateLimited,
            400..=499 => FailureKind::Credential,
            500..=599 => FailureKind::Unavailable,
            _ => FailureKind::Unreadable,
        };
        let words = self.grant.refused(body).unwrap_or_else(|| "no reason given".to_owned());
        Box::new(Failure::new(kind, self.grant.redact(&format!("status {status}: {words}"))))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("issuer", &self.grant.issuer()).finish_non_exhaustive()
    }
}

/// Never empty: a token that is a secret is replaced wherever it is quoted.
pub(super) fn hide(text: &str, secret: &SecretString) -> String {
    match secret.expose_secret() {
        "" => text.to_owned(),
        secret => text.replace(secret, "[secret]"),
    }
}
