//! Owns the statuses of gRPC: code, text and trailers, as clients of the protocol tell them apart.

use forebay_access::{Refused, SignInError, UserError};
use forebay_event::{ExpectedRevision, Revision};
use forebay_store::{AppendError, InvalidFilter, ReadError, SubscribeError};
use forebay_wire::event_store::client as wire;
use forebay_wire::google::rpc::Status as RpcStatus;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost::Message;
use prost_types::Any;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use uuid::Uuid;

/// What a trailer does not hold as it is; everything beyond ASCII is escaped as well.
const TRAILER_UNSAFE: &AsciiSet = &CONTROLS.add(b'%');
/// Where the types of details live.
const TYPE_URL: &str = "type.googleapis.com/";

/// The request is wrong in itself: says what and what is expected.
pub(crate) fn invalid(message: impl Into<String>) -> Status {
    Status::invalid_argument(message)
}

/// A position that no log can have.
pub(crate) fn invalid_position() -> Status {
    invalid("Trying to read from an invalid position.")
}

/// The stream was tombstoned.
pub(crate) fn stream_deleted(stream: &str) -> Status {
    let message = format!("Event stream '{stream}' is deleted.");
    with_trailers(Code::FailedPrecondition, message, "stream-deleted", &[("stream-name", stream)])
}

/// The caller may not do this.
pub(crate) fn access_denied() -> Status {
    with_trailers(Code::PermissionDenied, "Access Denied".to_owned(), "access-denied", &[])
}

/// Who asks could not be found out.
pub(crate) fn of_sign_in(error: SignInError) -> Status {
    match error {
        SignInError::Wrong => Status::unauthenticated("Unauthenticated"),
        SignInError::Busy => too_busy(),
        SignInError::Read(error) => of_read(error),
    }
}

/// Why a guarded call was not done; `of` words what the store refused.
pub(crate) fn of_refused<E>(refused: Refused<E>, of: impl FnOnce(E) -> Status) -> Status {
    match refused {
        Refused::Denied(_) => access_denied(),
        Refused::Unjudged(error) => of_read(error),
        Refused::Failed(error) => of(error),
    }
}

/// Why something about a user was not done.
pub(crate) fn of_user(error: UserError) -> Status {
    let message = error.to_string();
    match error {
        UserError::NotFound { login } => {
            let message = format!("User '{login}' is not found.");
            with_trailers(Code::NotFound, message, "user-not-found", &[("login-name", &login)])
        }
        UserError::Conflict { login } => {
            let trailers = [("login-name", login.as_str())];
            with_trailers(Code::FailedPrecondition, "Conflict.".to_owned(), "user-conflict", &trailers)
        }
        UserError::WrongPassword { .. } => access_denied(),
        UserError::Invalid { .. } => invalid(message),
        UserError::TooMany { .. } => Status::resource_exhausted(message),
        UserError::Busy => too_busy(),
        UserError::NoRandom => Status::internal(message),
        UserError::Read(error) => of_read(error),
        UserError::Append(error) => of_append(error),
    }
}

/// An event lacks what every event must say about itself.
pub(crate) fn missing_metadata(property: &str) -> Status {
    let message = format!("Required Metadata Property '{property}' is missing");
    let required = [("required-metadata-properties", "type,content-type")];
    with_trailers(Code::InvalidArgument, message, "missing-required-metadata-property", &required)
}

/// The server is stopping. Clients look for another node, or for this one again.
pub(crate) fn stopping() -> Status {
    Status::unavailable("Server Is Shutting Down")
}

/// A bound on what is done at the same time is reached.
pub(crate) fn too_busy() -> Status {
    Status::unavailable("Server Is Too Busy")
}

/// The time that the caller gave has passed.
pub(crate) fn deadline_exceeded() -> Status {
    Status::deadline_exceeded("the deadline of the call has passed")
}

/// The caller stopped in the middle of a request.
pub(crate) fn request_timeout(limit_ms: u128) -> Status {
    Status::deadline_exceeded(format!("nothing more of the request came within {limit_ms} ms"))
}

/// This server has no such method: says what it has instead.
pub(crate) fn not_served(message: impl Into<String>) -> Status {
    Status::unimplemented(message)
}

/// No scavenge runs, so none has this id.
pub(crate) fn scavenge_not_found(id: &str) -> Status {
    let message = "Scavenge id was invalid.".to_owned();
    with_trailers(Code::NotFound, message, "scavenge-not-found", &[("scavenge-id", id)])
}

/// Listing what a stream has, when it has none.
pub(crate) fn no_persistent_subscription(stream: &str) -> Status {
    let message = format!("Subscription group  on stream {stream} does not exist.");
    let trailers = [("stream-name", stream), ("group-name", "")];
    with_trailers(Code::NotFound, message, "persistent-subscription-does-not-exist", &trailers)
}

/// Why a filter is refused.
pub(crate) fn of_filter(error: &InvalidFilter) -> Status {
    invalid(error.to_string())
}

/// Why a read failed.
pub(crate) fn of_read(error: ReadError) -> Status {
    let message = error.to_string();
    match error {
        ReadError::StreamNotFound { stream } => {
            let message = format!("Event stream '{stream}' is not found.");
            with_trailers(Code::NotFound, message, "stream-not-found", &[("stream-name", stream.as_str())])
        }
        ReadError::StreamDeleted { stream } => stream_deleted(stream.as_str()),
        ReadError::Damaged { .. } => {
            tracing::error!(error = %message, "the store is damaged");
            Status::data_loss(message)
        }
        ReadError::Unavailable { .. } => Status::unavailable(message),
    }
}

/// Why a subscription was not opened, or ended.
pub(crate) fn of_subscription(error: SubscribeError) -> Status {
    match error {
        SubscribeError::StreamDeleted { stream } => stream_deleted(stream.as_str()),
        SubscribeError::BehindEnd { .. } => invalid(error.to_string()),
        SubscribeError::Closed => stopping(),
        SubscribeError::Read(error) => of_read(error),
    }
}

/// Why an append, delete or tombstone was refused.
pub(crate) fn of_append(error: AppendError) -> Status {
    let message = error.to_string();
    match error {
        AppendError::WrongExpectedRevision { stream, expected, current } => {
            wrong_expected(stream.as_str(), expected, current)
        }
        AppendError::StreamDeleted { stream } => stream_deleted(stream.as_str()),
        AppendError::AppendTooLarge { limit, .. } => append_too_large(limit),
        AppendError::EventTooLarge { id, size, limit } => event_too_large(id, size, limit),
        AppendError::Invalid { .. } => invalid(message),
        AppendError::Unavailable { .. } => Status::unavailable(message),
    }
}

/// The events of an append are together larger than it may be.
pub(crate) fn append_too_large(limit: usize) -> Status {
    let message = format!("Maximum Append Size of {limit} Exceeded.");
    let trailers = [("maximum-append-size", &*limit.to_string())];
    with_trailers(Code::InvalidArgument, message, "maximum-append-size-exceeded", &trailers)
}

fn event_too_large(id: Uuid, size: usize, limit: usize) -> Status {
    let message = format!("Event {id} with a size of {size} exceeds the maximum of {limit} for one event.");
    let trailers = [
        ("event-id", &*id.to_string()),
        ("proposed-append-event-size", &*size.to_string()),
        ("maximum-append-event-size", &*limit.to_string()),
    ];
    with_trailers(Code::InvalidArgument, message, "maximum-append-event-size-exceeded", &trailers)
}

/// A delete or tombstone whose condition does not hold; an append answers this as a message.
fn wrong_expected(stream: &str, expected: ExpectedRevision, current: Option<Revision>) -> Status {
    let expected = match expected {
        ExpectedRevision::Any => "-2".to_owned(),
        ExpectedRevision::NoStream => "-1".to_owned(),
        ExpectedRevision::StreamExists => "-4".to_owned(),
        ExpectedRevision::Exact(revision) => revision.to_string(),
    };
    let actual = current.map_or_else(|| "-1".to_owned(), |revision| revision.to_string());
    let message = format!(
        "Delete failed due to WrongExpectedVersion. Stream: {stream}, Expected version: {expected}, Actual version: {actual}"
    );
    let trailers = [("stream-name", stream), ("expected-version", &*expected), ("actual-version", &*actual)];
    with_trailers(Code::FailedPrecondition, message, "wrong-expected-version", &trailers)
}

fn with_trailers(code: Code, message: String, exception: &str, trailers: &[(&'static str, &str)]) -> Status {
    let mut metadata = MetadataMap::new();
    for (key, value) in [("exception", exception)].iter().chain(trailers) {
        let escaped = utf8_percent_encode(value, TRAILER_UNSAFE).to_string();
        if let Ok(value) = MetadataValue::try_from(escaped) {
            metadata.insert(*key, value);
        }
    }
    Status::with_metadata(code, message, metadata)
}

/// Why one append of a batch was not made, as its answer carries it.
pub(crate) fn of_batched_refused(refused: Refused<AppendError>) -> RpcStatus {
    match refused {
        Refused::Denied(_) => batched_denied(),
        Refused::Unjudged(error) => {
            RpcStatus { code: Code::Unavailable as i32, message: error.to_string(), details: None }
        }
        Refused::Failed(error) => of_batched(error),
    }
}

/// Why one append of a batch was refused by the store, as its answer carries it: clients go by the type of the detail.
fn of_batched(error: AppendError) -> RpcStatus {
    let message = error.to_string();
    match error {
        AppendError::WrongExpectedRevision { expected, current, .. } => detailed(
            Code::AlreadyExists,
            "WrongExpectedVersion".to_owned(),
            "event_store.client.WrongExpectedVersion",
            &wrong_expected_detail(expected, current),
        ),
        AppendError::StreamDeleted { stream } => {
            let stream_name = stream.as_str().to_owned().into();
            let stream_identifier = Some(wire::StreamIdentifier { stream_name });
            let detail = wire::StreamDeleted { stream_identifier };
            detailed(Code::NotFound, message, "event_store.client.StreamDeleted", &detail)
        }
        AppendError::AppendTooLarge { limit, .. } => batched_too_large(limit),
        AppendError::EventTooLarge { id, size, limit } => {
            let detail = wire::MaximumAppendEventSizeExceeded {
                event_id: id.to_string(),
                proposed_event_size: narrow(size),
                max_append_event_size: narrow(limit),
            };
            detailed(Code::InvalidArgument, message, "event_store.client.MaximumAppendEventSizeExceeded", &detail)
        }
        AppendError::Invalid { .. } => batched_invalid(message),
        AppendError::Unavailable { .. } => RpcStatus { code: Code::Unavailable as i32, message, details: None },
    }
}

/// One append of a batch is wrong in itself.
pub(crate) fn batched_invalid(message: impl Into<String>) -> RpcStatus {
    let message = message.into();
    let detail = wire::BadRequest { message: message.clone() };
    detailed(Code::InvalidArgument, message, "event_store.client.BadRequest", &detail)
}

/// One append of a batch is larger than it may be.
pub(crate) fn batched_too_large(limit: usize) -> RpcStatus {
    let message = format!("Maximum Append Size of {limit} Exceeded.");
    let detail = wire::MaximumAppendSizeExceeded { max_append_size: narrow(limit) };
    detailed(Code::InvalidArgument, message, "event_store.client.MaximumAppendSizeExceeded", &detail)
}

/// One append of a batch was not made in time; whether it will be is not known.
pub(crate) fn batched_timeout() -> RpcStatus {
    detailed(Code::DeadlineExceeded, "Timeout".to_owned(), "event_store.client.Timeout", &wire::Timeout {})
}

/// One append of a batch would write where nobody may.
pub(crate) fn batched_denied() -> RpcStatus {
    detailed(
        Code::PermissionDenied,
        "Access Denied".to_owned(),
        "event_store.client.AccessDenied",
        &wire::AccessDenied {},
    )
}

/// One append of a batch finds no room.
pub(crate) fn batched_busy() -> RpcStatus {
    RpcStatus { code: Code::Unavailable as i32, message: "Server Is Busy".to_owned(), details: None }
}

fn wrong_expected_detail(expected: ExpectedRevision, current: Option<Revision>) -> wire::WrongExpectedVersion {
    use wire::wrong_expected_version::{
        CurrentStreamRevisionOption as Current, ExpectedStreamPositionOption as Expected,
    };
    wire::WrongExpectedVersion {
        current_stream_revision_option: Some(
            current.map_or(Current::CurrentNoStream(()), |revision| Current::CurrentStreamRevision(revision.get())),
        ),
        expected_stream_position_option: Some(match expected {
            ExpectedRevision::Any => Expected::ExpectedAny(()),
            ExpectedRevision::NoStream => Expected::ExpectedNoStream(()),
            ExpectedRevision::StreamExists => Expected::ExpectedStreamExists(()),
            ExpectedRevision::Exact(revision) => Expected::ExpectedStreamPosition(revision.get()),
        }),
    }
}

fn detailed(code: Code, message: String, type_name: &str, detail: &impl Message) -> RpcStatus {
    let details = Some(Any { type_url: format!("{TYPE_URL}{type_name}"), value: detail.encode_to_vec() });
    RpcStatus { code: code as i32, message, details }
}

fn narrow(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_event::StreamName;

    fn wrong(expected: ExpectedRevision) -> AppendError {
        AppendError::WrongExpectedRevision { stream: StreamName::new("größe%").unwrap(), expected, current: None }
    }

    fn trailer<'a>(status: &'a Status, key: &str) -> &'a str {
        status.metadata().get(key).unwrap().to_str().unwrap()
    }

    #[test]
    fn trailers_are_ascii_and_complete() {
        let status = of_append(wrong(ExpectedRevision::StreamExists));
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains("WrongExpectedVersion") && status.message().ends_with("Actual version: -1"));
        assert_eq!(trailer(&status, "exception"), "wrong-expected-version");
        assert_eq!(trailer(&status, "stream-name"), "gr%C3%B6%C3%9Fe%25");
        assert_eq!((trailer(&status, "expected-version"), trailer(&status, "actual-version")), ("-4", "-1"));
    }

    #[test]
    fn a_deleted_stream_is_named_in_text_and_trailer() {
        let status = stream_deleted("s");
        assert_eq!(status.message(), "Event stream 's' is deleted.");
        assert_eq!((trailer(&status, "exception"), trailer(&status, "stream-name")), ("stream-deleted", "s"));
    }

    #[test]
    fn details_of_a_batch_carry_their_type() {
        let status = of_batched(wrong(ExpectedRevision::NoStream));
        assert_eq!(status.code, 6);
        let detail = status.details.unwrap();
        assert_eq!(detail.type_url, "type.googleapis.com/event_store.client.WrongExpectedVersion");
        assert_eq!(detail.value, [0x12, 0, 0x32, 0]);
        assert_eq!(batched_timeout().details.unwrap().type_url, "type.googleapis.com/event_store.client.Timeout");
    }
}
