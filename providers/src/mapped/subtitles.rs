//! Words with their times as subtitles: `SubRip` (`srt`) and `WebVTT` (<https://www.w3.org/TR/webvtt1/>).
//!
//! A line ends with its sentence, or where it would be longer than two rows of a screen or stand for too long.

use std::fmt::Write as _;

use crate::chat::Extras;

/// A word of a transcript; times in seconds from its beginning.
#[derive(Clone, Debug)]
pub(super) struct Word {
    pub(super) text: String,
    /// Does a space stand in front of it? Not every script has them.
    pub(super) spaced: bool,
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) extras: Extras,
}

/// Two rows of 42 characters, which is what subtitles usually have.
const LONGEST_LINE: usize = 84;
const LONGEST_SECONDS: f64 = 7.0;

struct Cue {
    text: String,
    start: f64,
    end: f64,
}

pub(super) fn srt(words: &[Word]) -> String {
    let mut out = String::new();
    for (cue, number) in cues(words).iter().zip(1..) {
        let times = format!("{} --> {}", clock(cue.start, ','), clock(cue.end, ','));
        // Writing to a string cannot fail.
        let _ = write!(out, "{number}\n{times}\n{}\n\n", cue.text);
    }
    out
}

pub(super) fn vtt(words: &[Word]) -> String {
    let mut out = "WEBVTT\n\n".to_owned();
    for cue in cues(words) {
        let _ = write!(out, "{} --> {}\n{}\n\n", clock(cue.start, '.'), clock(cue.end, '.'), cue.text);
    }
    out
}

fn cues(words: &[Word]) -> Vec<Cue> {
    let mut cues: Vec<Cue> = Vec::new();
    for word in words {
        let fits = |cue: &&mut Cue| {
            let over = cue.text.ends_with(['.', '!', '?', '。', '！', '？']);
            let long = cue.text.chars().count() + word.text.chars().count() >= LONGEST_LINE;
            !over && !long && word.end - cue.start <= LONGEST_SECONDS
        };
        match cues.last_mut().filter(fits) {
            Some(cue) => {
                if word.spaced {
                    cue.text.push(' ');
                }
                cue.text.push_str(&word.text);
                cue.end = word.end;
            }
            None => cues.push(Cue { text: word.text.clone(), start: word.start, end: word.end }),
        }
    }
    cues
}

/// `00:01:02,345`
fn clock(seconds: f64, point: char) -> String {
    let all = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let whole = all.as_secs();
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    format!("{hours:02}:{minutes:02}:{rest:02}{point}{:03}", all.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_sentences_and_before_they_grow_too_long() {
        let word = |text: &str, start: f64| Word {
            text: text.into(),
            spaced: true,
            start,
            end: start + 0.5,
            extras: Extras::default(),
        };
        let mut words = vec![word("Hi", 0.0), word("there.", 0.5), word("So", 3_661.25)];
        assert_eq!(
            srt(&words),
            "1\n00:00:00,000 --> 00:00:01,000\nHi there.\n\n2\n01:01:01,250 --> 01:01:01,750\nSo\n\n"
        );
        assert!(vtt(&words).starts_with("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nHi there.\n\n"));
        words.extend((0..100).map(|at| word("again", 3_662.0 + f64::from(at) * 0.1)));
        assert!(cues(&words).iter().all(|cue| cue.text.chars().count() < LONGEST_LINE && cue.end - cue.start <= 7.0));
    }
}
