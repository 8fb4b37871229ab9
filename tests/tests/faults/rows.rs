//! What is made to go wrong: one row each.

use bifrost_tests::Style;
use bifrost_tests::broken::wire::{self, Trouble, answer, open, opening, stream_type, text};
use bifrost_tests::broken::{Asked, Step};
use bytes::Bytes;

/// How far the provider's answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Nothing of a reply: no answer, or one that is none.
    BeforeReply,
    /// The head of a stream, and perhaps its opening events.
    BeforeContent,
    /// Some text.
    MidStream,
}

/// Where the provider stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    /// It has all the time in the world.
    Patient,
    /// The gateway waits for it as briefly as it may be told to.
    Hasty,
    /// Nobody listens.
    Gone,
}

/// One fault.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) moment: Moment,
    pub(crate) name: &'static str,
    pub(crate) host: Host,
    pub(crate) play: fn(Asked) -> Vec<Step>,
}

/// The text that comes before what goes wrong in the middle.
pub(crate) const HALF: &str = "Half of";
/// How every provider here calls its request.
pub(crate) const UPSTREAM_ID: &str = "upstream-17";

const fn row(moment: Moment, name: &'static str, play: fn(Asked) -> Vec<Step>) -> Row {
    Row { moment, name, host: Host::Patient, play }
}

const fn before_reply(name: &'static str, play: fn(Asked) -> Vec<Step>) -> Row {
    row(Moment::BeforeReply, name, play)
}

const fn before_content(name: &'static str, play: fn(Asked) -> Vec<Step>) -> Row {
    row(Moment::BeforeContent, name, play)
}

const fn mid_stream(name: &'static str, play: fn(Asked) -> Vec<Step>) -> Row {
    row(Moment::MidStream, name, play)
}

impl Row {
    const fn at(self, host: Host) -> Self {
        Self { host, ..self }
    }
}

/// All of them.
pub(crate) const ROWS: &[Row] = &[
    before_reply("400", |asked| status(asked, 400, &[])),
    before_reply("401", |asked| status(asked, 401, &[])),
    before_reply("402", |asked| status(asked, 402, &[])),
    before_reply("403", |asked| status(asked, 403, &[])),
    before_reply("404", |asked| status(asked, 404, &[])),
    before_reply("408", |asked| status(asked, 408, &[])),
    before_reply("409", |asked| status(asked, 409, &[])),
    before_reply("413", |asked| status(asked, 413, &[])),
    before_reply("422", |asked| status(asked, 422, &[])),
    before_reply("424", |asked| status(asked, 424, &[])),
    before_reply("429, to wait 7 s", |asked| status(asked, 429, &[("retry-after", "7")])),
    before_reply("429, not to be tried again", |asked| status(asked, 429, &[("x-should-retry", "false")])),
    before_reply("500", |asked| status(asked, 500, &[])),
    before_reply("502 of a proxy", |_| vec![answer(502, "text/html", &[], b"<html><h1>502 Bad Gateway</h1></html>")]),
    before_reply("503, to wait 9 s", |asked| status(asked, 503, &[("retry-after", "9")])),
    before_reply("504", |asked| status(asked, 504, &[])),
    before_reply("529", |asked| status(asked, 529, &[])),
    before_reply("nobody listens", |_| Vec::new()).at(Host::Gone),
    before_reply("hangs up", |_| Vec::new()),
    before_reply("resets", |_| vec![Step::Reset]),
    before_reply("says nothing", |_| vec![Step::Silence]).at(Host::Hasty),
    before_reply("speaks no HTTP", |_| vec![Step::Send(Bytes::from_static(b"SSH-2.0-OpenSSH_9.9\r\n"))]),
    before_reply("redirects", |_| {
        let location = [("location", "http://169.254.169.254/latest/meta-data/?token=secret")];
        vec![answer(307, "text/plain", &location, b"")]
    }),
    before_reply("204", |_| {
        vec![Step::Send(Bytes::from_static(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"))]
    }),
    before_reply("200 without a body", |asked| vec![answer(200, reply_type(asked), &[], b"")]),
    before_reply("200 with a web page", |_| vec![answer(200, "text/html", &[], b"<html>Please log in</html>")]),
    before_reply("200 with an error", |asked| {
        let (body, headers) = wire::error(asked.style, 429);
        vec![answer(200, "application/json", &headers, body.to_string().as_bytes())]
    }),
    before_reply("200 with JSON that is no reply", |_| vec![answer(200, "application/json", &[], b"{\"hello\":1}")]),
    before_reply("200 with half a reply", |asked| {
        let reply = wire::reply(asked.style, HALF).to_string();
        let (half, _) = reply.split_at(reply.len() / 2);
        vec![answer(200, "application/json", &[], half.as_bytes())]
    }),
    before_reply("200, shorter than it says", |asked| {
        let reply = wire::reply(asked.style, HALF).to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", reply.len() + 9);
        vec![Step::Send((head + &reply).into())]
    }),
    before_reply("200, compressed unasked", |_| {
        vec![answer(200, "application/json", &[("content-encoding", "gzip")], b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\x56")]
    }),
    before_content("fails in its own words", |asked| begun(asked, &[fails(asked, Trouble::Overloaded, 4)])),
    before_content("limits in its own words", |asked| begun(asked, &[fails(asked, Trouble::Limited, 4)])),
    before_content("ends", |asked| begun(asked, &[])),
    before_content("says only that it is over", |asked| {
        vec![open(200, stream_type(asked.style)), Step::Send(over(asked))]
    }),
    before_content("ends within an event", |asked| begun(asked, &[half(asked)])),
    before_content("resets", |asked| begun(asked, &[Step::Reset])),
    before_content("sends a web page", |asked| {
        vec![open(200, stream_type(asked.style)), Step::Send(Bytes::from_static(b"<html>Please log in</html>"))]
    }),
    before_content("sends a damaged event", |asked| begun(asked, &[damaged(asked)])),
    before_content("says nothing more", |asked| begun(asked, &[Step::Silence])).at(Host::Hasty),
    mid_stream("fails in its own words", |asked| talking(asked, &[fails(asked, Trouble::Overloaded, 5)])),
    mid_stream("limits in its own words", |asked| talking(asked, &[fails(asked, Trouble::Limited, 5)])),
    mid_stream("ends", |asked| talking(asked, &[])),
    mid_stream("ends within an event", |asked| talking(asked, &[cut(asked)])),
    mid_stream("resets", |asked| talking(asked, &[Step::Reset])),
    mid_stream("says nothing more", |asked| talking(asked, &[Step::Silence])).at(Host::Hasty),
];

/// An error answer in the dialect's words, with all that a provider says beside it.
fn status(asked: Asked, status: u16, more: &[(&'static str, &'static str)]) -> Vec<Step> {
    let (body, mut headers) = wire::error(asked.style, status);
    headers.push((wire::request_id(asked.style), UPSTREAM_ID));
    headers.push((limit(asked.style), "0"));
    headers.extend(more);
    vec![answer(status, "application/json", &headers, body.to_string().as_bytes())]
}

/// The header in which a provider says how many more requests it takes.
pub(crate) fn limit(style: Style) -> &'static str {
    if style == Style::Anthropic { "anthropic-ratelimit-requests-remaining" } else { "x-ratelimit-remaining-requests" }
}

fn reply_type(asked: Asked) -> &'static str {
    if asked.stream { stream_type(asked.style) } else { "application/json" }
}

/// A stream without content yet, and then this.
fn begun(asked: Asked, then: &[Step]) -> Vec<Step> {
    let mut steps = vec![open(200, stream_type(asked.style)), Step::Send(opening(asked.style))];
    steps.extend_from_slice(then);
    steps
}

/// A stream with some text, and then this.
fn talking(asked: Asked, then: &[Step]) -> Vec<Step> {
    let mut steps = begun(asked, &[Step::Send(text(asked.style, HALF))]);
    steps.extend_from_slice(then);
    steps
}

fn fails(asked: Asked, trouble: Trouble, at: u64) -> Step {
    Step::Send(wire::failing(asked.style, trouble, at))
}

/// The first half of an event.
fn half(asked: Asked) -> Step {
    let whole = text(asked.style, "never told");
    Step::Send(whole.slice(..whole.len() / 2))
}

/// An event that is cut before it says anything.
fn cut(asked: Asked) -> Step {
    Step::Send(text(asked.style, "never told").slice(..4))
}

/// A stream's end without its beginning.
fn over(asked: Asked) -> Bytes {
    match asked.style {
        Style::OpenAi | Style::Cohere | Style::Gemini => Bytes::from_static(b"data: [DONE]\n\n"),
        Style::Responses => {
            wire::named("response.completed", serde_json::json!({"sequence_number": 0, "response": {}}))
        }
        Style::Anthropic => wire::named("message_stop", serde_json::json!({})),
        Style::Bedrock => wire::message("event", "metadata", b"{}"),
    }
}

/// Bytes that are damaged on the way: a sum that is wrong, JSON that is none.
fn damaged(asked: Asked) -> Step {
    if asked.style != Style::Bedrock {
        return Step::Send(Bytes::from_static(b"data: {\"id\": oops\n\n"));
    }
    let mut event = text(asked.style, "never told").to_vec();
    if let Some(last) = event.last_mut() {
        *last ^= 1;
    }
    Step::Send(event.into())
}
