//! Owns renaming a connector.

use super::event::Happening;
use super::identity::name_violations;
use super::{CommandError, Connectors};

impl Connectors {
    /// Gives a connector another name; the name it has changes nothing.
    pub async fn rename(&self, id: &str, name: &str) -> Result<(), CommandError> {
        let (this, id, name) = (self.clone(), id.to_owned(), name.to_owned());
        self.detached(async move { this.rename_now(&id, name).await }).await
    }

    async fn rename_now(&self, id: &str, name: String) -> Result<(), CommandError> {
        let violations = name_violations(&name);
        if !violations.is_empty() {
            return Err(CommandError::Invalid(violations));
        }
        let mut held = self.hold(id).await?;
        held.state()?;
        if held.slot.entity().live().is_some_and(|facts| facts.name == name) {
            return Ok(());
        }
        held.record(Happening::Renamed { name }).await
    }
}
