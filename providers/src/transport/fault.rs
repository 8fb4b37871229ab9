//! What went wrong on the wire, as a [`Failure`] that names the peer, and the timer with its value.

use std::error::Error;
use std::io;
use std::time::Duration;

use http::uri::Authority;
use http::{StatusCode, Uri};
use hyper_util::client::legacy;

use crate::Failure;
use crate::failure::FailureKind;

/// The timers that can end an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    FirstByte,
    Idle,
    Total,
}

impl Timer {
    fn kind(self) -> FailureKind {
        match self {
            Self::FirstByte => FailureKind::FirstByteTimeout,
            Self::Idle => FailureKind::IdleTimeout,
            Self::Total => FailureKind::TotalTimeout,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::FirstByte => "first-byte timeout",
            Self::Idle => "idle timeout",
            Self::Total => "total timeout",
        }
    }
}

pub(super) fn timed_out(peer: &Authority, timer: Timer, limit: Duration) -> Box<Failure> {
    let silence = match timer {
        Timer::FirstByte => "sent no answer",
        Timer::Idle => "sent nothing more",
        Timer::Total => "did not finish",
    };
    failure(timer.kind(), format!("{} {silence} within the {} of {limit:?}", host(peer), timer.name()))
}

/// A timer rang while there was no connection yet.
pub(super) fn unconnected(peer: &Authority, timer: Timer, limit: Duration) -> Box<Failure> {
    let message = format!("no connection to {} within the {} of {limit:?}", host(peer), timer.name());
    failure(FailureKind::Connect, message)
}

/// The request could not be sent, or the head of its answer not be read.
pub(super) fn of_send(error: &legacy::Error, peer: &Authority, connect_timeout: Duration) -> Box<Failure> {
    if !error.is_connect() {
        return failure(exchange_kind(error), format!("{}: {}", host(peer), chain(error.source())));
    }
    let host = host(peer);
    let message = if io_kind(error) == Some(io::ErrorKind::TimedOut) {
        format!("no connection to {host} within the connect timeout of {connect_timeout:?}")
    } else {
        format!("could not connect to {host}: {}", chain(error.source()))
    };
    failure(FailureKind::Connect, message)
}

pub(super) fn of_body(error: &hyper::Error, peer: &Authority) -> Box<Failure> {
    failure(exchange_kind(error), format!("{}: the answer broke off: {}", host(peer), chain(Some(error))))
}

pub(super) fn encoded(peer: &Authority, status: StatusCode, encoding: &str) -> Box<Failure> {
    let message = format!("{} answered with content-encoding {encoding:?}, which was not asked for", host(peer));
    let mut failure = failure(FailureKind::Unreadable, message);
    failure.status = Some(status);
    failure
}

pub(super) fn too_large(peer: &Authority, cap: usize) -> Box<Failure> {
    let message = format!("the answer of {} is larger than the cap of {cap} bytes", host(peer));
    failure(FailureKind::Unreadable, message)
}

pub(super) fn no_authority(uri: &Uri) -> Box<Failure> {
    failure(FailureKind::Connect, format!("{uri} is not an absolute URL"))
}

fn failure(kind: FailureKind, message: String) -> Box<Failure> {
    Box::new(Failure::new(kind, message))
}

/// Host and port; a URL's user and password are never shown.
fn host(peer: &Authority) -> &str {
    let text = peer.as_str();
    text.rsplit_once('@').map_or(text, |(_, host)| host)
}

/// Bytes that are not HTTP are unreadable; all else is a connection that broke.
fn exchange_kind(error: &(dyn Error + 'static)) -> FailureKind {
    let malformed = causes(Some(error)).any(|cause| {
        cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
            || cause.downcast_ref::<io::Error>().is_some_and(|io| {
                // How the chunked decoder says that a chunk's head is none.
                matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
            })
    });
    if malformed { FailureKind::Unreadable } else { FailureKind::Broken }
}

fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    causes(Some(error)).find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind)
}

fn causes<'a>(first: Option<&'a (dyn Error + 'static)>) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(first, |&error| error.source())
}

/// All causes in one line, without those that only repeat the one before.
fn chain(first: Option<&(dyn Error + 'static)>) -> String {
    let mut line = String::new();
    for cause in causes(first) {
        let text = cause.to_string();
        if line.ends_with(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    if line.is_empty() { "connection failed".to_owned() } else { line }
}
