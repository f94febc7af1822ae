//! Owns the events of a connector's management stream and their stored form, which is that of the original.

use std::collections::BTreeMap;

use forebay_connector::settings::SettingsMap;
use forebay_event::{Position, RecordedEvent, Timestamp};
use serde_json::{Map, Value, json};

use super::ErrorDetails;

const TYPE_PREFIX: &str = "$conn-mngt-connector-";
/// What follows in the type of an event about parked records, before the command.
const PARKED_WORD: &str = "parked-";
/// The ends of the types of events about shards.
const SHARD_WORDS: [&str; 3] = ["shard-running", "shard-stopped", "shards-opened"];
const PARKED_COMMANDS: [&str; 4] = ["retry", "replay", "edit", "drop"];

/// Something that happened to a connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ManagementEvent {
    /// When it happened.
    pub(crate) at: Timestamp,
    /// What happened.
    pub(crate) what: Happening,
}

/// What can happen to a connector. Settings are as stored: secrets sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// A create was accepted.
    Created { name: String, settings: SettingsMap },
    /// Settings were replaced.
    Reconfigured { revision: u64, settings: SettingsMap },
    /// The name was replaced.
    Renamed { name: String },
    /// A start or reset was accepted; carries the settings to run with.
    Activating { settings: SettingsMap, start_from: Option<Position> },
    /// The host reports that it reads and delivers.
    Running,
    /// A stop was accepted.
    Deactivating,
    /// The host reports that it ended as asked.
    Stopped,
    /// The host reports that it ended with an error, and when it will try again, if it will.
    Failed { error: ErrorDetails, next_restart: Option<Timestamp> },
    /// Something is to be done about parked records: `retry`, `replay`, `edit` or `drop`. Says how many records the key
    /// had then, which one is meant if it is one, and why.
    ParkedChanged {
        word: String,
        key: String,
        records: u64,
        number: Option<u64>,
        records_per_s: Option<u32>,
        reason: Option<String>,
    },
    /// The host reports that a shard reads and delivers: its generation and number.
    ShardRunning { shard: (u32, u32) },
    /// The host reports that a shard has ended as asked.
    ShardStopped { shard: (u32, u32) },
    /// All shards of the earlier generation are closed, those of this one may run. What was settled by generations before
    /// `since` (by any when there is none) is all below where this one begins; nothing is settled above the horizon.
    ShardsOpened { generation: u32, since: Option<u32>, horizon: Position },
    /// A delete was accepted.
    Deleted,
}

impl ManagementEvent {
    /// The event type it is stored under.
    pub(crate) fn event_type(&self) -> String {
        let word = match &self.what {
            Happening::Created { .. } => "created",
            Happening::Reconfigured { .. } => "reconfigured",
            Happening::Renamed { .. } => "renamed",
            Happening::Activating { .. } => "activating",
            Happening::Running => "running",
            Happening::Deactivating => "deactivating",
            Happening::Stopped => "stopped",
            Happening::Failed { .. } => "failed",
            Happening::ParkedChanged { word, .. } => return format!("{TYPE_PREFIX}{PARKED_WORD}{word}"),
            Happening::ShardRunning { .. } => SHARD_WORDS[0],
            Happening::ShardStopped { .. } => SHARD_WORDS[1],
            Happening::ShardsOpened { .. } => SHARD_WORDS[2],
            Happening::Deleted => "deleted",
        };
        format!("{TYPE_PREFIX}{word}")
    }

    /// The stored body; `recorded_at` is when the management plane stores it.
    pub(crate) fn body(&self, connector_id: &str, recorded_at: Timestamp) -> Value {
        let mut body = Map::new();
        let mut put = |key: &str, value: Value| body.insert(key.to_owned(), value);
        put("connectorId", json!(connector_id));
        put("timestamp", json!(self.at.to_string()));
        match &self.what {
            Happening::Created { name, settings } => {
                put("name", json!(name));
                put("settings", settings_value(settings));
            }
            Happening::Reconfigured { revision, settings } => {
                put("revision", json!(revision));
                put("settings", settings_value(settings));
            }
            Happening::Renamed { name } => {
                put("name", json!(name));
            }
            Happening::Activating { settings, start_from } => {
                put("settings", settings_value(settings));
                if let Some(position) = start_from {
                    put("startFrom", position_value(*position));
                }
            }
            Happening::Running | Happening::Stopped => {
                put("recordedAt", json!(recorded_at.to_string()));
            }
            Happening::Failed { error, next_restart } => {
                put("errorDetails", json!({"code": error.code, "message": error.message}));
                put("recordedAt", json!(recorded_at.to_string()));
                if let Some(at) = next_restart {
                    put("nextRestart", json!(at.to_string()));
                }
            }
            Happening::ParkedChanged { word: _, key, records, number, records_per_s, reason } => {
                put("key", json!(key));
                put("records", json!(records));
                if let Some(number) = number {
                    put("record", json!(number));
                }
                if let Some(rate) = records_per_s {
                    put("recordsPerSecond", json!(rate));
                }
                if let Some(reason) = reason {
                    put("reason", json!(reason));
                }
            }
            Happening::ShardRunning { shard } | Happening::ShardStopped { shard } => {
                put("generation", json!(shard.0));
                put("shard", json!(shard.1));
                put("recordedAt", json!(recorded_at.to_string()));
            }
            Happening::ShardsOpened { generation, since, horizon } => {
                put("generation", json!(generation));
                put("since", json!(since));
                put("horizon", position_value(*horizon));
            }
            Happening::Deactivating | Happening::Deleted => {}
        }
        Value::Object(body)
    }

    /// Reads a stored event; none when its type is not one of these.
    pub(crate) fn read(event: &RecordedEvent) -> Result<Option<Self>, UnreadableEvent> {
        let Some(word) = event.event_type().strip_prefix(TYPE_PREFIX) else { return Ok(None) };
        let known = ["created", "reconfigured", "renamed", "activating", "running"];
        let known_too = ["deactivating", "stopped", "failed", "deleted"];
        let about_parked = word.strip_prefix(PARKED_WORD).filter(|word| PARKED_COMMANDS.contains(word));
        let is_known = known.contains(&word) || known_too.contains(&word) || SHARD_WORDS.contains(&word);
        if !is_known && about_parked.is_none() {
            return Ok(None);
        }
        let body = match serde_json::from_slice(event.data_slice()) {
            Ok(Value::Object(body)) => Body(body),
            Ok(_) => return Err(UnreadableEvent::new("the body", "is not an object")),
            Err(error) => return Err(UnreadableEvent::new("the body", &error.to_string())),
        };
        let what = match word {
            "created" => Happening::Created { name: body.text("name")?, settings: body.settings()? },
            "reconfigured" => {
                Happening::Reconfigured { revision: body.number("revision")?.unwrap_or(0), settings: body.settings()? }
            }
            "renamed" => Happening::Renamed { name: body.text("name")? },
            "activating" => {
                Happening::Activating { settings: body.settings()?, start_from: body.position("startFrom")? }
            }
            "running" => Happening::Running,
            "deactivating" => Happening::Deactivating,
            "stopped" => Happening::Stopped,
            "failed" => Happening::Failed { error: body.error()?, next_restart: body.time("nextRestart")? },
            "shard-running" => Happening::ShardRunning { shard: (body.small("generation")?, body.small("shard")?) },
            "shard-stopped" => Happening::ShardStopped { shard: (body.small("generation")?, body.small("shard")?) },
            "shards-opened" => Happening::ShardsOpened {
                generation: body.small("generation")?,
                since: body.number("since")?.and_then(|since| u32::try_from(since).ok()),
                horizon: body.position("horizon")?.unwrap_or(Position::START),
            },
            _ if about_parked.is_some() => Happening::ParkedChanged {
                word: about_parked.unwrap_or_default().to_owned(),
                key: body.text("key")?,
                records: body.number("records")?.unwrap_or(0),
                number: body.number("record")?,
                records_per_s: body.number("recordsPerSecond")?.and_then(|rate| u32::try_from(rate).ok()),
                reason: Some(body.text("reason")?).filter(|reason| !reason.is_empty()),
            },
            _ => Happening::Deleted,
        };
        Ok(Some(Self { at: body.time("timestamp")?.unwrap_or_else(|| event.created()), what }))
    }
}

/// A position as JSON: the documented number, and the second one where the two differ.
pub(crate) fn position_value(position: Position) -> Value {
    let mut value = json!({"position": position.commit().to_string()});
    if let (true, Value::Object(object)) = (position.prepare() != position.commit(), &mut value) {
        object.insert("preparePosition".to_owned(), json!(position.prepare().to_string()));
    }
    value
}

fn settings_value(settings: &SettingsMap) -> Value {
    Value::Object(settings.iter().map(|(key, value)| (key.to_owned(), json!(value))).collect())
}

/// Why a stored event of a known type cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part} {problem}")]
pub(crate) struct UnreadableEvent {
    part: String,
    problem: String,
}

impl UnreadableEvent {
    fn new(part: &str, problem: &str) -> Self {
        Self { part: part.to_owned(), problem: problem.to_owned() }
    }
}

struct Body(Map<String, Value>);

impl Body {
    fn text(&self, key: &str) -> Result<String, UnreadableEvent> {
        match self.0.get(key) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(UnreadableEvent::new(key, "is not text")),
            None => Ok(String::new()),
        }
    }

    fn time(&self, key: &str) -> Result<Option<Timestamp>, UnreadableEvent> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => {
                Timestamp::parse_rfc3339(text).map(Some).ok_or_else(|| UnreadableEvent::new(key, "is not a time"))
            }
            Some(_) => Err(UnreadableEvent::new(key, "is not a time")),
        }
    }

    fn number(&self, key: &str) -> Result<Option<u64>, UnreadableEvent> {
        number(self.0.get(key)).ok_or_else(|| UnreadableEvent::new(key, "is not a whole number"))
    }

    fn settings(&self) -> Result<SettingsMap, UnreadableEvent> {
        let object = match self.0.get("settings") {
            Some(Value::Object(object)) => object,
            None | Some(Value::Null) => return Ok(SettingsMap::default()),
            Some(_) => return Err(UnreadableEvent::new("settings", "is not an object")),
        };
        let mut entries = BTreeMap::new();
        for (key, value) in object {
            match value {
                Value::String(text) => entries.insert(key.clone(), text.clone()),
                Value::Null => None,
                _ => return Err(UnreadableEvent::new(key, "is not text")),
            };
        }
        Ok(SettingsMap::from_flat(entries))
    }

    fn small(&self, key: &str) -> Result<u32, UnreadableEvent> {
        let number = self.number(key)?.and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| UnreadableEvent::new(key, "is not a small whole number"))
    }

    fn position(&self, key: &str) -> Result<Option<Position>, UnreadableEvent> {
        let Some(Value::Object(object)) = self.0.get(key) else { return Ok(None) };
        position(object).ok_or_else(|| UnreadableEvent::new(key, "is not a position"))
    }

    fn error(&self) -> Result<ErrorDetails, UnreadableEvent> {
        let Some(Value::Object(object)) = self.0.get("errorDetails") else {
            return Ok(ErrorDetails { code: "unknown".to_owned(), message: String::new() });
        };
        let inner = Self(object.clone());
        Ok(ErrorDetails { code: inner.text("code")?, message: inner.text("message")? })
    }
}

/// Reads a whole number given as number or text: none inside when absent, none outside when it is something else.
pub(crate) fn number(value: Option<&Value>) -> Option<Option<u64>> {
    match value {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) => text.parse().ok().map(Some),
        Some(Value::Number(number)) => number.as_u64().map(Some),
        Some(_) => None,
    }
}

/// Reads what [`position_value`] writes.
pub(crate) fn position(object: &Map<String, Value>) -> Option<Option<Position>> {
    let commit = number(object.get("position"))?;
    let prepare = number(object.get("preparePosition"))?;
    Some(commit.map(|commit| Position::from_parts(commit, prepare.unwrap_or(commit))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_event::{ProposedEvent, Revision, StreamName};
    use uuid::Uuid;

    fn recorded(event_type: &str, body: &str) -> RecordedEvent {
        let proposed = ProposedEvent::json(Uuid::from_u128(1), event_type, body.to_owned());
        let stream = StreamName::new("$connectors/orders").unwrap();
        RecordedEvent::record(&proposed, &stream, Revision::FIRST, Position::new(1), Timestamp::from_ticks(5))
    }

    fn settings() -> SettingsMap {
        SettingsMap::from_flat([("instanceTypeName".to_owned(), "test-sink".to_owned())])
    }

    #[test]
    fn every_event_survives_its_stored_form() {
        let error = ErrorDetails { code: "connect".to_owned(), message: "refused".to_owned() };
        let at = Timestamp::from_ticks(17_637_120_000_000_001);
        for what in [
            Happening::Created { name: "Orders".to_owned(), settings: settings() },
            Happening::Reconfigured { revision: 3, settings: settings() },
            Happening::Renamed { name: "Other".to_owned() },
            Happening::Activating { settings: settings(), start_from: Some(Position::from_parts(9, 7)) },
            Happening::Activating { settings: settings(), start_from: None },
            Happening::Running,
            Happening::Deactivating,
            Happening::Stopped,
            Happening::Failed { error: error.clone(), next_restart: Some(at) },
            Happening::Failed { error, next_restart: None },
            Happening::Deleted,
            Happening::ParkedChanged {
                word: "drop".to_owned(),
                key: "orders-1".to_owned(),
                records: 9,
                number: Some(4),
                records_per_s: Some(2),
                reason: Some("not ours".to_owned()),
            },
        ] {
            let event = ManagementEvent { at, what };
            let body = event.body("orders", at).to_string();
            assert_eq!(ManagementEvent::read(&recorded(&event.event_type(), &body)), Ok(Some(event)));
        }
    }

    #[test]
    fn positions_are_text_and_times_are_rfc_3339() {
        let at = Timestamp::from_ticks(17_637_120_000_000_001);
        let start_from = Some(Position::new(42));
        let event = ManagementEvent { at, what: Happening::Activating { settings: settings(), start_from } };
        assert_eq!(
            event.body("orders", at),
            json!({"connectorId": "orders", "timestamp": "2025-11-21T08:00:00.0000001Z",
                "settings": {"instanceTypeName": "test-sink"}, "startFrom": {"position": "42"}})
        );
    }

    #[test]
    fn unknown_types_are_passed_over_and_unreadable_known_ones_are_told() {
        assert_eq!(ManagementEvent::read(&recorded("$conn-mngt-connector-painted", "{")), Ok(None));
        assert_eq!(ManagementEvent::read(&recorded("Other", "{")), Ok(None));
        assert!(ManagementEvent::read(&recorded("$conn-mngt-connector-running", "{")).is_err());
        let wrong = recorded("$conn-mngt-connector-created", r#"{"settings":{"a":1}}"#);
        assert_eq!(ManagementEvent::read(&wrong).unwrap_err().to_string(), "a is not text");
    }
}
