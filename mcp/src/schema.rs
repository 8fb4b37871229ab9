//! Tool schemas: made acceptable to every provider, and compiled to check arguments before a call is sent.
//!
//! Nothing here reads the network or a file: a `$ref` that points outside its own document does not resolve. A schema
//! that cannot be compiled costs its tool the check and nothing else, because the tool server checks again anyway.

use std::sync::{Arc, OnceLock};

use jsonschema::Validator;
use serde_json::{Map, Value, json, value::RawValue};

/// Larger schemas are passed on but not compiled: compiling costs several times the memory of the text.
const MAX_COMPILED_BYTES: usize = 1024 * 1024;
/// Larger schemas are not passed on: no model has a use for them, and every request would carry them.
const MAX_SCHEMA_BYTES: usize = 4 * 1024 * 1024;
/// Complaints about one set of arguments that are told to the model.
const MAX_COMPLAINTS: usize = 5;
/// Bytes of one complaint; it may quote the value it complains about.
const MAX_COMPLAINT_BYTES: usize = 300;

/// A schema that is compiled when its first arguments arrive, and then kept.
#[derive(Debug)]
pub(crate) struct Checker {
    schema: Arc<RawValue>,
    compiled: OnceLock<Option<Validator>>,
}

/// The schema in the form every provider accepts: an object schema with `properties`, and no array without `items`.
pub(crate) fn normalise(schema: &Map<String, Value>) -> Result<Arc<RawValue>, String> {
    let mut object = Map::with_capacity(schema.len() + 2);
    match schema.get("type") {
        None => {
            object.insert("type".to_owned(), json!("object"));
        }
        Some(Value::String(kind)) if kind == "object" => {}
        Some(Value::Array(kinds)) if kinds.iter().any(|kind| kind == "object") => {}
        Some(other) => return Err(format!("its input schema describes {other}, not an object")),
    }
    object.extend(schema.iter().map(|(key, value)| (key.clone(), value.clone())));
    if object.get("type").is_some_and(Value::is_array) {
        object.insert("type".to_owned(), json!("object"));
    }
    if !object.get("properties").is_some_and(Value::is_object) {
        object.insert("properties".to_owned(), json!({}));
    }
    let mut schema = Value::Object(object);
    give_arrays_items(&mut schema);
    let raw = serde_json::value::to_raw_value(&schema).map_err(|error| error.to_string())?;
    if raw.get().len() > MAX_SCHEMA_BYTES {
        return Err(format!("its input schema has {} bytes, more than {MAX_SCHEMA_BYTES}", raw.get().len()));
    }
    Ok(Arc::from(raw))
}

/// Gemini refuses a whole request over one array schema without `items`. Walks schema positions only, so that a default
/// or an example that happens to look like a schema stays as it is. As deep as the parser allowed, which is 128.
fn give_arrays_items(schema: &mut Value) {
    const SCHEMAS: [&str; 8] =
        ["items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"];
    const LISTS: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
    const MAPS: [&str; 5] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
    let Some(object) = schema.as_object_mut() else { return };
    let is_array = object.get("type").is_some_and(|kind| kind == "array");
    if is_array && !object.contains_key("items") && !object.contains_key("prefixItems") {
        object.insert("items".to_owned(), json!({}));
    }
    for (key, value) in object.iter_mut() {
        match value {
            Value::Object(map) if MAPS.contains(&key.as_str()) => map.values_mut().for_each(give_arrays_items),
            Value::Array(list) if LISTS.contains(&key.as_str()) => list.iter_mut().for_each(give_arrays_items),
            value if SCHEMAS.contains(&key.as_str()) => give_arrays_items(value),
            _ => {}
        }
    }
}

// === impl Checker ===

impl Checker {
    pub(crate) fn new(schema: Arc<RawValue>) -> Self {
        Self { schema, compiled: OnceLock::new() }
    }

    /// What is wrong with the arguments, in words a model can act on: where, and why.
    pub(crate) fn check(&self, tool: &str, arguments: &Value) -> Result<(), String> {
        let Some(validator) = self.compiled.get_or_init(|| compile(tool, &self.schema)) else { return Ok(()) };
        if validator.is_valid(arguments) {
            return Ok(());
        }
        let mut complaints = Vec::new();
        for error in validator.iter_errors(arguments).take(MAX_COMPLAINTS) {
            let path = error.instance_path().to_string();
            let place = if path.is_empty() { "the arguments".to_owned() } else { path };
            complaints.push(crate::call::cut(&format!("{place}: {error}"), MAX_COMPLAINT_BYTES).to_owned());
        }
        Err(complaints.join("; "))
    }
}

fn compile(tool: &str, schema: &RawValue) -> Option<Validator> {
    let compiled = if schema.get().len() > MAX_COMPILED_BYTES {
        Err(format!("it has {} bytes, more than {MAX_COMPILED_BYTES}", schema.get().len()))
    } else {
        serde_json::from_str::<Value>(schema.get())
            .map_err(|error| error.to_string())
            .and_then(|schema| jsonschema::options().offline().build(&schema).map_err(|error| error.to_string()))
    };
    compiled
        .inspect_err(|reason| {
            tracing::warn!(tool.name = tool, reason, "arguments go unchecked: the tool's schema does not compile");
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(schema: &Value) -> Result<String, String> {
        normalise(schema.as_object().unwrap()).map(|raw| raw.get().to_owned())
    }

    fn checker(schema: &Value) -> Checker {
        Checker::new(normalise(schema.as_object().unwrap()).unwrap())
    }

    #[test]
    fn schemas_are_normalised() {
        let cases = [
            (json!({}), json!({"type": "object", "properties": {}})),
            (json!({"type": ["object", "null"]}), json!({"type": "object", "properties": {}})),
            (
                json!({"type": "object", "properties": {"a": {"type": "array"}}, "default": {"type": "array"}}),
                json!({"type": "object", "properties": {"a": {"type": "array", "items": {}}}, "default": {"type": "array"}}),
            ),
            (
                json!({"$defs": {"d": {"anyOf": [{"type": "array"}]}}}),
                json!({"type": "object", "$defs": {"d": {"anyOf": [{"type": "array", "items": {}}]}}, "properties": {}}),
            ),
        ];
        for (input, expected) in cases {
            assert_eq!(serde_json::from_str::<Value>(&normalised(&input).unwrap()).unwrap(), expected);
        }
        assert!(normalised(&json!({"type": "string"})).unwrap_err().contains("not an object"));
    }

    #[test]
    fn the_order_of_keys_is_kept() {
        let text = normalised(&json!({"required": ["b"], "type": "object", "properties": {"b": {}, "a": {}}})).unwrap();
        assert_eq!(text, r#"{"required":["b"],"type":"object","properties":{"b":{},"a":{}}}"#);
    }

    #[test]
    fn a_complaint_says_where_and_why() {
        let checker = checker(&json!({"properties": {"city": {"type": "string"}}, "required": ["city", "unit"]}));
        let complaint = checker.check("t", &json!({"city": 3})).unwrap_err();
        assert!(complaint.contains("/city: 3 is not of type \"string\""), "{complaint}");
        assert!(complaint.contains("\"unit\" is a required property"), "{complaint}");
        assert!(checker.check("t", &json!({"city": "Bern", "unit": 1})).is_ok());
    }

    #[test]
    fn references_never_leave_the_document() {
        for reference in ["http://127.0.0.1:9/schema.json", "file:///etc/passwd"] {
            let checker = checker(&json!({"properties": {"a": {"$ref": reference}}}));
            assert_eq!(checker.check("t", &json!({"a": 1})), Ok(()), "unchecked, not fetched");
        }
        let checker =
            checker(&json!({"$defs": {"n": {"properties": {"next": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"}));
        assert!(checker.check("t", &json!({"next": {"next": 1}})).is_ok());
    }
}
