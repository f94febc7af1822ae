//! Owns one lane's connection: opened when needed, reused while it is sound, thrown away when it is not.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use rustls::ClientConfig;
use tokio::time::timeout;

use super::answer::BodyStart;
use super::connect::{Connection, Driver, connect};
use super::failure::{exchange_failure, is_stale};
use super::{Answer, InvalidTls, Origin, TlsOptions, tls};
use crate::{Failure, FailureClass};

/// The rest of an answer is read and forgotten up to so many bytes; beyond, a new connection is cheaper.
const DRAIN_BYTES_MAX: usize = 256 * 1024;

/// The limits of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// How long opening a connection may take: name, socket and handshake.
    pub connect: Duration,
    /// How long a whole exchange may take, from opening the connection to the end of the answer.
    pub request: Duration,
    /// The age from which a connection is replaced before the next request.
    pub connection_lifetime: Duration,
    /// How many bytes of an answer's body are kept.
    pub answer_bytes_max: usize,
}

/// What the lanes of one connector share: where requests go, and how.
#[derive(Clone, Debug)]
pub struct HttpClient {
    origin: Arc<Origin>,
    tls: Option<Arc<ClientConfig>>,
    limits: HttpLimits,
}

impl HttpClient {
    /// Prepares connections to an origin; opens none.
    pub fn new(origin: Origin, tls: &TlsOptions, limits: HttpLimits) -> Result<Self, InvalidTls> {
        // Certificates that are wrong are told at once, even when the URL is not secure.
        let wanted = origin.server_name.is_some() || tls.ca_certificate.is_some() || tls.client_certificate.is_some();
        let tls = if wanted || tls.client_key.is_some() { Some(tls::http_config(tls)?) } else { None };
        Ok(Self { origin: Arc::new(origin), tls, limits })
    }

    /// Where requests go.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// One lane's connection, not open yet.
    pub fn link(&self) -> HttpLink {
        HttpLink { client: self.clone(), connection: None }
    }
}

/// One lane's connection. Redirects are not followed.
///
/// When the future of [`HttpLink::send`] is dropped, the connection goes with it and the next call opens a new one.
pub struct HttpLink {
    client: HttpClient,
    connection: Option<Connection>,
}

impl HttpLink {
    /// Opens the connection unless it is open: proves that the way is open without sending a request.
    pub async fn open(&mut self) -> Result<(), Failure> {
        let (connection, _) = self.take_connection().await?;
        self.connection = Some(connection);
        Ok(())
    }

    /// Sends a request and reads the answer. The request's URI is the path and query; it carries its own `host`.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let limit = self.client.limits.request;
        match timeout(limit, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => {
                let reason = format!("no answer from {} within {} ms", self.client.origin, limit.as_millis());
                Err(Failure::retry(FailureClass::Timeout, reason))
            }
        }
    }

    /// Closes the connection.
    pub fn close(&mut self) {
        self.connection = None;
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let (connection, is_reused) = self.take_connection().await?;
        // A server may close an idle connection at the very moment a request goes out. Only then is the request sent
        // once more, at once and on a new connection; it carries its identity, so a repeat is recognised.
        let again = is_reused.then(|| request.clone());
        match self.exchange_on(connection, request).await {
            Ok(answer) => Ok(answer),
            Err((error, StatusRead::No)) if again.is_some() && is_stale(&error) => {
                let fresh = self.new_connection().await?;
                let request = again.unwrap_or_default();
                self.exchange_on(fresh, request)
                    .await
                    .map_err(|(error, _)| exchange_failure(&self.client.origin, &error))
            }
            Err((error, _)) => Err(exchange_failure(&self.client.origin, &error)),
        }
    }

    /// The open connection, with whether it was used before, or a new one.
    async fn take_connection(&mut self) -> Result<(Connection, bool), Failure> {
        if let Some(mut connection) = self.connection.take()
            && connection.opened.elapsed() < self.client.limits.connection_lifetime
            && is_sound(&mut connection).await
        {
            return Ok((connection, true));
        }
        Ok((self.new_connection().await?, false))
    }

    async fn new_connection(&mut self) -> Result<Connection, Failure> {
        let HttpClient { origin, tls, limits } = &self.client;
        connect(origin, tls.as_ref(), limits.connect).await
    }

    async fn exchange_on(
        &mut self,
        mut connection: Connection,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, (hyper::Error, StatusRead)> {
        let sending = connection.sender.send_request(request);
        let response = alongside(&mut connection.driver, sending).await.map_err(|error| (error, StatusRead::No))?;
        let (head, body) = response.into_parts();
        let (status, headers): (StatusCode, HeaderMap) = (head.status, head.headers);
        if body.is_end_stream() {
            self.connection = Some(connection);
            return Ok(Answer { status, headers, body: Bytes::new() });
        }
        let reading = read_body(body, self.client.limits.answer_bytes_max);
        let (body, is_whole) =
            alongside(&mut connection.driver, reading).await.map_err(|error| (error, StatusRead::Yes))?;
        if is_whole {
            self.connection = Some(connection);
        }
        Ok(Answer { status, headers, body })
    }
}

impl std::fmt::Debug for HttpLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let open = self.connection.is_some();
        f.debug_struct("HttpLink").field("origin", &self.client.origin).field("open", &open).finish_non_exhaustive()
    }
}

/// Whether the answer had begun when the exchange failed.
#[derive(Debug)]
enum StatusRead {
    Yes,
    No,
}

/// Reads a body to its end; answers its beginning, and whether the end was reached.
async fn read_body(mut body: Incoming, bytes_max: usize) -> Result<(Bytes, bool), hyper::Error> {
    let (mut start, mut read) = (BodyStart::default(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else { continue };
        read += piece.len();
        start.push(piece, bytes_max);
        if read > bytes_max + DRAIN_BYTES_MAX {
            return Ok((start.finish(), false));
        }
    }
    Ok((start.finish(), true))
}

/// Looks once whether the other side has closed a connection that lay idle.
async fn is_sound(connection: &mut Connection) -> bool {
    std::future::poll_fn(|context| {
        if let Some(driver) = &mut connection.driver
            && driver.as_mut().poll(context).is_ready()
        {
            connection.driver = None;
        }
        Poll::Ready(())
    })
    .await;
    connection.driver.is_some() && connection.sender.is_ready()
}

/// Waits for a future while driving the connection it depends on.
async fn alongside<F: Future>(driver: &mut Option<Driver>, future: F) -> F::Output {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        if let Some(running) = driver
            && running.as_mut().poll(context).is_ready()
        {
            // What waits on an ended connection is told by its going away; the future below then says why.
            *driver = None;
        }
        future.as_mut().poll(context)
    })
    .await
}
