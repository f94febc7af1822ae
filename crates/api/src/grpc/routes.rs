//! Owns mounting the services of the client protocol.

use axum::Router;
use axum::middleware;
use forebay_wire::event_store::client::gossip::gossip_server::GossipServer;
use forebay_wire::event_store::client::monitoring::monitoring_server::MonitoringServer;
use forebay_wire::event_store::client::operations::operations_server::OperationsServer;
use forebay_wire::event_store::client::persistent_subscriptions::persistent_subscriptions_server::PersistentSubscriptionsServer;
use forebay_wire::event_store::client::server_features::server_features_server::ServerFeaturesServer;
use forebay_wire::event_store::client::streams::streams_server::StreamsServer;
use forebay_wire::event_store::client::users::users_server::UsersServer;
use tonic::service::Routes;
use uuid::Uuid;

use super::dialled::tell_dialled;
use super::not_served::explain;
use super::rights::let_in;
use crate::operations::{
    FeaturesService, GossipService, MonitoringService, OperationsService, PersistentSubscriptionsService,
};
use crate::router::Api;
use crate::streams::{StreamsApi, StreamsService, count_intake};
use crate::users::UsersService;

/// A message that holds no events is at most so large, in bytes.
const SMALL_MESSAGE_SIZE_MAX: usize = 64 << 10;
/// What an answer with an event may hold beside what one may append, in bytes: a link next to what it points to.
const ANSWERS_PER_APPEND: usize = 2;

/// Routes of all services of the node, which is this instance.
pub(crate) fn routes(api: &Api, streams: StreamsApi, instance: Uuid) -> Router {
    let request_max = api.limits.message_size_max();
    let intake = middleware::from_fn_with_state(streams.clone(), count_intake);
    let streams = StreamsServer::new(StreamsService::new(streams, api.clock.clone(), api.limits))
        .max_decoding_message_size(request_max)
        .max_encoding_message_size(request_max.saturating_mul(ANSWERS_PER_APPEND));
    let features = ServerFeaturesServer::new(FeaturesService).max_decoding_message_size(SMALL_MESSAGE_SIZE_MAX);
    let gossip = GossipServer::new(GossipService::new(api, instance)).max_decoding_message_size(SMALL_MESSAGE_SIZE_MAX);
    let operations =
        OperationsServer::new(OperationsService::new(api)).max_decoding_message_size(SMALL_MESSAGE_SIZE_MAX);
    let monitoring =
        MonitoringServer::new(MonitoringService::new(api)).max_decoding_message_size(SMALL_MESSAGE_SIZE_MAX);
    let persistent = PersistentSubscriptionsServer::new(PersistentSubscriptionsService)
        .max_decoding_message_size(SMALL_MESSAGE_SIZE_MAX);
    let users =
        UsersServer::new(UsersService::new(api.access.clone())).max_decoding_message_size(SMALL_MESSAGE_SIZE_MAX);
    let mut services = Routes::builder();
    services.add_service(streams);
    services.add_service(features).add_service(gossip).add_service(operations);
    services.add_service(monitoring).add_service(persistent).add_service(users);
    services
        .routes()
        .into_axum_router()
        .layer(intake)
        .layer(middleware::from_fn_with_state(api.access.clone(), let_in))
        .layer(middleware::from_fn(tell_dialled))
        .layer(middleware::from_fn(explain))
        .reset_fallback()
}
