//! Owns the look at the end of the log that all connectors of a process share: each wants to know its lag every few seconds.

use std::time::Duration;

use forebay_event::Position;
use forebay_store::{EventStore, ReadError};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A look that is not older than this is good enough for a lag.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// Where the log ended at the last look, and when that look began.
#[derive(Debug, Default)]
pub(super) struct LogEnd {
    last: Mutex<Option<(Instant, Option<Position>)>>,
}

impl LogEnd {
    /// The end of the log a moment ago. Whoever comes while somebody looks waits for what that one finds.
    pub(super) async fn look(&self, store: &dyn EventStore) -> Result<Option<Position>, ReadError> {
        let mut last = self.last.lock().await;
        let now = Instant::now();
        if let Some((at, position)) = *last
            && now.duration_since(at) < GOOD_FOR
        {
            return Ok(position);
        }
        let position = store.head().await?;
        *last = Some((now, position));
        Ok(position)
    }
}
