//! A store through which one node sees another one, until it dies: after so many appends nothing is answered any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use forebay_event::{ExpectedRevision, Position, Revision, StreamName};
use forebay_store::{
    AllPage, AppendError, AppendRequest, Appended, EventStore, ReadAll, ReadError, ReadStream, StreamMetadata,
    StreamPage, SubscribeAll, SubscribeError, SubscribeStream, Subscription,
};

use super::MemoryStore;

/// Appends to streams that hold a text are counted; when they are used up, they and all later ones hang.
pub(crate) struct DyingStore {
    store: Arc<MemoryStore>,
    counts: &'static str,
    left: AtomicU64,
}

impl DyingStore {
    pub(crate) fn new(store: &Arc<MemoryStore>, counts: &'static str, left: u64) -> Arc<Self> {
        Arc::new(Self { store: Arc::clone(store), counts, left: AtomicU64::new(left) })
    }

    /// Whether nothing is left.
    pub(crate) fn is_dead(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }

    async fn count(&self, stream: &StreamName) {
        if stream.as_str().contains(self.counts) {
            let take = |left: u64| left.checked_sub(1);
            let _last = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        }
        if self.is_dead() {
            std::future::pending().await
        }
    }
}

#[async_trait]
impl EventStore for DyingStore {
    async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        self.count(&request.stream).await;
        self.store.append(request).await
    }

    async fn delete(&self, stream: &StreamName, expected: ExpectedRevision) -> Result<Position, AppendError> {
        self.store.delete(stream, expected).await
    }

    async fn tombstone(&self, stream: &StreamName, expected: ExpectedRevision) -> Result<Position, AppendError> {
        self.store.tombstone(stream, expected).await
    }

    async fn read_stream(&self, read: ReadStream) -> Result<StreamPage, ReadError> {
        self.store.read_stream(read).await
    }

    async fn read_all(&self, read: ReadAll) -> Result<AllPage, ReadError> {
        self.store.read_all(read).await
    }

    async fn subscribe_all(&self, subscribe: SubscribeAll) -> Result<Box<dyn Subscription>, SubscribeError> {
        self.store.subscribe_all(subscribe).await
    }

    async fn subscribe_stream(&self, subscribe: SubscribeStream) -> Result<Box<dyn Subscription>, SubscribeError> {
        self.store.subscribe_stream(subscribe).await
    }

    async fn metadata(&self, stream: &StreamName) -> Result<(StreamMetadata, Option<Revision>), ReadError> {
        self.store.metadata(stream).await
    }

    async fn set_metadata(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        metadata: StreamMetadata,
    ) -> Result<Appended, AppendError> {
        self.store.set_metadata(stream, expected, metadata).await
    }

    async fn head(&self) -> Result<Option<Position>, ReadError> {
        self.store.head().await
    }
}
