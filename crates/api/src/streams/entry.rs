//! Owns one event as an entry of a feed, how much of it is embedded, and which media types a feed is given in.

use forebay_event::{ContentType, RecordedEvent};
use forebay_store::METADATA_TYPE;
use http::{HeaderMap, header};
use serde_json::{Value, json};

use super::append::escaped;
use super::links::Shown;
use crate::request::{QueryPairs, header_text};
use crate::status::Refusal;

/// What a feed and an entry are written by.
pub(super) const AUTHOR: &str = "Forebay";

/// How much of an event an entry embeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Embed {
    /// Title and links.
    None,
    /// The event as JSON under `content`.
    Content,
    /// The event's facts.
    Rich,
    /// The event's facts, data and metadata as text.
    Body,
}

impl Embed {
    /// Reads `embed`; absent is what `otherwise` says.
    pub(super) fn read(query: &QueryPairs, otherwise: Self) -> Result<Self, Refusal> {
        let Some(text) = query.one("embed") else { return Ok(otherwise) };
        match text.to_ascii_lowercase().as_str() {
            "none" => Ok(Self::None),
            "content" => Ok(Self::Content),
            "rich" => Ok(Self::Rich),
            "body" | "prettybody" | "tryharder" => Ok(Self::Body),
            _ => Err(Refusal::field(
                "embed",
                format!("embed is {text:?}: expected none, content, rich, body, PrettyBody or TryHarder"),
            )),
        }
    }
}

/// The media type of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// Plain JSON.
    Json,
    /// A feed or an entry under the name of EventStoreDB.
    EventStore,
    /// The same under the name of KurrentDB.
    Kurrent,
}

impl Media {
    /// Chooses by `Accept`; feeds in XML are not offered.
    pub(super) fn choose(headers: &HeaderMap) -> Result<Self, Refusal> {
        let accept = header_text(headers, header::ACCEPT);
        if accept.trim().is_empty() {
            return Ok(Self::EventStore);
        }
        let offered = accept.split(',').find_map(|range| {
            match range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
                "application/json" => Some(Self::Json),
                "application/vnd.eventstore.atom+json" | "*/*" | "application/*" => Some(Self::EventStore),
                "application/vnd.kurrent.atom+json" => Some(Self::Kurrent),
                _ => None,
            }
        });
        offered.ok_or_else(|| {
            let offered =
                "application/json, application/vnd.eventstore.atom+json and application/vnd.kurrent.atom+json";
            Refusal::not_acceptable(accept, offered)
        })
    }

    /// The value of `Content-Type`.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::EventStore => "application/vnd.eventstore.atom+json; charset=utf-8",
            Self::Kurrent => "application/vnd.kurrent.atom+json; charset=utf-8",
        }
    }
}

/// One event as an entry.
pub(super) fn entry(shown: &Shown, base: &str, embed: Embed) -> Value {
    let event = &shown.event;
    let uri = format!("{base}/streams/{}/{}", escaped(event.stream()), event.revision());
    let mut entry = json!({
        "title": format!("{}@{}", event.revision(), event.stream()),
        "id": uri,
        "updated": event.created().to_string(),
        "author": { "name": AUTHOR },
        "summary": event.event_type(),
        "links": [{ "uri": uri, "relation": "edit" }, { "uri": uri, "relation": "alternate" }],
    });
    let extra = match embed {
        Embed::None => json!({}),
        Embed::Content => json!({ "content": content(event) }),
        Embed::Rich => facts(shown),
        Embed::Body => {
            let mut facts = facts(shown);
            merge(&mut facts, body(event));
            facts
        }
    };
    merge(&mut entry, extra);
    entry
}

fn content(event: &RecordedEvent) -> Value {
    let value = |bytes: &[u8]| -> Value {
        serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
    };
    json!({
        "eventStreamId": event.stream(), "eventNumber": event.revision().get(), "eventType": event.event_type(),
        "eventId": event.id(), "data": value(event.data_slice()), "metadata": value(event.metadata_slice()),
    })
}

fn facts(shown: &Shown) -> Value {
    let event = &shown.event;
    let place = shown.link.as_ref().unwrap_or(event);
    json!({
        "eventId": event.id(), "eventType": event.event_type(), "eventNumber": event.revision().get(),
        "streamId": event.stream(), "isJson": event.content_type() == ContentType::Json,
        "isMetaData": event.event_type() == METADATA_TYPE, "isLinkMetaData": false,
        "positionEventNumber": place.revision().get(), "positionStreamId": place.stream(),
    })
}

fn body(event: &RecordedEvent) -> Value {
    let mut body = json!({});
    for (name, bytes) in [("data", event.data_slice()), ("metaData", event.metadata_slice())] {
        if !bytes.is_empty() {
            merge(&mut body, json!({ name: String::from_utf8_lossy(bytes) }));
        }
    }
    body
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
