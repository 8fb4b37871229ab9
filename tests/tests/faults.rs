//! What goes wrong upstream, and what a client of each dialect is told of it, depending on when it went wrong.
//!
//! The rules stand in [`checked`] and the tests below; what they leave open is in the page of failures, which is made here:
//! `docs/failures.md`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use bifrost_tests::broken::wire::{self, answer};
use bifrost_tests::broken::{Asked, Broken, Play, Plays, hello};
use bifrost_tests::{Answer, Client, Ending, Gateway, OrFail as _, Process, Setup, Style, eventually};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

mod page;
mod rows;

use rows::{HALF, Host, Moment, ROWS, Row, UPSTREAM_ID};

pub(crate) const CLIENTS: [Style; 6] =
    [Style::OpenAi, Style::Responses, Style::Anthropic, Style::Gemini, Style::Bedrock, Style::Cohere];
pub(crate) const PROVIDERS: [Style; 5] =
    [Style::OpenAi, Style::Anthropic, Style::Gemini, Style::Bedrock, Style::Cohere];
const HOSTS: [Host; 3] = [Host::Patient, Host::Hasty, Host::Gone];

/// Requests under way at once: as many as there are silences to wait for.
const AT_ONCE: usize = 200;

/// Where nobody listens: a port that no process may have.
const NOWHERE: &str = "http://127.0.0.1:1";

/// One fault at one provider, as one client meets it.
#[derive(Clone, Copy)]
struct Case {
    /// Its place among the rows.
    at: usize,
    row: &'static Row,
    provider: Style,
    client: Style,
    stream: bool,
    /// Is there another provider to go to?
    fallback: bool,
}

/// What became of it, as far as the page tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Outcome {
    status: u16,
    wait: String,
    should_retry: String,
    kind: String,
}

impl Case {
    /// The provider's name in the configuration.
    fn host(&self) -> String {
        host(self.provider, self.row.host)
    }

    fn describe(&self) -> String {
        let Self { row, provider, client, stream, fallback, .. } = self;
        let Row { moment, name, .. } = row;
        format!("{moment:?} {name}: {client:?} asks {provider:?}, streamed {stream}, fallback {fallback}")
    }

    /// Path and body of the request.
    fn request(&self) -> (String, Value) {
        let (path, mut body) = hello(self.client, &format!("{}/m", self.host()), self.stream);
        if self.fallback {
            body["fallbacks"] = json!(["backup/m"]);
        }
        (path, body)
    }
}

fn host(provider: Style, host: Host) -> String {
    format!("{}-{}", provider.name(), format!("{host:?}").to_lowercase())
}

/// Every fault at every provider for every client, whole where that is possible, streamed, and with somewhere else to go. Those
/// that take time come first, so that they take it together.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (at, row) in ROWS.iter().enumerate() {
        for provider in PROVIDERS {
            for client in CLIENTS {
                let case = Case { at, row, provider, client, stream: true, fallback: false };
                cases.push(case);
                if row.moment == Moment::BeforeReply {
                    cases.push(Case { stream: false, ..case });
                }
            }
            cases.push(Case { at, row, provider, client: Style::OpenAi, stream: true, fallback: true });
        }
    }
    cases.sort_by_key(|case| case.row.host != Host::Hasty);
    cases
}

/// A gateway with all providers: a key for each case, so that one which rests harms no other.
async fn world(cases: &[Case]) -> (Process, Broken) {
    let name = |at: usize| format!("case-{at}");
    let mut plays: Plays = HashMap::new();
    let mut keys: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let good: Play = Arc::new(|asked: Asked| {
        vec![answer(200, "application/json", &[], wire::reply(asked.style, "From the other.").to_string().as_bytes())]
    });
    for (at, case) in cases.iter().enumerate() {
        plays.insert(name(at), Arc::new(case.row.play));
        keys.entry(case.host()).or_default().push(json!({"name": name(at), "value": name(at)}));
        if case.fallback {
            let key = format!("good-{at}");
            keys.entry("backup".to_owned()).or_default().push(json!({"name": name(at), "value": key}));
            plays.insert(key, good.clone());
        }
    }
    let broken = Broken::start(plays).await;
    let mut setup = Gateway::start();
    for provider in PROVIDERS {
        for at in HOSTS {
            setup = with(setup, &host(provider, at), provider, (at, broken.url()), &keys);
        }
    }
    setup = with(setup, "backup", Style::OpenAi, (Host::Patient, broken.url()), &keys);
    (Process::start(Some(setup.config()), &[]), broken)
}

fn with(
    setup: Setup,
    name: &str,
    style: Style,
    (host, url): (Host, &str),
    keys: &BTreeMap<String, Vec<Value>>,
) -> Setup {
    let Some(keys) = keys.get(name) else { return setup };
    let hasty = json!({"first_byte_timeout": "3s", "default_request_timeout_in_seconds": 3,
        "stream_idle_timeout_in_seconds": 5});
    let patch = json!({
        "keys": keys,
        "network_config": if host == Host::Hasty { hasty } else { json!({}) },
        "concurrency_and_buffer_size": {"concurrency": 1000, "buffer_size": 5000},
    });
    setup.provider_at(name, style, if host == Host::Gone { NOWHERE } else { url }, &patch)
}

async fn ask(client: &Client, at: usize, case: &Case) -> Answer {
    let (path, body) = case.request();
    let (key, id) = (format!("case-{at}"), format!("request-{at}"));
    let headers = [("x-bf-api-key", key.as_str()), ("x-request-id", id.as_str())];
    client.send("POST", &path, &headers, Bytes::from(body.to_string()), case.client).await.rest().await
}

#[tokio::test]
async fn every_failure_is_told_in_the_callers_dialect_whenever_it_happens() {
    let cases = cases();
    let (process, _broken) = world(&cases).await;
    let client = process.client().await;
    let asking = stream::iter(cases.iter().enumerate()).map(|(at, case)| {
        let client = client.clone();
        async move { ask(&client, at, case).await }
    });
    let answers: Vec<Answer> = asking.buffered(AT_ONCE).collect().await;
    eventually("every request is recorded", || process.records().len() == cases.len()).await;
    let records: HashMap<String, Value> = process
        .records()
        .into_iter()
        .map(|record| (record["request_id"].as_str().unwrap_or_default().to_owned(), record))
        .collect();

    let mut page = page::Page::default();
    let mut wrong = 0;
    for (at, (case, answer)) in cases.iter().zip(&answers).enumerate() {
        let record = records.get(&format!("request-{at}")).or_fail("a record");
        // All that is wrong is told, not the first only.
        match std::panic::catch_unwind(|| checked(case, answer, record)) {
            Ok(outcome) => page.add(case, outcome),
            Err(_) => wrong += 1,
        }
    }
    assert_eq!(wrong, 0, "of {} cases", cases.len());
    current("docs/failures.md", &page.written());
}

/// Holds an answer and its record against the rules that have no exception.
fn checked(case: &Case, answer: &Answer, record: &Value) -> Option<Outcome> {
    let about = format!("{}: {} {:?} {}\n{record}", case.describe(), answer.status, answer.headers, answer.text());
    if case.fallback && case.row.moment != Moment::MidStream && record["outcome"] == "success" {
        assert_eq!((answer.status, answer.header("x-bifrost-provider")), (200, "backup"), "{about}");
        assert!(answer.text().contains("From the other.") && !answer.text().contains(HALF), "{about}");
        assert_eq!(record["attempts"].as_array().map(Vec::len), Some(1), "{about}");
        return None;
    }
    let streamed = case.row.moment == Moment::MidStream;
    let ending = std::panic::catch_unwind(|| if streamed { Ending::streamed(answer) } else { Ending::whole(answer) });
    let ending = ending.unwrap_or_else(|_| panic!("the shape of {about}"));
    assert_eq!(ending.text, if streamed { HALF } else { "" }, "{about}");
    assert!(!ending.message.contains("secret") && ending.message.len() < 600, "{about}");
    assert_eq!(record["outcome"], "error", "{about}");
    assert_eq!(record["attempts"].as_array().map_or(0, Vec::len), usize::from(!streamed), "{about}");
    let status = record["status"].as_u64().and_then(|status| u16::try_from(status).ok()).or_fail("a status");
    assert!(status >= 400 && (streamed || status == answer.status), "{about}");
    if !streamed && record["attempts"][0]["status"].as_u64().is_some() {
        kept(case, answer, &about);
    }
    let text = |name: &str| answer.header(name).to_owned();
    Some(Outcome { status, wait: text("retry-after"), should_retry: text("x-should-retry"), kind: ending.kind })
}

/// What a provider says beside its error reaches every client under the provider's names, and what the request is called under
/// the gateway's.
fn kept(case: &Case, answer: &Answer, about: &str) {
    if !case.row.name.starts_with('4') && !matches!(case.row.name, "500" | "503, to wait 9 s" | "504" | "529") {
        return;
    }
    assert_eq!(answer.header(rows::limit(case.provider)), "0", "{about}");
    assert_eq!(answer.header("x-bifrost-upstream-request-id"), UPSTREAM_ID, "{about}");
    let own = wire::request_id(case.provider);
    assert!(own == "x-request-id" || answer.header(own) == UPSTREAM_ID, "{about}");
}

// === how long to wait ===

/// What a provider says, and what every client is told: the seconds, and the milliseconds if there were any.
const WAITS: &[(&str, &str, &str, &str)] = &[
    ("retry-after", "7", "7", ""),
    ("retry-after", "1.2", "1.2", ""),
    ("retry-after", "0", "0", ""),
    ("retry-after", "-5", "1", ""),
    ("retry-after", "315360000", "3600", ""),
    ("retry-after", "soon", "1", ""),
    ("retry-after", "Sat, 01 Jan 2000 00:00:00 GMT", "1", ""),
    ("retry-after", "Fri, 01 Jan 2100 00:00:00 GMT", "3600", ""),
    ("retry-after-ms", "1500", "2", "1500"),
    ("retry-after-ms", "-3", "1", ""),
];

#[tokio::test]
async fn a_wait_is_told_as_it_was_meant_and_never_as_nonsense() {
    let mut cases = Vec::new();
    for (at, wait) in WAITS.iter().enumerate() {
        for (provider, status) in PROVIDERS.into_iter().zip([429, 503].into_iter().cycle()) {
            cases.push((format!("{}-{at}", provider.name()), provider, status, wait));
        }
    }
    let play = |status: u16, (name, said, ..): &(&'static str, &'static str, &str, &str)| -> Play {
        let header = (*name, *said);
        Arc::new(move |asked: Asked| {
            let (body, mut headers) = wire::error(asked.style, status);
            headers.push(header);
            vec![answer(status, "application/json", &headers, body.to_string().as_bytes())]
        })
    };
    // A key for each client, because a key that is limited rests.
    let key = |case: &str, client: Style| format!("{case}-{}", client.name());
    let mut plays = Plays::new();
    for (case, _, status, wait) in &cases {
        plays.extend(CLIENTS.map(|client| (key(case, client), play(*status, wait))));
    }
    let broken = Broken::start(plays).await;
    let mut setup = Gateway::start();
    for provider in PROVIDERS {
        let own = cases.iter().filter(|(_, of, ..)| *of == provider);
        let keys: Vec<Value> = own
            .flat_map(|(case, ..)| CLIENTS.map(|client| key(case, client)))
            .map(|key| json!({"name": key, "value": key}))
            .collect();
        setup = setup.provider_at(provider.name(), provider, broken.url(), &json!({"keys": keys}));
    }
    let gateway = setup.await;
    for (case, provider, status, (name, said, seconds, milliseconds)) in &cases {
        for client in CLIENTS {
            let (path, body) = hello(client, &format!("{}/m", provider.name()), false);
            let key = key(case, client);
            let headers = [("x-bf-api-key", key.as_str())];
            let answer = gateway.send("POST", &path, &headers, body.to_string().into(), client).await.rest().await;
            let about = format!("{name}: {said} of {provider:?} to {client:?}: {:?}", answer.headers);
            assert_eq!(answer.status, *status, "{about}");
            assert_eq!(
                (answer.header("retry-after"), answer.header("retry-after-ms")),
                (*seconds, *milliseconds),
                "{about}"
            );
            Ending::whole(&answer);
        }
    }
}

/// Compares a page with what is committed; writes the fresh one where they differ, and says where.
fn current(path: &str, expected: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().or_fail("the repository");
    if std::fs::read_to_string(root.join(path)).unwrap_or_default() != expected {
        let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join(path.rsplit('/').next().unwrap_or(path));
        std::fs::write(&fresh, expected).or_fail("writing the fresh page");
        panic!("{path} is out of date: cp {} {path}", fresh.display());
    }
}
