//! The page of providers is written from their rows; this test keeps the committed copy current.

use std::fmt::Write as _;

use bifrost_providers::Dialect;
use bifrost_providers::auth::AuthScheme;
use bifrost_providers::catalog::{self, Of, Row};
use bifrost_providers::endpoint::Endpoint;

use crate::docs::current;

const INTRODUCTION: &str = "\
# Providers

<!-- Written from the rows of `providers/src/catalog.rs`; a test keeps it current. -->

A provider of one of these names needs a key and nothing else. Somebody's own server, or a provider that is not here, is a name of your
own with `custom_provider_config.base_provider_type`: which of these it behaves like. What a key may say of itself (models, aliases, a
server or an account of its own) is in [configuration.md](configuration.md).

What stands in braces belongs to a key: `{endpoint}`, `{region}`, `{project}`; `{model}` is the model asked for. Where a provider speaks the
client's dialect, requests are passed on as they came; its peculiarities below are for requests that are translated.
";

#[test]
fn the_page_of_providers_is_current() {
    let mut page = INTRODUCTION.to_owned();
    for row in catalog::rows() {
        write!(page, "\n## {}\n\n", row.name).unwrap();
        page.push_str(&facts(row));
        for variant in row.variants {
            write!(page, "\n{}\n\n{}", heading(variant.of), facts(&variant.row)).unwrap();
        }
    }
    current("docs/providers.md", &page);
}

fn heading(of: Of) -> String {
    match of {
        Of::Family(family) => format!("For models of the family `{}`:", family.name()),
        Of::DatedVersion => "For keys whose `api_version` is a date:".to_owned(),
        Of::Deployments => "For keys with `use_deployments_endpoint`:".to_owned(),
    }
}

/// A row's facts, one a line.
fn facts(row: &Row) -> String {
    let mut text = String::new();
    let mut line = |what: &str, facts: String| writeln!(text, "- {what}: {facts}").unwrap();
    line("Address", format!("`{}`", row.base_url));
    line("Speaks", spoken(row));
    line("Key", key(row));
    let mut operations: Vec<&str> = operations(row).collect();
    operations.sort_unstable();
    operations.dedup();
    line("Operations", quoted(&operations));
    for quirk in row.quirks {
        line("Peculiar", quirk.says());
    }
    text
}

fn spoken(row: &Row) -> String {
    if !row.only.is_empty() {
        return format!("forms of its own, to clients of {}", row.dialect.name());
    }
    let also = |dialect: &Dialect| format!(", and {} with clients that speak it", dialect.name());
    row.dialect.name().to_owned() + &row.also.iter().map(also).collect::<String>()
}

fn key(row: &Row) -> String {
    let sent = match row.auth {
        AuthScheme::Bearer => "as a bearer token".to_owned(),
        AuthScheme::Header(name) => format!("in the header `{name}`"),
        AuthScheme::Sigv4(_) => "by AWS Signature Version 4, or an API key as a bearer token".to_owned(),
        AuthScheme::None => "none".to_owned(),
    };
    let usual = if row.key_env.is_empty() { String::new() } else { format!("; usually in {}", quoted(row.key_env)) };
    let needed = if row.keyless { "not needed; one that is configured is sent " } else { "" };
    format!("{needed}{sent}{usual}")
}

fn operations(row: &Row) -> impl Iterator<Item = &'static str> {
    Endpoint::ALL.into_iter().filter(|endpoint| row.serves(*endpoint)).map(|endpoint| endpoint.request_type(false))
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
