//! Owns what an operator may ask of a node over gRPC; most of it has no meaning for a single node over its own log.

use forebay_wire::event_store::client::Empty;
use forebay_wire::event_store::client::operations::operations_server::Operations;
use forebay_wire::event_store::client::operations::{
    ScavengeResp, SetNodePriorityReq, StartScavengeReq, StopScavengeReq,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::router::Api;
use crate::status::grpc::{not_served, scavenge_not_found};

/// Answers an operator.
#[derive(Clone, Debug)]
pub(crate) struct OperationsService {
    stop_asked: CancellationToken,
}

impl OperationsService {
    /// Answers for this API's node.
    pub(crate) fn new(api: &Api) -> Self {
        Self { stop_asked: api.stop_asked.clone() }
    }
}

#[tonic::async_trait]
impl Operations for OperationsService {
    async fn start_scavenge(&self, _request: Request<StartScavengeReq>) -> Result<Response<ScavengeResp>, Status> {
        Err(not_served("scavenging is not served: the log keeps every event, and packs its blocks by itself"))
    }

    async fn stop_scavenge(&self, request: Request<StopScavengeReq>) -> Result<Response<ScavengeResp>, Status> {
        let id = request.into_inner().options.map(|options| options.scavenge_id).unwrap_or_default();
        Err(scavenge_not_found(&id))
    }

    async fn shutdown(&self, _request: Request<Empty>) -> Result<Response<Empty>, Status> {
        tracing::info!("a client asks for the server to stop");
        self.stop_asked.cancel();
        Ok(Response::new(Empty {}))
    }

    /// The log merges its index by itself, so whoever asks finds it done.
    async fn merge_indexes(&self, _request: Request<Empty>) -> Result<Response<Empty>, Status> {
        Ok(Response::new(Empty {}))
    }

    /// There is nobody to take over: the one node leads again at once.
    async fn resign_node(&self, _request: Request<Empty>) -> Result<Response<Empty>, Status> {
        Ok(Response::new(Empty {}))
    }

    /// Among one node every priority is the highest.
    async fn set_node_priority(&self, _request: Request<SetNodePriorityReq>) -> Result<Response<Empty>, Status> {
        Ok(Response::new(Empty {}))
    }

    async fn restart_persistent_subscriptions(&self, _request: Request<Empty>) -> Result<Response<Empty>, Status> {
        Err(not_served("persistent subscriptions are not served: there are none to restart"))
    }
}
