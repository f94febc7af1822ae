//! Owns what the host writes down about a connector's changes of state, for people to read.

use std::fmt;

use forebay_event::{ExpectedRevision, ProposedEvent};
use forebay_store::AppendRequest;
use serde_json::json;
use tracing::warn;
use uuid::Uuid;

use super::registry::Node;
use crate::management::ErrorDetails;

/// The type of a lifecycle event.
pub(crate) const LIFECYCLE_TYPE: &str = "$conn-ctrl-processor-state-changed";

/// The part of a lease that writing may take.
const WRITES_PER_LEASE: u32 = 8;

/// A host's state, as the lifecycle stream names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostState {
    Activating,
    Running,
    Deactivating,
    Stopped,
}

impl fmt::Display for HostState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Activating => "PROCESSOR_STATE_ACTIVATING",
            Self::Running => "PROCESSOR_STATE_RUNNING",
            Self::Deactivating => "PROCESSOR_STATE_DEACTIVATING",
            Self::Stopped => "PROCESSOR_STATE_STOPPED",
        })
    }
}

/// Follows one run of a connector and writes each change of state into its lifecycle stream.
pub(crate) struct Lifecycle<'a> {
    node: &'a Node,
    connector_id: &'a str,
    state: HostState,
}

impl<'a> Lifecycle<'a> {
    /// Begins with a stopped connector.
    pub(crate) fn of(node: &'a Node, connector_id: &'a str) -> Self {
        Self { node, connector_id, state: HostState::Stopped }
    }

    /// Writes that another state was reached, perhaps by an error. Nothing depends on it: a failure to write is logged.
    pub(crate) async fn reach(&mut self, to: HostState, error: Option<&ErrorDetails>) {
        let from = std::mem::replace(&mut self.state, to);
        if from == to {
            return;
        }
        let id = Uuid::new_v4();
        let severity = if error.is_some() { "EVENT_SEVERITY_CRITICAL" } else { "EVENT_SEVERITY_INFORMATION" };
        let mut body = json!({
            "processor": {
                "processorId": self.connector_id,
                "clientId": self.node.config.node.to_string(),
            },
            "metadata": {
                "eventId": id.to_string(),
                "eventSeverity": severity,
                "timestamp": self.node.clock.now().to_string(),
            },
            "fromState": from.to_string(),
            "toState": to.to_string(),
        });
        if let (Some(error), Some(body)) = (error, body.as_object_mut()) {
            let error = json!({"code": error.code, "errorMessage": error.message});
            body.insert("error".to_owned(), error);
        }
        let request = AppendRequest {
            stream: self.node.lifecycle_stream(self.connector_id),
            expected: ExpectedRevision::Any,
            events: vec![ProposedEvent::json(id, LIFECYCLE_TYPE, body.to_string())],
        };
        let connector_id = self.connector_id;
        // What waits for the lease must not be held up by a call that hangs in a partition.
        match tokio::time::timeout(self.node.config.lease / WRITES_PER_LEASE, self.node.store.append(request)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                warn!(connector_id, %error, "a change of state was not written to the lifecycle stream");
            }
            Err(_) => warn!(connector_id, "writing a change of state to the lifecycle stream took too long"),
        }
    }
}
