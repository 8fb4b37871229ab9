//! Configuration: from `config.json` (or YAML, or TOML) and the environment to [`Settings`], or to everything that is wrong.
//!
//! ```text
//! file --format--> tree --check--> File --resolve--> Settings
//!                    |       \         \
//!                 places      findings, all of them, each with line, path and what was expected
//! ```
//! The schema that `bifrost schema` prints, the check for unknown keys and the tables of the documentation all come from the
//! types in [`file`]. This is the only module that reads files of configuration or the environment; nothing after it sees a raw value.

mod check;
pub mod file;
mod finding;
mod format;
mod period;
mod resolve;
mod schema;
mod secret;
mod settings;
mod tree;

use std::path::{Path, PathBuf};

pub use finding::{ConfigError, Finding, Mistake};
pub use schema::published as schema;
pub use secret::{Environment, process_environment};
pub use settings::*;
pub use tree::Place;

/// Reads, checks and resolves one file.
///
/// # Errors
/// Everything that is wrong with it at once. After a value of the wrong type, complaints that might only echo it are held back:
/// missing variables and duplicates are still reported, conflicts are not.
pub fn load(path: &Path, environment: Environment<'_>) -> Result<Settings, ConfigError> {
    let mut tree = format::read(path).map_err(|findings| ConfigError::new(path, findings))?;
    let checked = check::check(&mut tree);
    let mut findings = checked.findings;
    let echoes = findings.iter().any(|finding| finding.mistake == Mistake::WrongValue);
    let resolved = checked.file.map(|file| resolve::resolve(&file, &tree, environment));
    let Some((mut settings, more)) = resolved else { return Err(ConfigError::new(path, findings)) };
    findings.extend(more.into_iter().filter(|finding| !echoes || finding.mistake != Mistake::Conflict));
    if !findings.is_empty() {
        return Err(ConfigError::new(path, findings));
    }
    settings.warnings.splice(0..0, checked.warnings);
    settings.origin = Some(path.to_owned());
    Ok(settings)
}

/// The settings of a start without a file: every default, and those providers whose usual key variable is set.
///
/// `usual` lists providers with the variables to try, first match wins, such as `("gemini", &["GEMINI_API_KEY", ..])`.
pub fn embedded(usual: &[(&str, &[&str])], environment: Environment<'_>) -> Settings {
    let nothing = tree::Node { at: Place::default(), kind: tree::Kind::Map(Vec::new()) };
    let (mut settings, _) = resolve::resolve(&file::File::default(), &nothing, environment);
    let set = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
    settings.providers = usual
        .iter()
        .filter_map(|(provider, variables)| {
            let (variable, value) = variables.iter().find_map(|name| Some((*name, set(name)?)))?;
            Some(resolve::usual_key(provider, variable, value))
        })
        .collect();
    if settings.providers.is_empty() {
        let names: Vec<_> = usual.iter().filter_map(|(_, variables)| variables.first().copied()).collect();
        settings.warnings.push(format!("no configuration file and no provider key; set one of {}", names.join(", ")));
    }
    settings
}

/// The file to use: the one that was named, else `<app_dir>/config.json` if it exists, else none.
pub fn locate(named: Option<&Path>, app_dir: Option<&Path>) -> Option<PathBuf> {
    if let Some(named) = named {
        return Some(named.to_owned());
    }
    app_dir.map(|directory| directory.join("config.json")).filter(|path| path.exists())
}
