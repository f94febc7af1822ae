//! Owns the requests that go over the wire: pure functions from records to method, path, headers and body.

use ::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use ::http::{Method, Request, Uri};
use bytes::Bytes;
use forebay_connector::{Batch, Failure, FailureClass, SinkContext, add_delivery_headers, header_value_text};
use forebay_event::{ContentType, Record};
use http_body_util::Full;
use percent_encoding::utf8_percent_encode;
use uuid::Uuid;

use super::settings::{CloudEvents, Mode};
use super::signature::Signer;
use super::url::{SEGMENT, Target};
use crate::envelope::{is_json, push_data, push_display, push_envelope, push_text};

/// An estimate of what an envelope adds to a record's size, in bytes.
const ENVELOPE_BYTES: usize = 320;

/// All that requests of one connector have in common.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) context: SinkContext,
    pub(super) target: Target,
    pub(super) method: Method,
    /// Host, the user's own headers, and who we are.
    pub(super) headers: HeaderMap,
    pub(super) mode: Mode,
    pub(super) envelope: bool,
    pub(super) cloud_events: CloudEvents,
    pub(super) signer: Option<Signer>,
    pub(super) idempotency_key: bool,
}

/// The request for one event.
pub(super) fn event_request(shape: &Shape, batch: &Batch, record: &Record) -> Result<Request<Full<Bytes>>, Failure> {
    let uri = shape.target.uri(record)?;
    let mut headers = shape.headers.clone();
    // Without this the map grows, and sorts itself anew, once per request.
    headers.reserve(24);
    add_delivery_headers(&shape.context, batch, record, &mut headers);
    let (body, content_type) = match shape.cloud_events {
        CloudEvents::None => (record.data(), record.event().content_type().media_type()),
        CloudEvents::Binary => {
            add_cloud_event_headers(record, &mut headers);
            (record.data(), record.event().content_type().media_type())
        }
        CloudEvents::Structured => {
            let mut body = Vec::with_capacity(record.size() + ENVELOPE_BYTES);
            push_cloud_event(record, &mut body);
            (Bytes::from(body), "application/cloudevents+json")
        }
    };
    let event = record.event();
    let key = format!("{}/{}/{}", shape.context.connector_id, event.stream(), event.revision());
    Ok(finish(shape, batch, uri, Content { headers, body, content_type, key }))
}

/// The request for records at once; fails with the index of the first record that has no place in it.
pub(super) fn batch_request(
    shape: &Shape,
    batch: &Batch,
    records: &[Record],
) -> Result<Request<Full<Bytes>>, (usize, Failure)> {
    let Some((first, last)) = records.first().zip(records.last()) else {
        return Err((0, Failure::stop(FailureClass::Broken, "a batch without records")));
    };
    let size = records.iter().map(|record| record.size() + ENVELOPE_BYTES).sum();
    let mut body = Vec::with_capacity(size);
    let lines = shape.mode == Mode::Ndjson;
    if !lines {
        body.push(b'[');
    }
    for (index, record) in records.iter().enumerate() {
        if index > 0 && !lines {
            body.push(b',');
        }
        push_item(shape, record, &mut body).map_err(|failure| (index, failure))?;
        if lines {
            body.push(b'\n');
        }
    }
    if !lines {
        body.push(b']');
    }
    let content_type = match shape.mode {
        Mode::Ndjson => "application/x-ndjson",
        Mode::CloudEventsBatch => "application/cloudevents-batch+json",
        Mode::Event | Mode::JsonArray => "application/json",
    };
    let mut headers = shape.headers.clone();
    insert(&mut headers, HeaderName::from_static("esdb-connector-id"), &shape.context.connector_id);
    let (from, to) = (first.event().position(), last.event().position());
    let key = format!("{}/{from}-{to}-{}-{}", shape.context.connector_id, records.len(), ids_hash(records));
    let uri = shape.target.uri(first).map_err(|failure| (0, failure))?;
    Ok(finish(shape, batch, uri, Content { headers, body: body.into(), content_type, key }))
}

fn push_item(shape: &Shape, record: &Record, body: &mut Vec<u8>) -> Result<(), Failure> {
    match shape.mode {
        Mode::CloudEventsBatch => push_cloud_event(record, body),
        _ if shape.envelope => push_envelope(record, body),
        _ if record.event().content_type() == ContentType::Json && is_json(record.data_slice()) => {
            let start = body.len();
            body.extend_from_slice(record.data_slice());
            // In valid JSON a line break stands between tokens, where a space is as good.
            for byte in body.iter_mut().skip(start).filter(|byte| matches!(**byte, b'\n' | b'\r')) {
                *byte = b' ';
            }
        }
        _ => {
            let reason = "the data is not JSON, and has no place among others without an envelope";
            return Err(Failure::reject(FailureClass::Malformed, reason));
        }
    }
    Ok(())
}

/// Tells apart batches with the same ends: a target that drops repeats by their key must not drop another batch.
fn ids_hash(records: &[Record]) -> String {
    let ids: Vec<u8> = records.iter().flat_map(|record| record.event().id().into_bytes()).collect();
    let mut hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, &ids).simple().to_string();
    hash.truncate(16);
    hash
}

struct Content {
    headers: HeaderMap,
    body: Bytes,
    content_type: &'static str,
    /// The same for every attempt at the same records.
    key: String,
}

fn finish(shape: &Shape, batch: &Batch, uri: Uri, content: Content) -> Request<Full<Bytes>> {
    let Content { mut headers, body, content_type, key } = content;
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
    headers.insert(HeaderName::from_static("forebay-epoch"), HeaderValue::from(batch.epoch().0));
    headers.insert(HeaderName::from_static("forebay-lane"), HeaderValue::from(batch.lane().0));
    if let Some(signer) = &shape.signer {
        let id = format!("msg_{}", Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes()).simple());
        let seconds = batch.at().unix_millis() / 1000;
        insert(&mut headers, HeaderName::from_static("webhook-signature"), &signer.sign(&id, seconds, &body));
        headers.insert(HeaderName::from_static("webhook-timestamp"), HeaderValue::from(seconds));
        insert(&mut headers, HeaderName::from_static("webhook-id"), &id);
    }
    if shape.idempotency_key {
        insert(&mut headers, HeaderName::from_static("idempotency-key"), &key);
    }
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = shape.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    request
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::try_from(header_value_text(text)) {
        headers.insert(name, value);
    }
}

fn source(record: &Record) -> String {
    format!("/streams/{}", utf8_percent_encode(record.event().stream(), SEGMENT))
}

/// The attributes of a CloudEvent in binary mode.
fn add_cloud_event_headers(record: &Record, headers: &mut HeaderMap) {
    let event = record.event();
    headers.insert(HeaderName::from_static("ce-specversion"), HeaderValue::from_static("1.0"));
    insert(headers, HeaderName::from_static("ce-id"), &event.id().to_string());
    insert(headers, HeaderName::from_static("ce-source"), &source(record));
    insert(headers, HeaderName::from_static("ce-type"), record.subject());
    insert(headers, HeaderName::from_static("ce-subject"), event.stream());
    insert(headers, HeaderName::from_static("ce-time"), &event.created().to_string());
    insert(headers, HeaderName::from_static("ce-sequence"), &sequence(record));
    insert(headers, HeaderName::from_static("ce-position"), &event.position().to_string());
}

/// Sequences are compared as text, so they all have the same length.
fn sequence(record: &Record) -> String {
    format!("{:020}", record.event().revision().get())
}

/// A CloudEvent with its data.
fn push_cloud_event(record: &Record, body: &mut Vec<u8>) {
    let event = record.event();
    body.extend_from_slice(b"{\"specversion\":\"1.0\",\"id\":\"");
    push_display(body, &event.id());
    body.extend_from_slice(b"\",\"source\":");
    push_text(body, &source(record));
    body.extend_from_slice(b",\"type\":");
    push_text(body, record.subject());
    body.extend_from_slice(b",\"subject\":");
    push_text(body, event.stream());
    body.extend_from_slice(b",\"time\":\"");
    push_display(body, &event.created());
    body.extend_from_slice(b"\",\"sequence\":\"");
    push_display(body, &sequence(record));
    body.extend_from_slice(b"\",\"position\":\"");
    push_display(body, &event.position());
    body.extend_from_slice(b"\",\"datacontenttype\":\"");
    body.extend_from_slice(event.content_type().media_type().as_bytes());
    body.extend_from_slice(b"\",");
    push_data(record, "data", "data_base64", body);
    body.push(b'}');
}
