//! Owns parked records over HTTP: lists, details, and what is done about them.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use forebay_runtime::Connectors;
use forebay_runtime::management::ParkedPage;
use forebay_runtime::pipeline::{ParkedCommand, ParkedKey, ParkedOutcome, ParkedRecord};
use serde_json::{Map, Value, json};

use super::queries::paging;
use super::settings_body::{member, number, object, text};
use super::view::time;
use crate::request::{Payload, QueryPairs, UrlPath};
use crate::status::Refusal;

/// Lists the parked keys, one page of them.
pub(super) async fn keys(
    State(connectors): State<Connectors>,
    UrlPath(id): UrlPath<String>,
    query: QueryPairs,
) -> Result<Response, Refusal> {
    let page = page(&query)?;
    let (count, keys) = connectors.parked_keys(&id).await?;
    let items: Vec<_> = keys.iter().skip(page.skip).take(page.take).map(key).collect();
    Ok(Json(json!({
        "keys": count.keys, "records": count.records, "bytes": count.bytes,
        "totalSize": items.len(), "totalCount": keys.len(), "items": items,
    }))
    .into_response())
}

/// Shows a parked key and one page of its records.
pub(super) async fn records(
    State(connectors): State<Connectors>,
    UrlPath((id, name)): UrlPath<(String, String)>,
    query: QueryPairs,
) -> Result<Response, Refusal> {
    let (found, records) = connectors.parked_records(&id, &name, page(&query)?).await?;
    let mut shown = key(&found);
    let items: Vec<_> = records.iter().map(record).collect();
    if let Some(object) = shown.as_object_mut() {
        object.insert("totalSize".to_owned(), json!(items.len()));
        object.insert("totalCount".to_owned(), json!(found.records));
        object.insert("items".to_owned(), Value::Array(items));
    }
    Ok(Json(shown).into_response())
}

fn page(query: &QueryPairs) -> Result<ParkedPage, Refusal> {
    query.only(&["page", "pageSize"])?;
    let (page, size) = paging(query)?;
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Ok(ParkedPage { skip: number((page - 1).saturating_mul(size)), take: number(size) })
}

/// Tries the first record of a key once.
pub(super) async fn retry(
    State(connectors): State<Connectors>,
    UrlPath((id, key)): UrlPath<(String, String)>,
    Payload(body): Payload,
) -> Result<Response, Refusal> {
    fields(&body, &[])?;
    answer(&connectors, &id, &key, ParkedCommand::Retry).await
}

/// Tries the first record of a key and lets the rest follow; or only says how many there are.
pub(super) async fn replay(
    State(connectors): State<Connectors>,
    UrlPath((id, key)): UrlPath<(String, String)>,
    Payload(body): Payload,
) -> Result<Response, Refusal> {
    let body = fields(&body, &["recordsPerSecond", "dryRun"])?;
    if flag(&body, "dryRun")? {
        let (found, _) = connectors.parked_records(&id, &key, ParkedPage { skip: 0, take: 0 }).await?;
        let told = json!({ "outcome": "dryRun", "key": found.key, "records": found.records, "bytes": found.bytes });
        return Ok(Json(told).into_response());
    }
    let per_s = number(&body, "recordsPerSecond")?;
    let records_per_s = per_s.map(|per_s| u32::try_from(per_s).unwrap_or(u32::MAX));
    answer(&connectors, &id, &key, ParkedCommand::Replay { records_per_s }).await
}

/// Gives a record another payload.
pub(super) async fn edit(
    State(connectors): State<Connectors>,
    UrlPath((id, key)): UrlPath<(String, String)>,
    Payload(body): Payload,
) -> Result<Response, Refusal> {
    let body = fields(&body, &["record", "data", "dataBase64", "reason"])?;
    let number = number(&body, "record")?.ok_or_else(|| missing("record", "the number of a parked record"))?;
    let data = payload(&body)?;
    answer(&connectors, &id, &key, ParkedCommand::Edit { number, data, reason: reason(&body)? }).await
}

/// Gives up one record, or all of a key.
pub(super) async fn give_up(
    State(connectors): State<Connectors>,
    UrlPath((id, key)): UrlPath<(String, String)>,
    Payload(body): Payload,
) -> Result<Response, Refusal> {
    let body = fields(&body, &["record", "reason"])?;
    let number = number(&body, "record")?;
    answer(&connectors, &id, &key, ParkedCommand::Drop { number, reason: reason(&body)? }).await
}

async fn answer(connectors: &Connectors, id: &str, key: &str, command: ParkedCommand) -> Result<Response, Refusal> {
    let told = match connectors.change_parked(id, key, command).await? {
        ParkedOutcome::Delivered { left } => json!({ "outcome": "delivered", "left": left }),
        ParkedOutcome::Waiting { class, message, left } => {
            json!({ "outcome": "waiting", "error": { "class": class, "message": message }, "left": left })
        }
        ParkedOutcome::Refused { class, message, left } => {
            json!({ "outcome": "refused", "error": { "class": class, "message": message }, "left": left })
        }
        ParkedOutcome::Edited => json!({ "outcome": "edited" }),
        ParkedOutcome::Dropped { records } => json!({ "outcome": "dropped", "records": records }),
    };
    Ok(Json(told).into_response())
}

fn fields(body: &[u8], known: &[&str]) -> Result<Map<String, Value>, Refusal> {
    let object = if body.iter().all(u8::is_ascii_whitespace) { Map::new() } else { object(body)? };
    match object.keys().find(|key| !known.iter().any(|known| key.eq_ignore_ascii_case(known))) {
        None => Ok(object),
        Some(key) if known.is_empty() => Err(Refusal::field(key, format!("{key} is not known: expected no members"))),
        Some(key) => Err(Refusal::field(key, format!("{key} is not known: expected one of {}", known.join(", ")))),
    }
}

fn missing(field: &str, expected: &str) -> Refusal {
    Refusal::field(field, format!("{field} is missing: expected {expected}"))
}

fn reason(body: &Map<String, Value>) -> Result<String, Refusal> {
    text(body, "reason")?.map(str::to_owned).ok_or_else(|| missing("reason", "a text that says why"))
}

fn flag(body: &Map<String, Value>, name: &str) -> Result<bool, Refusal> {
    match member(body, name) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(Refusal::field(name, format!("{name} is {other}: expected true or false"))),
    }
}

fn payload(body: &Map<String, Value>) -> Result<Bytes, Refusal> {
    match (body.iter().find(|(key, _)| key.eq_ignore_ascii_case("data")), text(body, "dataBase64")?) {
        (Some((_, data)), None) => Ok(data.to_string().into_bytes().into()),
        (None, Some(base64)) => STANDARD
            .decode(base64)
            .map(Bytes::from)
            .map_err(|error| Refusal::field("dataBase64", format!("dataBase64 cannot be read: {error}"))),
        (Some(_), Some(_)) => Err(Refusal::field("data", "data and dataBase64 are both given: expected one of them")),
        (None, None) => Err(missing("data", "the payload to deliver, or dataBase64")),
    }
}

fn key(key: &ParkedKey) -> Value {
    json!({
        "key": key.key,
        "records": key.records,
        "bytes": key.bytes,
        "since": key.since.map(time),
        "attempts": key.attempts,
        "error": error(key.error_class.as_deref(), key.error.as_deref()),
        "replaying": key.is_replaying,
    })
}

fn error(class: Option<&str>, message: Option<&str>) -> Value {
    class.map_or(Value::Null, |class| json!({ "class": class, "message": message.unwrap_or_default() }))
}

fn record(record: &ParkedRecord) -> Value {
    let mut shown = json!({
        "record": record.number,
        "stream": record.stream,
        "revision": record.revision,
        "position": record.position.to_string(),
        "eventId": record.id.to_string(),
        "type": record.event_type,
        "contentType": record.content_type,
        "created": time(record.created),
        "parked": record.parked_at.map(time),
        "attempts": record.attempts,
        "reason": if record.error.is_some() { "rejected" } else { "follows" },
        "error": error(record.error_class.as_deref(), record.error.as_deref()),
        "answer": record.answer,
    });
    if let Some(object) = shown.as_object_mut() {
        put_payload(object, ("data", "dataBase64"), &record.data);
        if !record.metadata.is_empty() {
            put_payload(object, ("metadata", "metadataBase64"), &record.metadata);
        }
        if let Some((original, reason)) = &record.original {
            put_payload(object, ("original", "originalBase64"), original);
            object.insert("editReason".to_owned(), json!(reason));
        }
    }
    shown
}

fn put_payload(object: &mut Map<String, Value>, names: (&str, &str), payload: &[u8]) {
    match serde_json::from_slice(payload) {
        Ok(json) => object.insert(names.0.to_owned(), json),
        Err(_) => object.insert(names.1.to_owned(), Value::String(STANDARD.encode(payload))),
    };
}
