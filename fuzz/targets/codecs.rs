//! Requests and replies of every dialect: whatever is read can be written in every dialect, and read again there.

#![no_main]

use bifrost_fuzz::DIALECTS;
use bifrost_providers::Losses;
use libfuzzer_sys::fuzz_target;

// The first byte says whose body it is.
fuzz_target!(|data: &[u8]| {
    let Some((first, body)) = data.split_first() else { return };
    let from = DIALECTS[usize::from(*first) % DIALECTS.len()].codec();
    let request = from.decode_request(body);
    let reply = from.decode_reply(body);
    for to in DIALECTS {
        if let Ok(request) = &request {
            let written = to.codec().encode_request(request, &mut Losses::default());
            check(to.name(), "request", &written, to.codec().decode_request(&written).err());
        }
        if let Ok(reply) = &reply {
            let written = to.codec().encode_reply(reply, None, &mut Losses::default());
            check(to.name(), "reply", &written, to.codec().decode_reply(&written).err());
        }
    }
});

fn check(dialect: &str, what: &str, written: &[u8], fault: Option<bifrost_providers::Malformed>) {
    let text = String::from_utf8_lossy(written);
    assert!(fault.is_none(), "the {what} for {dialect} cannot be read: {fault:?}\n{text}");
}
