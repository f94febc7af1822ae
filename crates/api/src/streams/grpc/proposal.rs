//! Owns reading a proposed event, in the form that single and batched appends share.

use std::collections::HashMap;

use bytes::Bytes;
use forebay_event::{ContentType, ProposedEvent};
use forebay_wire::event_store::client::Uuid as WireUuid;
use forebay_wire::event_store::client::streams::{append_req, batch_append_req};
use uuid::Uuid;

use super::names::read_id;

/// What a proposed event lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WrongProposal {
    /// A property that every event must have.
    #[error("Required Metadata Property '{property}' is missing")]
    MissingProperty {
        /// Which one.
        property: &'static str,
    },
    /// Its id.
    #[error("an event has no id, or one that is not a UUID")]
    MissingId,
}

/// A proposed event as it came.
pub(super) struct Proposal {
    id: Option<WireUuid>,
    properties: HashMap<String, String>,
    data: Bytes,
    metadata: Bytes,
}

impl From<append_req::ProposedMessage> for Proposal {
    fn from(message: append_req::ProposedMessage) -> Self {
        let append_req::ProposedMessage { id, metadata: properties, custom_metadata: metadata, data } = message;
        Self { id, properties, data, metadata }
    }
}

impl From<batch_append_req::ProposedMessage> for Proposal {
    fn from(message: batch_append_req::ProposedMessage) -> Self {
        let batch_append_req::ProposedMessage { id, metadata: properties, custom_metadata: metadata, data } = message;
        Self { id, properties, data, metadata }
    }
}

impl Proposal {
    /// The event, when it says all that an event must say. The store judges the rest.
    pub(super) fn event(mut self) -> Result<ProposedEvent, WrongProposal> {
        let mut take = |property| self.properties.remove(property).ok_or(WrongProposal::MissingProperty { property });
        let event_type = take("type")?;
        let content_type = ContentType::from_media_type(&take("content-type")?);
        let id = read_id(self.id.as_ref()).filter(|id: &Uuid| !id.is_nil()).ok_or(WrongProposal::MissingId)?;
        Ok(ProposedEvent { id, event_type, content_type, data: self.data, metadata: self.metadata })
    }
}
