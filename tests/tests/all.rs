//! Black-box tests of the whole gateway: real sockets, scripted providers and tool servers, strict readers.

#[cfg(test)]
mod matrix;
