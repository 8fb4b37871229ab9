//! Values that may be given by reference: `env.NAME` instead of the secret itself.
//!
//! A [`Reference`] is what the file says; [`Reference::resolve`] is the only way to its content, which is a `SecretString`
//! from then on: no `Display`, no `Serialize`, and a `Debug` that prints nothing of it.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

/// The process environment, or a stand-in for it in tests.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A text given literally or by the name of an environment variable.
///
/// Spellings: `"text"`, `"env.NAME"`, and the object form `{value, ref, type, env_var, from_env}` that the management API
/// of Bifrost writes (contract of `config.json`, "Secret references").
#[derive(Debug)]
pub struct Reference(Source);

enum Source {
    Literal(SecretString),
    Variable(String),
    Vault(String),
}

/// Why a reference has no value. The texts name the variable, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// The variable does not exist or is empty.
    #[error("environment variable `{name}` is {}", if *empty { "empty" } else { "not set" })]
    Variable {
        /// The variable's name.
        name: String,
        /// It exists, with no content.
        empty: bool,
    },
    /// A `vault.` reference.
    #[error("`vault.{0}`: vault references are not supported by this version; use `env.NAME`")]
    Vault(String),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    value: Option<String>,
    r#ref: Option<String>,
    r#type: Option<String>,
    env_var: Option<String>,
    from_env: bool,
}

/// Reads the process environment; not-UTF-8 variables count as absent.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

// === impl Reference ===

impl Reference {
    /// The content: the literal, or what the environment holds.
    pub fn resolve(&self, environment: Environment<'_>) -> Result<SecretString, Unresolved> {
        match &self.0 {
            Source::Literal(text) => Ok(text.clone()),
            Source::Vault(path) => Err(Unresolved::Vault(path.clone())),
            Source::Variable(name) => match environment(name) {
                Some(value) if !value.trim().is_empty() => Ok(value.into()),
                found => Err(Unresolved::Variable { name: name.clone(), empty: found.is_some() }),
            },
        }
    }

    fn parse(text: &str) -> Self {
        Self(match (text.strip_prefix("env."), text.strip_prefix("vault.")) {
            (Some(name), _) => Source::Variable(name.to_owned()),
            (_, Some(path)) => Source::Vault(path.to_owned()),
            _ => Source::Literal(text.into()),
        })
    }
}

impl From<Object> for Reference {
    fn from(object: Object) -> Self {
        let name = object.env_var.or(object.r#ref).filter(|name| !name.is_empty());
        let value = object.value.unwrap_or_default();
        match (object.r#type.as_deref(), name) {
            (Some("vault"), name) => Self(Source::Vault(strip(name.unwrap_or(value), "vault."))),
            (Some("env"), name) => Self(Source::Variable(strip(name.unwrap_or(value), "env."))),
            (None, Some(name)) if object.from_env || value.is_empty() => Self(Source::Variable(strip(name, "env."))),
            (None, None) if object.from_env => Self(Source::Variable(strip(value, "env."))),
            (Some("plain_text"), _) => Self(Source::Literal(value.into())),
            _ => Self::parse(&value),
        }
    }
}

fn strip(text: String, prefix: &str) -> String {
    text.strip_prefix(prefix).map(str::to_owned).unwrap_or(text)
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("[REDACTED]"),
            Self::Variable(name) => write!(f, "env.{name}"),
            Self::Vault(path) => write!(f, "vault.{path}"),
        }
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReferenceVisitor)
    }
}

struct ReferenceVisitor;

impl<'de> Visitor<'de> for ReferenceVisitor {
    type Value = Reference;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, `env.NAME`, or an object")
    }

    fn visit_str<E>(self, text: &str) -> Result<Reference, E> {
        Ok(Reference::parse(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Reference, A::Error> {
        Object::deserialize(MapAccessDeserializer::new(map)).map(Reference::from)
    }
}

/// One schema without alternatives, so that a wrong key inside the object form is reported as such.
impl JsonSchema for Reference {
    fn schema_name() -> Cow<'static, str> {
        "Reference".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A text, or `env.NAME` for the content of an environment variable.",
            "x-expected": "a text or `env.NAME`",
            "type": ["string", "object"],
            "properties": {
                "value": {"type": "string"},
                "ref": {"type": "string"},
                "type": {"type": "string", "enum": ["plain_text", "env", "vault"]},
                "env_var": {"type": "string"},
                "from_env": {"type": "boolean"},
            },
            "additionalProperties": false,
        })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn resolve(json: &str) -> Result<String, String> {
        let reference: Reference = serde_json::from_str(json).unwrap();
        let environment = |name: &str| match name {
            "KEY" => Some("from-env".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        match reference.resolve(&environment) {
            Ok(secret) => Ok(secret.expose_secret().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn every_spelling_resolves() {
        let env = Ok("from-env".to_owned());
        for (json, expected) in [
            (r#""sk-literal""#, Ok("sk-literal".to_owned())),
            (r#""env.KEY""#, env.clone()),
            (r#"{"value":"env.KEY"}"#, env.clone()),
            (r#"{"value":"", "env_var":"KEY", "from_env":true}"#, env.clone()),
            (r#"{"value":"", "env_var":"env.KEY", "from_env":true}"#, env.clone()),
            (r#"{"ref":"KEY", "type":"env"}"#, env.clone()),
            (r#"{"value":"env.KEY", "type":"env"}"#, env),
            (r#"{"value":"env.KEY", "type":"plain_text"}"#, Ok("env.KEY".to_owned())),
            (r#"{"value":"literal"}"#, Ok("literal".to_owned())),
            (r#""env.NONE""#, Err("environment variable `NONE` is not set".to_owned())),
            (r#""env.EMPTY""#, Err("environment variable `EMPTY` is empty".to_owned())),
        ] {
            assert_eq!(resolve(json), expected, "{json}");
        }
        assert!(resolve(r#""vault.path#key""#).unwrap_err().contains("not supported"));
    }

    #[test]
    fn debug_names_the_variable_and_hides_the_literal() {
        let literal: Reference = serde_json::from_str(r#""canary""#).unwrap();
        let variable: Reference = serde_json::from_str(r#""env.KEY""#).unwrap();
        assert_eq!(format!("{literal:?} {variable:?}"), "Reference([REDACTED]) Reference(env.KEY)");
    }
}
