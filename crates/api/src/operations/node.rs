//! Owns what is told about the node: `/info`, `/ping`, `/stats`, `/openapi.json`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use forebay_runtime::management::{ConnectorState, ListQuery};
use serde_json::json;
use uuid::Uuid;

use super::grpc::PROTOCOL_VERSION;
use crate::openapi;
use crate::router::Api;
use crate::status::Refusal;

/// What handlers of operation share: everything.
#[derive(Clone)]
pub(crate) struct OperationsApi {
    pub(super) api: Api,
    /// Another one for each start of the process.
    pub(super) instance: Uuid,
}

impl OperationsApi {
    /// Tells about this API's node.
    pub(crate) fn new(api: Api, instance: Uuid) -> Self {
        Self { api, instance }
    }
}

/// Version, state and features.
pub(super) async fn info(State(OperationsApi { api, .. }): State<OperationsApi>) -> Response {
    let authentication = if api.access.rules().asks { "basic" } else { "insecure" };
    Json(json!({
        "dbVersion": api.node.version,
        "esVersion": PROTOCOL_VERSION,
        "product": "forebay",
        "node": api.node.name,
        "state": "leader",
        "features": { "projections": false, "userManagement": true, "atomPub": true, "connectors": true },
        "authentication": { "type": authentication, "properties": {} },
    }))
    .into_response()
}

/// Answers that there is somebody. Clients expect a number beside the text, and look no closer at it.
pub(super) async fn ping() -> Response {
    Json(json!({ "msgTypeId": 0, "text": "Ping request successfully handled" })).into_response()
}

/// A few numbers.
pub(super) async fn stats(State(OperationsApi { api, .. }): State<OperationsApi>) -> Result<Response, Refusal> {
    let head = api.store.head().await?;
    let views = api.connectors.list(ListQuery::default()).await?;
    let checksum = head.map_or(0, |head| head.commit());
    let count = |state| views.iter().filter(|view| view.state == state).count();
    Ok(Json(json!({
        "node": api.node.name,
        "version": api.node.version,
        "started": api.node.started.to_string(),
        "uptimeSeconds": api.clock.now().since(api.node.started).as_secs(),
        "proc": { "id": std::process::id(), "startTime": api.node.started.to_string() },
        "es": { "checksum": checksum, "checksumNonFlushed": checksum },
        "log": { "lastPosition": head.map(|position| position.to_string()) },
        "connectors": {
            "total": views.len(),
            "running": count(ConnectorState::Running),
            "stopped": count(ConnectorState::Stopped),
            "failed": views.iter().filter(|view| view.error.is_some()).count(),
        },
    }))
    .into_response())
}

/// The document of this API.
pub(super) async fn document() -> Response {
    Json(openapi::document()).into_response()
}
