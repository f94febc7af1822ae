//! Owns the answers of a cluster to the store port, and what they share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay_event::{Clock, ExpectedRevision, Position, ProposedEvent, Revision, StreamName};
use forebay_store::{
    AllPage, AppendError, AppendRequest, Appended, EventStore, METADATA_TYPE, Outage, ReadAll, ReadError, ReadStream,
    StreamMetadata, StreamPage, SubscribeAll, SubscribeError, SubscribeStream, Subscription,
};
use forebay_wire::event_store::client::streams::streams_client::StreamsClient;
use tonic::Request;
use tonic::metadata::MetadataValue;
use uuid::Uuid;

use crate::append;
use crate::backoff::Attempts;
use crate::link::{Connection, LeaderLink, Reach, Seats, ServerFacts};
use crate::read;
use crate::remove::{self, Removal};
use crate::settings::RemoteSettings;
use crate::subscribe::RemoteSubscription;
use crate::tls::InvalidTls;

/// A message from a server has at most so many bytes: an event of 16 MiB and what stands around it.
const MESSAGE_SIZE_MAX: usize = 20 << 20;
/// A call may be attempted again within so many deadlines.
const DEADLINES_PER_CALL: u32 = 2;
/// Says that only the leader may answer.
const REQUIRES_LEADER: &str = "requires-leader";

/// Why a store could not be made from its settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// What secure connections need cannot be used.
    #[error(transparent)]
    Tls(#[from] InvalidTls),
}

/// A cluster behind the store port. Cheap to clone; when the last clone is dropped, its connections close.
///
/// Appends, reads and metadata go to the leader, so that an append is visible to every read behind it. Subscriptions read
/// from the node that is preferred.
///
/// Every call ends: within the deadline of the settings for each attempt, and twice that for all attempts together. While
/// no leader is to be had, a call waits as long as the leader has been away for less than the deadline, and a second
/// otherwise. A filtered read may be silent for ten minutes while the server looks for events that match.
#[derive(Clone)]
pub struct RemoteStore {
    inner: Arc<Inner>,
}

impl RemoteStore {
    /// Begins to connect and answers at once; fails only when certificates cannot be used.
    pub fn connect(settings: RemoteSettings, clock: Arc<dyn Clock>) -> Result<Self, ConnectError> {
        let reach = Reach::new(settings)?;
        let leader = LeaderLink::open(reach.clone(), clock);
        let seats = Seats::new(reach.clone());
        Ok(Self { inner: Arc::new(Inner { reach, leader, seats }) })
    }

    /// Waits until the leader is connected to, however long that takes.
    pub async fn connected(&self) -> Option<Arc<ServerFacts>> {
        self.inner.leader.connected().await
    }

    /// What is known of the leader; none while there is no connection to it.
    pub fn server(&self) -> Option<Arc<ServerFacts>> {
        self.inner.leader.server()
    }
}

impl fmt::Debug for RemoteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteStore").field("cluster", &self.inner.reach.settings().to_string()).finish_non_exhaustive()
    }
}

/// What all calls share.
pub(crate) struct Inner {
    reach: Reach,
    pub(crate) leader: LeaderLink,
    pub(crate) seats: Seats,
}

impl Inner {
    /// How long an attempt may take.
    pub(crate) fn deadline(&self) -> Duration {
        self.reach.settings().deadline
    }

    /// The attempts at a call that begins now.
    pub(crate) fn attempts(&self) -> Attempts {
        Attempts::within(self.deadline() * DEADLINES_PER_CALL)
    }

    /// The service of streams at the end of a connection.
    pub(crate) fn streams(&self, connection: &Connection) -> StreamsClient<Connection> {
        StreamsClient::with_origin(connection.clone(), connection.origin()).max_decoding_message_size(MESSAGE_SIZE_MAX)
    }

    /// A call that only the leader may answer.
    pub(crate) fn to_leader<T>(&self, message: T) -> Request<T> {
        let mut call = Request::new(message);
        call.metadata_mut().insert(REQUIRES_LEADER, MetadataValue::from_static("true"));
        call
    }
}

#[async_trait]
impl EventStore for RemoteStore {
    async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        append::append(&self.inner, request).await
    }

    async fn delete(&self, stream: &StreamName, expected: ExpectedRevision) -> Result<Position, AppendError> {
        remove::remove(&self.inner, Removal::Delete, stream, expected).await
    }

    async fn tombstone(&self, stream: &StreamName, expected: ExpectedRevision) -> Result<Position, AppendError> {
        remove::remove(&self.inner, Removal::Tombstone, stream, expected).await
    }

    async fn read_stream(&self, read: ReadStream) -> Result<StreamPage, ReadError> {
        read::stream_page(&self.inner, &read).await
    }

    async fn read_all(&self, read: ReadAll) -> Result<AllPage, ReadError> {
        read::log_page(&self.inner, &read).await
    }

    async fn subscribe_all(&self, subscribe: SubscribeAll) -> Result<Box<dyn Subscription>, SubscribeError> {
        Ok(Box::new(RemoteSubscription::of_log(Arc::clone(&self.inner), subscribe).await?))
    }

    async fn subscribe_stream(&self, subscribe: SubscribeStream) -> Result<Box<dyn Subscription>, SubscribeError> {
        Ok(Box::new(RemoteSubscription::of_stream(Arc::clone(&self.inner), subscribe).await?))
    }

    async fn metadata(&self, stream: &StreamName) -> Result<(StreamMetadata, Option<Revision>), ReadError> {
        read::metadata(&self.inner, stream).await
    }

    async fn set_metadata(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        metadata: StreamMetadata,
    ) -> Result<Appended, AppendError> {
        let event = ProposedEvent::json(Uuid::new_v4(), METADATA_TYPE, metadata.to_data());
        self.append(AppendRequest { stream: stream.metadata_stream(), expected, events: vec![event] }).await
    }

    async fn head(&self) -> Result<Option<Position>, ReadError> {
        read::head(&self.inner).await
    }

    fn outage(&self) -> Option<Outage> {
        self.inner.leader.outage()
    }
}
