//! Sends the one request, over HTTP and streaming, and tells what happens in the order in which it happens.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bifrost_gateway::engine::observe::ExecutedCall;
use serde_json::json;

use crate::price::Price;
use crate::screen::{Ink, Screen};
use crate::stream::{Reader, Said};
use crate::verdict::Outcome;
use crate::world::{Event, Turn, World, size};

/// What the gateway tells arrives beside the stream and waits there for it, but not longer than the stream is quiet.
const QUIET: Duration = Duration::from_millis(300);
/// A tool's answer beyond this many characters is cut on the screen.
const MAX_RESULT: usize = 300;

/// The story so far.
struct Telling<'a> {
    screen: &'a mut Screen,
    outcome: Outcome,
    began: Instant,
    turn: usize,
    turn_began: Instant,
    /// How much of this turn is on the screen, in the measure of [`size`].
    shown: usize,
    /// What the gateway did, until the stream has come as far.
    waiting: VecDeque<Event>,
}

/// Asks the gateway as any client would, and shows the answer as it streams.
pub(crate) async fn request(screen: &mut Screen, world: &mut World, question: &str) -> anyhow::Result<Outcome> {
    let model = world.cast.model.clone();
    screen.title("Request", "POST /v1/chat/completions, streaming, no tools in the body")?;
    screen.line("")?;
    screen.field("model", &model)?;
    screen.field("user", question)?;
    let body = json!({
        "model": model,
        "stream": true,
        "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": question}],
    });
    let url = format!("http://{}/v1/chat/completions", world.address());
    let client = reqwest::Client::builder().no_proxy().build()?;
    let began = Instant::now();
    let sent = client.post(url).header("content-type", "application/json").body(body.to_string()).send();
    let mut answer = sent.await.context("the gateway did not answer")?;
    if !answer.status().is_success() {
        let status = answer.status();
        bail!("the gateway answered {status}: {}", message(&answer.text().await.unwrap_or_default()));
    }
    let outcome = Outcome { model, simulated: world.cast.simulated, ..Outcome::default() };
    let mut telling =
        Telling { screen, outcome, began, turn: 0, turn_began: began, shown: 0, waiting: VecDeque::new() };
    telling.next_turn(began)?;
    listen(&mut telling, &mut answer, world).await?;
    telling.outcome.seconds = began.elapsed().as_secs_f64();
    Ok(telling.outcome)
}

/// Follows the stream and the gateway's own words to the end of both.
async fn listen(telling: &mut Telling<'_>, answer: &mut reqwest::Response, world: &mut World) -> anyhow::Result<()> {
    let mut reader = Reader::default();
    loop {
        tokio::select! {
            biased;
            chunk = answer.chunk() => {
                let Some(bytes) = chunk.context("the stream broke off")? else { break };
                // Whatever the gateway did before it sent these bytes, it told before.
                while let Ok(event) = world.events.try_recv() {
                    telling.waiting.push_back(event);
                }
                for piece in reader.read(&bytes) {
                    telling.catch_up(false)?;
                    telling.said(piece)?;
                }
            }
            Some(event) = world.events.recv() => telling.waiting.push_back(event),
            () = tokio::time::sleep(QUIET), if !telling.waiting.is_empty() => telling.catch_up(true)?,
        }
        telling.catch_up(false)?;
    }
    while let Ok(event) = world.events.try_recv() {
        telling.waiting.push_back(event);
    }
    Ok(telling.catch_up(true)?)
}

/// Turns, tools, tokens, time and cost of the whole request.
pub(crate) fn summary(screen: &mut Screen, outcome: &Outcome) -> std::io::Result<()> {
    let account = &outcome.account;
    screen.title("Done", &format!("finish reason: {}", outcome.finish.as_deref().unwrap_or("none")))?;
    screen.line("")?;
    let ran = format!(
        "{} of the model, {} run by the gateway",
        plural(account.turns, "turn"),
        plural(account.calls as u64, "tool call")
    );
    screen.field("loop", &ran)?;
    let first = outcome.first_content_seconds.map(|first| format!(", first words after {first:.2} s"));
    screen.field("time", &format!("{:.2} s{}", outcome.seconds, first.unwrap_or_default()))?;
    let Some(tokens) = outcome.tokens else { return Ok(()) };
    let cached = if tokens.cached > 0 { format!(" ({} from cache)", tokens.cached) } else { String::new() };
    screen.field("tokens", &format!("{} in{cached}, {} out, all turns together", tokens.input, tokens.output))?;
    let known = if outcome.simulated { Price::stand_in() } else { Price::of(&outcome.model) };
    let Some(price) = known else {
        return screen.field("cost", &format!("no price known for {}", outcome.model));
    };
    let cost = price.cost(tokens);
    let rate =
        format!("{}'s list price, ${:.2} in and ${:.2} out per million tokens", price.model, price.input, price.output);
    let text = if outcome.simulated {
        format!("$0, the model is simulated; ${cost:.5} at {rate}")
    } else {
        format!("${cost:.5} at {rate}")
    };
    screen.field("cost", &text)
}

/// What an error body says, or the body itself where it says it in another way.
fn message(body: &str) -> String {
    let error: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let text = error.as_ref().and_then(|error| error.pointer("/error/message")?.as_str());
    text.unwrap_or(body).to_owned()
}

fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

impl Telling<'_> {
    fn next_turn(&mut self, at: Instant) -> std::io::Result<()> {
        self.turn += 1;
        self.turn_began = at;
        self.shown = 0;
        self.screen.title(&format!("Turn {}", self.turn), "")?;
        self.screen.line("")
    }

    /// Tells of every event whose turn has been shown to its end; in a hurry, of every event.
    fn catch_up(&mut self, hurry: bool) -> std::io::Result<()> {
        while let Some(event) = self.waiting.pop_front() {
            match event {
                Event::TurnEnded(turn) if !hurry && self.shown < turn.visible => {
                    self.waiting.push_front(event);
                    break;
                }
                Event::TurnEnded(turn) => self.turn_ended(turn)?,
                Event::ToolsRan { calls, at } => self.tools_ran(&calls, at)?,
            }
        }
        Ok(())
    }

    fn said(&mut self, piece: Said) -> std::io::Result<()> {
        match piece {
            Said::Thinking(text) => self.show(Ink::Faint, "thinks", &text)?,
            Said::Text(text) => {
                self.outcome.answer += size(&text);
                self.show(Ink::Plain, "says", &text)?;
            }
            Said::Finish(reason) => self.outcome.finish = Some(reason),
            Said::Tokens(tokens) => self.outcome.tokens = Some(tokens),
            Said::Account(account) => self.outcome.account = account,
            Said::Error(error) => self.outcome.error = Some(error),
            Said::Done => self.outcome.done = true,
        }
        Ok(())
    }

    fn show(&mut self, ink: Ink, label: &'static str, text: &str) -> std::io::Result<()> {
        let seconds = self.began.elapsed().as_secs_f64();
        self.outcome.first_content_seconds.get_or_insert(seconds);
        self.shown += size(text);
        self.screen.flow(ink, label, text)
    }

    fn turn_ended(&mut self, turn: Turn) -> std::io::Result<()> {
        let seconds = turn.at.duration_since(self.turn_began).as_secs_f64();
        let facts = format!("{seconds:.2} s, {} tokens in, {} out", turn.input, turn.output);
        self.screen.field_in(Ink::Faint, "", &facts)
    }

    fn tools_ran(&mut self, calls: &[ExecutedCall], at: Instant) -> std::io::Result<()> {
        for call in calls {
            self.tool(call)?;
        }
        // Only what follows the last tool call is the answer.
        self.outcome.answer = 0;
        self.next_turn(at)
    }

    fn tool(&mut self, call: &ExecutedCall) -> std::io::Result<()> {
        let asked = format!("{} {}", call.name, call.arguments);
        self.screen.columns("calls", &asked, &format!("{:.1} ms", call.duration_ms))?;
        let (label, ink) = if call.is_error { ("error", Ink::Bad) } else { ("answers", Ink::Good) };
        self.screen.field_in(ink, label, &shortened(&call.result))
    }
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_RESULT).collect();
    if short.len() < text.len() {
        short.push_str(" ...");
    }
    short
}
