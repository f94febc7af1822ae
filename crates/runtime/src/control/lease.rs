//! Owns the lease on a connector: take, renew, lose in time, release.
//!
//! ```text
//! take ──▶ hold ── renew at 1/2 ──▶ hold ── … ──▶ release
//!            └── no renewal until 4/5 of the duration ──▶ lost: fence the pipeline before others may take over
//! ```
//!
//! A lease is an event in the connector's lease stream, appended on the condition that the last lease is still the last:
//! whoever appends wins. Durations are measured by this process's own monotonic clock, from the moment something was
//! seen or sent, or something behind it in the log was, never by comparing wall clocks of two machines.

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::Epoch;
use forebay_event::{Position, ProposedEvent, RecordedEvent, Revision, StreamName};
use forebay_store::{AppendError, AppendRequest, Direction, PageLimit, ReadError, ReadStream, StreamPoint};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::measures::LeaseMeasure;
use super::registry::Node;
use crate::management::{event_id, still_at};
use crate::unit::first_epoch;

/// The type of a lease event.
pub(crate) const LEASE_TYPE: &str = "$conn-ctrl-lease";
/// How long taking a lease may last before it is reported.
pub(crate) const ACQUISITION_LIMIT: Duration = Duration::from_secs(60);
/// How often another node's lease is looked at in its duration, and the part of its own that a look may take: two
/// durations are enough for a take-over that way.
const LOOKS_PER_LEASE: u32 = 4;
/// The longest pause between two looks at somebody else's lease.
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(5);
/// What was released is left to whom it was released for, for the duration of a lease divided by this.
const RELEASED_DIVISOR: u32 = 2;
/// The shortest pause between two attempts of any kind.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// A lease as it stands in its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lease {
    acquired_by: String,
    duration: Duration,
    epoch: u64,
}

/// The end of a lease stream: its last revision and the lease there, if it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    revision: Option<Revision>,
    /// Its place in the log.
    place: Option<Position>,
    lease: Option<Lease>,
}

/// What a node has seen of another node's lease: how it stands, and since when by this node's monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Watch(Option<(Standing, Duration)>);

impl Watch {
    /// How long a lease has stood as it stands, by what this node has seen of it, and by the announcements of nodes that
    /// it has heard: what stands before one of them in the log was written before that was heard.
    fn stands_for(&mut self, node: &Node, standing: &Standing) -> Duration {
        let now = node.clock.monotonic();
        let seen = self.0.as_ref().filter(|(seen, _)| seen == standing).map_or(now, |(_, since)| *since);
        let told = standing.place.and_then(|place| node.cluster.as_ref()?.members.lock().was_there_by(place));
        let since = told.map_or(seen, |told| told.min(seen));
        self.0 = Some((standing.clone(), since));
        now.saturating_sub(since)
    }

    /// The pause until the next look: four looks in the duration of the lease that is watched, or of one's own, and one
    /// when it has run out if it is not renewed.
    pub(crate) fn pause(&self, own: Duration, now: Duration) -> Duration {
        let watched = self.0.as_ref().and_then(|(standing, since)| Some((standing.lease.as_ref()?.duration, *since)));
        let Some((duration, since)) = watched.filter(|(duration, _)| !duration.is_zero()) else {
            return (own / LOOKS_PER_LEASE).clamp(PAUSE_MIN, LOOK_PAUSE_MAX);
        };
        (duration / LOOKS_PER_LEASE).min((since + duration).saturating_sub(now)).clamp(PAUSE_MIN, LOOK_PAUSE_MAX)
    }
}

/// A lease that this node holds and renews until it is released or dropped.
pub(crate) struct HeldLease {
    /// The number that fences out earlier holders.
    pub(crate) epoch: Epoch,
    release: CancellationToken,
    keeper: AbortOnDropHandle<bool>,
}

/// What became of a lease that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Released {
    /// It was this node's to the end; the next holder need not wait, or only until it runs out.
    Kept,
    /// Another node had it by then, or nobody could be sure of it any more.
    Lost,
}

/// Why a lease was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    /// Somebody else has it.
    #[error("node {holder} holds the lease on the connector")]
    Held { holder: String },
    /// The store did not answer in time.
    #[error("the store did not answer within {limit_ms} ms")]
    NoAnswer { limit_ms: u128 },
    /// The store could not be asked.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store did not take it.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Tries once to take the lease on a connector. `lost` is cancelled when the lease can no longer be relied on.
///
/// A watch that is kept from one call to the next makes a take-over quick: a lease that was seen before need not be
/// watched for its whole duration again. A future that is dropped may leave a lease behind that nobody renews.
pub(crate) async fn take(
    node: &Arc<Node>,
    connector_id: &str,
    watch: &mut Watch,
    lost: CancellationToken,
) -> Result<HeldLease, TakeError> {
    let stream = node.lease_stream(connector_id);
    // A call that hangs must not outlast the partition that it hangs in. If it took the lease all the same, the next look
    // finds it, and takes it again.
    let limit = node.config.lease / LOOKS_PER_LEASE;
    let written = timeout(limit, try_take(node, connector_id, &stream, watch))
        .await
        .unwrap_or(Err(TakeError::NoAnswer { limit_ms: limit.as_millis() }))?;
    Ok(keep(node, connector_id, written, lost))
}

/// Looks at a lease without taking it: when it is anybody's to take if it stays as it stands, by the monotonic clock and as
/// far as this watch has seen. What was released is on its way to somebody, and anybody's half a lease later.
pub(crate) async fn look(node: &Node, connector_id: &str, watch: &mut Watch) -> Result<Duration, TakeError> {
    let limit = node.config.lease / LOOKS_PER_LEASE;
    let standing = timeout(limit, read_standing(node, &node.lease_stream(connector_id)))
        .await
        .map_err(|_| TakeError::NoAnswer { limit_ms: limit.as_millis() })??;
    let held_for = foreign(node, &standing).map_or(node.config.lease / RELEASED_DIVISOR, |lease| lease.duration);
    let stands_for = watch.stands_for(node, &standing);
    Ok(node.clock.monotonic().saturating_sub(stands_for) + held_for)
}

/// A lease just written: where it stands, its epoch, and when by the monotonic clock the writing began.
struct Written {
    revision: Revision,
    epoch: Epoch,
    since: Duration,
}

async fn try_take(
    node: &Node,
    connector_id: &str,
    stream: &StreamName,
    watch: &mut Watch,
) -> Result<Written, TakeError> {
    let standing = read_standing(node, stream).await?;
    if let Some(lease) = foreign(node, &standing) {
        if watch.stands_for(node, &standing) < lease.duration {
            debug!(connector_id, holder = lease.acquired_by, "another node holds the lease");
            return Err(TakeError::Held { holder: lease.acquired_by.clone() });
        }
        warn!(connector_id, holder = lease.acquired_by, "another node let its lease run out");
    }
    let next = standing.revision.map_or(Revision::FIRST, Revision::next);
    let last_epoch = standing.lease.as_ref().map_or(0, |lease| lease.epoch);
    let epoch = Epoch((next.get() + 1).max(last_epoch + 1).max(first_epoch(connector_id)));
    let written = append(node, connector_id, stream, (standing.revision, epoch, node.config.lease)).await?;
    info!(connector_id, %epoch, "took the lease");
    Ok(written)
}

/// The lease there, when it is another node's and not released.
fn foreign<'a>(node: &Node, standing: &'a Standing) -> Option<&'a Lease> {
    let mine = node.config.node.to_string();
    standing.lease.as_ref().filter(|lease| lease.acquired_by != mine && !lease.duration.is_zero())
}

/// Renews a lease until it is released or lost.
fn keep(node: &Arc<Node>, connector_id: &str, written: Written, lost: CancellationToken) -> HeldLease {
    let epoch = written.epoch;
    let release = CancellationToken::new();
    let measure = node.metrics.control().lease(connector_id, epoch.0);
    measure.lasts_until(&node.clock, written.since + node.config.lease);
    let keeper = Keeper {
        node: Arc::clone(node),
        connector_id: connector_id.to_owned(),
        stream: node.lease_stream(connector_id),
        written,
        release: release.clone(),
        measure,
    };
    let task = tokio::spawn(async move {
        // Also when the keeper is cut off or panics: nobody renews the lease then.
        let lost = lost.drop_guard();
        let kept = keeper.hold().await;
        if kept {
            lost.disarm();
        }
        kept
    });
    HeldLease { epoch, release, keeper: AbortOnDropHandle::new(task) }
}

impl HeldLease {
    /// Gives the lease back, so that the next holder need not wait; bounded by the lease's own duration.
    pub(crate) async fn release(self) -> Released {
        self.release.cancel();
        // The keeper ends by itself: its last append has a limit.
        if matches!(self.keeper.await, Ok(true)) { Released::Kept } else { Released::Lost }
    }
}

struct Keeper {
    node: Arc<Node>,
    connector_id: String,
    stream: StreamName,
    written: Written,
    release: CancellationToken,
    measure: LeaseMeasure,
}

impl Keeper {
    /// Holds the lease until released (true) or lost (false).
    async fn hold(mut self) -> bool {
        let duration = self.node.config.lease;
        loop {
            tokio::select! {
                biased;
                () = self.release.cancelled() => return self.give_back().await,
                () = tokio::time::sleep(self.left_until(duration / 2)) => {}
            }
            if !self.renew(duration).await {
                return false;
            }
        }
    }

    /// Renews, trying again until four fifths of the duration have passed since the last renewal began.
    async fn renew(&mut self, duration: Duration) -> bool {
        loop {
            let left = self.left_until(duration * 4 / 5);
            if left.is_zero() {
                warn!(connector_id = self.connector_id, "could not renew the lease in time");
                return false;
            }
            let lease = (Some(self.written.revision), self.written.epoch, duration);
            let renewed = append(&self.node, &self.connector_id, &self.stream, lease);
            match timeout(left, renewed).await {
                Ok(Ok(written)) => {
                    self.measure.renewed();
                    self.measure.lasts_until(&self.node.clock, written.since + duration);
                    self.written = written;
                    return true;
                }
                Ok(Err(AppendError::WrongExpectedRevision { .. })) => {
                    if !self.overtaken_by_itself().await {
                        warn!(connector_id = self.connector_id, "another node has taken the lease");
                        return false;
                    }
                }
                Ok(Err(error)) => {
                    debug!(connector_id = self.connector_id, %error, "could not renew the lease, trying again");
                    let pause = (duration / 20).max(PAUSE_MIN).min(self.left_until(duration * 4 / 5));
                    tokio::time::sleep(pause).await;
                }
                Err(_) => {}
            }
        }
    }

    /// An append whose answer was lost moved the stream on: the lease there is still this one.
    async fn overtaken_by_itself(&mut self) -> bool {
        let limit = self.left_until(self.node.config.lease * 4 / 5);
        let Ok(Ok(standing)) = timeout(limit, read_standing(&self.node, &self.stream)).await else {
            return false;
        };
        let mine = self.node.config.node.to_string();
        let same = standing.lease.is_some_and(|lease| lease.acquired_by == mine && lease.epoch == self.written.epoch.0);
        match standing.revision {
            Some(revision) if same => {
                self.written.revision = revision;
                true
            }
            _ => false,
        }
    }

    /// Gives it back; false when another node has it already.
    async fn give_back(&mut self) -> bool {
        let limit = self.left_until(self.node.config.lease);
        match timeout(limit, self.append_release()).await {
            Ok(Ok(())) => debug!(connector_id = self.connector_id, "released the lease"),
            Ok(Err(AppendError::WrongExpectedRevision { .. })) => {
                warn!(connector_id = self.connector_id, "another node has taken the lease");
                return false;
            }
            _ => warn!(connector_id = self.connector_id, "could not release the lease; it runs out by itself"),
        }
        true
    }

    /// Appends the release, once more when only a renewal whose answer was lost is in the way.
    async fn append_release(&mut self) -> Result<(), AppendError> {
        let release = (Some(self.written.revision), self.written.epoch, Duration::ZERO);
        let first = append(&self.node, &self.connector_id, &self.stream, release).await;
        match first {
            Err(AppendError::WrongExpectedRevision { .. }) if self.overtaken_by_itself().await => {
                let release = (Some(self.written.revision), self.written.epoch, Duration::ZERO);
                append(&self.node, &self.connector_id, &self.stream, release).await.map(|_| ())
            }
            first => first.map(|_| ()),
        }
    }

    fn left_until(&self, age: Duration) -> Duration {
        (self.written.since + age).saturating_sub(self.node.clock.monotonic())
    }
}

async fn append(
    node: &Node,
    connector_id: &str,
    stream: &StreamName,
    (last, epoch, duration): (Option<Revision>, Epoch, Duration),
) -> Result<Written, AppendError> {
    let since = node.clock.monotonic();
    let now = node.clock.now();
    let body = json!({
        "ResourceId": connector_id,
        "AcquiredBy": node.config.node.to_string(),
        "AcquiredAt": now.to_string(),
        "Duration": span_text(duration),
        "ExpiresAt": now.plus(duration).to_string(),
        "Epoch": epoch.0,
    })
    .to_string();
    let expected = still_at(last);
    let id = event_id(node.config.node, stream, expected, &body);
    let events = vec![ProposedEvent::json(id, LEASE_TYPE, body)];
    let appended = node.store.append(AppendRequest { stream: stream.clone(), expected, events }).await?;
    let next = last.map_or(Revision::FIRST, Revision::next);
    Ok(Written { revision: appended.last_revision.unwrap_or(next), epoch, since })
}

async fn read_standing(node: &Node, stream: &StreamName) -> Result<Standing, ReadError> {
    let read = ReadStream {
        stream: stream.clone(),
        direction: Direction::Backward,
        from: StreamPoint::End,
        limit: PageLimit::events(1),
    };
    match node.store.read_stream(read).await {
        Ok(page) => {
            let last = page.events.first();
            let lease = last.and_then(|event| Lease::read(event.data_slice()));
            Ok(Standing { revision: Some(page.last_revision), place: last.map(RecordedEvent::position), lease })
        }
        Err(ReadError::StreamNotFound { .. }) => Ok(Standing { revision: None, place: None, lease: None }),
        Err(error) => Err(error),
    }
}

impl Lease {
    /// Reads a lease event; one that cannot be read counts as none.
    fn read(data: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(data).ok()?;
        let acquired_by = body.get("AcquiredBy")?.as_str()?;
        let acquired_by = Uuid::parse_str(acquired_by).map_or_else(|_| acquired_by.to_owned(), |id| id.to_string());
        Some(Self {
            acquired_by,
            duration: parse_span(body.get("Duration")?.as_str()?)?,
            epoch: body.get("Epoch").and_then(Value::as_u64).unwrap_or(0),
        })
    }
}

/// A duration as the lease stream writes it: `hh:mm:ss`, with seven digits of fraction where there is one.
pub(super) fn span_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let whole = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    match duration.subsec_nanos() / 100 {
        0 => whole,
        ticks => format!("{whole}.{ticks:07}"),
    }
}

/// Reads such a duration.
pub(super) fn parse_span(text: &str) -> Option<Duration> {
    let mut parts = text.splitn(3, ':');
    let hours: u64 = parts.next()?.parse().ok()?;
    let minutes: u64 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next()?.parse().ok()?;
    let whole = Duration::from_secs(hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?);
    whole.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_survive_their_text() {
        for (millis, text) in [(5000, "00:00:05"), (0, "00:00:00"), (3_723_400, "01:02:03.4000000")] {
            let duration = Duration::from_millis(millis);
            assert_eq!(span_text(duration), text);
            assert_eq!(parse_span(text), Some(duration));
        }
        assert_eq!(parse_span("5"), None);
        assert_eq!(parse_span("00:00:-5"), None);
    }

    #[test]
    fn a_lease_of_the_original_has_no_epoch() {
        let body = br#"{"ResourceId":"a","AcquiredBy":"X","AcquiredAt":"","Duration":"00:00:05","ExpiresAt":""}"#;
        let lease = Lease { acquired_by: "X".to_owned(), duration: Duration::from_secs(5), epoch: 0 };
        assert_eq!(Lease::read(body), Some(lease));
        assert_eq!(Lease::read(b"[]"), None);
    }
}
