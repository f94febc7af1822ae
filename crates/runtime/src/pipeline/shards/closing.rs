//! Owns the end of a shard: what it left, for good, and how it is closed so that nothing of it is written any more.

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::settings::SettingsErrors;
use forebay_connector::{Epoch, Failure, Lane, Next, Sink};
use forebay_event::{Clock, Position, StreamName};
use forebay_store::{AppendError, EventStore, ReadError};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::layout::Layout;
use crate::pipeline::Plan;
use crate::pipeline::checkpoint::{Checkpoint, CheckpointWriter, NotStored, decode, last_event};
use crate::pipeline::parked::{LotSite, ParkingLot};
use crate::pipeline::tracker::{Mark, SettledRanges};
use crate::unit::{Generation, shard_folder};

/// The type of the last event among the checkpoints of a shard that is no more.
pub(in crate::pipeline) const CLOSED_TYPE: &str = "$conn-ctrl-shard-closed";
/// The shortest and the longest pause before a target is asked again to hand a lane over.
const RETRY_DELAY_FIRST: Duration = Duration::from_millis(200);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(30);
/// The member of a closing event that tells where lanes stand.
const LANES: &str = "lanePositions";

/// What a take-over needs from outside.
pub(crate) struct HandOver {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Where the connector's streams are.
    pub(crate) folder: String,
}

/// Which shard is to be closed, and the lease under which it is.
pub(crate) struct CloseOrder<'a> {
    pub(crate) generation: &'a Generation,
    pub(crate) index: u32,
    pub(crate) epoch: Epoch,
}

/// Why one generation of shards could not take over from another.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandOverError {
    /// Somebody else is at it.
    #[error("another owner is at work on the shards")]
    Fenced,
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store did not take it.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The earlier settings cannot be read any more.
    #[error("the settings of generation {generation} cannot be read: {errors}")]
    Settings { generation: u32, errors: SettingsErrors },
    /// The target does not hand over.
    #[error("the target does not hand lane {lane} over: {failure}")]
    Target { lane: Lane, failure: Failure },
    /// The target holds what the log does not.
    #[error("the target holds records up to position {standing}, but the log ends at {end}")]
    BehindEnd { standing: Position, end: Position },
    /// A shard is not closed that should be.
    #[error("shard {index} of generation {generation} is not closed")]
    NotClosed { generation: u32, index: u32 },
}

impl HandOverError {
    /// Whether a person must act.
    pub(crate) const fn is_final(&self) -> bool {
        matches!(self, Self::Settings { .. } | Self::Target { .. } | Self::BehindEnd { .. })
    }
}

impl From<NotStored> for HandOverError {
    fn from(error: NotStored) -> Self {
        match error {
            NotStored::Fenced => Self::Fenced,
            NotStored::Refused(error) => Self::Append(error),
        }
    }
}

impl HandOver {
    /// A stream of a shard.
    pub(super) fn stream(&self, generation: u32, index: u32, name: &str) -> StreamName {
        let folder = shard_folder(&self.folder, generation, index);
        StreamName::new(&format!("{folder}/{name}")).expect("the name holds a slash, so it is not empty")
    }
}

/// What a shard left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Closing {
    /// What it had settled, as far as the store knows.
    pub(super) checkpoint: Checkpoint,
    /// Where its lanes stand in a target that keeps positions, in the order of the lanes.
    pub(super) lanes: Vec<Option<Position>>,
}

impl Closing {
    fn to_data(&self, connector_id: &str, clock: &dyn Clock) -> Vec<u8> {
        let data = self.checkpoint.to_data(connector_id, clock.now());
        let mut body: Map<String, Value> = serde_json::from_slice(&data).unwrap_or_default();
        let parts = |at: &Position| json!([at.commit(), at.prepare()]);
        let lanes: Vec<_> = self.lanes.iter().map(|at| at.as_ref().map(parts)).collect();
        body.insert(LANES.to_owned(), json!(lanes));
        Value::Object(body).to_string().into_bytes()
    }

    fn from_data(data: &[u8]) -> Option<Self> {
        let checkpoint = Checkpoint::from_data(data)?;
        let body: Map<String, Value> = serde_json::from_slice(data).ok()?;
        let lane = |value: &Value| match value {
            Value::Null => Some(None),
            parts => Some(Some(Position::from_parts(parts.get(0)?.as_u64()?, parts.get(1)?.as_u64()?))),
        };
        let lanes = body.get(LANES)?.as_array()?.iter().map(lane).collect::<Option<_>>()?;
        Some(Self { checkpoint, lanes })
    }

    /// Reads what a shard left; none while it is not closed.
    pub(super) async fn read(store: &dyn EventStore, checkpoints: &StreamName) -> Result<Option<Self>, ReadError> {
        let (Some(last), _) = last_event(store, checkpoints).await? else { return Ok(None) };
        if last.event_type() != CLOSED_TYPE {
            return Ok(None);
        }
        let damaged = || ReadError::Damaged {
            place: format!("{checkpoints} revision {}", last.revision()),
            reason: "it does not say what the shard left".to_owned(),
        };
        Self::from_data(last.data_slice()).map(Some).ok_or_else(damaged)
    }
}

/// Whether a shard is closed.
pub(crate) async fn is_closed(site: &HandOver, generation: u32, index: u32) -> Result<bool, ReadError> {
    let (last, _) = last_event(site.store.as_ref(), &site.stream(generation, index, "checkpoints")).await?;
    Ok(last.is_some_and(|last| last.event_type() == CLOSED_TYPE))
}

impl Plan {
    /// Closes a shard of an earlier generation, whose lease is held: from here on nothing of it is settled, parked or
    /// written to the target any more. Waits for a target that is away. Closing one again changes nothing.
    pub(crate) async fn close_shard(&self, site: &HandOver, order: CloseOrder<'_>) -> Result<(), HandOverError> {
        let CloseOrder { generation, index, epoch } = order;
        let stream = site.stream(generation.number, index, "checkpoints");
        let (last, expected) = last_event(site.store.as_ref(), &stream).await?;
        if last.as_ref().is_some_and(|last| last.event_type() == CLOSED_TYPE) {
            return Ok(());
        }
        let layout = self.layout_of(generation)?;
        let checkpoint = last.and_then(|last| decode(&last, &stream)).unwrap_or_else(|| self.first_checkpoint());
        let parked = site.stream(generation.number, index, "parked");
        let lot = self.lot_site(site, (parked, layout.parked_base(index)), epoch);
        let mark = checkpoint.mark.map(|mark| mark.position);
        if ParkingLot::open(LotSite { keying: layout.keying.clone(), ..lot }, mark, false).await?.is_none() {
            return Err(HandOverError::Fenced);
        }
        let lanes =
            if self.target.keeps_position() { self.take_over(site, &layout, (index, epoch)).await? } else { vec![] };
        let closing = Closing { checkpoint: Checkpoint { epoch, ..checkpoint }, lanes };
        let data = closing.to_data(&self.connector_id, site.clock.as_ref());
        self.writer(site, stream, expected).append(CLOSED_TYPE, data).await?;
        Ok(())
    }

    /// Takes the lanes of a shard over in the target, so that nobody writes to them any more; answers where they stand.
    async fn take_over(
        &self,
        site: &HandOver,
        layout: &Layout,
        (index, epoch): (u32, Epoch),
    ) -> Result<Vec<Option<Position>>, HandOverError> {
        let mut standings = Vec::new();
        for lane in layout.lanes_of(index) {
            let mut sink = self.target.sink(lane);
            let taken = self.take_over_lane(sink.as_mut(), (lane, epoch)).await;
            // What is left open ends with the sink.
            let _closed = tokio::time::timeout(self.target.attempt_limit(1), sink.close()).await;
            standings.push(taken?);
        }
        let end = site.store.head().await?.unwrap_or(Position::START);
        match standings.iter().flatten().max() {
            Some(standing) if *standing > end => Err(HandOverError::BehindEnd { standing: *standing, end }),
            _ => Ok(standings),
        }
    }

    async fn take_over_lane(
        &self,
        sink: &mut dyn Sink,
        (lane, epoch): (Lane, Epoch),
    ) -> Result<Option<Position>, HandOverError> {
        let limit = self.target.attempt_limit(1);
        let mut delay = RETRY_DELAY_FIRST;
        loop {
            let failure = match tokio::time::timeout(limit, sink.take_over(epoch)).await {
                Ok(Ok(standing)) => return Ok(standing),
                Ok(Err(failure)) if !matches!(failure.next, Next::Retry { .. }) => {
                    return Err(HandOverError::Target { lane, failure });
                }
                Ok(Err(failure)) => failure.to_string(),
                Err(_) => format!("no answer within {} ms", limit.as_millis()),
            };
            tracing::warn!(connector = %self.connector_id, %lane, reason = failure, delay_ms = delay.as_millis(),
                "a lane of an earlier shard is not taken over yet");
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(RETRY_DELAY_MAX);
        }
    }

    /// How an earlier generation spread records.
    pub(super) fn layout_of(&self, generation: &Generation) -> Result<Layout, HandOverError> {
        let unreadable = |errors| HandOverError::Settings { generation: generation.number, errors };
        Layout::of(generation, &self.kind).map_err(unreadable)
    }

    /// Where a shard begins that has no checkpoint: where the settings say.
    pub(super) fn first_checkpoint(&self) -> Checkpoint {
        let position = self.settings.subscription.start_position.map(Position::new);
        let mark = position.map(|position| Mark { position, revision: None });
        Checkpoint { mark, stream: None, read: None, settled: SettledRanges::default(), epoch: Epoch(0) }
    }

    /// What opens a parked stream with keys made as they are now.
    pub(super) fn lot_site(&self, site: &HandOver, (stream, numbers_base): (StreamName, u64), epoch: Epoch) -> LotSite {
        LotSite {
            store: Arc::clone(&site.store),
            clock: Arc::clone(&site.clock),
            connector_id: Arc::clone(&self.connector_id),
            epoch: epoch.0,
            numbers_base,
            keying: self.keying.clone(),
            stream,
            limits: self.settings.parking,
            metrics: None,
            fenced: CancellationToken::new(),
            redact: Arc::clone(&self.redact),
        }
    }

    pub(super) fn writer(
        &self,
        site: &HandOver,
        stream: StreamName,
        expected: forebay_event::ExpectedRevision,
    ) -> CheckpointWriter {
        let (store, connector_id) = (Arc::clone(&site.store), Arc::clone(&self.connector_id));
        CheckpointWriter { store, stream, connector_id, expected }
    }
}
