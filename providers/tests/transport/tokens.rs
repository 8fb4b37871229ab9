//! Access tokens: what is said to their issuers, and how often.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bifrost_providers::auth::{Access, BadCredential, Entra, Grant, Tokens};
use bifrost_providers::failure::FailureKind;
use futures::future::join_all;
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::{expect, transport};

/// Made for these tests, and good for nothing else.
const KEY_PEM: &str = include_str!("service-account.key.pem");

/// Answers one connection after the other, each by the text of its request, and remembers them.
struct Issuer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Issuer {
    /// The answer gets the number of the request, from 1, and gives status and body.
    fn start(answer: impl Fn(usize) -> (u16, Value) + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let record = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = String::new();
                while !is_whole(&request) {
                    let mut buffer = [0; 4096];
                    let count = stream.read(&mut buffer).unwrap();
                    request.push_str(std::str::from_utf8(buffer.get(..count).unwrap()).unwrap());
                }
                record.lock().unwrap().push(request);
                let (status, body) = answer(record.lock().unwrap().len());
                let body = body.to_string();
                let head =
                    format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).unwrap();
            }
        });
        Self { address, seen }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn entra(&self, secret: &str) -> Tokens {
        let entra = Entra {
            authority: Some(self.url()),
            tenant: "tenant/1".into(),
            client_id: "app".into(),
            client_secret: secret.into(),
            scopes: vec![],
        };
        Tokens::new(Grant::entra(&entra).unwrap(), Arc::new(transport()))
    }
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn granted(token: &str, seconds: u64) -> (u16, Value) {
    (200, json!({"access_token": token, "token_type": "Bearer", "expires_in": seconds}))
}

/// Lets so much time pass for the clock that tokens are measured by.
async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// The token as a request would carry it.
async fn token(tokens: &Tokens) -> Result<String, Box<bifrost_providers::Failure>> {
    let credential = tokens.credential().await?;
    // A credential prints nothing; what it hides tells what it holds.
    let hidden = (1..10).map(|number| format!("token-{number}")).find(|text| credential.redact(text) != *text);
    Ok(hidden.unwrap_or_default())
}

#[tokio::test]
async fn many_requests_wait_for_one_token_and_then_share_it() {
    let issuer = Issuer::start(|number| granted(&format!("token-{number}"), 3600));
    let tokens = issuer.entra("hush");
    let all = join_all((0..50).map(|_| token(&tokens))).await;
    assert!(all.iter().all(|got| got.as_deref().unwrap() == "token-1"), "{all:?}");
    let seen = issuer.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].starts_with("POST /tenant%2F1/oauth2/v2.0/token HTTP/1.1\r\n"), "{}", seen[0]);
    let form = "grant_type=client_credentials&client_id=app&client_secret=hush\
                &scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default";
    assert!(seen[0].ends_with(form), "{}", seen[0]);
}

#[tokio::test]
async fn a_token_is_renewed_ahead_of_its_end_and_by_one_request() {
    let issuer = Issuer::start(|number| granted(&format!("token-{number}"), 3600));
    let tokens = issuer.entra("hush");
    assert_eq!(token(&tokens).await.unwrap(), "token-1");
    later(Duration::from_mins(55)).await;
    assert_eq!(token(&tokens).await.unwrap(), "token-1", "more than four minutes are left");
    assert_eq!(issuer.seen().len(), 1);
    later(Duration::from_mins(2)).await;
    let mut all = join_all((0..20).map(|_| token(&tokens))).await;
    all.sort_by_key(|got| got.as_ref().unwrap().clone());
    assert_eq!(issuer.seen().len(), 2, "one renews");
    assert_eq!(all.last().unwrap().as_ref().unwrap(), "token-2");
    assert_eq!(token(&tokens).await.unwrap(), "token-2");
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_serves_to_its_end() {
    let issuer = Issuer::start(|number| match number {
        1 => granted("token-1", 3600),
        2 | 3 => (503, json!({})),
        _ => granted("token-4", 3600),
    });
    let tokens = issuer.entra("hush");
    assert_eq!(token(&tokens).await.unwrap(), "token-1");
    later(Duration::from_mins(58)).await;
    for _ in 0..5 {
        assert_eq!(token(&tokens).await.unwrap(), "token-1");
    }
    assert_eq!(issuer.seen().len(), 2, "a failed renewal is not repeated by every request");
    later(Duration::from_mins(3)).await;
    let failure = token(&tokens).await.unwrap_err();
    expect(&failure, FailureKind::Unavailable, &["no access token from 127.0.0.1", "status 503"]);
    assert_eq!(token(&tokens).await.unwrap(), "token-4");
}

/// Who waited for the answer gets it; a fetch for each of them would be a herd.
#[tokio::test]
async fn a_refused_account_is_refused_once_for_all_who_waited_and_no_secret_is_told() {
    let words = json!({"error": "invalid_client", "error_description": "AADSTS7000215: Invalid secret hush-hush.\r\nTrace ID: 1"});
    let issuer = Issuer::start(move |_| (401, words.clone()));
    let tokens = issuer.entra("hush-hush");
    for got in join_all((0..30).map(|_| token(&tokens))).await {
        let failure = got.unwrap_err();
        expect(&failure, FailureKind::Credential, &["invalid_client: AADSTS7000215: Invalid secret [secret]."]);
        assert!(!failure.message.contains("Trace"), "one line is enough: {failure}");
    }
    assert_eq!(issuer.seen().len(), 1);
    let access = Access::Fetched(Arc::new(tokens));
    assert!(!format!("{access:?}").contains("hush"));
    assert_eq!(access.redact("they said hush-hush"), "they said [secret]");
}

#[tokio::test]
async fn answers_that_are_no_token_are_unreadable() {
    for (status, body) in [(200, json!({})), (200, json!({"access_token": "a\nb"})), (302, json!({}))] {
        let issuer = Issuer::start(move |_| (status, body.clone()));
        expect(&token(&issuer.entra("hush")).await.unwrap_err(), FailureKind::Unreadable, &["no access token from"]);
    }
}

fn service_account(token_uri: &str) -> Value {
    json!({
        "type": "service_account", "project_id": "p", "private_key_id": "kid-1", "private_key": KEY_PEM,
        "client_email": "robot@p.iam.gserviceaccount.com", "token_uri": token_uri,
    })
}

fn google(file: &Value) -> Result<Grant, BadCredential> {
    Grant::google_file(&file.to_string().into())
}

#[tokio::test]
async fn a_service_account_signs_who_it_is() {
    let issuer = Issuer::start(|_| granted("token-1", 3600));
    let uri = format!("{}/token", issuer.url());
    let tokens = Tokens::new(google(&service_account(&uri)).unwrap(), Arc::new(transport()));
    assert_eq!(token(&tokens).await.unwrap(), "token-1");
    let request = issuer.seen().remove(0);
    let (_, claim) =
        request.split_once("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=").unwrap();
    let (said, signature) = claim.rsplit_once('.').unwrap();
    let (head, claims) = said.split_once('.').unwrap();
    let plain = |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    assert_eq!(plain(head), json!({"alg": "RS256", "typ": "JWT", "kid": "kid-1"}));
    let claims = plain(claims);
    assert_eq!(claims["iss"], "robot@p.iam.gserviceaccount.com");
    assert_eq!(claims["aud"], uri);
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/cloud-platform");
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
    let der = PrivatePkcs8KeyDer::from_pem_slice(KEY_PEM.as_bytes()).unwrap();
    let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
    public.verify(said.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).expect("Google would accept it");
}

#[tokio::test]
async fn users_and_machines_have_tokens_too() {
    let issuer = Issuer::start(|_| granted("token-1", 3600));
    let user = json!({
        "type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r",
        "token_uri": format!("{}/token", issuer.url()),
    });
    let tokens = Tokens::new(google(&user).unwrap(), Arc::new(transport()));
    assert_eq!(token(&tokens).await.unwrap(), "token-1");
    assert!(issuer.seen()[0].ends_with("grant_type=refresh_token&client_id=c&client_secret=s&refresh_token=r"));
    let machine = Grant::google_metadata(&issuer.address.to_string()).unwrap();
    assert_eq!(token(&Tokens::new(machine, Arc::new(transport()))).await.unwrap(), "token-1");
    let request = &issuer.seen()[1];
    let path = "GET /computeMetadata/v1/instance/service-accounts/default/token?scopes=https://www.googleapis.com/auth/cloud-platform ";
    assert!(request.starts_with(path), "{request}");
    assert!(request.to_ascii_lowercase().contains("metadata-flavor: google"), "{request}");
}

#[test]
fn files_that_are_no_account_say_what_is_wrong_and_nothing_else() {
    let without = |field: &str| {
        let mut file = service_account("https://oauth2.googleapis.com/token");
        file.as_object_mut().unwrap().shift_remove(field);
        file
    };
    let with = |field: &str, value: &str| {
        let mut file = service_account("https://oauth2.googleapis.com/token");
        file[field] = value.into();
        file
    };
    for (file, complaint) in [
        (json!("secret"), "auth_credentials: it is not its JSON"),
        (without("type"), "auth_credentials: it is not its JSON"),
        (with("type", "external_account"), "auth_credentials: its type is neither service_account nor authorized_user"),
        (without("client_email"), "auth_credentials: client_email is missing"),
        (without("private_key"), "auth_credentials: private_key is missing"),
        (with("private_key", "secret"), "auth_credentials: private_key is no RSA key in PEM"),
        (
            with("token_uri", "file:///etc"),
            "who issues access tokens must be at a URL that begins with http:// or https://",
        ),
    ] {
        assert_eq!(google(&file).unwrap_err().to_string(), complaint);
    }
}
