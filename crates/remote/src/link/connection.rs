//! Owns one connection to one node: socket, handshake, HTTP/2, and the headers that every call carries.
//!
//! A connection is opened once and never again: when it has ended, whoever holds it finds another.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::Service;

use crate::failure::Failure;
use crate::settings::{NodeAddress, RemoteSettings};
use crate::tls::{self, InvalidTls};

/// Name, socket and handshake together take at most so long.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// What a node may send ahead of one reader, in bytes.
const STREAM_WINDOW: u32 = 256 << 10;
/// What a node may send ahead on one connection, in bytes: enough that readers who do not read stop nobody else.
const CONNECTION_WINDOW: u32 = 32 << 20;
/// An answer's headers and trailers together, in bytes.
const HEAD_SIZE_MAX: u32 = 64 << 10;
const CONNECTION_NAME: &str = "connection-name";

/// What opening a connection needs, whatever the node.
#[derive(Clone)]
pub(crate) struct Reach {
    settings: Arc<RemoteSettings>,
    tls: Option<Arc<ClientConfig>>,
    headers: Arc<HeaderMap>,
}

impl Reach {
    /// Reads certificates and prepares headers; opens nothing.
    pub(crate) fn new(settings: RemoteSettings) -> Result<Self, InvalidTls> {
        let tls = settings.tls.as_ref().map(tls::client_config).transpose()?;
        let headers = Arc::new(headers(&settings));
        Ok(Self { settings: Arc::new(settings), tls, headers })
    }

    /// What the operator decided.
    pub(crate) fn settings(&self) -> &RemoteSettings {
        &self.settings
    }

    /// Opens a connection to a node.
    pub(crate) async fn open(&self, node: &NodeAddress) -> Result<Connection, Failure> {
        match tokio::time::timeout(CONNECT_LIMIT, self.connect(node)).await {
            Ok(connected) => connected,
            Err(_) => Err(unreachable(node, &format!("no connection within {} ms", CONNECT_LIMIT.as_millis()))),
        }
    }

    async fn connect(&self, node: &NodeAddress) -> Result<Connection, Failure> {
        let failed = |error: &dyn std::fmt::Display| unreachable(node, error);
        let socket = TcpStream::connect((node.host.as_str(), node.port)).await.map_err(|error| failed(&error))?;
        // A call goes out in one piece; waiting for more to send only adds delay.
        socket.set_nodelay(true).map_err(|error| failed(&error))?;
        let Some(tls) = &self.tls else { return self.shake_hands(node, "http", socket).await };
        let name = ServerName::try_from(node.host.clone()).map_err(|error| failed(&error))?;
        let secured =
            TlsConnector::from(Arc::clone(tls)).connect(name, socket).await.map_err(|error| failed(&error))?;
        self.shake_hands(node, "https", secured).await
    }

    async fn shake_hands<S>(&self, node: &NodeAddress, scheme: &str, stream: S) -> Result<Connection, Failure>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let origin: Uri = format!("{scheme}://{node}").parse().map_err(|error| unreachable(node, &error))?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD_SIZE_MAX);
        if let Some(keep_alive) = self.settings.keep_alive {
            builder.keep_alive_interval(keep_alive.interval).keep_alive_timeout(keep_alive.timeout);
            builder.keep_alive_while_idle(true);
        }
        let (sender, driver) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(node, &error))?;
        let ended = CancellationToken::new();
        let ends = ended.clone().drop_guard();
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to the store ended with an error");
            }
            drop(ends);
        });
        Ok(Connection { sender, origin, headers: Arc::clone(&self.headers), ended })
    }
}

/// An open connection. Cheap to clone; closes when the last clone and the last call are gone.
#[derive(Clone)]
pub(crate) struct Connection {
    sender: SendRequest<Body>,
    origin: Uri,
    headers: Arc<HeaderMap>,
    ended: CancellationToken,
}

impl Connection {
    /// Scheme, host and port that calls are addressed to.
    pub(crate) fn origin(&self) -> Uri {
        self.origin.clone()
    }

    /// Whether no call can be made on it any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_cancelled() || self.sender.is_closed()
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.sender.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        for (name, value) in self.headers.iter() {
            request.headers_mut().insert(name, value.clone());
        }
        Box::pin(self.sender.send_request(request))
    }
}

fn unreachable(node: &NodeAddress, error: &dyn std::fmt::Display) -> Failure {
    Failure::Unreachable { reason: format!("{node} cannot be reached: {error}") }
}

fn headers(settings: &RemoteSettings) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("forebay/", env!("CARGO_PKG_VERSION"))));
    if let Some(credentials) = &settings.credentials {
        let encoded = STANDARD.encode(format!("{}:{}", credentials.login(), credentials.password()));
        if let Ok(mut value) = HeaderValue::try_from(format!("Basic {encoded}")) {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
    }
    let name = settings.connection_name.as_deref().unwrap_or("forebay");
    if let Ok(value) = HeaderValue::try_from(name) {
        headers.insert(CONNECTION_NAME, value);
    }
    headers
}
