//! Owns taking in what other nodes record about connectors, so that every node knows every connector.

use std::sync::Arc;
use std::time::Duration;

use forebay_event::{Position, RecordedEvent};
use forebay_store::{
    EventFilter, FilterSubject, LogPoint, Matcher, Notice, PageLimit, ReadError, SubscribeAll, SubscribeError,
};
use tracing::{debug, error, info};

use super::OpenError;
use super::snapshot::{adopt, streams_of_connectors};
use crate::control::Node;

/// How many management events are handed out at once.
const PAGE_EVENTS: usize = 256;
/// How many other events may pass between two notices of how far the log was examined.
const CHECKPOINT_EVERY: usize = 10_000;
/// The pause before the log is followed again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Follows the management streams of all connectors behind a position, until the node goes down.
pub(crate) async fn follow(node: Arc<Node>, from: Option<Position>) {
    let closing = node.closing.clone();
    let mut follower = Follower { node, seen: from };
    loop {
        tokio::select! {
            biased;
            () = closing.cancelled() => return,
            error = follower.until_broken() => info!(%error, "the streams of connectors are followed again"),
        }
        tokio::select! {
            biased;
            () = closing.cancelled() => return,
            () = tokio::time::sleep(RETRY_PAUSE) => {}
        }
    }
}

struct Follower {
    node: Arc<Node>,
    /// Everything up to here is taken in.
    seen: Option<Position>,
}

impl Follower {
    async fn until_broken(&mut self) -> SubscribeError {
        match self.take_in_all().await {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    async fn take_in_all(&mut self) -> Result<std::convert::Infallible, SubscribeError> {
        let expression = streams_of_connectors(&self.node);
        let matcher =
            Matcher::regex(&expression).map_err(|error| ReadError::Unavailable { reason: error.to_string() })?;
        let subscribe = SubscribeAll {
            from: self.seen.map_or(LogPoint::Start, LogPoint::At),
            filter: EventFilter::Where(FilterSubject::Stream, matcher),
            limit: PageLimit::events(PAGE_EVENTS),
            checkpoint_every: CHECKPOINT_EVERY,
        };
        let mut subscription = self.node.store.subscribe_all(subscribe).await?;
        loop {
            match subscription.next().await? {
                Notice::Events(events) => {
                    for event in &events {
                        self.take_in(event).await?;
                        self.seen = Some(event.position());
                    }
                }
                Notice::Checkpoint(position) => self.seen = Some(position),
                Notice::CaughtUp { position } => self.seen = position.or(self.seen),
            }
        }
    }

    /// Reads the connector's stream on, unless this node has it already: most of what is seen it wrote itself.
    async fn take_in(&self, event: &RecordedEvent) -> Result<(), ReadError> {
        let start = format!("{}/", self.node.config.stream_prefix);
        let Some(id) = event.stream().strip_prefix(&start) else { return Ok(()) };
        let known = self.node.slot(id).and_then(|slot| slot.entity().stream_revision);
        if known.is_some_and(|known| known >= event.revision()) {
            return Ok(());
        }
        match adopt(&self.node, id).await {
            Ok(_) => debug!(connector_id = id, "took in what another node recorded"),
            Err(OpenError::Read(error)) => return Err(error),
            Err(error) => error!(connector_id = id, %error, "what another node recorded cannot be read"),
        }
        Ok(())
    }
}
