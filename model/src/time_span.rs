//! Lengths of time as users write them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time in configuration: `10s`, `1.5s`, `250ms`, `1h30m`, `0s`.
/// Written as Istio writes it, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TimeSpan(pub Duration);

/// A text that is not a length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a length of time; write a number with a unit, such as 10s, 250ms or 1h30m")]
pub struct TimeSpanError(String);

impl TimeSpan {
    /// This many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// This many milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// The length.
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// Whether it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<Duration> for TimeSpan {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

/// Nanoseconds of a unit.
fn unit(name: &str) -> Option<u128> {
    Some(match name {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Nanoseconds of a decimal number of units; what is below a nanosecond is dropped.
fn nanoseconds(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.len() > 30 || whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.chars() {
        place /= 10;
        total += u128::from(digit.to_digit(10)?) * place;
    }
    Some(total)
}

fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (name, tail) = tail.split_at(letters);
        total = total.checked_add(nanoseconds(number, unit(name)?)?)?;
        rest = tail;
    }
    let nanoseconds = u32::try_from(total % 1_000_000_000).ok()?;
    Some(Duration::new(u64::try_from(total / 1_000_000_000).ok()?, nanoseconds))
}

impl FromStr for TimeSpan {
    type Err = TimeSpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = (!text.is_empty()).then(|| parse(text)).flatten();
        found.map(Self).ok_or_else(|| TimeSpanError(text.to_owned()))
    }
}

/// Seconds, with as many decimals as needed: `10s`, `0.25s`.
impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_nanos() == 0 {
            return f.pad(&format!("{}s", self.0.as_secs()));
        }
        let text = format!("{}.{:09}", self.0.as_secs(), self.0.subsec_nanos());
        f.pad(&format!("{}s", text.trim_end_matches('0')))
    }
}

impl Serialize for TimeSpan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for TimeSpan {
    fn schema_name() -> Cow<'static, str> {
        "TimeSpan".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A length of time: 10s, 1.5s, 250ms, 1h30m.",
            "pattern": r"^(\d*\.?\d*(ns|us|µs|ms|s|m|h))+$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("10s", "10s")]
    #[case("250ms", "0.25s")]
    #[case("1.5s", "1.5s")]
    #[case("1h30m", "5400s")]
    #[case("0s", "0s")]
    #[case(".5m", "30s")]
    #[case("1us", "0.000001s")]
    fn a_length_of_time_is_written_in_seconds(#[case] text: &str, #[case] written: &str) {
        assert_eq!(text.parse::<TimeSpan>().map(|span| span.to_string()), Ok(written.to_owned()));
    }

    #[rstest]
    fn what_has_no_number_or_unit_is_refused(
        #[values(
            "",
            "10",
            "s",
            "-1s",
            "1 s",
            "1.2.3s",
            "1d",
            ".s",
            "9999999999999999999999999999999h"
        )]
        text: &str,
    ) {
        assert_eq!(text.parse::<TimeSpan>(), Err(TimeSpanError(text.to_owned())));
    }

    proptest! {
        #[test]
        fn every_text_gives_a_length_or_an_error_and_every_length_survives_its_text(
            text in "[0-9.hmsun]{0,12}", nanoseconds in any::<u64>(),
        ) {
            let _ = text.parse::<TimeSpan>();
            let span = TimeSpan(Duration::from_nanos(nanoseconds));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }
    }
}
