//! Reads a configuration file into a [`Node`]; the file's ending says which format.
//!
//! Errors never quote the file: the broken line may hold a secret.

mod json;
mod toml;
mod yaml;

use std::io::Read as _;
use std::path::Path;

use super::finding::Finding;
use super::tree::Node;

/// No real configuration is larger; a limit keeps a wrong path (a log, a device) from filling the memory.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

type Parser = fn(&str) -> Result<Node, Vec<Finding>>;

const FORMATS: [(&str, Parser); 4] =
    [("json", json::parse), ("yaml", yaml::parse), ("yml", yaml::parse), ("toml", toml::parse)];

/// Reads and parses `path`. Everything that keeps the file from being understood at all is reported from here.
pub(super) fn read(path: &Path) -> Result<Node, Vec<Finding>> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    let Some((_, parse)) = FORMATS.iter().find(|(known, _)| *known == ending) else {
        return Err(vec![Finding::unreadable("unknown file ending; expected .json, .yaml, .yml or .toml")]);
    };
    let text = read_text(path).map_err(|message| vec![Finding::unreadable(message)])?;
    if text.trim().is_empty() {
        return Err(vec![Finding::unreadable("the file is empty; expected at least {}")]);
    }
    parse(&text)
}

fn read_text(path: &Path) -> Result<String, String> {
    let metadata = std::fs::metadata(path).map_err(|error| format!("cannot read the file: {error}"))?;
    if metadata.is_dir() {
        return Err("is a directory; expected a file".to_owned());
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot read the file: {error}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("the file is larger than {} MiB", MAX_BYTES / 1024 / 1024));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("the file is UTF-16; save it as UTF-8".to_owned());
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").map(<[u8]>::to_vec).unwrap_or(bytes);
    String::from_utf8(bytes).map_err(|error| format!("not UTF-8 text (byte {})", error.utf8_error().valid_up_to()))
}
