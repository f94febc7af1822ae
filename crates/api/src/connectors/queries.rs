//! Owns the queries of the current management API.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use forebay_runtime::Connectors;
use forebay_runtime::management::{ConnectorState, ListQuery};
use serde_json::json;

use super::view::{Include, Nesting, connector, flat, time};
use crate::request::{QueryPairs, UrlPath};
use crate::status::Refusal;

/// A page holds at most, and by default, so many connectors.
const PAGE_SIZE_MAX: u64 = 100;
const STATES: [ConnectorState; 4] =
    [ConnectorState::Activating, ConnectorState::Running, ConnectorState::Deactivating, ConnectorState::Stopped];

/// Lists the connectors that fit, one page of them.
pub(super) async fn list(State(connectors): State<Connectors>, query: QueryPairs) -> Result<Response, Refusal> {
    let include = include(&query)?;
    let (page, size) = paging(&query)?;
    let skipped = usize::try_from((page - 1).saturating_mul(size)).unwrap_or(usize::MAX);
    let taken = usize::try_from(size).unwrap_or(usize::MAX);
    let (total, views) = connectors.list_page(list_query(&query)?, skipped..skipped.saturating_add(taken)).await?;
    let mut nesting = Nesting::new(connectors.catalog());
    let items: Vec<_> = views.iter().map(|view| connector(view, include, &mut nesting)).collect();
    Ok(Json(json!({ "totalSize": items.len(), "totalCount": total, "items": items })).into_response())
}

/// Page from 1 and page size, as a query gives them.
pub(super) fn paging(query: &QueryPairs) -> Result<(u64, u64), Refusal> {
    let page = either(query, "page")?.unwrap_or(1);
    let size = either(query, "pageSize")?.unwrap_or(PAGE_SIZE_MAX);
    let rules = [
        ("Page", page < 1, "Page must be greater than or equal to 1."),
        ("PageSize", size < 1, "Page size must be greater than or equal to 1."),
        ("PageSize", size > PAGE_SIZE_MAX, "Page size must be less than or equal to 100."),
    ];
    let broken = rules.into_iter().filter(|(_, broken, _)| *broken);
    let violations: Vec<_> = broken.map(|(field, _, problem)| (field.to_owned(), problem.to_owned())).collect();
    if violations.is_empty() { Ok((page, size)) } else { Err(Refusal::fields(&violations)) }
}

/// One connector, with its settings.
pub(super) async fn get(
    State(connectors): State<Connectors>,
    UrlPath(id): UrlPath<String>,
    query: QueryPairs,
) -> Result<Response, Refusal> {
    let include = Include { settings: true, ..include(&query)? };
    let view = connectors.get(&id).await?;
    Ok(Json(connector(&view, include, &mut Nesting::new(connectors.catalog()))).into_response())
}

/// The settings as a flat map.
pub(super) async fn settings(
    State(connectors): State<Connectors>,
    UrlPath(id): UrlPath<String>,
) -> Result<Response, Refusal> {
    let view = connectors.get(&id).await?;
    let (settings, at) = (flat(&view.settings), time(view.settings_at));
    Ok(Json(json!({ "settings": settings, "settingsUpdateTime": at })).into_response())
}

/// The settings as a nested object.
pub(super) async fn configuration(
    State(connectors): State<Connectors>,
    UrlPath(id): UrlPath<String>,
) -> Result<Response, Refusal> {
    let view = connectors.get(&id).await?;
    let configuration = Nesting::new(connectors.catalog()).configuration(&view);
    let at = time(view.settings_at);
    Ok(Json(json!({ "configuration": configuration, "configurationUpdateTime": at })).into_response())
}

fn include(query: &QueryPairs) -> Result<Include, Refusal> {
    Ok(Include { settings: query.flag("includeSettings")?, configuration: query.flag("includeConfiguration")? })
}

/// A number under its documented name, or as the contract nests it.
fn either(query: &QueryPairs, name: &str) -> Result<Option<u64>, Refusal> {
    Ok(query.number(name)?.or(query.number(&format!("paging.{name}"))?))
}

fn list_query(query: &QueryPairs) -> Result<ListQuery, Refusal> {
    let states: Result<Vec<_>, _> = query.all("state").iter().map(|text| state(text)).collect();
    Ok(ListQuery {
        states: states?,
        kinds: query.all("instanceTypeName"),
        ids: query.all("connectorId"),
        show_deleted: query.flag("showDeleted")?,
    })
}

fn state(text: &str) -> Result<ConnectorState, Refusal> {
    STATES.into_iter().find(|state| state.wire_name().eq_ignore_ascii_case(text)).ok_or_else(|| {
        let expected = STATES.map(ConnectorState::wire_name).join(", ");
        Refusal::field("state", format!("state is {text:?}: expected one of {expected}"))
    })
}
