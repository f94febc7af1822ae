//! Owns the bytes of messages on their way in: what has come of unfinished ones counts against the memory that all
//! appends have together.
//!
//! A message is gathered whole before anybody sees it. Without this, many calls that each stop in the middle of a large
//! message would hold more than any limit on appends allows. Small messages are free, so that whoever fills the memory
//! with large ones does not stop the others.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use crate::status::grpc::too_busy;
use crate::streams::StreamsApi;

/// So much of a message is free, in bytes.
const FREE: usize = 16 << 10;
/// What stands before each message: whether it is compressed, and its length.
const PREFIX_LEN: usize = 5;

/// Counts what comes in on a call.
pub(crate) async fn count(State(api): State<StreamsApi>, request: Request, next: Next) -> Response {
    next.run(request.map(|body| Body::new(Intake::new(body, api)))).await
}

/// The body of a call, counted.
struct Intake {
    body: Body,
    api: StreamsApi,
    outline: Outline,
    /// Bytes that were handed on since the last look, and are still held by whoever decodes them.
    handed: usize,
    /// Bytes that the share covers.
    covered: usize,
    share: Option<OwnedSemaphorePermit>,
}

impl Intake {
    fn new(body: Body, api: StreamsApi) -> Self {
        Self { body, api, outline: Outline::default(), handed: 0, covered: 0, share: None }
    }

    /// Whoever asks for more has taken all finished messages: only the unfinished one is still held.
    fn settle(&mut self) {
        self.handed = self.outline.unfinished;
        if self.handed <= FREE {
            self.share = None;
            self.covered = 0;
        }
    }

    fn take(&mut self, bytes: &Bytes) -> Result<(), Status> {
        self.outline.pass(bytes);
        self.handed += bytes.len();
        let uncovered = self.handed.saturating_sub(FREE).saturating_sub(self.covered);
        let (permit, covered) = self.api.try_share(uncovered).ok_or_else(too_busy)?;
        self.covered += covered;
        match (&mut self.share, permit) {
            (Some(share), Some(permit)) => share.merge(permit),
            (None, permit) => self.share = permit,
            (Some(_), None) => {}
        }
        Ok(())
    }
}

impl HttpBody for Intake {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.settle();
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else { return Poll::Ready(None) };
        let frame = frame?;
        if let Some(bytes) = frame.data_ref() {
            self.take(bytes)?;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Where one message ends and the next begins.
#[derive(Default)]
struct Outline {
    prefix: [u8; PREFIX_LEN],
    prefix_len: usize,
    /// Bytes of the message that are still to come.
    missing: usize,
    /// Bytes that have come of the message that is not finished.
    unfinished: usize,
}

impl Outline {
    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.prefix_len < PREFIX_LEN {
                if let Some(place) = self.prefix.get_mut(self.prefix_len) {
                    *place = *first;
                }
                (self.prefix_len, self.unfinished, bytes) = (self.prefix_len + 1, self.unfinished + 1, rest);
                if self.prefix_len == PREFIX_LEN {
                    let [_, length @ ..] = self.prefix;
                    self.missing = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                }
            } else {
                let (message, rest) = bytes.split_at(self.missing.min(bytes.len()));
                (self.missing, self.unfinished) = (self.missing - message.len(), self.unfinished + message.len());
                bytes = rest;
            }
            if self.prefix_len == PREFIX_LEN && self.missing == 0 {
                (self.prefix_len, self.unfinished) = (0, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_however_they_are_cut() {
        let messages = [&[0, 0, 0, 0, 3, 1, 2, 3][..], &[0, 0, 0, 0, 0], &[1, 0, 0, 1, 0], &[9; 255]].concat();
        for cut in 1..messages.len() {
            let mut outline = Outline::default();
            messages.chunks(cut).for_each(|piece| outline.pass(piece));
            assert_eq!((outline.unfinished, outline.missing), (5 + 255, 1), "in pieces of {cut}");
            outline.pass(&[9]);
            assert_eq!((outline.unfinished, outline.prefix_len), (0, 0));
        }
    }
}
