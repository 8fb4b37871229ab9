//! JSON put together and taken apart, as tests need it.

use serde_json::{Map, Value, json};

use crate::OrFail as _;

/// JSON merge patch (RFC 7396), except that null is a value like any other.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (key, value) in patch {
        merge(&mut target[key], value);
    }
}

/// Adds an item to the list at this pointer, which is made if there is none.
pub(crate) fn push(target: &mut Value, pointer: &str, item: Value) {
    let mut place = target;
    for key in pointer.split('/').skip(1) {
        place = &mut place[key];
    }
    if place.is_null() {
        *place = json!([]);
    }
    place.as_array_mut().or_fail(pointer).push(item);
}

/// A string; empty if it is none.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The items of a list; none if it is none.
pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
