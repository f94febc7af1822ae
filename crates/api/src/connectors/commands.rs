//! Owns the commands of the current management API.

use axum::extract::State;
use axum::response::Response;
use forebay_connector::settings::SettingsMap;
use forebay_event::Position;
use forebay_runtime::Connectors;
use forebay_runtime::management::CreateConnector;
use forebay_store::LogPoint;
use serde_json::{Map, Value};

use super::preview_api;
use super::settings_body::{member, object, settings, text, wrapped};
use crate::request::{Payload, UrlPath};
use crate::status::{self, Refusal};

/// Makes a connector; a body with a `Sink` is one of the preview API.
pub(super) async fn create(
    State(connectors): State<Connectors>,
    UrlPath(id): UrlPath<String>,
    Payload(body): Payload,
) -> Result<Response, Refusal> {
    if preview_api::is_create(&body) {
        return preview_api::create(&connectors, &id, &body).await;
    }
    connectors.create(&id, create_of(&body)?).await?;
    Ok(status::done())
}

fn create_of(body: &[u8]) -> Result<CreateConnector, Refusal> {
    let object = object(body)?;
    let is_bare = member(&object, "settings").is_none() && member(&object, "configuration").is_none();
    if is_bare {
        return Ok(CreateConnector { name: None, settings: wrapped(&object, &[])? });
    }
    let name = text(&object, "name")?.map(str::to_owned);
    Ok(CreateConnector { name, settings: wrapped(&object, &["name"])? })
}

/// Replaces the settings by a flat map.
pub(super) async fn reconfigure_flat(
    State(connectors): State<Connectors>,
    UrlPath(id): UrlPath<String>,
    Payload(body): Payload,
) -> Result<Response, Refusal> {
    connectors.reconfigure(&id, settings(&Value::Object(object(&body)?))?).await?;
    Ok(status::done())
}

/// Replaces the settings by a nested object.
pub(super) async fn reconfigure_nested(
    State(connectors): State<Connectors>,
    UrlPath(id): UrlPath<String>,
    Payload(body): Payload,
) -> Result<Response, Refusal> {
    connectors.reconfigure(&id, SettingsMap::from_nested(&Value::Object(object(&body)?))?).await?;
    Ok(status::done())
}

/// Starts a connector where it stands, or where the optional body says.
pub(super) async fn start(
    State(connectors): State<Connectors>,
    UrlPath(id): UrlPath<String>,
    Payload(body): Payload,
) -> Result<Response, Refusal> {
    connectors.start(&id, start_point(&body)?).await?;
    Ok(status::done())
}

/// Starts a connector behind a position.
pub(super) async fn start_at(
    State(connectors): State<Connectors>,
    UrlPath((id, position)): UrlPath<(String, String)>,
) -> Result<Response, Refusal> {
    connectors.start(&id, Some(LogPoint::At(log_position(&position)?))).await?;
    Ok(status::done())
}

/// Starts a stopped connector anew from the beginning; with positions in the body, as the preview API does.
pub(super) async fn reset(
    State(connectors): State<Connectors>,
    UrlPath(id): UrlPath<String>,
    Payload(body): Payload,
) -> Result<Response, Refusal> {
    if !optional_object(&body)?.is_empty() {
        return preview_api::reset(&connectors, &id, &body).await;
    }
    connectors.reset(&id, None).await?;
    Ok(status::done())
}

/// Starts a stopped connector anew behind a position.
pub(super) async fn reset_at(
    State(connectors): State<Connectors>,
    UrlPath((id, position)): UrlPath<(String, String)>,
) -> Result<Response, Refusal> {
    connectors.reset(&id, Some(log_position(&position)?)).await?;
    Ok(status::done())
}

/// Asks a connector to stop.
pub(super) async fn stop(
    State(connectors): State<Connectors>,
    UrlPath(id): UrlPath<String>,
) -> Result<Response, Refusal> {
    connectors.stop(&id).await?;
    Ok(status::done())
}

/// Gives a connector another name.
pub(super) async fn rename(
    State(connectors): State<Connectors>,
    UrlPath(id): UrlPath<String>,
    Payload(body): Payload,
) -> Result<Response, Refusal> {
    let object = object(&body)?;
    let name = text(&object, "name")?.ok_or_else(|| Refusal::field("name", "name is missing: expected a text"))?;
    connectors.rename(&id, name).await?;
    Ok(status::done())
}

/// Deletes a stopped connector.
pub(super) async fn delete(
    State(connectors): State<Connectors>,
    UrlPath(id): UrlPath<String>,
) -> Result<Response, Refusal> {
    connectors.delete(&id).await?;
    Ok(status::done())
}

fn optional_object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    if body.iter().all(u8::is_ascii_whitespace) { Ok(Map::new()) } else { object(body) }
}

/// Where the body of a start says to begin; none when it does not say.
fn start_point(body: &[u8]) -> Result<Option<LogPoint>, Refusal> {
    let object = optional_object(body)?;
    if let Some(key) = object.keys().find(|key| !key.eq_ignore_ascii_case("from")) {
        return Err(Refusal::field(key, format!("{key} is not known: expected from")));
    }
    let Some(found) = member(&object, "from") else { return Ok(None) };
    match found.as_str() {
        Some("earliest") => return Ok(Some(LogPoint::Start)),
        Some("latest") => return Ok(Some(LogPoint::End)),
        Some(_) | None => {}
    }
    let position = found.as_u64().or_else(|| found.as_str().and_then(|text| text.parse().ok()));
    position.map(|position| Some(LogPoint::At(Position::new(position)))).ok_or_else(|| {
        Refusal::field("from", format!("from is {found}: expected \"earliest\", \"latest\" or a log position"))
    })
}

fn log_position(text: &str) -> Result<Position, Refusal> {
    let position = text.parse().map(Position::new);
    position.map_err(|_| Refusal::field("logPosition", format!("log position is {text:?}: expected a whole number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_create_is_taken_flat_nested_or_bare() {
        let flat = r#"{"name":"N","settings":{"instanceTypeName":"http-sink","subscription:filter:scope":"stream"}}"#;
        let nested =
            r#"{"configuration":{"instanceTypeName":"http-sink","subscription":{"filter":{"scope":"stream"}}}}"#;
        let mixed = r#"{"settings":{"instanceTypeName":"http-sink","subscription":{"filter":{"scope":"stream"}}}}"#;
        let bare = r#"{"instanceTypeName":"http-sink","subscription:filter:scope":"stream"}"#;
        for body in [flat, nested, mixed, bare] {
            let create = create_of(body.as_bytes()).unwrap();
            assert_eq!(create.settings.get("instanceTypeName"), Some("http-sink"), "{body}");
            assert_eq!(create.settings.get("subscription:filter:scope"), Some("stream"), "{body}");
        }
        assert_eq!(create_of(flat.as_bytes()).unwrap().name.as_deref(), Some("N"));
        assert!(create_of(br#"{"settings":{},"setings":{}}"#).is_err(), "a wrong member is refused");
        assert!(create_of(b"[]").is_err() && create_of(b"").is_err() && create_of(br#"{"settings":3}"#).is_err());
    }

    #[test]
    fn a_start_says_from_where_or_nothing() {
        assert_eq!(start_point(b"").unwrap(), None);
        assert_eq!(start_point(b"{}").unwrap(), None);
        assert_eq!(start_point(br#"{"from":"earliest"}"#).unwrap(), Some(LogPoint::Start));
        assert_eq!(start_point(br#"{"from":"latest"}"#).unwrap(), Some(LogPoint::End));
        for body in [r#"{"from":7}"#, r#"{"from":"7"}"#] {
            assert_eq!(start_point(body.as_bytes()).unwrap(), Some(LogPoint::At(Position::new(7))));
        }
        for wrong in [r#"{"from":"now"}"#, r#"{"from":-1}"#, r#"{"form":1}"#, "[1]"] {
            assert!(start_point(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
