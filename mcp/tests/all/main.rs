//! The hub against real tool servers: child processes, and HTTP servers in this process.

#[cfg(test)]
mod guard;
#[cfg(test)]
mod http;
#[cfg(test)]
mod local;
#[cfg(test)]
mod sse;
#[cfg(test)]
mod stdio;
#[cfg(test)]
mod support;
