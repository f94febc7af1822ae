//! Owns deleting a stream, softly or for good.

use forebay_access::Guard;
use forebay_event::ExpectedRevision;
use forebay_wire::event_store::client::streams::{
    DeleteReq, DeleteResp, TombstoneReq, TombstoneResp, delete_req, tombstone_req,
};
use tonic::Status;

use super::answers;
use super::names::{exactly, no_expectation, written_stream};
use crate::status::grpc::{invalid, of_append, of_refused};

/// Soft-deletes a stream.
pub(super) async fn delete(store: &Guard, request: DeleteReq) -> Result<DeleteResp, Status> {
    use delete_req::options::ExpectedStreamRevision as Expected;
    let options = request.options.ok_or_else(no_options)?;
    let stream = written_stream(options.stream_identifier)?;
    let expected = match options.expected_stream_revision.ok_or_else(no_expectation)? {
        Expected::Any(_) => ExpectedRevision::Any,
        Expected::NoStream(_) => ExpectedRevision::NoStream,
        Expected::StreamExists(_) => ExpectedRevision::StreamExists,
        Expected::Revision(number) => exactly(number)?,
    };
    store.delete(&stream, expected).await.map(answers::deleted).map_err(|refused| of_refused(refused, of_append))
}

/// Ends a stream for good.
pub(super) async fn tombstone(store: &Guard, request: TombstoneReq) -> Result<TombstoneResp, Status> {
    use tombstone_req::options::ExpectedStreamRevision as Expected;
    let options = request.options.ok_or_else(no_options)?;
    let stream = written_stream(options.stream_identifier)?;
    let expected = match options.expected_stream_revision.ok_or_else(no_expectation)? {
        Expected::Any(_) => ExpectedRevision::Any,
        Expected::NoStream(_) => ExpectedRevision::NoStream,
        Expected::StreamExists(_) => ExpectedRevision::StreamExists,
        Expected::Revision(number) => exactly(number)?,
    };
    store.tombstone(&stream, expected).await.map(answers::tombstoned).map_err(|refused| of_refused(refused, of_append))
}

fn no_options() -> Status {
    invalid("the request has no options")
}
