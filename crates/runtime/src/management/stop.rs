//! Owns stopping a connector.

use super::event::Happening;
use super::journal::CONFLICTS_MAX;
use super::{CommandError, Connectors};

impl Connectors {
    /// Asks a connector to stop; stopping one that is stopped changes nothing.
    ///
    /// One that failed and would be restarted by its policy is not restarted any more.
    pub async fn stop(&self, id: &str) -> Result<(), CommandError> {
        let (this, id) = (self.clone(), id.to_owned());
        self.detached(async move { this.stop_now(&id).await }).await
    }

    async fn stop_now(&self, id: &str) -> Result<(), CommandError> {
        let mut held = self.hold(id).await?;
        let mut conflicts = 0;
        loop {
            held.state()?;
            if held.slot.entity().wanted().is_none() {
                return Ok(());
            }
            match held.record(Happening::Deactivating).await {
                // Nodes that report what runs do not stand in the way of stopping it.
                Err(CommandError::Conflict { .. }) if conflicts < CONFLICTS_MAX => conflicts += 1,
                done => return done,
            }
        }
    }
}
