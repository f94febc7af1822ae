//! Owns reading the whole log as a JSON feed; its pages are named by positions in hex.

use axum::response::Response;
use forebay_event::{Position, RecordedEvent};
use forebay_store::{Direction, EventFilter, LogPoint, PageLimit, ReadAll};
use serde_json::{Value, json};

use super::append::escaped;
use super::feed::{FeedRequest, feed};
use super::long_poll;
use super::point::{ALL, position_from_hex, position_hex};
use super::state::CallersStreams;
use crate::status::Refusal;

/// The newest page.
pub(super) async fn newest(api: &CallersStreams, request: &FeedRequest, count: usize) -> Result<Response, Refusal> {
    page(api, request, (LogPoint::End, Direction::Backward), count).await
}

/// The page of events before a position, or the newest with `head`.
pub(super) async fn backward(
    api: &CallersStreams,
    request: &FeedRequest,
    from: &str,
    count: usize,
) -> Result<Response, Refusal> {
    let from = if from == "head" { LogPoint::End } else { LogPoint::At(position_from_hex(from)?) };
    page(api, request, (from, Direction::Backward), count).await
}

/// The page of events at a position and after.
pub(super) async fn forward(
    api: &CallersStreams,
    request: &FeedRequest,
    from: &str,
    count: usize,
) -> Result<Response, Refusal> {
    page(api, request, (LogPoint::At(position_from_hex(from)?), Direction::Forward), count).await
}

async fn page(
    api: &CallersStreams,
    request: &FeedRequest,
    (from, direction): (LogPoint, Direction),
    count: usize,
) -> Result<Response, Refusal> {
    let read = ReadAll { direction, from, limit: PageLimit::events(count), filter: EventFilter::All };
    let mut events = api.store.read_all(read.clone()).await?.events;
    if let Some(patience) = request.patience {
        let newest = events.first().map(RecordedEvent::position);
        let known = match from {
            LogPoint::End => request.holds(&request.tag(&newest.map(position_hex).unwrap_or_default())),
            LogPoint::Start | LogPoint::At(_) => direction == Direction::Forward && events.is_empty(),
        };
        if known {
            long_poll::for_log(api, api.store.head().await?, patience).await?;
            events = api.store.read_all(read).await?.events;
        }
    }
    if direction == Direction::Forward {
        events.reverse();
    }
    let head = api.store.head().await?;
    let newest = events.first().map(RecordedEvent::position);
    let at_head = newest.is_none_or(|newest| head.is_none_or(|head| newest >= head));
    let past = from != LogPoint::End && events.len() == count;
    let tag = request.tag(&newest.map(position_hex).unwrap_or_default());
    let shown = request.show(api, &events).await?;
    let mut feed = feed(request, ALL, &shown, (&tag, at_head));
    if let Some(object) = feed.as_object_mut() {
        object.insert("links".to_owned(), links(request, &events, from, count));
    }
    Ok(request.answer(&feed, &tag, past))
}

fn links(request: &FeedRequest, newest_first: &[RecordedEvent], from: LogPoint, count: usize) -> Value {
    let uri = format!("{}/streams/{}", request.base, escaped(ALL));
    let start = position_hex(Position::START);
    let mut links = vec![
        json!({ "uri": uri, "relation": "self" }),
        json!({ "uri": format!("{uri}/head/backward/{count}"), "relation": "first" }),
        json!({ "uri": format!("{uri}/{start}/forward/{count}"), "relation": "last" }),
    ];
    if let Some(oldest) = newest_first.last() {
        let oldest = position_hex(oldest.position());
        links.push(json!({ "uri": format!("{uri}/{oldest}/backward/{count}"), "relation": "next" }));
    }
    let newer = match (newest_first.first(), from) {
        (Some(newest), _) => Some(after(newest.position())),
        (None, LogPoint::At(position)) => Some(position),
        (None, LogPoint::Start | LogPoint::End) => None,
    };
    if let Some(newer) = newer {
        links.push(json!({ "uri": format!("{uri}/{}/forward/{count}", position_hex(newer)), "relation": "previous" }));
    }
    Value::Array(links)
}

/// The least position above: a read from there hands out what follows, whatever position that has.
fn after(position: Position) -> Position {
    Position::from_parts(position.commit(), position.prepare().saturating_add(1))
}
