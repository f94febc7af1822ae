//! Owns a subscription over calls that break: it goes on behind what was seen, within a limit.

use std::sync::Arc;

use async_trait::async_trait;
use forebay_event::{Position, Revision};
use forebay_store::{
    Direction, LogPoint, Notice, PageLimit, ReadError, ReadStream, StreamPoint, SubscribeAll, SubscribeError,
    SubscribeStream, Subscription,
};
use futures_util::FutureExt;

use super::feed::{Feed, Followed, Trouble};
use super::progress::Progress;
use crate::backoff::Attempts;
use crate::port::Inner;
use crate::read;

/// A subscription to a cluster.
///
/// It holds one hand-out, and what the connection's windows let a server send ahead. When its call breaks, another is
/// opened behind the last event or checkpoint seen; when none can be had within the limit of a call, that is an error.
pub(crate) struct RemoteSubscription {
    inner: Arc<Inner>,
    progress: Progress,
    feed: Option<Feed>,
    /// What ended the last call, until it is dealt with.
    trouble: Option<Trouble>,
    /// The attempts since a call last said something.
    attempts: Option<Attempts>,
}

impl RemoteSubscription {
    /// Subscribes to the whole log.
    pub(crate) async fn of_log(inner: Arc<Inner>, subscribe: SubscribeAll) -> Result<Self, SubscribeError> {
        let SubscribeAll { from, filter, limit, checkpoint_every } = subscribe;
        let behind = match from {
            LogPoint::Start => None,
            // Fixed now: a new call goes on from here, whatever was written meanwhile.
            LogPoint::End => read::head(&inner).await?,
            LogPoint::At(position) => Some(of_event(position)),
        };
        Self::open(inner, Followed::Log { behind, filter, checkpoint_every }, limit).await
    }

    /// Subscribes to one stream.
    pub(crate) async fn of_stream(inner: Arc<Inner>, subscribe: SubscribeStream) -> Result<Self, SubscribeError> {
        let SubscribeStream { stream, from, limit } = subscribe;
        let behind = match from {
            StreamPoint::Start => None,
            StreamPoint::At(revision) if revision < Revision::MAX => Some(revision),
            StreamPoint::End | StreamPoint::At(_) => {
                let (direction, from, limit) = (Direction::Backward, StreamPoint::End, PageLimit::events(1));
                match read::stream_page(&inner, &ReadStream { stream: stream.clone(), direction, from, limit }).await {
                    Ok(page) => Some(page.last_revision),
                    Err(ReadError::StreamNotFound { .. }) => None,
                    Err(ReadError::StreamDeleted { stream }) => return Err(SubscribeError::StreamDeleted { stream }),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        Self::open(inner, Followed::Stream { stream, behind }, limit).await
    }

    async fn open(inner: Arc<Inner>, followed: Followed, limit: PageLimit) -> Result<Self, SubscribeError> {
        let progress = Progress::new(followed, limit);
        let mut subscription = Self { inner, progress, feed: None, trouble: None, attempts: None };
        while let Err(trouble) = subscription.call().await {
            subscription.overcome(trouble).await?;
        }
        Ok(subscription)
    }

    /// The open call, or a new one behind what was seen.
    async fn call(&mut self) -> Result<&mut Feed, Trouble> {
        match &mut self.feed {
            Some(_) => {}
            none => {
                *none = Some(Feed::open(&self.inner, self.progress.followed()).await?);
                self.progress.reopened();
            }
        }
        // Filled above.
        self.feed.as_mut().ok_or_else(|| Trouble::Final(SubscribeError::Closed))
    }

    /// Waits for something to be told, and takes what else is there at once.
    async fn step(&mut self) -> Result<(), Trouble> {
        let mut told = Some(self.call().await?.next().await?);
        self.attempts = None;
        while let Some(one) = told.take() {
            self.progress.take(one);
            if let (true, Some(feed)) = (self.progress.has_room(), &mut self.feed) {
                match feed.next().now_or_never() {
                    Some(Ok(more)) => told = Some(more),
                    Some(Err(trouble)) => self.trouble = Some(trouble),
                    None => {}
                }
            }
        }
        self.progress.seal();
        Ok(())
    }

    /// Waits before another call, if another may help and there is time for it.
    async fn overcome(&mut self, trouble: Trouble) -> Result<(), SubscribeError> {
        self.feed = None;
        let failure = match trouble {
            Trouble::Final(error) => return Err(error),
            Trouble::Passing(failure) => failure,
        };
        tracing::debug!(reason = failure.reason(), "a subscription's call broke");
        let attempts = self.attempts.get_or_insert_with(|| self.inner.attempts());
        match attempts.pause_after(failure).await {
            Ok(()) => Ok(()),
            Err(failure) => {
                self.attempts = None;
                Err(ReadError::Unavailable { reason: failure.reason() }.into())
            }
        }
    }
}

#[async_trait]
impl Subscription for RemoteSubscription {
    async fn next(&mut self) -> Result<Notice, SubscribeError> {
        loop {
            if let Some(notice) = self.progress.pop() {
                return Ok(notice);
            }
            if let Some(trouble) = self.trouble.take() {
                self.overcome(trouble).await?;
            }
            if let Err(trouble) = self.step().await {
                self.feed = None;
                self.trouble = Some(trouble);
            }
        }
    }
}

/// The event that a position of ours stands just behind, or the position itself.
fn of_event(position: Position) -> Position {
    if read::is_between(position) { Position::new(position.commit()) } else { position }
}
