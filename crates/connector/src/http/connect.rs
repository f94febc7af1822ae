//! Owns the way to an open connection: name, socket, handshake.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::Origin;
use super::failure::connect_failure;
use super::names::addresses;
use crate::{Failure, FailureClass};

/// At most so many addresses of a name are tried.
const ADDRESSES_MAX: usize = 8;
/// The head of an answer may have so many bytes.
const ANSWER_HEAD_BYTES_MAX: usize = 64 * 1024;

/// The half of a connection that does the reading and writing; polled by whoever waits for an answer.
pub(super) type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// An open connection.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Full<Bytes>>,
    /// Absent once the connection has ended.
    pub(super) driver: Option<Driver>,
    pub(super) opened: Instant,
}

/// Opens a connection within a limit.
pub(super) async fn connect(
    origin: &Origin,
    tls: Option<&Arc<ClientConfig>>,
    limit: Duration,
) -> Result<Connection, Failure> {
    match timeout(limit, open(origin, tls, limit)).await {
        Ok(result) => result,
        Err(_) => {
            let reason = format!("no connection to {origin} within {} ms", limit.as_millis());
            Err(Failure::retry(FailureClass::Timeout, reason))
        }
    }
}

async fn open(origin: &Origin, tls: Option<&Arc<ClientConfig>>, limit: Duration) -> Result<Connection, Failure> {
    let socket = reach(origin, limit).await?;
    // A request goes out in one piece; waiting for more to send only adds delay.
    socket.set_nodelay(true).map_err(|error| connect_failure(origin, &error))?;
    match (&origin.server_name, tls) {
        (Some(name), Some(config)) => {
            let connector = TlsConnector::from(Arc::clone(config));
            let secured = connector.connect(name.clone(), socket).await;
            shake_hands(origin, secured.map_err(|error| connect_failure(origin, &error))?).await
        }
        _ => shake_hands(origin, socket).await,
    }
}

/// Tries the addresses of the host one after the other; each gets its share of the time that is left.
async fn reach(origin: &Origin, limit: Duration) -> Result<TcpStream, Failure> {
    let deadline = Instant::now() + limit;
    let addresses = addresses(&origin.host, origin.port, ADDRESSES_MAX).await.map_err(|error| {
        Failure::retry(FailureClass::Connect, format!("cannot resolve host {}: {error}", origin.host))
    })?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (tried, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(1);
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(connect_failure(origin, &last))
}

async fn shake_hands<S>(origin: &Origin, stream: S) -> Result<Connection, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) =
        http1::Builder::new().max_buf_size(ANSWER_HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await.map_err(
            |error| Failure::retry(FailureClass::Connect, format!("cannot speak HTTP to {origin}: {error}")),
        )?;
    Ok(Connection { sender, driver: Some(Box::pin(connection)), opened: Instant::now() })
}
