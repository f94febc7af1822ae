//! Owns a record as one JSON object: the form in files, arrays and lines, where no header can carry its coordinates.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use forebay_event::{ContentType, Record};
use serde::de::IgnoredAny;

/// Adds a record as one JSON object on one line, without a line break at its end.
///
/// JSON data stands there as it is, but for line breaks between its tokens; anything else becomes `dataBase64`. Data that
/// is said to be JSON and is not becomes `dataBase64` too, so that the line is always JSON.
pub(crate) fn push_envelope(record: &Record, line: &mut Vec<u8>) {
    let event = record.event();
    line.extend_from_slice(b"{\"id\":\"");
    push_display(line, &event.id());
    line.extend_from_slice(b"\",\"stream\":");
    push_text(line, event.stream());
    line.extend_from_slice(b",\"revision\":");
    push_display(line, &event.revision());
    line.extend_from_slice(b",\"position\":");
    push_display(line, &event.position().commit());
    if event.position().prepare() != event.position().commit() {
        line.extend_from_slice(b",\"preparePosition\":");
        push_display(line, &event.position().prepare());
    }
    line.extend_from_slice(b",\"type\":");
    push_text(line, record.subject());
    line.extend_from_slice(b",\"created\":\"");
    push_display(line, &event.created());
    line.extend_from_slice(b"\",\"contentType\":\"");
    line.extend_from_slice(event.content_type().media_type().as_bytes());
    line.extend_from_slice(b"\",");
    push_data(record, "data", "dataBase64", line);
    push_metadata(record, line);
    line.push(b'}');
}

/// Adds a record's data as a member of an object: JSON under one name, anything else as base64 under another.
pub(crate) fn push_data(record: &Record, json_name: &str, base64_name: &str, line: &mut Vec<u8>) {
    let data = record.data_slice();
    let json = record.event().content_type() == ContentType::Json && is_json(data);
    push_member(if json { json_name } else { base64_name }, data, json, line);
}

fn push_metadata(record: &Record, line: &mut Vec<u8>) {
    if let Some(headers) = record.headers() {
        line.extend_from_slice(b",\"headers\":{");
        for (index, (name, value)) in headers.iter().enumerate() {
            if index > 0 {
                line.push(b',');
            }
            push_text(line, name);
            line.push(b':');
            push_text(line, value);
        }
        line.push(b'}');
        return;
    }
    let metadata = record.event().metadata_slice();
    if !metadata.is_empty() {
        let json = is_json(metadata);
        line.push(b',');
        push_member(if json { "metadata" } else { "metadataBase64" }, metadata, json, line);
    }
}

fn push_member(name: &str, value: &[u8], json: bool, line: &mut Vec<u8>) {
    push_text(line, name);
    line.push(b':');
    if json {
        push_on_one_line(line, value);
    } else {
        line.push(b'"');
        line.extend_from_slice(STANDARD.encode(value).as_bytes());
        line.push(b'"');
    }
}

/// Whether the bytes are one JSON value.
pub(crate) fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok() && serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

/// Adds valid JSON; there, a line break can only stand between tokens, where a space is as good.
fn push_on_one_line(line: &mut Vec<u8>, json: &[u8]) {
    let start = line.len();
    line.extend_from_slice(json);
    for byte in line.iter_mut().skip(start).filter(|byte| matches!(**byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
}

/// Adds text as a JSON string.
pub(crate) fn push_text(line: &mut Vec<u8>, text: &str) {
    // Writing text to memory cannot fail.
    let _ = serde_json::to_writer(line, text);
}

/// Adds what something displays as.
pub(crate) fn push_display(line: &mut Vec<u8>, value: &impl std::fmt::Display) {
    use std::io::Write;
    let _ = write!(line, "{value}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use forebay_connector::testing::samples::{sample_record, sample_record_of};
    use forebay_event::Reshape;
    use serde_json::{Value, json};

    fn envelope(record: &Record) -> Value {
        let mut line = Vec::new();
        push_envelope(record, &mut line);
        assert!(!line.contains(&b'\n'));
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn coordinates_data_and_metadata_are_there() {
        let expected = json!({
            "id": "0f0e0000-0000-4000-8000-000000000004", "stream": "order-1", "revision": 1, "position": 104,
            "type": "OrderPlaced", "created": "2025-11-21T08:00:00.0000001Z", "contentType": "application/json",
            "data": {"number": 4}, "metadata": {"tenant": "north", "$correlationId": "c1"},
        });
        assert_eq!(envelope(&sample_record(4)), expected);
    }

    #[test]
    fn whatever_is_not_json_becomes_base64() {
        let bytes = sample_record_of(1, ContentType::Bytes, Bytes::from_static(b"{}"));
        assert_eq!(envelope(&bytes)["dataBase64"], "e30=");
        for not_json in [&b""[..], b"{", b"\"\xff\"", b"1 2", b"NaN"] {
            let record = sample_record_of(1, ContentType::Json, Bytes::from_static(not_json));
            assert!(envelope(&record)["dataBase64"].is_string());
        }
    }

    #[test]
    fn json_on_several_lines_is_put_on_one() {
        let record = sample_record_of(1, ContentType::Json, Bytes::from_static(b"{\r\n \"a\": \"x\\ny\"\n}"));
        assert_eq!(envelope(&record)["data"], json!({"a": "x\ny"}));
    }

    #[test]
    fn headers_of_a_transform_take_the_place_of_metadata() {
        let headers = Some(vec![("a".to_owned(), "\"1\"".to_owned()), ("b".to_owned(), String::new())]);
        let shown = envelope(&sample_record(1).reshaped(Reshape { headers, ..Reshape::default() }));
        assert_eq!(shown["headers"], json!({"a": "\"1\"", "b": ""}));
        assert!(shown.get("metadata").is_none());
    }
}
