//! The `bifrost` binary: reads the command line, starts the gateway, stops it on a signal.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use bifrost_gateway::cli::{self, Action, Invocation};
use bifrost_gateway::config::{self, Settings};
use bifrost_gateway::record::LogStyle;
use bifrost_gateway::{Gateway, Options, mcp, usual_providers};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let invocation = match cli::parse(std::env::args_os(), &config::process_environment) {
        Ok(invocation) => invocation,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(cli::EXIT_WRONG));
        }
    };
    match run(&invocation) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "bifrost: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(invocation: &Invocation) -> anyhow::Result<ExitCode> {
    let options = &invocation.options;
    match &invocation.action {
        Action::ToolGuard(command) => Ok(guard(command)),
        Action::Schema => {
            cli::schema(&mut io::stdout())?;
            Ok(ExitCode::SUCCESS)
        }
        Action::Check => {
            let environment = &config::process_environment;
            let code = cli::check(options.config.as_deref(), environment, &mut io::stdout(), &mut io::stderr())?;
            Ok(ExitCode::from(code))
        }
        Action::Serve => match settings(options) {
            Ok(settings) => {
                trace(options);
                let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
                runtime.block_on(serve(settings, options))?;
                // Blocking threads (a terminal that no longer reads) must not keep the process.
                runtime.shutdown_timeout(Duration::from_secs(1));
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => {
                writeln!(io::stderr(), "{error}")?;
                Ok(ExitCode::from(cli::EXIT_WRONG))
            }
        },
    }
}

fn guard(command: &[OsString]) -> ExitCode {
    let code = mcp::guard::run(command.iter().cloned());
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn settings(options: &cli::Options) -> Result<Settings, config::ConfigError> {
    let environment = &config::process_environment;
    let mut settings = match &options.config {
        Some(path) => config::load(path, environment)?,
        None => config::embedded(&usual_providers(), environment),
    };
    if let Some(host) = &options.host {
        settings.listen.host.clone_from(host);
    }
    if let Some(port) = options.port {
        settings.listen.port = port;
    }
    Ok(settings)
}

/// Events of the gateway go to standard error; standard output is for the request log.
fn trace(options: &cli::Options) {
    let level = match options.log_level {
        cli::LogLevel::Trace => "trace",
        cli::LogLevel::Debug => "debug",
        cli::LogLevel::Info => "info",
        cli::LogLevel::Warn => "warn",
        cli::LogLevel::Error => "error",
    };
    let filter = tracing_subscriber::EnvFilter::new(format!("{level},hyper=warn,rmcp=warn,h2=warn"));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    match options.log_style {
        cli::LogStyle::Json => builder.json().flatten_event(true).init(),
        cli::LogStyle::Pretty => builder.with_target(false).init(),
    }
}

fn cores() -> Option<NonZeroUsize> {
    std::thread::available_parallelism().ok()
}

async fn serve(settings: Settings, options: &cli::Options) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let log_style = match options.log_style {
        cli::LogStyle::Json => LogStyle::Json,
        cli::LogStyle::Pretty => LogStyle::Pretty,
    };
    let guard = std::env::current_exe().ok();
    let gateway =
        Gateway::start(&settings, Options { log_style, guard, workers: cores(), ..Options::default() }).await?;
    tracing::info!(
        address = %gateway.address(),
        providers = settings.providers.len(),
        tool_servers = settings.tools.servers.len(),
        "listening on http://{}",
        gateway.address()
    );
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(drain_s = options.drain.as_secs(), "stopping; a second signal ends at once");
    tokio::select! {
        () = gateway.stop(options.drain) => tracing::info!("stopped"),
        _ = terminate.recv() => tracing::warn!("ended at once by a second signal"),
        _ = interrupt.recv() => tracing::warn!("ended at once by a second signal"),
    }
    Ok(())
}
