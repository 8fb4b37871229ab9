//! Reading and writing JSON objects without a tree.
//!
//! [`wire!`] declares one plain struct per JSON object: known keys by name, everything else kept raw in `extras`, in one pass
//! and without the buffering of `#[serde(flatten)]`. [`Object`] and [`Array`] write bytes. [`decode`] adds the place to errors.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::chat::{Extras, Raw};
use crate::{Malformed, Text};

mod reader;
mod walk;

pub(crate) use reader::{Fault, Reader};

/// Declares a wire object: `"key" => field: Type` becomes `field: Option<Type>`; `"key" | "alias"` reads either spelling.
///
/// An explicit `null` on a known key leaves the field `None` and is kept in `extras`, so that the object's own dialect gets
/// it back. A key that occurs twice is an error, because readers disagree about which one counts.
macro_rules! wire {
    ($(#[$meta:meta])* $vis:vis struct $name:ident<$lt:lifetime> { $($(#[$fmeta:meta])* $key:literal $(| $alias:literal)* => $field:ident : $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        $vis struct $name<$lt> {
            $($(#[$fmeta])* $vis $field: Option<$ty>,)*
            /// Everything else, in order.
            $vis extras: $crate::chat::Extras,
            /// Borrowing is what makes reading cheap, whether or not a field does.
            $vis lifetime: std::marker::PhantomData<&$lt ()>,
        }

        impl<$lt> serde::Deserialize<$lt> for $name<$lt> {
            fn deserialize<D: serde::Deserializer<$lt>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl<$lt> serde::de::Visitor<$lt> for Visitor {
                    type Value = $name<$lt>;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_map<A: serde::de::MapAccess<$lt>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let mut out = $name::default();
                        while let Some(key) = map.next_key::<$crate::json::Str<'_>>()? {
                            match key.as_str() {
                                $($key $(| $alias)* => {
                                    if out.$field.is_some() {
                                        return Err(serde::de::Error::duplicate_field($key));
                                    }
                                    out.$field = map.next_value::<Option<$ty>>()?;
                                    if out.$field.is_none() {
                                        out.extras.push($key, $crate::json::null());
                                    }
                                })*
                                other => {
                                    let value: &serde_json::value::RawValue = map.next_value()?;
                                    out.extras.push(other, value.to_owned());
                                }
                            }
                        }
                        Ok(out)
                    }
                }
                deserializer.deserialize_map(Visitor)
            }
        }
    };
}
pub(crate) use wire;

/// A string that borrows from the body where it has no escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Str<'a>(pub Cow<'a, str>);

impl Str<'_> {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Str<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Str<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Str(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Str(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw: &RawValue = Deserialize::deserialize(deserializer)?;
        Self::from_raw(raw).ok_or_else(|| serde::de::Error::custom("expected a string"))
    }
}

/// A raw `null`.
pub fn null() -> Raw {
    RawValue::NULL.to_owned()
}

/// Owned raw JSON from text that is known to be JSON; `null` where it is not.
pub fn raw(json: String) -> Raw {
    RawValue::from_string(json).unwrap_or_else(|_| null())
}

/// Owned raw JSON from a slice of some; `null` where it is none.
pub(crate) fn copy(json: &str) -> Raw {
    Reader::new(json).read::<&RawValue>().map_or_else(|_| null(), RawValue::to_owned)
}

/// Parses a whole body. On failure it reads the body once more, slowly, to say where the fault is.
pub fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Malformed> {
    let Some(text) = utf8(body) else {
        return Err(Malformed { pointer: String::new(), expected: "valid UTF-8".into() });
    };
    Reader::new(text).read().map_err(|fault| locate::<T>(text, &fault))
}

/// Parses a raw value that stands at `pointer`.
pub fn decode_at<'a, T: Deserialize<'a>>(value: &'a RawValue, pointer: &str) -> Result<T, Malformed> {
    Reader::new(value.get()).read().map_err(|fault| {
        let fault = locate::<T>(value.get(), &fault);
        Malformed { pointer: format!("{pointer}{}", fault.pointer), ..fault }
    })
}

/// The values of these members of an object, as they are written; a `null` is as good as none. `None` where the text is no
/// JSON object.
pub(crate) fn pick<'a, const N: usize>(object: &'a str, names: [&str; N]) -> Option<[Option<&'a str>; N]> {
    let mut picked = [None; N];
    let read = Reader::new(object).by(|reader| {
        reader.object(|reader, key| {
            let value = reader.given()?;
            if let Some((_, place)) = names.iter().zip(&mut picked).find(|(name, _)| **name == key) {
                *place = value;
            }
            Ok(())
        })
    });
    read.is_ok_and(|is_object| is_object).then_some(picked)
}

/// Finds values by their JSON pointers (RFC 6901). Whatever is looked into is read once.
#[derive(Debug)]
pub(crate) struct Index<'a> {
    root: &'a str,
    /// The values within an object or an array, by the address of its text.
    opened: HashMap<usize, HashMap<Box<str>, &'a str>>,
}

impl<'a> Index<'a> {
    pub(crate) fn of(json: &'a str) -> Self {
        Self { root: json.trim_ascii_start(), opened: HashMap::new() }
    }

    /// The value as it is written.
    pub(crate) fn find(&mut self, pointer: &str) -> Option<&'a str> {
        pointer.split('/').skip(1).try_fold(self.root, |within, segment| {
            let opened = self.opened.entry(within.as_ptr().addr()).or_insert_with(|| values(within));
            opened.get(segment.replace("~1", "/").replace("~0", "~").as_str()).copied()
        })
    }
}

/// What an object or an array holds, by key or number; of a key that stands twice the first.
fn values(json: &str) -> HashMap<Box<str>, &str> {
    let mut values = HashMap::new();
    let read = Reader::new(json).by(|reader| {
        if json.starts_with('[') {
            return reader.array(|reader| {
                let at = values.len().to_string();
                values.insert(at.into(), reader.raw()?);
                Ok(())
            });
        }
        reader.object(|reader, key| {
            values.entry(key.into()).or_insert(reader.raw()?);
            Ok(())
        })
    });
    if read.is_err() { HashMap::new() } else { values }
}

/// A count of tokens as it is written: whole, never negative. Servers have been seen to send floats, which are rounded down,
/// and negative numbers, which are zero; anything else says nothing.
pub(crate) fn count(number: &str) -> Option<u64> {
    number.parse().ok().or_else(|| {
        let float: f64 = number.parse().ok()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates: a negative count is zero, an absurd one the largest"
        )]
        Some(float as u64)
    })
}

fn locate<'a, T: Deserialize<'a>>(text: &'a str, fault: &Fault) -> Malformed {
    let whole = |expected: String| Malformed { pointer: String::new(), expected };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Ok(_) if deserializer.end().is_err() => whole("nothing after the JSON value".into()),
        Ok(_) => whole(fault.to_string()),
        Err(fault) => Malformed { pointer: pointer(fault.path()), expected: fault.inner().to_string() },
    }
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut out = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                out.push('/');
                out.push_str(&index.to_string());
            }
            Segment::Map { key } => {
                out.push('/');
                out.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    out
}

/// Writes one JSON object. `end` closes it.
#[derive(Debug)]
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Writes the key and hands out the place of its value. `key` must need no escapes.
    #[inline]
    pub fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    #[inline]
    pub fn raw(&mut self, key: &str, json: &str) -> &mut Self {
        self.key(key).extend_from_slice(json.as_bytes());
        self
    }

    pub fn text(&mut self, key: &str, text: &Text) -> &mut Self {
        write_text(self.key(key), text);
        self
    }

    /// Plain text, escaped here.
    #[inline]
    pub fn str(&mut self, key: &str, plain: &str) -> &mut Self {
        write_str(self.key(key), plain);
        self
    }

    #[inline]
    pub fn number(&mut self, key: &str, number: u64) -> &mut Self {
        let mut buffer = itoa::Buffer::new();
        self.raw(key, buffer.format(number))
    }

    /// A number to three decimals, such as milliseconds to the microsecond. What JSON has no number for (infinity, not a number)
    /// is `null`.
    pub fn decimal(&mut self, key: &str, number: f64) -> &mut Self {
        write_decimal(self.key(key), number);
        self
    }

    /// A value that writes itself; `null` if it fails to.
    pub fn serialized(&mut self, key: &str, value: &impl serde::Serialize) -> &mut Self {
        let out = self.key(key);
        let start = out.len();
        if serde_json::to_writer(&mut *out, value).is_err() {
            out.truncate(start);
            out.extend_from_slice(b"null");
        }
        self
    }

    #[inline]
    pub fn bool(&mut self, key: &str, value: bool) -> &mut Self {
        self.raw(key, if value { "true" } else { "false" })
    }

    pub fn null(&mut self, key: &str) -> &mut Self {
        self.raw(key, "null")
    }

    pub fn extras(&mut self, extras: &Extras) -> &mut Self {
        self.extras_except(extras, &[])
    }

    /// The extras whose keys are not among `written`: a field that was `null` when it came may have been given a value since.
    pub fn extras_except(&mut self, extras: &Extras, written: &[&str]) -> &mut Self {
        for (key, value) in extras.iter().filter(|(key, _)| !written.contains(key)) {
            if !std::mem::take(&mut self.empty) {
                self.out.push(b',');
            }
            write_str(self.out, key);
            self.out.push(b':');
            self.out.extend_from_slice(value.get().as_bytes());
        }
        self
    }

    pub fn end(self) {
        self.out.push(b'}');
    }
}

/// Writes one JSON array. `end` closes it.
#[derive(Debug)]
pub struct Array<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Array<'a> {
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'[');
        Self { out, empty: true }
    }

    /// Hands out the place of the next element.
    pub fn item(&mut self) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        self.out
    }

    pub fn raw(&mut self, json: &str) -> &mut Self {
        self.item().extend_from_slice(json.as_bytes());
        self
    }

    pub fn end(self) {
        self.out.push(b']');
    }
}

/// The bytes as text, if they are UTF-8; checked at many times the speed of the standard library.
pub(crate) fn utf8(bytes: &[u8]) -> Option<&str> {
    simdutf8::basic::from_utf8(bytes).ok()
}

/// Writes a number to three decimals, without those at the end that say nothing.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number within those bounds")]
pub fn write_decimal(out: &mut Vec<u8>, number: f64) {
    let thousandths = (number * 1e3).round();
    if !(0.0..1e15).contains(&thousandths) {
        out.extend_from_slice(
            serde_json::Number::from_f64(number).map_or("null".to_owned(), |it| it.to_string()).as_bytes(),
        );
        return;
    }
    let thousandths = thousandths as u64;
    let mut buffer = itoa::Buffer::new();
    out.extend_from_slice(buffer.format(thousandths / 1000).as_bytes());
    // A one in front keeps the zeros behind the point.
    let decimals = buffer.format(1000 + thousandths % 1000).trim_end_matches('0');
    if decimals.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(decimals.get(1..).unwrap_or_default().as_bytes());
    }
}

wire! {
    /// Any object.
    pub(crate) struct AnyObject<'a> {}
}

/// Writes one object and remembers its keys, so that `extras` never repeat one.
#[derive(Debug)]
pub(crate) struct Sheet<'a> {
    object: Object<'a>,
    written: Vec<&'static str>,
}

impl<'a> Sheet<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { object: Object::new(out), written: Vec::new() }
    }

    /// Writes the key and hands out the place of its value.
    pub(crate) fn key(&mut self, key: &'static str) -> &mut Vec<u8> {
        self.written.push(key);
        self.object.key(key)
    }

    pub(crate) fn raw(&mut self, key: &'static str, json: &str) -> &mut Self {
        self.key(key).extend_from_slice(json.as_bytes());
        self
    }

    pub(crate) fn text(&mut self, key: &'static str, text: &Text) -> &mut Self {
        write_text(self.key(key), text);
        self
    }

    pub(crate) fn str(&mut self, key: &'static str, plain: &str) -> &mut Self {
        write_str(self.key(key), plain);
        self
    }

    pub(crate) fn number(&mut self, key: &'static str, number: u64) -> &mut Self {
        let mut buffer = itoa::Buffer::new();
        self.raw(key, buffer.format(number))
    }

    pub(crate) fn bool(&mut self, key: &'static str, value: bool) -> &mut Self {
        self.raw(key, if value { "true" } else { "false" })
    }

    pub(crate) fn optional_text(&mut self, key: &'static str, text: Option<&Text>) -> &mut Self {
        if let Some(text) = text {
            self.text(key, text);
        }
        self
    }

    pub(crate) fn optional_raw(&mut self, key: &'static str, raw: Option<&RawValue>) -> &mut Self {
        if let Some(raw) = raw {
            self.raw(key, raw.get());
        }
        self
    }

    pub(crate) fn optional_bool(&mut self, key: &'static str, value: Option<bool>) -> &mut Self {
        if let Some(value) = value {
            self.bool(key, value);
        }
        self
    }

    pub(crate) fn optional_number(&mut self, key: &'static str, number: Option<u64>) -> &mut Self {
        if let Some(number) = number {
            self.number(key, number);
        }
        self
    }

    /// These keys are not to be written by `extras`.
    pub(crate) fn skip(&mut self, keys: &[&'static str]) -> &mut Self {
        self.written.extend_from_slice(keys);
        self
    }

    pub(crate) fn extras(&mut self, extras: &Extras) -> &mut Self {
        self.object.extras_except(extras, &self.written);
        self
    }

    pub(crate) fn end(self) {
        self.object.end();
    }
}

/// The fields of a raw object; none where it is something else.
pub(crate) fn fields(raw: Option<&RawValue>) -> Extras {
    raw.and_then(|raw| decode::<AnyObject<'_>>(raw.get().as_bytes()).ok()).unwrap_or_default().extras
}

/// A raw object of these fields.
pub(crate) fn object(extras: &Extras) -> Raw {
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    object.extras(extras);
    object.end();
    written(out)
}

/// Raw JSON of what was written; `null` should it not be JSON.
pub(crate) fn written(out: Vec<u8>) -> Raw {
    String::from_utf8(out).map_or_else(|_| null(), raw)
}

/// A raw JSON string.
pub(crate) fn quoted(text: &Text) -> Raw {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_text(&mut out, text);
    written(out)
}

/// Writes a text between quotes.
pub fn write_text(out: &mut Vec<u8>, text: &Text) {
    out.push(b'"');
    out.extend_from_slice(text.as_escaped().as_bytes());
    out.push(b'"');
}

/// Escapes plain text and writes it between quotes.
pub fn write_str(out: &mut Vec<u8>, plain: &str) {
    if walk::special(plain.as_bytes()).is_empty() {
        out.reserve(plain.len() + 2);
        out.push(b'"');
        out.extend_from_slice(plain.as_bytes());
        out.push(b'"');
    } else {
        write_text(out, &Text::from_plain(plain));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    wire! {
        struct Sample<'a> {
            "a" => a: u32,
            "b" => b: Vec<&'a RawValue>,
        }
    }

    #[test]
    fn unknown_fields_and_nulls_are_kept() {
        let sample: Sample<'_> = decode(br#"{"a":null,"x":{"y":[1e3]},"b":["q"]}"#).unwrap();
        assert!(sample.a.is_none());
        let extras: Vec<_> = sample.extras.iter().map(|(k, v)| (k.to_owned(), v.get().to_owned())).collect();
        assert_eq!(extras, [("a".into(), "null".into()), ("x".into(), r#"{"y":[1e3]}"#.into())]);
    }

    #[test]
    fn duplicate_keys_are_refused_and_faults_have_a_place() {
        assert!(decode::<Sample<'_>>(br#"{"a":1,"a":2}"#).unwrap_err().expected.contains("duplicate field"));
        assert_eq!(decode::<Sample<'_>>(br#"{"a":"x"}"#).unwrap_err().pointer, "/a");
    }

    #[test]
    fn decimals_have_three_places_at_most() {
        for (number, written) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (0.001, "0.001"),
            (12.34, "12.34"),
            (1.000_4, "1"),
            (99.999_9, "100"),
            (100.0, "100"),
            (86_400_000.25, "86400000.25"),
            (-1.25, "-1.25"),
            (f64::NAN, "null"),
            (f64::INFINITY, "null"),
        ] {
            let mut out = Vec::new();
            write_decimal(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), written);
        }
    }

    #[test]
    fn objects_and_arrays_are_written_without_stray_commas() {
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        object.str("a", "x\"y").number("n", 7).bool("t", true).null("z");
        let mut array = Array::new(object.key("l"));
        array.raw("1").raw("2");
        array.end();
        object.end();
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"a":"x\"y","n":7,"t":true,"z":null,"l":[1,2]}"#);
    }
}
