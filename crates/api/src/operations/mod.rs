//! Operation over HTTP: facts about the node, health, numbers, metrics, the API's own document.

mod routes;
mod node;
mod nodes;
mod health;
mod metrics;
mod grpc;

pub(crate) use grpc::{
    FeaturesService, GossipService, MonitoringService, OperationsService, PersistentSubscriptionsService,
};
pub(crate) use node::OperationsApi;
pub(crate) use routes::ROUTES;
