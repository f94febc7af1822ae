//! Owns the key of a record: what must be delivered in the order of the log.

use forebay_connector::metadata_headers;
use forebay_connector::settings::SettingsErrors;
use forebay_event::RecordedEvent;
use forebay_script::JsonPath;
use serde_json::Value;

use super::view::EventView;
use crate::settings::{ConnectorSettings, LANES_MAX, Ordering};

/// What stands for records that lack the field or the place they are keyed by.
const ABSENT: &str = "";
/// What people call the one key of all records, and that of records without one. No stream is called so.
const SHOWN_ALL: &str = "$all";
const SHOWN_ABSENT: &str = "$none";

/// A key as a number: the same for the same text in every run and every build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(pub(super) u64);

impl Key {
    /// The one key of records that are all in one order.
    pub(super) const ALL: Self = Self(0);

    /// The key of a text: FNV-1a over its UTF-8 bytes, 64 bits, then mixed so that every bit counts.
    pub(super) fn of(text: &str) -> Self {
        let hash = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        Self(mix(hash))
    }

    /// The lane of this key among so many.
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is smaller than the number of lanes")]
    pub(super) fn lane(self, lanes: usize) -> usize {
        (self.0 % lanes.max(1) as u64) as usize
    }
}

/// Spreads a number over all 64 bits; one to one.
pub(super) const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// How the key of a record is found.
#[derive(Clone, Debug)]
pub(super) enum Keying {
    /// One key for all.
    All,
    /// The stream.
    Stream,
    /// The text before the first `-` of the stream's name.
    Category,
    /// A metadata field, by name.
    Header(String),
    /// The first value an expression selects.
    JsonPath(std::sync::Arc<JsonPath>),
}

impl Keying {
    pub(super) fn new(settings: &ConnectorSettings) -> Result<Self, SettingsErrors> {
        let key = settings.ordering_key.trim();
        match settings.ordering {
            Ordering::Header | Ordering::JsonPath if key.is_empty() => Err(SettingsErrors::single(
                "orderingKey",
                "is missing",
                format!("what to order by, as ordering is {}", settings.ordering.word()),
            )),
            Ordering::All | Ordering::Stream | Ordering::Category if !key.is_empty() => Err(SettingsErrors::single(
                "orderingKey",
                format!("is {key:?}"),
                format!("no value, as ordering is {}", settings.ordering.word()),
            )),
            Ordering::All => Ok(Self::All),
            Ordering::Stream => Ok(Self::Stream),
            Ordering::Category => Ok(Self::Category),
            Ordering::Header => Ok(Self::Header(key.to_owned())),
            Ordering::JsonPath => JsonPath::compile(key)
                .map(|path| Self::JsonPath(path.into()))
                .map_err(|error| SettingsErrors::single("orderingKey", format!("is {key:?}"), error.to_string())),
        }
    }

    /// The key of an event.
    pub(super) fn key(&self, view: &mut EventView<'_>) -> Key {
        match self {
            Self::All => Key::ALL,
            Self::Stream => Key::of(view.event().stream()),
            Self::Category => Key::of(category(view.event().stream())),
            Self::Header(_) | Self::JsonPath(_) => Key::of(&self.text(view)),
        }
    }

    /// The key of an event as a person reads it; empty when all records share one or the place is absent.
    pub(super) fn text(&self, view: &mut EventView<'_>) -> String {
        match self {
            Self::All => ABSENT.to_owned(),
            Self::Stream => view.event().stream().to_owned(),
            Self::Category => category(view.event().stream()).to_owned(),
            Self::Header(name) => header(view.event(), name),
            Self::JsonPath(path) => match view.record().and_then(|record| path.query(record).ok()) {
                Some(selected) => selected.first().map_or_else(|| ABSENT.to_owned(), |value| plain(value)),
                None => ABSENT.to_owned(),
            },
        }
    }

    /// The key of an event as people call it, never empty: `$all` for the one key of all records, `$none` for records
    /// that lack the place.
    pub(super) fn shown(&self, view: &mut EventView<'_>) -> String {
        match self {
            Self::All => SHOWN_ALL.to_owned(),
            _ => Some(self.text(view)).filter(|text| !text.is_empty()).unwrap_or_else(|| SHOWN_ABSENT.to_owned()),
        }
    }

    /// How keys are made, in a word that differs where keys may differ.
    pub(super) fn layout(&self) -> String {
        match self {
            Self::All => Ordering::All.word().to_owned(),
            Self::Stream => Ordering::Stream.word().to_owned(),
            Self::Category => Ordering::Category.word().to_owned(),
            Self::Header(name) => format!("{}/{name}", Ordering::Header.word()),
            Self::JsonPath(path) => format!("{}/{}", Ordering::JsonPath.word(), path.as_str()),
        }
    }

    /// The number of the first lane: another one for every other way to spread records over lanes, so that what a
    /// target stored about a lane is never taken for a lane with other records.
    pub(super) fn first_lane(&self, settings: &ConnectorSettings, lanes: usize) -> u32 {
        match self {
            Self::All => 0,
            _ => {
                let layout = format!("{}/{}/{lanes}", settings.ordering.word(), settings.ordering_key.trim());
                let number = (Key::of(&layout).0 >> 32) as u32;
                number / LANES_MAX * LANES_MAX
            }
        }
    }
}

fn category(stream: &str) -> &str {
    stream.split_once('-').map_or(stream, |(category, _)| category)
}

fn header(event: &RecordedEvent, name: &str) -> String {
    let headers = metadata_headers(event.metadata_slice());
    headers.into_iter().find(|(key, _)| key == name).map_or_else(|| ABSENT.to_owned(), |(_, value)| value)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing::event;

    #[test]
    fn keys_are_the_same_in_every_build() {
        assert_eq!(Key::of("order-1"), Key::of("order-1"));
        assert_eq!(Key::of("").0, mix(0xcbf2_9ce4_8422_2325));
        assert_eq!(Key::of("order-1"), Key(17_145_836_837_575_567_827));
        let lanes: std::collections::BTreeSet<_> = (0..200).map(|n| Key::of(&format!("s-{n}")).lane(16)).collect();
        assert_eq!(lanes.len(), 16);
    }

    #[test]
    fn each_way_finds_its_key() {
        let event = event("order-7", "Placed", r#"{"who":{"id":5}}"#, r#"{"tenant":"a"}"#);
        let text = |keying: Keying| keying.text(&mut EventView::new(&event));
        assert_eq!(text(Keying::All), "");
        assert_eq!(text(Keying::Stream), "order-7");
        assert_eq!(text(Keying::Category), "order");
        assert_eq!(text(Keying::Header("tenant".into())), "a");
        assert_eq!(text(Keying::Header("Tenant".into())), "");
        let path = |text: &str| Keying::JsonPath(std::sync::Arc::new(JsonPath::compile(text).unwrap()));
        assert_eq!(text(path("$.value.who.id")), "5");
        assert_eq!(text(path("$.value.nobody")), "");
    }
}
