//! Gemini: every event is a whole reply.

use super::{Facts, Seen, Whole, failure, has_substance, strange, text};
use crate::Text;
use crate::dialect::gemini::usage::count_usage;
use crate::dialect::{Dialect, Frame};
use crate::json::{Fault, Reader, pick};

/// What is looked for in an event or a whole reply.
#[derive(Default)]
struct Reply<'a> {
    model: Option<&'a str>,
    usage: Option<&'a str>,
    feedback: Option<&'a str>,
    error: Option<&'a str>,
    candidates: Option<Candidates<'a>>,
}

/// What the candidates say, all of them together.
#[derive(Default)]
struct Candidates<'a> {
    finish_reason: Option<&'a str>,
    has_content: bool,
    /// Not a list of objects.
    strange: bool,
}

/// Marks of a part that are no content.
const MARKS: &[&str] = &["thought"];

/// There is no end marker, and older models name a finish in every event: usage is never known to be the last, so that the
/// end of the body is waited for.
pub(super) fn event(frame: &Frame, content: bool, facts: &mut Facts) -> Seen {
    let Some(reply) = str::from_utf8(&frame.data).ok().and_then(Reply::read) else {
        return strange(Dialect::Gemini, frame, content);
    };
    facts.model = facts.model.take().or_else(|| text(reply.model));
    if let Some(usage) = reply.usage.and_then(count_usage) {
        // Each report is cumulative and replaces the one before.
        facts.usage = Some(usage);
    }
    if reply.error.is_some() {
        return Seen::Error(failure(Dialect::Gemini, &frame.data));
    }
    if let Some(finish) = reply.finish() {
        facts.finish = Some(finish);
        return Seen::Finish;
    }
    match reply.candidates.unwrap_or_default() {
        candidates if candidates.strange => strange(Dialect::Gemini, frame, content),
        candidates if candidates.has_content => Seen::Content,
        _ => Seen::Preamble,
    }
}

/// `None` where the body is no reply and no error: no JSON object, or one with neither candidates nor a blocked prompt.
pub(super) fn whole(body: &str) -> Option<Whole> {
    let reply = Reply::read(body)?;
    let error = reply.error.is_some().then(|| failure(Dialect::Gemini, body.as_bytes()));
    let finish = reply.finish();
    let is_reply = finish.is_some() || reply.candidates.as_ref().is_some_and(|candidates| !candidates.strange);
    (is_reply || error.is_some()).then(|| Whole {
        kept: None,
        usage: reply.usage.and_then(count_usage),
        finish,
        model: text(reply.model),
        error,
    })
}

// === impl Reply ===

impl<'a> Reply<'a> {
    /// `None` where the text is no JSON object.
    fn read(text: &'a str) -> Option<Self> {
        let mut reply = Self::default();
        let read = Reader::new(text).by(|reader| reader.object(|reader, key| reply.take(key, reader)));
        read.is_ok_and(|is_object| is_object).then_some(reply)
    }

    fn take(&mut self, key: &str, reader: &mut Reader<'a>) -> Result<(), Fault> {
        let field = match key {
            "candidates" if reader.is_null() => return reader.raw().map(|_| ()),
            "candidates" => {
                self.candidates = Some(Candidates::take(reader)?);
                return Ok(());
            }
            "modelVersion" => &mut self.model,
            "usageMetadata" => &mut self.usage,
            "promptFeedback" => &mut self.feedback,
            "error" => &mut self.error,
            _ => return reader.raw().map(|_| ()),
        };
        *field = reader.given()?;
        Ok(())
    }

    /// Why the first candidate stopped, or the prompt was blocked.
    fn finish(&self) -> Option<Text> {
        let blocked =
            || self.feedback.and_then(|feedback| pick(feedback, ["blockReason"])).and_then(|[reason]| text(reason));
        let finish = self.candidates.as_ref().and_then(|candidates| text(candidates.finish_reason));
        finish.or_else(blocked)
    }
}

// === impl Candidates ===

impl<'a> Candidates<'a> {
    fn take(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let mut all = Self::default();
        let is_array = reader.array(|reader| {
            let is_object = reader.object(|reader, key| all.note(key, reader))?;
            all.strange |= !is_object;
            Ok(())
        })?;
        all.strange |= !is_array;
        Ok(all)
    }

    fn note(&mut self, key: &str, reader: &mut Reader<'a>) -> Result<(), Fault> {
        match key {
            "finishReason" => {
                let reason = reader.given()?;
                self.finish_reason = self.finish_reason.or(reason);
            }
            "content" => {
                reader.object(|reader, key| self.content(key, reader))?;
            }
            _ => _ = reader.raw()?,
        }
        Ok(())
    }

    fn content(&mut self, key: &str, reader: &mut Reader<'a>) -> Result<(), Fault> {
        if key != "parts" {
            return reader.raw().map(|_| ());
        }
        reader.array(|reader| {
            self.has_content |= has_substance(reader, MARKS)?;
            Ok(())
        })?;
        Ok(())
    }
}
