//! Owns the commands and queries of the preview API: older words, plain-text refusals, repeats answered with success.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use forebay_event::Position;
use forebay_runtime::Connectors;
use forebay_runtime::management::{
    CommandError, ConnectorState, ConnectorView, CreateConnector, ListQuery, QueryError,
};
use serde_json::{Map, Value};

use super::preview_settings::{PreviewConnector, is_enabled, list_item};
use super::settings_body::{member, number};
use crate::request::UrlPath;
use crate::status::{self, Refusal};

/// A reset waits at most so long for a running connector to stop.
const STOP_WAIT_MAX: Duration = Duration::from_secs(60);
/// How often it looks.
const STOP_LOOK: Duration = Duration::from_millis(50);
const POSITIONS: [&str; 2] = ["CommitPosition", "PreparePosition"];

/// Whether a body is a create of the preview API.
pub(super) fn is_create(body: &[u8]) -> bool {
    let read: Option<Map<String, Value>> = serde_json::from_slice(body).ok();
    read.is_some_and(|object| {
        object.keys().any(|key| key.eq_ignore_ascii_case("sink"))
            && ["settings", "configuration", "instanceTypeName"].iter().all(|name| member(&object, name).is_none())
    })
}

/// Makes a connector and enables it if asked; the same create again is a success.
pub(super) async fn create(connectors: &Connectors, id: &str, body: &[u8]) -> Result<Response, Refusal> {
    if id.trim().is_empty() {
        return Err(Refusal::plain("Name is null or white space"));
    }
    let wanted = PreviewConnector::read(object(body)?)?;
    let create = CreateConnector { name: None, settings: wanted.to_settings()? };
    match connectors.create(id, create).await {
        Ok(()) if wanted.enable => connectors.start(id, None).await.map_err(refuse)?,
        Ok(()) => {}
        Err(CommandError::Exists { .. }) if PreviewConnector::of_view(&view(connectors, id).await?) == wanted => {}
        Err(CommandError::Exists { .. }) => return Err(Refusal::plain("Connector already exists")),
        Err(error) => return Err(refuse(error)),
    }
    Ok(status::done_silently())
}

/// Lists all connectors in the preview's words.
pub(super) async fn list(State(connectors): State<Connectors>) -> Result<Response, Refusal> {
    let views = connectors.list(ListQuery::default()).await?;
    Ok(Json(views.iter().map(list_item).collect::<Vec<_>>()).into_response())
}

/// Lists the ids of the connectors that run on this node.
pub(super) async fn active_on_node(State(connectors): State<Connectors>) -> Result<Response, Refusal> {
    let views = connectors.list(ListQuery::default()).await?;
    let active = views.into_iter().filter(|view| view.state == ConnectorState::Running).map(|view| view.id);
    Ok(Json(active.collect::<Vec<_>>()).into_response())
}

/// Enables a connector; an enabled one stays so.
pub(super) async fn enable(
    State(connectors): State<Connectors>,
    UrlPath(id): UrlPath<String>,
) -> Result<Response, Refusal> {
    view(&connectors, &id).await?;
    match connectors.start(&id, None).await {
        Ok(()) => {}
        Err(CommandError::IllegalTransition { state, .. }) if is_enabled(state) => {}
        Err(error) => return Err(refuse(error)),
    }
    Ok(status::done_silently())
}

/// Disables a connector; a disabled one stays so.
pub(super) async fn disable(
    State(connectors): State<Connectors>,
    UrlPath(id): UrlPath<String>,
) -> Result<Response, Refusal> {
    connectors.stop(&id).await.map_err(refuse)?;
    Ok(status::done_silently())
}

/// Lets an enabled connector go on behind other positions.
///
/// A disabled one is refused: a reset always starts, and this API promises that a disabled connector stays so.
pub(super) async fn reset(connectors: &Connectors, id: &str, body: &[u8]) -> Result<Response, Refusal> {
    let from = positions(body)?;
    if !is_enabled(view(connectors, id).await?.state) {
        return Err(Refusal::plain(
            "Connector is disabled: enable it first, or use /connectors/{id}/reset/{log_position}, which also starts it",
        ));
    }
    connectors.stop(id).await.map_err(refuse)?;
    stopped(connectors, id).await?;
    connectors.reset(id, from).await.map_err(refuse)?;
    Ok(status::done_silently())
}

fn positions(body: &[u8]) -> Result<Option<Position>, Refusal> {
    let object = object(body)?;
    if let Some(key) = object.keys().find(|key| !POSITIONS.iter().any(|known| key.eq_ignore_ascii_case(known))) {
        return Err(Refusal::plain(format!("{key} is not known: expected {}", POSITIONS.join(" and "))));
    }
    let read = |name| number(&object, name).map_err(Refusal::into_plain).map(Option::unwrap_or_default);
    let position = Position::from_parts(read("CommitPosition")?, read("PreparePosition")?);
    if position.prepare() > position.commit() {
        return Err(Refusal::plain("Invalid Position. PreparePosition is above CommitPosition"));
    }
    Ok((position != Position::START).then_some(position))
}

async fn stopped(connectors: &Connectors, id: &str) -> Result<(), Refusal> {
    let waited = tokio::time::timeout(STOP_WAIT_MAX, async {
        while view(connectors, id).await?.state != ConnectorState::Stopped {
            tokio::time::sleep(STOP_LOOK).await;
        }
        Ok(())
    });
    waited.await.unwrap_or_else(|_| Err(Refusal::unavailable("the connector did not stop in time").into_plain()))
}

async fn view(connectors: &Connectors, id: &str) -> Result<ConnectorView, Refusal> {
    match connectors.get(id).await {
        Ok(view) if view.deleted_at.is_none() => Ok(view),
        Ok(_) | Err(QueryError::NotFound { .. }) => Err(Refusal::plain("Connector does not exist")),
        Err(error) => Err(Refusal::from(error).into_plain()),
    }
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::plain(error.to_string()))
}

fn refuse(error: CommandError) -> Refusal {
    match error {
        CommandError::NotFound { .. } | CommandError::Deleted { .. } => Refusal::plain("Connector does not exist"),
        CommandError::NoSuchPosition { .. } => Refusal::plain(format!("Invalid Position. {error}")),
        CommandError::Invalid(_) | CommandError::Settings(_) => Refusal::plain(error.to_string()),
        other => Refusal::from(other).into_plain(),
    }
}
