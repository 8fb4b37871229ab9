//! The old prose form of a mixed turn, for callers that were written against it (`mixed_turns: "bifrost"`).

use bifrost_providers::Text;
use serde_json::{Map, Value};

use super::execute::Done;

/// What was run, as JSON inside a sentence. Two calls of one tool are kept apart by their call ids.
pub fn text(done: &[Done]) -> Text {
    let mut outputs = Map::new();
    for answered in done {
        let name = answered.call.name.to_plain().into_owned();
        let key = if outputs.contains_key(&name) { format!("{name} ({})", answered.call.id.to_plain()) } else { name };
        outputs.insert(key, Value::String(answered.text()));
    }
    let json = Value::Object(outputs);
    Text::from_plain(&format!(
        "The Output from allowed tools calls is - {json}\n\nNow I shall call these tools next..."
    ))
}
