//! Owns telling who the members of the cluster are: this one node, at the address that the caller has dialled.

use std::sync::Arc;

use forebay_event::Clock;
use forebay_wire::event_store::client::gossip::gossip_server::Gossip;
use forebay_wire::event_store::client::gossip::member_info::VNodeState;
use forebay_wire::event_store::client::gossip::{ClusterInfo, EndPoint, MemberInfo};
use forebay_wire::event_store::client::uuid::{Structured, Value};
use forebay_wire::event_store::client::{Empty, Uuid as WireUuid};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::grpc::Dialled;
use crate::router::Api;
use crate::status::grpc::invalid;

/// Tells about this node.
#[derive(Clone)]
pub(crate) struct GossipService {
    instance: Uuid,
    clock: Arc<dyn Clock>,
    stopping: CancellationToken,
}

impl GossipService {
    /// Tells about this API's node, which is this instance.
    pub(crate) fn new(api: &Api, instance: Uuid) -> Self {
        Self { instance, clock: api.clock.clone(), stopping: api.stopping.clone() }
    }
}

#[tonic::async_trait]
impl Gossip for GossipService {
    async fn read(&self, request: Request<Empty>) -> Result<Response<ClusterInfo>, Status> {
        let dialled =
            request.extensions().get::<Dialled>().ok_or_else(|| invalid("the call names no host (`:authority`)"))?;
        let (high, low) = self.instance.as_u64_pair();
        let instance =
            Structured { most_significant_bits: high.cast_signed(), least_significant_bits: low.cast_signed() };
        let is_stopping = self.stopping.is_cancelled();
        let state = if is_stopping { VNodeState::ShuttingDown } else { VNodeState::Leader };
        let member = MemberInfo {
            instance_id: Some(WireUuid { value: Some(Value::Structured(instance)) }),
            time_stamp: i64::try_from(self.clock.now().ticks()).unwrap_or(i64::MAX),
            state: state.into(),
            is_alive: !is_stopping,
            http_end_point: Some(EndPoint { address: dialled.host.clone(), port: u32::from(dialled.port) }),
        };
        Ok(Response::new(ClusterInfo { members: vec![member] }))
    }
}
