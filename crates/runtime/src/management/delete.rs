//! Owns deleting a connector.

use tracing::warn;

use super::create::{hide, left_behind};
use super::event::Happening;
use super::{CommandError, ConnectorState, Connectors};

impl Connectors {
    /// Deletes a stopped connector. Its management stream stays; its checkpoints are no longer read.
    pub async fn delete(&self, id: &str) -> Result<(), CommandError> {
        let (this, id) = (self.clone(), id.to_owned());
        self.detached(async move { this.delete_now(&id).await }).await
    }

    async fn delete_now(&self, id: &str) -> Result<(), CommandError> {
        let mut held = self.hold(id).await?;
        match held.state()? {
            ConnectorState::Stopped => {}
            state => return Err(held.illegal("delete", state)),
        }
        // The other way round, a crash in between would leave a connector without its checkpoint. What this order may
        // leave behind, a create of the same id hides before it does anything else.
        held.record(Happening::Deleted).await?;
        for stream in left_behind(&held.node, &held.slot.entity()) {
            if let Err(error) = hide(&held.node, &stream).await {
                warn!(connector_id = id, %stream, %error, "a stream of the deleted connector could not be hidden yet");
            }
        }
        Ok(())
    }
}
