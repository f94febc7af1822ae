//! Owns the parked stream itself: what is appended to it on the condition that nobody else wrote, and what is read back.
//!
//! A body that is too large for one event stands in parts before the event that it belongs to, so that whatever fits into
//! the log can be parked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_event::{Clock, ContentType, ExpectedRevision, ProposedEvent, RecordedEvent, Revision, StreamName};
use forebay_store::{
    AppendError, AppendRequest, Direction, EventStore, PageLimit, ReadError, ReadStream, StreamMetadata, StreamPoint,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::index::Index;
use super::lot::ParkError;
use super::stored::{EditedBody, Envelope, Happened, PART, ParkedBody};

/// A body of more bytes stands in parts, none of which is larger.
const PART_BYTES_MAX: usize = 256 << 10;
/// Events that nothing parked needs are hidden once there are so many.
const UNNEEDED_MAX: u64 = 1_000;
const RETRY_DELAY_FIRST: Duration = Duration::from_millis(100);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(10);

/// Where a body stands: in the event of this revision, or in so many parts right before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: Revision,
    pub(super) parts: u32,
}

impl Place {
    /// The first revision that holds something of it.
    pub(super) fn first(self) -> Revision {
        Revision::new(self.at.get().saturating_sub(self.parts.into()))
    }
}

/// The parked stream of one connector.
pub(super) struct ParkedStream {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) connector_id: Arc<str>,
    pub(super) epoch: u64,
    pub(super) name: StreamName,
    /// Cancelled when somebody else turns out to write.
    pub(super) fenced: CancellationToken,
}

impl ParkedStream {
    /// Appends what happened and takes it in. Waits while the store cannot write.
    pub(super) async fn append(&self, index: &mut Index, happened: &Happened) -> Result<(), ParkError> {
        self.append_in(self.envelope(index), index, happened).await
    }

    /// Appends what happened elsewhere at another time. How keys were made there says nothing about the order here.
    pub(super) async fn append_moved(
        &self,
        index: &mut Index,
        happened: &Happened,
        timestamp: String,
    ) -> Result<(), ParkError> {
        let envelope = Envelope { keying: None, timestamp, ..self.envelope(index) };
        self.append_in(envelope, index, happened).await
    }

    async fn append_in(&self, mut envelope: Envelope, index: &mut Index, happened: &Happened) -> Result<(), ParkError> {
        envelope.standing = Some(index.count_after(happened));
        let mut data = happened.to_data(&envelope);
        if data.len() > PART_BYTES_MAX {
            envelope.parts = self.append_parts(index, &data).await?;
            data = envelope.to_data();
        }
        let last = self.append_one(index, (happened.event_type(), ContentType::Json), (data, Vec::new())).await?;
        index.apply(last, &envelope, happened);
        Ok(())
    }

    async fn append_parts(&self, index: &mut Index, body: &[u8]) -> Result<u32, ParkError> {
        let mut parts = 0;
        // What a reader that begins at the end looks for is in the metadata of a part.
        let mut envelope = self.envelope(index);
        envelope.standing = Some(index.count());
        for part in body.chunks(PART_BYTES_MAX) {
            let last = self.append_one(index, (PART, ContentType::Bytes), (part.to_vec(), envelope.to_data())).await?;
            index.passed(last);
            parts += 1;
        }
        Ok(parts)
    }

    fn envelope(&self, index: &Index) -> Envelope {
        Envelope {
            connector_id: self.connector_id.to_string(),
            epoch: self.epoch,
            timestamp: self.clock.now().to_string(),
            keying: Some(index.keying().layout()),
            standing: None,
            parts: 0,
        }
    }

    /// Appends one event on the condition that nobody else has written; answers where it stands. Its id is made from its
    /// content and place, so that an append whose outcome is unknown can be repeated.
    async fn append_one(
        &self,
        index: &Index,
        (event_type, content_type): (&str, ContentType),
        (data, metadata): (Vec<u8>, Vec<u8>),
    ) -> Result<Revision, ParkError> {
        let expected = index.last().map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
        let mut name = format!("{}/{}/{expected}/", self.connector_id, self.name).into_bytes();
        name.extend_from_slice(&data);
        let event = ProposedEvent {
            id: Uuid::new_v5(&Uuid::NAMESPACE_OID, &name),
            event_type: event_type.to_owned(),
            content_type,
            data: Bytes::from(data),
            metadata: Bytes::from(metadata),
        };
        let mut delay = RETRY_DELAY_FIRST;
        let appended = loop {
            let request = AppendRequest { stream: self.name.clone(), expected, events: vec![event.clone()] };
            match self.store.append(request).await {
                Ok(appended) => break appended,
                Err(AppendError::Unavailable { reason }) => {
                    tracing::warn!(connector = %self.connector_id, reason, "the parked stream is not written yet");
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(RETRY_DELAY_MAX);
                }
                Err(AppendError::WrongExpectedRevision { .. }) => {
                    self.fenced.cancel();
                    return Err(ParkError::Fenced);
                }
                Err(error) => return Err(error.into()),
            }
        };
        Ok(appended.last_revision.unwrap_or_else(|| index.last().map_or(Revision::FIRST, Revision::next)))
    }

    /// The record that was parked there.
    pub(super) async fn parked(&self, place: Place) -> Result<ParkedBody, ReadError> {
        match self.happened(place).await? {
            Happened::Parked(body) => Ok(*body),
            _ => Err(self.damaged(place.at)),
        }
    }

    /// The edit that was made there.
    pub(super) async fn edit(&self, place: Place) -> Result<EditedBody, ReadError> {
        match self.happened(place).await? {
            Happened::Edited(body) => Ok(body),
            _ => Err(self.damaged(place.at)),
        }
    }

    async fn happened(&self, place: Place) -> Result<Happened, ReadError> {
        let mut parts = Vec::new();
        let mut next = place.first();
        while next < place.at {
            let event = self.event(next).await?;
            parts.extend_from_slice(event.data_slice());
            next = next.next();
        }
        match Happened::read(&self.event(place.at).await?, &parts) {
            Ok(Some((_, happened))) => Ok(happened),
            _ => Err(self.damaged(place.at)),
        }
    }

    async fn event(&self, revision: Revision) -> Result<RecordedEvent, ReadError> {
        let read = ReadStream {
            stream: self.name.clone(),
            direction: Direction::Forward,
            from: StreamPoint::At(revision),
            limit: PageLimit::events(1),
        };
        let page = self.store.read_stream(read).await?;
        let event = page.events.into_iter().next().filter(|event| event.revision() == revision);
        event.ok_or_else(|| self.damaged(revision))
    }

    pub(super) fn damaged(&self, revision: Revision) -> ReadError {
        let place = format!("{} revision {revision}", self.name);
        ReadError::Damaged { place, reason: "what was stored there is not what is read".to_owned() }
    }

    /// Hides what no parked record needs any more, so that a start does not read the whole past.
    pub(super) async fn hide_unneeded(&self, index: &Index) {
        let Some(last) = index.last() else { return };
        let first_needed = index.first_needed().unwrap_or(last);
        let unneeded = index.events_read().saturating_sub(last.get().saturating_sub(first_needed.get()));
        // What is done above the checkpoint is not settled by anything but these events.
        if unneeded < UNNEEDED_MAX || !index.done().is_empty() {
            return;
        }
        let metadata = StreamMetadata::default().with_truncate_before(first_needed);
        if let Err(error) = self.store.set_metadata(&self.name, ExpectedRevision::Any, metadata).await {
            tracing::warn!(connector = %self.connector_id, %error, "the past of the parked stream stays visible");
        }
    }
}
