//! Owns health: alive, ready, and in detail.

use std::fmt::Display;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use forebay_event::Position;
use forebay_runtime::management::{ConnectorView, ListQuery};
use forebay_store::{EventStore, Outage};
use serde_json::{Value, json};

use super::node::OperationsApi;
use crate::request::QueryPairs;
use crate::router::Api;
use crate::status::{self, Refusal};

/// A store that has not answered within so long is told to be away.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);
/// Where many connectors stand may take longer to look up, in a store that answers.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

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
    if let Some(away) = api.store.outage() {
        return Err(Refusal::unavailable(away_text(&away)));
    }
    within(STORE_TIMEOUT, api.store.head()).await.map_err(Refusal::unavailable)?;
    status::healthy(query.one("liveCode"))
}

/// The store and each connector. One that failed, stands still or has parked records is told, but makes no node
/// unhealthy. While the store is away, connectors are told as the node remembers them.
pub(super) async fn detail(State(OperationsApi { api, .. }): State<OperationsApi>) -> Response {
    // A store that is known to be away is not asked: the answer would be late, and the same.
    let seen = match api.store.outage() {
        Some(away) => Err((away_text(&away), Some(away.since.to_string()))),
        None => ask(&api).await.map_err(|error| (error, api.store.outage().map(|away| away.since.to_string()))),
    };
    let serving = seen.is_ok() && !api.stopping.is_cancelled();
    let (store, views, known) = match seen {
        Ok((head, views)) => {
            let store = json!({ "ok": true, "lastPosition": head.map(|position| position.to_string()) });
            (store, views, Some(head))
        }
        Err((error, since)) => {
            let store = json!({ "ok": false, "error": error, "unavailableSince": since });
            (store, api.connectors.list_remembered(&ListQuery::default()), None)
        }
    };
    let stalled = |view: &ConnectorView| view.progress.is_some_and(|progress| progress.stalled.is_some());
    let needs_somebody = |view: &ConnectorView| view.error.is_some() || view.parked.records > 0 || stalled(view);
    let word = match (serving, views.iter().any(needs_somebody)) {
        (false, _) => "unavailable",
        (true, true) => "degraded",
        (true, false) => "ok",
    };
    let connectors: Vec<_> = views.iter().map(|view| connector(view, known)).collect();
    status::health(json!({ "status": word, "store": store, "connectors": connectors }), serving)
}

/// The end of the log and all connectors as the store has them, or why it did not tell.
async fn ask(api: &Api) -> Result<(Option<Position>, Vec<ConnectorView>), String> {
    let head = within(STORE_TIMEOUT, api.store.head()).await?;
    let views = within(LIST_TIMEOUT, api.connectors.list(ListQuery::default())).await?;
    Ok((head, views))
}

/// What the store answers, or why it did not within the limit.
async fn within<T, E: Display>(limit: Duration, asked: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    let late = |_| format!("the store has not answered within {} ms", limit.as_millis());
    tokio::time::timeout(limit, asked).await.map_err(late)?.map_err(|error| error.to_string())
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

/// One connector. What only the store knows is null while it is away.
fn connector(view: &ConnectorView, known: Option<Option<Position>>) -> Value {
    let progress = view.progress.unwrap_or_default();
    let settled = progress.settled.or(view.position).unwrap_or(Position::START);
    let lag = |head: Option<Position>| head.map_or(0, |head| head.commit().saturating_sub(settled.commit()));
    let error = view.error.as_ref().map(|error| json!({ "code": error.code, "message": error.message }));
    let failing = progress.failing.map(|(since, class)| json!({ "since": since.to_string(), "class": class.label() }));
    json!({
        "id": view.id,
        "state": view.state.wire_name(),
        "error": error,
        "parked": known.map(|_| view.parked.records),
        "parkedKeys": known.map(|_| view.parked.keys),
        "parkedBytes": known.map(|_| view.parked.bytes),
        "stalledSince": progress.stalled.map(|since| since.to_string()),
        "oldestUndelivered": progress.oldest.map(|oldest| oldest.to_string()),
        "failing": failing,
        "breaker": progress.breaker.word(),
        "lag": known.map(lag),
    })
}
