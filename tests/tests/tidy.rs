//! The rules of the house that no compiler checks: read from the sources and from cargo's metadata.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A source file, by its path below the repository's root.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The file without the tests at its end.
    fn code(&self) -> &str {
        self.text.split("#[cfg(test)]\nmod tests").next().unwrap()
    }

    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap()
    }

    /// Is all of it a test?
    fn is_test(&self) -> bool {
        self.path.contains("/tests/") && !self.path.starts_with("tests/src/")
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root(), &mut found);
    assert!(found.len() > 100, "only {} source files found", found.len());
    found
}

fn collect(directory: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            found.push(Source { path, text });
        }
    }
}

/// Fails with every offender, not just the first.
fn none(rule: &str, offenders: impl Iterator<Item = String>) {
    let offenders: Vec<String> = offenders.collect();
    assert!(offenders.is_empty(), "{rule}:\n{}", offenders.join("\n"));
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let silent = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    none("every file opens with //!", silent.map(|source| source.path));
}

#[test]
fn no_file_is_long() {
    /// Exempt by name: tables and wire structs.
    const EXEMPT: [&str; 2] = ["catalog.rs", "wire.rs"];
    let long = sources().into_iter().filter(|source| !source.is_test() && !EXEMPT.contains(&source.name()));
    let long = long.map(|source| (source.code().lines().count(), source.path)).filter(|(lines, _)| *lines > 600);
    none("a file has at most 600 lines without its tests", long.map(|(lines, path)| format!("{path}: {lines}")));
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    const EMPTY: [&str; 7] = ["utils.rs", "util.rs", "helpers.rs", "helper.rs", "common.rs", "misc.rs", "manager.rs"];
    let unnamed = sources().into_iter().filter(|source| EMPTY.contains(&source.name()));
    none("a file is named for what is in it", unnamed.map(|source| source.path));
}

/// The lines of code, comments left out, that contain one of these.
fn lines_with(sources: &[Source], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for (at, line) in source.text.lines().enumerate() {
            let code = !line.trim_start().starts_with("//");
            if code && words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}: {}", source.path, at + 1, line.trim()));
            }
        }
    }
    found
}

fn in_folder(sources: Vec<Source>, folder: &str) -> Vec<Source> {
    sources.into_iter().filter(|source| source.path.starts_with(folder)).collect()
}

/// Everything but this file, which must spell out what it looks for.
fn others() -> Vec<Source> {
    sources().into_iter().filter(|source| source.path != "tests/tests/tidy.rs").collect()
}

#[test]
fn nothing_is_left_for_later() {
    let words = ["TODO", "FIXME", "XXX:", "HACK"];
    let later = others().into_iter().flat_map(|source| {
        let path = source.path.clone();
        let lines: Vec<String> = source.text.lines().map(str::to_owned).collect();
        lines
            .into_iter()
            .filter(move |line| words.iter().any(|word| line.contains(word)))
            .map(move |line| format!("{path}: {line}"))
    });
    none("nothing is left for later", later);
    let skipped = lines_with(&others(), &["#[ignore", "dbg!(", "todo!(", "unimplemented!("]);
    none("no test is skipped and no debugging is left", skipped.into_iter());
}

#[test]
fn the_engine_does_not_know_the_http_framework() {
    let engine: Vec<Source> =
        sources().into_iter().filter(|source| source.path.starts_with("gateway/src/engine")).collect();
    assert!(engine.len() > 10);
    none("engine/ does not name axum", lines_with(&engine, &["axum"]).into_iter());
}

#[test]
fn tasks_are_started_in_one_place() {
    let code = others();
    none("nothing is spawned past the tracker", lines_with(&code, &["tokio::spawn("]).into_iter());
    let trunk = in_folder(others(), "gateway/src");
    let strays = lines_with(&trunk, &["tokio::task::spawn(", "spawn_local", "TaskTracker::new", "JoinSet::new"]);
    // Connections are a set of their own, so that one shard can wait for its own before it ends.
    let strays = strays.into_iter().filter(|line| !line.starts_with("gateway/src/http/listen.rs"));
    none("the trunk spawns through tasks.rs", strays);
}

#[test]
fn only_configuration_reads_the_environment() {
    let ours = ["gateway/src", "providers/src", "mcp/src", "policies/src"];
    let code = ours.into_iter().flat_map(|folder| in_folder(others(), folder));
    let code: Vec<Source> = code.filter(|source| !source.path.starts_with("gateway/src/config")).collect();
    let readers = lines_with(&code, &["env::var(", "env::var_os(", "env::vars("]);
    none("only gateway/src/config reads the environment", readers.into_iter());
}

#[test]
fn the_transport_is_the_only_owner_of_the_http_client() {
    let providers = in_folder(others(), "providers/src").into_iter();
    let strangers: Vec<Source> =
        providers.filter(|source| !source.path.starts_with("providers/src/transport")).collect();
    none(
        "providers/src/transport owns the client",
        lines_with(&strangers, &["hyper_util::client", "reqwest::"]).into_iter(),
    );
}

// === crates ===

/// What cargo says, without a network.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).arg("--offline").current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Which of our crates a crate may use, and which only in its tests.
fn allowed(name: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match name {
        "bifrost-gateway" => (&["bifrost-providers", "bifrost-mcp", "bifrost-policies"], &["bifrost-fixtures"]),
        "bifrost-providers" | "bifrost-mcp" | "bifrost-policies" => (&[], &["bifrost-fixtures"]),
        "bifrost-fixtures" => (&[], &[]),
        // The tests and the examples.
        _ => (&["bifrost-gateway", "bifrost-fixtures"], &["bifrost-gateway", "bifrost-fixtures"]),
    }
}

#[test]
fn crates_know_only_whom_they_may_know() {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<&str> = packages.iter().map(|package| text(package, "name")).collect();
    for expected in ["gateway", "providers", "mcp", "policies", "fixtures", "tests"] {
        assert!(ours.contains(format!("bifrost-{expected}").as_str()), "{expected} is a crate: {ours:?}");
    }
    let mut wrong = Vec::new();
    for package in packages {
        let (always, in_tests) = allowed(text(package, "name"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let target = text(dependency, "name");
            let list = if dependency["kind"] == "dev" { in_tests } else { always };
            if ours.contains(target) && !list.contains(&target) {
                wrong.push(format!("{} -> {target} ({})", text(package, "name"), dependency["kind"]));
            }
        }
    }
    none("crates know only whom they may know", wrong.into_iter());
}

#[test]
fn dependencies_that_would_hurt_are_not_there() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let names = lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    // One provider of cryptography: a second one doubles the build, and panics at run time where both could be the default.
    let second = |name: &&str| name.starts_with("aws-lc") || matches!(*name, "openssl" | "openssl-sys" | "native-tls");
    let hurtful = names.filter(second);
    none("one provider of cryptography", hurtful.map(str::to_owned));
}

#[test]
fn numbers_are_not_made_strings() {
    // One crate that asks for this feature turns it on for the whole build, and numbers then pass through strings.
    let arguments = ["tree", "--workspace", "--edges", "features", "--invert", "serde_json"];
    let tree = cargo(&arguments);
    assert!(tree.contains("serde_json"), "{tree}");
    none("no arbitrary_precision", tree.lines().filter(|line| line.contains("arbitrary_precision")).map(str::to_owned));
}

// === documents ===

#[test]
fn the_documents_are_there_and_short() {
    let lines = |path: &Path| std::fs::read_to_string(path).map(|text| text.lines().count());
    let root = root();
    assert!(lines(&root.join("README.md")).is_ok_and(|lines| lines > 10), "README.md is for newcomers");
    let architecture = lines(&root.join("ARCHITECTURE.md"));
    assert!(architecture.as_ref().is_ok_and(|lines| (20..=200).contains(lines)), "ARCHITECTURE.md: {architecture:?}");
    for entry in std::fs::read_dir(root.join("docs/decisions")).unwrap() {
        let path = entry.unwrap().path();
        let lines = lines(&path).unwrap();
        assert!(lines <= 60, "{}: {lines} lines; a decision fits a page", path.display());
    }
}
