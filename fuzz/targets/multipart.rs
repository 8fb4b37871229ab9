//! Forms: the gateway's fields are found in any form, and its model is replaced without touching the rest.

#![no_main]

use bifrost_providers::multipart::{Form, boundary};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

// The first line is the `content-type`.
fuzz_target!(|data: &[u8]| {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let Some(boundary) = std::str::from_utf8(&data[..end]).ok().and_then(boundary) else { return };
    let body = Bytes::copy_from_slice(&data[end + 1..]);
    let Ok(form) = Form::of(&body, boundary) else { return };
    let changed = form.with_model(&body, "another");
    let again = Form::of(&changed, boundary).map(|form| form.model.map(|model| model.text));
    assert_eq!(again, Ok(form.model.map(|_| "another".to_owned())));
});
