//! Owns a node that follows: it tells who leads, lets others read what the leader has, and takes no writes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use forebay_wire::event_store::client::Empty;
use forebay_wire::event_store::client::gossip::gossip_server::{Gossip, GossipServer};
use forebay_wire::event_store::client::gossip::member_info::VNodeState;
use forebay_wire::event_store::client::gossip::{ClusterInfo, EndPoint, MemberInfo};
use forebay_wire::event_store::client::streams::read_resp::{Content, SubscriptionConfirmation};
use forebay_wire::event_store::client::streams::streams_client::StreamsClient;
use forebay_wire::event_store::client::streams::streams_server::{Streams, StreamsServer};
use forebay_wire::event_store::client::streams::{
    AppendReq, AppendResp, BatchAppendReq, BatchAppendResp, DeleteReq, DeleteResp, ReadReq, ReadResp, TombstoneReq,
    TombstoneResp,
};
use futures_util::stream::{self, BoxStream, Empty as NoStream, StreamExt};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Response, Status, Streaming};

/// A node that knows who leads, and does not itself.
pub(crate) struct FakeNode {
    pub(crate) address: SocketAddr,
    /// How many reads were let through.
    pub(crate) reads: Arc<AtomicUsize>,
    /// The headers of all calls on streams that only the leader may answer.
    pub(crate) headers: Arc<Mutex<Vec<MetadataMap>>>,
    _serving: AbortOnDropHandle<()>,
}

impl FakeNode {
    /// Starts one that names this leader.
    pub(crate) async fn start(leader: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (headers, reads) = (Arc::default(), Arc::default());
        let service = Service { address, leader, reads: Arc::clone(&reads), headers: Arc::clone(&headers) };
        let mut routes = Routes::builder();
        routes.add_service(GossipServer::new(service.clone())).add_service(StreamsServer::new(service));
        let router = routes.routes().into_axum_router();
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, reads, headers, _serving: AbortOnDropHandle::new(serving) }
    }
}

#[derive(Clone)]
struct Service {
    address: SocketAddr,
    reads: Arc<AtomicUsize>,
    leader: SocketAddr,
    headers: Arc<Mutex<Vec<MetadataMap>>>,
}

impl Service {
    fn not_leader<T>(&self, request: &Request<T>) -> Status {
        self.headers.lock().unwrap().push(request.metadata().clone());
        let mut trailers = MetadataMap::new();
        trailers.insert("exception", "not-leader".parse().unwrap());
        trailers.insert("leader-endpoint-host", self.leader.ip().to_string().parse().unwrap());
        trailers.insert("leader-endpoint-port", self.leader.port().to_string().parse().unwrap());
        Status::with_metadata(Code::NotFound, "Leader info available", trailers)
    }
}

#[tonic::async_trait]
impl Gossip for Service {
    async fn read(&self, _request: Request<Empty>) -> Result<Response<ClusterInfo>, Status> {
        let member = |address: SocketAddr, state: VNodeState, is_alive| MemberInfo {
            state: state.into(),
            is_alive,
            http_end_point: Some(EndPoint { address: address.ip().to_string(), port: u32::from(address.port()) }),
            ..MemberInfo::default()
        };
        let members = vec![
            member(SocketAddr::from(([127, 0, 0, 1], 1)), VNodeState::Leader, false),
            member(self.address, VNodeState::Follower, true),
            member(self.leader, VNodeState::Leader, true),
        ];
        Ok(Response::new(ClusterInfo { members }))
    }
}

#[tonic::async_trait]
impl Streams for Service {
    type ReadStream = BoxStream<'static, Result<ReadResp, Status>>;
    type BatchAppendStream = NoStream<Result<BatchAppendResp, Status>>;

    async fn read(&self, request: Request<ReadReq>) -> Result<Response<Self::ReadStream>, Status> {
        if request.metadata().contains_key("requires-leader") {
            return Err(self.not_leader(&request));
        }
        self.reads.fetch_add(1, Ordering::SeqCst);
        let leader = Endpoint::from_shared(format!("http://{}", self.leader)).unwrap().connect().await.unwrap();
        match StreamsClient::new(leader).read(request.into_inner()).await {
            Ok(answers) => Ok(Response::new(answers.into_inner().boxed())),
            // Other servers than ours take any place to read on from, and wait for what comes behind it.
            Err(status) if status.code() == Code::InvalidArgument => {
                let confirmation = SubscriptionConfirmation { subscription_id: "x".to_owned() };
                let confirmed = ReadResp { content: Some(Content::Confirmation(confirmation)) };
                Ok(Response::new(stream::once(async { Ok(confirmed) }).chain(stream::pending()).boxed()))
            }
            Err(status) => Err(status),
        }
    }

    async fn append(&self, request: Request<Streaming<AppendReq>>) -> Result<Response<AppendResp>, Status> {
        Err(self.not_leader(&request))
    }

    async fn delete(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        Err(self.not_leader(&request))
    }

    async fn tombstone(&self, request: Request<TombstoneReq>) -> Result<Response<TombstoneResp>, Status> {
        Err(self.not_leader(&request))
    }

    async fn batch_append(
        &self,
        request: Request<Streaming<BatchAppendReq>>,
    ) -> Result<Response<Self::BatchAppendStream>, Status> {
        Err(self.not_leader(&request))
    }
}
