//! Turns into replies: the canonical lanes' two ways of answering, whole and growing.
//!
//! Both read turns the same way and let [`Talk`] decide what follows; they differ only in where the parts go.

use std::time::Instant;

use bifrost_providers::chat::{Part, PartKind};
use bifrost_providers::dialect::WriterOptions;
use bifrost_providers::event::{Fold, unfold};
use bifrost_providers::failure::FailureKind;
use bifrost_providers::{ChatEvent, ChatReply, Dialect, Failure, Text};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::agent::{Ending, Step, Talk};
use super::annex;
use super::answer::{Reply, ReplyBody};
use super::attempt::MAX_REPLY_BYTES;
use super::dispatch::{LINGER, Served, Source, Started};
use super::grant::Grant;
use super::hold::{Held, Next};
use super::items::Item;
use super::pump::Outlet;
use super::refusal::Refusal;
use super::stitch::{Sight, Stitch};
use crate::record::unix_ms;

/// Answers whole: turns until the end, then one body.
pub async fn whole(talk: &mut Talk, first: Started, grant: &mut Grant) -> Result<Reply, Refusal> {
    let mut started = first;
    let mut shown: Vec<Part> = talk.opening().iter().map(Item::part).collect();
    loop {
        talk.begun(&started, grant);
        let Started { mut served, source } = started;
        served.release();
        talk.losses.extend(served.losses.clone());
        let mut reply = read_whole(&served, source)?;
        let step = talk.after_turn(&reply, grant).await?;
        match step {
            Step::Again => {
                let parts = reply.choices.first().map(|choice| talk.visible(&choice.parts)).unwrap_or_default();
                append(talk.plan.ask.dialect, &mut shown, parts);
                shown.extend(talk.take_items().iter().map(Item::part));
                started = talk.ask(grant).await?;
            }
            Step::Done(ending) => {
                finish_whole(talk, &mut reply, shown, ending);
                return Ok(encode(talk, &mut reply, &served, grant));
            }
        }
    }
}

fn read_whole(served: &Served, source: Source) -> Result<ChatReply, Refusal> {
    match source {
        Source::Whole { reply: Some(mut reply), .. } => {
            introduce(&mut reply.id, &mut reply.model, served);
            Ok(*reply)
        }
        _ => Err(failed(served, Failure::new(FailureKind::Unreadable, "an answer of another kind than was asked for"))),
    }
}

/// Where Amazon says what a reply is called.
const AMAZON_REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// Replies of some dialects (Bedrock's) have neither an id, which is a header there, nor the model's name; clients of the others are
/// promised both.
fn introduce(id: &mut Text, model: &mut Text, served: &Served) {
    if model.is_empty() {
        *model = Text::from_plain(&served.model);
    }
    if id.is_empty() {
        let given = served.headers.get(&AMAZON_REQUEST_ID).and_then(|id| id.to_str().ok());
        *id = Text::from_plain(given.unwrap_or(&uuid::Uuid::new_v4().to_string()));
    }
}

/// Joins what earlier turns showed with the last turn's visible parts.
fn finish_whole(talk: &mut Talk, reply: &mut ChatReply, mut shown: Vec<Part>, ending: Ending) {
    if talk.offers_tools()
        && let Some(choice) = reply.choices.first_mut()
    {
        append(talk.plan.ask.dialect, &mut shown, talk.visible(&choice.parts));
        shown.extend(talk.take_items().iter().map(Item::part));
        append(talk.plan.ask.dialect, &mut shown, ending.reveal);
        choice.parts = shown;
        if let Some(finish) = ending.finish {
            choice.finish = finish;
        }
        reply.choices.truncate(1);
        if talk.facts.turns > 1 {
            reply.usage.clone_from(&talk.usage);
        }
    }
}

fn encode(talk: &mut Talk, reply: &mut ChatReply, served: &Served, grant: &mut Grant) -> Reply {
    // Some dialects do not say when; OpenAI's clients are promised a time.
    reply.created.get_or_insert_with(|| unix_ms() / 1000);
    let mut losses = std::mem::take(&mut talk.losses);
    // Encoded once to learn what is lost, so that the body itself can say it.
    let metrics = annex::metrics(talk.plan.ask.dialect, grant);
    let draft = talk.plan.ask.encode(reply, metrics.as_deref(), &mut losses);
    talk.plan.keep_items(&draft);
    grant.lost(&losses);
    let annex = annex::extra_fields(grant, &losses, talk.told());
    let draft = Bytes::from(draft);
    let body = if talk.plan.ask.dialect.carries_annex() {
        super::relay::with_annex(&draft, |out| out.extend_from_slice(annex.as_bytes()))
    } else {
        draft
    };
    let mut headers = served.headers.clone();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    annex::headers(&mut headers, grant, grant.facts().losses.len());
    Reply { status: StatusCode::OK, headers, body: ReplyBody::Whole(body), problem: None }
}

/// Adds a turn's parts. OpenAI's one string has no blocks: a blank line keeps the turns apart, as it does on the stream.
fn append(client: Dialect, shown: &mut Vec<Part>, turn: Vec<Part>) {
    if client == Dialect::OpenAiChat && has_text(shown) && has_text(&turn) {
        shown.push(Part::from(PartKind::Text(Text::from_plain("\n\n"))));
    }
    shown.extend(turn);
}

fn has_text(parts: &[Part]) -> bool {
    parts.iter().any(|part| matches!(&part.kind, PartKind::Text(text) if !text.is_empty()))
}

/// Answers as it grows. Runs inside the response body; every way out ends the stream properly and settles the grant.
pub async fn live(mut talk: Talk, first: Started, mut grant: Grant, out: Outlet) {
    let options = WriterOptions { include_usage: talk.plan.wants_usage(), framing: talk.plan.ask.framing };
    let mut stitch = Stitch::new(talk.plan.ask.dialect, talk.plan.ask.writer(options));
    stitch.open_with(talk.opening());
    let ended = live_turns(&mut talk, first, &mut grant, &mut stitch, &out).await;
    let lost = stitch.losses();
    grant.lost(&lost);
    match ended {
        Ok(ending) => {
            talk.losses.extend(lost);
            let annex = annex::of(talk.plan.ask.dialect, &grant, &talk.losses, talk.told());
            for part in &ending.reveal {
                stitch.show(part);
            }
            stitch.end(ending.finish, talk.usage.clone(), &annex);
            let end = stitch.take();
            talk.plan.keep_items(&end);
            out.send(end).await;
            grant.succeed(talk.usage.as_ref(), None);
        }
        Err(refusal) => {
            talk.broke_off(&refusal, &mut grant);
            stitch.fail(&refusal.problem(Some(annex::extra_fields(&grant, &talk.losses, talk.told()))));
            out.send(stitch.take()).await;
            grant.fail(&refusal, talk.usage.as_ref());
        }
    }
}

async fn live_turns(
    talk: &mut Talk,
    first: Started,
    grant: &mut Grant,
    stitch: &mut Stitch,
    out: &Outlet,
) -> Result<Ending, Refusal> {
    let mut started = first;
    loop {
        stitch.begin_turn();
        talk.begun(&started, grant);
        talk.losses.extend(started.served.losses.clone());
        let reply = talk.bounded(live_turn(talk, started, grant, stitch, out)).await?;
        let step = talk.after_turn(&reply, grant).await?;
        for item in talk.take_items() {
            stitch.item(&item);
        }
        out.send(stitch.take()).await;
        match step {
            Step::Again => started = talk.ask(grant).await?,
            Step::Done(ending) => return Ok(ending),
        }
    }
}

/// Passes one turn on as it arrives and returns it whole.
async fn live_turn(
    talk: &Talk,
    started: Started,
    grant: &mut Grant,
    stitch: &mut Stitch,
    out: &Outlet,
) -> Result<ChatReply, Refusal> {
    let Started { served, source } = started;
    let mut fold = Fold::new();
    let mut take = |events: &mut Vec<ChatEvent>, stitch: &mut Stitch| {
        for mut event in events.drain(..) {
            if let ChatEvent::Start(start) = &mut event {
                introduce(&mut start.id, &mut start.model, &served);
            }
            fold.push(&event);
            stitch.event(event, |name| if talk.hides(name) { Sight::Hidden } else { Sight::Shown });
        }
        stitch.take()
    };
    match source {
        Source::Whole { .. } => {
            // The provider answered a stream request whole: the client still gets its stream.
            let reply = read_whole(&served, source)?;
            let mut events = unfold(&reply);
            grant.first_content();
            let chunk = take(&mut events, stitch);
            out.send(chunk).await;
        }
        Source::Stream(mut held) => {
            let mut reader = served.upstream.codec().reader();
            let mut events = Vec::new();
            let mut room = MAX_REPLY_BYTES;
            let mut grace = None;
            while let Some(next) = next(&mut held, &mut grace).await {
                let (event, _) = next.map_err(|failure| failed(&served, *failure))?;
                room = less(room, event.raw.len()).map_err(|failure| failed(&served, *failure))?;
                if event.is_comment() {
                    continue;
                }
                grant.first_content();
                reader.read(&event.frame, &mut events).map_err(|failure| failed(&served, *failure))?;
                let chunk = take(&mut events, stitch);
                out.send(chunk).await;
                if reader.is_done() {
                    break;
                }
            }
            grant.paced(held.pace());
            reader.finish(&mut events).map_err(|failure| failed(&served, *failure))?;
            let chunk = take(&mut events, stitch);
            out.send(chunk).await;
            let_go(held).await;
        }
    }
    Ok(fold.finish())
}

/// The next event. A provider that has said all that a reply needs may say more (another choice, its last counts), but is not
/// waited for: some keep their connection open, some ping. Nor does it matter any more how that ends.
async fn next(held: &mut Held, grace: &mut Option<Instant>) -> Next {
    if !held.tap().is_complete() {
        return held.next().await;
    }
    let end = *grace.get_or_insert_with(|| Instant::now() + LINGER);
    tokio::time::timeout_at(end.into(), held.next()).await.unwrap_or(None).filter(Result::is_ok)
}

/// The room that is left for a turn, which is kept whole until it ends. A stream that never ends must not take all memory.
fn less(room: usize, taken: usize) -> Result<usize, Box<Failure>> {
    let message = || format!("the stream is longer than {MAX_REPLY_BYTES} bytes");
    room.checked_sub(taken).ok_or_else(|| Box::new(Failure::new(FailureKind::Unreadable, message())))
}

/// Reads on to the end of a finished body, briefly, so that its connection can be used again.
async fn let_go(mut held: Box<Held>) {
    let _ = tokio::time::timeout(LINGER, std::future::poll_fn(|cx| held.poll_end(cx))).await;
}

fn failed(served: &Served, failure: Failure) -> Refusal {
    Refusal::Failed { provider: served.provider.clone(), upstream: served.upstream, failure: Box::new(failure) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_without_end_is_cut_where_a_whole_reply_is_refused() {
        let event = 16 << 20;
        let events = (0..).scan(Ok(MAX_REPLY_BYTES), |room, _| {
            *room = room.clone().and_then(|room| less(room, event));
            room.is_ok().then_some(())
        });
        assert_eq!(events.count(), MAX_REPLY_BYTES / event);
        assert_eq!(less(7, 8).unwrap_err().kind, FailureKind::Unreadable);
        assert_eq!(less(8, 8).unwrap(), 0);
    }
}
