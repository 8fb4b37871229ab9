//! The published schema and the key tables in the documentation are generated; these tests keep the committed copies current.

use std::fmt::Write as _;
use std::path::Path;

use bifrost_gateway::http::routes::{Listed, Serves, listed};
use serde_json::Value;

use crate::repository;

const BEGIN: &str = "<!-- keys: generated from the schema, kept current by a test -->\n";
const END: &str = "<!-- end of keys -->\n";
const ROUTES_BEGIN: &str = "<!-- routes: generated from the table, kept current by a test -->\n";
const ROUTES_END: &str = "<!-- end of routes -->\n";

#[test]
fn the_published_schema_is_current() {
    let mut schema = Vec::new();
    bifrost_gateway::cli::schema(&mut schema).unwrap();
    current("docs/config.schema.json", &String::from_utf8(schema).unwrap());
}

#[test]
fn the_key_tables_are_current() {
    let page = std::fs::read_to_string(repository("docs/configuration.md")).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the first marker");
    let (_, after) = rest.split_once(END).expect("the last marker");
    current("docs/configuration.md", &format!("{before}{BEGIN}{}{END}{after}", tables()));
}

#[test]
fn the_table_of_routes_is_current() {
    let page = std::fs::read_to_string(repository("docs/routes.md")).unwrap();
    let (before, rest) = page.split_once(ROUTES_BEGIN).expect("the first marker");
    let (_, after) = rest.split_once(ROUTES_END).expect("the last marker");
    current("docs/routes.md", &format!("{before}{ROUTES_BEGIN}{}{ROUTES_END}{after}", routes_table()));
}

/// Mounts with the same routes share a table.
fn routes_table() -> String {
    let mut families: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    let mut rows: Vec<Listed> = listed().collect();
    while let Some(&Listed { mount, dialect, default_provider: provider, .. }) = rows.first() {
        let (of_mount, rest): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row.mount == mount && row.dialect == dialect);
        rows = rest;
        let routes: Vec<String> = of_mount.iter().map(line).collect();
        let bare = provider.map_or_else(String::new, |provider| format!(" ({provider})"));
        let name = format!("`{}`{bare}", if mount.is_empty() { "/" } else { mount });
        match families.iter_mut().find(|(_, known)| *known == routes) {
            Some((mounts, _)) => mounts.push(name),
            None => families.push((vec![name], routes)),
        }
    }
    let mut text = String::new();
    for (mounts, routes) in families {
        write!(text, "\nBelow {}:\n\n| | | |\n|---|---|---|\n{}", mounts.join(", "), routes.concat()).unwrap();
    }
    text
}

fn line(row: &Listed) -> String {
    let what = match row.serves {
        Serves::Chat { dialect, stream: None } => format!("chat, `{}`", dialect.name()),
        Serves::Chat { dialect, stream: Some(stream) } => {
            format!("chat, `{}`, {}", dialect.name(), if stream { "streamed" } else { "whole" })
        }
        Serves::Explain => "what would become of such a chat request; nobody is asked".to_owned(),
        Serves::Order(endpoint) => format!("`{}`, routed by its model", endpoint.request_type(false)),
        Serves::Verbatim(kind) => format!("`{kind}`, passed on to its owner"),
        Serves::Models(_) if row.path.contains("{model}") => "one of these models".to_owned(),
        Serves::Models(_) => "models of all providers, as far as the caller may use them".to_owned(),
    };
    format!("| {} | `{}` | {what} |\n", row.method, row.path)
}

/// The published schema accepts every example, former names included, the way an editor would check them.
#[test]
fn editors_accept_former_names() {
    let schema = bifrost_gateway::config::schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for text in [
        r#"{"client_config":{"enforce_governance_header":true}}"#,
        r#"{"mcp":{"clients":[{"name":"a","transport":"stdio","command":"npx","args":["x"],"env":{"T":"env.T"}}]}}"#,
        r#"{"providers":{"openai":{"network_config":{"retry_backoff_initial_ms":100}}}}"#,
    ] {
        let value: Value = serde_json::from_str(text).unwrap();
        assert!(validator.is_valid(&value), "{text}");
    }
    assert!(!validator.is_valid(&serde_json::json!({"clinet": {}})));
}

pub(crate) fn current(path: &str, expected: &str) {
    let committed = std::fs::read_to_string(repository(path)).unwrap_or_default();
    if committed != expected {
        let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join(path.rsplit('/').next().unwrap());
        std::fs::write(&fresh, expected).unwrap();
        panic!("{path} is out of date: cp {} {path}", fresh.display());
    }
}

/// One table per section of the file that has an effect.
fn tables() -> String {
    let schema = bifrost_gateway::config::schema();
    let mut text = String::new();
    let mut waiting = vec![("The file".to_owned(), &schema)];
    while !waiting.is_empty() {
        let (title, section) = waiting.remove(0);
        write!(text, "\n### {title}\n\n| Key | Type | Default | Meaning |\n|---|---|---|---|\n").unwrap();
        let prefix = if title == "The file" { String::new() } else { format!("{}.", title.trim_matches('`')) };
        let mut inner = Vec::new();
        for (name, property) in section["properties"].as_object().unwrap() {
            if property["deprecated"] == true {
                continue;
            }
            text.push_str(&row(&schema, name, property));
            if property["x-no-effect"] != true {
                inner.extend(sections(&schema, &format!("{prefix}{name}"), property));
            }
        }
        waiting.splice(0..0, inner);
    }
    text.push('\n');
    text
}

/// The sections inside a property: itself, the values of a map, or the elements of a list.
fn sections<'a>(schema: &'a Value, path: &str, property: &'a Value) -> Option<(String, &'a Value)> {
    let (target, path) = match (property.get("additionalProperties"), property.get("items")) {
        (Some(values), _) if values.is_object() => (values, format!("{path}.<name>")),
        (_, Some(items)) => (items, format!("{path}[]")),
        _ => (property, path.to_owned()),
    };
    let target = resolve(schema, target);
    let is_section = target["type"] == "object" && target.get("properties").is_some();
    is_section.then(|| (format!("`{path}`"), target))
}

fn resolve<'a>(schema: &'a Value, target: &'a Value) -> &'a Value {
    let reference = target["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    reference.map_or(target, |pointer| schema.pointer(pointer).unwrap())
}

fn row(schema: &Value, name: &str, property: &Value) -> String {
    let meaning = property["description"].as_str().unwrap_or_default();
    let mut meaning = meaning.replace('\n', " ").replace('|', "\\|");
    if property["x-no-effect"] == true {
        meaning = format!("*Accepted, no effect in this version.* {meaning}");
    }
    if let Some(former) = property["x-former-names"].as_array() {
        let names: Vec<_> = former.iter().map(|name| format!("`{}`", name.as_str().unwrap())).collect();
        write!(meaning, " Formerly {}.", names.join(", ")).unwrap();
    }
    let default = match property.get("default") {
        None | Some(Value::Array(_) | Value::Object(_)) => String::new(),
        Some(default) => format!("`{}`", default.to_string().trim_matches('"')),
    };
    format!("| `{name}` | {} | {default} | {meaning} |\n", kind(schema, property))
}

fn kind(schema: &Value, property: &Value) -> String {
    if let Some(reference) = property["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return match (name, resolve(schema, property)) {
            ("Reference", _) => "text or `env.NAME`".to_owned(),
            ("Period", _) => "length of time".to_owned(),
            ("Window", _) => "window".to_owned(),
            (_, target) => kind(schema, target),
        };
    }
    if let Some(words) = property["enum"].as_array() {
        let words: Vec<_> = words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`")).collect();
        return words.join(", ");
    }
    let names: Vec<_> = match &property["type"] {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect(),
        _ => vec!["any"],
    };
    match (names.as_slice(), property.get("items"), property.get("additionalProperties")) {
        (["array"], Some(items), _) => format!("list of {}", kind(schema, items)),
        (["object"], _, Some(values)) if values.is_object() => format!("map to {}", kind(schema, values)),
        _ => names.join(" or "),
    }
}
