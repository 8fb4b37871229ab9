//! The command line: `bifrost [--config FILE] ..`, `bifrost check`, `bifrost schema`.
//!
//! Bifrost's documents write long options with one dash (`-config config.json -port 8080 -pool-size 300`); both forms work. A flag wins
//! over its environment variable. Nothing here prints: output goes to the writers that are handed in.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::{self, Environment, Settings};

/// The exit code for a configuration or a command line that is wrong.
pub const EXIT_WRONG: u8 = 2;

/// What the program was asked to do.
#[derive(Debug)]
pub struct Invocation {
    /// What to do.
    pub action: Action,
    /// With which options; every fallback is applied.
    pub options: Options,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Run the gateway.
    Serve,
    /// Check the configuration and say what is wrong with it.
    Check,
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Start a tool server and take it down with the gateway: the program and its arguments.
    ToolGuard(Vec<OsString>),
}

/// Options of a run, after environment variables and defaults.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    /// The configuration file: the one that was named, else `<app-dir>/config.json` if it exists.
    pub config: Option<PathBuf>,
    /// Where the gateway keeps its files; unknown only if there is no home directory.
    pub app_dir: Option<PathBuf>,
    /// Where to listen, if that was said.
    pub host: Option<String>,
    /// Where to listen, if that was said.
    pub port: Option<u16>,
    /// How much to log.
    pub log_level: LogLevel,
    /// How to write log lines.
    pub log_style: LogStyle,
    /// How long requests in flight may take once the gateway is told to stop.
    pub drain: Duration,
}

/// How much to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    #[value(alias = "warning")]
    Warn,
    Error,
}

/// How to write log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogStyle {
    /// One JSON object per line.
    Json,
    /// For people.
    Pretty,
}

/// An agent gateway: one base URL, every model provider, every tool server.
#[derive(Debug, Parser)]
#[command(name = "bifrost", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Verb>,
    /// The configuration file (.json, .yaml or .toml) [default: <app-dir>/config.json, if it exists]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The directory of the gateway's own files [default: ~/.config/bifrost]
    #[arg(long, value_name = "DIR", global = true)]
    app_dir: Option<PathBuf>,
    #[arg(help = "The address to listen on [env: APP_HOST] [default: 127.0.0.1]", long)]
    host: Option<String>,
    #[arg(help = "The port to listen on [env: APP_PORT] [default: 8080]", long)]
    port: Option<u16>,
    #[arg(
        help = "How much to log [env: BIFROST_LOG_LEVEL, LOG_LEVEL] [default: info]",
        long,
        value_enum,
        ignore_case = true
    )]
    log_level: Option<LogLevel>,
    #[arg(help = "How to write log lines [env: LOG_STYLE] [default: json]", long, value_enum, ignore_case = true)]
    log_style: Option<LogStyle>,
    /// How long requests in flight may take after a signal to stop, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain_seconds: u64,
    /// Accepted for compatibility; this gateway pools nothing per request
    #[arg(long, value_name = "N", hide = true)]
    pool_size: Option<u32>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check the configuration: every mistake at once, with its place; exit code 2 if there is one
    Check,
    /// Print the JSON Schema of the configuration
    Schema,
    #[command(hide = true)]
    ToolGuard {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
}

/// Reads the command line (`arguments` begin with the program's name) and the variables that stand in for its options.
///
/// # Errors
/// A wrong command line or variable, and also `--help` and `--version`: print the error and exit with its `exit_code()`.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: Environment<'_>,
) -> Result<Invocation, clap::Error> {
    let cli = Cli::try_parse_from(two_dashes(arguments))?;
    let variable = |names: &[&str]| names.iter().find_map(|name| environment(name).filter(|value| !value.is_empty()));
    let app_dir = cli.app_dir.or_else(|| default_app_dir(environment));
    let options = Options {
        config: config::locate(cli.config.as_deref(), app_dir.as_deref()),
        app_dir,
        host: cli.host.or_else(|| variable(&["APP_HOST"])),
        port: match (cli.port, variable(&["APP_PORT"])) {
            (None, Some(text)) => Some(text.parse().map_err(|_| wrong("APP_PORT", "a port number"))?),
            (flag, _) => flag,
        },
        log_level: match (cli.log_level, variable(&["BIFROST_LOG_LEVEL", "LOG_LEVEL"])) {
            (None, Some(text)) => word(&text, "BIFROST_LOG_LEVEL")?,
            (flag, _) => flag.unwrap_or(LogLevel::Info),
        },
        log_style: match (cli.log_style, variable(&["LOG_STYLE"])) {
            (None, Some(text)) => word(&text, "LOG_STYLE")?,
            (flag, _) => flag.unwrap_or(LogStyle::Json),
        },
        drain: Duration::from_secs(cli.drain_seconds),
    };
    let action = match cli.command {
        None => Action::Serve,
        Some(Verb::Check) => Action::Check,
        Some(Verb::Schema) => Action::Schema,
        Some(Verb::ToolGuard { command }) => Action::ToolGuard(command),
    };
    Ok(Invocation { action, options })
}

/// `bifrost check`: says on `out` that the file is good, or on `err` everything that is wrong. Returns the exit code.
pub fn check(
    file: Option<&Path>,
    environment: Environment<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let Some(file) = file else {
        writeln!(err, "no configuration file; name one with --config FILE")?;
        return Ok(EXIT_WRONG);
    };
    match config::load(file, environment) {
        Ok(settings) => {
            for warning in &settings.warnings {
                writeln!(err, "{}: warning: {warning}", file.display())?;
            }
            writeln!(out, "{}: ok ({})", file.display(), summary(&settings))?;
            Ok(0)
        }
        Err(error) => {
            writeln!(err, "{error}")?;
            Ok(EXIT_WRONG)
        }
    }
}

/// `bifrost schema`: the JSON Schema of the configuration.
pub fn schema(out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{:#}", config::schema())
}

fn summary(settings: &Settings) -> String {
    let count = |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
    let parts = [
        count(settings.providers.len(), "provider"),
        count(settings.virtual_keys.len(), "virtual key"),
        count(settings.tools.servers.len(), "tool server"),
    ];
    parts.join(", ")
}

/// Gives the documented one-dash spellings their second dash. What follows `--` or a tool server's command is left alone.
fn two_dashes(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let long: Vec<String> =
        Cli::command().get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned).collect();
    let mut verbatim = false;
    let fix = |argument: OsString| {
        verbatim |= argument == "--" || argument == "tool-guard";
        let name = argument.to_str().and_then(|text| text.strip_prefix('-'));
        let name = name.map(|text| text.split_once('=').map_or(text, |(name, _)| name));
        if verbatim || !name.is_some_and(|name| long.iter().any(|long| long == name)) {
            return argument;
        }
        let mut fixed = OsString::from("-");
        fixed.push(argument);
        fixed
    };
    arguments.into_iter().map(fix).collect()
}

fn default_app_dir(environment: Environment<'_>) -> Option<PathBuf> {
    let (variable, below) = if cfg!(windows) { ("APPDATA", "bifrost") } else { ("HOME", ".config/bifrost") };
    environment(variable).filter(|home| !home.is_empty()).map(|home| Path::new(&home).join(below))
}

fn word<T: ValueEnum>(text: &str, variable: &str) -> Result<T, clap::Error> {
    T::from_str(text, true).map_err(|_| {
        let known = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let known: Vec<_> = known.map(|value| value.get_name().to_owned()).collect();
        wrong(variable, &format!("one of {}", known.join(", ")))
    })
}

fn wrong(variable: &str, expected: &str) -> clap::Error {
    Cli::command()
        .error(ErrorKind::ValueValidation, format!("the environment variable {variable} is wrong; expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invoke(line: &str, variables: &[(&str, &str)]) -> Result<Invocation, clap::Error> {
        let variables: std::collections::HashMap<_, _> = variables.iter().copied().collect();
        parse(line.split_whitespace().map(OsString::from), &|name| variables.get(name).map(|value| (*value).to_owned()))
    }

    #[test]
    fn documented_one_dash_options_work() {
        let documented = invoke("bifrost -config config.json -port 8080 -pool-size 300 -log-level=debug", &[]).unwrap();
        let usual = invoke("bifrost --config config.json --port 8080 --log-level debug", &[]).unwrap();
        assert_eq!(documented.options, usual.options);
        assert_eq!(documented.options.config, Some("config.json".into()));
        assert_eq!((documented.options.port, documented.options.log_level), (Some(8080), LogLevel::Debug));
    }

    #[test]
    fn a_flag_wins_over_its_variable() {
        let variables =
            [("APP_PORT", "9000"), ("APP_HOST", "::1"), ("BIFROST_LOG_LEVEL", "WARN"), ("LOG_LEVEL", "error")];
        let options = invoke("bifrost", &variables).unwrap().options;
        assert_eq!(
            (options.port, options.host.as_deref(), options.log_level),
            (Some(9000), Some("::1"), LogLevel::Warn)
        );
        let options = invoke("bifrost --port 1 --log-level info", &variables).unwrap().options;
        assert_eq!((options.port, options.log_level), (Some(1), LogLevel::Info));
    }

    #[test]
    fn without_anything_the_defaults_hold() {
        let Invocation { action, options } = invoke("bifrost", &[]).unwrap();
        assert_eq!(action, Action::Serve);
        let drain = Duration::from_secs(30);
        let expected = Options {
            config: None,
            app_dir: None,
            host: None,
            port: None,
            log_level: LogLevel::Info,
            log_style: LogStyle::Json,
            drain,
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn wrong_lines_are_errors_with_code_2() {
        for (line, variables) in [
            ("bifrost --nonsense", &[][..]),
            ("bifrost -nonsense", &[]),
            ("bifrost --port 70000", &[]),
            ("bifrost --log-style xml", &[]),
            ("bifrost tool-guard", &[]),
            ("bifrost", &[("APP_PORT", "eighty")]),
            ("bifrost", &[("LOG_STYLE", "xml")]),
        ] {
            assert_eq!(invoke(line, variables).unwrap_err().exit_code(), 2, "{line}");
        }
        assert_eq!(invoke("bifrost --help", &[]).unwrap_err().exit_code(), 0);
    }

    #[test]
    fn a_guarded_command_keeps_its_own_options() {
        let Action::ToolGuard(command) = invoke("bifrost tool-guard -- server -config x --port 1", &[]).unwrap().action
        else {
            panic!("not the guard")
        };
        assert_eq!(command, ["server", "-config", "x", "--port", "1"]);
    }

    #[test]
    fn check_takes_the_file_after_the_verb() {
        let Invocation { action, options } = invoke("bifrost check --config a.yaml", &[]).unwrap();
        assert_eq!((action, options.config), (Action::Check, Some("a.yaml".into())));
    }

    #[test]
    fn the_file_in_the_app_dir_is_found_if_it_exists() {
        let home = tempfile::tempdir().unwrap();
        let app_dir = home.path().join(".config/bifrost");
        std::fs::create_dir_all(&app_dir).unwrap();
        let variables = [("HOME", home.path().to_str().unwrap())];
        assert_eq!(invoke("bifrost", &variables).unwrap().options.config, None);
        std::fs::write(app_dir.join("config.json"), "{}").unwrap();
        assert_eq!(invoke("bifrost", &variables).unwrap().options.config, Some(app_dir.join("config.json")));
    }
}
