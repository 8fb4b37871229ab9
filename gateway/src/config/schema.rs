//! The JSON Schema of the configuration file, generated from [`File`].
//!
//! Two forms of one thing: the published form has `$defs` and the former names (marked deprecated), so that editors accept every
//! documented spelling; the checking form is inlined, so that a schema location found by the validator is a plain JSON pointer.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value};

use super::file::File;

/// Marks a property with the spellings of older documents.
pub(super) const FORMER_NAMES: &str = "x-former-names";
/// Marks a property that is accepted and does nothing in this version.
pub(super) const NO_EFFECT: &str = "x-no-effect";
/// Says in words what a value must look like, where type names would not help.
pub(super) const EXPECTED: &str = "x-expected";

/// The schema that `bifrost schema` prints, as a JSON document.
pub fn published() -> Value {
    generate(|settings| {
        settings.transforms.push(Box::new(RecursiveTransform(tidy)));
        settings.transforms.push(Box::new(RecursiveTransform(add_former_names)));
    })
}

/// The schema that files are checked against.
pub(super) fn checking() -> Value {
    generate(|settings| {
        settings.inline_subschemas = true;
        settings.transforms.push(Box::new(RecursiveTransform(tidy)));
    })
}

/// The schema of one member of a value that `schema` describes.
pub(super) fn member<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    let named = schema.get("properties").and_then(|properties| properties.get(key));
    named.or_else(|| schema.get("additionalProperties").filter(|others| others.is_object()))
}

/// The former names that a property's schema declares.
pub(super) fn former_names(property: &Value) -> impl Iterator<Item = &str> {
    property.get(FORMER_NAMES).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn generate(configure: impl FnOnce(&mut SchemaSettings)) -> Value {
    let generator: SchemaGenerator = SchemaSettings::draft2020_12().with(configure).into_generator();
    generator.into_root_schema_for::<File>().to_value()
}

/// `null` means absent everywhere, so it is dropped from alternatives and defaults: one type per key, and exact complaints.
fn tidy(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    let Some(Value::Array(alternatives)) = object.get("anyOf") else { return };
    let only: Vec<_> = alternatives.iter().filter(|schema| schema.get("type") != Some(&"null".into())).collect();
    if let [Value::Object(only)] = only.as_slice() {
        let only = only.clone();
        object.remove("anyOf");
        for (keyword, value) in only {
            object.entry(keyword).or_insert(value);
        }
    }
}

fn add_former_names(schema: &mut Schema) {
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    let mut former = Map::new();
    for (name, property) in &mut *properties {
        for old in former_names(property) {
            let mut copy = property.clone();
            if let Some(copy) = copy.as_object_mut() {
                copy.remove(FORMER_NAMES);
                copy.insert("description".to_owned(), format!("Former name of `{name}`.").into());
                copy.insert("deprecated".to_owned(), true.into());
            }
            former.insert(old.to_owned(), copy);
        }
    }
    properties.extend(former);
}
