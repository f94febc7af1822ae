//! Owns the small values of the protocol: stream names, ids, expected revisions.

use forebay_event::{ExpectedRevision, Revision, StreamName};
use forebay_wire::event_store::client::uuid::{Structured, Value};
use forebay_wire::event_store::client::{StreamIdentifier, Uuid as WireUuid};
use tonic::Status;
use uuid::Uuid;

use crate::status::grpc::{access_denied, invalid};
use crate::streams::point::ALL;

/// How a caller wants ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdForm {
    /// As two numbers.
    Structured,
    /// As text.
    Text,
}

/// Reads a stream's name.
pub(super) fn stream_name(identifier: Option<StreamIdentifier>) -> Result<StreamName, Status> {
    let identifier = identifier.ok_or_else(|| invalid("the request names no stream"))?;
    let text = std::str::from_utf8(&identifier.stream_name)
        .map_err(|_| invalid("the stream's name is not UTF-8: expected text"))?;
    StreamName::new(text).map_err(|error| invalid(error.to_string()))
}

/// Reads the name of a stream to write to; nobody writes to the log as a whole.
pub(super) fn written_stream(identifier: Option<StreamIdentifier>) -> Result<StreamName, Status> {
    let stream = stream_name(identifier)?;
    if stream.as_str() == ALL { Err(access_denied()) } else { Ok(stream) }
}

/// Writes a stream's name.
pub(super) fn identifier(stream: &str) -> StreamIdentifier {
    StreamIdentifier { stream_name: stream.to_owned().into() }
}

/// Reads an id in either form; none when it is absent or malformed.
pub(super) fn read_id(id: Option<&WireUuid>) -> Option<Uuid> {
    match id?.value.as_ref()? {
        Value::Structured(parts) => {
            let (high, low) =
                (parts.most_significant_bits.cast_unsigned(), parts.least_significant_bits.cast_unsigned());
            Some(Uuid::from_u64_pair(high, low))
        }
        Value::String(text) => Uuid::parse_str(text).ok(),
    }
}

/// Writes an id in the form that was asked for.
pub(super) fn write_id(id: Uuid, form: IdForm) -> WireUuid {
    let value = match form {
        IdForm::Text => Value::String(id.to_string()),
        IdForm::Structured => {
            let (high, low) = id.as_u64_pair();
            Value::Structured(Structured {
                most_significant_bits: high.cast_signed(),
                least_significant_bits: low.cast_signed(),
            })
        }
    };
    WireUuid { value: Some(value) }
}

/// Reads a revision; the protocol has none above the highest signed number.
pub(super) fn revision(number: u64) -> Result<Revision, Status> {
    if number > Revision::MAX.get() {
        return Err(invalid(format!("revision {number} is out of range: expected at most {}", Revision::MAX)));
    }
    Ok(Revision::new(number))
}

/// Reads an expected revision given as a number.
pub(super) fn exactly(number: u64) -> Result<ExpectedRevision, Status> {
    revision(number).map(ExpectedRevision::Exact)
}

/// The request sets no condition, not even that there is none.
pub(super) fn no_expectation() -> Status {
    invalid("the expected revision is missing: expected any, no stream, stream exists or a revision")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_both_forms() {
        let id = Uuid::parse_str("fedcba98-7654-3210-8123-456789abcdef").unwrap();
        for form in [IdForm::Structured, IdForm::Text] {
            assert_eq!(read_id(Some(&write_id(id, form))), Some(id));
        }
        assert_eq!(read_id(Some(&WireUuid { value: Some(Value::String("seven".to_owned())) })), None);
    }

    #[test]
    fn names_are_text_and_not_the_whole_log() {
        let named = |bytes: &'static [u8]| Some(StreamIdentifier { stream_name: bytes.into() });
        assert_eq!(stream_name(named("größe".as_bytes())).unwrap().as_str(), "größe");
        assert_eq!(stream_name(named(b"\xff")).unwrap_err().code(), tonic::Code::InvalidArgument);
        assert_eq!(stream_name(named(b"")).unwrap_err().code(), tonic::Code::InvalidArgument);
        assert_eq!(written_stream(named(b"$all")).unwrap_err().code(), tonic::Code::PermissionDenied);
    }

    #[test]
    fn revisions_end_at_the_highest_signed_number() {
        assert!(revision(i64::MAX as u64).is_ok());
        assert_eq!(exactly(1 << 63).unwrap_err().code(), tonic::Code::InvalidArgument);
    }
}
