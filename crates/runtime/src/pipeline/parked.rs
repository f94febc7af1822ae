//! Owns the records that were set aside: stored with their reason, in order, and the keys that follow them.
//!
//! Parked records are events of the connector's own stream `…/parked`. Once a key has a record there, every later record
//! of the key follows it; replaying them is not this module's part.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use forebay_connector::Failure;
use forebay_event::{
    Clock, ContentType, ExpectedRevision, Position, ProposedEvent, Record, RecordedEvent, Revision, StreamName,
    Timestamp,
};
use forebay_store::{AppendError, AppendRequest, Direction, EventStore, PageLimit, ReadError, ReadStream, StreamPoint};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::key::{Key, Keying};
use super::view::EventView;

/// The type of an event that holds a parked record.
pub(super) const PARKED_TYPE: &str = "$conn-record-parked";
/// A connector with so many parked records stops instead of parking more.
const PARKED_MAX: usize = 10_000;
/// Events read at once when the parked records are looked up at start.
const PAGE_EVENTS: usize = 500;
const RETRY_DELAY_FIRST: Duration = Duration::from_millis(100);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(10);

/// A record to be set aside, and why.
#[derive(Clone, Copy, Debug)]
pub(super) struct ToPark<'a> {
    /// The record as it would have been delivered.
    pub(super) record: &'a Record,
    /// Its own failure; none when it only follows an earlier record of its key.
    pub(super) failure: Option<&'a Failure>,
    /// How often it was tried.
    pub(super) attempts: u32,
}

/// Where records are set aside.
#[async_trait]
pub(super) trait ParkingLot: Send + Sync {
    /// Stores a record durably; storing one again changes nothing. Waits while the store cannot write.
    async fn park(&self, parked: ToPark<'_>) -> Result<(), ParkError>;
}

/// Why a record could not be set aside.
#[derive(Debug, thiserror::Error)]
pub(super) enum ParkError {
    /// The bound is reached.
    #[error("{limit} records are parked already, the most a connector may have")]
    Full {
        /// The bound.
        limit: usize,
    },
    /// The store refused it.
    #[error("the record cannot be parked: {0}")]
    Append(#[from] AppendError),
}

/// The stored form of a parked record: the event it came from, what a transform made of it, and why it is here.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ParkedBody {
    connector_id: String,
    epoch: u64,
    key: String,
    stream_id: String,
    stream_revision: String,
    log_position: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prepare_position: Option<String>,
    record_id: Uuid,
    event_type: String,
    content_type: String,
    created: String,
    /// Base64 of the event's data and metadata, as they are in the log.
    data: String,
    metadata: String,
    /// What a transform made of it; absent when it is as in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transformed: Option<TransformedBody>,
    /// `rejected`, or `follows` when an earlier record of its key is parked.
    reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
    attempts: u32,
    timestamp: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TransformedBody {
    data: String,
    subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    headers: Option<Vec<(String, String)>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody {
    class: String,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
}

/// Parks in the connector's own stream.
pub(super) struct StreamParkingLot {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) connector_id: Arc<str>,
    pub(super) epoch: u64,
    pub(super) keying: Keying,
    pub(super) stream: StreamName,
    /// Positions of the records that are stored.
    stored: Mutex<HashSet<Position>>,
}

/// What is needed to open a parking lot.
pub(super) struct LotSite {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) connector_id: Arc<str>,
    pub(super) epoch: u64,
    pub(super) keying: Keying,
    pub(super) stream: StreamName,
}

impl StreamParkingLot {
    /// Looks up what is parked: the lot, and the keys whose later records must follow.
    pub(super) async fn open(site: LotSite) -> Result<(Self, HashSet<Key>), ReadError> {
        let (mut keys, mut stored) = (HashSet::new(), HashSet::new());
        let mut from = StreamPoint::Start;
        loop {
            let read = ReadStream {
                stream: site.stream.clone(),
                direction: Direction::Forward,
                from,
                limit: PageLimit::events(PAGE_EVENTS),
            };
            let page = match site.store.read_stream(read).await {
                Ok(page) => page,
                Err(ReadError::StreamNotFound { .. } | ReadError::StreamDeleted { .. }) => break,
                Err(error) => return Err(error),
            };
            for body in page.events.iter().filter_map(read_body) {
                if let Some(event) = original(&body) {
                    keys.insert(site.keying.key(&mut EventView::new(&event)));
                    stored.insert(event.position());
                }
            }
            match page.next {
                Some(next) => from = StreamPoint::At(next),
                None => break,
            }
        }
        let LotSite { store, clock, connector_id, epoch, keying, stream } = site;
        Ok((Self { store, clock, connector_id, epoch, keying, stream, stored: Mutex::new(stored) }, keys))
    }

    fn proposed(&self, parked: &ToPark<'_>) -> ProposedEvent {
        let event = parked.record.event();
        let name = format!("{}/{}/{}/parked", self.connector_id, event.stream(), event.revision());
        let body = self.body(parked);
        // Serialising a struct of texts and numbers cannot fail.
        let data = serde_json::to_vec(&body).unwrap_or_default();
        ProposedEvent::json(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()), PARKED_TYPE, data)
    }

    fn body(&self, parked: &ToPark<'_>) -> ParkedBody {
        let event = parked.record.event();
        let position = event.position();
        let transformed = parked.record.is_transformed().then(|| TransformedBody {
            data: STANDARD.encode(parked.record.data_slice()),
            subject: parked.record.subject().to_owned(),
            headers: parked.record.headers().cloned(),
        });
        let error = parked.failure.map(|failure| ErrorBody {
            class: failure.class.label().to_owned(),
            message: failure.reason.clone(),
            answer: failure.excerpt.clone(),
        });
        ParkedBody {
            connector_id: self.connector_id.to_string(),
            epoch: self.epoch,
            key: self.keying.text(&mut EventView::new(event)),
            stream_id: event.stream().to_owned(),
            stream_revision: event.revision().to_string(),
            log_position: position.commit().to_string(),
            prepare_position: (position.prepare() != position.commit()).then(|| position.prepare().to_string()),
            record_id: event.id(),
            event_type: event.event_type().to_owned(),
            content_type: event.content_type().media_type().to_owned(),
            created: event.created().to_string(),
            data: STANDARD.encode(event.data_slice()),
            metadata: STANDARD.encode(event.metadata_slice()),
            transformed,
            reason: if parked.failure.is_some() { "rejected" } else { "follows" }.to_owned(),
            error,
            attempts: parked.attempts,
            timestamp: self.clock.now().to_string(),
        }
    }
}

#[async_trait]
impl ParkingLot for StreamParkingLot {
    async fn park(&self, parked: ToPark<'_>) -> Result<(), ParkError> {
        let position = parked.record.event().position();
        {
            let stored = self.stored.lock().await;
            if stored.contains(&position) {
                return Ok(());
            }
            if stored.len() >= PARKED_MAX {
                return Err(ParkError::Full { limit: PARKED_MAX });
            }
        }
        let event = self.proposed(&parked);
        let mut delay = RETRY_DELAY_FIRST;
        loop {
            let events = vec![event.clone()];
            let request = AppendRequest { stream: self.stream.clone(), expected: ExpectedRevision::Any, events };
            match self.store.append(request).await {
                Ok(_) => break,
                Err(AppendError::Unavailable { .. }) => {
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(RETRY_DELAY_MAX);
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.stored.lock().await.insert(position);
        Ok(())
    }
}

fn read_body(event: &RecordedEvent) -> Option<ParkedBody> {
    (event.event_type() == PARKED_TYPE).then(|| serde_json::from_slice(event.data_slice()).ok()).flatten()
}

/// The event as it was in the log.
fn original(body: &ParkedBody) -> Option<RecordedEvent> {
    let decode = |text: &str| STANDARD.decode(text).ok().map(Bytes::from);
    let proposed = ProposedEvent {
        id: body.record_id,
        event_type: body.event_type.clone(),
        content_type: ContentType::from_media_type(&body.content_type),
        data: decode(&body.data)?,
        metadata: decode(&body.metadata)?,
    };
    let commit = body.log_position.parse().ok()?;
    let prepare = body.prepare_position.as_ref().map_or(Some(commit), |text| text.parse().ok())?;
    let created = Timestamp::parse_rfc3339(&body.created)?;
    let stream = StreamName::new(&body.stream_id).ok()?;
    let revision = Revision::new(body.stream_revision.parse().ok()?);
    Some(RecordedEvent::record(&proposed, &stream, revision, Position::from_parts(commit, prepare), created))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing::{MemoryStore, event};
    use forebay_connector::FailureClass;
    use forebay_event::{Reshape, SystemClock};

    fn site(store: &Arc<MemoryStore>) -> LotSite {
        LotSite {
            store: Arc::clone(store) as Arc<dyn EventStore>,
            clock: Arc::new(SystemClock::new()),
            connector_id: Arc::from("c"),
            epoch: 3,
            keying: Keying::Stream,
            stream: StreamName::new("$connectors/c/parked").unwrap(),
        }
    }

    #[tokio::test]
    async fn what_is_parked_is_found_again_with_its_key() {
        let store = MemoryStore::new();
        let (lot, keys) = StreamParkingLot::open(site(&store)).await.unwrap();
        assert!(keys.is_empty());
        let reshape = Reshape { data: Some(Bytes::from_static(b"[1]")), ..Reshape::default() };
        let record = Record::of(event("order-1", "Placed", "{}", r#"{"k":"v"}"#)).reshaped(reshape);
        let failure = Failure::reject(FailureClass::Status(422), "no").with_excerpt(b"because");
        let parked = ToPark { record: &record, failure: Some(&failure), attempts: 2 };
        lot.park(parked).await.unwrap();
        lot.park(parked).await.unwrap();
        let (again, keys) = StreamParkingLot::open(site(&store)).await.unwrap();
        assert_eq!(keys, HashSet::from([Key::of("order-1")]));
        again.park(parked).await.unwrap();
        let events = store.events("$connectors/c/parked");
        assert_eq!(events.len(), 1);
        let body: serde_json::Value = serde_json::from_slice(events[0].data_slice()).unwrap();
        assert_eq!(body["error"]["answer"], "because");
        assert_eq!(body["transformed"]["data"], STANDARD.encode("[1]"));
        assert_eq!((&body["reason"], &body["attempts"]), (&"rejected".into(), &2.into()));
    }
}
