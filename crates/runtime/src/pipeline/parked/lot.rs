//! Owns writing to the parked stream: one writer at a time, each event on the condition that nobody else wrote.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use forebay_connector::{Failure, ParkedNumbers};
use forebay_event::{Clock, Position, Record, Reshape, StreamName};
use forebay_store::{AppendError, EventStore, ReadError};
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use super::index::{Index, Parked, ParkedCount, ReplayOrder};
use super::stored::{
    ClaimedBody, EditedBody, ErrorBody, Happened, NumbersBody, ParkedBody, RefusedBody, ReplayBody, TransformedBody,
};
use super::stream::ParkedStream;
use crate::metrics::ConnectorMetrics;
use crate::pipeline::key::{Key, Keying};
use crate::pipeline::view::EventView;
use crate::settings::ParkingSettings;

/// An error message that is stored is cut to so many bytes.
const MESSAGE_BYTES_MAX: usize = 2_048;
/// At most so many numbers in one event.
const NUMBERS_MAX: usize = 10_000;

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
    /// What is added to a record's number for targets; more than 0 for the shards of a connector.
    pub(in crate::pipeline) numbers_base: u64,
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
    stream: ParkedStream,
    numbers_base: u64,
    keying: Keying,
    limits: ParkingSettings,
    metrics: Option<ConnectorMetrics>,
    redact: Arc<dyn Fn(String) -> String + Send + Sync>,
    state: Mutex<Index>,
}

/// What a run finds parked.
pub(in crate::pipeline) struct Opened {
    pub(in crate::pipeline) lot: ParkingLot,
    /// Keys whose later records must follow.
    pub(in crate::pipeline) keys: HashSet<Key>,
    /// What must not go through the lanes again.
    pub(in crate::pipeline) known: KnownSettled,
    /// What is to be replayed to its end.
    pub(in crate::pipeline) replays: Vec<ReplayOrder>,
}

/// What the parked stream says is settled, whatever the checkpoint says.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct KnownSettled {
    /// Where records came from that are parked, or were replayed or dropped since.
    records: HashSet<Position>,
    /// Up to there all of a key is settled: a record is parked only when everything before it of its key is.
    keys: HashMap<Key, Position>,
}

impl KnownSettled {
    /// What a parked stream that nobody writes to any more says is settled above a place.
    pub(in crate::pipeline) async fn read(
        store: &dyn EventStore,
        stream: &StreamName,
        (keying, mark): (&Keying, Option<Position>),
    ) -> Result<Self, ReadError> {
        let mut index = Index::read(store, stream, keying.clone()).await?;
        index.settled_up_to(mark);
        Ok(Self::of(&mut index))
    }

    fn of(index: &mut Index) -> Self {
        let (done, keys) = index.opened();
        let parked = index.lines().values().flat_map(|line| line.records.keys().copied());
        Self { records: parked.chain(done).collect(), keys }
    }

    /// Whether a record of this key that came from there is settled.
    pub(in crate::pipeline) fn contains(&self, key: Key, position: Position) -> bool {
        self.records.contains(&position) || self.keys.get(&key).is_some_and(|up_to| position <= *up_to)
    }
}

impl ParkingLot {
    fn new(site: LotSite, index: Index) -> Self {
        let LotSite {
            store,
            clock,
            connector_id,
            epoch,
            numbers_base,
            keying,
            stream,
            limits,
            metrics,
            fenced,
            redact,
        } = site;
        let stream = ParkedStream { store, clock, connector_id, epoch, name: stream, fenced };
        Self { stream, numbers_base, keying, limits, metrics, redact, state: Mutex::new(index) }
    }

    /// Looks up what is parked, without a claim: for whoever knows that nobody else writes.
    pub(in crate::pipeline) async fn look(site: LotSite) -> Result<Self, ReadError> {
        let index = Index::read(site.store.as_ref(), &site.stream, site.keying.clone()).await?;
        let epoch = site.epoch.max(index.epoch());
        Ok(Self::new(LotSite { epoch, ..site }, index))
    }

    /// Looks up what is parked and claims the stream, so that an earlier owner is refused from here on; nothing when a
    /// later owner was here.
    ///
    /// `mark` is where the run begins behind. With `forgets` it begins there by order, and what was settled before comes
    /// again, but for what is parked still.
    pub(in crate::pipeline) async fn open(
        site: LotSite,
        mark: Option<Position>,
        forgets: bool,
    ) -> Result<Option<Opened>, ReadError> {
        let mut index = Index::read(site.store.as_ref(), &site.stream, site.keying.clone()).await?;
        if index.epoch() > site.epoch {
            return Ok(None);
        }
        let lot = Self::new(site, Index::new(index.keying().clone()));
        let claimed = Happened::Claimed(ClaimedBody { forgets });
        match lot.stream.append(&mut index, &claimed).await {
            Ok(()) => {}
            Err(ParkError::Fenced) => return Ok(None),
            Err(error) => return Err(ReadError::Unavailable { reason: error.to_string() }),
        }
        index.settled_up_to(mark);
        lot.stream.hide_unneeded(&index).await;
        let keys = index.lines().keys().copied().collect();
        let known = KnownSettled::of(&mut index);
        let replays = index.replays();
        lot.show(index.count());
        *lot.state.lock().await = index;
        Ok(Some(Opened { lot, keys, known, replays }))
    }

    /// Stores a record durably; storing one again changes nothing. Waits while the store cannot write.
    pub(in crate::pipeline) async fn park(&self, parked: ToPark<'_>) -> Result<(), ParkError> {
        let event = parked.record.event();
        let key = self.keying.key(&mut EventView::new(event));
        let mut index = self.state.lock().await;
        if index.holds(event.position(), key) {
            return Ok(());
        }
        let happened = Happened::Parked(Box::new(self.body(&parked)));
        let (limits, count) = (&self.limits, index.count_after(&happened));
        if index.line(key).is_none() && count.keys > u64::from(limits.keys_max) {
            return Err(ParkError::FullOfKeys { limit: limits.keys_max.into() });
        }
        if count.bytes > limits.bytes_max {
            return Err(ParkError::FullOfBytes { bytes: index.count().bytes, limit: limits.bytes_max });
        }
        self.stream.append(&mut index, &happened).await?;
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
        (self.redact)(text)
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
        let body = self.stream.parked(parked.place).await?;
        let record = body.record().ok_or_else(|| self.stream.damaged(parked.number))?;
        let Some((place, _)) = parked.edited else { return Ok((record, body.is_untransformed())) };
        let data = self.stream.edit(place).await?.payload().ok_or_else(|| self.stream.damaged(place.at))?;
        let headers = record.headers().cloned();
        let subject = Some(record.subject().to_owned());
        let event = record.event().clone();
        Ok((Record::of(event).reshaped(Reshape { data: Some(data), subject, headers }), false))
    }

    /// What a target needs to know of parked ones, so that none of them is written twice.
    pub(in crate::pipeline) async fn numbers(&self, parked: &[Parked]) -> ParkedNumbers {
        let numbers = parked.iter().map(|parked| self.number_for_targets(parked)).collect();
        let oldest = match self.numbers_base {
            0 => self.state.lock().await.oldest().unwrap_or(u64::MAX),
            // What lies below its own numbers is another shard's.
            _ => 0,
        };
        ParkedNumbers { numbers, oldest }
    }

    /// The number that targets know a parked record by; no other record of the connector has it.
    pub(super) fn number_for_targets(&self, parked: &Parked) -> u64 {
        parked.known_as.unwrap_or(self.numbers_base + parked.number.get())
    }

    /// Notes that records of a key were delivered after all.
    pub(in crate::pipeline) async fn replayed(&self, key: Key, numbers: Vec<u64>) -> Result<(), ParkError> {
        let mut index = self.state.lock().await;
        let records = numbers.len() as u64;
        let body = NumbersBody { key: text_of(&index, key), numbers, reason: None };
        self.stream.append(&mut index, &Happened::Replayed(body)).await?;
        if let Some(metrics) = &self.metrics {
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
        self.stream.append(&mut index, &Happened::Refused(body)).await?;
        if ends && index.line(key).is_some_and(|line| line.replay.is_some()) {
            let keying = index.keying().layout();
            let ended = ReplayBody { key: text, keying, records_per_s: None, up_to: None };
            self.stream.append(&mut index, &Happened::ReplayEnded(ended)).await?;
        }
        Ok(())
    }

    /// Notes that a key is to be replayed to its end; answers the last number that the rate holds for.
    pub(in crate::pipeline) async fn replay_begins(
        &self,
        key: Key,
        records_per_s: Option<u32>,
    ) -> Result<Option<u64>, ParkError> {
        let mut index = self.state.lock().await;
        let up_to = index.newest_of(key).filter(|_| records_per_s.is_some());
        let body = ReplayBody { key: text_of(&index, key), keying: index.keying().layout(), records_per_s, up_to };
        self.stream.append(&mut index, &Happened::ReplayBegan(body)).await?;
        Ok(up_to)
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
        let happened = Happened::Edited(EditedBody { key: text_of(&index, key), number, data, reason });
        let after = index.count_after(&happened);
        if after.bytes > self.limits.bytes_max && after.bytes > index.count().bytes {
            return Err(ParkError::FullOfBytes { bytes: index.count().bytes, limit: self.limits.bytes_max });
        }
        self.stream.append(&mut index, &happened).await?;
        self.show(index.count());
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
            self.stream.append(&mut index, &Happened::Dropped(body)).await?;
        }
        let records = numbers.len() as u64;
        if let Some(metrics) = &self.metrics {
            metrics.parked_dropped(records);
        }
        self.show(index.count());
        Ok(records)
    }

    /// What is known, for whoever looks.
    pub(super) async fn index(&self) -> MutexGuard<'_, Index> {
        self.state.lock().await
    }

    /// The stream that it is kept in.
    pub(super) fn stream(&self) -> &ParkedStream {
        &self.stream
    }

    fn show(&self, count: ParkedCount) {
        if let Some(metrics) = &self.metrics {
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
            key: self.keying.shown(&mut EventView::new(event)),
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
            known_as: None,
        }
    }

    fn error(&self, failure: &Failure) -> ErrorBody {
        let mut message = (self.redact)(failure.reason.clone());
        if message.len() > MESSAGE_BYTES_MAX {
            let end = (0..=MESSAGE_BYTES_MAX).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
            message.truncate(end);
        }
        let answer = failure.excerpt.clone().map(|answer| (self.redact)(answer));
        ErrorBody { class: failure.class.label().to_owned(), message, answer }
    }
}

fn text_of(index: &Index, key: Key) -> String {
    index.line(key).map(|line| line.text.clone()).unwrap_or_default()
}
