//! Speech, both ways, as `ElevenLabs` has it, for clients of OpenAI's.
//!
//! Source: <https://elevenlabs.io/docs/api-reference/text-to-speech/stream>,
//! <https://elevenlabs.io/docs/api-reference/speech-to-text/convert>, and OpenAI's <https://platform.openai.com/docs/api-reference/audio>.
//! A voice is the provider's own id: there is no table of which of its voices sounds like one of OpenAI's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::value::RawValue;

use super::subtitles::{self, Word};
use crate::chat::Extras;
use crate::dialect::raw::need;
use crate::json::{self, Array, Object, Str, fields, wire};
use crate::multipart::{Form, slice};
use crate::{Losses, Malformed, Text};

/// Why a thing of one form stays behind in the other.
const NO_COUNTERPART: &str = "ElevenLabs has no counterpart";

/// How fast it can speak; OpenAI's voices take 0.25 to 4.
const SPEEDS: [f64; 2] = [0.7, 1.2];

/// OpenAI's formats, and the same ones there: sound of the same quality as OpenAI's own.
const FORMATS: [(&str, &str); 3] = [("mp3", "mp3_44100_128"), ("opus", "opus_48000_64"), ("pcm", "pcm_24000")];

/// How its own formats begin: codec, rate and bits stand in the name.
const OWN_FORMATS: [&str; 5] = ["mp3_", "pcm_", "opus_", "ulaw_", "alaw_"];

/// What a client may say in its words, because OpenAI has none for it.
const OWN_SPEECH_FIELDS: [&str; 11] = [
    "apply_language_text_normalization",
    "apply_text_normalization",
    "language_code",
    "next_request_ids",
    "next_text",
    "previous_request_ids",
    "previous_text",
    "pronunciation_dictionary_locators",
    "seed",
    "use_pvc_as_ivc",
    VOICE_SETTINGS,
];
const OWN_FORM_FIELDS: [&str; 10] = [
    "diarization_threshold",
    "diarize",
    "entity_detection",
    "file_format",
    "keyterms",
    "language_code",
    "num_speakers",
    "seed",
    "tag_audio_events",
    "timestamps_granularity",
];

/// OpenAI's fields of a form, and what they are called there.
const FORM_FIELDS: [(&str, &str); 2] = [("language", "language_code"), ("temperature", "temperature")];

/// Fields of a form that are for the gateway, or for the answer.
const ELSEWHERE: [&str; 4] = ["model", "response_format", "stream", "timestamp_granularities[]"];

const VOICE_SETTINGS: &str = "voice_settings";

/// A request for speech.
#[derive(Debug)]
pub(super) struct Speech {
    pub(super) body: Vec<u8>,
    /// Who speaks: it stands in the path.
    pub(super) voice: String,
    pub(super) format: String,
    /// Is the sound to come in events?
    pub(super) events: bool,
}

/// What a transcript is wanted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transcript {
    Json,
    Verbose,
    Text,
    Srt,
    Vtt,
}

wire! {
    struct SpeechWire<'a> {
        "model" => model: &'a RawValue,
        "input" => input: Text,
        "voice" => voice: &'a RawValue,
        "response_format" => response_format: Text,
        "speed" => speed: &'a RawValue,
        "stream_format" => stream_format: Text,
    }
}

wire! {
    struct TranscriptWire<'a> {
        "text" => text: Text,
        "language_code" => language: Text,
        "words" => words: Vec<&'a RawValue>,
    }
}

wire! {
    struct WordWire<'a> {
        "text" => text: Text,
        "type" => kind: Str<'a>,
        "start" => start: &'a RawValue,
        "end" => end: &'a RawValue,
    }
}

// === Speech ===

pub(super) fn speech(body: &[u8], model: &Text, losses: &mut Losses) -> Result<Speech, Malformed> {
    let wire: SpeechWire<'_> = json::decode(body)?;
    let root = String::new;
    let input = need(wire.input, &root, "input", "a string")?;
    let voice = need(wire.voice.and_then(voice_id), &root, "voice", "the id of a voice of ElevenLabs")?;
    let format = sound_format(wire.response_format.as_ref())?;
    let events = match wire.stream_format.as_ref().map(Text::to_plain).as_deref() {
        None | Some("audio") => false,
        Some("sse") => true,
        Some(_) => return Err(malformed("/stream_format", "\"audio\" or \"sse\"")),
    };
    let mut out = Vec::with_capacity(256);
    let mut object = Object::new(&mut out);
    object.text("text", &input).text("model_id", model);
    let settings = settings(&wire.extras, speed(wire.speed, losses)?);
    if !settings.is_empty() {
        object.raw(VOICE_SETTINGS, json::object(&settings).get());
    }
    for (key, value) in wire.extras.iter().filter(|(key, _)| OWN_SPEECH_FIELDS.contains(key)) {
        if key != VOICE_SETTINGS {
            object.raw(key, value.get());
        }
    }
    object.end();
    for key in wire.extras.telling().filter(|key| !OWN_SPEECH_FIELDS.contains(key)) {
        losses.push(format!("/{key}"), NO_COUNTERPART);
    }
    Ok(Speech { body: out, voice, format, events })
}

/// A string, or OpenAI's object around the id of a voice of one's own.
fn voice_id(raw: &RawValue) -> Option<String> {
    let id = Text::from_raw(raw).or_else(|| Text::from_raw(fields(Some(raw)).find("id")?))?;
    Some(id.to_plain().into_owned()).filter(|id| !id.is_empty())
}

fn sound_format(wanted: Option<&Text>) -> Result<String, Malformed> {
    let wanted = wanted.map_or("mp3".into(), Text::to_plain);
    let same = FORMATS.iter().find(|(name, _)| *name == wanted).map(|(_, there)| *there);
    let is_plain = wanted.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let own = || OWN_FORMATS.iter().any(|start| wanted.starts_with(start)) && is_plain;
    match same {
        Some(there) => Ok(there.to_owned()),
        None if own() => Ok(wanted.into_owned()),
        None => Err(malformed("/response_format", "a format that ElevenLabs has: mp3, opus, pcm or one of its own")),
    }
}

fn speed(wanted: Option<&RawValue>, losses: &mut Losses) -> Result<Option<f64>, Malformed> {
    let Some(wanted) = wanted.filter(|raw| raw.get() != "null") else { return Ok(None) };
    let wanted: f64 = wanted.get().parse().map_err(|_| malformed("/speed", "a number"))?;
    let [slowest, fastest] = SPEEDS;
    let spoken = wanted.clamp(slowest, fastest);
    if (spoken - wanted).abs() > f64::EPSILON {
        losses.push("/speed", format!("ElevenLabs speaks at {slowest} to {fastest} times the usual speed"));
    }
    Ok(Some(spoken))
}

/// The client's own, and its speed where they say none.
fn settings(extras: &Extras, speed: Option<f64>) -> Extras {
    let mut settings = fields(extras.find(VOICE_SETTINGS));
    if let Some(speed) = speed.filter(|_| settings.find("speed").is_none()) {
        let mut number = Vec::new();
        json::write_decimal(&mut number, speed);
        settings.push("speed", json::written(number));
    }
    settings
}

/// A piece of sound as an event of OpenAI's streams of speech.
pub fn sound_event(sound: &[u8]) -> Vec<u8> {
    format!("data: {{\"type\":\"speech.audio.delta\",\"audio\":\"{}\"}}\n\n", STANDARD.encode(sound)).into_bytes()
}

/// The end of such a stream. What it cost is not known: `ElevenLabs` counts characters, and tells in its own console.
pub const SOUND_IS_OVER: &[u8] = b"data: {\"type\":\"speech.audio.done\"}\n\n";

// === Transcripts ===

/// The form in the provider's words, its file as it came. Malformed where it wants what a transcript of it cannot be.
pub(super) fn form(
    (form, pieces): (&Form, &[Bytes]),
    boundary: &str,
    model: &str,
    losses: &mut Losses,
) -> Result<(Vec<Bytes>, Transcript), Malformed> {
    if form.stream() {
        return Err(malformed("/stream", "no stream: ElevenLabs transcribes a file as a whole"));
    }
    let wanted = Transcript::of(form.text("response_format"))?;
    let mut fields = vec![("model_id", model)];
    for part in form.parts.iter().filter(|part| !part.is_file && !ELSEWHERE.contains(&part.name.as_str())) {
        let known = FORM_FIELDS.iter().find(|(here, _)| *here == part.name).map(|(_, there)| *there);
        let own = || OWN_FORM_FIELDS.iter().find(|own| **own == part.name).copied();
        match (known.or_else(own), &part.text) {
            (Some(name), Some(text)) => fields.push((name, text)),
            _ => losses.push(format!("/{}", part.name), NO_COUNTERPART),
        }
    }
    let field = |(name, value): (&str, &str)| {
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let mut sent = vec![Bytes::from(fields.into_iter().map(field).collect::<String>())];
    for file in form.parts.iter().filter(|part| part.is_file) {
        sent.extend(slice(pieces, &(file.start..file.value.end)));
        sent.push(Bytes::from_static(b"\r\n"));
    }
    sent.push(Bytes::from(format!("--{boundary}--\r\n")));
    Ok((sent, wanted))
}

impl Transcript {
    fn of(format: Option<&str>) -> Result<Self, Malformed> {
        Ok(match format {
            None | Some("" | "json") => Self::Json,
            Some("verbose_json") => Self::Verbose,
            Some("text") => Self::Text,
            Some("srt") => Self::Srt,
            Some("vtt") => Self::Vtt,
            Some(_) => return Err(malformed("/response_format", "json, verbose_json, text, srt or vtt")),
        })
    }

    /// What its answers are, where they are no JSON.
    pub(super) fn content_type(self) -> Option<&'static str> {
        match self {
            Self::Json | Self::Verbose => None,
            Self::Text | Self::Srt | Self::Vtt => Some("text/plain; charset=utf-8"),
        }
    }

    /// The provider's answer as it is wanted.
    pub(super) fn reply(self, body: &[u8]) -> Result<Vec<u8>, Malformed> {
        let wire: TranscriptWire<'_> = json::decode(body)?;
        let text = need(wire.text, &String::new, "text", "a string")?;
        let words = words(&wire.words.unwrap_or_default())?;
        let mut out = Vec::with_capacity(256);
        match self {
            Self::Text => out.extend_from_slice(text.to_plain().as_bytes()),
            Self::Srt => out.extend_from_slice(subtitles::srt(&words).as_bytes()),
            Self::Vtt => out.extend_from_slice(subtitles::vtt(&words).as_bytes()),
            Self::Json => {
                let mut object = Object::new(&mut out);
                object.text("text", &text).extras(&wire.extras);
                object.end();
            }
            Self::Verbose => {
                let mut object = Object::new(&mut out);
                object.str("task", "transcribe").text("language", &wire.language.unwrap_or_default());
                object.decimal("duration", words.last().map_or(0.0, |word| word.end)).text("text", &text);
                write_words(&words, object.key("words"));
                object.extras(&wire.extras);
                object.end();
            }
        }
        if matches!(self, Self::Text) {
            out.push(b'\n');
        }
        Ok(out)
    }
}

/// The words among the entries; others are the space between two, or a sound that is none.
fn words(entries: &[&RawValue]) -> Result<Vec<Word>, Malformed> {
    let mut words = Vec::with_capacity(entries.len());
    let mut spaced = false;
    for (at, raw) in entries.iter().enumerate() {
        let place = || format!("/words/{at}");
        let wire: WordWire<'_> = json::decode_at(raw, &place())?;
        if wire.kind.as_ref().is_some_and(|kind| kind.as_str() != "word") {
            spaced = true;
            continue;
        }
        let second = |raw: Option<&RawValue>| raw.and_then(|raw| raw.get().parse::<f64>().ok());
        let start = need(second(wire.start), &place, "start", "a number")?;
        let end = need(second(wire.end), &place, "end", "a number")?;
        let text = need(wire.text, &place, "text", "a string")?.to_plain().into_owned();
        words.push(Word { text, spaced: std::mem::take(&mut spaced), start, end, extras: wire.extras });
    }
    Ok(words)
}

fn write_words(words: &[Word], out: &mut Vec<u8>) {
    let mut array = Array::new(out);
    for word in words {
        let mut object = Object::new(array.item());
        object.str("word", &word.text).decimal("start", word.start).decimal("end", word.end).extras(&word.extras);
        object.end();
    }
    array.end();
}

fn malformed(pointer: &str, expected: &str) -> Malformed {
    Malformed { pointer: pointer.to_owned(), expected: expected.to_owned() }
}
