//! Embeddings, canonically: what every form of the request and of the answer means.
//!
//! The forms are one file each in [`crate::mapped`]. Numbers stay as they are written; they are only read where a client wants
//! them as base64, or where a server sent them so.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use crate::chat::{Extras, Part, PartKind, Raw};
use crate::endpoint::Endpoint;
use crate::json::{self, Array};
use crate::reply::Usage;
use crate::{Malformed, Text};

/// One request for embeddings.
#[derive(Clone, Debug)]
pub struct EmbedRequest {
    /// The form it came in: the owner of every `Extras` inside.
    pub source: Endpoint,
    pub model: Text,
    pub inputs: Vec<Input>,
    /// The caller gave one input and no list.
    pub single: bool,
    /// How the caller wants the numbers; empty where it does not say, which means [`Encoding::Float`].
    pub encodings: Vec<Encoding>,
    /// What to do with inputs that are too long (`NONE`, `START`, `END`).
    pub truncate: Option<Text>,
    pub user: Option<Text>,
    pub extras: Extras,
}

/// One thing to embed.
#[derive(Clone, Debug)]
pub struct Input {
    pub content: Content,
    /// What the embedding is for.
    pub purpose: Option<Purpose>,
    /// The title of a document.
    pub title: Option<Text>,
    pub dimensions: Option<u64>,
    /// JSON pointer of this input in the caller's body.
    pub pointer: String,
    pub extras: Extras,
}

/// What is embedded.
#[derive(Clone, Debug)]
pub enum Content {
    Text(Text),
    /// A list of token numbers, of a tokenizer that the model is known to have.
    Tokens(Raw),
    /// Texts and images that belong together.
    Parts(Vec<Part>),
}

/// What an embedding is for, which some models want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    Document,
    Query,
    Classification,
    Clustering,
    /// A word that only its own form has.
    Other(Text),
}

/// How the numbers of an embedding are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Float,
    /// Base64 of 32-bit floats, little-endian.
    Base64,
}

/// The embeddings, in the order of the inputs.
#[derive(Clone, Debug, Default)]
pub struct EmbedReply {
    pub id: Text,
    pub model: Text,
    pub vectors: Vec<Vector>,
    pub usage: Option<Usage>,
}

/// One embedding: a JSON list of numbers.
#[derive(Clone, Debug)]
pub struct Vector(Raw);

// === impl EmbedRequest ===

impl EmbedRequest {
    /// Does the caller want base64, and nothing else?
    pub(crate) fn wants_base64(&self) -> bool {
        self.encodings == [Encoding::Base64]
    }

    /// What all inputs say alike, for forms that say it once. Malformed where they differ, with the place of the odd one.
    pub(crate) fn common<T: PartialEq + Clone>(
        &self,
        key: &str,
        of: impl Fn(&Input) -> Option<T>,
    ) -> Result<Option<T>, Malformed> {
        let first = self.inputs.first().and_then(&of);
        match self.inputs.iter().find(|input| of(input) != first) {
            None => Ok(first),
            Some(odd) => Err(Malformed {
                pointer: format!("{}/{key}", odd.pointer),
                expected: "the same for every input: this provider is told it once".into(),
            }),
        }
    }
}

// === impl Content ===

impl Content {
    /// One text alone is a text.
    pub(crate) fn of(mut parts: Vec<Part>) -> Self {
        match parts.as_mut_slice() {
            [Part { kind: PartKind::Text(text), .. }] => Self::Text(std::mem::take(text)),
            _ => Self::Parts(parts),
        }
    }
}

// === impl Encoding ===

impl Encoding {
    /// Reads the word for it. Numbers that a provider rounds in its own way (`int8`, `ubinary`, ..) cannot be had of another.
    pub(crate) fn read(word: &Text, pointer: &str) -> Result<Self, Malformed> {
        match word.as_escaped() {
            "float" => Ok(Self::Float),
            "base64" => Ok(Self::Base64),
            _ => Err(Malformed {
                pointer: pointer.into(),
                expected: "float or base64: this provider has no other".into(),
            }),
        }
    }
}

// === impl EmbedReply ===

impl EmbedReply {
    /// Refuses an answer with more or fewer embeddings than were asked for: nobody could tell whose they are.
    pub(crate) fn checked(self, pointer: &str, inputs: usize) -> Result<Self, Malformed> {
        if self.vectors.len() == inputs {
            return Ok(self);
        }
        let expected = format!("{inputs} embeddings, not {}", self.vectors.len());
        Err(Malformed { pointer: pointer.into(), expected })
    }
}

// === impl Vector ===

impl Vector {
    /// Reads an embedding that is a list of numbers, or base64 of 32-bit floats.
    pub(crate) fn read(raw: &RawValue, pointer: &str) -> Result<Self, Malformed> {
        let malformed =
            || Malformed { pointer: pointer.into(), expected: "a list of numbers, or base64 of floats".into() };
        let Some(text) = Text::from_raw(raw) else {
            return if raw.get().starts_with('[') { Ok(Self(raw.to_owned())) } else { Err(malformed()) };
        };
        let bytes = STANDARD.decode(text.to_plain().as_bytes()).map_err(|_| malformed())?;
        let (floats, []) = bytes.as_chunks::<4>() else { return Err(malformed()) };
        let mut out = Vec::with_capacity(floats.len() * 12);
        let mut array = Array::new(&mut out);
        for float in floats {
            let float = f32::from_le_bytes(*float);
            // What JSON has no number for.
            let number = serde_json::to_string(&float).map_err(|_| malformed())?;
            array.raw(&number);
        }
        array.end();
        Ok(Self(json::written(out)))
    }

    /// The numbers as they are written.
    pub fn numbers(&self) -> &str {
        self.0.get()
    }

    /// Base64 of the numbers as 32-bit floats, little-endian, which is what OpenAI's SDKs ask for and read.
    pub(crate) fn base64(&self, pointer: &str) -> Result<String, Malformed> {
        let floats: Vec<f32> = json::decode_at(&self.0, pointer)?;
        let bytes: Vec<u8> = floats.into_iter().flat_map(f32::to_le_bytes).collect();
        Ok(STANDARD.encode(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Raw {
        json::raw(json.to_owned())
    }

    #[test]
    fn base64_is_32_bit_floats_little_endian_both_ways() {
        // python: base64.b64encode(struct.pack("<3f", 1.0, -0.5, 0.015625))
        let vector = Vector::read(&raw("[1.0, -5e-1, 0.015625]"), "").unwrap();
        assert_eq!(vector.base64("").unwrap(), "AACAPwAAAL8AAIA8");
        let back = Vector::read(&raw("\"AACAPwAAAL8AAIA8\""), "").unwrap();
        assert_eq!(back.numbers(), "[1.0,-0.5,0.015625]");
        let rounded = Vector::read(&raw("[0.1]"), "").unwrap().base64("").unwrap();
        assert_eq!(Vector::read(&raw(&format!("\"{rounded}\"")), "").unwrap().numbers(), "[0.1]");
    }

    #[test]
    fn what_is_no_embedding_is_refused_with_its_place() {
        for odd in ["\"AACAPw\"", "\"AACAPwA=\"", "\"%\"", "7", "null", "{}"] {
            assert_eq!(Vector::read(&raw(odd), "/data/0/embedding").unwrap_err().pointer, "/data/0/embedding", "{odd}");
        }
        let words = Vector::read(&raw("[1,\"x\"]"), "").unwrap();
        assert_eq!(words.base64("/embeddings/0").unwrap_err().pointer, "/embeddings/0/1");
    }
}
