//! Forms: the gateway's fields are found in any form, and its model is replaced without touching the rest.

#![no_main]

use bifrost_providers::multipart::{Form, FormReader, boundary};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

// The first line is the `content-type`.
fuzz_target!(|data: &[u8]| {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let Some(boundary) = std::str::from_utf8(&data[..end]).ok().and_then(boundary) else { return };
    let body = &data[end + 1..];
    let form = Form::of(body, boundary);
    let mut reader = FormReader::new(boundary);
    let pieces: Vec<Bytes> = body.chunks(7).map(Bytes::copy_from_slice).collect();
    let read = pieces.iter().try_for_each(|piece| reader.push(piece)).and_then(|()| reader.finish());
    assert_eq!(read.map(|()| reader.form().clone()), form, "however it is cut");
    let Ok(form) = form else { return };
    let changed = form.with_model(&pieces, "another").concat();
    let again = Form::of(&changed, boundary).map(|form| form.model().map(str::to_owned));
    assert_eq!(again, Ok(form.model().map(|_| "another".to_owned())));
});
