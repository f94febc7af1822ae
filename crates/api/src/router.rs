//! Owns the router: all tables, mounted, with what every request passes through.

use std::any::Any;
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use axum::{Router, middleware};
use forebay_access::Access;
use forebay_event::{Clock, Timestamp};
use forebay_runtime::Connectors;
use forebay_store::EventStore;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use uuid::Uuid;

use crate::limits::AppendLimits;
use crate::operations::OperationsApi;
use crate::origin::TrustedHosts;
use crate::request::MANAGEMENT_BODY_SIZE_MAX;
use crate::routes::{mount, unknown_path};
use crate::status::Refusal;
use crate::streams::{APPEND_BODY_SIZE_MAX, StreamsApi};
use crate::{auth, connectors, grpc, operations, origin, streams, users};

/// What the API translates for, and what it tells about the node.
#[derive(Clone)]
pub struct Api {
    /// The event store, for what is told about the node.
    pub store: Arc<dyn EventStore>,
    /// Who may do what, and the store as each caller may use it.
    pub access: Access,
    /// All connectors.
    pub connectors: Connectors,
    /// All metrics of this process.
    pub registry: Arc<Registry>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is told about this node.
    pub node: NodeFacts,
    /// Whether it serves this machine alone: then who manages it must have asked for this machine by name.
    pub is_local: bool,
    /// Names by which it is managed besides, such as that of a proxy on the same machine.
    pub trusted_hosts: TrustedHosts,
    /// Whether requests come over TLS.
    pub is_tls: bool,
    /// What one append may hold, as the store has it.
    pub limits: AppendLimits,
    /// Cancelled when a client asks for the process to stop; whoever runs it decides.
    pub stop_asked: CancellationToken,
    /// Ends subscriptions and makes the node not ready.
    pub stopping: CancellationToken,
}

/// What `/info` and `/stats` tell about a node.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// The name an operator gave it.
    pub name: String,
    /// The version of the server.
    pub version: String,
    /// When it started.
    pub started: Timestamp,
}

/// Builds the router of the whole API.
pub fn router(api: Api) -> Router {
    let (is_local, is_tls) = (api.is_local, api.is_tls);
    let access = api.access.clone();
    let same_site = middleware::from_fn_with_state(api.trusted_hosts.clone(), origin::same_site_only);
    let this_machine = middleware::from_fn_with_state(api.trusted_hosts.clone(), origin::this_machine_only);
    let streams_api = StreamsApi::new(access.clone(), api.stopping.clone());
    let instance = Uuid::new_v4();
    let grpc = grpc::routes(&api, streams_api.clone(), instance);
    let streams = streams_router(streams_api);
    let connectors = mount(connectors::ROUTES, api.connectors.clone(), &access)
        .layer(DefaultBodyLimit::max(MANAGEMENT_BODY_SIZE_MAX))
        .layer(same_site.clone());
    let connectors = if is_local { connectors.layer(this_machine.clone()) } else { connectors };
    let users = mount(users::ROUTES, access.clone(), &access)
        .layer(DefaultBodyLimit::max(MANAGEMENT_BODY_SIZE_MAX))
        .layer(same_site);
    let users = if is_local { users.layer(this_machine) } else { users };
    let operations = mount(operations::ROUTES, OperationsApi::new(api, instance), &access)
        .layer(DefaultBodyLimit::max(MANAGEMENT_BODY_SIZE_MAX))
        .layer(origin::any_site());
    let whole = streams.merge(connectors).merge(users).merge(operations).merge(grpc);
    guarded(if is_tls { whole.layer(middleware::from_fn(origin::over_tls)) } else { whole }, access)
}

/// The routes of streams alone.
pub(crate) fn streams_router(api: StreamsApi) -> Router {
    let access = api.access.clone();
    mount(streams::ROUTES, api, &access).layer(DefaultBodyLimit::max(APPEND_BODY_SIZE_MAX)).layer(origin::any_site())
}

/// Adds what every request passes through: it is found out who asks, unknown paths are refused by name, panics are
/// caught.
pub(crate) fn guarded(router: Router, access: Access) -> Router {
    let identify = middleware::from_fn_with_state(access, auth::identify);
    router.fallback(unknown_path).layer(identify).layer(CatchPanicLayer::custom(panicked))
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(panic = message, "a request broke its handler");
    Refusal::internal().into_response()
}
