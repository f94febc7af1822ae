//! Owns the service of streams: what its calls share, and their bounds in number and time.

use std::sync::Arc;
use std::time::Duration;

use forebay_access::{Caller, Guard};
use forebay_event::{Clock, Timestamp};
use forebay_store::PageLimit;
use forebay_wire::event_store::client::streams::streams_server::Streams;
use forebay_wire::event_store::client::streams::{
    AppendReq, AppendResp, BatchAppendReq, BatchAppendResp, DeleteReq, DeleteResp, ReadReq, ReadResp, TombstoneReq,
    TombstoneResp,
};
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::batch::Batches;
use super::read::{Begun, Reader};
use super::request::{self, Extent};
use super::subscribe::Follower;
use super::{append, recorded, remove};
use crate::grpc::{deadline, within};
use crate::limits::AppendLimits;
use crate::status::grpc::{deadline_exceeded, stopping, too_busy};
use crate::streams::StreamsApi;

/// One hand-out: what a client that does not read costs.
pub(super) const HAND_OUT: PageLimit = PageLimit { events: 256, bytes: 256 << 10 };
/// The next part of a request comes within so long.
pub(super) const MESSAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// So many calls that answer with a stream at the same time.
const CALLS_MAX: usize = 16 << 10;

/// The service of streams. Cheap to clone.
#[derive(Clone)]
pub(crate) struct StreamsService {
    api: StreamsApi,
    clock: Arc<dyn Clock>,
    limits: AppendLimits,
    calls: Arc<Semaphore>,
}

impl StreamsService {
    /// Serves these streams.
    pub(crate) fn new(api: StreamsApi, clock: Arc<dyn Clock>, limits: AppendLimits) -> Self {
        Self { api, clock, limits, calls: Arc::new(Semaphore::new(CALLS_MAX)) }
    }

    /// What it shares with HTTP.
    pub(super) fn api(&self) -> &StreamsApi {
        &self.api
    }

    /// What one append may hold.
    pub(super) fn limits(&self) -> AppendLimits {
        self.limits
    }

    /// The time.
    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The store as the caller of a request may use it.
    fn guard<T>(&self, request: &Request<T>) -> Guard {
        let access = &self.api.access;
        access.guard(request.extensions().get::<Caller>().cloned().unwrap_or_else(|| access.unknown()))
    }

    fn bounds(&self, store: Guard, deadline: Option<Instant>) -> Result<CallBounds, Status> {
        if self.api.stopping.is_cancelled() {
            return Err(stopping());
        }
        let permit = self.calls.clone().try_acquire_owned().map_err(|_| too_busy())?;
        Ok(CallBounds { service: self.clone(), store, deadline, _permit: Arc::new(permit) })
    }
}

/// One call that answers with a stream: its place among all calls, and what ends it.
#[derive(Clone)]
pub(super) struct CallBounds {
    service: StreamsService,
    store: Guard,
    deadline: Option<Instant>,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl CallBounds {
    /// The service that was called.
    pub(super) fn service(&self) -> &StreamsService {
        &self.service
    }

    /// The store as the caller may use it.
    pub(super) fn store(&self) -> &Guard {
        &self.store
    }

    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        self.service.clock.now()
    }

    /// Waits until the call must end, and says why.
    pub(super) async fn passed(&self) -> Status {
        let deadline = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.service.api.stopping.cancelled() => stopping(),
            () = deadline => deadline_exceeded(),
        }
    }
}

#[tonic::async_trait]
impl Streams for StreamsService {
    type ReadStream = BoxStream<'static, Result<ReadResp, Status>>;
    type BatchAppendStream = BoxStream<'static, Result<BatchAppendResp, Status>>;

    async fn read(&self, request: Request<ReadReq>) -> Result<Response<Self::ReadStream>, Status> {
        let deadline = deadline(request.metadata());
        let bounds = self.bounds(self.guard(&request), deadline)?;
        let request = request::read(request.into_inner())?;
        let messages = match request.extent {
            Extent::Subscription => {
                let follower = within(deadline, Follower::begin(bounds, request)).await?;
                stream::unfold(follower, Follower::next).boxed()
            }
            Extent::Count(direction, count) => {
                match within(deadline, Reader::begin(bounds, request, (direction, count))).await? {
                    Begun::Events(reader) => stream::unfold(reader, Reader::next).boxed(),
                    Begun::NoStream(stream) => {
                        let message = recorded::stream_not_found(stream.as_str());
                        stream::once(async { Ok(message) }).boxed()
                    }
                }
            }
        };
        Ok(Response::new(messages))
    }

    async fn append(&self, request: Request<Streaming<AppendReq>>) -> Result<Response<AppendResp>, Status> {
        let deadline = deadline(request.metadata());
        let store = self.guard(&request);
        within(deadline, append::append(self, &store, request.into_inner())).await.map(Response::new)
    }

    async fn delete(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        let deadline = deadline(request.metadata());
        let store = self.guard(&request);
        within(deadline, remove::delete(&store, request.into_inner())).await.map(Response::new)
    }

    async fn tombstone(&self, request: Request<TombstoneReq>) -> Result<Response<TombstoneResp>, Status> {
        let deadline = deadline(request.metadata());
        let store = self.guard(&request);
        within(deadline, remove::tombstone(&store, request.into_inner())).await.map(Response::new)
    }

    async fn batch_append(
        &self,
        request: Request<Streaming<BatchAppendReq>>,
    ) -> Result<Response<Self::BatchAppendStream>, Status> {
        let bounds = self.bounds(self.guard(&request), None)?;
        let batches = Batches::new(bounds, request.into_inner());
        Ok(Response::new(stream::unfold(batches, Batches::next).boxed()))
    }
}
