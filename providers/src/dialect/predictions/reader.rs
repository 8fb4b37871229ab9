//! A prediction's stream to canonical events.
//!
//! Wire facts (<https://replicate.com/docs/topics/predictions/streaming>): `output` is a piece of the text as it is, `error` says what
//! went wrong, `done` that nothing more comes, with a `reason` where that was not the model's own end.

use super::reply::{PredictionWire, State, count_usage, unix_seconds};
use super::{OWN, PREDICTION, error};
use crate::chat::Extras;
use crate::dialect::Frame;
use crate::event::{Block, ChatEvent, Delta, Start};
use crate::failure::{Failure, FailureKind};
use crate::json::{self, Str, wire};
use crate::reply::{Finish, FinishReason, Usage};
use crate::{EventReader, Text};

wire! {
    struct DoneWire<'a> {
        "reason" => reason: Str<'a>,
    }
}

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    started: bool,
    open: bool,
    /// The provider says that nothing more comes; what it cost is still to be told.
    over: bool,
    done: bool,
}

impl EventReader for Reader {
    fn read(&mut self, frame: &Frame, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        if self.done {
            return Ok(());
        }
        match frame.event.as_deref() {
            Some(PREDICTION) => self.prediction(&frame.data, out),
            Some(b"output") => {
                self.output(&frame.data, out);
                Ok(())
            }
            Some(b"error") => Err(Box::new(error::failure_in(&frame.data))),
            Some(b"done") => self.end_of_output(&frame.data),
            // `logs`, and what is not known yet.
            _ => Ok(()),
        }
    }

    fn finish(&mut self, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        match (self.done, self.over) {
            (true, _) => Ok(()),
            (false, true) => {
                self.stop("succeeded", None, out);
                Ok(())
            }
            (false, false) => Err(cut()),
        }
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

impl Reader {
    fn prediction(&mut self, data: &[u8], out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        let wire: PredictionWire<'_> = json::decode(data)
            .map_err(|fault| Box::new(Failure::new(FailureKind::Unreadable, format!("not a prediction: {fault}"))))?;
        let status = wire.status.as_ref().map_or("", Str::as_str);
        if State::of(status) == State::Failed {
            return Err(Box::new(error::failed(status, wire.error)));
        }
        if !self.started {
            let created = wire.created_at.as_ref().and_then(|time| unix_seconds(time.as_str()));
            self.start(wire.id.unwrap_or_default(), wire.model.or(wire.version).unwrap_or_default(), created, out);
        } else if !self.over {
            return Err(cut());
        } else if State::of(status) == State::Succeeded {
            self.stop(status, wire.metrics.and_then(|metrics| count_usage(metrics.get())), out);
        }
        Ok(())
    }

    fn start(&mut self, id: Text, model: Text, created: Option<u64>, out: &mut Vec<ChatEvent>) {
        self.started = true;
        let extras = Extras::default();
        out.push(ChatEvent::Start(Start { source: OWN, id, model, created, usage: None, extras }));
    }

    fn output(&mut self, data: &[u8], out: &mut Vec<ChatEvent>) {
        if !self.started {
            self.start(Text::default(), Text::default(), None, out);
        }
        if !self.open {
            self.open = true;
            out.push(ChatEvent::Open { index: 0, choice: 0, block: Block::Text { extras: Extras::default() } });
        }
        let text = Text::from_plain(&String::from_utf8_lossy(data));
        if !text.is_empty() {
            out.push(ChatEvent::Delta { index: 0, delta: Delta::Text(text) });
        }
    }

    fn end_of_output(&mut self, data: &[u8]) -> Result<(), Box<Failure>> {
        let reason = json::decode::<DoneWire<'_>>(data).ok().and_then(|done| done.reason);
        let reason = reason.as_ref().map(Str::as_str);
        if let Some(reason) = reason.filter(|reason| matches!(*reason, "canceled" | "error")) {
            return Err(Box::new(error::failed(reason, None)));
        }
        self.over = true;
        Ok(())
    }

    fn stop(&mut self, status: &str, usage: Option<Usage>, out: &mut Vec<ChatEvent>) {
        if std::mem::take(&mut self.open) {
            out.push(ChatEvent::Close { index: 0 });
        }
        self.done = true;
        let finish = Finish { reason: FinishReason::Stop, raw: Some(Text::from_plain(status)), stop_sequence: None };
        out.push(ChatEvent::End { choice: 0, finish, extras: Extras::default() });
        out.push(ChatEvent::Stop { usage, extras: Extras::default() });
    }
}

/// The prediction may well have ended as it should: its last words did not come.
fn cut() -> Box<Failure> {
    Box::new(Failure::new(FailureKind::Broken, "the stream ended before done"))
}
