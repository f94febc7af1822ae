//! Owns the headers that sinks send along with a record.

use forebay_event::{Headers, Record};

use crate::{Batch, SinkContext};

/// One header: a name such as `esdb-record-id` and its value.
pub type DeliveryHeader = (String, String);

/// The documented headers of a record on its way to a target, then the user's own as `esdb-record-headers-{key}`.
///
/// `esdb-request-id` is a function of connector, stream, revision and attempt, so that the same attempt has the same id
/// in every log. Dates are RFC 3339, booleans lower-case.
pub fn delivery_headers(context: &SinkContext, batch: &Batch, record: &Record) -> Vec<DeliveryHeader> {
    let event = record.event();
    let request_name = format!("{}/{}/{}/{}", context.connector_id, event.stream(), event.revision(), batch.attempt());
    let request_id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, request_name.as_bytes());
    let mut headers: Vec<DeliveryHeader> = [
        ("esdb-connector-id", context.connector_id.to_string()),
        ("esdb-request-id", request_id.simple().to_string()),
        ("esdb-request-date", batch.at().to_string()),
        ("esdb-record-id", event.id().to_string()),
        ("esdb-record-timestamp", event.created().to_string()),
        ("esdb-record-redacted", "false".to_owned()),
        ("esdb-record-stream-id", event.stream().to_owned()),
        ("esdb-record-stream-revision", event.revision().to_string()),
        ("esdb-record-log-position", event.position().to_string()),
        ("esdb-record-schema-subject", record.subject().to_owned()),
        ("esdb-record-schema-type", schema_type(record).to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    let own = record.headers().cloned().unwrap_or_else(|| metadata_headers(event.metadata_slice()));
    headers.extend(
        own.into_iter()
            .filter(|(key, _)| !(context.ignore_system_headers && key.starts_with('$')))
            .map(|(key, value)| (format!("esdb-record-headers-{key}"), value)),
    );
    headers
}

/// Event metadata as a flat list; empty unless it is a JSON object. Nested values and nulls are left out.
pub fn metadata_headers(metadata: &[u8]) -> Headers {
    let Ok(serde_json::Value::Object(object)) = serde_json::from_slice(metadata) else { return Headers::new() };
    object
        .into_iter()
        .filter_map(|(key, value)| match value {
            serde_json::Value::String(text) => Some((key, text)),
            serde_json::Value::Number(number) => Some((key, number.to_string())),
            serde_json::Value::Bool(flag) => Some((key, flag.to_string())),
            _ => None,
        })
        .collect()
}

fn schema_type(record: &Record) -> &'static str {
    match record.event().content_type() {
        forebay_event::ContentType::Json => "json",
        forebay_event::ContentType::Bytes => "bytes",
    }
}
