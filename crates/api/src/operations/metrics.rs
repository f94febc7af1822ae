//! Owns the page that Prometheus scrapes.

use axum::extract::State;
use axum::response::Response;

use super::node::OperationsApi;
use crate::status::{self, Refusal};

/// All metrics of this process as text.
pub(super) async fn metrics(State(OperationsApi { api, .. }): State<OperationsApi>) -> Result<Response, Refusal> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &api.registry).map_err(|_| Refusal::internal())?;
    Ok(status::bytes("application/openmetrics-text; version=1.0.0; charset=utf-8", text))
}
