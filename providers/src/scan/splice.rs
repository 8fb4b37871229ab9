//! Writes changed fields into a JSON object and leaves every other byte as it was.

use std::ops::Range;

use bytes::Bytes;
use memchr::memrchr;

use super::{Field, Scan};
use crate::json::write_str;

/// Edits of one body, made all at once by [`Splice::build`].
///
/// The body must have passed [`Scan::of`], and fields must come from that scan. Places must not overlap.
#[derive(Clone, Debug)]
pub struct Splice {
    body: Bytes,
    edits: Vec<Edit>,
    /// The new bytes of all edits, one behind the other.
    new: Vec<u8>,
}

/// Most bodies have no more edits than these: the model, and a field or two of the gateway's.
const EDITS: usize = 4;

#[derive(Clone, Debug)]
struct Edit {
    place: Range<usize>,
    /// Range within `new`.
    new: Range<usize>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Replace,
    /// The place is an entry, and one comma beside it goes too.
    Remove,
    /// The place is empty and stands before a closing brace; `new` is an entry.
    Append,
}

impl Splice {
    /// Starts with no edits.
    pub fn new(body: &Bytes) -> Self {
        Self { body: body.clone(), edits: Vec::with_capacity(EDITS), new: Vec::new() }
    }

    /// Puts other bytes in the place of `range`.
    pub fn replace(&mut self, range: Range<usize>, new: impl AsRef<[u8]>) -> &mut Self {
        self.edit(range, Kind::Replace, |out| out.extend_from_slice(new.as_ref()))
    }

    /// Replaces a field's value by a JSON string that says `plain`. A field that stands in the URL, not in the body, has an
    /// empty place here, and stays.
    pub fn replace_text(&mut self, field: &Field, plain: &str) -> &mut Self {
        if field.value.is_empty() {
            return self;
        }
        self.edit(field.value.clone(), Kind::Replace, |out| write_str(out, plain))
    }

    /// Takes a field out, with the comma that it no longer needs.
    pub fn remove(&mut self, field: &Field) -> &mut Self {
        self.edit(field.entry.clone(), Kind::Remove, |_| {})
    }

    /// Adds a field at the end of the top-level object. `json` is its value, written as it is.
    pub fn append(&mut self, key: &str, json: impl AsRef<[u8]>) -> &mut Self {
        match memrchr(b'}', &self.body) {
            Some(end) => self.append_at(end, key, json.as_ref()),
            None => self,
        }
    }

    /// The same for a JSON string that says `plain`.
    pub fn append_text(&mut self, key: &str, plain: &str) -> &mut Self {
        let mut json = Vec::with_capacity(plain.len() + 2);
        write_str(&mut json, plain);
        self.append(key, json)
    }

    /// Sees to it that the request asks for usage on its stream (`stream_options.include_usage`), and keeps its other
    /// stream options.
    pub fn ask_usage(&mut self, scan: &Scan) -> &mut Self {
        let Some(options) = &scan.stream_options else {
            return self.append("stream_options", r#"{"include_usage":true}"#);
        };
        match &options.include_usage {
            Some((_, true)) => self,
            Some((field, false)) => self.replace(field.value.clone(), "true"),
            None if options.is_object => self.append_at(options.field.value.end - 1, "include_usage", b"true"),
            None => self.replace(options.field.value.clone(), r#"{"include_usage":true}"#),
        }
    }

    /// The edited body, in one allocation; without edits the body itself.
    pub fn build(mut self) -> Bytes {
        if self.edits.is_empty() {
            return self.body;
        }
        self.edits.sort_by_key(|edit| edit.place.start);
        // Room for a comma with every edit.
        let mut out = Vec::with_capacity(self.body.len() + self.new.len() + self.edits.len());
        let mut done = 0;
        for edit in &self.edits {
            debug_assert!(edit.place.start >= done, "edits overlap");
            out.extend_from_slice(self.body.get(done..edit.place.start).unwrap_or_default());
            done = done.max(edit.place.end);
            match edit.kind {
                Kind::Replace => {}
                Kind::Remove => done = self.close_gap(&mut out, done),
                Kind::Append => separate(&mut out),
            }
            out.extend_from_slice(self.new.get(edit.new.clone()).unwrap_or_default());
        }
        out.extend_from_slice(self.body.get(done..).unwrap_or_default());
        out.into()
    }

    fn edit(&mut self, place: Range<usize>, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let start = self.new.len();
        write(&mut self.new);
        self.edits.push(Edit { place, new: start..self.new.len(), kind });
        self
    }

    fn append_at(&mut self, end: usize, key: &str, json: &[u8]) -> &mut Self {
        self.edit(end..end, Kind::Append, |out| {
            write_str(out, key);
            out.push(b':');
            out.extend_from_slice(json);
        })
    }

    /// Drops the comma behind a removed entry, or the one before it if it was the last. Returns where copying goes on.
    fn close_gap(&self, out: &mut Vec<u8>, end: usize) -> usize {
        let rest = self.body.get(end..).unwrap_or_default();
        let behind = rest.trim_ascii_start();
        if behind.starts_with(b",") {
            return end + (rest.len() - behind.len()) + 1;
        }
        // What is written so far ends with the last entry that stays and its comma, however many were removed after it.
        out.truncate(out.trim_ascii_end().len());
        if out.last() == Some(&b',') {
            out.pop();
        }
        end
    }
}

/// Writes the comma between two entries, unless the object is still empty.
fn separate(out: &mut Vec<u8>) {
    out.truncate(out.trim_ascii_end().len());
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn edited(body: &str, edit: impl FnOnce(&mut Splice, &Scan)) -> String {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let mut splice = Splice::new(&body);
        edit(&mut splice, &Scan::of(&body).unwrap());
        String::from_utf8(splice.build().to_vec()).unwrap()
    }

    #[test]
    fn no_edit_means_no_copy() {
        let body = Bytes::from_static(b"{}");
        assert_eq!(Splice::new(&body).build().as_ptr(), body.as_ptr());
    }

    #[test]
    fn a_new_model_leaves_every_other_byte_as_it_was() {
        let new = edited(r#"{ "model" :"a", "x": 1.0e2, "y":"\u00e9" }"#, |splice, scan| {
            splice.replace_text(&scan.model.as_ref().unwrap().field, "b\"c");
        });
        assert_eq!(new, r#"{ "model" :"b\"c", "x": 1.0e2, "y":"\u00e9" }"#);
    }

    #[test]
    fn removing_takes_one_comma_along_wherever_the_field_stands() {
        for (body, expected) in [
            (r#"{"model":"m"}"#, "{}"),
            (r#"{"model":"m","x":1}"#, r#"{"x":1}"#),
            (r#"{"x":1,"model":"m"}"#, r#"{"x":1}"#),
            (r#"{"x":1,"model":"m","y":2}"#, r#"{"x":1,"y":2}"#),
            ("{\n \"x\": 1 ,\n \"model\": \"m\"\n}", "{\n \"x\": 1\n}"),
        ] {
            let model = |splice: &mut Splice, scan: &Scan| {
                splice.remove(&scan.model.as_ref().unwrap().field);
            };
            assert_eq!(edited(body, model).replace(" \n", "\n"), expected, "{body}");
        }
    }

    #[test]
    fn usage_is_asked_for_without_losing_other_stream_options() {
        for (body, expected) in [
            ("{}", r#"{"stream_options":{"include_usage":true}}"#),
            (r#"{"a":1 }"#, r#"{"a":1,"stream_options":{"include_usage":true}}"#),
            (r#"{"stream_options":null}"#, r#"{"stream_options":{"include_usage":true}}"#),
            (r#"{"stream_options":{ }}"#, r#"{"stream_options":{"include_usage":true}}"#),
            (r#"{"stream_options":{"o":false}}"#, r#"{"stream_options":{"o":false,"include_usage":true}}"#),
            (r#"{"stream_options":{"include_usage":false}}"#, r#"{"stream_options":{"include_usage":true}}"#),
            (r#"{"stream_options":{ "include_usage": true}}"#, r#"{"stream_options":{ "include_usage": true}}"#),
        ] {
            let ask = |splice: &mut Splice, scan: &Scan| {
                splice.ask_usage(scan);
            };
            assert_eq!(edited(body, ask), expected);
        }
    }

    const OWNED: [&str; 4] = ["model", "messages", "fallbacks", "provider"];

    fn object() -> impl Strategy<Value = Map<String, Value>> {
        let key = prop_oneof![prop::sample::select(OWNED.to_vec()).prop_map(str::to_owned), "[a-c\"\\\\]{0,2}"];
        prop::collection::vec((key, "[a-z{}\",]{1,6}".prop_map(Value::from)), 0..7)
            .prop_map(|fields| fields.into_iter().collect())
    }

    proptest! {
        #[test]
        fn an_edited_body_says_what_the_edited_tree_says(
            fields in object(), pretty in any::<bool>(), fates in prop::array::uniform4(0..3_u8), append in any::<bool>(),
        ) {
            let mut expected = fields.clone();
            let value = Value::Object(fields);
            let body = Bytes::from(if pretty { format!("{value:#}") } else { value.to_string() });
            let scan = Scan::of(&body).unwrap();
            let mut splice = Splice::new(&body);
            if append {
                splice.append("new \"field\"", "[1, 2]");
                expected.insert("new \"field\"".into(), json!([1, 2]));
            }
            let named = |named: Option<super::super::Named>| named.map(|named| named.field);
            let places = [named(scan.model), scan.messages, scan.fallbacks, named(scan.provider)];
            for ((key, place), fate) in OWNED.into_iter().zip(places).zip(fates) {
                match (place, fate) {
                    (Some(place), 1) => {
                        splice.remove(&place);
                        expected.shift_remove(key);
                    }
                    (Some(place), 2) => {
                        splice.replace_text(&place, "new\n");
                        expected.insert(key.into(), json!("new\n"));
                    }
                    _ => {}
                }
            }
            let edited = splice.build();
            prop_assert_eq!(serde_json::from_slice::<Value>(&edited).unwrap(), Value::Object(expected), "{:?}", edited);
        }
    }
}
