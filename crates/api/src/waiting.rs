//! Owns what is answered while the server waits for its store: alive, not ready, and why.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use forebay_store::EventStore;

use crate::operations::{away_text, waiting};
use crate::request::QueryPairs;
use crate::status::{self, Refusal};

/// The API of a server whose store is not there yet.
pub fn waiting_router(store: Arc<dyn EventStore>) -> Router {
    let routes = Router::new().route("/health/live", get(live)).route("/health", get(detail));
    routes.with_state(store.clone()).fallback(move || refuse(store.clone()))
}

async fn live(query: QueryPairs) -> Result<Response, Refusal> {
    status::healthy(query.one("liveCode"))
}

async fn detail(State(store): State<Arc<dyn EventStore>>) -> Response {
    waiting(&*store)
}

async fn refuse(store: Arc<dyn EventStore>) -> Refusal {
    let reason = store.outage().map_or_else(|| "its store has just come".to_owned(), |away| away_text(&away));
    Refusal::unavailable(format!("the server is starting: {reason}"))
}
