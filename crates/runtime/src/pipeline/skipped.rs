//! Owns what is written down about a record that a policy leaves out: where it came from and why it was not delivered.
//!
//! One event in the connector's own stream `…/skipped` for each. The record itself stays in the log, at the coordinates
//! given here.

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::Failure;
use forebay_event::{Clock, ExpectedRevision, ProposedEvent, Record, StreamName};
use forebay_store::{AppendError, AppendRequest, EventStore};
use serde::Serialize;
use uuid::Uuid;

/// The type of an event that tells of a record that was left out.
pub(super) const SKIPPED_TYPE: &str = "$conn-record-skipped";
const RETRY_DELAY_FIRST: Duration = Duration::from_millis(100);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(10);

/// Writes down what is left out.
pub(super) struct SkipLog {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) connector_id: Arc<str>,
    pub(super) epoch: u64,
    pub(super) stream: StreamName,
}

/// The stored form.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SkippedBody<'a> {
    connector_id: &'a str,
    epoch: u64,
    stream_id: &'a str,
    stream_revision: String,
    log_position: String,
    record_id: Uuid,
    event_type: &'a str,
    error: ErrorBody<'a>,
    attempts: u32,
    timestamp: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'a> {
    class: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<&'a str>,
}

impl SkipLog {
    /// Stores durably that a record is left out; storing it again changes nothing. Waits while the store cannot write.
    pub(super) async fn note(&self, record: &Record, failure: &Failure, attempts: u32) -> Result<(), AppendError> {
        let event = self.proposed(record, failure, attempts);
        let mut delay = RETRY_DELAY_FIRST;
        loop {
            let (stream, events) = (self.stream.clone(), vec![event.clone()]);
            match self.store.append(AppendRequest { stream, expected: ExpectedRevision::Any, events }).await {
                Ok(_) => return Ok(()),
                Err(AppendError::Unavailable { .. }) => {
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(RETRY_DELAY_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn proposed(&self, record: &Record, failure: &Failure, attempts: u32) -> ProposedEvent {
        let event = record.event();
        let name = format!("{}/{}/{}/skipped", self.connector_id, event.stream(), event.revision());
        let body = SkippedBody {
            connector_id: &self.connector_id,
            epoch: self.epoch,
            stream_id: event.stream(),
            stream_revision: event.revision().to_string(),
            log_position: event.position().commit().to_string(),
            record_id: event.id(),
            event_type: event.event_type(),
            error: ErrorBody {
                class: failure.class.label(),
                message: &failure.reason,
                answer: failure.excerpt.as_deref(),
            },
            attempts,
            timestamp: self.clock.now().to_string(),
        };
        // Serialising a struct of texts and numbers cannot fail.
        let data = serde_json::to_vec(&body).unwrap_or_default();
        ProposedEvent::json(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()), SKIPPED_TYPE, data)
    }
}
