//! The two-minute tour: one agent request through a live gateway, told as it happens.
//!
//! Without a provider key everything is simulated (see the fixtures crate), on real sockets. With `OPENAI_API_KEY` or
//! `ANTHROPIC_API_KEY` set, the model is real and the tools are still the simulated ones.

mod next;
mod price;
mod run;
mod screen;
mod stream;
mod verdict;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use bifrost_gateway::config::process_environment;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use screen::Screen;
use verdict::Verdict;
use world::{Cast, World};

/// What the demo asks, unless it is told otherwise.
const QUESTION: &str = "Paris or Tokyo: where is it warmer today, and by how much? Look both up, and compare.";

/// How long requests in flight may take once the demo is told to stop.
const DRAIN: Duration = Duration::from_secs(3);

/// Shows one agent request through a live gateway, then stays up so that you can try it yourself.
#[derive(Debug, Parser)]
#[command(name = "demo", version)]
struct Cli {
    /// End after the request; the exit code is 0 only if the tool loop really ran.
    #[arg(long)]
    once: bool,
    /// The model, as provider/model.
    #[arg(long)]
    model: Option<String>,
    /// The question; the simulated weather service knows Paris, Tokyo, Oslo, Cairo, Lima, Nairobi, Sydney and Boston.
    #[arg(long, default_value = QUESTION)]
    ask: String,
    /// Where the gateway listens; a port that is taken is replaced by a free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Use the simulated provider even where a provider key is set.
    #[arg(long)]
    simulate: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut screen = Screen::of_terminal(&process_environment);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure(&mut screen, &error.into()),
    };
    match runtime.block_on(tour(&cli, &mut screen)) {
        Ok(code) => code,
        Err(error) => failure(&mut screen, &error),
    }
}

/// Starts the world, asks, and takes the world down again, whatever happened.
async fn tour(cli: &Cli, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    tokio::pin!(stop);
    let cast = Cast::choose(cli.model.as_deref(), cli.simulate, &process_environment);
    let mut world = World::start(cast, cli.port, &process_environment).await?;
    let told = tokio::select! {
        told = tell(cli, screen, &mut world) => told,
        () = &mut stop => {
            world.stop(DRAIN).await;
            screen.end_flow()?;
            screen.line("\nInterrupted.")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    if told.is_ok() && !cli.once {
        next::show(screen, &world)?;
        stop.await;
        screen.line("")?;
    }
    world.stop(DRAIN).await;
    told.map(|()| ExitCode::SUCCESS)
}

/// The scene, the request, and whether it was what it should be.
async fn tell(cli: &Cli, screen: &mut Screen, world: &mut World) -> anyhow::Result<()> {
    world.introduce(screen)?;
    let outcome = run::request(screen, world, &cli.ask).await?;
    run::summary(screen, &outcome)?;
    match Verdict::of(&outcome) {
        Verdict::LoopRan => Ok(()),
        Verdict::Failed(reason) => Err(anyhow::anyhow!(reason)),
    }
}

fn failure(screen: &mut Screen, error: &anyhow::Error) -> ExitCode {
    // Where the output is gone there is nobody left to tell.
    let _unheard = screen.end_flow().and_then(|()| screen.failure(&format!("{error:#}")));
    ExitCode::FAILURE
}
