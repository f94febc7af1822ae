//! Owns the small values of the protocol: stream names, ids, expected revisions.

use bytes::Bytes;
use forebay_event::StreamName;
use forebay_wire::event_store::client::uuid::{Structured, Value};
use forebay_wire::event_store::client::{StreamIdentifier, Uuid as WireUuid};
use uuid::Uuid;

/// Writes a stream's name.
pub(crate) fn identifier(stream: &StreamName) -> StreamIdentifier {
    StreamIdentifier { stream_name: Bytes::copy_from_slice(stream.as_str().as_bytes()) }
}

/// Writes an id.
pub(crate) fn write_id(id: Uuid) -> WireUuid {
    let (high, low) = id.as_u64_pair();
    let structured =
        Structured { most_significant_bits: high.cast_signed(), least_significant_bits: low.cast_signed() };
    WireUuid { value: Some(Value::Structured(structured)) }
}

/// Reads an id in either form; none when it is absent or malformed.
pub(crate) fn read_id(id: Option<&WireUuid>) -> Option<Uuid> {
    match id?.value.as_ref()? {
        Value::Structured(parts) => {
            let (high, low) = (parts.most_significant_bits, parts.least_significant_bits);
            Some(Uuid::from_u64_pair(high.cast_unsigned(), low.cast_unsigned()))
        }
        Value::String(text) => Uuid::parse_str(text).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_both_forms() {
        let id = Uuid::parse_str("fedcba98-7654-3210-8123-456789abcdef").unwrap();
        assert_eq!(read_id(Some(&write_id(id))), Some(id));
        assert_eq!(read_id(Some(&WireUuid { value: Some(Value::String(id.to_string())) })), Some(id));
        assert_eq!(read_id(Some(&WireUuid { value: None })), None);
    }
}
