//! Owns the checkpoint: its stored form, reading the last one, and writing under this run's epoch.

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::Epoch;
use forebay_event::{ExpectedRevision, Position, ProposedEvent, RecordedEvent, Revision, StreamName, Timestamp};
use forebay_store::{AppendError, AppendRequest, Direction, EventStore, PageLimit, ReadError, ReadStream, StreamPoint};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::tracker::{Mark, SettledRanges};

/// The type of an event that holds a checkpoint.
pub const CHECKPOINT_TYPE: &str = "$conn-ctrl-checkpoint";

const RETRY_DELAY_FIRST: Duration = Duration::from_millis(100);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// Everything up to and including it is settled; none for the beginning of the log.
    pub(super) mark: Option<Mark>,
    /// The stream of the event at the mark, when it is known.
    pub(super) stream: Option<String>,
    /// The last place that was seen.
    pub(super) read: Option<Position>,
    /// What is settled above the mark.
    pub(super) settled: SettledRanges,
    /// Who wrote it.
    pub(super) epoch: Epoch,
}

/// The stored form. The first five members are the documented ones, the rest is ours.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(default)]
    consumer_id: String,
    log_position: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream_revision: Option<String>,
    #[serde(default)]
    timestamp: String,
    /// The prepare position, when it differs from the commit position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prepare_position: Option<String>,
    #[serde(default)]
    epoch: u64,
    /// Set when not even the first event is settled; the position means nothing then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    at_start: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    read_position: Option<String>,
    /// Pairs: settled is what lies above the first, up to and including the second.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    settled_ranges: Vec<(String, String)>,
}

impl Checkpoint {
    fn to_body(&self, connector_id: &str, at: Timestamp) -> Body {
        let position = self.mark.map_or(Position::START, |mark| mark.position);
        Body {
            consumer_id: connector_id.to_owned(),
            log_position: position.commit().to_string(),
            stream_id: self.stream.clone(),
            stream_revision: self.mark.and_then(|mark| mark.revision).map(|revision| revision.to_string()),
            timestamp: at.to_string(),
            prepare_position: (position.prepare() != position.commit()).then(|| position.prepare().to_string()),
            epoch: self.epoch.0,
            at_start: self.mark.is_none(),
            read_position: self.read.map(position_text),
            settled_ranges: self
                .settled
                .as_slice()
                .iter()
                .map(|(above, upto)| (position_text(*above), position_text(*upto)))
                .collect(),
        }
    }

    /// The data of a checkpoint event.
    pub(super) fn to_data(&self, connector_id: &str, at: Timestamp) -> Vec<u8> {
        // Serialising a struct of texts and numbers cannot fail.
        serde_json::to_vec(&self.to_body(connector_id, at)).unwrap_or_default()
    }

    /// Reads the data of a checkpoint event; none when it is not one.
    pub(super) fn from_data(data: &[u8]) -> Option<Self> {
        let body: Body = serde_json::from_slice(data).ok()?;
        let commit = body.log_position.parse().ok()?;
        let prepare = body.prepare_position.map_or(Some(commit), |text| text.parse().ok())?;
        let revision = body.stream_revision.and_then(|text| text.parse().ok()).map(Revision::new);
        let ranges = body
            .settled_ranges
            .iter()
            .map(|(above, upto)| Some((parse_position(above)?, parse_position(upto)?)))
            .collect::<Option<Vec<_>>>()
            .unwrap_or_default();
        Some(Self {
            mark: (!body.at_start).then_some(Mark { position: Position::from_parts(commit, prepare), revision }),
            stream: body.stream_id.filter(|stream| !stream.is_empty()),
            read: body.read_position.as_deref().and_then(parse_position),
            settled: SettledRanges::new(ranges),
            epoch: Epoch(body.epoch),
        })
    }
}

/// `commit`, or `commit/prepare` when they differ.
fn position_text(position: Position) -> String {
    if position.commit() == position.prepare() {
        position.commit().to_string()
    } else {
        format!("{}/{}", position.commit(), position.prepare())
    }
}

fn parse_position(text: &str) -> Option<Position> {
    match text.split_once('/') {
        None => text.parse().ok().map(Position::new),
        Some((commit, prepare)) => Some(Position::from_parts(commit.parse().ok()?, prepare.parse().ok()?)),
    }
}

/// The last event of a stream, and what an append to the stream must expect.
pub(super) async fn last_event(
    store: &dyn EventStore,
    stream: &StreamName,
) -> Result<(Option<RecordedEvent>, ExpectedRevision), ReadError> {
    let read = ReadStream {
        stream: stream.clone(),
        direction: Direction::Backward,
        from: StreamPoint::End,
        limit: PageLimit::events(1),
    };
    let page = match store.read_stream(read).await {
        Ok(page) => page,
        Err(ReadError::StreamNotFound { .. }) => return Ok((None, ExpectedRevision::NoStream)),
        Err(error) => return Err(error),
    };
    Ok((page.events.into_iter().next(), ExpectedRevision::Exact(page.last_revision)))
}

/// Reads a checkpoint; none when it is something else.
pub(super) fn decode(event: &RecordedEvent, stream: &StreamName) -> Option<Checkpoint> {
    let checkpoint = Checkpoint::from_data(event.data_slice());
    if checkpoint.is_none() {
        tracing::warn!(%stream, revision = %event.revision(), "the last event is not a checkpoint and is passed over");
    }
    checkpoint
}

/// Writes checkpoints of one run, one after the other.
#[derive(Clone)]
pub(super) struct CheckpointWriter {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) stream: StreamName,
    pub(super) connector_id: Arc<str>,
    /// What the next append expects.
    pub(super) expected: ExpectedRevision,
}

/// Why a checkpoint was not stored.
#[derive(Debug)]
pub(super) enum NotStored {
    /// Another owner has written: this one must stop at once.
    Fenced,
    /// The store refuses it for good.
    Refused(AppendError),
}

impl CheckpointWriter {
    /// Stores a checkpoint; waits while the store cannot write. Answers what the next append must expect.
    ///
    /// The event's id is made from its content and place, so that an append whose outcome is unknown can be repeated.
    pub(super) async fn write(self, checkpoint: Checkpoint, at: Timestamp) -> Result<ExpectedRevision, NotStored> {
        let data = checkpoint.to_data(&self.connector_id, at);
        self.append(CHECKPOINT_TYPE, data).await
    }

    /// Stores an event among the checkpoints, in the same way.
    pub(super) async fn append(self, event_type: &str, data: Vec<u8>) -> Result<ExpectedRevision, NotStored> {
        let mut name = format!("{}/{}/{}/", self.connector_id, self.stream, self.expected).into_bytes();
        name.extend_from_slice(&data);
        let event = ProposedEvent::json(Uuid::new_v5(&Uuid::NAMESPACE_OID, &name), event_type, data);
        let mut delay = RETRY_DELAY_FIRST;
        loop {
            let events = vec![event.clone()];
            let request = AppendRequest { stream: self.stream.clone(), expected: self.expected, events };
            match self.store.append(request).await {
                Ok(appended) => {
                    return Ok(appended.last_revision.map_or(ExpectedRevision::Any, ExpectedRevision::Exact));
                }
                Err(AppendError::WrongExpectedRevision { .. }) => return Err(NotStored::Fenced),
                Err(AppendError::Unavailable { reason }) => {
                    tracing::warn!(connector = %self.connector_id, reason, "a checkpoint is not stored yet");
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(RETRY_DELAY_MAX);
                }
                Err(error) => return Err(NotStored::Refused(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_documented_members_are_there_and_all_comes_back() {
        let checkpoint = Checkpoint {
            mark: Some(Mark { position: Position::from_parts(22_375, 22_300), revision: Some(Revision::new(6)) }),
            stream: Some("orders-1".to_owned()),
            read: Some(Position::new(30_000)),
            settled: SettledRanges::new([(Position::new(22_400), Position::from_parts(22_500, 22_499))]),
            epoch: Epoch(4),
        };
        let at = Timestamp::from_ticks(17_637_120_000_000_001);
        let body = serde_json::to_value(checkpoint.to_body("my-http", at)).unwrap();
        assert_eq!(body["consumerId"], "my-http");
        assert_eq!(body["logPosition"], "22375");
        assert_eq!((&body["streamId"], &body["streamRevision"]), (&json!("orders-1"), &json!("6")));
        assert_eq!(body["timestamp"], "2025-11-21T08:00:00.0000001Z");
        assert_eq!(body["settledRanges"], json!([["22400", "22500/22499"]]));
        assert_eq!(Checkpoint::from_data(body.to_string().as_bytes()), Some(checkpoint));
    }

    #[test]
    fn a_checkpoint_of_the_original_is_read() {
        let body =
            json!({"consumerId": "c", "logPosition": "7", "streamId": "s", "streamRevision": "2", "timestamp": ""});
        let checkpoint = Checkpoint::from_data(body.to_string().as_bytes()).unwrap();
        assert_eq!(checkpoint.mark.map(|mark| mark.position), Some(Position::new(7)));
        assert_eq!(checkpoint.settled, SettledRanges::default());
        assert_eq!(Checkpoint::from_data(b"{}"), None);
    }
}
