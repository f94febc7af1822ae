//! Owns long polling: an answer that would say nothing new waits for news, within a limit.

use std::time::Duration;

use forebay_access::{GuardedSubscription, Refused};
use forebay_event::{Position, Revision, StreamName};
use forebay_store::{
    EventFilter, LogPoint, Notice, PageLimit, StreamPoint, SubscribeAll, SubscribeError, SubscribeStream,
};
use http::HeaderMap;
use tokio::time::Instant;

use super::state::CallersStreams;
use crate::request::twin_header;
use crate::status::Refusal;

/// Nobody is kept waiting longer, whatever was asked for.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The header `ES-LongPoll`: for how many seconds the caller will wait.
pub(super) fn patience(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    let Some(text) = twin_header(headers, "longpoll")? else { return Ok(None) };
    match text.parse().map(Duration::from_secs) {
        Ok(patience) => Ok(Some(patience.min(WAIT_MAX)).filter(|patience| !patience.is_zero())),
        Err(_) => Err(Refusal::field("ES-LongPoll", format!("ES-LongPoll is {text:?}: expected whole seconds"))),
    }
}

/// Waits for an event of a stream behind this one.
pub(super) async fn for_stream(
    api: &CallersStreams,
    stream: &StreamName,
    behind: Revision,
    patience: Duration,
) -> Result<(), Refusal> {
    let from = StreamPoint::At(behind);
    let subscribe = SubscribeStream { stream: stream.clone(), from, limit: PageLimit::events(1) };
    wait(api, api.store.subscribe_stream(subscribe), patience).await
}

/// Waits for an event of the log behind this position; of any when there is none yet.
pub(super) async fn for_log(api: &CallersStreams, behind: Option<Position>, patience: Duration) -> Result<(), Refusal> {
    let from = behind.map_or(LogPoint::Start, LogPoint::At);
    let limit = PageLimit::events(1);
    let subscribe = SubscribeAll { from, filter: EventFilter::All, limit, checkpoint_every: usize::MAX };
    wait(api, api.store.subscribe_all(subscribe), patience).await
}

/// Waits until there is news, or patience ends. What goes wrong meanwhile is told by the read that follows.
async fn wait(
    api: &CallersStreams,
    opening: impl Future<Output = Result<GuardedSubscription, Refused<SubscribeError>>>,
    patience: Duration,
) -> Result<(), Refusal> {
    let _permit = api.shared.subscription_permit()?;
    let until = Instant::now() + patience;
    let news = async {
        let Ok(mut subscription) = opening.await else { return };
        while let Ok(notice) = subscription.next().await {
            if matches!(notice, Notice::Events(_)) {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = api.shared.stopping.cancelled() => {}
        _ = tokio::time::timeout_at(until, news) => {}
    }
    Ok(())
}
