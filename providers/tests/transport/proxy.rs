//! Going by way of a proxy: what the proxy is told, what the provider hears of it, and which addresses are still refused.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bifrost_providers::failure::FailureKind;
use bifrost_providers::transport::{ProxySettings, Transport, TransportSettings};

use crate::server::Server;
use crate::{PATIENT, answering, exchange, expect, settings};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

/// A proxy that brings everybody to one server, whatever name they ask for, and remembers what it was told.
struct Proxy {
    address: SocketAddr,
    told: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// `greet` speaks the proxy's protocol on a fresh connection; what it returns is remembered, `None` ends the connection.
    fn start(server: &Server, greet: fn(&mut TcpStream) -> (String, bool)) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (address, told) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let (target, record) = (server.port(), told.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut client = stream.unwrap();
                let (said, goes_on) = greet(&mut client);
                record.lock().unwrap().push(said);
                if goes_on {
                    join(client, TcpStream::connect(("127.0.0.1", target)).unwrap());
                }
            }
        });
        Self { address, told }
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    /// A transport that goes by way of it.
    fn way(&self, scheme: &str, account: &str) -> Transport {
        through(&format!("{scheme}://{account}{}", self.address), "", |settings| settings)
    }
}

fn through(url: &str, except: &str, change: impl FnOnce(TransportSettings) -> TransportSettings) -> Transport {
    let proxy = ProxySettings {
        http: Some(url.into()),
        https: Some(url.into()),
        except: except.into(),
        address_allowed: Arc::new(|ip| ip.is_loopback()),
    };
    Transport::new(&change(TransportSettings { proxy: Some(proxy), ..settings() })).unwrap()
}

/// Passes bytes both ways until either end has enough.
fn join(client: TcpStream, server: TcpStream) {
    let pass = |mut from: TcpStream, mut to: TcpStream| {
        std::thread::spawn(move || {
            let _ended = std::io::copy(&mut from, &mut to);
            let _ended = to.shutdown(std::net::Shutdown::Write);
        })
    };
    pass(client.try_clone().unwrap(), server.try_clone().unwrap());
    pass(server, client);
}

fn head(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

fn connect(client: &mut TcpStream) -> (String, bool) {
    let head = head(client);
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
    (head, true)
}

fn refuse(client: &mut TcpStream) -> (String, bool) {
    let head = head(client);
    client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").unwrap();
    (head, false)
}

/// RFC 1928 with RFC 1929's passwords.
fn socks(client: &mut TcpStream) -> (String, bool) {
    let [_, methods] = taken(client);
    let offered: Vec<[u8; 1]> = (0..methods).map(|_| taken(client)).collect();
    let wants_password = offered.contains(&[2]);
    client.write_all(&[5, if wants_password { 2 } else { 0 }]).unwrap();
    let mut said = String::new();
    if wants_password {
        let [_version] = taken(client);
        said = format!("{}:{}@", text(client), text(client));
        client.write_all(&[1, 0]).unwrap();
    }
    assert_eq!(taken(client), [5, 1, 0, 3], "CONNECT to a name");
    let host = text(client);
    let port = u16::from_be_bytes(taken(client));
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
    (format!("{said}{host}:{port}"), true)
}

fn taken<const COUNT: usize>(client: &mut TcpStream) -> [u8; COUNT] {
    let mut bytes = [0; COUNT];
    client.read_exact(&mut bytes).unwrap();
    bytes
}

/// Its length in a byte, then the text.
fn text(client: &mut TcpStream) -> String {
    let [length] = taken(client);
    let mut bytes = vec![0; length.into()];
    client.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_proxy_is_asked_to_connect_and_the_provider_hears_nothing_of_it() {
    let server = answering(OK);
    let proxy = Proxy::start(&server, connect);
    let transport = proxy.way("http", "us%40er:pass@");
    assert_eq!(exchange(&transport, "http://provider.test/v1", PATIENT).await.unwrap(), "hi");
    let told = proxy.told();
    assert!(told[0].starts_with("CONNECT provider.test:80 HTTP/1.1\r\n"), "{told:?}");
    // us@er:pass
    assert!(told[0].contains("Proxy-Authorization: Basic dXNAZXI6cGFzcw=="), "{told:?}");
}

#[tokio::test]
async fn tls_goes_through_the_tunnel_and_is_still_checked() {
    let server = Server::https();
    let proxy = Proxy::start(&server, connect);
    let url = format!("https://localhost:{}/v1", server.port());
    assert!(!exchange(&proxy.way("http", ""), &url, PATIENT).await.unwrap().is_empty());
    assert!(proxy.told()[0].starts_with(&format!("CONNECT localhost:{} ", server.port())), "{:?}", proxy.told());
    let other = exchange(&proxy.way("http", ""), "https://provider.test/v1", PATIENT).await.unwrap_err();
    expect(&other, FailureKind::Connect, &["certificate"]);
}

#[tokio::test]
async fn socks_brings_name_and_account_to_the_proxy() {
    let server = answering(OK);
    for (scheme, account, told) in
        [("socks5", "", "provider.test:80"), ("socks5h", "user:pa%3Ass@", "user:pa:ss@provider.test:80")]
    {
        let proxy = Proxy::start(&server, socks);
        assert_eq!(exchange(&proxy.way(scheme, account), "http://provider.test/v1", PATIENT).await.unwrap(), "hi");
        assert_eq!(proxy.told(), [told]);
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_without_its_password() {
    let server = answering(OK);
    let proxy = Proxy::start(&server, refuse);
    let failure = exchange(&proxy.way("http", "user:hush@"), "http://provider.test/v1", PATIENT).await.unwrap_err();
    let named = format!("by way of the proxy {}", proxy.address);
    expect(&failure, FailureKind::Connect, &["provider.test", &named, "proxy authorization required"]);
    assert!(!failure.message.contains("hush"), "{failure}");
}

#[tokio::test]
async fn exceptions_are_reached_without_the_proxy() {
    let server = answering(OK);
    let proxy = Proxy::start(&server, connect);
    let transport = through(&format!("http://{}", proxy.address), "example.org,127.0.0.0/8", |settings| settings);
    assert_eq!(exchange(&transport, &server.url(), PATIENT).await.unwrap(), "hi");
    assert_eq!(proxy.told(), [""; 0]);
}

/// Neither a proxy nor the way to it gets round the rule for addresses.
#[tokio::test]
async fn addresses_that_are_not_allowed_are_refused_with_a_proxy_too() {
    let server = answering(OK);
    let proxy = Proxy::start(&server, connect);
    let failure = exchange(&proxy.way("http", ""), "http://169.254.169.254/latest", PATIENT).await.unwrap_err();
    expect(&failure, FailureKind::Connect, &["169.254.169.254 is not an allowed address"]);
    assert_eq!(proxy.told(), [""; 0], "the proxy heard nothing of it");
    let elsewhere = through("http://10.0.0.1:3128", "", |settings| settings);
    let failure = exchange(&elsewhere, "http://provider.test/v1", PATIENT).await.unwrap_err();
    expect(
        &failure,
        FailureKind::Connect,
        &["by way of the proxy 10.0.0.1:3128", "10.0.0.1 is not an allowed address"],
    );
}
