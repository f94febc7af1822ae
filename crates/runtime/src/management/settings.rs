//! Owns replacing a connector's settings.

use std::sync::Arc;

use forebay_connector::settings::{SettingsErrors, SettingsMap};

use super::create::check;
use super::event::Happening;
use super::secrets::{Secrecy, unmask};
use super::{CommandError, Connectors};

impl Connectors {
    /// Replaces the settings; a running connector keeps the old ones until it is restarted. A secret given as its mask
    /// keeps its value.
    pub async fn reconfigure(&self, id: &str, settings: SettingsMap) -> Result<(), CommandError> {
        let (this, id) = (self.clone(), id.to_owned());
        self.detached(async move { this.reconfigure_now(&id, &settings).await }).await
    }

    async fn reconfigure_now(&self, id: &str, given: &SettingsMap) -> Result<(), CommandError> {
        let mut held = self.hold(id).await?;
        held.state()?;
        let node = Arc::clone(&held.node);
        let entity = held.slot.entity();
        let Some(facts) = entity.live() else { return Err(CommandError::Deleted { id: id.to_owned() }) };
        let secrecy = Secrecy::of(given, &node.catalog);
        // A stored secret that no longer opens can be replaced, but not kept.
        let stored = node.vault.open_readable(id, &facts.settings);
        let plain = unmask(given, Some(&stored), &secrecy)?;
        check(&node, id, &plain).await?;
        let settings = node.vault.seal(id, &plain, Some(&facts.settings), &secrecy);
        held.record(Happening::Reconfigured { revision: facts.revision + 1, settings }).await
    }

    /// Checks settings as a create or reconfigure of this connector would, and changes nothing.
    pub(super) async fn check_settings(&self, id: &str, given: &SettingsMap) -> Result<SettingsMap, SettingsErrors> {
        let node = self.node();
        let stored = node
            .slot(id)
            .and_then(|slot| slot.entity().live().map(|facts| node.vault.open_readable(id, &facts.settings)));
        let plain = unmask(given, stored.as_ref(), &Secrecy::of(given, &node.catalog))?;
        check(node, id, &plain).await.map(|()| plain)
    }
}
