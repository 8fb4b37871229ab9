//! Lengths of time as configuration files write them: `"30s"`, `"1m30s"`, a plain number whose unit the key defines, and the
//! reset windows of budgets and limits (`"1M"` is a month there, not a minute).

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// Nanoseconds per unit of Go's `time.ParseDuration`, longest names first so that `ms` is not read as `m`.
const GO_UNITS: [(&str, f64); 8] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];

/// A hundred years: longer is a slip, and would overflow timers.
const MAX: Duration = Duration::from_hours(100 * 366 * 24);

/// A length of time, as text in Go's style or as a number in the unit that its key documents.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Period {
    /// From text.
    Length(Duration),
    /// A bare number; the key says of what.
    Number(i64),
}

/// The unit of a [`Period::Number`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Nanoseconds,
    Milliseconds,
    Seconds,
    Minutes,
}

/// A reset window of a budget or a rate limit: `Nm Nh Nd Nw NM NQ NY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// How many units, at least one.
    pub count: u32,
    /// The unit's letter: one of `m h d w M Q Y`.
    pub unit: char,
}

// === impl Unit ===

impl Unit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "nanoseconds",
            Self::Milliseconds => "milliseconds",
            Self::Seconds => "seconds",
            Self::Minutes => "minutes",
        }
    }
}

// === impl Period ===

impl Period {
    /// The length, or `None` for a negative number (several keys use it for "off").
    pub(super) fn length(self, unit: Unit) -> Option<Duration> {
        let number = match self {
            Self::Length(length) => return Some(length),
            Self::Number(number) => u64::try_from(number).ok()?,
        };
        Some(match unit {
            Unit::Nanoseconds => Duration::from_nanos(number),
            Unit::Milliseconds => Duration::from_millis(number),
            Unit::Seconds => Duration::from_secs(number),
            Unit::Minutes => Duration::from_secs(number.saturating_mul(60)),
        })
        .map(|length| length.min(MAX))
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "0" {
            return Some(Self::Length(Duration::ZERO));
        }
        let (mut rest, mut nanoseconds) = (text, 0.0);
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let (number, tail) = rest.split_at_checked(digits)?;
            let (unit, factor) = GO_UNITS.iter().find(|(unit, _)| tail.starts_with(unit))?;
            nanoseconds += number.parse::<f64>().ok()? * factor;
            rest = tail.strip_prefix(unit)?;
        }
        let length = Duration::try_from_secs_f64(nanoseconds / 1e9).ok().filter(|length| *length <= MAX)?;
        (!text.is_empty()).then_some(Self::Length(length))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PeriodVisitor)
    }
}

struct PeriodVisitor;

impl Visitor<'_> for PeriodVisitor {
    type Value = Period;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a length of time such as \"30s\", or a whole number")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Period, E> {
        Ok(Period::Number(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Period, E> {
        i64::try_from(number).map(Period::Number).map_err(|_| E::custom("the number is too large"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Period, E> {
        Period::parse(text).ok_or_else(|| E::custom("expected a length of time such as \"30s\" or \"1m30s\""))
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A length of time such as `30s` or `1m30s`, or a whole number in the unit that the key documents.",
            "type": ["string", "integer"],
            "x-expected": "a length of time such as `30s`, or a whole number",
            "pattern": "^(0|([0-9]+(\\.[0-9]+)?(ns|us|µs|μs|ms|s|m|h))+)$",
        })
    }
}

// === impl Window ===

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let split = text.char_indices().next_back().and_then(|(at, unit)| Some((text.get(..at)?, unit)));
        let window = split.and_then(|(count, unit)| Some(Self { count: count.parse().ok()?, unit }));
        window
            .filter(|window| window.count > 0 && "mhdwMQY".contains(window.unit))
            .ok_or_else(|| D::Error::custom("expected a window such as \"1d\" or \"1M\""))
    }
}

impl JsonSchema for Window {
    fn schema_name() -> Cow<'static, str> {
        "Window".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A reset window: a count and `m`, `h`, `d`, `w`, `M` (month), `Q` (quarter) or `Y`.",
            "type": "string",
            "x-expected": "a window such as `1d`, `1w` or `1M`",
            "pattern": "^[1-9][0-9]{0,8}[mhdwMQY]$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_in_go_style() {
        for (text, milliseconds) in [
            ("30s", 30_000),
            ("10m", 600_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("250ms", 250),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(Period::parse(text), Some(Period::Length(Duration::from_millis(milliseconds))), "{text}");
        }
        for text in ["", "s", "30", "30 s", "-1s", "1d", "1..5s", "99999999999h", "ms"] {
            assert_eq!(Period::parse(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_take_the_unit_of_their_key() {
        assert_eq!(Period::Number(500).length(Unit::Milliseconds), Some(Duration::from_millis(500)));
        assert_eq!(Period::Number(30_000_000_000).length(Unit::Nanoseconds), Some(Duration::from_secs(30)));
        assert_eq!(Period::Number(-1).length(Unit::Nanoseconds), None);
        assert_eq!(Period::Length(Duration::from_secs(1)).length(Unit::Nanoseconds), Some(Duration::from_secs(1)));
    }

    #[test]
    fn windows_know_months_from_minutes() {
        let window = |text: &str| serde_json::from_str::<Window>(&format!("{text:?}")).ok();
        assert_eq!(window("1M"), Some(Window { count: 1, unit: 'M' }));
        assert_eq!(window("15m"), Some(Window { count: 15, unit: 'm' }));
        for text in ["", "M", "0d", "1s", "1.5h", "-1d"] {
            assert_eq!(window(text), None, "{text}");
        }
    }
}
