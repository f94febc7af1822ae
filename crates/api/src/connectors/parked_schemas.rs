//! Owns the schemas of parked records in the OpenAPI document.

use serde_json::{Map, Value, json};

use crate::openapi::{list_of, named, object, reference, text, whole};

/// The schemas, by name.
pub(crate) fn parked_schemas() -> Map<String, Value> {
    let mut schemas = shown();
    schemas.extend(asked());
    schemas
}

fn shown() -> Map<String, Value> {
    let time = json!({ "type": "string", "format": "date-time" });
    let error = json!({ "type": ["object", "null"], "description": "What went wrong: class and message." });
    let payload = |meaning: &str| json!({ "description": meaning });
    let key = json!({
        "key": text("What the records have in common."), "records": whole("Its parked records."),
        "bytes": whole("What they count for."), "since": time, "attempts": whole("Of its first record."),
        "error": error, "replaying": { "type": "boolean", "description": "It is being replayed." },
    });
    let mut records = key.clone();
    if let Some(records) = records.as_object_mut() {
        records.insert("items".to_owned(), list_of("ParkedRecord"));
        records.insert("totalSize".to_owned(), whole("Items on this page."));
        records.insert("totalCount".to_owned(), whole("All records of the key."));
    }
    named([
        ("ParkedKey", object(&["key", "records", "bytes", "replaying"], key)),
        ("ParkedRecords", object(&["key", "records", "items"], records)),
        (
            "ParkedKeys",
            object(
                &["keys", "records", "bytes", "items"],
                json!({
                    "keys": whole("Parked keys."), "records": whole("Parked records."), "bytes": whole("Parked bytes."),
                    "items": list_of("ParkedKey"), "totalSize": whole("Items on this page."),
                    "totalCount": whole("All keys."),
                }),
            ),
        ),
        (
            "ParkedRecord",
            object(
                &["record", "stream", "revision", "position", "attempts", "reason"],
                json!({
                    "record": whole("Its number, to edit or drop it by."), "stream": text("The event's stream."),
                    "revision": whole("The event's number in its stream."), "position": text("Its place in the log."),
                    "eventId": { "type": "string", "format": "uuid" }, "type": text("The event's type."),
                    "contentType": text("The media type of the payload."), "created": time, "parked": time,
                    "attempts": whole("How often it was tried."),
                    "reason": { "enum": ["rejected", "follows"] }, "error": error,
                    "answer": { "type": ["string", "null"], "description": "The beginning of the target's answer." },
                    "data": payload("The payload to deliver."), "dataBase64": text("The same, when it is not JSON."),
                    "metadata": payload("The event's metadata."), "metadataBase64": text("The same, when it is not JSON."),
                    "original": payload("The payload before it was edited."),
                    "originalBase64": text("The same, when it is not JSON."), "editReason": text("Why it was edited."),
                }),
            ),
        ),
        (
            "ParkedOutcome",
            object(
                &["outcome"],
                json!({
                    "outcome": { "enum": ["delivered", "waiting", "refused", "edited", "dropped", "dryRun"] },
                    "left": whole("Records of the key that are still parked."),
                    "records": whole("Records that were dropped, or would be replayed."),
                    "bytes": whole("Of a dry run: what they count for."), "key": text("Of a dry run: the key."),
                    "error": error,
                }),
            ),
        ),
    ])
}

fn asked() -> Map<String, Value> {
    let reason = text("Why; kept in the connector's stream. At most 1000 bytes.");
    named([
        (
            "Replay",
            object(
                &[],
                json!({
                    "recordsPerSecond": whole("At most so many records in a second; no limit when absent."),
                    "dryRun": { "type": "boolean", "description": "Only says how many records there are." },
                }),
            ),
        ),
        (
            "ParkedEdit",
            object(
                &["record", "reason"],
                json!({
                    "record": whole("The record's number."), "data": { "$ref": reference("Any") },
                    "dataBase64": text("The payload as base64, instead of data."), "reason": reason,
                }),
            ),
        ),
        (
            "ParkedDrop",
            object(&["reason"], json!({ "record": whole("Only this record; all when absent."), "reason": reason })),
        ),
    ])
}
