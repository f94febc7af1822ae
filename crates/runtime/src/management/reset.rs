//! Owns starting a connector anew from elsewhere.

use forebay_event::Position;
use forebay_store::LogPoint;

use super::start::activate;
use super::{CommandError, ConnectorState, Connectors};

impl Connectors {
    /// Starts a stopped connector anew: behind the given position, or from the beginning of the log.
    pub async fn reset(&self, id: &str, from: Option<Position>) -> Result<(), CommandError> {
        let (this, id) = (self.clone(), id.to_owned());
        self.detached(async move { this.reset_now(&id, from).await }).await
    }

    async fn reset_now(&self, id: &str, from: Option<Position>) -> Result<(), CommandError> {
        let mut held = self.hold(id).await?;
        match held.state()? {
            ConnectorState::Stopped => {}
            state => return Err(held.illegal("reset", state)),
        }
        let start_from = self.settle_point(from.map_or(LogPoint::Start, LogPoint::At)).await?;
        activate(&mut held, Some(start_from)).await
    }
}
