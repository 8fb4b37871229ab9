//! The documents keep their promises: links lead somewhere, tests they name exist, configurations they show are good.

use std::fs;
use std::path::{Path, PathBuf};

use bifrost_gateway::config;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the repository").to_owned()
}

/// Every file below `folder` with this ending, without what is built or fetched.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a readable folder").flatten();
    let visible = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !name.starts_with('.') && name != "target" && name != "node_modules"
    });
    visible
        .flat_map(|path| if path.is_dir() { files(&path, ending) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between each `before` and the next `after`.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    text.split(before).skip(1).filter_map(|rest| Some(rest.split_once(after)?.0)).collect()
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut broken = Vec::new();
    for document in files(&root(), "md") {
        let folder = document.parent().expect("a document is in a folder");
        let text = read(&document);
        let local =
            between(&text, "](", ")").into_iter().filter(|link| !link.contains("://") && !link.starts_with('#'));
        for link in local {
            let target = link.split('#').next().unwrap_or_default();
            if !folder.join(target).exists() {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_test_that_the_architecture_names_exists() {
    let architecture = read(&root().join("ARCHITECTURE.md"));
    let table = between(&architecture, "| Invariant | Test |", "\n## ").concat();
    let cells = table.lines().filter_map(|line| line.trim_end_matches('|').rsplit('|').next());
    let names: Vec<String> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|name| {
            !name.is_empty() && name.chars().all(|letter| letter.is_ascii_lowercase() || "_0123456789".contains(letter))
        })
        .map(str::to_owned)
        .collect();
    assert!(names.len() > 20, "{names:?}");
    let code: String = files(&root(), "rs").iter().map(|path| read(path)).collect();
    let missing: Vec<&String> = names.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_configuration_that_the_documents_show_is_good() {
    let scratch = tempfile::tempdir().expect("a folder for the files");
    let mut checked = 0;
    for name in ["README.md", "docs/tools.md"] {
        let text = read(&root().join(name));
        for block in between(&text, "```json\n", "```").into_iter().filter(|block| block.contains("client_configs")) {
            let file = scratch.path().join("config.json");
            fs::write(&file, block).expect("a file can be written");
            let loaded = config::load(&file, &|variable| Some(format!("the value of {variable}")));
            assert!(loaded.is_ok(), "{name}: {}", loaded.err().map(|error| error.to_string()).unwrap_or_default());
            checked += 1;
        }
    }
    assert!(checked >= 2);
}
