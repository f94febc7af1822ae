//! Operation over HTTP: facts about the node, members, health, numbers, metrics, the API's own document.

mod routes;
mod node;
mod gossip;
mod nodes;
mod health;
mod metrics;
mod grpc;

pub(crate) use grpc::{
    FeaturesService, GossipService, MonitoringService, OperationsService, PersistentSubscriptionsService,
};
pub(crate) use health::{away_text, waiting};
pub(crate) use node::OperationsApi;
pub(crate) use routes::ROUTES;
