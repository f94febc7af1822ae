//! Owns appending as the quick-starts do with curl: one event with headers, or a JSON array of events.

use axum::response::Response;
use bytes::Bytes;
use forebay_event::{ContentType, ProposedEvent};
use forebay_store::{AppendRequest, Appended};
use http::{HeaderMap, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::point::{expected_version, stream_name};
use super::state::{AppendBody, CallersStreams};
use crate::request::{UrlPath, header_text, json, media_type, twin_header};
use crate::status::{self, Refusal};

/// Media types of a JSON array of events.
pub(super) const EVENTS_JSON: [&str; 2] =
    ["application/vnd.eventstore.events+json", "application/vnd.kurrent.events+json"];
/// What an append may be.
const FORMS: &str = "application/vnd.eventstore.events+json, application/vnd.kurrent.events+json, application/json or \
                     application/octet-stream";
/// One append holds at most so many events.
pub(super) const APPEND_EVENTS_MAX: usize = 10_000;
/// What stays as it is in a stream's name within a URL.
const PATH_SAFE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'$');

/// Appends one event or several.
pub(super) async fn append(
    api: CallersStreams,
    UrlPath(name): UrlPath<String>,
    uri: Uri,
    headers: HeaderMap,
    body: AppendBody,
) -> Result<Response, Refusal> {
    let stream = stream_name(&name)?;
    let expected = expected_version(&headers)?;
    let events = events_of(&headers, &body.bytes)?;
    let count = events.len() as u64;
    let appended = api.store.append(AppendRequest { stream, expected, events }).await?;
    Ok(status::created(&location(&uri, &headers, &name, first_revision(appended, count))))
}

fn first_revision(appended: Appended, count: u64) -> u64 {
    appended.last_revision.map_or(0, |last| (last.get() + 1).saturating_sub(count))
}

fn location(uri: &Uri, headers: &HeaderMap, stream: &str, revision: u64) -> String {
    format!("{}/streams/{}/{revision}", base(uri, headers), escaped(stream))
}

/// Scheme and host as the caller named them.
pub(super) fn base(uri: &Uri, headers: &HeaderMap) -> String {
    let host = uri.authority().map_or_else(|| header_text(headers, header::HOST), |authority| authority.as_str());
    let scheme = uri.scheme_str().unwrap_or("http");
    if host.is_empty() { String::new() } else { format!("{scheme}://{host}") }
}

/// A stream's name as one segment of a path.
pub(super) fn escaped(stream: &str) -> String {
    utf8_percent_encode(stream, PATH_SAFE).to_string()
}

fn events_of(headers: &HeaderMap, body: &Bytes) -> Result<Vec<ProposedEvent>, Refusal> {
    match media_type(headers).as_str() {
        media if EVENTS_JSON.contains(&media) => array(body),
        "application/json" => {
            json::<serde::de::IgnoredAny>(body)?;
            Ok(vec![single(headers, body, ContentType::Json)?])
        }
        "application/octet-stream" => Ok(vec![single(headers, body, ContentType::Bytes)?]),
        other => Err(Refusal::media_type(other, FORMS)),
    }
}

fn single(headers: &HeaderMap, body: &Bytes, content_type: ContentType) -> Result<ProposedEvent, Refusal> {
    let event_type = twin_header(headers, "eventtype")?.filter(|text| !text.is_empty()).ok_or_else(|| {
        Refusal::field("ES-EventType", "header ES-EventType is missing: a body that is one event needs its type")
    })?;
    let id = match twin_header(headers, "eventid")? {
        None => Uuid::new_v4(),
        Some(text) => event_id(text)?,
    };
    let event_type = event_type.to_owned();
    Ok(ProposedEvent { id, event_type, content_type, data: body.clone(), metadata: Bytes::new() })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArrayEvent<'a> {
    event_id: Option<String>,
    event_type: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

/// Reads a JSON array of events.
pub(super) fn array(body: &[u8]) -> Result<Vec<ProposedEvent>, Refusal> {
    let read: Vec<ArrayEvent<'_>> = serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("the body is not a JSON array of events: {error}")))?;
    check_count(read.len())?;
    read.into_iter().enumerate().map(|(index, event)| array_event(index, event)).collect()
}

/// Refuses an append of no events or of too many.
pub(super) fn check_count(count: usize) -> Result<(), Refusal> {
    match count {
        0 => Err(Refusal::bad_request("the append holds no events: expected at least one")),
        count if count > APPEND_EVENTS_MAX => Err(Refusal::bad_request(format!(
            "the append holds {count} events, more than the limit of {APPEND_EVENTS_MAX}"
        ))),
        _ => Ok(()),
    }
}

fn array_event(index: usize, event: ArrayEvent<'_>) -> Result<ProposedEvent, Refusal> {
    let place = |name: &str| format!("events[{index}].{name}");
    let event_type = event.event_type.filter(|text| !text.is_empty()).ok_or_else(|| {
        Refusal::field(&place("eventType"), format!("{} is missing: expected a text", place("eventType")))
    })?;
    let id = event.event_id.map_or_else(|| Ok(Uuid::new_v4()), |text| event_id(&text))?;
    let data = event.data.map(inner_json).unwrap_or_default();
    let metadata = event.metadata.map(inner_json).unwrap_or_default();
    Ok(ProposedEvent { id, event_type, content_type: ContentType::Json, data, metadata })
}

/// The JSON of a member; a text that itself holds an object or array counts as that object or array.
fn inner_json(raw: &RawValue) -> Bytes {
    let text = raw.get();
    if text.starts_with('"')
        && let Ok(inner) = serde_json::from_str::<String>(text)
        && inner.trim_start().starts_with(['{', '['])
        && serde_json::from_str::<serde::de::IgnoredAny>(&inner).is_ok()
    {
        return Bytes::from(inner);
    }
    if text == "null" { Bytes::new() } else { Bytes::copy_from_slice(text.as_bytes()) }
}

/// Reads an event's id.
pub(super) fn event_id(text: &str) -> Result<Uuid, Refusal> {
    let id = Uuid::parse_str(text).ok().filter(|id| !id.is_nil());
    id.ok_or_else(|| Refusal::field("eventId", format!("event id is {text:?}: expected a UUID that is not all zeros")))
}
