//! Pictures, as Replicate's predictions make them, for clients of OpenAI's (`/v1/images/generations`).
//!
//! Source: <https://platform.openai.com/docs/api-reference/images/create>, <https://replicate.com/docs/reference/http>, and the inputs
//! of `black-forest-labs/flux-schnell` and `google/imagen-4` at <https://replicate.com>. Models differ in their inputs: what a caller
//! says beside OpenAI's fields goes to the model as it is.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::value::RawValue;

use crate::dialect::predictions::{PredictionWire, names_version, unix_seconds};
use crate::dialect::raw::need;
use crate::json::{self, Array, Object, Sheet, Str, wire};
use crate::{Losses, Malformed, Text};

/// Why a thing of OpenAI's stays behind.
const NO_COUNTERPART: &str = "predictions has no counterpart";

/// OpenAI's sizes, as models of this kind name shapes.
const SHAPES: [(&str, &str); 7] = [
    ("256x256", "1:1"),
    ("512x512", "1:1"),
    ("1024x1024", "1:1"),
    ("1536x1024", "3:2"),
    ("1024x1536", "2:3"),
    ("1792x1024", "16:9"),
    ("1024x1792", "9:16"),
];

wire! {
    struct PictureWire<'a> {
        "model" => model: &'a RawValue,
        "prompt" => prompt: Text,
        "n" => n: u64,
        "size" => size: Str<'a>,
        "response_format" => response_format: Str<'a>,
        "stream" => stream: bool,
        "user" => user: &'a RawValue,
        "moderation" => moderation: &'a RawValue,
        "partial_images" => partial_images: &'a RawValue,
        "style" => style: &'a RawValue,
        "aspect_ratio" => aspect_ratio: &'a RawValue,
    }
}

/// The prediction that draws this. Malformed where it is asked for what no prediction has.
pub(super) fn request(body: &[u8], model: &Text, losses: &mut Losses) -> Result<Vec<u8>, Malformed> {
    let wire: PictureWire<'_> = json::decode(body)?;
    let prompt = need(wire.prompt, &String::new, "prompt", "a string")?;
    if wire.stream == Some(true) {
        return Err(malformed("/stream", "no stream: a prediction of a picture comes as a whole"));
    }
    let mut out = Vec::with_capacity(256);
    let mut sheet = Sheet::new(&mut out);
    if names_version(&model.to_plain()) {
        sheet.text("version", model);
    }
    let mut input = Sheet::new(sheet.key("input"));
    input.text("prompt", &prompt);
    if let Some(count) = wire.n.filter(|count| *count != 1) {
        input.number("num_outputs", count);
    }
    let size = wire.size.as_ref().map(Str::as_str).filter(|size| *size != "auto");
    let shape = size.and_then(|size| SHAPES.iter().find(|(known, _)| *known == size));
    match (wire.aspect_ratio, shape) {
        (Some(own), _) => _ = input.raw("aspect_ratio", own.get()),
        (None, Some((_, shape))) => _ = input.str("aspect_ratio", shape),
        (None, None) => {}
    }
    if size.is_some() && (wire.aspect_ratio.is_some() || shape.is_none()) {
        losses.push("/size", NO_COUNTERPART);
    }
    input.extras(&wire.extras);
    input.end();
    sheet.end();
    for (place, is_said) in [
        ("/user", wire.user.is_some()),
        ("/moderation", wire.moderation.is_some()),
        ("/partial_images", wire.partial_images.is_some()),
        ("/style", wire.style.is_some()),
        ("/response_format", wire.response_format.is_some_and(|format| format.as_str() == "b64_json")),
    ] {
        if is_said {
            losses.push(place, NO_COUNTERPART);
        }
    }
    Ok(out)
}

/// The pictures: each a URL, or the picture itself where the model gives it in the answer (`data:`).
pub(super) fn reply(body: &[u8], losses: &mut Losses) -> Result<Vec<u8>, Malformed> {
    let wire: PredictionWire<'_> = json::decode(body)?;
    let output = need(wire.output, &String::new, "output", "a URL or a list of them")?;
    let pictures = pictures(output).ok_or_else(|| malformed("/output", "a URL or a list of them"))?;
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let created = wire.created_at.as_ref().and_then(|time| unix_seconds(time.as_str())).unwrap_or_else(now);
    let mut out = Vec::with_capacity(256);
    let mut object = Object::new(&mut out);
    object.number("created", created);
    let mut array = Array::new(object.key("data"));
    for picture in &pictures {
        let mut entry = Object::new(array.item());
        let url = picture.to_plain();
        match url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
            Some((_, data)) => entry.str("b64_json", data),
            None => entry.text("url", picture),
        };
        entry.end();
    }
    array.end();
    object.end();
    if wire.extras.find("logs").is_some_and(|logs| !matches!(logs.get(), "null" | "\"\"")) {
        losses.push("/logs", "openai has no counterpart");
    }
    Ok(out)
}

fn pictures(output: &RawValue) -> Option<Vec<Text>> {
    if let Some(one) = Text::from_raw(output) {
        return Some(vec![one]);
    }
    json::decode_at(output, "/output").ok()
}

fn malformed(pointer: &str, expected: &str) -> Malformed {
    Malformed { pointer: pointer.to_owned(), expected: expected.to_owned() }
}
