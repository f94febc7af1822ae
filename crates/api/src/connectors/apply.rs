//! Owns applying a connector file that is sent as a body.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use forebay_runtime::Connectors;
use forebay_runtime::management::apply::Change;
use http::HeaderMap;
use serde_json::{Value, json};

use super::file::{FileFormat, parse_connector_file};
use crate::request::{Payload, QueryPairs, media_type};
use crate::status::Refusal;

/// Makes the declared connectors so, or says what that would do.
pub(super) async fn apply(
    State(connectors): State<Connectors>,
    headers: HeaderMap,
    query: QueryPairs,
    Payload(body): Payload,
) -> Result<Response, Refusal> {
    query.only(&["dryRun"])?;
    let dry_run = query.flag("dryRun")?;
    let media = media_type(&headers);
    let format = FileFormat::of_media_type(&media)
        .ok_or_else(|| Refusal::media_type(&media, "application/yaml, application/toml or application/json"))?;
    let text = std::str::from_utf8(&body).map_err(|_| Refusal::bad_request("the file is not UTF-8 text"))?;
    let file = parse_connector_file(text, format).map_err(|error| Refusal::bad_request(error.to_string()))?;
    let changes = connectors.apply(&file, dry_run).await?;
    Ok(Json(json!({ "changes": changes.iter().map(change_json).collect::<Vec<_>>() })).into_response())
}

fn change_json(change: &Change) -> Value {
    json!({ "id": change.id, "actions": change.actions, "diff": change.diff })
}
