//! Owns the headers that sinks send along with a record.

use std::fmt::{Display, Write};
use std::ops::Range;

use bytes::Bytes;
use forebay_event::{Headers, Record};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{Batch, SinkContext};

/// One header: a name such as `esdb-record-id` and its value.
pub type DeliveryHeader = (String, String);

/// What the names of a user's own headers begin with.
const OWN_PREFIX: &str = "esdb-record-headers-";

/// The name of a header on its way to a target.
enum Name<'a> {
    Fixed(&'static str),
    Own(&'a str),
}

/// The documented headers of a record on its way to a target, then the user's own as `esdb-record-headers-{key}`.
///
/// `esdb-request-id` is a function of connector, stream, revision and attempt, so that the same attempt has the same id
/// in every log. Dates are RFC 3339, booleans lower-case.
pub fn delivery_headers(context: &SinkContext, batch: &Batch, record: &Record) -> Vec<DeliveryHeader> {
    let mut headers = Vec::with_capacity(16);
    visit(context, batch, record, &mut |name, value| {
        let name = match name {
            Name::Fixed(name) => name.to_owned(),
            Name::Own(key) => format!("{OWN_PREFIX}{key}"),
        };
        headers.push((name, value.to_string()));
    });
    headers
}

/// Adds the same headers to a request, in the form that HTTP allows.
///
/// Bytes that a value may not hold (line breaks, anything outside ASCII) are percent-encoded, likewise in names. All
/// values share one buffer, so that a request costs one allocation for them.
pub fn add_delivery_headers(context: &SinkContext, batch: &Batch, record: &Record, headers: &mut HeaderMap) {
    let mut buffer = String::with_capacity(512);
    let mut ranges: Vec<(HeaderName, Range<usize>)> = Vec::with_capacity(16);
    visit(context, batch, record, &mut |name, value| {
        let name = match name {
            Name::Fixed(name) => HeaderName::from_static(name),
            Name::Own(key) => match HeaderName::try_from(format!("{OWN_PREFIX}{}", header_name_text(key))) {
                Ok(name) => name,
                // Only a name longer than HTTP libraries take is left out.
                Err(_) => return,
            },
        };
        let start = buffer.len();
        // Writing to text cannot fail.
        let _ = write!(buffer, "{value}");
        encode_from(&mut buffer, start);
        ranges.push((name, start..buffer.len()));
    });
    let buffer = Bytes::from(buffer);
    for (name, range) in ranges {
        if let Ok(value) = HeaderValue::from_maybe_shared(buffer.slice(range)) {
            // The map holds 32,768 headers; more than that are left out.
            let _ = headers.try_insert(name, value);
        }
    }
}

/// Text in the form that the value of an HTTP header allows.
pub fn header_value_text(text: &str) -> String {
    let mut encoded = text.to_owned();
    encode_from(&mut encoded, 0);
    encoded
}

fn visit(context: &SinkContext, batch: &Batch, record: &Record, visit: &mut dyn FnMut(Name<'_>, &dyn Display)) {
    let event = record.event();
    let request_name = format!("{}/{}/{}/{}", context.connector_id, event.stream(), event.revision(), batch.attempt());
    let request_id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, request_name.as_bytes());
    visit(Name::Fixed("esdb-connector-id"), &context.connector_id);
    visit(Name::Fixed("esdb-request-id"), &request_id.simple());
    visit(Name::Fixed("esdb-request-date"), &batch.at());
    visit(Name::Fixed("esdb-record-id"), &event.id());
    visit(Name::Fixed("esdb-record-timestamp"), &event.created());
    visit(Name::Fixed("esdb-record-redacted"), &"false");
    visit(Name::Fixed("esdb-record-stream-id"), &event.stream());
    visit(Name::Fixed("esdb-record-stream-revision"), &event.revision());
    visit(Name::Fixed("esdb-record-log-position"), &event.position());
    visit(Name::Fixed("esdb-record-schema-subject"), &record.subject());
    visit(Name::Fixed("esdb-record-schema-type"), &schema_type(record));
    let mut own = |key: &str, value: &str| {
        if !(context.ignore_system_headers && key.starts_with('$')) {
            visit(Name::Own(key), &value);
        }
    };
    match record.headers() {
        Some(headers) => headers.iter().for_each(|(key, value)| own(key, value)),
        None => metadata_headers(event.metadata_slice()).iter().for_each(|(key, value)| own(key, value)),
    }
}

/// Event metadata as a flat list; empty unless it is a JSON object. Nested values and nulls are left out.
pub fn metadata_headers(metadata: &[u8]) -> Headers {
    if metadata.is_empty() {
        return Headers::new();
    }
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

/// Percent-encodes what a header's value may not hold, from this byte on.
fn encode_from(buffer: &mut String, start: usize) {
    let is_plain = |byte: &u8| (0x20..0x7f).contains(byte);
    let Some(text) = buffer.get(start..) else { return };
    if text.bytes().all(|byte| is_plain(&byte)) {
        return;
    }
    let text = text.to_owned();
    buffer.truncate(start);
    for byte in text.bytes() {
        push_encoded(buffer, byte, is_plain(&byte));
    }
}

fn header_name_text(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    for byte in key.bytes() {
        push_encoded(&mut name, byte, byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte));
    }
    name
}

fn push_encoded(text: &mut String, byte: u8, is_plain: bool) {
    if is_plain {
        text.push(char::from(byte));
    } else {
        let _ = write!(text, "%{byte:02X}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::samples::{batch_of, sample_context, sample_record};
    use forebay_event::Reshape;

    #[test]
    fn documented_headers_come_first_and_system_metadata_is_left_out() {
        let batch = batch_of(vec![sample_record(4)]);
        let headers = delivery_headers(&sample_context(), &batch, &batch.records()[0]);
        let find = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!(find("esdb-connector-id"), Some("sample"));
        assert_eq!(find("esdb-record-stream-id"), Some("order-1"));
        assert_eq!(find("esdb-record-log-position"), Some("104"));
        assert_eq!(find("esdb-record-timestamp"), Some("2025-11-21T08:00:00.0000001Z"));
        assert_eq!(find("esdb-record-headers-tenant"), Some("north"));
        assert_eq!(find("esdb-record-headers-$correlationId"), None);
    }

    #[test]
    fn what_http_does_not_allow_is_encoded() {
        let own = vec![("ein Schlüssel".to_owned(), "zwei\r\nzeilen ü %".to_owned())];
        let record = sample_record(1).reshaped(Reshape { headers: Some(own), ..Reshape::default() });
        let batch = batch_of(vec![record]);
        let mut headers = HeaderMap::new();
        add_delivery_headers(&sample_context(), &batch, &batch.records()[0], &mut headers);
        assert_eq!(headers["esdb-record-headers-ein%20schl%c3%bcssel"], "zwei%0D%0Azeilen %C3%BC %");
        assert_eq!(headers["esdb-record-stream-id"], "order-1");
        assert_eq!(headers.len(), 12);
    }

    #[test]
    fn another_attempt_has_another_request_id() {
        let batch = batch_of(vec![sample_record(1)]);
        let id = |batch: &Batch| delivery_headers(&sample_context(), batch, &batch.records()[0])[1].1.clone();
        assert_eq!(id(&batch), id(&batch));
        assert_ne!(id(&batch), id(&batch.clone().again(batch.at())));
    }
}
