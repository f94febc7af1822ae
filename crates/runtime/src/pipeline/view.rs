//! Owns what a JSONPath sees: the documented record object, built from an event when somebody looks.

use forebay_connector::metadata_headers;
use forebay_event::{ContentType, RecordedEvent};
use serde_json::{Map, Value, json};

/// An event and, once asked for, its record object.
pub(super) struct EventView<'a> {
    event: &'a RecordedEvent,
    record: Option<Option<Value>>,
}

impl<'a> EventView<'a> {
    pub(super) fn new(event: &'a RecordedEvent) -> Self {
        Self { event, record: None }
    }

    pub(super) fn event(&self) -> &'a RecordedEvent {
        self.event
    }

    /// The record object; none when the event is not JSON.
    pub(super) fn record(&mut self) -> Option<&Value> {
        self.record.get_or_insert_with(|| record_object(self.event)).as_ref()
    }
}

fn record_object(event: &RecordedEvent) -> Option<Value> {
    if event.content_type() != ContentType::Json {
        return None;
    }
    let value: Value = serde_json::from_slice(event.data_slice()).ok()?;
    let headers: Map<String, Value> =
        metadata_headers(event.metadata_slice()).into_iter().map(|(key, value)| (key, Value::String(value))).collect();
    Some(json!({
        "recordId": event.id().to_string(),
        "position": {
            "streamId": event.stream(),
            "streamRevision": event.revision().get(),
            "logPosition": event.position().commit(),
        },
        "isTransformed": false,
        "isRedacted": false,
        "schemaInfo": { "subject": event.event_type(), "type": "json" },
        "headers": headers,
        "value": value,
        "streamId": event.stream(),
        "timestamp": event.created().to_string(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing::event;

    #[test]
    fn the_record_has_the_documented_names() {
        let event = event("order-1", "Placed", r#"{"n":1}"#, r#"{"k":true,"deep":{}}"#);
        let mut view = EventView::new(&event);
        let record = view.record().unwrap();
        assert_eq!(record["recordId"], event.id().to_string());
        assert_eq!(record["position"]["streamId"], "order-1");
        assert_eq!(record["schemaInfo"]["subject"], "Placed");
        assert_eq!(record["headers"], json!({"k": "true"}));
        assert_eq!(record["value"]["n"], 1);
    }

    #[test]
    fn what_is_not_json_has_no_record() {
        let broken = event("s", "T", "{", "");
        assert!(EventView::new(&broken).record().is_none());
    }
}
