//! Checks a tree against the schema and finds everything that is wrong with it at once.
//!
//! Three steps: [`tidy`] renames former spellings and notes what has no effect, the JSON Schema validator finds unknown keys and
//! wrong values, and what it finds is cut out so that the rest of the file can still be resolved and checked.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde::Deserialize;
use serde_json::Value;

use super::file::File;
use super::finding::{Finding, Mistake, SHOWN};
use super::schema::{self, EXPECTED, NO_EFFECT};
use super::tree::{Kind, Member, Node, Place, push, unescape};

/// What the shape of a file says about it.
pub(super) struct Checked {
    /// The typed file, without the parts that are wrong; `None` if nothing typed could be made of it.
    pub(super) file: Option<File>,
    pub(super) findings: Vec<Finding>,
    pub(super) warnings: Vec<String>,
}

/// The schema and its compiled form. They depend on nothing but the types, and compiling is the dearest part of a check.
struct Checker {
    schema: Value,
    validator: Result<Validator, String>,
}

static CHECKER: LazyLock<Checker> = LazyLock::new(|| {
    let schema = schema::checking();
    let validator = jsonschema::validator_for(&schema).map_err(|error| error.to_string());
    Checker { schema, validator }
});

/// Checks the whole tree; afterwards its keys have their documented names.
pub(super) fn check(tree: &mut Node) -> Checked {
    let Checker { schema, validator } = &*CHECKER;
    let mut tidy = Tidy::default();
    tidy.node(tree, schema, "");
    let Tidy { mut findings, warnings, .. } = tidy;
    let mut value = tree.value();
    match validator {
        Ok(validator) => {
            let whole = value.clone();
            for error in validator.iter_errors(&whole) {
                report(&error, schema, tree, &mut findings);
                cut(&error, &mut value);
            }
        }
        Err(error) => findings.push(Finding::unreadable(format!("the built-in schema is broken: {error}"))),
    }
    let file = typed(&value, tree, &mut findings);
    Checked { file, findings, warnings }
}

/// The schema is made from the types, so a failure here says what a schema cannot (a number too large for its type).
fn typed(value: &Value, tree: &Node, findings: &mut Vec<Finding>) -> Option<File> {
    let error = match serde_path_to_error::deserialize(value) {
        Ok(file) => return Some(file),
        Err(error) => error,
    };
    let pointer = error.path().iter().fold(String::new(), |pointer, segment| push(&pointer, segment));
    let message = error.into_inner().to_string();
    let known = findings.iter().any(|finding| finding.mistake == Mistake::WrongValue);
    if !known {
        let spot = tree.spot(&pointer);
        findings.push(Finding { mistake: Mistake::WrongValue, place: Some(spot.place), path: spot.written, message });
    }
    File::deserialize(Value::Object(serde_json::Map::new())).ok().filter(|_| known)
}

// === renaming, duplicates, warnings ===

#[derive(Default)]
struct Tidy {
    findings: Vec<Finding>,
    warnings: Vec<String>,
    /// Inside a section that has no effect one warning is enough.
    quiet: bool,
}

impl Tidy {
    fn node(&mut self, node: &mut Node, schema: &Value, path: &str) {
        match &mut node.kind {
            Kind::Leaf(_) => {}
            Kind::List(items) => {
                let Some(item_schema) = schema.get("items") else { return };
                for (index, item) in items.iter_mut().enumerate() {
                    self.node(item, item_schema, &push(path, index));
                }
            }
            Kind::Map(members) => {
                self.duplicates(members, path);
                self.rename(members, schema, path);
                members.retain(|member| !matches!(member.node.kind, Kind::Leaf(Value::Null)));
                for member in members {
                    if let Some(member_schema) = schema::member(schema, &member.key) {
                        self.member(member, member_schema, &push(path, &member.written));
                    }
                }
            }
        }
    }

    fn member(&mut self, member: &mut Member, schema: &Value, path: &str) {
        let outer = self.quiet;
        if !outer && schema.get(NO_EFFECT).is_some() && says_something(&member.node.value(), schema) {
            self.warnings.push(format!("`{path}` is accepted but has no effect in this version"));
            self.quiet = true;
        }
        self.node(&mut member.node, schema, path);
        self.quiet = outer;
    }

    fn duplicates(&mut self, members: &[Member], path: &str) {
        let mut first: HashMap<&str, Place> = HashMap::new();
        for member in members {
            match first.get(member.written.as_str()) {
                Some(place) => {
                    let message = format!("this key is here twice; the first is in line {}", place.line);
                    self.twice(member, path, message);
                }
                None => _ = first.insert(&member.written, member.at),
            }
        }
    }

    fn rename(&mut self, members: &mut [Member], schema: &Value, path: &str) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        for (name, property) in properties {
            for old in schema::former_names(property) {
                let taken = members.iter().any(|member| member.key == *name);
                let Some(member) = members.iter_mut().find(|member| member.key == old) else { continue };
                name.clone_into(&mut member.key);
                if taken {
                    let message =
                        format!("`{old}` is the former name of `{name}`, which is here too; keep one of them");
                    let member = &*member;
                    self.twice(member, path, message);
                }
            }
        }
    }

    fn twice(&mut self, member: &Member, path: &str, message: String) {
        let path = push(path, &member.written);
        self.findings.push(Finding { mistake: Mistake::Duplicate, place: Some(member.at), path, message });
    }
}

/// Whether a value asks for anything: what is empty, switched off or the default would behave the same without the key.
fn says_something(value: &Value, schema: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty() && members.get("enabled") != Some(&Value::Bool(false)),
        _ => schema.get("default").map_or(*value != Value::Bool(false), |default| value != default),
    }
}

// === validator errors in words ===

fn report(error: &ValidationError<'_>, schema: &Value, tree: &Node, findings: &mut Vec<Finding>) {
    let pointer = error.instance_path().as_str();
    let spot = tree.spot(pointer);
    let keyword = error.schema_path().as_str();
    let owner = keyword.rsplit_once('/').and_then(|(owner, _)| schema.pointer(owner)).unwrap_or(&Value::Null);
    if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() {
        let unexpected: HashSet<&str> = unexpected.iter().map(String::as_str).collect();
        let members = tree.find(pointer).map(Node::members).unwrap_or_default();
        let unknown = members.iter().filter(|member| unexpected.contains(member.key.as_str()));
        findings.extend(unknown.enumerate().map(|(index, member)| Finding {
            mistake: Mistake::UnknownKey,
            place: Some(member.at),
            path: push(&spot.written, &member.written),
            // Nobody reads the hundredth hint, and a file of junk should fail fast.
            message: if index < SHOWN { unknown_key(&member.key, owner) } else { "unknown key".to_owned() },
        }));
        return;
    }
    let message = wrong_value(error, owner);
    findings.push(Finding { mistake: Mistake::WrongValue, place: Some(spot.place), path: spot.written, message });
}

fn wrong_value(error: &ValidationError<'_>, schema: &Value) -> String {
    let got = || kind_name(error.instance());
    match error.kind() {
        ValidationErrorKind::Type { .. } => format!("expected {}, got {}", expected_type(schema), got()),
        ValidationErrorKind::Pattern { .. } => match schema.get(EXPECTED).and_then(Value::as_str) {
            Some(expected) => format!("expected {expected}, got {}", error.instance()),
            None => error.masked().to_string(),
        },
        ValidationErrorKind::Enum { options } => not_one_of(error.instance(), options),
        ValidationErrorKind::Minimum { limit } => {
            format!("expected at least {}, got {}", whole(limit), error.instance())
        }
        ValidationErrorKind::Maximum { limit } => {
            format!("expected at most {}, got {}", whole(limit), error.instance())
        }
        ValidationErrorKind::MaxLength { limit } => format!("expected at most {limit} characters"),
        ValidationErrorKind::Required { property } => format!("the key `{}` is missing", plain(property)),
        _ => error.masked().to_string(),
    }
}

fn unknown_key(key: &str, schema: &Value) -> String {
    let known = || schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    if let Some(near) = nearest(key, known().map(|(name, _)| name.as_str())) {
        return format!("unknown key; did you mean `{near}`?");
    }
    let inside = known().find(|(_, section)| section.get("properties").is_some_and(|keys| keys.get(key).is_some()));
    if let Some((section, _)) = inside {
        return format!("unknown key; it belongs inside `{section}`");
    }
    let mut names: Vec<_> = known().filter(|(_, property)| offered(property)).map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    format!("unknown key; expected one of {}", names.join(", "))
}

/// Only keys that work are worth proposing.
fn offered(property: &Value) -> bool {
    property.get(NO_EFFECT).is_none() && property.get("deprecated").is_none()
}

fn not_one_of(value: &Value, options: &Value) -> String {
    let options: Vec<_> = options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match value.as_str() {
        Some(text) => match nearest(text, options.iter().copied()) {
            Some(near) => format!("unknown value `{text}`; did you mean `{near}`?"),
            None => format!("unknown value `{text}`; expected one of {}", options.join(", ")),
        },
        None => format!("expected one of {}, got {}", options.join(", "), kind_name(value)),
    }
}

/// The most similar name, if it is similar enough to be a slip of the pen.
pub(super) fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    names
        .filter(|name| name.len().abs_diff(word.len()) <= allowed)
        .map(|name| (strsim::damerau_levenshtein(&word.to_ascii_lowercase(), name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

fn expected_type(schema: &Value) -> String {
    if let Some(expected) = schema.get(EXPECTED).and_then(Value::as_str) {
        return expected.to_owned();
    }
    match schema.get("type") {
        Some(Value::String(name)) => name.clone(),
        Some(Value::Array(names)) => {
            let names: Vec<_> = names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect();
            names.join(" or ")
        }
        _ => "another type".to_owned(),
    }
}

fn kind_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// `0`, not `0.0`: limits of fractional keys are whole numbers.
fn whole(limit: &Value) -> String {
    limit.as_f64().map_or_else(|| limit.to_string(), |limit| limit.to_string())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

// === cutting out what is wrong ===

/// Removes what the error is about. An element of a list is blanked instead, so that the places of the others stay right.
fn cut(error: &ValidationError<'_>, value: &mut Value) {
    let pointer = error.instance_path().as_str();
    if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() {
        if let Some(Value::Object(members)) = value.pointer_mut(pointer) {
            let unexpected: HashSet<&String> = unexpected.iter().collect();
            members.retain(|key, _| !unexpected.contains(key));
        }
        return;
    }
    let Some((parent, key)) = pointer.rsplit_once('/') else { return };
    match value.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            members.shift_remove(&unescape(key));
        }
        Some(Value::Array(items)) => {
            let item = key.parse().ok().and_then(|index: usize| items.get_mut(index));
            let wants_object = error.kind().keyword() == "type" && error.to_string().ends_with("\"object\"");
            if let Some(item) = item {
                *item = if wants_object { Value::Object(serde_json::Map::new()) } else { Value::from("") };
            }
        }
        _ => {}
    }
}
