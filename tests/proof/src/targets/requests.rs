//! Owns the targets about what the HTTP sink sends, and what it reads of answers.

use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use forebay_connector::http::{Answer, RETRY_AFTER_MAX};
use forebay_connector::settings::SettingsMap;
use forebay_event::{ContentType, Record, RecordedEvent};
use forebay_sinks::testing::http_requests;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;

use super::sample::{event, halves, json_event, text};

fn settings(pairs: &[(&str, &str)]) -> SettingsMap {
    let base = [("instanceTypeName", "http-sink"), ("url", "http://target.test/in")];
    SettingsMap::from_flat(base.iter().chain(pairs).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
}

/// The requests for records, as far as they can be sent.
fn requests(settings: &SettingsMap, events: &[RecordedEvent]) -> Vec<Request<Full<Bytes>>> {
    let records = events.iter().cloned().map(Record::of).collect();
    http_requests(settings, records).unwrap_or_default().into_iter().flatten().collect()
}

fn body(request: Request<Full<Bytes>>) -> Bytes {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    runtime.block_on(request.into_body().collect()).map(|body| body.to_bytes()).unwrap_or_default()
}

/// A template, and after a line break the stream and type that fill it: a value never leaves its segment.
pub fn url_template(bytes: &[u8]) {
    let (template, name) = halves(bytes);
    let name = text(name);
    let events = [event(&name, &name, ContentType::Json, b"{}")];
    for request in requests(&settings(&[("url", &text(template))]), &events) {
        assert!(request.uri().path().starts_with('/'), "{} has no path", request.uri());
    }
    for template in ["http://h/a/{stream}/z", "http://h/a/{schema-subject}/z", "http://h/a/{category}/z"] {
        for request in requests(&settings(&[("url", template)]), &events) {
            let path = request.uri().path();
            assert!(path.starts_with("/a/") && path.ends_with("/z"), "{path} leads elsewhere");
            assert_eq!(path.matches('/').count(), 3, "{path} has other segments");
            assert!(request.uri().query().is_none(), "a value became a query");
        }
    }
}

/// A type and stream, and after a line break data: whatever they hold, a CloudEvent is valid JSON with its attributes.
pub fn cloud_events(bytes: &[u8]) {
    let (name, data) = halves(bytes);
    let name = text(name);
    let events = [event(&name, &name, ContentType::Json, data), event(&name, &name, ContentType::Bytes, data)];
    let modes: [&[(&str, &str)]; 5] = [
        &[("cloudEvents", "structured")],
        &[("mode", "cloudEventsBatch")],
        &[("mode", "jsonArray")],
        &[("mode", "jsonArray"), ("envelope", "false")],
        &[("mode", "ndjson")],
    ];
    for mode in modes {
        for request in requests(&settings(mode), &events) {
            let body = body(request);
            for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let value: Value = serde_json::from_slice(line)
                    .unwrap_or_else(|error| panic!("{mode:?}: {error}: {}", String::from_utf8_lossy(line)));
                check_attributes(&value, &events[0]);
            }
        }
    }
    for request in requests(&settings(&[("cloudEvents", "binary")]), &events) {
        assert_eq!(request.headers().get("ce-specversion").map(HeaderValue::as_bytes), Some(&b"1.0"[..]));
        assert_eq!(body(request), data, "in binary mode the data goes out as it is");
    }
}

fn check_attributes(value: &Value, event: &RecordedEvent) {
    let items = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    for item in items.iter().filter(|item| item.get("specversion").is_some_and(|version| version == "1.0")) {
        if item.get("datacontenttype").is_some() && item.get("source").is_some() {
            assert_eq!(item["type"].as_str(), Some(event.event_type()));
            assert_eq!(item["subject"].as_str(), Some(event.stream()));
        }
    }
}

/// A secret, and after a line break data: the signature is the one that its specification asks for.
pub fn signature(bytes: &[u8]) {
    let (secret, data) = halves(bytes);
    let fixed = format!("whsec_{}", STANDARD.encode(secret));
    for secret in [text(secret), fixed] {
        for request in requests(&settings(&[("signature:secret", &secret)]), &[json_event(data)]) {
            let header = |name: &str| {
                request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
            };
            if secret.is_empty() || header("webhook-id").is_empty() {
                continue;
            }
            let (id, time, given) = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
            let trimmed = secret.trim();
            let key = STANDARD.decode(trimmed.strip_prefix("whsec_").unwrap_or(trimmed)).expect("it was taken");
            let signed = [format!("{id}.{time}.").as_bytes(), data].concat();
            let given = given.strip_prefix("v1,").and_then(|text| STANDARD.decode(text).ok()).expect("version 1");
            let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
            hmac::verify(&key, &signed, &given).expect("the signature is right");
        }
    }
}

/// A `Retry-After`, and after a line break a `Date`: the pause is never longer than its bound.
pub fn retry_after(bytes: &[u8]) {
    let (asked, date) = halves(bytes);
    let mut headers = HeaderMap::new();
    let Ok(asked) = HeaderValue::from_bytes(asked) else { return };
    headers.insert("retry-after", asked);
    if let Ok(date) = HeaderValue::from_bytes(date) {
        headers.insert("date", date);
    }
    let answer = Answer { status: StatusCode::TOO_MANY_REQUESTS, headers, body: Bytes::new() };
    for now in [SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799)] {
        if let Some(pause) = answer.retry_after(now) {
            assert!(pause <= RETRY_AFTER_MAX);
        }
    }
}
