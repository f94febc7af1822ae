//! Owns health: alive, ready, and in detail.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use forebay_event::Position;
use forebay_runtime::management::{ConnectorView, ListQuery};
use forebay_store::{EventStore, Outage, ReadError};
use serde_json::{Value, json};

use super::node::OperationsApi;
use crate::request::QueryPairs;
use crate::status::{self, Refusal};

/// A store that has not answered by then is taken for away: whoever asks for health does not wait for long.
const STORE_LIMIT: Duration = Duration::from_secs(2);

/// Alive: whoever reads this is.
pub(super) async fn live(query: QueryPairs) -> Result<Response, Refusal> {
    status::healthy(query.one("liveCode"))
}

/// Ready: the store answers and the server is not stopping.
pub(super) async fn ready(
    State(OperationsApi { api, .. }): State<OperationsApi>,
    query: QueryPairs,
) -> Result<Response, Refusal> {
    if api.stopping.is_cancelled() {
        return Err(Refusal::unavailable("the server is stopping"));
    }
    head(&*api.store).await.map_err(|error| Refusal::unavailable(reason(error)))?;
    status::healthy(query.one("liveCode"))
}

/// The store and each connector. One that failed, stands still or has parked records is told, but makes no node
/// unhealthy.
pub(super) async fn detail(State(OperationsApi { api, .. }): State<OperationsApi>) -> Response {
    let away = api.store.outage();
    let head = head(&*api.store).await;
    // Without a store the list would be late, and the same: where connectors stand is written there.
    let connectors = if head.is_ok() { api.connectors.list(ListQuery::default()).await.ok() } else { None };
    let position = head.as_ref().ok().copied().flatten();
    let serving = head.is_ok() && connectors.is_some() && !api.stopping.is_cancelled();
    let views = connectors.unwrap_or_default();
    let stalled = |view: &ConnectorView| view.progress.is_some_and(|progress| progress.stalled.is_some());
    let needs_somebody = |view: &ConnectorView| view.error.is_some() || view.parked.records > 0 || stalled(view);
    let word = match (serving, views.iter().any(needs_somebody)) {
        (false, _) => "unavailable",
        (true, true) => "degraded",
        (true, false) => "ok",
    };
    let store = match head {
        Ok(head) => json!({ "ok": true, "lastPosition": head.map(|position| position.to_string()) }),
        Err(error) => {
            let since = away.map(|away| away.since.to_string());
            json!({ "ok": false, "error": reason(error), "unavailableSince": since })
        }
    };
    let connectors: Vec<_> = views.iter().map(|view| connector(view, position)).collect();
    status::health(json!({ "status": word, "store": store, "connectors": connectors }), serving)
}

/// The end of the log, within a limit; a store that is known to be away is not asked.
async fn head(store: &dyn EventStore) -> Result<Option<Position>, ReadError> {
    if let Some(away) = store.outage() {
        return Err(ReadError::Unavailable { reason: away_text(&away) });
    }
    let late =
        || ReadError::Unavailable { reason: format!("the store did not answer within {} ms", STORE_LIMIT.as_millis()) };
    tokio::time::timeout(STORE_LIMIT, store.head()).await.unwrap_or_else(|_| Err(late()))
}

/// Why the store does not answer, in a sentence.
fn reason(error: ReadError) -> String {
    match error {
        ReadError::Unavailable { reason } => reason,
        other => other.to_string(),
    }
}

/// While the store is not there yet: the same body as ever, without connectors.
pub(crate) fn waiting(store: &dyn EventStore) -> Response {
    let away = store.outage();
    let (since, error) = away.map_or((None, None), |away| (Some(away.since.to_string()), Some(away_text(&away))));
    let store = json!({ "ok": false, "error": error, "unavailableSince": since });
    status::health(json!({ "status": "unavailable", "store": store, "connectors": [] }), false)
}

/// Why a store is away, in a sentence.
pub(crate) fn away_text(away: &Outage) -> String {
    format!("the store is away since {}: {}", away.since, away.reason)
}

fn connector(view: &ConnectorView, head: Option<Position>) -> Value {
    let settled = view.progress.and_then(|progress| progress.settled).or(view.position).unwrap_or(Position::START);
    let error = view.error.as_ref().map(|error| json!({ "code": error.code, "message": error.message }));
    let progress = view.progress.unwrap_or_default();
    let failing = progress.failing.map(|(since, class)| json!({ "since": since.to_string(), "class": class.label() }));
    json!({
        "id": view.id,
        "state": view.state.wire_name(),
        "error": error,
        "parked": view.parked.records,
        "parkedKeys": view.parked.keys,
        "parkedBytes": view.parked.bytes,
        "stalledSince": progress.stalled.map(|since| since.to_string()),
        "oldestUndelivered": progress.oldest.map(|oldest| oldest.to_string()),
        "failing": failing,
        "breaker": progress.breaker.word(),
        "lag": head.map_or(0, |head| head.commit().saturating_sub(settled.commit())),
    })
}
