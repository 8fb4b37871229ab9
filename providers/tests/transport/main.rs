//! The transport against servers on loopback that misbehave in every way a provider or its network can.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on may panic, in its helpers too")]

mod proxy;
mod server;
mod tokens;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bifrost_providers::Failure;
use bifrost_providers::failure::FailureKind;
use bifrost_providers::transport::{Answer, Call, Timeouts, Transport, TransportSettings};
use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use server::Server;

const MB: usize = 1 << 20;
const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Generous: only the timer under test is short.
const PATIENT: Timeouts = Timeouts { first_byte: ms(10_000), idle: ms(10_000), total: None };

fn settings() -> TransportSettings {
    TransportSettings {
        connect_timeout: ms(5000),
        pool_idle: Duration::from_secs(90),
        max_idle_per_host: 8,
        http2_only: false,
        ca_cert_pem: Some(server::CA_PEM.to_owned()),
        insecure_skip_verify: false,
        address_allowed: Arc::new(|ip| ip.is_loopback()),
        proxy: None,
        background: Arc::new(drop),
        shards: 1,
    }
}

fn transport() -> Transport {
    Transport::new(&settings()).unwrap()
}

fn call(url: &str, timeouts: Timeouts) -> Call {
    let (method, headers, body) = (Method::POST, HeaderMap::new(), Bytes::from_static(server::REQUEST_BODY));
    Call { method, uri: url.parse().unwrap(), headers, body, timeouts }
}

/// Sends and reads to the end: the whole body, or the failure of whichever came first.
async fn exchange(transport: &Transport, url: &str, timeouts: Timeouts) -> Result<Bytes, Box<Failure>> {
    transport.send(call(url, timeouts)).await?.body.collect(MB).await
}

async fn failure(server: &Server, timeouts: Timeouts) -> Box<Failure> {
    exchange(&transport(), &server.url(), timeouts).await.unwrap_err()
}

fn expect(failure: &Failure, kind: FailureKind, says: &[&str]) {
    assert_eq!(failure.kind, kind, "{failure}");
    for part in says {
        assert!(failure.message.contains(part), "{:?} does not say {part:?}", failure.message);
    }
}

/// The whole answer in one write, then the end of the connection.
fn answering(bytes: &'static str) -> Server {
    Server::start(move |mut peer| async move {
        if peer.request().await {
            peer.write(bytes).await;
        }
    })
}

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

// === Timers ===

#[tokio::test]
async fn silence_after_accept_is_a_first_byte_timeout() {
    let server = Server::start(|mut peer| async move { peer.hold().await });
    let failure = failure(&server, Timeouts { first_byte: ms(100), ..PATIENT }).await;
    expect(&failure, FailureKind::FirstByteTimeout, &[&server.authority(), "first-byte timeout of 100ms"]);
}

#[tokio::test]
async fn a_total_timeout_counts_before_the_first_byte_too() {
    let server = Server::start(|mut peer| async move { peer.hold().await });
    let failure = failure(&server, Timeouts { total: Some(ms(80)), ..PATIENT }).await;
    expect(&failure, FailureKind::TotalTimeout, &["total timeout of 80ms"]);
}

#[tokio::test]
async fn silence_after_the_headers_is_an_idle_timeout() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.write(STREAM_HEAD).await;
        peer.hold().await;
    });
    let failure = failure(&server, Timeouts { idle: ms(100), ..PATIENT }).await;
    expect(&failure, FailureKind::IdleTimeout, &["idle timeout of 100ms"]);
}

#[tokio::test]
async fn silence_in_the_middle_is_an_idle_timeout_that_counts_from_the_last_byte() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.write(STREAM_HEAD).await;
        peer.dribble(6, ms(100)).await;
        peer.hold().await;
    });
    let started = Instant::now();
    let failure = failure(&server, Timeouts { idle: ms(400), ..PATIENT }).await;
    expect(&failure, FailureKind::IdleTimeout, &["idle timeout of 400ms"]);
    assert!(started.elapsed() >= ms(6 * 100 + 400), "bytes put the timer off");
}

#[tokio::test]
async fn a_dribble_outlives_the_idle_timeout_but_not_the_total() {
    let dribble = || {
        Server::start(|mut peer| async move {
            peer.request().await;
            peer.write(STREAM_HEAD).await;
            peer.dribble(16, ms(50)).await;
            peer.write("0\r\n\r\n").await;
            peer.hold().await;
        })
    };
    let idle = Timeouts { idle: ms(500), ..PATIENT };
    let server = dribble();
    assert_eq!(exchange(&transport(), &server.url(), idle).await.unwrap(), "x".repeat(16));
    let failure = failure(&dribble(), Timeouts { total: Some(ms(200)), ..idle }).await;
    expect(&failure, FailureKind::TotalTimeout, &["total timeout of 200ms"]);
}

#[tokio::test]
async fn an_endless_fast_stream_is_cut_by_the_total_timeout() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.write(STREAM_HEAD).await;
        while peer.write("5\r\nhello\r\n").await {}
    });
    let timeouts = Timeouts { total: Some(ms(150)), ..PATIENT };
    let mut body = transport().send(call(&server.url(), timeouts)).await.unwrap().body;
    let failure = loop {
        match body.frame().await.unwrap() {
            Ok(_) => {}
            Err(failure) => break failure,
        }
    };
    expect(&failure, FailureKind::TotalTimeout, &["total timeout of 150ms"]);
    assert!(body.frame().await.is_none(), "nothing follows a failure");
}

#[tokio::test]
async fn a_tls_handshake_that_hangs_is_a_connect_timeout() {
    let server = Server::start(|mut peer| async move { peer.hold().await });
    let transport = Transport::new(&TransportSettings { connect_timeout: ms(100), ..settings() }).unwrap();
    let url = format!("https://localhost:{}/", server.port());
    let failure = exchange(&transport, &url, PATIENT).await.unwrap_err();
    expect(&failure, FailureKind::Connect, &["connect timeout of 100ms"]);
    let failure = exchange(&self::transport(), &url, Timeouts { first_byte: ms(100), ..PATIENT }).await.unwrap_err();
    expect(&failure, FailureKind::Connect, &["no connection", "first-byte timeout of 100ms"]);
}

// === Broken and unreadable answers ===

#[tokio::test]
async fn a_reset_in_the_middle_is_a_broken_connection() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.write(STREAM_HEAD).await;
        peer.write("5\r\nhello\r\n").await;
        peer.reset();
    });
    let failure = failure(&server, PATIENT).await;
    expect(&failure, FailureKind::Broken, &[&server.authority()]);
}

#[tokio::test]
async fn answers_that_break_or_make_no_sense() {
    for (answer, kind) in [
        ("", FailureKind::Broken),
        ("HTTP/1.1 200 OK\r\ncontent-le", FailureKind::Broken),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\nonly this", FailureKind::Broken),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", FailureKind::Broken),
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort", FailureKind::Broken),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", FailureKind::Unreadable),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n", FailureKind::Unreadable),
        ("SSH-2.0-OpenSSH_10.0\r\n\r\n", FailureKind::Unreadable),
        ("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\n\u{1f}", FailureKind::Unreadable),
    ] {
        let server = answering(answer);
        let failure = failure(&server, PATIENT).await;
        assert_eq!(failure.kind, kind, "{answer:?}: {failure}");
        assert!(!failure.message.is_empty());
    }
}

#[tokio::test]
async fn an_encoding_nobody_asked_for_is_named_but_an_error_status_is_passed_on() {
    let server = answering("HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 1\r\n\r\nx");
    let zipped = failure(&server, PATIENT).await;
    expect(&zipped, FailureKind::Unreadable, &["content-encoding \"br\""]);
    assert_eq!(zipped.status.unwrap().as_u16(), 200);
    let server = answering("HTTP/1.1 429 Slow\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx");
    assert_eq!(transport().send(call(&server.url(), PATIENT)).await.unwrap().status.as_u16(), 429);
}

#[tokio::test]
async fn a_body_above_the_cap_is_refused_whether_announced_or_not() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nhello, world",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nhello,\r\n6\r\n world\r\n0\r\n\r\n",
    ] {
        let server = answering(answer);
        let send = || async { transport().send(call(&server.url(), PATIENT)).await.unwrap().body };
        expect(&send().await.collect(11).await.unwrap_err(), FailureKind::Unreadable, &["cap of 11 bytes"]);
        assert_eq!(send().await.collect(12).await.unwrap(), "hello, world");
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let target = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let location = target.url();
    let server = Server::start(move |mut peer| {
        let location = location.clone();
        async move {
            peer.request().await;
            peer.write(&format!("HTTP/1.1 307 Go\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")).await;
        }
    });
    let answer: Answer = transport().send(call(&server.url(), PATIENT)).await.unwrap();
    assert_eq!(answer.status.as_u16(), 307);
    assert_eq!(answer.headers["location"], target.url());
    assert_eq!(target.connections(), 0);
}

// === Connecting ===

#[tokio::test]
async fn a_refused_connection_is_a_connect_failure() {
    let port = Server::start(|_| async {}).into_free_port().await;
    let failure = exchange(&transport(), &format!("http://127.0.0.1:{port}/"), PATIENT).await.unwrap_err();
    expect(&failure, FailureKind::Connect, &[&format!("127.0.0.1:{port}"), "refused"]);
}

#[tokio::test]
async fn addresses_that_are_not_allowed_are_not_connected_to() {
    let server = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let asked: Arc<Mutex<Vec<IpAddr>>> = Arc::default();
    let questions = asked.clone();
    let address_allowed = Arc::new(move |ip| {
        questions.lock().unwrap().push(ip);
        false
    });
    let transport = Transport::new(&TransportSettings { address_allowed, ..settings() }).unwrap();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1"] {
        let url = format!("http://{host}:{}/", server.port());
        let failure = exchange(&transport, &url, PATIENT).await.unwrap_err();
        expect(&failure, FailureKind::Connect, &["not an allowed address"]);
    }
    assert_eq!(server.connections(), 0);
    assert!(asked.lock().unwrap().iter().all(IpAddr::is_loopback), "a mapped address is asked about as what it is");
}

// === Pool and cancellation ===

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_is_used_again() {
    let server = Server::start(|mut peer| async move {
        while peer.request().await {
            peer.write(OK).await;
        }
    });
    let transport = transport();
    for _ in 0..3 {
        assert_eq!(exchange(&transport, &server.url(), PATIENT).await.unwrap(), "ok");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_pooled_connection_that_died_is_replaced_unnoticed() {
    let server = Server::start(|mut peer| async move {
        if peer.request().await {
            peer.write(OK).await;
        }
    });
    let transport = transport();
    for round in 1..=5 {
        assert_eq!(exchange(&transport, &server.url(), PATIENT).await.unwrap(), "ok");
        // The client learns of the closed connection with its next look at the socket.
        server.until(|server| server.closed() == round).await;
    }
    assert_eq!(server.connections(), 5);
}

#[tokio::test]
async fn a_request_that_reached_the_server_is_never_sent_again() {
    let server = Server::start(|mut peer| async move {
        if peer.request().await && peer.number() == 1 {
            peer.write(OK).await;
            // The second request on the same connection is read, and the connection closed.
            peer.request().await;
        }
    });
    let transport = transport();
    exchange(&transport, &server.url(), PATIENT).await.unwrap();
    let failure = exchange(&transport, &server.url(), PATIENT).await.unwrap_err();
    expect(&failure, FailureKind::Broken, &[]);
    assert_eq!((server.connections(), server.requests()), (1, 2));
}

#[tokio::test]
async fn dropping_the_send_future_closes_the_connection() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.hold().await;
    });
    let transport = transport();
    let send = tokio::time::timeout(ms(100), transport.send(call(&server.url(), PATIENT)));
    assert!(send.await.is_err());
    assert_eq!(server.requests(), 1);
    server.until(|server| server.closed() == 1).await;
}

#[tokio::test]
async fn dropping_the_body_closes_the_connection() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.write(STREAM_HEAD).await;
        peer.write("5\r\nhello\r\n").await;
        peer.hold().await;
    });
    let transport = transport();
    let mut body = transport.send(call(&server.url(), PATIENT)).await.unwrap().body;
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
    drop(body);
    server.until(|server| server.closed() == 1).await;
}

#[tokio::test]
async fn a_timer_that_rang_closes_the_connection_while_the_body_is_still_held() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.write(STREAM_HEAD).await;
        peer.hold().await;
    });
    let transport = transport();
    let mut body = transport.send(call(&server.url(), Timeouts { idle: ms(50), ..PATIENT })).await.unwrap().body;
    expect(&body.frame().await.unwrap().unwrap_err(), FailureKind::IdleTimeout, &[]);
    server.until(|server| server.closed() == 1).await;
}

// === HTTP/2 and TLS ===

#[tokio::test]
async fn http2_with_prior_knowledge_shares_one_connection() {
    let server = Server::http2();
    let transport = Transport::new(&TransportSettings { http2_only: true, ..settings() }).unwrap();
    let url = server.url();
    let (one, two) = tokio::join!(exchange(&transport, &url, PATIENT), exchange(&transport, &url, PATIENT));
    assert_eq!((one.unwrap(), two.unwrap()), (Bytes::from("HTTP/2.0"), Bytes::from("HTTP/2.0")));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn dropping_an_http2_body_cancels_its_stream_and_keeps_the_connection() {
    let server = Server::http2();
    let transport = Transport::new(&TransportSettings { http2_only: true, ..settings() }).unwrap();
    let endless = format!("http://{}/endless", server.authority());
    let mut body = transport.send(call(&endless, PATIENT)).await.unwrap().body;
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "HTTP/2.0");
    drop(body);
    server.until(|server| server.closed() == 1).await;
    assert_eq!(exchange(&transport, &server.url(), PATIENT).await.unwrap(), "HTTP/2.0");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn http2_where_only_http1_is_spoken_is_a_failure() {
    let server = answering("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    let transport = Transport::new(&TransportSettings { http2_only: true, ..settings() }).unwrap();
    let timeouts = Timeouts { first_byte: ms(500), ..PATIENT };
    assert!(exchange(&transport, &server.url(), timeouts).await.is_err());
}

#[tokio::test]
async fn tls_trusts_the_configured_authority_and_alpn_picks_http2() {
    let server = Server::https();
    let url = format!("https://localhost:{}/v1/models", server.port());
    assert_eq!(exchange(&transport(), &url, PATIENT).await.unwrap(), "HTTP/2.0");
}

#[tokio::test]
async fn certificates_that_prove_nothing_are_refused_unless_told_not_to_look() {
    let server = Server::https();
    let wrong_name = format!("https://127.0.0.1:{}/", server.port());
    let unknown_authority = format!("https://localhost:{}/", server.port());
    let platform = Transport::new(&TransportSettings { ca_cert_pem: None, ..settings() }).unwrap();
    for (transport, url) in [(&transport(), &wrong_name), (&platform, &unknown_authority)] {
        let failure = exchange(transport, url, PATIENT).await.unwrap_err();
        expect(&failure, FailureKind::Connect, &["certificate"]);
    }
    let careless = Transport::new(&TransportSettings { insecure_skip_verify: true, ..settings() }).unwrap();
    assert_eq!(exchange(&careless, &wrong_name, PATIENT).await.unwrap(), "HTTP/2.0");
}
