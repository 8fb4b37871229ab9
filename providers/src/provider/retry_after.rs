//! How long a provider asks its callers to wait.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, header};

/// Nobody waits longer than this for one answer; what a provider says beyond it is cut.
const LONGEST: Duration = Duration::from_hours(1);

/// The wait that a header's value states.
type Read = fn(&str, SystemTime) -> Option<Duration>;

/// The headers that state one, the finer one first: `retry-after-ms` in milliseconds, `retry-after` in seconds, whole or
/// fractional, or as an HTTP date; `x-amz-retry-after`, in milliseconds, is AWS's (botocore 1.44.5, `retries/standard.py`).
const STATED_IN: [(&str, Read); 3] = [
    ("retry-after-ms", |value, _| seconds(value, 1000.0)),
    ("x-amz-retry-after", |value, _| seconds(value, 1000.0)),
    ("retry-after", |value, now| seconds(value, 1.0).or_else(|| until(value, now))),
];

/// What the headers state. `None` for what is absent, negative, in the past or garbage; at most an hour.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    STATED_IN.iter().find_map(|(name, read)| stated(headers, name, *read, now)).map(clamped)
}

/// At most an hour, wherever it was stated.
pub(super) fn clamped(wait: Duration) -> Duration {
    wait.min(LONGEST)
}

/// Takes out of headers that a client gets what nobody should act upon. Told to wait for ten years, one SDK sleeps for weeks
/// and another, whose timer overflows, not at all; told a negative wait, some come back at once and for ever.
pub(super) fn temper(headers: &mut HeaderMap, now: SystemTime) {
    for (name, read) in STATED_IN {
        let stated = stated(headers, name, read, now);
        if stated.is_some_and(|wait| wait < LONGEST) {
            continue;
        }
        headers.remove(name);
        if stated.is_some() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(LONGEST.as_secs()));
        }
    }
}

fn stated(headers: &HeaderMap, name: &str, read: Read, now: SystemTime) -> Option<Duration> {
    read(headers.get(name)?.to_str().ok()?.trim(), now)
}

fn seconds(value: &str, per_second: f64) -> Option<Duration> {
    // Rust also reads "inf" and "nan", which no provider means.
    if !value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let seconds = value.parse::<f64>().ok()? / per_second;
    Duration::try_from_secs_f64(seconds.min(LONGEST.as_secs_f64())).ok()
}

/// The wait that a message states in words, where no header does: OpenAI's "Please try again in 1m2.5s", "in 20ms".
///
/// `None` where there is no such phrase or what follows it is no duration; at most an hour.
pub(super) fn stated_in(message: &str) -> Option<Duration> {
    let (_, stated) = message.split_once("try again in ")?;
    let mut rest = stated;
    let mut wait = None;
    while let Some((part, after)) = leading_part(rest) {
        wait = Some(wait.unwrap_or(Duration::ZERO) + part);
        rest = after;
    }
    wait.map(clamped)
}

/// A number and its unit, and the text after them.
fn leading_part(text: &str) -> Option<(Duration, &str)> {
    const PER_SECOND: [(&str, f64); 4] = [("ms", 1000.0), ("s", 1.0), ("m", 1.0 / 60.0), ("h", 1.0 / 3600.0)];
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, after) = text.split_at_checked(end)?;
    let after = after.trim_start();
    let (unit, per_second) = PER_SECOND.into_iter().find(|(unit, _)| after.starts_with(unit))?;
    Some((seconds(number, per_second)?, after.strip_prefix(unit)?))
}

fn until(value: &str, now: SystemTime) -> Option<Duration> {
    httpdate::parse_http_date(value).ok()?.duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read_clamped_and_never_guessed() {
        let now = httpdate::parse_http_date("Sat, 21 Nov 2026 10:00:00 GMT").unwrap();
        let check = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            retry_after(&headers, now)
        };
        let ms = |milliseconds| Some(Duration::from_millis(milliseconds));
        for (value, wait) in [
            ("0", ms(0)),
            ("30", ms(30_000)),
            ("1.5", ms(1500)),
            (" 7 ", ms(7000)),
            ("-1", None),
            ("soon", None),
            ("", None),
            ("inf", None),
            ("NaN", None),
            ("1e3", None),
            (".", None),
            ("315360000", ms(3_600_000)),
            ("99999999999999999999999999999999999999999", ms(3_600_000)),
            ("Sat, 21 Nov 2026 10:00:20 GMT", ms(20_000)),
            ("Sat, 21 Nov 2026 09:00:00 GMT", None),
            ("Fri, 21 Nov 2036 10:00:00 GMT", ms(3_600_000)),
        ] {
            assert_eq!(check(&[("retry-after", value)]), wait, "retry-after: {value}");
        }
        assert_eq!(check(&[("retry-after", "9"), ("retry-after-ms", "250")]), ms(250), "the finer one counts");
        assert_eq!(check(&[("retry-after", "9"), ("retry-after-ms", "-3")]), ms(9000));
        assert_eq!(check(&[]), None);
    }

    #[test]
    fn callers_are_told_no_wait_that_nobody_means() {
        let now = httpdate::parse_http_date("Sat, 21 Nov 2026 10:00:00 GMT").unwrap();
        let near = "Sat, 21 Nov 2026 10:00:20 GMT";
        for (said, told) in [
            (("retry-after", "30"), Some("30")),
            (("retry-after", near), Some(near)),
            (("retry-after", "315360000"), Some("3600")),
            (("retry-after", "Fri, 21 Nov 2036 10:00:00 GMT"), Some("3600")),
            (("retry-after-ms", "99999999999"), Some("3600")),
            (("retry-after", "-1"), None),
            (("retry-after", "soon"), None),
        ] {
            let mut headers = HeaderMap::from_iter([(said.0.parse().unwrap(), said.1.parse().unwrap())]);
            temper(&mut headers, now);
            let left: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
            assert_eq!(left, Vec::from_iter(told.map(|told| ("retry-after", told))), "{said:?}");
        }
    }

    #[test]
    fn waits_in_words_are_read_too() {
        for (message, wait) in [
            ("Rate limit reached. Please try again in 20s. Visit …", Some(20_000)),
            ("Please try again in 1.5s.", Some(1500)),
            ("Please try again in 28ms.", Some(28)),
            ("Please try again in 6m0s.", Some(360_000)),
            ("try again in 2h3m", Some(3_600_000)),
            ("Please try again in 60 seconds", Some(60_000)),
            ("Please try again in a while", None),
            ("try again in -5s", None),
            ("try again in ", None),
            ("slow down", None),
        ] {
            assert_eq!(stated_in(message), wait.map(Duration::from_millis), "{message}");
        }
    }
}
