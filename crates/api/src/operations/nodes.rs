//! Owns the list of nodes that share the store: `/nodes`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use forebay_runtime::management::NodeView;
use serde_json::{Value, json};

use super::node::OperationsApi;

/// The nodes, as this one sees them.
pub(super) async fn list(State(OperationsApi { api, .. }): State<OperationsApi>) -> Response {
    let nodes: Vec<_> = api.connectors.nodes().iter().map(|view| shown(view, &api.node.name)).collect();
    Json(json!({ "nodes": nodes })).into_response()
}

fn shown(view: &NodeView, own_name: &str) -> Value {
    let name = if view.is_this { own_name } else { &view.name };
    json!({
        "id": view.id.to_string(),
        "name": name,
        "address": view.address,
        "labels": view.labels,
        "startedAt": view.started_at.map(|at| at.to_string()),
        "state": view.state.word(),
        "isThis": view.is_this,
        "isLeader": view.is_leader,
        "silentMs": u64::try_from(view.silent_for.as_millis()).unwrap_or(u64::MAX),
        "connectorCount": view.connectors.len(),
        "connectors": view.connectors,
    })
}
