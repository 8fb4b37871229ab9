//! Both ends of a gateway byte by byte: a provider and a client whose every move the test makes.

#![expect(clippy::indexing_slicing, reason = "bytes that are not there fail the test")]

use std::io;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::{OrFail as _, PATIENCE};

/// A provider whose every move the test makes.
#[derive(Debug)]
pub struct Provider(TcpListener);

/// One request at it.
#[derive(Debug)]
pub struct Exchange {
    stream: TcpStream,
    /// What of it has been read.
    pub read: Vec<u8>,
}

impl Provider {
    /// Listens on a free port.
    pub fn start() -> Self {
        let socket = TcpSocket::new_v4().or_fail("a socket");
        socket.set_recv_buffer_size(64 << 10).or_fail("a small buffer");
        socket.bind("127.0.0.1:0".parse().or_fail("an address")).or_fail("a port");
        Self(socket.listen(64).or_fail("listening"))
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().or_fail("an address"))
    }

    /// The next connection, nothing of it read.
    pub async fn asked(&self) -> Exchange {
        let accepted = tokio::time::timeout(PATIENCE, self.0.accept()).await.or_fail("a connection in time");
        Exchange { stream: accepted.or_fail("a connection").0, read: Vec::new() }
    }
}

impl Exchange {
    /// All that has been read.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }

    /// Reads once. False at the end of the connection.
    pub async fn more(&mut self) -> bool {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
        read.or_fail("bytes in time").is_ok_and(|count| count > 0)
    }

    /// Reads until this has come.
    pub async fn until(&mut self, text: &str) {
        let mut seen = 0;
        while memchr::memmem::find(&self.read[seen..], text.as_bytes()).is_none() {
            seen = self.read.len().saturating_sub(text.len());
            assert!(self.more().await, "the request ends before {text:?}: {}", self.text());
        }
    }

    /// The body so far, without what chunked framing adds to it.
    pub fn body(&self) -> String {
        let text = self.text();
        let (head, mut rest) = text.split_once("\r\n\r\n").or_fail("a head");
        if !head.contains("transfer-encoding: chunked") {
            return rest.to_owned();
        }
        let mut body = String::new();
        while let Some((size, more)) = rest.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).or_fail("a chunk's size");
            body += &more[..size];
            rest = more[size..].strip_prefix("\r\n").unwrap_or_default();
        }
        body
    }

    /// Answers with JSON.
    pub async fn answer(&mut self, status: u16, body: &str) {
        self.answer_with(status, "application/json", body).await;
    }

    /// Answers with anything.
    pub async fn answer_with(&mut self, status: u16, content_type: &str, body: &str) {
        let head =
            format!("HTTP/1.1 {status} x\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n", body.len());
        self.stream.write_all(head.as_bytes()).await.or_fail("answering");
        self.stream.write_all(body.as_bytes()).await.or_fail("answering");
    }
}

/// A client that sends its form in pieces.
#[derive(Debug)]
pub struct Sender(TcpStream);

impl Sender {
    /// Sends the head of a request. Without a length the body comes in chunks.
    pub async fn open(address: &str, path: &str, header: (&str, &str), length: Option<usize>) -> Self {
        let mut stream = TcpStream::connect(address).await.or_fail("a connection");
        let framing =
            length.map_or("transfer-encoding: chunked".to_owned(), |length| format!("content-length: {length}"));
        let (name, value) = header;
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\n{name}: {value}\r\n{framing}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.or_fail("writing");
        Self(stream)
    }

    /// Sends this.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.or_fail("writing");
    }

    /// Sends as much of this as there is room for.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).await
    }

    /// Sends this in a chunk.
    pub async fn chunk(&mut self, bytes: impl AsRef<[u8]>) {
        self.send(format!("{:x}\r\n", bytes.as_ref().len())).await;
        self.send(bytes).await;
        self.send("\r\n").await;
    }

    /// The status and the JSON of the answer.
    pub async fn answer(mut self) -> (u16, Value) {
        let mut read = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&read).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n")
                && let Ok(told) = serde_json::from_str(body)
            {
                let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
                return (status.or_fail("a status"), told);
            }
            let count = tokio::time::timeout(PATIENCE, self.0.read_buf(&mut read)).await.or_fail("an answer in time");
            assert!(count.is_ok_and(|count| count > 0), "the answer ends: {text}");
        }
    }
}
