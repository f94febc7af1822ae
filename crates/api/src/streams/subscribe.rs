//! Owns following a stream or the log over HTTP: one event per line, pulled at the client's speed.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use forebay_access::{GuardedSubscription, Refused};
use forebay_event::Position;
use forebay_store::{LogPoint, Notice, PageLimit, StreamPoint, SubscribeAll, SubscribeError, SubscribeStream};
use futures_util::stream;
use http::header;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::event_json::write_event;
use super::point::{ALL, log_point, position_text, stream_name, stream_point};
use super::read_plain::Wanted;
use super::state::CallersStreams;
use crate::request::{QueryPairs, UrlPath};
use crate::status::Refusal;

/// An empty line is sent after so long without an event.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// One hand-out: what a client that does not read costs.
const HAND_OUT: PageLimit = PageLimit { events: 256, bytes: 256 << 10 };
/// The store says how far it has looked after so many events that do not match.
const CHECKPOINT_EVERY: usize = 10_000;

/// Follows a stream or the log.
pub(super) async fn subscribe(
    api: CallersStreams,
    UrlPath(name): UrlPath<String>,
    query: QueryPairs,
) -> Result<Response, Refusal> {
    let permit = api.shared.subscription_permit()?;
    let (subscription, wanted) = open(&api, &name, &query).await?;
    let follower = Follower {
        subscription,
        wanted,
        stopping: api.shared.stopping.clone(),
        heartbeat_at: Instant::now() + HEARTBEAT,
        ended: false,
        _permit: permit,
    };
    let lines = stream::unfold(follower, Follower::next_lines);
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .header(header::CACHE_CONTROL, "no-store")
        .body(Body::from_stream(lines));
    response.map_err(|_| Refusal::internal())
}

async fn open(
    api: &CallersStreams,
    name: &str,
    query: &QueryPairs,
) -> Result<(GuardedSubscription, Option<Wanted>), Refusal> {
    if name == ALL {
        query.only(&["from", "streamPrefix", "typePrefix", "excludeSystem"])?;
        let wanted = Wanted::read(query)?;
        let from = log_point(query, LogPoint::Start)?;
        let subscribe =
            SubscribeAll { from, filter: wanted.pushed(), limit: HAND_OUT, checkpoint_every: CHECKPOINT_EVERY };
        Ok((api.store.subscribe_all(subscribe).await?, Some(wanted)))
    } else {
        query.only(&["from"])?;
        let from = stream_point(query, StreamPoint::Start)?;
        let subscribe = SubscribeStream { stream: stream_name(name)?, from, limit: HAND_OUT };
        Ok((api.store.subscribe_stream(subscribe).await?, None))
    }
}

/// A subscription on its way to one client. It reads the next hand-out only when the last one has left.
struct Follower {
    subscription: GuardedSubscription,
    wanted: Option<Wanted>,
    stopping: CancellationToken,
    heartbeat_at: Instant,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    async fn next_lines(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        while !self.ended {
            let lines = tokio::select! {
                biased;
                () = self.stopping.cancelled() => return None,
                notice = self.subscription.next() => self.lines_of(notice),
                () = tokio::time::sleep_until(self.heartbeat_at) => b"\n".to_vec(),
            };
            if !lines.is_empty() {
                self.heartbeat_at = Instant::now() + HEARTBEAT;
                return Some((Ok(Bytes::from(lines)), self));
            }
        }
        None
    }

    fn lines_of(&mut self, notice: Result<Notice, Refused<SubscribeError>>) -> Vec<u8> {
        match notice {
            Ok(Notice::Events(events)) => {
                let mut lines = Vec::new();
                for event in events.iter().filter(|event| self.wanted.as_ref().is_none_or(|wanted| wanted.fits(event)))
                {
                    write_event(&mut lines, event);
                    lines.push(b'\n');
                }
                lines
            }
            Ok(Notice::Checkpoint(_)) => Vec::new(),
            Ok(Notice::CaughtUp { position }) => caught_up(position),
            Err(refused) => {
                self.ended = true;
                let message = match refused {
                    Refused::Denied(denied) => denied.to_string(),
                    Refused::Unjudged(error) => error.to_string(),
                    Refused::Failed(error) => error.to_string(),
                };
                tracing::debug!(message, "a subscription over HTTP ended");
                format!("{}\n", json!({ "error": { "message": message } })).into_bytes()
            }
        }
    }
}

fn caught_up(position: Option<Position>) -> Vec<u8> {
    format!("{}\n", json!({ "caughtUp": { "position": position.map(position_text) } })).into_bytes()
}
