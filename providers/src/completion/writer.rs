//! Canonical events to `text_completion` chunks.

use super::logprobs::{self, characters};
use super::{FINGERPRINT, TEXT_ONLY, encode_error, finish};
use crate::chat::Extras;
use crate::dialect::openai_chat::reply::encode_usage;
use crate::dialect::{Problem, WriterOptions};
use crate::event::{Block, ChatEvent, Delta, PADDING, Start};
use crate::json::{Sheet, fields};
use crate::reply::{FinishReason, Usage};
use crate::{EventWriter, Losses, Text};

/// What SDKs wait for behind the last chunk.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// Writes one stream.
#[derive(Debug)]
pub(super) struct Writer {
    options: WriterOptions,
    start: Option<Start>,
    /// Blocks that are text, with their choice.
    texts: Vec<(u32, u32)>,
    /// How many characters of each choice were written.
    written: Vec<(u32, u64)>,
    /// The last finish, which waits to learn whether a chunk follows that can carry the annex.
    end: Option<(u32, FinishReason)>,
    losses: Losses,
}

impl EventWriter for Writer {
    fn write(&mut self, event: &ChatEvent, annex: Option<&str>, out: &mut Vec<u8>) {
        match event {
            ChatEvent::Start(start) => {
                self.lose(&start.extras, "");
                self.start = Some(start.clone());
            }
            ChatEvent::Open { index, choice, block } => self.open(*index, *choice, block),
            ChatEvent::Delta { index, delta } => self.grow(*index, delta, out),
            ChatEvent::Close { index } => self.texts.retain(|(open, _)| open != index),
            ChatEvent::Cited { choice, .. } => self.losses.push(format!("/choices/{choice}/citations"), TEXT_ONLY),
            ChatEvent::End { choice, finish, extras } => {
                self.flush(None, out);
                self.lose(extras, &format!("/choices/{choice}"));
                self.end = Some((*choice, finish.reason));
            }
            ChatEvent::Foreign { event: None, data, .. } => self.lose(&fields(Some(data)), ""),
            ChatEvent::Foreign { event: Some(name), .. } if matches!(name.as_escaped(), "ping" | PADDING) => {}
            ChatEvent::Foreign { event: Some(name), .. } => {
                self.losses.push(format!("/{}", name.to_plain()), TEXT_ONLY);
            }
            ChatEvent::Stop { usage, extras } => self.stop(usage.as_ref(), extras, annex, out),
        }
    }

    /// The finish that is held back is not sent: the answer did not end well.
    fn fail(&mut self, problem: &Problem, out: &mut Vec<u8>) {
        self.end = None;
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&encode_error(problem));
        out.extend_from_slice(b"\n\n");
    }

    fn losses(&self) -> &Losses {
        &self.losses
    }
}

impl Writer {
    pub(super) fn new(options: WriterOptions) -> Self {
        let losses = Losses::default();
        Self { options, start: None, texts: Vec::new(), written: Vec::new(), end: None, losses }
    }

    fn lose(&mut self, extras: &Extras, pointer: &str) {
        let mut rest = extras.clone();
        rest.remove(FINGERPRINT);
        self.losses.fields(&rest, pointer, TEXT_ONLY);
    }

    fn open(&mut self, index: u32, choice: u32, block: &Block) {
        match block {
            Block::Text { extras } => {
                self.lose(extras, &format!("/choices/{choice}/message/content/{index}"));
                self.texts.push((index, choice));
            }
            Block::Refusal => self.texts.push((index, choice)),
            _ => self.losses.push(format!("/choices/{choice}/message/content/{index}"), TEXT_ONLY),
        }
    }

    fn grow(&mut self, index: u32, delta: &Delta, out: &mut Vec<u8>) {
        let Some((_, choice)) = self.texts.iter().find(|(open, _)| *open == index).copied() else { return };
        match delta {
            Delta::Text(text) => {
                self.chunk(choice, |sheet, _| _ = sheet.text("text", text).raw("logprobs", "null"), out);
                let written = self.written(choice);
                *written = written.saturating_add(characters(text));
            }
            Delta::Logprobs(measured) => {
                let measure = |sheet: &mut Sheet<'_>, before: u64| {
                    logprobs::encode(measured, before, sheet.str("text", "").key("logprobs"));
                };
                self.chunk(choice, measure, out);
            }
            Delta::Foreign { raw, .. } => self.lose(&fields(Some(raw)), &format!("/choices/{choice}")),
            Delta::Signature(_) => self.losses.push(format!("/choices/{choice}/message/content/{index}"), TEXT_ONLY),
            Delta::Arguments(_) => {}
        }
    }

    fn written(&mut self, choice: u32) -> &mut u64 {
        let at = self.written.iter().position(|(known, _)| *known == choice).unwrap_or_else(|| {
            self.written.push((choice, 0));
            self.written.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "the position was just found, or just filled")]
        &mut self.written[at].1
    }

    /// One chunk of one choice, which goes on. `fill` is told how many characters of it came before.
    fn chunk(&mut self, choice: u32, fill: impl FnOnce(&mut Sheet<'_>, u64), out: &mut Vec<u8>) {
        self.flush(None, out);
        let before = *self.written(choice);
        self.frame(None, out, |sheet| {
            in_choice(choice, sheet, |inner| {
                fill(inner, before);
                inner.raw("finish_reason", "null");
            });
        });
    }

    /// Writes the finish that was held back.
    fn flush(&mut self, annex: Option<&str>, out: &mut Vec<u8>) {
        let Some((choice, reason)) = self.end.take() else { return };
        self.frame(annex, out, |sheet| {
            in_choice(choice, sheet, |inner| {
                inner.str("text", "").raw("logprobs", "null").str("finish_reason", finish(reason));
            });
        });
    }

    fn stop(&mut self, usage: Option<&Usage>, extras: &Extras, annex: Option<&str>, out: &mut Vec<u8>) {
        self.lose(extras, "");
        match usage.filter(|_| self.options.include_usage) {
            Some(usage) => {
                self.flush(None, out);
                self.frame(annex, out, |sheet| encode_usage(sheet.raw("choices", "[]").key("usage"), usage));
            }
            None if self.end.is_some() => self.flush(annex, out),
            None => self.frame(annex, out, |sheet| _ = sheet.raw("choices", "[]")),
        }
        out.extend_from_slice(DONE);
    }

    fn frame(&self, annex: Option<&str>, out: &mut Vec<u8>, body: impl FnOnce(&mut Sheet<'_>)) {
        out.extend_from_slice(b"data: ");
        let nothing = (Text::default(), Text::default(), None, Extras::default());
        let (id, model, created, extras) =
            self.start.as_ref().map_or((&nothing.0, &nothing.1, nothing.2, &nothing.3), |start| {
                (&start.id, &start.model, start.created, &start.extras)
            });
        let mut sheet = Sheet::new(out);
        sheet.text("id", id).str("object", "text_completion").number("created", created.unwrap_or(0));
        sheet.text("model", model).optional_raw(FINGERPRINT, extras.find(FINGERPRINT));
        body(&mut sheet);
        if let Some(annex) = annex {
            sheet.raw("extra_fields", annex);
        }
        sheet.end();
        out.extend_from_slice(b"\n\n");
    }
}

/// `"choices":[{"index":..,<fields>}]`
fn in_choice(choice: u32, sheet: &mut Sheet<'_>, fields: impl FnOnce(&mut Sheet<'_>)) {
    let out = sheet.key("choices");
    out.push(b'[');
    let mut inner = Sheet::new(out);
    inner.number("index", choice.into());
    fields(&mut inner);
    inner.end();
    out.push(b']');
}
