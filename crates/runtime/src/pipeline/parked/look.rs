//! Owns what people see of parked records: keys, records, counts.

use std::sync::Arc;

use forebay_event::{Position, StreamName, Timestamp};
use forebay_store::{Direction, EventStore, PageLimit, ReadError, ReadStream, StreamPoint};
use tokio_util::sync::CancellationToken;

use super::desk::{ParkedCommand, ParkedDesk, ParkedOutcome, ParkedRefusal};
use super::index::{Line, Parked, ParkedCount};
use super::lot::{LotSite, ParkingLot};
use super::stored::{Envelope, PART};
use super::stream::Place;
use crate::pipeline::Surroundings;
use crate::pipeline::key::Keying;
use crate::pipeline::run::sibling;
use crate::settings::ConnectorSettings;

/// A key with parked records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedKey {
    /// What people call it.
    pub key: String,
    /// Its parked records.
    pub records: u64,
    /// What they count for.
    pub bytes: u64,
    /// When its first record was parked.
    pub since: Option<Timestamp>,
    /// The kind of failure of its first record.
    pub error_class: Option<String>,
    /// What went wrong with its first record.
    pub error: Option<String>,
    /// How often its first record was tried.
    pub attempts: u32,
    /// Whether it is being replayed, or will be as soon as the connector runs.
    pub is_replaying: bool,
}

/// A parked record in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedRecord {
    /// Its number in the parked stream.
    pub number: u64,
    /// The event's stream.
    pub stream: String,
    /// The event's revision.
    pub revision: u64,
    /// The event's place in the log.
    pub position: Position,
    /// The event's id.
    pub id: uuid::Uuid,
    /// The event's type.
    pub event_type: String,
    /// The media type of the payload.
    pub content_type: String,
    /// When the event was created.
    pub created: Timestamp,
    /// The payload to deliver.
    pub data: bytes::Bytes,
    /// The event's metadata.
    pub metadata: bytes::Bytes,
    /// The payload before it was edited, and why it was.
    pub original: Option<(bytes::Bytes, String)>,
    /// How often it was tried.
    pub attempts: u32,
    /// The kind of failure, if it failed itself.
    pub error_class: Option<String>,
    /// What went wrong, if it failed itself.
    pub error: Option<String>,
    /// The beginning of what the target answered.
    pub answer: Option<String>,
    /// When it was parked.
    pub parked_at: Option<Timestamp>,
}

/// How much a parked stream holds, as its last event says.
pub async fn last_count(store: &dyn EventStore, stream: &StreamName) -> Result<ParkedCount, ReadError> {
    let (direction, limit) = (Direction::Backward, PageLimit::events(1));
    let read = ReadStream { stream: stream.clone(), direction, from: StreamPoint::End, limit };
    let page = match store.read_stream(read).await {
        Ok(page) => page,
        Err(ReadError::StreamNotFound { .. } | ReadError::StreamDeleted { .. }) => return Ok(ParkedCount::default()),
        Err(error) => return Err(error),
    };
    let envelope = page.events.first().and_then(|event| {
        let is_part = event.event_type() == PART;
        let told = if is_part { event.metadata_slice() } else { event.data_slice() };
        serde_json::from_slice::<Envelope>(told).ok()
    });
    Ok(envelope.and_then(|envelope| envelope.standing).unwrap_or_default())
}

/// The parked records of one connector, as somebody finds them who asks.
pub struct ParkedLook(Arc<ParkingLot>);

impl ParkedLook {
    /// Looks at what a running pipeline knows, or else reads the stream. Keys are made as the settings say.
    pub async fn at(
        desk: Option<&ParkedDesk>,
        connector_id: &str,
        settings: &ConnectorSettings,
        surroundings: &Surroundings,
    ) -> Result<Self, ReadError> {
        if let Some(reach) = desk.and_then(ParkedDesk::reach) {
            return Ok(Self(reach.lot));
        }
        let site = LotSite {
            store: Arc::clone(&surroundings.store),
            clock: Arc::clone(&surroundings.clock),
            connector_id: Arc::from(connector_id),
            epoch: 0,
            numbers_base: 0,
            // Settings that cannot run have no say in what keys are; streams always are keys that people know.
            keying: Keying::new(settings).unwrap_or(Keying::Stream),
            stream: sibling(&surroundings.checkpoints, "parked"),
            limits: settings.parking,
            metrics: None,
            fenced: CancellationToken::new(),
            redact: Arc::new(|text| text),
        };
        Ok(Self(Arc::new(ParkingLot::look(site).await?)))
    }

    /// How much is parked.
    pub async fn count(&self) -> ParkedCount {
        self.0.index().await.count()
    }

    /// All keys, ordered by name.
    pub async fn keys(&self) -> Vec<ParkedKey> {
        let index = self.0.index().await;
        let mut keys: Vec<_> = index.lines().values().map(key_of).collect();
        keys.sort_by(|left, right| left.key.cmp(&right.key));
        keys
    }

    /// One key.
    pub async fn key(&self, key: &str) -> Option<ParkedKey> {
        let index = self.0.index().await;
        index.key_of(key).and_then(|key| index.line(key)).map(key_of)
    }

    /// Records of a key in their order: so many, after so many others.
    pub async fn records(&self, key: &str, skip: usize, take: usize) -> Result<Vec<ParkedRecord>, ReadError> {
        let parked: Vec<Parked> = {
            let index = self.0.index().await;
            let line = index.key_of(key).and_then(|key| index.line(key));
            line.into_iter().flat_map(|line| line.records.values()).skip(skip).take(take).cloned().collect()
        };
        let mut records = Vec::with_capacity(parked.len());
        for parked in &parked {
            records.extend(self.record(parked).await?);
        }
        Ok(records)
    }

    /// Carries out what needs no sink, in the stream of a connector that does not run.
    pub async fn change(&self, key: &str, command: &ParkedCommand) -> Result<ParkedOutcome, ParkedRefusal> {
        let found = self.0.index().await.key_of(key);
        let found = found.ok_or_else(|| ParkedRefusal::NoKey { key: key.to_owned() })?;
        self.0.change(found, key, command).await
    }

    async fn record(&self, parked: &Parked) -> Result<Option<ParkedRecord>, ReadError> {
        let body = self.0.stream().parked(parked.place).await?;
        let Some(record) = body.record() else { return Ok(None) };
        let (data, original) = match parked.edited {
            None => (record.data(), None),
            Some((place, _)) => edited(&self.0, place, &record).await?,
        };
        let event = record.event();
        Ok(Some(ParkedRecord {
            number: parked.number.get(),
            stream: event.stream().to_owned(),
            revision: event.revision().get(),
            position: event.position(),
            id: event.id(),
            event_type: event.event_type().to_owned(),
            content_type: event.content_type().media_type().to_owned(),
            created: event.created(),
            data,
            metadata: event.metadata(),
            original,
            attempts: parked.attempts,
            error_class: parked.error.as_ref().map(|error| error.class.clone()),
            error: parked.error.as_ref().map(|error| error.message.clone()),
            answer: parked.error.as_ref().and_then(|error| error.answer.clone()),
            parked_at: Timestamp::parse_rfc3339(&parked.parked_at),
        }))
    }
}

type Payload = (bytes::Bytes, Option<(bytes::Bytes, String)>);

async fn edited(lot: &ParkingLot, place: Place, record: &forebay_event::Record) -> Result<Payload, ReadError> {
    let edit = lot.stream().edit(place).await?;
    Ok((edit.payload().unwrap_or_default(), Some((record.data(), edit.reason))))
}

fn key_of(line: &Line) -> ParkedKey {
    let first = line.records.values().next();
    let error = first.and_then(|first| first.error.as_ref());
    ParkedKey {
        key: line.text.clone(),
        records: line.records.len() as u64,
        bytes: line.records.values().map(|parked| parked.bytes).sum(),
        since: line.records.values().filter_map(|parked| Timestamp::parse_rfc3339(&parked.parked_at)).min(),
        error_class: error.map(|error| error.class.clone()),
        error: error.map(|error| error.message.clone()),
        attempts: first.map_or(0, |first| first.attempts),
        is_replaying: line.replay.is_some(),
    }
}
