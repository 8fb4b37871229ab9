//! Reads JSON into any type that `serde` knows, by a [`walk`] over it.
//!
//! It reads what `serde_json` reads, at a fraction of the cost where values are taken raw or passed over, as almost all are
//! here. A fault is not worded: who needs words has the text read again by `serde_json`, which is rare enough to be slow.

use std::borrow::Cow;

use serde::de::{self, Deserialize, DeserializeSeed, IntoDeserializer as _, Visitor};

use super::walk;

/// Levels of nesting that may be read into values of ours, which happens by recursion; as many as `serde_json` allows. What
/// is taken raw has no such bound.
const MAX_READ_LEVELS: usize = 128;

/// The name by which `serde_json`'s `RawValue` asks for a value as it is written.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// Why a text was not read.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Not JSON.
    Syntax,
    /// More levels of nesting than are allowed.
    TooDeep,
    /// JSON, but not what the type needs.
    Type(Box<str>),
}

/// A place in a text, in front of a value.
#[derive(Debug)]
pub(crate) struct Reader<'de> {
    text: &'de str,
    /// What of the text is not read yet. Never begins with white space.
    ahead: &'de [u8],
    /// Levels of nesting that may still be entered, by recursion and at all.
    read_levels: usize,
    levels: usize,
}

/// The members of the object, or the elements of the array, that was entered last.
struct Members<'r, 'de> {
    reader: &'r mut Reader<'de>,
    end: u8,
    is_first: bool,
}

/// A raw value in the form in which `RawValue` takes it.
struct Raw<'de>(Option<&'de str>);

// === impl Reader ===

impl<'de> Reader<'de> {
    pub(crate) fn new(text: &'de str) -> Self {
        Self { text, ahead: walk::blanks(text.as_bytes()), read_levels: MAX_READ_LEVELS, levels: usize::MAX }
    }

    /// Refuses text that nests deeper than this, the outermost container included.
    pub(crate) fn bounded(self, levels: usize) -> Self {
        Self { levels, ..self }
    }

    /// Reads the whole text as one value.
    pub(crate) fn read<T: Deserialize<'de>>(mut self) -> Result<T, Fault> {
        let value = T::deserialize(&mut self)?;
        self.end(value)
    }

    /// Reads the whole text by this function, which takes the one value that it is.
    pub(crate) fn by<T>(mut self, take: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        let value = take(&mut self)?;
        self.end(value)
    }

    /// Reads the whole text as one object, and shows each member's key and value as they are written.
    pub(crate) fn members(self, mut show: impl FnMut(&'de str, &'de str)) -> Result<(), Fault> {
        self.by(|reader| {
            if !reader.ahead.starts_with(b"{") {
                reader.raw()?;
                return Err(Fault::Type("an object".into()));
            }
            reader.each(b'{', |reader| {
                let key = reader.string()?;
                reader.mark(b':')?;
                show(key, reader.raw()?);
                Ok(())
            })
        })
    }

    /// Takes the next value. Of an object, the function takes the value of each member. Was it an object?
    pub(crate) fn object<F>(&mut self, mut take: F) -> Result<bool, Fault>
    where
        F: FnMut(&mut Self, &str) -> Result<(), Fault>,
    {
        if !self.ahead.starts_with(b"{") {
            return self.raw().map(|_| false);
        }
        self.each(b'{', |reader| {
            let key = reader.text()?;
            reader.mark(b':')?;
            take(reader, &key)
        })?;
        Ok(true)
    }

    /// Takes the next value. Of an array, the function takes each element. Was it an array?
    pub(crate) fn array<F>(&mut self, take: F) -> Result<bool, Fault>
    where
        F: FnMut(&mut Self) -> Result<(), Fault>,
    {
        if !self.ahead.starts_with(b"[") {
            return self.raw().map(|_| false);
        }
        self.each(b'[', take)?;
        Ok(true)
    }

    /// Takes the next value as it is written.
    pub(crate) fn raw(&mut self) -> Result<&'de str, Fault> {
        Ok(self.to(walk::value(self.ahead, self.levels)?))
    }

    /// Takes the next value as it is written. A `null` is as good as none.
    pub(crate) fn given(&mut self) -> Result<Option<&'de str>, Fault> {
        self.raw().map(|value| Some(value).filter(|value| *value != "null"))
    }

    pub(crate) fn is_null(&self) -> bool {
        self.ahead.starts_with(b"n")
    }

    fn each(&mut self, open: u8, mut take: impl FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        self.enter(open, |mut members| {
            while members.is_next()? {
                take(members.reader)?;
            }
            Ok(())
        })
    }

    fn end<T>(self, value: T) -> Result<T, Fault> {
        if self.ahead.is_empty() { Ok(value) } else { Err(Fault::Syntax) }
    }

    /// The next string as it is written, quotes and escapes included.
    fn string(&mut self) -> Result<&'de str, Fault> {
        Ok(self.to(walk::string(self.ahead)?))
    }

    /// The next string without quotes and escapes.
    fn text(&mut self) -> Result<Cow<'de, str>, Fault> {
        let [b'"', inner @ ..] = self.ahead else { return Err(Fault::Syntax) };
        if let end @ [b'"', behind @ ..] = walk::special(inner) {
            let place = self.text.len() - inner.len();
            self.ahead = walk::blanks(behind);
            return Ok(Cow::Borrowed(self.text.get(place..place + inner.len() - end.len()).unwrap_or_default()));
        }
        serde_json::from_str(self.string()?).map(Cow::Owned).map_err(<Fault as de::Error>::custom)
    }

    /// What is written up to there, where white space may follow.
    fn to(&mut self, behind: &'de [u8]) -> &'de str {
        let place = |ahead: &[u8]| self.text.len() - ahead.len();
        let written = self.text.get(place(self.ahead)..place(behind));
        self.ahead = walk::blanks(behind);
        // Tokens begin and end at ASCII characters, so there is such a slice.
        written.unwrap_or_default()
    }

    fn mark(&mut self, mark: u8) -> Result<(), Fault> {
        self.ahead = walk::mark(self.ahead, mark)?;
        Ok(())
    }

    /// Reads the container that is next, between its brackets.
    fn enter<T>(&mut self, open: u8, read: impl FnOnce(Members<'_, 'de>) -> Result<T, Fault>) -> Result<T, Fault> {
        let end = if open == b'{' { b'}' } else { b']' };
        self.mark(open)?;
        let (read_levels, levels) = (self.read_levels, self.levels);
        self.read_levels = read_levels.checked_sub(1).ok_or(Fault::TooDeep)?;
        self.levels = levels.checked_sub(1).ok_or(Fault::TooDeep)?;
        let value = read(Members { reader: self, end, is_first: true })?;
        (self.read_levels, self.levels) = (read_levels, levels);
        self.mark(end)?;
        Ok(value)
    }
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.ahead {
            [b'"', ..] => self.deserialize_str(visitor),
            [b'{', ..] => self.enter(b'{', |members| visitor.visit_map(members)),
            [b'[', ..] => self.enter(b'[', |members| visitor.visit_seq(members)),
            _ => match self.raw()? {
                "null" => visitor.visit_unit(),
                "true" => visitor.visit_bool(true),
                "false" => visitor.visit_bool(false),
                number => visit_number(number, visitor),
            },
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if !self.ahead.starts_with(b"\"") {
            return self.deserialize_any(visitor);
        }
        match self.text()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.is_null() {
            self.raw()?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        if name == RAW_VALUE {
            return visitor.visit_map(Raw(Some(self.raw()?)));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.raw()?;
        visitor.visit_unit()
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        // Wire enums are plain words; nothing of ours has variants with content.
        visitor.visit_enum(String::deserialize(self)?.into_deserializer())
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple tuple_struct map
        struct
    }
}

/// Hands a number over as `serde_json` does: whole ones as integers where they fit, negative zero and all others as floats.
fn visit_number<'de, V: Visitor<'de>>(number: &str, visitor: V) -> Result<V::Value, Fault> {
    if let Ok(whole) = number.parse() {
        return visitor.visit_u64(whole);
    }
    match number.parse() {
        Ok(whole) if whole < 0 => return visitor.visit_i64(whole),
        _ => {}
    }
    visitor.visit_f64(serde_json::from_str(number).map_err(<Fault as de::Error>::custom)?)
}

// === impl Members ===

impl Members<'_, '_> {
    /// Is there another? Moves behind the comma before it.
    fn is_next(&mut self) -> Result<bool, Fault> {
        let is_first = std::mem::take(&mut self.is_first);
        if self.reader.ahead.first() == Some(&self.end) {
            return Ok(false);
        }
        if !is_first {
            self.reader.mark(b',')?;
        }
        Ok(true)
    }
}

impl<'de> de::MapAccess<'de> for Members<'_, 'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        if !self.is_next()? {
            return Ok(None);
        }
        if !self.reader.ahead.starts_with(b"\"") {
            return Err(Fault::Syntax);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        self.reader.mark(b':')?;
        seed.deserialize(&mut *self.reader)
    }
}

impl<'de> de::SeqAccess<'de> for Members<'_, 'de> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if !self.is_next()? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

// === impl Raw ===

impl<'de> de::MapAccess<'de> for Raw<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        if self.0.is_none() {
            return Ok(None);
        }
        seed.deserialize(de::value::BorrowedStrDeserializer::new(RAW_VALUE)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(de::value::BorrowedStrDeserializer::new(self.0.take().unwrap_or_default()))
    }
}

// === impl Fault ===

impl Fault {
    /// The fault as `serde_json` words it, with its line and column.
    pub(crate) fn in_words(&self, text: &str) -> String {
        match serde_json::from_str::<de::IgnoredAny>(text) {
            Err(fault) => fault.to_string(),
            Ok(_) => self.to_string(),
        }
    }
}

impl From<walk::Fault> for Fault {
    fn from(fault: walk::Fault) -> Self {
        match fault {
            walk::Fault::Syntax => Self::Syntax,
            walk::Fault::TooDeep => Self::TooDeep,
        }
    }
}

impl de::Error for Fault {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Type(message.to_string().into())
    }
}

impl std::error::Error for Fault {}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Syntax => f.write_str("not JSON"),
            Self::TooDeep => f.write_str("nested too deep"),
            Self::Type(message) => f.write_str(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::*;

    /// The members of an object, as `serde_json` cuts them.
    #[derive(Debug)]
    struct Cut<'a>(Vec<(&'a str, &'a str)>);

    struct Cutter;

    impl<'de> Deserialize<'de> for Cut<'de> {
        fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(Cutter)
        }
    }

    impl<'de> Visitor<'de> for Cutter {
        type Value = Cut<'de>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Cut<'de>, A::Error> {
            let mut members = Vec::new();
            while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                members.push((key.get(), value.get()));
            }
            Ok(Cut(members))
        }
    }

    /// Every way to read this text comes out as it does with `serde_json`.
    fn check(text: &str) {
        let passed = Reader::new(text).read::<IgnoredAny>().is_ok();
        assert_eq!(passed, serde_json::from_str::<IgnoredAny>(text).is_ok(), "{text:?}");
        let raw = |raw: &RawValue| raw.get().to_owned();
        let theirs = serde_json::from_str::<&RawValue>(text).ok();
        assert_eq!(Reader::new(text).read().ok().map(raw), theirs.map(raw), "{text:?}");
        let theirs = serde_json::from_str::<Cut<'_>>(text).ok().map(|cut| cut.0);
        assert_eq!(Reader::new(text).read::<Cut<'_>>().ok().map(|cut| cut.0), theirs, "{text:?}");
        let mut members = Vec::new();
        let read = Reader::new(text).members(|key, value| members.push((key, value)));
        assert_eq!(read.ok().map(|()| members), theirs, "{text:?}");
        let theirs = serde_json::from_str::<Vec<&RawValue>>(text).ok();
        let theirs: Option<Vec<&str>> = theirs.map(|list| list.into_iter().map(RawValue::get).collect());
        let mut elements = Vec::new();
        let read = Reader::new(text).by(|reader| {
            reader.array(|reader| {
                elements.push(reader.raw()?);
                Ok(())
            })
        });
        assert_eq!(read.ok().filter(|is_array| *is_array).map(|_| elements), theirs, "{text:?}");
        let mut keyed = serde_json::Map::new();
        let read = Reader::new(text).by(|reader| {
            reader.object(|reader, key| {
                keyed.insert(key.to_owned(), serde_json::from_str(reader.raw()?).unwrap_or_default());
                Ok(())
            })
        });
        if let Ok(theirs) = serde_json::from_str::<Value>(text) {
            assert_eq!(read.ok(), Some(theirs.is_object()), "{text:?}");
            assert_eq!(keyed, theirs.as_object().cloned().unwrap_or_default(), "{text:?}");
        }
        assert_eq!(Reader::new(text).read::<Value>().ok(), serde_json::from_str::<Value>(text).ok(), "{text:?}");
    }

    /// What could be a value.
    #[rustfmt::skip]
    const VALUES: &[&str] = &[
        "", " ", "0", "-0", "-", "01", "1.", ".5", "1.5", "1e5", "1e", "1E+5", "1e-", "-1.5e-3", "+1", "1e400",
        "NaN", "18446744073709551615", "18446744073709551616", "-9223372036854775808", "-9223372036854775809",
        "0x1", "true", "tru", "truee", "True", "false", "null", "nul", "n", "\"", "\"a", "\"a\"", "\"\\\"",
        "\"\\\"\"", "\"\\x\"", "\"\\u12\"", "\"\\u12G4\"", "\"\\u00e9\"", "\"\\ud800\"", "\"\t\"", "\"\\t\"",
        "\"\u{7f}é\"", "[]", "[ ]", "[1", "[1,", "[1,]", "[,]", "[,1]", "[1 2]", "[1}", "[}", "]", "{}", "{ }",
        "{", "{]", "{,}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\" : 1 , \"b\" : [ { } ] }", "{\"a\" 1}",
        "{a:1}", "{1:1}", "{\"a\":1 \"b\":2}", "{\"a\":1}}", "[[{}]]", "[{\"a\":[]}]", "[{\"a\":[}]]", "[{]}",
        "\u{feff}{}", "\u{a0}1", "1\u{b}", "/**/1",
    ];

    #[test]
    fn what_is_json_and_what_is_not_is_as_with_serde_json() {
        for value in VALUES {
            check(value);
            for (before, behind) in [(" \n\t\r", " "), ("[", "]"), ("{\"k\":", "}"), ("", "x")] {
                check(&format!("{before}{value}{behind}"));
            }
        }
    }

    #[test]
    fn a_special_byte_is_found_wherever_it_stands() {
        for length in 0..90 {
            for special in ["", "\"", "\\n", "\\", "\u{1f}", "\u{7f}", "#", "!", "]", "é"] {
                for at in 0..=length {
                    check(&format!("\"{}{special}{}\"", "a".repeat(at), "b".repeat(length - at)));
                }
            }
        }
    }

    #[test]
    fn deep_text_costs_no_stack_and_no_level_is_mistaken() {
        for levels in [1, 62, 63, 64, 65, 126, 127, 128, 129, 190, 200_000] {
            let nested = format!("{}1{}", "[{\"a\":".repeat(levels), "}]".repeat(levels));
            let shallow = |text: &str| Reader::new(text).read::<IgnoredAny>().is_ok();
            assert!(shallow(&nested), "{levels}");
            assert!(!shallow(&nested.replace("1}]", "1]}")) && !shallow(&nested.replacen("}]", "", 1)), "{levels}");
            assert!(!shallow(&format!("{nested}]")), "{levels}");
            let bounded = |by: usize| Reader::new(&nested).bounded(by).read::<IgnoredAny>();
            assert!(bounded(2 * levels).is_ok());
            assert!(matches!(bounded(2 * levels - 1), Err(Fault::TooDeep)), "{levels}");
        }
        let tree = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(Reader::new(&tree(MAX_READ_LEVELS)).read::<Value>().is_ok());
        assert!(matches!(Reader::new(&tree(100_000)).read::<Value>(), Err(Fault::TooDeep)));
    }

    /// Members count as levels of the object around them.
    #[test]
    fn a_bound_holds_for_members_too() {
        let members = |text: &str| Reader::new(text).bounded(2).members(|_, _| {});
        assert!(members(r#"{"a":[],"b":{}}"#).is_ok());
        for text in [r#"{"a":[[]]}"#, "[[[]]]"] {
            assert!(matches!(members(text), Err(Fault::TooDeep)), "{text}");
        }
        assert!(matches!(members("[[]]"), Err(Fault::Type(_))));
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1000..1000_i32).prop_map(|number| Value::from(f64::from(number) / 8.0)),
            "[a-z\\[{}\\]\"\\\\\n\u{1}é😀]{0,40}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-z\"é]{0,20}", inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_serde_json_reads_it(text in "[\\[\\]{}\",:\\\\u0-9a-f.eE+\\- \n\u{1}é]{0,24}") {
            check(&text);
        }

        #[test]
        fn damaged_json_is_read_as_serde_json_reads_it(
            tree in tree(), pretty in any::<bool>(), at in any::<prop::sample::Index>(),
            damage in "[\\[\\]{}\",:\\\\0-9a-f.eE+\\- \n\u{1}é]{0,2}", cut in 0..3_usize,
        ) {
            let text = if pretty { format!("{tree:#}") } else { tree.to_string() };
            check(&text);
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let first = at.index(places.len());
            let behind = places[(first + cut).min(places.len() - 1)];
            check(&format!("{}{damage}{}", &text[..places[first]], &text[behind..]));
        }
    }
}
