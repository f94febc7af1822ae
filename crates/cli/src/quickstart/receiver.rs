//! Owns the HTTP receiver of the quickstart: it keeps what it gets and answers 204.

use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::ledger::{Ledger, Receipt};
use crate::failure::Failure;
use crate::table::shortened;

const BODY_BYTES_MAX: usize = 1024 * 1024;
const PLACE_CHARS_MAX: usize = 44;

/// One delivery, to be shown.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) stream: String,
    pub(super) revision: u64,
    pub(super) count: u64,
    pub(super) repeated: bool,
    pub(super) body: Value,
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.body.get("magnitude").and_then(Value::as_f64).unwrap_or(0.0);
        let place = self.body.get("place").and_then(Value::as_str).unwrap_or_default();
        let repeated = if self.repeated { "  (again)" } else { "" };
        let place = shortened(place, PLACE_CHARS_MAX);
        write!(
            f,
            "delivered #{:<4} M {magnitude:<4} {place:<44} {}@{}{repeated}",
            self.count, self.stream, self.revision
        )
    }
}

/// A server on a free port that receives deliveries until it is dropped.
pub(super) struct Receiver {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[derive(Clone)]
struct Desk {
    ledger: Arc<Mutex<Ledger>>,
    printer: mpsc::Sender<Delivery>,
}

impl Receiver {
    /// Begins to receive.
    pub(super) async fn start(ledger: Arc<Mutex<Ledger>>, printer: mpsc::Sender<Delivery>) -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(|error| Failure::Start(error.into()))?;
        let address = listener.local_addr().map_err(|error| Failure::Start(error.into()))?;
        let accepting = tokio::spawn(accept(listener, Desk { ledger, printer }));
        Ok(Self { address, accepting })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub(super) fn url(&self) -> String {
        url(self.address)
    }
}

/// The URL of a receiver at this address.
pub(super) fn url(address: SocketAddr) -> String {
    format!("http://{address}/earthquakes")
}

async fn accept(listener: TcpListener, desk: Desk) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let desk = desk.clone();
        let service = service_fn(move |request| {
            let desk = desk.clone();
            async move { Ok::<_, Infallible>(desk.receive(request).await) }
        });
        let connection = async move {
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        };
        tokio::spawn(connection);
    }
}

impl Desk {
    async fn receive(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        *response.status_mut() = match self.take(request).await {
            Ok(delivery) => {
                // Nobody prints any more when the quickstart ends; what was received is kept all the same.
                let _ = self.printer.send(delivery).await;
                StatusCode::NO_CONTENT
            }
            Err(status) => status,
        };
        response
    }

    async fn take(&self, request: Request<Incoming>) -> Result<Delivery, StatusCode> {
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|_| StatusCode::BAD_REQUEST)?.to_bytes();
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let (receipt, body) = read(&parts.headers, &body).map_err(|problem| {
            ledger.unreadable(problem);
            StatusCode::BAD_REQUEST
        })?;
        let (count, repeated) = ledger.receive(&receipt).map_err(|_| StatusCode::INSUFFICIENT_STORAGE)?;
        Ok(Delivery { stream: receipt.stream, revision: receipt.revision, count, repeated, body })
    }
}

fn read(headers: &HeaderMap, body: &Bytes) -> Result<(Receipt, Value), &'static str> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let stream = header("esdb-record-stream-id").ok_or("it has no esdb-record-stream-id")?.to_owned();
    let revision = header("esdb-record-stream-revision").and_then(|text| text.parse().ok());
    let revision = revision.ok_or("it has no esdb-record-stream-revision")?;
    let body: Value = serde_json::from_slice(body).map_err(|_| "its body is no JSON")?;
    let magnitude = body.get("magnitude").and_then(Value::as_f64).ok_or("its body has no magnitude")?;
    Ok((Receipt { stream, revision, magnitude }, body))
}
