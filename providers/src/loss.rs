//! What could not cross from one dialect to another: what, where, why. Nothing is dropped without a line here.

use std::borrow::Cow;

use crate::chat::Extras;
use crate::dialect::raw::pointer_key;

/// One thing that the target dialect cannot say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// JSON pointer (RFC 6901) into the body it was taken from, such as `/messages/2/content/0/cache_control`.
    pub pointer: String,
    /// Why, in words a caller understands: `anthropic_messages has no counterpart`.
    pub reason: Cow<'static, str>,
}

/// The losses of one crossing, in the order they were met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses(Vec<Loss>);

impl Losses {
    pub fn push(&mut self, pointer: impl Into<String>, reason: impl Into<Cow<'static, str>>) {
        let loss = Loss { pointer: pointer.into(), reason: reason.into() };
        if !self.0.contains(&loss) {
            self.0.push(loss);
        }
    }

    /// Notes every telling field of an object that stood at `pointer`.
    pub(crate) fn fields(&mut self, extras: &Extras, pointer: &str, reason: &'static str) {
        for key in extras.telling() {
            self.push(format!("{pointer}/{}", pointer_key(key)), reason);
        }
    }

    pub fn extend(&mut self, other: Self) {
        for loss in other.0 {
            self.push(loss.pointer, loss.reason);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Loss> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
