//! Owns the forms of values that several kinds of settings share: durations and base64 text.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest duration that is taken: a hundred years.
const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A duration whose key counts milliseconds, such as `requestTimeoutMs`; `5s` and `00:00:05` are taken too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DurationMs(pub Duration);

impl DurationMs {
    /// So many milliseconds.
    pub const fn millis(number: u64) -> Self {
        Self(Duration::from_millis(number))
    }
}

/// A duration given as `hh:mm:ss`, `d.hh:mm:ss`, or with units such as `5s`, `250ms`, `1h 30m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// So many seconds.
    pub const fn secs(number: u64) -> Self {
        Self(Duration::from_secs(number))
    }
}

/// Reads a duration: `hh:mm:ss[.fff]`, `d.hh:mm:ss`, text with units such as `1h 30m`, and, when `plain_is_ms` is set, a
/// plain number of milliseconds. At most a hundred years.
pub fn parse_duration(text: &str, plain_is_ms: bool) -> Option<Duration> {
    let text = text.trim();
    let duration = if text.contains(':') {
        clock_duration(text)
    } else if let Ok(number) = text.parse::<f64>() {
        // Zero needs no unit.
        (plain_is_ms || number == 0.0).then(|| Duration::try_from_secs_f64(number / 1000.0).ok()).flatten()
    } else {
        humantime::parse_duration(text).ok()
    };
    duration.filter(|duration| *duration <= DURATION_MAX)
}

fn clock_duration(text: &str) -> Option<Duration> {
    let mut parts = text.split(':');
    let (hours, minutes, seconds, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    let (days, hours) = hours.split_once('.').unwrap_or(("0", hours));
    let number = |text: &str, below: u64| text.parse::<u64>().ok().filter(|number| *number < below);
    let (days, hours, minutes) = (number(days, 36_500)?, number(hours, 24 * 36_500)?, number(minutes, 60)?);
    let seconds = Duration::try_from_secs_f64(seconds.parse().ok()?).ok().filter(|rest| rest.as_secs() < 60)?;
    Some(Duration::from_secs(((days * 24 + hours) * 60 + minutes) * 60) + seconds)
}

impl<'de> Deserialize<'de> for DurationMs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text, true).map(Self).ok_or_else(|| D::Error::custom("expected milliseconds or a duration"))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text, false).map(Self).ok_or_else(|| D::Error::custom("expected a duration"))
    }
}

impl Serialize for DurationMs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.as_millis())
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seconds = self.0.as_secs();
        if self.0.subsec_nanos() > 0 {
            return serializer.collect_str(&humantime::format_duration(self.0));
        }
        serializer.collect_str(&format_args!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60))
    }
}

impl JsonSchema for DurationMs {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DurationMs".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "duration-ms" })
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "span" })
    }
}

/// Bytes given as base64 text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base64Text(pub Vec<u8>);

impl<'de> Deserialize<'de> for Base64Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        decode_base64(&text).map(Self).ok_or_else(|| D::Error::custom("expected base64 text"))
    }
}

pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.trim()).ok()
}

impl JsonSchema for Base64Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Base64Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "base64" })
    }
}
