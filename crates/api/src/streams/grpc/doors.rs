//! Owns the door for fuzzing: a whole call, given as the bytes of its request.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use forebay_access::Access;
use forebay_event::SystemClock;
use forebay_store::EventStore;
use forebay_wire::event_store::client::streams::streams_server::StreamsServer;
use http::{HeaderMap, HeaderValue, Request};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::codegen::Service;

use super::service::StreamsService;
use crate::limits::AppendLimits;
use crate::streams::StreamsApi;

/// One append through the door holds at most so many bytes.
const APPEND_SIZE_MAX: usize = 64 << 10;

/// Calls a method of the service of streams with the frames of a request, and answers the status it ends with; none when
/// it ends without one.
pub async fn grpc_call(
    store: Arc<dyn EventStore>,
    method: &str,
    timeout: Option<HeaderValue>,
    frames: &[u8],
) -> Option<i32> {
    let limits = AppendLimits { append_size_max: APPEND_SIZE_MAX, event_size_max: APPEND_SIZE_MAX };
    let clock = Arc::new(SystemClock::new());
    let api = StreamsApi::new(Access::unasked(store, clock.clone()), CancellationToken::new());
    let service = StreamsService::new(api, clock, limits);
    let mut server = StreamsServer::new(service).max_decoding_message_size(limits.message_size_max());
    let uri = format!("http://localhost:2113/event_store.client.streams.Streams/{method}");
    let request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
    let mut request = request.body(Body::from(Bytes::copy_from_slice(frames))).ok()?;
    if let Some(timeout) = timeout {
        request.headers_mut().insert("grpc-timeout", timeout);
    }
    let Ok(response) = server.call(request).await;
    if let Some(status) = status_of(response.headers()) {
        return Some(status);
    }
    let mut body = pin!(response.into_body());
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        if let Some(status) = frame.ok()?.trailers_ref().and_then(status_of) {
            return Some(status);
        }
    }
    None
}

fn status_of(headers: &HeaderMap) -> Option<i32> {
    headers.get(Status::GRPC_STATUS)?.to_str().ok()?.parse().ok()
}
