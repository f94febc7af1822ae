//! Owns deleting a stream, softly or for good.

use axum::response::Response;
use http::HeaderMap;

use super::point::{expected_version, stream_name};
use super::state::CallersStreams;
use crate::request::{UrlPath, twin_flag};
use crate::status::{self, Refusal};

/// Deletes a stream; with `ES-HardDelete: true` nothing can ever be appended to it again.
pub(super) async fn remove(
    api: CallersStreams,
    UrlPath(name): UrlPath<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let stream = stream_name(&name)?;
    let expected = expected_version(&headers)?;
    if twin_flag(&headers, "harddelete")? {
        api.store.tombstone(&stream, expected).await?;
    } else {
        api.store.delete(&stream, expected).await?;
    }
    Ok(status::no_content())
}
