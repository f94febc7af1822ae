//! Owns reading the connectors' own events for the checker, by their documented form and with none of the runtime's code.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use forebay_event::RecordedEvent;
use forebay_store::AppendRequest;
use serde_json::Value;

use crate::history::{Fact, Life, Payload, Run, StoredCheckpoint};
use crate::scenario::connector_at;

/// Which connector a stream of the connectors' own belongs to.
pub(crate) fn connector_of(stream: &str) -> Option<usize> {
    let id = stream.trim_start_matches("$$").strip_prefix("$connectors/")?;
    connector_at(id.split('/').next()?)
}

/// What an event that has become durable says.
pub(crate) fn fact_of(event: &RecordedEvent) -> Option<Fact> {
    let (stream, position) = (event.stream(), event.position().commit());
    if !stream.starts_with('$') {
        return Some(Fact::Written { stream: stream.to_owned(), position });
    }
    let other = Fact::Bookkeeping { stream: stream.to_owned(), event_type: event.event_type().to_owned(), position };
    if stream.starts_with("$$") {
        return Some(other);
    }
    let body: Value = serde_json::from_slice(event.data_slice()).unwrap_or_default();
    Some(match stream.rsplit_once('/').map(|(_, last)| last) {
        Some("checkpoints") => Fact::Checkpoint(checkpoint_of(&body)),
        Some("leases") => Fact::Lease {
            holder: body.get("AcquiredBy").and_then(Value::as_str).unwrap_or_default().to_owned(),
            epoch: body.get("Epoch").and_then(Value::as_u64).unwrap_or_default(),
            released: body.get("Duration").and_then(Value::as_str) == Some("00:00:00"),
        },
        Some("parked") if event.event_type() == "$conn-record-parked" => Fact::Parked {
            position: number(body.get("logPosition")),
            epoch: body.get("epoch").and_then(Value::as_u64).unwrap_or_default(),
        },
        Some("parked") => parked_of(event.event_type(), &body).unwrap_or(other),
        Some("skipped") => Fact::LeftOut {
            position: number(body.get("logPosition")),
            epoch: body.get("epoch").and_then(Value::as_u64).unwrap_or_default(),
        },
        _ => other,
    })
}

/// The run whose checkpoint an append of this life holds, and the id of its event; none when it holds something else.
pub(crate) fn checkpoint_in(life: Life, request: &AppendRequest) -> Option<(Run, u128)> {
    let [event] = request.events.as_slice() else { return None };
    let is_one = request.stream.as_str().ends_with("/checkpoints") && !request.stream.as_str().starts_with("$$");
    let body: Value = serde_json::from_slice(&event.data).ok().filter(|_| is_one)?;
    Some((Run { life, epoch: checkpoint_of(&body).epoch }, event.id.as_u128()))
}

/// What became of parked records.
fn parked_of(event_type: &str, body: &Value) -> Option<Fact> {
    let epoch = body.get("epoch").and_then(Value::as_u64).unwrap_or_default();
    let numbers = || {
        let numbers = body.get("numbers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        numbers.iter().filter_map(Value::as_u64).collect()
    };
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(match event_type {
        "$conn-record-replayed" => Fact::Replayed { numbers: numbers(), epoch },
        "$conn-record-dropped" => Fact::Dropped { numbers: numbers(), epoch },
        "$conn-record-edited" => {
            let payload = STANDARD.decode(text("data")).unwrap_or_default();
            let number = body.get("number").and_then(Value::as_u64).unwrap_or_default();
            Fact::Edited { number, payload: Payload::of(&payload), epoch }
        }
        "$conn-key-replay-began" => Fact::ReplayBegan { key: text("key"), epoch },
        "$conn-key-replay-ended" => Fact::ReplayEnded { key: text("key"), epoch },
        _ => return None,
    })
}

/// What a checkpoint event says.
pub(crate) fn read_checkpoint(event: &RecordedEvent) -> StoredCheckpoint {
    checkpoint_of(&serde_json::from_slice(event.data_slice()).unwrap_or_default())
}

fn checkpoint_of(body: &Value) -> StoredCheckpoint {
    let at_start = body.get("atStart").and_then(Value::as_bool).unwrap_or(false);
    let ranges = body.get("settledRanges").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    StoredCheckpoint {
        mark: (!at_start).then(|| number(body.get("logPosition"))),
        ranges: ranges.iter().map(|pair| (number(pair.get(0)), number(pair.get(1)))).collect(),
        epoch: body.get("epoch").and_then(Value::as_u64).unwrap_or_default(),
    }
}

fn number(value: Option<&Value>) -> u64 {
    value.and_then(Value::as_str).and_then(|text| text.parse().ok()).unwrap_or_default()
}
