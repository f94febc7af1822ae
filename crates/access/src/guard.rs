//! Owns the store as one caller may use it: the port's calls, each judged first.
//!
//! What changes who may what is written by a task of its own: it is followed by forgetting what was remembered, also
//! when whoever asked for the change has gone.

use std::fmt;
use std::sync::Arc;

use forebay_event::{ExpectedRevision, Position, Revision, StreamName};
use forebay_store::{
    AllPage, AppendError, AppendRequest, Appended, EventStore, Notice, ReadAll, ReadError, ReadStream, StreamMetadata,
    StreamPage, SubscribeAll, SubscribeError, SubscribeStream, Subscription,
};
use tokio::sync::watch;

use crate::access::{Access, AccessDenied, Unjudged};
use crate::caller::{Caller, Who};
use crate::lists::Right;
use crate::users::system_stream;

/// The name of the whole log.
const ALL: &str = "$all";

/// Why a guarded call was not done.
#[derive(Debug)]
pub enum Refused<E> {
    /// The caller may not.
    Denied(AccessDenied),
    /// Whether the caller may cannot be found out.
    Unjudged(ReadError),
    /// The store refused.
    Failed(E),
}

impl<E> From<Unjudged> for Refused<E> {
    fn from(unjudged: Unjudged) -> Self {
        match unjudged {
            Unjudged::Denied(denied) => Self::Denied(denied),
            Unjudged::Unread(error) => Self::Unjudged(error),
        }
    }
}

/// The store as one caller may use it. Cheap to clone.
#[derive(Clone)]
pub struct Guard {
    access: Access,
    caller: Caller,
}

impl Guard {
    pub(crate) fn new(access: Access, caller: Caller) -> Self {
        Self { access, caller }
    }

    /// Who asks.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether the caller has a right on a stream, to be known before more of a request is read.
    pub async fn may<E>(&self, stream: &StreamName, right: Right) -> Result<(), Refused<E>> {
        Ok(self.access.judge(&self.caller, stream, right).await?)
    }

    /// Appends, with the right to write.
    pub async fn append(&self, request: AppendRequest) -> Result<Appended, Refused<AppendError>> {
        self.may(&request.stream, Right::Write).await?;
        let stream = request.stream.clone();
        if !self.access.follows(&stream) {
            return self.access.store().append(request).await.map_err(Refused::Failed);
        }
        self.change(stream, move |store| async move { store.append(request).await }).await
    }

    /// Soft-deletes, with the right to delete.
    pub async fn delete(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
    ) -> Result<Position, Refused<AppendError>> {
        self.may(stream, Right::Delete).await?;
        let deleted = stream.clone();
        self.change(stream.clone(), move |store| async move { store.delete(&deleted, expected).await }).await
    }

    /// Ends a stream for good, with the right to delete.
    pub async fn tombstone(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
    ) -> Result<Position, Refused<AppendError>> {
        self.may(stream, Right::Delete).await?;
        let ended = stream.clone();
        self.change(stream.clone(), move |store| async move { store.tombstone(&ended, expected).await }).await
    }

    /// Writes metadata, with the right to.
    pub async fn set_metadata(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        metadata: StreamMetadata,
    ) -> Result<Appended, Refused<AppendError>> {
        self.may(stream, Right::WriteMetadata).await?;
        let described = stream.clone();
        self.change(
            stream.clone(),
            move |store| async move { store.set_metadata(&described, expected, metadata).await },
        )
        .await
    }

    /// Reads a page of a stream, with the right to read it.
    pub async fn read_stream(&self, read: ReadStream) -> Result<StreamPage, Refused<ReadError>> {
        self.may(&read.stream, Right::Read).await?;
        self.access.store().read_stream(read).await.map_err(Refused::Failed)
    }

    /// Reads a page of the whole log, with the right to read all of it.
    pub async fn read_all(&self, read: ReadAll) -> Result<AllPage, Refused<ReadError>> {
        self.may(&system_stream(ALL), Right::Read).await?;
        self.access.store().read_all(read).await.map_err(Refused::Failed)
    }

    /// Reads metadata, with the right to.
    pub async fn metadata(
        &self,
        stream: &StreamName,
    ) -> Result<(StreamMetadata, Option<Revision>), Refused<ReadError>> {
        self.may(stream, Right::ReadMetadata).await?;
        self.access.store().metadata(stream).await.map_err(Refused::Failed)
    }

    /// The position of the last event, with the right to read the whole log.
    pub async fn head(&self) -> Result<Option<Position>, Refused<ReadError>> {
        self.may(&system_stream(ALL), Right::Read).await?;
        self.access.store().head().await.map_err(Refused::Failed)
    }

    /// Follows the whole log, as long as the caller has the right to read it.
    pub async fn subscribe_all(&self, subscribe: SubscribeAll) -> Result<GuardedSubscription, Refused<SubscribeError>> {
        let watch = self.watch(system_stream(ALL)).await?;
        let inner = self.access.store().subscribe_all(subscribe).await.map_err(Refused::Failed)?;
        Ok(GuardedSubscription { inner, watch, waiting: None })
    }

    /// Follows a stream, as long as the caller has the right to read it.
    pub async fn subscribe_stream(
        &self,
        subscribe: SubscribeStream,
    ) -> Result<GuardedSubscription, Refused<SubscribeError>> {
        let watch = self.watch(subscribe.stream.clone()).await?;
        let inner = self.access.store().subscribe_stream(subscribe).await.map_err(Refused::Failed)?;
        Ok(GuardedSubscription { inner, watch, waiting: None })
    }

    /// Judges now, and says what to judge by later; nothing when nobody is asked.
    async fn watch(&self, stream: StreamName) -> Result<Option<Watch>, Unjudged> {
        // Before the judgement: a change right after it is not overlooked.
        let changes = self.access.changes();
        self.access.judge(&self.caller, &stream, Right::Read).await?;
        let is_asked = !matches!(self.caller.who, Who::Unasked);
        Ok(is_asked.then(|| Watch { access: self.access.clone(), caller: self.caller.clone(), stream, changes }))
    }

    /// Writes something that bears on who may what, and forgets what was remembered before anybody is answered.
    async fn change<T, F>(
        &self,
        stream: StreamName,
        write: impl FnOnce(Arc<dyn EventStore>) -> F,
    ) -> Result<T, Refused<AppendError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, AppendError>> + Send + 'static,
    {
        let access = self.access.clone();
        let writing = write(access.store().clone());
        let written = tokio::spawn(async move {
            let written = writing.await;
            access.forget(&stream);
            written
        });
        let lost = |_| AppendError::Unavailable { reason: "the write broke off".to_owned() };
        written.await.map_err(lost).and_then(|written| written).map_err(Refused::Failed)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard").field(&self.caller).finish()
    }
}

/// What a running subscription is judged by.
struct Watch {
    access: Access,
    caller: Caller,
    stream: StreamName,
    changes: watch::Receiver<u64>,
}

impl Watch {
    async fn judge(&mut self) -> Result<(), Unjudged> {
        self.changes.mark_unchanged();
        self.caller = self.access.renewed(&self.caller).await?;
        self.access.judge(&self.caller, &self.stream, Right::Read).await
    }
}

/// A subscription that ends when its caller may read no more. It is pulled and cancelled as the port's is.
pub struct GuardedSubscription {
    inner: Box<dyn Subscription>,
    watch: Option<Watch>,
    /// Handed out by the store, but not yet by us.
    waiting: Option<Notice>,
}

impl GuardedSubscription {
    /// Waits for the next hand-out. Nothing is handed out that the caller may not read at that moment.
    pub async fn next(&mut self) -> Result<Notice, Refused<SubscribeError>> {
        let Self { inner, watch, waiting } = self;
        let Some(watch) = watch else { return inner.next().await.map_err(Refused::Failed) };
        loop {
            if waiting.is_none() {
                tokio::select! {
                    biased;
                    changed = watch.changes.changed() => drop(changed),
                    notice = inner.next() => *waiting = Some(notice.map_err(Refused::Failed)?),
                }
            }
            watch.judge().await?;
            if let Some(notice) = waiting.take() {
                return Ok(notice);
            }
        }
    }
}
