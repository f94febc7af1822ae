//! Owns the beginning of a connection: its first bytes come within a limit, or it ends.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// So many bytes tell the two protocols apart: the preface of HTTP/2.
const PREFACE_BYTES: usize = 24;

/// A stream whose reads fail when it has not said which protocol it speaks within the limit.
///
/// Whoever chooses between the two protocols waits for the whole preface without a limit of its own.
pub(crate) struct Opening<S> {
    stream: S,
    missing: usize,
    limit: Pin<Box<Sleep>>,
}

impl<S> Opening<S> {
    pub(crate) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, missing: PREFACE_BYTES, limit: Box::pin(tokio::time::sleep(limit)) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_pending() && self.missing > 0 {
            ready!(self.limit.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.missing = self.missing.saturating_sub(buffer.filled().len() - before);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_part_of_a_preface_is_waited_for_within_the_limit() {
        let (mut client, server) = duplex(64);
        let mut server = Opening::new(server, LIMIT);
        client.write_all(b"PRI * HT").await.unwrap();
        let mut read = Vec::new();
        let error = server.read_to_end(&mut read).await.unwrap_err();
        assert_eq!((error.kind(), read.as_slice()), (io::ErrorKind::TimedOut, &b"PRI * HT"[..]));
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_first_bytes_there_is_no_limit() {
        let (mut client, server) = duplex(64);
        let mut server = Opening::new(server, LIMIT);
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut preface = [0; PREFACE_BYTES];
        server.read_exact(&mut preface).await.unwrap();
        let (_, read) = tokio::join!(
            async {
                tokio::time::sleep(LIMIT * 3).await;
                client.write_all(b"x").await.unwrap();
            },
            server.read_u8()
        );
        assert_eq!(read.unwrap(), b'x');
    }
}
