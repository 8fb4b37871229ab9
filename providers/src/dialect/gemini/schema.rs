//! The two languages in which schemas are written here: JSON Schema (`parametersJsonSchema`, `responseJsonSchema`), and the
//! older subset of `OpenAPI` 3.0 (`parameters`, `responseSchema`; API reference, `Schema`), whose server refuses a whole request
//! over one keyword it does not know.

use serde_json::value::RawValue;

use super::wire::{Crossing, Place, fields_of, object_of, overlay, pointer_key, quoted, whole, written};
use crate::Text;
use crate::chat::{Extras, Raw};
use crate::json::{self, Array};

/// Keywords of the subset whose value is taken as it is.
const PLAIN: &[&str] = &[
    "title",
    "description",
    "nullable",
    "maxItems",
    "minItems",
    "required",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "example",
    "propertyOrdering",
    "default",
    "minimum",
    "maximum",
];

/// Keywords that constrain nothing, or that were followed already: leaving them out changes no meaning.
const IDLE: &[&str] = &["$schema", "$id", "$comment", "$defs", "definitions", "$anchor"];

/// The formats that the subset knows; any other is refused.
const FORMATS: &[&str] = &["enum", "date-time", "float", "double", "int32", "int64"];

/// Keywords of the subset in protobuf's own spelling.
const SNAKE: &[(&str, &str)] = &[
    ("any_of", "anyOf"),
    ("max_items", "maxItems"),
    ("min_items", "minItems"),
    ("max_properties", "maxProperties"),
    ("min_properties", "minProperties"),
    ("max_length", "maxLength"),
    ("min_length", "minLength"),
    ("property_ordering", "propertyOrdering"),
    ("additional_properties", "additionalProperties"),
];

/// Bounds that protobuf's JSON may write as strings.
const COUNTS: &[&str] = &["maxItems", "minItems", "maxProperties", "minProperties", "maxLength", "minLength"];

/// How deep references are followed, because a schema that contains itself would never end; and how many in one schema,
/// because a few that each refer twice make thousands.
const MAX_DEPTH: usize = 8;
const MAX_REFERENCES: usize = 500;

// === OpenAPI to JSON Schema ===

/// The same schema as JSON Schema: types in lower case, `nullable` as a type. A schema that is one already stays as it is.
pub(super) fn to_json_schema(schema: &RawValue) -> Raw {
    if !schema.get().starts_with('{') {
        return schema.to_owned();
    }
    let mut out = Extras::default();
    let mut nullable = false;
    for (key, value) in fields_of(schema).iter() {
        let key = SNAKE.iter().find(|(snake, _)| *snake == key).map_or(key, |(_, camel)| *camel);
        let value = match key {
            "nullable" => {
                nullable = value.get() == "true";
                continue;
            }
            "type" => Text::from_raw(value).map_or_else(|| value.to_owned(), |word| quoted(&lower(&word))),
            "properties" | "$defs" | "defs" => each_field(value, to_json_schema),
            "items" | "additionalProperties" => to_json_schema(value),
            "anyOf" => each_item(value, to_json_schema),
            key if COUNTS.contains(&key) => {
                whole::<u64>(value).map_or_else(|| value.to_owned(), |count| json::raw(count.to_string()))
            }
            _ => value.to_owned(),
        };
        out.push(if key == "defs" { "$defs" } else { key }, value);
    }
    if nullable {
        allow_null(&mut out);
    }
    object_of(&out)
}

fn lower(word: &Text) -> Text {
    Text::from_plain(&word.to_plain().to_ascii_lowercase())
}

fn allow_null(fields: &mut Extras) {
    if let Some(kind) = fields.remove("type") {
        fields.push("type", json::raw(format!(r#"[{},"null"]"#, kind.get())));
    } else if let Some(any_of) = fields.remove("anyOf") {
        let rest = any_of.get().strip_suffix(']').unwrap_or_default();
        fields.push("anyOf", json::raw(format!(r#"{rest},{{"type":"null"}}]"#)));
    }
    // An enumeration lists every value there is, so null must be among them.
    if let Some(values) = fields.remove("enum") {
        let rest = values.get().strip_suffix(']').unwrap_or_default();
        let values = if values.get().contains("null") { values.get().to_owned() } else { format!("{rest},null]") };
        fields.push("enum", json::raw(values));
    }
}

fn each_field(object: &RawValue, change: impl Fn(&RawValue) -> Raw) -> Raw {
    let mut changed = Extras::default();
    for (key, value) in fields_of(object).iter() {
        changed.push(key, change(value));
    }
    object_of(&changed)
}

fn each_item(list: &RawValue, change: impl Fn(&RawValue) -> Raw) -> Raw {
    let mut out = Vec::new();
    let mut array = Array::new(&mut out);
    for item in items(list) {
        array.raw(change(item).get());
    }
    array.end();
    written(out)
}

fn items(list: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(list.get()).unwrap_or_default()
}

// === JSON Schema to OpenAPI ===

/// The same schema in the subset. What that cannot say is left out and noted, so that no keyword costs the request.
pub(super) fn to_openapi(schema: &RawValue, place: Place<'_>, crossing: &mut Crossing<'_>) -> Raw {
    let root = fields_of(schema);
    let mut rewrite = Rewrite { root: &root, depth: 0, followed: 0, crossing };
    rewrite.schema(schema, &place())
}

/// One rewriting, and what it is in the middle of.
struct Rewrite<'a, 'c, 'l> {
    /// The whole schema, which references point into.
    root: &'a Extras,
    /// References being followed, and all that were.
    depth: usize,
    followed: usize,
    crossing: &'c mut Crossing<'l>,
}

impl Rewrite<'_, '_, '_> {
    fn schema(&mut self, schema: &RawValue, place: &str) -> Raw {
        match schema.get() {
            object if object.starts_with('{') => {}
            "true" => return json::raw("{}".into()),
            _ => {
                self.lose(place, "no value is allowed here, which the subset cannot say");
                return json::raw("{}".into());
            }
        }
        let fields = fields_of(schema);
        if let Some(target) = fields.find("$ref") {
            return self.follow(target, place);
        }
        let mut out = Extras::default();
        for (key, value) in fields.iter() {
            self.keyword(key, value, &fields, &mut out, &format!("{place}/{}", pointer_key(key)));
        }
        if out.find("type").is_none() && out.find("properties").is_some() {
            out.push("type", json::raw(r#""object""#.into()));
        }
        object_of(&out)
    }

    fn keyword(&mut self, key: &str, value: &RawValue, all: &Extras, out: &mut Extras, place: &str) {
        match key {
            key if PLAIN.contains(&key) => put(out, key, value.to_owned()),
            key if IDLE.contains(&key) => {}
            "type" => self.kind(value, out, place),
            "properties" => {
                let mut properties = Extras::default();
                for (name, property) in fields_of(value).iter() {
                    properties.push(name, self.schema(property, &format!("{place}/{}", pointer_key(name))));
                }
                // An object without any is refused; one that does not mention them is not.
                if !properties.is_empty() {
                    out.push(key, object_of(&properties));
                }
            }
            "items" => out.push(key, self.schema(value, place)),
            "anyOf" => out.push(key, self.alternatives(value, place)),
            "oneOf" => {
                self.lose(place, "said as anyOf");
                out.push("anyOf", self.alternatives(value, place));
            }
            "allOf" => self.all_of(value, out, place),
            "enum" => self.values(value, out, place),
            "const" => self.values(&json::raw(format!("[{}]", value.get())), out, place),
            "format" if Text::from_raw(value).is_some_and(|name| FORMATS.contains(&name.as_escaped())) => {
                out.push(key, value.to_owned());
            }
            "exclusiveMinimum" => put(out, "minimum", self.exclusive(1, value, all, place)),
            "exclusiveMaximum" => put(out, "maximum", self.exclusive(-1, value, all, place)),
            _ => self.lose(place, "this model family knows no such keyword"),
        }
    }

    /// A reference stands for what it points to.
    fn follow(&mut self, target: &RawValue, place: &str) -> Raw {
        let pointer = Text::from_raw(target).map(|target| target.to_plain().into_owned()).unwrap_or_default();
        let path: Vec<&str> = pointer.strip_prefix("#/").unwrap_or_default().split('/').collect();
        let found = match path.as_slice() {
            [group @ ("$defs" | "definitions"), name] => self
                .root
                .find(group)
                .and_then(|group| fields_of(group).remove(&name.replace("~1", "/").replace("~0", "~"))),
            _ => None,
        };
        let Some(found) = found.filter(|_| self.depth < MAX_DEPTH && self.followed < MAX_REFERENCES) else {
            self.lose(place, "a reference that cannot be followed to its end: any object is allowed");
            return json::raw(r#"{"type":"object"}"#.into());
        };
        self.followed += 1;
        self.depth += 1;
        let schema = self.schema(&found, place);
        self.depth -= 1;
        schema
    }

    fn kind(&mut self, value: &RawValue, out: &mut Extras, place: &str) {
        if Text::from_raw(value).is_some() {
            return put(out, "type", value.to_owned());
        }
        let mut kinds = items(value);
        let before = kinds.len();
        kinds.retain(|kind| kind.get() != r#""null""#);
        if kinds.len() < before {
            out.push("nullable", json::raw("true".into()));
        }
        match kinds.as_slice() {
            [] => {}
            [kind] => put(out, "type", (*kind).to_owned()),
            [first, ..] => {
                self.lose(place, "only the first of several types is said");
                put(out, "type", (*first).to_owned());
            }
        }
    }

    fn alternatives(&mut self, list: &RawValue, place: &str) -> Raw {
        let mut out = Vec::new();
        let mut array = Array::new(&mut out);
        for (at, item) in items(list).into_iter().enumerate() {
            array.raw(self.schema(item, &format!("{place}/{at}")).get());
        }
        array.end();
        written(out)
    }

    /// Several schemas that all hold are one with all their keywords; of two that say the same keyword the first counts.
    fn all_of(&mut self, list: &RawValue, out: &mut Extras, place: &str) {
        for (at, item) in items(list).into_iter().enumerate() {
            let place = format!("{place}/{at}");
            for (key, value) in fields_of(&self.schema(item, &place)).iter() {
                let both = match (key, out.remove(key)) {
                    (_, None) => value.to_owned(),
                    ("properties", Some(earlier)) => united(&earlier, value),
                    ("required", Some(earlier)) => concatenated(&earlier, value),
                    (_, Some(earlier)) => {
                        self.lose_unless(earlier.get() == value.get(), &format!("{place}/{key}"));
                        earlier
                    }
                };
                out.push(key, both);
            }
        }
    }

    fn lose_unless(&mut self, same: bool, place: &str) {
        if !same {
            self.lose(place, "said twice by allOf");
        }
    }

    /// Enumerations are of strings here.
    fn values(&mut self, value: &RawValue, out: &mut Extras, place: &str) {
        if items(value).into_iter().all(|item| Text::from_raw(item).is_some()) {
            out.push("enum", value.to_owned());
            if out.find("type").is_none() {
                out.push("type", json::raw(r#""string""#.into()));
            }
        } else {
            self.lose(place, "this model family enumerates strings only");
        }
    }

    /// For whole numbers the next one is the bound; for others the bound itself is let in.
    fn exclusive(&mut self, step: i64, value: &RawValue, all: &Extras, place: &str) -> Raw {
        let integer = all.find("type").is_some_and(|kind| kind.get() == r#""integer""#);
        let next = value.get().parse::<i64>().ok().and_then(|number| number.checked_add(step));
        next.filter(|_| integer).map_or_else(
            || {
                self.lose(place, "the bound itself is allowed, too");
                value.to_owned()
            },
            |next| json::raw(next.to_string()),
        )
    }

    fn lose(&mut self, place: &str, reason: &'static str) {
        self.crossing.losses.push(place, reason);
    }
}

fn united(one: &RawValue, other: &RawValue) -> Raw {
    let mut all = fields_of(one);
    overlay(&mut all, &fields_of(other));
    object_of(&all)
}

fn concatenated(one: &RawValue, other: &RawValue) -> Raw {
    let all: Vec<&str> = items(one).into_iter().chain(items(other)).map(RawValue::get).collect();
    json::raw(format!("[{}]", all.join(",")))
}

/// Two keywords may come to mean the same one: the later counts.
fn put(fields: &mut Extras, key: &str, value: Raw) {
    fields.remove(key);
    fields.push(key, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Losses;
    use serde_json::{Value, json};

    fn value(raw: &RawValue) -> Value {
        serde_json::from_str(raw.get()).unwrap()
    }

    fn openapi(schema: &Value) -> (Value, Vec<String>) {
        let mut losses = Losses::default();
        let mut crossing = Crossing { native: false, losses: &mut losses };
        let schema = to_openapi(&json::raw(schema.to_string()), &|| "/p".to_owned(), &mut crossing);
        (value(&schema), losses.iter().map(|loss| loss.pointer.clone()).collect())
    }

    #[test]
    fn what_the_subset_knows_is_the_same_in_it() {
        for schema in [
            json!({"type":"object","properties":{"a":{"type":"string","enum":["x","y"],"description":"d"}},"required":["a"]}),
            json!({"type":"array","items":{"anyOf":[{"type":"integer","minimum":1},{"type":"string","format":"date-time"}]}}),
        ] {
            assert_eq!(openapi(&schema), (schema, vec![]));
        }
    }

    #[test]
    fn what_it_does_not_know_is_rewritten_or_left_out_and_noted() {
        for (schema, expected, lost) in [
            (json!({"type":["string","null"]}), json!({"type":"string","nullable":true}), vec![]),
            (json!({"type":["string","integer"]}), json!({"type":"string"}), vec!["/p/type"]),
            (json!({"const":"x"}), json!({"enum":["x"],"type":"string"}), vec![]),
            (json!({"type":"integer","exclusiveMinimum":0}), json!({"type":"integer","minimum":1}), vec![]),
            (
                json!({"type":"number","exclusiveMaximum":1.5}),
                json!({"type":"number","maximum":1.5}),
                vec!["/p/exclusiveMaximum"],
            ),
            (
                json!({"type":"object","additionalProperties":false,"$schema":"s"}),
                json!({"type":"object"}),
                vec!["/p/additionalProperties"],
            ),
            (json!({"type":"string","format":"uri"}), json!({"type":"string"}), vec!["/p/format"]),
            (json!({"type":"integer","enum":[1,2]}), json!({"type":"integer"}), vec!["/p/enum"]),
            (json!({"oneOf":[{"type":"string"}]}), json!({"anyOf":[{"type":"string"}]}), vec!["/p/oneOf"]),
            (
                json!({"allOf":[{"properties":{"a":{"type":"string"}},"required":["a"]},{"properties":{"b":true},"required":["b"]}]}),
                json!({"type":"object","properties":{"a":{"type":"string"},"b":{}},"required":["a","b"]}),
                vec![],
            ),
            (
                json!({"properties":{"a/b":{"not":{}}}}),
                json!({"type":"object","properties":{"a/b":{}}}),
                vec!["/p/properties/a~1b/not"],
            ),
            (json!({"properties":{}}), json!({}), vec![]),
            (json!({"items":false}), json!({"items":{}}), vec!["/p/items"]),
            (
                json!({"$defs":{"N":{"type":"string"}},"properties":{"a":{"$ref":"#/$defs/N"},"b":{"$ref":"http://x"}}}),
                json!({"type":"object","properties":{"a":{"type":"string"},"b":{"type":"object"}}}),
                vec!["/p/properties/b"],
            ),
        ] {
            assert_eq!(openapi(&schema), (expected, lost.into_iter().map(str::to_owned).collect()), "{schema}");
        }
    }

    #[test]
    fn a_schema_that_contains_itself_ends() {
        let tree = json!({"$ref":"#/$defs/T","$defs":{"T":{"type":"object","properties":{"l":{"$ref":"#/$defs/T"}}}}});
        let (schema, lost) = openapi(&tree);
        assert!(schema.to_string().len() < 2000 && lost.len() == 1, "{schema} {lost:?}");
        // Each refers to the next one three times.
        let mut bomb = json!({"$ref":"#/$defs/0","$defs":{}});
        for level in 0..20 {
            let next = json!({"$ref":format!("#/$defs/{}", level + 1)});
            bomb["$defs"][level.to_string()] = json!({"type":"object","properties":{"a":next,"b":next,"c":next}});
        }
        assert!(openapi(&bomb).0.to_string().len() < 200_000);
    }

    #[test]
    fn openapi_becomes_json_schema_and_json_schema_stays() {
        let same = r#"{"type":"object","properties":{"x":{"type":"number"}},"required":["x"]}"#;
        assert_eq!(to_json_schema(&json::raw(same.into())).get(), same);
        for (schema, expected) in [
            (
                json!({"type":"OBJECT","properties":{"a":{"type":"STRING","nullable":true},"type":{"type":"INTEGER"}},"property_ordering":["a"]}),
                json!({"type":"object","properties":{"a":{"type":["string","null"]},"type":{"type":"integer"}},"propertyOrdering":["a"]}),
            ),
            (
                json!({"any_of":[{"type":"STRING"}],"nullable":true}),
                json!({"anyOf":[{"type":"string"},{"type":"null"}]}),
            ),
            (
                json!({"type":"ARRAY","items":{"type":"BOOLEAN"},"minItems":"1"}),
                json!({"type":"array","items":{"type":"boolean"},"minItems":1}),
            ),
            (
                json!({"type":"STRING","enum":["a"],"nullable":true}),
                json!({"type":["string","null"],"enum":["a",null]}),
            ),
        ] {
            assert_eq!(value(&to_json_schema(&json::raw(schema.to_string()))), expected, "{schema}");
        }
    }
}
