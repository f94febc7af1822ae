//! Owns what a node says of itself in the stream of nodes: the form of an announcement, writing one, reading one.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_event::{ExpectedRevision, ProposedEvent, RecordedEvent, Revision, Timestamp};
use forebay_store::{AppendError, AppendRequest};
use serde_json::{Value, json};
use uuid::Uuid;

use super::lease::{parse_span, span_text};
use super::registry::Node;

/// The type of an announcement.
pub(crate) const NODE_TYPE: &str = "$conn-ctrl-node-announced";
/// How many announcements are kept: enough for the last one of every node that lives.
const ANNOUNCEMENTS_MAX: u64 = 500;
/// The longest and the shortest time that an announcement may ask to be believed.
const DURATION_BOUNDS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(600));
/// The most labels of a node that are read.
const LABELS_MAX: usize = 64;

/// How a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeState {
    /// It runs connectors.
    Active,
    /// It goes down and hands over what it has.
    Leaving,
    /// It is gone.
    Left,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) node: Uuid,
    pub(crate) name: String,
    pub(crate) address: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// For people; nothing is decided by it.
    pub(crate) started: Option<Timestamp>,
    /// For how long it counts when nothing follows, by the clock of who reads it.
    pub(crate) duration: Duration,
    /// The revision of the first announcement of this life; none in that one itself.
    pub(crate) since: Option<Revision>,
    pub(crate) state: NodeState,
    /// The connectors it has, with the epoch of each.
    pub(crate) claims: BTreeMap<String, u64>,
}

impl NodeState {
    const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Leaving => "leaving",
            Self::Left => "left",
        }
    }

    fn read(word: &str) -> Option<Self> {
        [Self::Active, Self::Leaving, Self::Left].into_iter().find(|state| state.word() == word)
    }
}

impl Announcement {
    /// Appends it; answers where it stands.
    pub(crate) async fn append(&self, node: &Node) -> Result<Option<Revision>, AppendError> {
        let event = ProposedEvent::json(Uuid::new_v4(), NODE_TYPE, self.body(node.clock.now()));
        let (stream, expected) = (node.nodes_stream(), ExpectedRevision::Any);
        let appended = node.store.append(AppendRequest { stream, expected, events: vec![event] }).await?;
        Ok(appended.last_revision)
    }

    fn body(&self, now: Timestamp) -> String {
        json!({
            "nodeId": self.node.to_string(),
            "name": self.name,
            "address": self.address,
            "labels": self.labels,
            "startedAt": self.started.map(|at| at.to_string()),
            "announcedAt": now.to_string(),
            "duration": span_text(self.duration),
            "since": self.since.map(Revision::get),
            "state": self.state.word(),
            "connectors": self.claims,
        })
        .to_string()
    }

    /// Reads one; none when the event is something else.
    pub(crate) fn read(event: &RecordedEvent) -> Option<Self> {
        if event.event_type() != NODE_TYPE {
            return None;
        }
        let body: Value = serde_json::from_slice(event.data_slice()).ok()?;
        let text = |key: &str| body.get(key).and_then(Value::as_str);
        let (least, most) = DURATION_BOUNDS;
        let labels = body.get("labels").and_then(Value::as_object).into_iter().flatten();
        let claims = body.get("connectors").and_then(Value::as_object).into_iter().flatten();
        Some(Self {
            node: Uuid::parse_str(text("nodeId")?).ok()?,
            name: text("name").unwrap_or_default().to_owned(),
            address: text("address").map(ToOwned::to_owned),
            labels: labels
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .take(LABELS_MAX)
                .collect(),
            started: text("startedAt").and_then(Timestamp::parse_rfc3339),
            duration: parse_span(text("duration")?)?.clamp(least, most),
            since: body.get("since").and_then(Value::as_u64).map(Revision::new),
            state: NodeState::read(text("state")?)?,
            claims: claims.filter_map(|(id, epoch)| Some((id.clone(), epoch.as_u64()?))).collect(),
        })
    }
}

/// Bounds the stream of nodes.
pub(crate) async fn set_up_stream(node: &Node) -> Result<(), SetUpError> {
    let stream = node.nodes_stream();
    let (metadata, _) = node.store.metadata(&stream).await?;
    if metadata.max_count() != Some(ANNOUNCEMENTS_MAX) {
        let metadata = metadata.with_max_count(ANNOUNCEMENTS_MAX);
        node.store.set_metadata(&stream, ExpectedRevision::Any, metadata).await?;
    }
    Ok(())
}

/// Why the stream of nodes was not bounded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetUpError {
    #[error(transparent)]
    Read(#[from] forebay_store::ReadError),
    #[error(transparent)]
    Append(#[from] AppendError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_event::{Position, StreamName};

    #[test]
    fn an_announcement_survives_its_text() {
        let announcement = Announcement {
            node: Uuid::from_u128(7),
            name: "a".to_owned(),
            address: Some("10.0.0.7:2113".to_owned()),
            labels: BTreeMap::from([("zone".to_owned(), "eu".to_owned())]),
            started: Some(Timestamp::from_ticks(17_637_120_000_000_001)),
            duration: Duration::from_secs(10),
            since: Some(Revision::new(3)),
            state: NodeState::Leaving,
            claims: BTreeMap::from([("orders".to_owned(), 4)]),
        };
        let read = |event_type: &str, body: String| {
            let proposed = ProposedEvent::json(Uuid::from_u128(1), event_type, body);
            let stream = StreamName::new("nodes").unwrap();
            let event =
                RecordedEvent::record(&proposed, &stream, Revision::FIRST, Position::new(1), Timestamp::default());
            Announcement::read(&event)
        };
        let body = announcement.body(Timestamp::default());
        assert_eq!(read(NODE_TYPE, body.clone()), Some(announcement));
        assert_eq!(read("other", body.clone()), None);
        assert_eq!(read(NODE_TYPE, "[]".to_owned()), None);
        let long = read(NODE_TYPE, body.replace("00:00:10", "99:00:00")).unwrap();
        assert_eq!(long.duration, DURATION_BOUNDS.1, "nobody is believed for days");
    }
}
