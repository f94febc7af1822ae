//! Owns appending in the plain JSON form.

use axum::Json;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use forebay_event::{ContentType, ExpectedRevision, ProposedEvent, Revision};
use forebay_store::AppendRequest;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::append::{check_count, event_id};
use super::point::{position_text, stream_name};
use super::state::{AppendBody, CallersStreams};
use crate::request::UrlPath;
use crate::status::Refusal;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body<'a> {
    expected_revision: Option<Value>,
    #[serde(borrow)]
    events: Vec<PlainEvent<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PlainEvent<'a> {
    id: Option<String>,
    #[serde(rename = "type")]
    event_type: String,
    content_type: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_base64: Option<String>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    metadata_base64: Option<String>,
}

/// Appends the events of the body.
pub(super) async fn append(
    api: CallersStreams,
    UrlPath(name): UrlPath<String>,
    body: AppendBody,
) -> Result<Response, Refusal> {
    let stream = stream_name(&name)?;
    let (expected, events) = read(&body.bytes)?;
    let appended = api.store.append(AppendRequest { stream, expected, events }).await?;
    Ok(Json(json!({
        "lastRevision": appended.last_revision.map(Revision::get),
        "position": appended.position.map(position_text),
    }))
    .into_response())
}

pub(super) fn read(body: &[u8]) -> Result<(ExpectedRevision, Vec<ProposedEvent>), Refusal> {
    let body: Body<'_> = serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("the body is not an append: {error}")))?;
    check_count(body.events.len())?;
    let expected = expected_revision(body.expected_revision.as_ref())?;
    let events: Result<Vec<_>, _> =
        body.events.into_iter().enumerate().map(|(index, event)| propose(index, event)).collect();
    Ok((expected, events?))
}

fn expected_revision(given: Option<&Value>) -> Result<ExpectedRevision, Refusal> {
    match given {
        None | Some(Value::Null) => Ok(ExpectedRevision::Any),
        Some(Value::String(text)) if text == "any" => Ok(ExpectedRevision::Any),
        Some(Value::String(text)) if text == "noStream" => Ok(ExpectedRevision::NoStream),
        Some(Value::String(text)) if text == "streamExists" => Ok(ExpectedRevision::StreamExists),
        Some(Value::Number(number)) if number.is_u64() => {
            Ok(ExpectedRevision::Exact(Revision::new(number.as_u64().unwrap_or_default())))
        }
        Some(other) => Err(Refusal::field(
            "expectedRevision",
            format!("expectedRevision is {other}: expected \"any\", \"noStream\", \"streamExists\" or a number"),
        )),
    }
}

fn propose(index: usize, event: PlainEvent<'_>) -> Result<ProposedEvent, Refusal> {
    let wrong = |name: &str, problem: &str| {
        let place = format!("events[{index}].{name}");
        Refusal::field(&place, format!("{place} {problem}"))
    };
    if event.event_type.is_empty() {
        return Err(wrong("type", "is empty: expected a text"));
    }
    let id = event.id.map_or_else(|| Ok(Uuid::new_v4()), |text| event_id(&text))?;
    let content_type = match event.content_type.as_deref() {
        Some(text) => ContentType::from_media_type(text),
        None if event.data_base64.is_some() => ContentType::Bytes,
        None => ContentType::Json,
    };
    let data = payload(event.data, event.data_base64.as_deref()).map_err(|problem| wrong("data", problem))?;
    let metadata =
        payload(event.metadata, event.metadata_base64.as_deref()).map_err(|problem| wrong("metadata", problem))?;
    Ok(ProposedEvent { id, event_type: event.event_type, content_type, data, metadata })
}

fn payload(json: Option<&RawValue>, base64: Option<&str>) -> Result<Bytes, &'static str> {
    match (json, base64) {
        (None, None) => Ok(Bytes::new()),
        (Some(json), None) => Ok(Bytes::copy_from_slice(json.get().as_bytes())),
        (None, Some(text)) => STANDARD.decode(text).map(Bytes::from).map_err(|_| "is not valid base64"),
        (Some(_), Some(_)) => Err("is given both as JSON and as base64: expected one of them"),
    }
}
