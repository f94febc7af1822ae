//! Owns writing to the parked stream: one writer at a time, each event on the condition that nobody else wrote.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use forebay_connector::Failure;
use forebay_event::{
    Clock, ExpectedRevision, Position, ProposedEvent, Record, RecordedEvent, Reshape, Revision, StreamName,
};
use forebay_store::{
    AppendError, AppendRequest, Direction, EventStore, PageLimit, ReadError, ReadStream, StreamMetadata, StreamPoint,
};
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::index::{Index, Parked, ParkedCount, ReplayOrder};
use super::stored::{
    ClaimedBody, EditedBody, Envelope, ErrorBody, Happened, NumbersBody, ParkedBody, RefusedBody, ReplayBody,
    TransformedBody,
};
use crate::metrics::ConnectorMetrics;
use crate::pipeline::key::{Key, Keying};
use crate::pipeline::view::EventView;
use crate::settings::ParkingSettings;

/// An error message that is stored is cut to so many bytes.
const MESSAGE_BYTES_MAX: usize = 2_048;
/// Events that nothing parked needs are hidden once there are so many.
const UNNEEDED_MAX: u64 = 1_000;
/// At most so many numbers in one event.
const NUMBERS_MAX: usize = 10_000;
const RETRY_DELAY_FIRST: Duration = Duration::from_millis(100);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(10);

/// A record to be set aside, and why.
#[derive(Clone, Copy, Debug)]
pub(in crate::pipeline) struct ToPark<'a> {
    /// The record as it would have been delivered.
    pub(in crate::pipeline) record: &'a Record,
    /// Its own failure; none when it only follows an earlier record of its key.
    pub(in crate::pipeline) failure: Option<&'a Failure>,
    /// How often it was tried.
    pub(in crate::pipeline) attempts: u32,
}

/// Why something about parked records was not stored.
#[derive(Debug, thiserror::Error)]
pub(in crate::pipeline) enum ParkError {
    /// The bound on keys is reached.
    #[error("{limit} keys are parked already, the most that parking:keysMax allows: replay or drop some, or raise it")]
    FullOfKeys {
        /// The bound.
        limit: u64,
    },
    /// The bound on bytes is reached.
    #[error("{bytes} bytes are parked already, parking:bytesMax allows {limit}: replay or drop some, or raise it")]
    FullOfBytes {
        /// What is parked.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// Somebody else wrote: this owner must stop at once.
    #[error("another owner writes to the parked stream")]
    Fenced,
    /// The store refused it.
    #[error("the parked stream cannot be written: {0}")]
    Append(#[from] AppendError),
}

/// What is needed to open a parking lot.
pub(in crate::pipeline) struct LotSite {
    pub(in crate::pipeline) store: Arc<dyn EventStore>,
    pub(in crate::pipeline) clock: Arc<dyn Clock>,
    pub(in crate::pipeline) connector_id: Arc<str>,
    pub(in crate::pipeline) epoch: u64,
    pub(in crate::pipeline) keying: Keying,
    pub(in crate::pipeline) stream: StreamName,
    pub(in crate::pipeline) limits: ParkingSettings,
    pub(in crate::pipeline) metrics: Option<ConnectorMetrics>,
    /// Cancelled when somebody else turns out to write.
    pub(in crate::pipeline) fenced: CancellationToken,
    /// Takes what is secret out of what a target said.
    pub(in crate::pipeline) redact: Arc<dyn Fn(String) -> String + Send + Sync>,
}

/// The parked stream and what it says, held by its only writer.
pub(in crate::pipeline) struct ParkingLot {
    site: LotSite,
    state: Mutex<Index>,
}

/// What a run finds parked.
pub(in crate::pipeline) struct Opened {
    pub(in crate::pipeline) lot: ParkingLot,
    /// Keys whose later records must follow.
    pub(in crate::pipeline) keys: HashSet<Key>,
    /// Records that must not go through the lanes again: parked, or replayed or dropped since.
    pub(in crate::pipeline) known: HashSet<Position>,
    /// What is to be replayed to its end.
    pub(in crate::pipeline) replays: Vec<ReplayOrder>,
}

impl ParkingLot {
    /// Looks up what is parked, without a claim: for whoever knows that nobody else writes.
    pub(in crate::pipeline) async fn look(site: LotSite) -> Result<Self, ReadError> {
        let index = Index::read(site.store.as_ref(), &site.stream, site.keying.clone()).await?;
        let epoch = site.epoch.max(index.epoch());
        Ok(Self { site: LotSite { epoch, ..site }, state: Mutex::new(index) })
    }

    /// Looks up what is parked and claims the stream, so that an earlier owner is refused from here on; nothing when a
    /// later owner was here.
    ///
    /// `mark` is where the run begins behind. With `forgets` it begins there by order, and what was replayed or dropped
    /// before comes again like everything else.
    pub(in crate::pipeline) async fn open(
        site: LotSite,
        mark: Option<Position>,
        forgets: bool,
    ) -> Result<Option<Opened>, ReadError> {
        let index = Index::read(site.store.as_ref(), &site.stream, site.keying.clone()).await?;
        if index.epoch() > site.epoch {
            return Ok(None);
        }
        let lot = Self { site, state: Mutex::new(index) };
        {
            let mut index = lot.state.lock().await;
            let forgets = forgets && !index.done().is_empty();
            match lot.store(&mut index, Happened::Claimed(ClaimedBody { forgets })).await {
                Ok(_) => {}
                Err(ParkError::Fenced) => return Ok(None),
                Err(error) => return Err(ReadError::Unavailable { reason: error.to_string() }),
            }
            index.settled_up_to(mark);
            lot.hide_unneeded(&index).await;
        }
        let index = lot.state.lock().await;
        let keys = index.lines().keys().copied().collect();
        let parked = index.lines().values().flat_map(|line| line.records.keys().copied());
        let known = parked.chain(index.done().iter().copied()).collect();
        let replays = index.lines().values().filter_map(|line| line.replay).collect();
        lot.show(index.count());
        drop(index);
        Ok(Some(Opened { lot, keys, known, replays }))
    }

    /// Stores a record durably; storing one again changes nothing. Waits while the store cannot write.
    pub(in crate::pipeline) async fn park(&self, parked: ToPark<'_>) -> Result<(), ParkError> {
        let event = parked.record.event();
        let key = self.site.keying.key(&mut EventView::new(event));
        let mut index = self.state.lock().await;
        if index.holds(event.position(), key) {
            return Ok(());
        }
        let happened = Happened::Parked(Box::new(self.body(&parked)));
        let (limits, count) = (&self.site.limits, index.count_after(&happened));
        if index.line(key).is_none() && count.keys > u64::from(limits.keys_max) {
            return Err(ParkError::FullOfKeys { limit: limits.keys_max.into() });
        }
        if count.bytes > limits.bytes_max {
            return Err(ParkError::FullOfBytes { bytes: index.count().bytes, limit: limits.bytes_max });
        }
        self.store(&mut index, happened).await?;
        self.show(index.count());
        Ok(())
    }

    /// Whether records of a key are parked.
    pub(in crate::pipeline) async fn holds(&self, key: Key) -> bool {
        self.state.lock().await.line(key).is_some()
    }

    /// How many records of a key are parked.
    pub(in crate::pipeline) async fn records_of(&self, key: Key) -> u64 {
        self.state.lock().await.line(key).map_or(0, |line| line.records.len() as u64)
    }

    /// A text that a target said, without what is secret.
    pub(in crate::pipeline) fn without_secrets(&self, text: String) -> String {
        (self.site.redact)(text)
    }

    /// The first records of a key in their order: at most so many, ending at the one that reaches so many bytes.
    pub(in crate::pipeline) async fn first(&self, key: Key, records: usize, bytes: usize) -> Vec<Parked> {
        let index = self.state.lock().await;
        let mut left = bytes as u64;
        let taken = index.line(key).into_iter().flat_map(|line| line.records.values()).take(records);
        let taken = taken.take_while(|parked| {
            let is_room = left > 0;
            left = left.saturating_sub(parked.bytes);
            is_room
        });
        taken.cloned().collect()
    }

    /// The records of parked ones, as they are to be delivered; with each whether its transform has yet to be made.
    pub(in crate::pipeline) async fn records(&self, parked: &[Parked]) -> Result<Vec<(Record, bool)>, ReadError> {
        let mut records = Vec::with_capacity(parked.len());
        for parked in parked {
            records.push(self.record(parked).await?);
        }
        Ok(records)
    }

    async fn record(&self, parked: &Parked) -> Result<(Record, bool), ReadError> {
        let body = self.parked_body(parked.number).await?;
        let damaged = |number: Revision| self.damaged(number);
        let record = body.record().ok_or_else(|| damaged(parked.number))?;
        let Some(edited) = parked.edited else { return Ok((record, body.is_untransformed())) };
        let data = self.edit(edited).await?.payload().ok_or_else(|| damaged(edited))?;
        let headers = record.headers().cloned();
        let subject = Some(record.subject().to_owned());
        let event = record.event().clone();
        Ok((Record::of(event).reshaped(Reshape { data: Some(data), subject, headers }), false))
    }

    pub(super) async fn parked_body(&self, number: Revision) -> Result<ParkedBody, ReadError> {
        match Happened::read(&self.event(number).await?) {
            Ok(Some((_, Happened::Parked(body)))) => Ok(*body),
            _ => Err(self.damaged(number)),
        }
    }

    pub(super) async fn edit(&self, number: Revision) -> Result<EditedBody, ReadError> {
        match Happened::read(&self.event(number).await?) {
            Ok(Some((_, Happened::Edited(body)))) => Ok(body),
            _ => Err(self.damaged(number)),
        }
    }

    async fn event(&self, revision: Revision) -> Result<RecordedEvent, ReadError> {
        let read = ReadStream {
            stream: self.site.stream.clone(),
            direction: Direction::Forward,
            from: StreamPoint::At(revision),
            limit: PageLimit::events(1),
        };
        let page = self.site.store.read_stream(read).await?;
        let event = page.events.into_iter().next().filter(|event| event.revision() == revision);
        event.ok_or_else(|| self.damaged(revision))
    }

    fn damaged(&self, revision: Revision) -> ReadError {
        let place = format!("{} revision {revision}", self.site.stream);
        ReadError::Damaged { place, reason: "what was stored there is not what is read".to_owned() }
    }

    /// Notes that records of a key were delivered after all.
    pub(in crate::pipeline) async fn replayed(&self, key: Key, numbers: Vec<u64>) -> Result<(), ParkError> {
        let mut index = self.state.lock().await;
        let records = numbers.len() as u64;
        let body = NumbersBody { key: text_of(&index, key), numbers, reason: None };
        self.store(&mut index, Happened::Replayed(body)).await?;
        if let Some(metrics) = &self.site.metrics {
            metrics.replayed(records);
        }
        self.show(index.count());
        Ok(())
    }

    /// Notes that a record was tried again and failed again; with `ends`, that its key is not to be replayed further.
    pub(in crate::pipeline) async fn refused(
        &self,
        key: Key,
        parked: &Parked,
        failure: &Failure,
        ends: bool,
    ) -> Result<(), ParkError> {
        let mut index = self.state.lock().await;
        let text = text_of(&index, key);
        let (number, attempts) = (parked.number.get(), parked.attempts.saturating_add(1));
        let body = RefusedBody { key: text.clone(), number, attempts, error: self.error(failure) };
        self.store(&mut index, Happened::Refused(body)).await?;
        if ends && index.line(key).is_some_and(|line| line.replay.is_some()) {
            let keying = index.keying().layout();
            let ended = ReplayBody { key: text, keying, records_per_s: None };
            self.store(&mut index, Happened::ReplayEnded(ended)).await?;
        }
        Ok(())
    }

    /// Notes that a key is to be replayed to its end.
    pub(in crate::pipeline) async fn replay_begins(
        &self,
        key: Key,
        records_per_s: Option<u32>,
    ) -> Result<(), ParkError> {
        let mut index = self.state.lock().await;
        let body = ReplayBody { key: text_of(&index, key), keying: index.keying().layout(), records_per_s };
        self.store(&mut index, Happened::ReplayBegan(body)).await.map(|_| ())
    }

    /// Gives a record another payload; false when there is no such record of this key.
    pub(in crate::pipeline) async fn edited(
        &self,
        key: Key,
        number: u64,
        payload: (&[u8], &str),
    ) -> Result<bool, ParkError> {
        let mut index = self.state.lock().await;
        if !index.line(key).is_some_and(|line| line.records.values().any(|parked| parked.number.get() == number)) {
            return Ok(false);
        }
        let (data, reason) = (STANDARD.encode(payload.0), payload.1.to_owned());
        let body = EditedBody { key: text_of(&index, key), number, data, reason };
        self.store(&mut index, Happened::Edited(body)).await?;
        Ok(true)
    }

    /// Gives up one record of a key, or all that are parked now; answers how many.
    pub(in crate::pipeline) async fn dropped(
        &self,
        key: Key,
        number: Option<u64>,
        reason: &str,
    ) -> Result<u64, ParkError> {
        let mut index = self.state.lock().await;
        let text = text_of(&index, key);
        let parked = index.line(key).into_iter().flat_map(|line| line.records.values());
        let numbers: Vec<u64> = parked.map(|parked| parked.number.get()).collect();
        let numbers: Vec<u64> = numbers.into_iter().filter(|known| number.is_none_or(|only| only == *known)).collect();
        for part in numbers.chunks(NUMBERS_MAX) {
            let (key, reason) = (text.clone(), Some(reason.to_owned()));
            let body = NumbersBody { key, numbers: part.to_vec(), reason };
            self.store(&mut index, Happened::Dropped(body)).await?;
        }
        let records = numbers.len() as u64;
        if let Some(metrics) = &self.site.metrics {
            metrics.parked_dropped(records);
        }
        self.show(index.count());
        Ok(records)
    }

    /// What is known, for whoever looks.
    pub(super) async fn index(&self) -> MutexGuard<'_, Index> {
        self.state.lock().await
    }

    /// Appends what happened, on the condition that nobody else has written, and takes it in. Waits while the store cannot
    /// write. The event's id is made from its content and place, so that an append whose outcome is unknown can be
    /// repeated.
    async fn store(&self, index: &mut Index, happened: Happened) -> Result<(), ParkError> {
        let site = &self.site;
        let envelope = Envelope {
            connector_id: site.connector_id.to_string(),
            epoch: site.epoch,
            timestamp: site.clock.now().to_string(),
            standing: Some(index.count_after(&happened)),
        };
        let data = happened.to_data(&envelope);
        let expected = index.last().map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
        let mut name = format!("{}/{}/{expected}/", site.connector_id, site.stream).into_bytes();
        name.extend_from_slice(&data);
        let event = ProposedEvent::json(Uuid::new_v5(&Uuid::NAMESPACE_OID, &name), happened.event_type(), data);
        let mut delay = RETRY_DELAY_FIRST;
        let appended = loop {
            let request = AppendRequest { stream: site.stream.clone(), expected, events: vec![event.clone()] };
            match site.store.append(request).await {
                Ok(appended) => break appended,
                Err(AppendError::Unavailable { reason }) => {
                    tracing::warn!(connector = %site.connector_id, reason, "the parked stream is not written yet");
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(RETRY_DELAY_MAX);
                }
                Err(AppendError::WrongExpectedRevision { .. }) => {
                    site.fenced.cancel();
                    return Err(ParkError::Fenced);
                }
                Err(error) => return Err(error.into()),
            }
        };
        let after = || index.last().map_or(Revision::FIRST, Revision::next);
        let revision = appended.last_revision.unwrap_or_else(after);
        index.apply(revision, &envelope, &happened);
        Ok(())
    }

    /// Hides what no parked record needs any more, so that a start does not read the whole past.
    async fn hide_unneeded(&self, index: &Index) {
        let Some(last) = index.last() else { return };
        let first_needed = index.first_needed().unwrap_or(last);
        let unneeded = index.events_read().saturating_sub(last.get().saturating_sub(first_needed.get()));
        // What is done above the checkpoint is not settled by anything but these events.
        if unneeded < UNNEEDED_MAX || !index.done().is_empty() {
            return;
        }
        let metadata = StreamMetadata::default().with_truncate_before(first_needed);
        let (stream, any) = (&self.site.stream, ExpectedRevision::Any);
        if let Err(error) = self.site.store.set_metadata(stream, any, metadata).await {
            tracing::warn!(connector = %self.site.connector_id, %error, "the past of the parked stream stays visible");
        }
    }

    fn show(&self, count: ParkedCount) {
        if let Some(metrics) = &self.site.metrics {
            metrics.parked_now(count.keys, count.records, count.bytes);
        }
    }

    fn body(&self, parked: &ToPark<'_>) -> ParkedBody {
        let event = parked.record.event();
        let position = event.position();
        let transformed = parked.record.is_transformed().then(|| TransformedBody {
            data: STANDARD.encode(parked.record.data_slice()),
            subject: parked.record.subject().to_owned(),
            headers: parked.record.headers().cloned(),
        });
        ParkedBody {
            key: self.site.keying.shown(&mut EventView::new(event)),
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
            error: parked.failure.map(|failure| self.error(failure)),
            attempts: parked.attempts,
        }
    }

    fn error(&self, failure: &Failure) -> ErrorBody {
        let mut message = (self.site.redact)(failure.reason.clone());
        if message.len() > MESSAGE_BYTES_MAX {
            let end = (0..=MESSAGE_BYTES_MAX).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
            message.truncate(end);
        }
        let answer = failure.excerpt.clone().map(|answer| (self.site.redact)(answer));
        ErrorBody { class: failure.class.label().to_owned(), message, answer }
    }
}

fn text_of(index: &Index, key: Key) -> String {
    index.line(key).map(|line| line.text.clone()).unwrap_or_default()
}
