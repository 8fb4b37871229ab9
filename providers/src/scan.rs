//! Reads the few fields of a request body that the gateway owns, and where they stand, without building anything.
//!
//! [`Scan::of`] is one validating pass: a body that passes is UTF-8, a JSON object, of bounded nesting, and names no owned
//! field twice (two readers of such a body could disagree about the model). Everything else is left to the provider.
//! [`Splice`] writes changed fields into the bytes. Neither knows what messages are.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use memchr::{memmem, memrchr};
use serde_json::value::RawValue;

use crate::Malformed;
use crate::json::{Fault, Reader, utf8};

mod splice;

pub use splice::Splice;

/// Deepest nesting of a body that is passed on, the top-level object included. Parsers downstream recurse.
const MAX_NESTING: usize = 128;

/// Longest name of a model or provider, in bytes. The longest real ones are resource names of clouds (2048).
const MAX_NAME_BYTES: usize = 2048;

/// The gateway's own fields of a request body. Ranges are byte offsets into the body that was scanned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    pub model: Option<Named>,
    /// The provider asked for by name. The object of that key (OpenRouter's routing preferences) is none of ours.
    pub provider: Option<Named>,
    /// `false` where absent or `null`.
    pub stream: bool,
    /// The list of fallback targets, unread.
    pub fallbacks: Option<Field>,
    pub stream_options: Option<StreamOptions>,
    /// Does the request bring tools (`tools`, or the older `functions`)? An empty list is none.
    pub has_tools: bool,
    /// How many choices were asked for; `None` where absent or not a whole number, which the provider judges.
    pub n: Option<u32>,
    pub messages: Option<Field>,
    /// The output limit in tokens under any of its names, the highest where there are several; a hint, as `n` is.
    pub max_tokens: Option<u64>,
    /// Offset of the closing brace.
    pub end: usize,
}

/// Where one field stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Key through value, without the comma.
    pub entry: Range<usize>,
    pub value: Range<usize>,
}

/// A field whose value names something. Never empty, never with control characters: names end up in headers and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub field: Field,
    /// The name without JSON escapes.
    pub name: String,
}

/// OpenAI's `stream_options`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    pub field: Field,
    /// Is it an object, rather than `null`?
    pub is_object: bool,
    /// The value of `include_usage`, and where it stands; `null` counts as `false`.
    pub include_usage: Option<(Field, bool)>,
}

/// One entry of an object, as it is written.
#[derive(Clone, Copy)]
struct Entry<'a> {
    key: &'a str,
    value: &'a str,
}

/// The entries that a scan looks for, by the names in [`Entries::slot`].
#[derive(Default)]
struct Entries<'a> {
    model: Option<Entry<'a>>,
    provider: Option<Entry<'a>>,
    stream: Option<Entry<'a>>,
    fallbacks: Option<Entry<'a>>,
    stream_options: Option<Entry<'a>>,
    include_usage: Option<Entry<'a>>,
    tools: Option<Entry<'a>>,
    functions: Option<Entry<'a>>,
    n: Option<Entry<'a>>,
    messages: Option<Entry<'a>>,
    max_tokens: Option<Entry<'a>>,
    max_completion_tokens: Option<Entry<'a>>,
    max_output_tokens: Option<Entry<'a>>,
    twice: Option<String>,
}

// === impl Field ===

impl Field {
    /// Where a value stands in the body that it was read from, for fields whose key nobody changes.
    pub(crate) fn of(value: &RawValue, body: &Bytes) -> Self {
        let start = value.get().as_ptr().addr().saturating_sub(body.as_ptr().addr());
        let value = start..start.saturating_add(value.get().len());
        Self { entry: value.clone(), value }
    }
}

// === impl Named ===

impl Named {
    /// A field of a body's top level that names something, for what only some requests have. It is looked for by its bytes
    /// first, so that a body without it costs one search. `None` where it is absent, or is no name: that is the provider's to
    /// judge.
    ///
    /// # Errors
    /// Where it is given twice: two readers of such a body could disagree.
    pub fn find(body: &Bytes, key: &str) -> Result<Option<Self>, Malformed> {
        if memmem::find(body, key.as_bytes()).is_none() {
            return Ok(None);
        }
        let Some(text) = utf8(body) else { return Ok(None) };
        let (mut found, mut twice) = (None, false);
        let read = Reader::new(text).bounded(MAX_NESTING).members(|written, value| {
            if name(written) == key {
                twice |= found.replace(Entry { key: written, value }).is_some();
            }
        });
        let pointer = format!("/{key}");
        if twice {
            return Err(malformed(&pointer, "a field that is given once"));
        }
        let entry = read.ok().and(found);
        Ok(entry.and_then(|entry| entry.named(text, &pointer).ok()))
    }
}

// === impl Scan ===

impl Scan {
    /// Scans a request body. The fault says which field, or what is wrong with the whole.
    pub fn of(body: &Bytes) -> Result<Self, Malformed> {
        let text = utf8(body).ok_or_else(|| malformed("", "valid UTF-8"))?;
        let entries = Entries::of(text, MAX_NESTING, "")?;
        let place = |entry: Entry<'_>| entry.place(text);
        let limits = [entries.max_tokens, entries.max_completion_tokens, entries.max_output_tokens];
        Ok(Self {
            model: entries.model.map(|entry| entry.named(text, "/model")).transpose()?,
            provider: match entries.provider {
                Some(entry) if entry.value.starts_with('"') => Some(entry.named(text, "/provider")?),
                _ => None,
            },
            stream: entries.stream.map_or(Ok(false), |entry| entry.flag("/stream"))?,
            fallbacks: entries.fallbacks.map(place),
            stream_options: entries.stream_options.map(|entry| stream_options(entry, text)).transpose()?,
            has_tools: [entries.tools, entries.functions].into_iter().flatten().any(Entry::is_filled),
            n: entries.n.and_then(|entry| entry.value.parse().ok()),
            messages: entries.messages.map(place),
            max_tokens: limits.into_iter().flatten().filter_map(|entry| entry.value.parse().ok()).max(),
            end: memrchr(b'}', body).ok_or_else(|| malformed("", "a JSON object"))?,
        })
    }

    /// Where a body says its model, whatever it says there, for who knows better: SDKs whose URL names the model still write
    /// `"model": null`. Faults are those of [`Scan::of`], less the model's.
    pub fn place_of_model(body: &Bytes) -> Result<Option<Field>, Malformed> {
        let text = utf8(body).ok_or_else(|| malformed("", "valid UTF-8"))?;
        Ok(Entries::of(text, MAX_NESTING, "")?.model.map(|entry| entry.place(text)))
    }
}

fn stream_options(entry: Entry<'_>, text: &str) -> Result<StreamOptions, Malformed> {
    const POINTER: &str = "/stream_options";
    let field = entry.place(text);
    if entry.value == "null" {
        return Ok(StreamOptions { field, is_object: false, include_usage: None });
    }
    let include_usage = match Entries::of(entry.value, MAX_NESTING, POINTER)?.include_usage {
        Some(entry) => Some((entry.place(text), entry.flag("/stream_options/include_usage")?)),
        None => None,
    };
    Ok(StreamOptions { field, is_object: true, include_usage })
}

fn malformed(pointer: &str, expected: impl Into<String>) -> Malformed {
    Malformed { pointer: pointer.to_owned(), expected: expected.into() }
}

// === impl Entries ===

impl<'a> Entries<'a> {
    /// Reads the object that stands at `pointer`, nested no deeper than `max_levels`.
    fn of(object: &'a str, max_levels: usize, pointer: &str) -> Result<Self, Malformed> {
        let mut entries = Self::default();
        let read = Reader::new(object).bounded(max_levels).members(|key, value| entries.note(key, value));
        read.map_err(|fault| {
            let expected = match fault {
                Fault::TooDeep => format!("at most {max_levels} levels of nesting"),
                _ if !object.trim_ascii_start().starts_with('{') => "a JSON object".into(),
                fault => format!("valid JSON ({})", fault.in_words(object)),
            };
            malformed(pointer, expected)
        })?;
        match entries.twice {
            Some(key) => Err(malformed(&format!("{pointer}/{key}"), "a field that is given once")),
            None => Ok(entries),
        }
    }

    fn note(&mut self, key: &'a str, value: &'a str) {
        let name = name(key);
        if let Some(slot) = self.slot(&name)
            && slot.replace(Entry { key, value }).is_some()
        {
            self.twice = Some(name.into_owned());
        }
    }

    /// The place for an owned key, or `None` for any other key.
    fn slot(&mut self, key: &str) -> Option<&mut Option<Entry<'a>>> {
        Some(match key {
            "model" => &mut self.model,
            "provider" => &mut self.provider,
            "stream" => &mut self.stream,
            "fallbacks" => &mut self.fallbacks,
            "stream_options" => &mut self.stream_options,
            "include_usage" => &mut self.include_usage,
            "tools" => &mut self.tools,
            "functions" => &mut self.functions,
            "n" => &mut self.n,
            "messages" => &mut self.messages,
            "max_tokens" => &mut self.max_tokens,
            "max_completion_tokens" => &mut self.max_completion_tokens,
            "max_output_tokens" => &mut self.max_output_tokens,
            _ => return None,
        })
    }
}

/// A key without quotes and escapes. Where escapes make no string (a lone surrogate) it is no key of ours, and empty.
fn name(key: &str) -> Cow<'_, str> {
    if key.contains('\\') {
        return Cow::Owned(serde_json::from_str(key).unwrap_or_default());
    }
    Cow::Borrowed(key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or_default())
}

// === impl Entry ===

impl Entry<'_> {
    /// Where the entry stands in `text`, which it must be a slice of.
    fn place(self, text: &str) -> Field {
        let offset = |part: &str| part.as_ptr().addr() - text.as_ptr().addr();
        let start = offset(self.value);
        let end = start + self.value.len();
        Field { entry: offset(self.key)..end, value: start..end }
    }

    fn named(self, text: &str, pointer: &str) -> Result<Named, Malformed> {
        let name = serde_json::from_str::<String>(self.value).map_err(|_| malformed(pointer, "a string"))?;
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(malformed(pointer, format!("1 to {MAX_NAME_BYTES} bytes without control characters")));
        }
        Ok(Named { field: self.place(text), name })
    }

    fn flag(self, pointer: &str) -> Result<bool, Malformed> {
        match self.value {
            "true" => Ok(true),
            "false" | "null" => Ok(false),
            _ => Err(malformed(pointer, "a boolean")),
        }
    }

    /// Is there anything in this list?
    fn is_filled(self) -> bool {
        let value = self.value;
        let inner = value.strip_prefix('[').and_then(|value| value.strip_suffix(']'));
        value != "null" && inner.is_none_or(|inner| !inner.trim_ascii().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use serde_json::{Map, Value, json};

    use super::*;

    fn scan(body: &str) -> Result<Scan, Malformed> {
        Scan::of(&Bytes::copy_from_slice(body.as_bytes()))
    }

    fn refuses(body: &str, pointer: &str, expected: &str) {
        let fault = scan(body).unwrap_err();
        assert_eq!(fault.pointer, pointer, "{body}");
        assert!(fault.expected.contains(expected), "{body}: {fault}");
    }

    #[test]
    fn finds_what_the_gateway_owns_and_where_it_stands() {
        let body = r#" { "model" : "gpt-\u0034o", "messages":[{"role":"user","model":"no"}], "n": 2,
            "stream":true, "fallbacks":["a/b"], "stream_options":{"include_usage":false,"x":1},
            "max_tokens": 5, "max_completion_tokens": 900, "tools":[{}], "provider":"groq" } "#;
        let scan = scan(body).unwrap();
        let at = |range: &Range<usize>| &body[range.clone()];
        let model = scan.model.unwrap();
        assert_eq!((model.name.as_str(), at(&model.field.value)), ("gpt-4o", r#""gpt-\u0034o""#));
        assert_eq!(at(&model.field.entry), r#""model" : "gpt-\u0034o""#);
        assert_eq!(scan.provider.unwrap().name, "groq");
        assert_eq!(at(&scan.fallbacks.unwrap().value), r#"["a/b"]"#);
        assert_eq!(at(&scan.messages.unwrap().value), r#"[{"role":"user","model":"no"}]"#);
        let options = scan.stream_options.unwrap();
        let (include_usage, flag) = options.include_usage.unwrap();
        assert_eq!((at(&include_usage.entry), flag), (r#""include_usage":false"#, false));
        assert!(scan.stream && scan.has_tools);
        assert_eq!((scan.n, scan.max_tokens, at(&(scan.end..scan.end + 2))), (Some(2), Some(900), "} "));
    }

    #[test]
    fn fields_that_are_none_of_ours_pass() {
        let scan =
            scan(r#"{"provider":{"order":["a"]},"n":1.5,"max_tokens":-1,"tools":[ ],"functions":null,"stream":null}"#);
        let scan = scan.unwrap();
        assert!(scan.provider.is_none() && scan.n.is_none() && scan.max_tokens.is_none());
        assert!(!scan.has_tools && !scan.stream && scan.model.is_none());
        assert!(super::Scan::of(&Bytes::from_static(br#"{"x":"\ud800","\ud800":1,"y":1e999,"y":2}"#)).is_ok());
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_place() {
        refuses("", "", "a JSON object");
        refuses("[]", "", "a JSON object");
        refuses("\u{feff}{}", "", "a JSON object");
        refuses("{} {}", "", "valid JSON");
        refuses(r#"{"a":NaN}"#, "", "valid JSON");
        refuses(r#"{"a":1,}"#, "", "valid JSON");
        refuses("{\"a\":\"\0\"}", "", "valid JSON");
        refuses(r#"{"model":7}"#, "/model", "a string");
        refuses(r#"{"model":null}"#, "/model", "a string");
        let place = Scan::place_of_model(&Bytes::from_static(br#"{"n":1, "model": null}"#)).unwrap().unwrap();
        assert_eq!((place.entry, place.value), (8..21, 17..21));
        refuses(r#"{"model":""}"#, "/model", "1 to");
        refuses(r#"{"model":"a\r\nx-admin: 1"}"#, "/model", "control characters");
        refuses(&format!(r#"{{"model":"{}"}}"#, "m".repeat(65_536)), "/model", "1 to 2048 bytes");
        refuses(r#"{"provider":"a\u0000"}"#, "/provider", "control characters");
        refuses(r#"{"stream":"true"}"#, "/stream", "a boolean");
        refuses(r#"{"stream_options":[]}"#, "/stream_options", "a JSON object");
        refuses(r#"{"stream_options":{"include_usage":1}}"#, "/stream_options/include_usage", "a boolean");
        assert_eq!(Scan::of(&Bytes::from_static(b"{\"a\":\"\xff\"}")).unwrap_err().expected, "valid UTF-8");
    }

    #[test]
    fn a_name_that_few_bodies_have_is_found_at_the_top_level_only() {
        let find = |body: &'static str| Named::find(&Bytes::from_static(body.as_bytes()), "previous_response_id");
        let body = r#"{"input":[{"previous_response_id":"x"}], "previous_response_id" : "resp_\u0031" }"#;
        let named = find(body).unwrap().unwrap();
        assert_eq!((named.name.as_str(), &body[named.field.value]), ("resp_1", r#""resp_\u0031""#));
        for nothing in [
            "{}",
            r#"{"previous_response_id":null}"#,
            r#"{"previous_response_id":{"id":"x"}}"#,
            r#"{"previous_response_id":""}"#,
            r#"{"input":"previous_response_id"}"#,
            r#"["previous_response_id"]"#,
        ] {
            assert_eq!(find(nothing).unwrap(), None, "{nothing}");
        }
        let twice = find(r#"{"previous_response_id":"a","previous_response_id":"b"}"#).unwrap_err();
        assert_eq!(twice.pointer, "/previous_response_id");
    }

    #[test]
    fn an_owned_field_given_twice_is_refused_however_it_is_spelt() {
        refuses(r#"{"model":"a","model":"b"}"#, "/model", "given once");
        refuses(r#"{"model":"a","mod\u0065l":"b"}"#, "/model", "given once");
        refuses(
            r#"{"stream_options":{"include_usage":true,"include_usage":true}}"#,
            "/stream_options/include_usage",
            "given once",
        );
        assert_eq!(scan(r#"{"mod\u0065l":"b"}"#).unwrap().model.unwrap().field.entry, 1..17);
    }

    #[test]
    fn nesting_has_a_limit_and_deep_bodies_cost_no_stack() {
        let nested = |levels: usize| format!(r#"{{"m":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert!(scan(&nested(MAX_NESTING)).is_ok());
        for levels in [MAX_NESTING + 1, 1000, 100_000] {
            refuses(&nested(levels), "", "levels of nesting");
            refuses(&nested(levels).replace(['[', ']'], ""), "", "valid JSON");
        }
        refuses(&"[".repeat(100_000), "", "levels of nesting");
        let wide = format!(r#"{{"a":[{}],"b":"\\\"{}\""}}"#, vec!["{}"; 500].join(","), "[".repeat(500));
        assert!(scan(&wide).is_ok());
    }

    /// How deep a tree is, a scalar being nothing.
    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    fn key() -> impl Strategy<Value = String> {
        prop_oneof![
            3 => prop::sample::select(vec![
                "model", "provider", "stream", "fallbacks", "stream_options", "tools", "n", "messages", "max_tokens",
                "max_completion_tokens", "include_usage",
            ]).prop_map(str::to_owned),
            1 => "[a-z\"\\\\é]{0,6}",
        ]
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3..2000_i64).prop_map(Value::from),
            "[a-z\\[{}\\]\"\\\\\né]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key(), inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn object() -> impl Strategy<Value = Map<String, Value>> {
        prop::collection::vec((key(), tree()), 0..8).prop_map(|fields| fields.into_iter().collect())
    }

    /// The rules for owned fields, said once more over a tree.
    fn acceptable(fields: &Map<String, Value>) -> bool {
        let flag = |value: Option<&Value>| value.is_none_or(|value| value.is_boolean() || value.is_null());
        let name = |value: &Value| value.as_str().is_some_and(|name| !name.is_empty() && !name.contains('\n'));
        fields.get("model").is_none_or(name)
            && fields.get("provider").is_none_or(|value| !value.is_string() || name(value))
            && flag(fields.get("stream"))
            && fields.get("stream_options").is_none_or(|options| match options {
                Value::Object(options) => flag(options.get("include_usage")),
                other => other.is_null(),
            })
    }

    proptest! {
        #[test]
        fn a_scan_agrees_with_serde_json(fields in object(), pretty in any::<bool>()) {
            let value = Value::Object(fields.clone());
            let body = if pretty { format!("{value:#}") } else { value.to_string() };
            let scan = scan(&body);
            prop_assert_eq!(scan.is_ok(), acceptable(&fields), "{}", body);
            let Ok(scan) = scan else { return Ok(()) };
            let at = |field: &Field| serde_json::from_str::<Value>(&body[field.value.clone()]).unwrap();
            prop_assert_eq!(scan.model.map(|model| (json!(model.name), at(&model.field))),
                fields.get("model").map(|model| (model.clone(), model.clone())));
            prop_assert_eq!(scan.messages.as_ref().map(at), fields.get("messages").cloned());
            prop_assert_eq!(scan.fallbacks.as_ref().map(at), fields.get("fallbacks").cloned());
            prop_assert_eq!(scan.stream_options.map(|options| at(&options.field)), fields.get("stream_options").cloned());
            prop_assert_eq!(scan.stream, fields.get("stream") == Some(&json!(true)));
            prop_assert_eq!(scan.n.map(u64::from), fields.get("n").and_then(Value::as_u64));
            let limits = ["max_tokens", "max_completion_tokens"].map(|key| fields.get(key).and_then(Value::as_u64));
            prop_assert_eq!(scan.max_tokens, limits.into_iter().flatten().max());
            prop_assert_eq!(scan.end + 1, body.len());
        }

        #[test]
        fn damaged_bodies_are_refused_as_serde_json_refuses_them(
            fields in object(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut body = Value::Object(fields).to_string().into_bytes();
            let at = at.index(body.len());
            body[at] = byte;
            let tree = serde_json::from_slice::<Value>(&body);
            match Scan::of(&Bytes::from(body.clone())) {
                Ok(_) => prop_assert!(serde_json::from_slice::<&RawValue>(&body).is_ok()),
                // Only faults of owned fields may be found in a body that serde_json takes.
                Err(fault) => prop_assert!(
                    tree.as_ref().map_or(true, |tree| !tree.is_object() || !fault.pointer.is_empty()), "{}", fault
                ),
            }
        }

        #[test]
        fn depth_is_counted_as_a_tree_counts_it(tree in tree(), levels in 1..200_usize) {
            let nested = (0..levels).fold(tree, |inner, _| json!({"\"[{": inner, "w": [[], "[[[[{{{{"]}));
            let body = nested.to_string();
            prop_assert_eq!(scan(&body).is_ok(), depth(&nested) <= MAX_NESTING);
        }
    }
}
