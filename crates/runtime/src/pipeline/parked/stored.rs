//! Owns the stored form of everything that happens to parked records.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use forebay_event::{
    ContentType, Position, ProposedEvent, Record, RecordedEvent, Reshape, Revision, StreamName, Timestamp,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::index::ParkedCount;

const PARKED: &str = "$conn-record-parked";
const REPLAYED: &str = "$conn-record-replayed";
const REFUSED: &str = "$conn-record-refused";
const EDITED: &str = "$conn-record-edited";
const DROPPED: &str = "$conn-record-dropped";
const REPLAY_BEGAN: &str = "$conn-key-replay-began";
const REPLAY_ENDED: &str = "$conn-key-replay-ended";
const CLAIMED: &str = "$conn-parked-claimed";
/// A piece of the body of the event behind it.
pub(super) const PART: &str = "$conn-parked-part";
const KNOWN: [&str; 8] = [PARKED, REPLAYED, REFUSED, EDITED, DROPPED, REPLAY_BEGAN, REPLAY_ENDED, CLAIMED];

/// Something that happened to parked records. A record's number is the revision of the event that parked it.
#[derive(Debug)]
pub(super) enum Happened {
    /// A record was set aside.
    Parked(Box<ParkedBody>),
    /// Records were delivered after all.
    Replayed(NumbersBody),
    /// A record was tried again and failed again.
    Refused(RefusedBody),
    /// A record is to be delivered with another payload; what it was stays where it was parked.
    Edited(EditedBody),
    /// Records are given up.
    Dropped(NumbersBody),
    /// A key is to be replayed to its end, also after a restart.
    ReplayBegan(ReplayBody),
    /// The replay of a key gave up.
    ReplayEnded(ReplayBody),
    /// A run begins: whoever wrote before is fenced out. A run that begins elsewhere in the log by order forgets what
    /// was replayed or dropped before, so that it is delivered again like everything else.
    Claimed(ClaimedBody),
}

/// What every event says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Envelope {
    pub(super) connector_id: String,
    pub(super) epoch: u64,
    pub(super) timestamp: String,
    /// How keys were made then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) keying: Option<String>,
    /// What is parked after this event.
    #[serde(default)]
    pub(super) standing: Option<ParkedCount>,
    /// The body stands in so many parts before this event; here when there are none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(super) parts: u32,
}

fn is_none(parts: &u32) -> bool {
    *parts == 0
}

impl Envelope {
    /// The stored form, without a body.
    pub(super) fn to_data(&self) -> Vec<u8> {
        // Serialising a struct of texts and numbers cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The event a record came from, what a transform made of it, and why it is here.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ParkedBody {
    pub(super) key: String,
    pub(super) stream_id: String,
    pub(super) stream_revision: String,
    pub(super) log_position: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) prepare_position: Option<String>,
    pub(super) record_id: Uuid,
    pub(super) event_type: String,
    pub(super) content_type: String,
    pub(super) created: String,
    /// Base64 of the event's data and metadata, as they are in the log.
    pub(super) data: String,
    pub(super) metadata: String,
    /// What a transform made of it; absent when it is as in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) transformed: Option<TransformedBody>,
    /// `rejected`, or `follows` when an earlier record of its key is parked.
    pub(super) reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<ErrorBody>,
    pub(super) attempts: u32,
    /// The number that targets know it by, when it was parked by a shard that is no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) known_as: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TransformedBody {
    pub(super) data: String,
    pub(super) subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) headers: Option<Vec<(String, String)>>,
}

/// Why a record was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ErrorBody {
    pub(super) class: String,
    pub(super) message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NumbersBody {
    pub(super) key: String,
    pub(super) numbers: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RefusedBody {
    pub(super) key: String,
    pub(super) number: u64,
    pub(super) attempts: u32,
    pub(super) error: ErrorBody,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EditedBody {
    pub(super) key: String,
    pub(super) number: u64,
    /// Base64 of the payload to deliver.
    pub(super) data: String,
    pub(super) reason: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReplayBody {
    pub(super) key: String,
    /// How keys were made then; the order to replay holds only as long as they are made so.
    pub(super) keying: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) records_per_s: Option<u32>,
    /// The last record that was parked then; the rate holds up to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) up_to: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClaimedBody {
    #[serde(default)]
    pub(super) forgets: bool,
}

impl Happened {
    pub(super) fn event_type(&self) -> &'static str {
        match self {
            Self::Parked(_) => PARKED,
            Self::Replayed(_) => REPLAYED,
            Self::Refused(_) => REFUSED,
            Self::Edited(_) => EDITED,
            Self::Dropped(_) => DROPPED,
            Self::ReplayBegan(_) => REPLAY_BEGAN,
            Self::ReplayEnded(_) => REPLAY_ENDED,
            Self::Claimed(_) => CLAIMED,
        }
    }

    /// The stored body.
    pub(super) fn to_data(&self, envelope: &Envelope) -> Vec<u8> {
        // Serialising structs of texts and numbers cannot fail.
        let mut value = serde_json::to_value(envelope).unwrap_or_default();
        let own = match self {
            Self::Parked(body) => serde_json::to_value(body),
            Self::Replayed(body) | Self::Dropped(body) => serde_json::to_value(body),
            Self::Refused(body) => serde_json::to_value(body),
            Self::Edited(body) => serde_json::to_value(body),
            Self::ReplayBegan(body) | Self::ReplayEnded(body) => serde_json::to_value(body),
            Self::Claimed(body) => serde_json::to_value(body),
        };
        if let (Some(all), Value::Object(own)) = (value.as_object_mut(), own.unwrap_or_else(|_| json!({}))) {
            all.extend(own);
        }
        value.to_string().into_bytes()
    }

    /// Reads a stored event, with the parts before it; none when its type is not one of these.
    pub(super) fn read(event: &RecordedEvent, parts: &[u8]) -> Result<Option<(Envelope, Self)>, serde_json::Error> {
        fn of<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
            serde_json::from_slice(body)
        }
        if !KNOWN.contains(&event.event_type()) {
            return Ok(None);
        }
        let envelope: Envelope = of(event.data_slice())?;
        let body = if envelope.parts > 0 { parts } else { event.data_slice() };
        let happened = match event.event_type() {
            PARKED => Self::Parked(of(body)?),
            REPLAYED => Self::Replayed(of(body)?),
            REFUSED => Self::Refused(of(body)?),
            EDITED => Self::Edited(of(body)?),
            DROPPED => Self::Dropped(of(body)?),
            REPLAY_BEGAN => Self::ReplayBegan(of(body)?),
            REPLAY_ENDED => Self::ReplayEnded(of(body)?),
            _ => Self::Claimed(of(body)?),
        };
        Ok(Some((envelope, happened)))
    }
}

impl ParkedBody {
    /// The event as it was in the log; none when the body does not hold one.
    pub(super) fn original(&self) -> Option<RecordedEvent> {
        let proposed = ProposedEvent {
            id: self.record_id,
            event_type: self.event_type.clone(),
            content_type: ContentType::from_media_type(&self.content_type),
            data: decoded(&self.data)?,
            metadata: decoded(&self.metadata)?,
        };
        let commit = self.log_position.parse().ok()?;
        let prepare = self.prepare_position.as_ref().map_or(Some(commit), |text| text.parse().ok())?;
        let created = Timestamp::parse_rfc3339(&self.created)?;
        let stream = StreamName::new(&self.stream_id).ok()?;
        let revision = Revision::new(self.stream_revision.parse().ok()?);
        Some(RecordedEvent::record(&proposed, &stream, revision, Position::from_parts(commit, prepare), created))
    }

    /// The record as it would have been delivered.
    pub(super) fn record(&self) -> Option<Record> {
        let record = Record::of(self.original()?);
        let Some(transformed) = &self.transformed else { return Some(record) };
        let reshape = Reshape {
            data: Some(decoded(&transformed.data)?),
            subject: Some(transformed.subject.clone()),
            headers: transformed.headers.clone(),
        };
        Some(record.reshaped(reshape))
    }

    /// Whether the transform failed on it, so that it has never been what a target should get.
    pub(super) fn is_untransformed(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error.class == "script")
    }
}

impl EditedBody {
    /// What it counts for: the payload in the form in which it is stored.
    pub(super) fn bytes(&self) -> u64 {
        self.data.len() as u64
    }

    pub(super) fn payload(&self) -> Option<Bytes> {
        decoded(&self.data)
    }
}

/// Reads base64.
fn decoded(text: &str) -> Option<Bytes> {
    STANDARD.decode(text).ok().map(Bytes::from)
}
