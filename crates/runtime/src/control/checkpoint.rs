//! Owns what the control plane needs to know of a connector's checkpoints: the last one, and where it stands.

use forebay_event::{Position, Timestamp};
use forebay_store::{Direction, PageLimit, ReadError, ReadStream, StreamPoint};
use serde_json::Value;

use super::registry::Node;
use crate::management::number;

/// The last checkpoint of a connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastCheckpoint {
    /// Everything up to it is settled.
    pub(crate) position: Position,
    /// When it was written.
    pub(crate) at: Timestamp,
    /// Where the checkpoint itself stands in the log.
    pub(crate) written_at: Position,
}

/// Reads the last checkpoint; none when there is none, or when it is not readable as one.
pub(crate) async fn last_checkpoint(node: &Node, id: &str) -> Result<Option<LastCheckpoint>, ReadError> {
    let read = ReadStream {
        stream: node.checkpoint_stream(id),
        direction: Direction::Backward,
        from: StreamPoint::End,
        limit: PageLimit::events(1),
    };
    let page = match node.store.read_stream(read).await {
        Err(ReadError::StreamNotFound { .. } | ReadError::StreamDeleted { .. }) => return Ok(None),
        page => page?,
    };
    Ok(page.events.first().and_then(|event| {
        let body: Value = serde_json::from_slice(event.data_slice()).ok()?;
        let commit = number(body.get("logPosition"))??;
        let prepare = number(body.get("preparePosition")).flatten().unwrap_or(commit);
        let position = Position::from_parts(commit, prepare);
        let at = body.get("timestamp").and_then(Value::as_str).and_then(Timestamp::parse_rfc3339);
        Some(LastCheckpoint { position, at: at.unwrap_or_else(|| event.created()), written_at: event.position() })
    }))
}
