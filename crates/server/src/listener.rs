//! Owns the listener: connections taken within a bound, HTTP/1.1 and HTTP/2 on one port, ended within a limit.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::certificates::Certificates;
use crate::greeting::{Greeted, greet};
use crate::opening::Opening;

/// A connection says something within so long, and sends the head of each request within so long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A silent HTTP/2 connection is asked whether it is still there after so long, and ended after so long again.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Requests at the same time on one HTTP/2 connection.
const H2_STREAMS_MAX: u32 = 256;
/// What one HTTP/2 request, and one connection, may send ahead, in bytes.
const H2_STREAM_WINDOW: u32 = 1 << 20;
const H2_CONNECTION_WINDOW: u32 = 4 << 20;
/// What one HTTP/2 answer may hold that its client has not taken, in bytes.
const H2_ANSWER_BUFFER: usize = 128 << 10;
/// The head of a request, in bytes.
const HEAD_SIZE_MAX: usize = 64 << 10;
const HEAD_SIZE_MAX_H2: u32 = 64 << 10;
/// How long to wait after the system could not take a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How connections are served.
pub(crate) struct Serving {
    /// What answers requests.
    pub(crate) router: Router,
    /// Open connections at the same time.
    pub(crate) connections_max: usize,
    /// What connections are greeted with; clear text without.
    pub(crate) certificates: Option<Certificates>,
    /// Ends it.
    pub(crate) stop: CancellationToken,
    /// Open requests get so long after that.
    pub(crate) limit: Duration,
}

/// What every connection is served with.
struct Desk {
    builder: auto::Builder<TokioExecutor>,
    serving: Serving,
}

/// Takes connections until told to stop, then lets open requests finish within the limit.
pub(crate) async fn serve(listener: TcpListener, serving: Serving) {
    let places = Arc::new(Semaphore::new(serving.connections_max));
    let (stop, limit) = (serving.stop.clone(), serving.limit);
    let desk = Arc::new(Desk { builder: builder(), serving });
    let graceful = GracefulShutdown::new();
    loop {
        let place = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let Ok(place) = place else { break };
        let stream = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            taken = listener.accept() => match taken {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let (desk, watcher) = (Arc::clone(&desk), graceful.watcher());
        tokio::spawn(async move {
            desk.take(stream, watcher).await;
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(limit, graceful.shutdown()).await.is_err() {
        tracing::warn!(limit_ms = limit.as_millis(), "requests were still open when the limit was reached");
    }
}

impl Desk {
    /// Serves one connection from its first byte to its end.
    async fn take(&self, stream: TcpStream, watcher: Watcher) {
        let Serving { certificates, stop, .. } = &self.serving;
        match greet(stream, certificates.as_ref(), (HEAD_TIMEOUT, stop)).await {
            Some(Greeted::Clear(stream)) => self.answer(stream, watcher).await,
            Some(Greeted::Secure(stream)) => self.answer(*stream, watcher).await,
            None => {}
        }
    }

    async fn answer<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, watcher: Watcher) {
        let service = TowerToHyperService::new(self.serving.router.clone());
        let stream = TokioIo::new(Opening::new(stream, HEAD_TIMEOUT));
        let connection = self.builder.serve_connection(stream, service);
        if let Err(error) = watcher.watch(connection.into_owned()).await {
            tracing::debug!(%error, "a connection ended with an error");
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_SIZE_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .max_concurrent_streams(H2_STREAMS_MAX)
        .max_header_list_size(HEAD_SIZE_MAX_H2)
        .max_send_buf_size(H2_ANSWER_BUFFER)
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A server with one place alone: who holds it too long loses it.
    struct OnePlace {
        address: std::net::SocketAddr,
        stop: CancellationToken,
        serving: tokio::task::JoinHandle<()>,
    }

    impl OnePlace {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
            let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
            let limit = Duration::from_secs(1);
            let serving = Serving { router, connections_max: 1, certificates: None, stop: stop.clone(), limit };
            Self { address, stop, serving: tokio::spawn(serve(listener, serving)) }
        }

        async fn serves_the_next(self) {
            let mut next = TcpStream::connect(self.address).await.unwrap();
            next.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            next.read_to_end(&mut answer).await.unwrap();
            assert!(String::from_utf8_lossy(&answer).ends_with("here"));
            self.stop.cancel();
            self.serving.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_partial_preface_does_not_hold_a_place() {
        let server = OnePlace::start().await;
        let mut slow = TcpStream::connect(server.address).await.unwrap();
        slow.write_all(b"PRI * HTTP/2").await.unwrap();
        // The server ends the connection: in order, or with a reset for what it has not read.
        drop(slow.read_to_end(&mut Vec::new()).await);
        server.serves_the_next().await;
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_sends_byte_by_byte_does_not_hold_a_place() {
        let endless_head = b"GET / HTTP/1.1\r\nHost: x\r\nA: ".iter().chain(std::iter::repeat(&b'a'));
        let slow_preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".iter().chain(std::iter::repeat(&0));
        let drips: [Box<dyn Iterator<Item = &u8>>; 2] = [Box::new(endless_head), Box::new(slow_preface)];
        for drip in drips {
            let server = OnePlace::start().await;
            let mut slow = TcpStream::connect(server.address).await.unwrap();
            let started = tokio::time::Instant::now();
            for byte in drip {
                if slow.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            assert!(started.elapsed() < 2 * HEAD_TIMEOUT, "it took {:?}", started.elapsed());
            server.serves_the_next().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_does_not_hold_a_place_for_ever() {
        let server = OnePlace::start().await;
        let mut idle = TcpStream::connect(server.address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let started = tokio::time::Instant::now();
        let mut answer = Vec::new();
        drop(idle.read_to_end(&mut answer).await);
        assert!(answer.starts_with(b"HTTP/1.1 200") && started.elapsed() < 2 * HEAD_TIMEOUT);
        // A client of HTTP/2 that does not answer pings is gone, too.
        let mut silent = TcpStream::connect(server.address).await.unwrap();
        silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        drop(silent.read_to_end(&mut answer).await);
        server.serves_the_next().await;
    }
}
