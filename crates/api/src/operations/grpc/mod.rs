//! Operation over gRPC: what the server can do, who it is, how it does; as official clients ask.

mod features;
mod gossip;
mod operator;
mod monitoring;
mod persistent;

pub(crate) use features::{FeaturesService, PROTOCOL_VERSION};
pub(crate) use gossip::GossipService;
pub(crate) use monitoring::MonitoringService;
pub(crate) use operator::OperationsService;
pub(crate) use persistent::PersistentSubscriptionsService;
