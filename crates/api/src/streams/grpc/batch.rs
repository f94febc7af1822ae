//! Owns appending in batches: many appends in pieces on one call, each answered when it is done.
//!
//! ```text
//!  pieces ─▶ open (by correlation, until the last piece) ─▶ running in the store ─▶ answers
//!              └─ deadline passed ───────────────────────────────────────────────────▲
//! ```
//!
//! Appends go to the store in the order of their last pieces. Nothing more is read while too many run, or while the
//! caller does not take answers.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use forebay_access::Guard;
use forebay_event::{ExpectedRevision, StreamName};
use forebay_store::AppendRequest;
use forebay_wire::event_store::client::Uuid as WireUuid;
use forebay_wire::event_store::client::streams::batch_append_req::Options;
use forebay_wire::event_store::client::streams::batch_append_req::options::{
    DeadlineOption, ExpectedStreamPosition as Expected,
};
use forebay_wire::event_store::client::streams::batch_append_resp::Result as Outcome;
use forebay_wire::event_store::client::streams::{BatchAppendReq, BatchAppendResp};
use forebay_wire::google::rpc::Status as RpcStatus;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};
use uuid::Uuid;

use super::answers;
use super::names::{exactly, identifier, no_expectation, read_id, written_stream};
use super::proposal::Proposal;
use super::service::{CallBounds, StreamsService};
use super::share::{Gathered, NoRoom, too_many_events};
use crate::status::grpc::{
    batched_busy, batched_denied, batched_invalid, batched_timeout, batched_too_large, invalid, of_batched_refused,
    stopping,
};

/// One call has at most so many appends of which not all pieces have come.
const OPEN_MAX: usize = 1024;
/// One call has at most so many appends in the store.
const RUNNING_MAX: usize = 1024;
/// An append takes at most so long, whatever its deadline says.
const APPEND_TIMEOUT: Duration = Duration::from_secs(10);

/// An append of which not all pieces have come.
struct Open {
    correlation: WireUuid,
    stream: StreamName,
    expected: ExpectedRevision,
    gathered: Gathered,
    deadline: Instant,
}

/// One call, at some point of its life.
pub(super) struct Batches {
    bounds: CallBounds,
    pieces: Streaming<BatchAppendReq>,
    open: HashMap<Uuid, Open>,
    running: FuturesUnordered<BoxFuture<'static, BatchAppendResp>>,
    ready: VecDeque<BatchAppendResp>,
    /// No more pieces come; with a status when the call is to end with one.
    ended: Option<Result<(), Status>>,
}

impl Batches {
    /// Nothing has come yet.
    pub(super) fn new(bounds: CallBounds, pieces: Streaming<BatchAppendReq>) -> Box<Self> {
        let (open, running, ready) = (HashMap::new(), FuturesUnordered::new(), VecDeque::new());
        Box::new(Self { bounds, pieces, open, running, ready, ended: None })
    }

    /// Waits for the next answer; none when the call is finished.
    pub(super) async fn next(mut self: Box<Self>) -> Option<(Result<BatchAppendResp, Status>, Box<Self>)> {
        loop {
            if let Some(answer) = self.ready.pop_front() {
                return Some((Ok(answer), self));
            }
            if self.running.is_empty() && self.ended.is_some() {
                let status = self.ended.replace(Ok(()))?.err()?;
                return Some((Err(status), self));
            }
            self.step().await;
        }
    }

    /// Waits for one thing to happen and takes it in.
    async fn step(&mut self) {
        let stopping_now = self.bounds.service().api().stopping.clone();
        let due = self.open.values().map(|open| open.deadline).min();
        tokio::select! {
            biased;
            Some(answer) = self.running.next(), if !self.running.is_empty() => self.ready.push_back(answer),
            () = stopping_now.cancelled(), if self.ended.is_none() => self.ended = Some(Err(stopping())),
            () = sleep_until(due), if due.is_some() => self.expire(),
            piece = self.pieces.message(), if self.ended.is_none() && self.running.len() < RUNNING_MAX => {
                match piece {
                    Ok(Some(piece)) => self.take(piece),
                    Ok(None) => self.ended = Some(Ok(())),
                    Err(status) => self.ended = Some(Err(status)),
                }
            }
        }
    }

    /// Takes in one piece. What it says about an append that is not open, and does not open one, is passed over.
    fn take(&mut self, piece: BatchAppendReq) {
        let BatchAppendReq { correlation_id, options, proposed_messages, is_final } = piece;
        let (Some(key), Some(correlation)) = (read_id(correlation_id.as_ref()), correlation_id) else {
            self.ended = Some(Err(invalid("a piece of a batch has no correlation id, or one that is not a UUID")));
            return;
        };
        if let Some(options) = options
            && !self.open.contains_key(&key)
        {
            match self.open(&correlation, options) {
                Ok(open) => drop(self.open.insert(key, open)),
                Err(refusal) => return self.ready.push_back(*refusal),
            }
        }
        for message in proposed_messages {
            let Some(open) = self.open.get_mut(&key) else { return };
            if let Err(error) = gather(open, Proposal::from(message), self.bounds.service()) {
                return self.refuse(key, error);
            }
        }
        if is_final && let Some(open) = self.open.remove(&key) {
            self.running.push(Box::pin(write(self.bounds.store().clone(), open)));
        }
    }

    fn open(&self, correlation: &WireUuid, options: Options) -> Result<Open, Box<BatchAppendResp>> {
        let named = options.stream_identifier.clone();
        let refuse = |error: RpcStatus| {
            let correlation_id = Some(correlation.clone());
            let result = Some(Outcome::Error(error));
            let stream_identifier = named.clone();
            Box::new(BatchAppendResp { correlation_id, stream_identifier, result, expected_stream_position: None })
        };
        let stream = written_stream(options.stream_identifier).map_err(|status| refuse(worded(&status)))?;
        let expected = match options.expected_stream_position {
            Some(Expected::Any(())) => Ok(ExpectedRevision::Any),
            Some(Expected::NoStream(())) => Ok(ExpectedRevision::NoStream),
            Some(Expected::StreamExists(())) => Ok(ExpectedRevision::StreamExists),
            Some(Expected::StreamPosition(number)) => exactly(number),
            None => Err(no_expectation()),
        };
        let expected = expected.map_err(|status| refuse(worded(&status)))?;
        let left = self.time_left(options.deadline_option).ok_or_else(|| refuse(batched_timeout()))?;
        if self.open.len() >= OPEN_MAX {
            return Err(refuse(batched_busy()));
        }
        let gathered = Gathered::new(self.bounds.service().limits());
        Ok(Open { correlation: correlation.clone(), stream, expected, gathered, deadline: Instant::now() + left })
    }

    /// How long the append may take; none when its deadline has passed.
    fn time_left(&self, deadline: Option<DeadlineOption>) -> Option<Duration> {
        let (seconds, nanos) = match deadline {
            None => return Some(APPEND_TIMEOUT),
            Some(DeadlineOption::Deadline(left)) => (left.seconds, left.nanos),
            Some(DeadlineOption::Deadline21100(at)) => {
                let now = self.bounds.service().clock().now().to_system_time();
                let now = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                let now_seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
                let now_nanos = i32::try_from(now.subsec_nanos()).unwrap_or_default();
                (at.seconds.saturating_sub(now_seconds), at.nanos.saturating_sub(now_nanos))
            }
        };
        let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        let nanos = u64::try_from(total.min(i128::from(u64::MAX))).ok().filter(|nanos| *nanos > 0)?;
        Some(Duration::from_nanos(nanos).min(APPEND_TIMEOUT))
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let expired: Vec<Uuid> =
            self.open.iter().filter(|(_, open)| open.deadline <= now).map(|(key, _)| *key).collect();
        for key in expired {
            self.refuse(key, batched_timeout());
        }
    }

    fn refuse(&mut self, key: Uuid, error: RpcStatus) {
        if let Some(open) = self.open.remove(&key) {
            self.ready.push_back(answer(open.correlation, &open.stream, Outcome::Error(error)));
        }
    }
}

fn gather(open: &mut Open, proposal: Proposal, service: &StreamsService) -> Result<(), RpcStatus> {
    let event = proposal.event().map_err(|error| batched_invalid(error.to_string()))?;
    open.gathered.try_push(event, service.api()).map_err(|no_room| match no_room {
        NoRoom::TooLarge(limit) => batched_too_large(limit),
        NoRoom::TooMany => batched_invalid(too_many_events()),
        NoRoom::Busy => batched_busy(),
    })
}

/// Writes one append. After its deadline the answer is a timeout, although the store may still write it.
async fn write(store: Guard, open: Open) -> BatchAppendResp {
    let Open { correlation, stream, expected, gathered, deadline } = open;
    let (events, _share) = gathered.into_parts();
    let request = AppendRequest { stream: stream.clone(), expected, events };
    let outcome = match tokio::time::timeout_at(deadline, store.append(request)).await {
        Ok(Ok(appended)) => Outcome::Success(answers::batched(appended)),
        Ok(Err(refused)) => Outcome::Error(of_batched_refused(refused)),
        Err(_) => Outcome::Error(batched_timeout()),
    };
    answer(correlation, &stream, outcome)
}

fn answer(correlation: WireUuid, stream: &StreamName, outcome: Outcome) -> BatchAppendResp {
    BatchAppendResp {
        correlation_id: Some(correlation),
        stream_identifier: Some(identifier(stream.as_str())),
        result: Some(outcome),
        expected_stream_position: None,
    }
}

/// A refusal of a single append, as a batch says it.
fn worded(status: &Status) -> RpcStatus {
    if status.code() == Code::PermissionDenied { batched_denied() } else { batched_invalid(status.message()) }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
