//! Owns a target's answer: status, the headers that decide what happens next, the beginning of the body.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{DATE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

/// A target that asks for a longer pause is asked again after this one.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// A target's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, or its beginning up to the limit of the request.
    pub body: Bytes,
}

impl Answer {
    /// The pause that the target asked for with `Retry-After`, in seconds or as a date, at most [`RETRY_AFTER_MAX`].
    ///
    /// A date is compared with the answer's own `Date`, so that clocks which differ do no harm; without one, with `now`.
    pub fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        let text = self.text(&RETRY_AFTER)?.trim();
        let asked = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            text.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs)
        } else {
            let date = |text: &str| httpdate::parse_http_date(text).ok();
            let from = self.text(&DATE).and_then(date).unwrap_or(now);
            date(text)?.duration_since(from).unwrap_or_default()
        };
        Some(asked.min(RETRY_AFTER_MAX))
    }

    /// Where a redirect points.
    pub fn location(&self) -> Option<&str> {
        self.text(&LOCATION)
    }

    fn text(&self, name: &http::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The beginning of a body.
#[derive(Default)]
pub(super) struct BodyStart {
    first: Bytes,
    rest: BytesMut,
}

impl BodyStart {
    pub(super) fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    /// A body that comes in one piece is not copied.
    pub(super) fn push(&mut self, mut piece: Bytes, bytes_max: usize) {
        piece.truncate(bytes_max.saturating_sub(self.len()));
        if self.first.is_empty() {
            self.first = piece;
        } else {
            self.rest.extend_from_slice(&piece);
        }
    }

    pub(super) fn finish(self) -> Bytes {
        if self.rest.is_empty() {
            return self.first;
        }
        let mut whole = BytesMut::with_capacity(self.len());
        whole.extend_from_slice(&self.first);
        whole.extend_from_slice(&self.rest);
        whole.freeze()
    }
}
