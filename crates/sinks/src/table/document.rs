//! Owns a record as the JSON that expressions look into: the documented record object.

use forebay_connector::{Failure, FailureClass, metadata_headers};
use forebay_event::{ContentType, Headers, Record};
use forebay_script::JsonPath;
use serde_json::{Map, Value, json};

/// The record object, `value` being its data; fails when the data is not JSON. Empty data is null.
pub(super) fn document(record: &Record) -> Result<Value, Failure> {
    let event = record.event();
    let data = record.data_slice();
    let value: Value = if data.is_empty() {
        Value::Null
    } else if event.content_type() == ContentType::Json {
        serde_json::from_slice(data).map_err(|_| malformed("the data is said to be JSON and is not"))?
    } else {
        return Err(malformed("the data is not JSON"));
    };
    Ok(json!({
        "recordId": event.id().to_string(),
        "position": {
            "streamId": event.stream(),
            "streamRevision": event.revision().get(),
            "logPosition": event.position().commit(),
        },
        "isTransformed": record.is_transformed(),
        "isRedacted": false,
        "schemaInfo": { "subject": record.subject(), "type": "json" },
        "headers": headers(record),
        "value": value,
        "streamId": event.stream(),
        "timestamp": event.created().to_string(),
    }))
}

/// The headers as an object: those of the transform, or simple members of the metadata.
fn headers(record: &Record) -> Map<String, Value> {
    let of_event = |record: &Record| metadata_headers(record.event().metadata_slice());
    let headers: Headers = record.headers().cloned().unwrap_or_else(|| of_event(record));
    headers.into_iter().map(|(key, value)| (key, Value::String(value))).collect()
}

/// What an expression finds: nothing is null, several values are an array of them.
pub(super) fn find(path: &JsonPath, document: &Value) -> Result<Value, Failure> {
    let found = path.query(document).map_err(|error| malformed(&format!("expression {path}: {error}")))?;
    Ok(match found.as_slice() {
        [] => Value::Null,
        [one] => (*one).clone(),
        several => Value::Array(several.iter().map(|value| (*value).clone()).collect()),
    })
}

pub(super) fn malformed(reason: &str) -> Failure {
    Failure::reject(FailureClass::Malformed, reason)
}
