//! Owns a stream's metadata over HTTP.

use axum::Json;
use axum::response::{IntoResponse, Response};
use forebay_store::StreamMetadata;
use http::{HeaderMap, Uri};
use serde_json::{Map, Value};

use super::append::{EVENTS_JSON, array, base, escaped};
use super::point::{expected_version, stream_name};
use super::state::{AppendBody, CallersStreams};
use crate::request::{UrlPath, json, media_type};
use crate::status::{self, Refusal};

/// Answers the newest metadata; an empty object when there is none.
pub(super) async fn get(api: CallersStreams, UrlPath(name): UrlPath<String>) -> Result<Response, Refusal> {
    let (metadata, _) = api.store.metadata(&stream_name(&name)?).await?;
    Ok(Json(metadata.as_object()).into_response())
}

/// Replaces the metadata.
pub(super) async fn set(
    api: CallersStreams,
    UrlPath(name): UrlPath<String>,
    uri: Uri,
    headers: HeaderMap,
    body: AppendBody,
) -> Result<Response, Refusal> {
    let stream = stream_name(&name)?;
    let expected = expected_version(&headers)?;
    let metadata = StreamMetadata::new(object(&headers, &body.bytes)?);
    let appended = api.store.set_metadata(&stream, expected, metadata).await?;
    let revision = appended.last_revision.map_or(0, forebay_event::Revision::get);
    let base = base(&uri, &headers);
    Ok(status::created(&format!("{base}/streams/{}/{revision}", escaped(&format!("$${name}")))))
}

fn object(headers: &HeaderMap, body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    match media_type(headers).as_str() {
        "application/json" => json(body),
        media if EVENTS_JSON.contains(&media) => match array(body)?.as_slice() {
            [event] => json(&event.data),
            events => {
                let count = events.len();
                Err(Refusal::bad_request(format!("the body holds {count} events: metadata is written as exactly one")))
            }
        },
        other => Err(Refusal::media_type(other, "application/json or application/vnd.eventstore.events+json")),
    }
}
