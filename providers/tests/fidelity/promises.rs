//! The promises of fidelity by name: where each is tested, or why it is not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use crate::repository;

/// `name`, a tab, what is promised, a tab, and where the name alone does not find the test: `tests: a b` that keep the promise, or
/// the reason why there is none (`cannot apply: …`, `not yet: …`).
const TABLE: &str = include_str!("../tables/promises.tsv");

#[derive(Debug)]
pub(crate) struct Promise {
    pub(crate) name: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) note: &'static str,
    /// Files, from the root of the repository, in which a test or a table row of this name stands.
    pub(crate) found: Vec<String>,
    /// Tests of the note, with their file.
    pub(crate) others: Vec<(&'static str, Option<String>)>,
}

impl Promise {
    /// What is wrong with the row.
    pub(crate) fn fault(&self) -> Option<String> {
        let Self { name, note, .. } = self;
        let missing = self.others.iter().find(|(_, file)| file.is_none());
        let reason = ["cannot apply: ", "not yet: "].iter().any(|start| note.starts_with(start));
        match (self.found.is_empty(), missing) {
            (false, _) if !note.is_empty() => Some(format!("{name} is tested now: its note is old")),
            (true, _) if note.is_empty() => Some(format!("{name} has no test and no reason")),
            (true, Some((other, _))) => Some(format!("{name}: no test is called {other}")),
            (true, None) if self.others.is_empty() && !reason => Some(format!("{name}: what is meant by {note:?}?")),
            _ => None,
        }
    }
}

pub(crate) fn promises() -> Vec<Promise> {
    TABLE.lines().map(promise).collect()
}

fn promise(line: &'static str) -> Promise {
    let mut columns = line.split('\t');
    let mut column = || columns.next().unwrap_or_else(|| panic!("three columns: {line}"));
    let (name, meaning, note) = (column(), column(), column());
    let others = note.strip_prefix("tests: ").unwrap_or_default().split_whitespace();
    let others = others.map(|other| (other, files_with(other).into_iter().next())).collect();
    Promise { name, meaning, note, found: files_with(name), others }
}

/// The sources that define a test, or a row of a table of tests, of this name.
fn files_with(name: &str) -> Vec<String> {
    static NAMES: LazyLock<BTreeMap<String, BTreeSet<String>>> = LazyLock::new(|| {
        let mut names = BTreeMap::new();
        collect(&repository(""), &mut names);
        assert!(names.len() > 1000, "only {} names found", names.len());
        names
    });
    NAMES.get(&name.to_lowercase()).into_iter().flatten().cloned().collect()
}

/// Every name that a source defines, with the files that do.
fn collect(folder: &Path, names: &mut BTreeMap<String, BTreeSet<String>>) {
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let skipped = name.starts_with('.') || ["target", "node_modules"].contains(&name.as_str());
        if path.is_dir() && !skipped {
            collect(&path, names);
        }
        let starts: &[&str] = match path.extension().and_then(|ending| ending.to_str()) {
            Some("rs") => &["fn "],
            Some("py") => &["def test_"],
            Some("jsonl") => &["\"name\":\""],
            _ => continue,
        };
        let text = std::fs::read_to_string(&path).unwrap();
        let below = path.strip_prefix(repository("")).unwrap().to_string_lossy().into_owned();
        for found in starts.iter().flat_map(|start| text.split(start).skip(1)) {
            let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let found = found.split(|letter| !is_name(letter)).next().unwrap_or_default();
            names.entry(found.to_lowercase()).or_default().insert(below.clone());
        }
    }
}
