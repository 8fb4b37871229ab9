//! The fields that the gateway owns: found in any body that is JSON, and changed without touching the rest.

#![no_main]

use bifrost_providers::scan::{Scan, Splice};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    let Ok(scan) = Scan::of(&body) else { return };
    let Some(model) = &scan.model else { return };
    let mut splice = Splice::new(&body);
    splice.replace_text(&model.field, "another \"model\"").ask_usage(&scan);
    let changed = splice.build();
    let again = Scan::of(&changed);
    let found = again.as_ref().ok().and_then(|scan| scan.model.as_ref());
    assert!(found.is_some(), "{again:?}\n{}", String::from_utf8_lossy(&changed));
});
