//! What is wrong with a configuration: each finding says where, what, and what was expected.

use std::fmt;
use std::path::{Path, PathBuf};

use super::tree::Place;

/// More findings than this say nothing new; the rest are only counted.
pub(super) const SHOWN: usize = 100;

/// What sort of mistake a finding reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The file cannot be read or is not well-formed; nothing else was checked.
    Unreadable,
    /// A key that no documented section has.
    UnknownKey,
    /// A value of the wrong type, outside its range or not one of the allowed words.
    WrongValue,
    /// An environment variable that a value refers to is not set.
    MissingVariable,
    /// A name, key or value that must be unique appears twice.
    Duplicate,
    /// Well-formed on its own, but in conflict with the rest of the file.
    Conflict,
}

/// One mistake and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What sort of mistake this is.
    pub mistake: Mistake,
    /// The line and column, absent where the file as a whole is meant.
    pub place: Option<Place>,
    /// JSON pointer (RFC 6901) in the spelling of the file; empty for the document.
    pub path: String,
    /// What is wrong and what was expected. Never contains a secret.
    pub message: String,
}

/// Everything that is wrong with one configuration, in file order.
///
/// `Display` prints one line per finding: `config.json:12:7: /providers/openai/keys/0/weigth: unknown key; did you mean ..`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file, or `None` for the embedded defaults.
    pub file: Option<PathBuf>,
    /// At least one finding.
    pub findings: Vec<Finding>,
}

impl Finding {
    /// A finding about the file as a whole.
    pub(super) fn unreadable(message: impl Into<String>) -> Self {
        Self::unreadable_at(None, message)
    }

    /// A finding about the grammar of the file.
    pub(super) fn unreadable_at(place: Option<Place>, message: impl Into<String>) -> Self {
        Self { mistake: Mistake::Unreadable, place, path: String::new(), message: message.into() }
    }
}

impl ConfigError {
    /// Sorts the findings by line and drops repetitions: one place can break several rules for one reason.
    pub(super) fn new(file: &Path, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.place.map_or((0, 0), |place| (place.line, place.column)));
        findings.dedup_by(|a, b| a.path == b.path && a.mistake == b.mistake);
        Self { file: Some(file.to_owned()), findings }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_deref().unwrap_or(Path::new("configuration")).display();
        for (index, finding) in self.findings.iter().take(SHOWN).enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{file}")?;
            if let Some(Place { line, column }) = finding.place {
                write!(f, ":{line}:{column}")?;
            }
            if !finding.path.is_empty() {
                write!(f, ": {}", finding.path)?;
            }
            write!(f, ": {}", finding.message)?;
        }
        match self.findings.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n{file}: and {more} more"),
        }
    }
}
