//! Bytes on their way to the client: one event stays the slice it is, several are joined.

use bytes::{Bytes, BytesMut};

/// What is to be sent next.
#[derive(Debug, Default)]
pub struct Gather {
    only: Option<Bytes>,
    joined: BytesMut,
}

impl Gather {
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        if self.is_empty() {
            self.only = Some(bytes);
            return;
        }
        if let Some(first) = self.only.take() {
            self.joined.extend_from_slice(&first);
        }
        self.joined.extend_from_slice(&bytes);
    }

    pub fn take(&mut self) -> Option<Bytes> {
        self.only.take().or_else(|| (!self.joined.is_empty()).then(|| self.joined.split().freeze()))
    }

    pub fn is_empty(&self) -> bool {
        self.only.is_none() && self.joined.is_empty()
    }

    /// In bytes.
    pub fn len(&self) -> usize {
        self.only.as_ref().map_or(self.joined.len(), Bytes::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_is_not_copied() {
        let event = Bytes::from_static(b"data: 1\n\n");
        let mut out = Gather::default();
        out.push(event.clone());
        assert_eq!(out.take().unwrap().as_ptr(), event.as_ptr());
        out.push(event.clone());
        out.push(event);
        assert_eq!(out.len(), 18);
        assert_eq!(out.take().unwrap(), "data: 1\n\ndata: 1\n\n");
        assert!(out.is_empty() && out.take().is_none());
    }
}
