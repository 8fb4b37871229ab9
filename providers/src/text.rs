//! A JSON string that stays in its escapes.
//!
//! Text crosses the gateway without being read, so decoding it and encoding it again would be work for nothing and would
//! change bytes (`\u00e9` against `é`). Two halves of a surrogate pair that arrive in two stream chunks join correctly,
//! because joining escaped text is concatenation.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// The inside of a JSON string literal: escapes kept, quotes left out. Always valid between two quotes.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Text(String);

impl Text {
    /// The text of a raw JSON value, or `None` where that value is not a string.
    pub fn from_raw(raw: &RawValue) -> Option<Self> {
        Self::from_json(raw.get())
    }

    /// The text of a JSON value as it is written, or `None` where that value is not a string. It must be JSON.
    pub(crate) fn from_json(json: &str) -> Option<Self> {
        Some(Self(json.strip_prefix('"')?.strip_suffix('"')?.to_owned()))
    }

    /// A piece of text that is in its escapes already, cut where no escape is.
    pub(crate) fn from_escaped(escaped: &str) -> Self {
        Self(escaped.to_owned())
    }

    /// Escapes plain text.
    pub fn from_plain(plain: &str) -> Self {
        let mut quoted = Vec::with_capacity(plain.len() + 2);
        // Writing a `str` into a `Vec` cannot fail: neither side has an error to give.
        if serde_json::to_writer(&mut quoted, plain).is_err() {
            return Self::default();
        }
        quoted.pop();
        let inner = quoted.get(1..).unwrap_or_default();
        Self(String::from_utf8_lossy(inner).into_owned())
    }

    /// The escaped form, to be written between quotes.
    pub fn as_escaped(&self) -> &str {
        &self.0
    }

    /// The text as a person reads it. A lone surrogate, which no Rust string can hold, becomes U+FFFD.
    pub fn to_plain(&self) -> Cow<'_, str> {
        if memchr::memchr(b'\\', self.0.as_bytes()).is_none() {
            return Cow::Borrowed(&self.0);
        }
        let mut quoted = String::with_capacity(self.0.len() + 2);
        quoted.push('"');
        quoted.push_str(&self.0);
        quoted.push('"');
        match serde_json::from_str::<String>(&quoted) {
            Ok(plain) => Cow::Owned(plain),
            Err(_) => Cow::Owned(lossy(&quoted)),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of the escaped form.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Joins a later fragment of the same string.
    pub fn push(&mut self, more: &Self) {
        self.0.push_str(&more.0);
    }
}

/// `serde_json` refuses lone surrogates in a `String`, but hands them out as WTF-8 bytes.
fn lossy(quoted: &str) -> String {
    struct Wtf8(String);
    impl<'de> serde::Deserialize<'de> for Wtf8 {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl serde::de::Visitor<'_> for Visitor {
                type Value = Wtf8;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("a string")
                }
                fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Wtf8, E> {
                    Ok(Wtf8(String::from_utf8_lossy(bytes).into_owned()))
                }
            }
            deserializer.deserialize_bytes(Visitor)
        }
    }
    serde_json::from_str::<Wtf8>(quoted).map_or_else(|_| String::new(), |text| text.0)
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

impl From<&str> for Text {
    fn from(plain: &str) -> Self {
        Self::from_plain(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn plain_text_survives_both_ways() {
        for plain in ["", "a", "é\n\"\\\u{1}", "😀 \u{2028}"] {
            assert_eq!(Text::from_plain(plain).to_plain(), plain);
        }
    }

    #[test]
    fn a_surrogate_pair_split_over_two_fragments_joins() {
        let mut text = Text("\\ud83d".into());
        assert_eq!(text.to_plain(), "\u{fffd}\u{fffd}\u{fffd}");
        text.push(&Text("\\ude00".into()));
        assert_eq!(text.to_plain(), "😀");
    }
}
