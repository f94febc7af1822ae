//! Owns what handlers of streams share: the store as each caller may use it, and the bounds on what is done at the same
//! time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use forebay_access::{Access, Guard};
use http::header;
use http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::auth::caller_of;
use crate::request::{header_text, refuse_body};
use crate::status::Refusal;

/// An append's body holds at most so many bytes: 16 MiB of events as base64, and what stands around them.
pub(crate) const APPEND_BODY_SIZE_MAX: usize = 24 << 20;
/// Bodies of appends that are read or waiting for the store hold at most so many bytes together.
const APPENDS_SIZE_MAX: usize = 256 << 20;
/// The unit by which those are counted, in bytes.
const APPEND_UNIT: usize = 4 << 10;
/// An append's body arrives within so long.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// So many subscriptions over HTTP at the same time.
const SUBSCRIPTIONS_MAX: usize = 1024;

/// What handlers of streams share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct StreamsApi {
    pub(crate) access: Access,
    pub(crate) stopping: CancellationToken,
    appends: Arc<Semaphore>,
    subscriptions: Arc<Semaphore>,
}

impl StreamsApi {
    /// Serves the store behind these decisions until it is told to stop.
    pub(crate) fn new(access: Access, stopping: CancellationToken) -> Self {
        Self {
            access,
            stopping,
            appends: Arc::new(Semaphore::new(APPENDS_SIZE_MAX / APPEND_UNIT)),
            subscriptions: Arc::new(Semaphore::new(SUBSCRIPTIONS_MAX)),
        }
    }

    /// A share of the memory that all appends have together, for as many bytes as fill units; answers how many those
    /// are. None when nothing is left.
    pub(crate) fn try_share(&self, size: usize) -> Option<(Option<OwnedSemaphorePermit>, usize)> {
        let units = size / APPEND_UNIT;
        if units == 0 {
            return Some((None, 0));
        }
        let permit = self.appends.clone().try_acquire_many_owned(u32::try_from(units).ok()?).ok()?;
        Some((Some(permit), units * APPEND_UNIT))
    }

    /// The right to hold one subscription.
    pub(crate) fn subscription_permit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let permit = self.subscriptions.clone().try_acquire_owned();
        permit.map_err(|_| Refusal::too_many("subscriptions", SUBSCRIPTIONS_MAX))
    }
}

/// The streams as the caller of one request may use them.
pub(super) struct CallersStreams {
    /// The store, behind its guard.
    pub(super) store: Guard,
    /// What all requests share.
    pub(super) shared: StreamsApi,
}

impl FromRequestParts<StreamsApi> for CallersStreams {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &StreamsApi) -> Result<Self, Infallible> {
        let caller = caller_of(&api.access, &parts.extensions);
        Ok(Self { store: api.access.guard(caller), shared: api.clone() })
    }
}

/// The body of an append, and its share of the memory that all appends have together.
pub(crate) struct AppendBody {
    /// The body.
    pub(crate) bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

impl FromRequest<StreamsApi> for AppendBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, api: &StreamsApi) -> Result<Self, Refusal> {
        let announced = header_text(request.headers(), header::CONTENT_LENGTH).parse::<usize>();
        let size = announced.unwrap_or(APPEND_BODY_SIZE_MAX);
        if size > APPEND_BODY_SIZE_MAX {
            return Err(Refusal::too_large(APPEND_BODY_SIZE_MAX));
        }
        let units = u32::try_from(size.div_ceil(APPEND_UNIT).max(1)).unwrap_or(u32::MAX);
        let stopped = |_| Refusal::unavailable("the server is stopping");
        let share = api.appends.clone().acquire_many_owned(units).await.map_err(stopped)?;
        let body = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, api)).await;
        let bytes =
            body.map_err(|_| Refusal::body_timeout())?.map_err(|error| refuse_body(&error, APPEND_BODY_SIZE_MAX))?;
        Ok(Self { bytes, _share: share })
    }
}
