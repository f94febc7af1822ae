//! Owns the answer to calls that this server does not serve: in words, so that nobody takes it for a fault.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, header};
use tonic::Code;

use crate::request::header_text;
use crate::status::grpc;

/// Services of the protocol that are not here, and what is here instead.
const ABSENT: &[(&str, &str)] = &[
    (
        "/event_store.client.persistent_subscriptions.",
        "persistent subscriptions are not served: use a catch-up subscription, or a connector",
    ),
    ("/event_store.client.projections.", "projections are not served: use a connector with a transform"),
    ("/event_store.client.redaction.", "redaction is not served"),
    ("/kurrentdb.protocol.v2.", "the v2 services are not served: append with event_store.client.streams.Streams"),
];

/// Whether a request is a gRPC call.
pub(crate) fn is_call(headers: &HeaderMap) -> bool {
    header_text(headers, header::CONTENT_TYPE).starts_with("application/grpc")
}

/// Answers a call of a method that is not here.
pub(crate) fn not_served(path: &str) -> Response {
    let known = ABSENT.iter().find(|(prefix, _)| path.starts_with(prefix));
    let message = known.map_or_else(|| format!("{path} is not served"), |(_, message)| (*message).to_owned());
    grpc::not_served(message).into_http()
}

/// Says it in words where a service only says that it has no such method.
pub(super) async fn explain(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let headers = response.headers();
    let unimplemented = (Code::Unimplemented as i32).to_string();
    if header_text(headers, tonic::Status::GRPC_STATUS) == unimplemented
        && !headers.contains_key(tonic::Status::GRPC_MESSAGE)
    {
        return not_served(&path);
    }
    response
}
