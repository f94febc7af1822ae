//! Owns the receiver: an HTTP server that records deliveries, and can be slow, refuse, or be down.
//!
//! Where it is told to, it remembers the highest epoch of each connector and lane and refuses lower ones, as the guide advises.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::arrivals::Arrivals;
use crate::http::eventually;

/// What an owner of the past is answered.
const STALE: hyper::StatusCode = hyper::StatusCode::MISDIRECTED_REQUEST;

/// A receiver, up until it is taken down or dropped.
pub(crate) struct Receiver {
    address: SocketAddr,
    desk: Arc<Desk>,
    running: JoinSet<()>,
}

#[derive(Default)]
struct Desk {
    arrivals: Mutex<Arrivals>,
    refuse_with: AtomicU16,
    /// Deliveries of this stream are answered with 503.
    refused_stream: Mutex<Option<String>>,
    refused: AtomicU64,
    delay_ms: AtomicU64,
    asked: AtomicU64,
    /// Owners of the past are refused.
    fences: AtomicBool,
    /// The highest epoch seen of each connector and lane.
    epochs: Mutex<BTreeMap<(String, u32), u64>>,
    stale: AtomicU64,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut receiver =
            Self { address: listener.local_addr().unwrap(), desk: Arc::default(), running: JoinSet::new() };
        receiver.accept(listener);
        receiver
    }

    fn accept(&mut self, listener: TcpListener) {
        let desk = Arc::clone(&self.desk);
        self.running.spawn(async move {
            // Connections end together with the accepting task: the set is dropped with it.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let desk = Arc::clone(&desk);
                let service = service_fn(move |request| {
                    let desk = Arc::clone(&desk);
                    async move { Ok::<_, Infallible>(desk.receive(request).await) }
                });
                connections.spawn(async move {
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    /// Ends all connections and listens no more.
    pub(crate) async fn go_down(&mut self) {
        self.running.shutdown().await;
    }

    /// Listens again where it did.
    pub(crate) async fn come_up(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.accept(listener);
    }

    /// Answers every delivery with this status from now on; 0 takes them again.
    pub(crate) fn refuse_with(&self, status: u16) {
        self.desk.refuse_with.store(status, Ordering::SeqCst);
    }

    /// Answers every delivery of this stream with 503 from now on, or of none.
    pub(crate) fn refuse_stream(&self, stream: Option<&str>) {
        *self.desk.refused_stream.lock().unwrap() = stream.map(ToOwned::to_owned);
    }

    /// How many deliveries of the refused stream were tried.
    pub(crate) fn refused(&self) -> u64 {
        self.desk.refused.load(Ordering::SeqCst)
    }

    /// Refuses deliveries of an epoch lower than one seen before of the same connector and lane, from now on.
    pub(crate) fn fence(&self) {
        self.desk.fences.store(true, Ordering::SeqCst);
    }

    /// How many deliveries of an owner of the past were refused.
    pub(crate) fn stale(&self) -> u64 {
        self.desk.stale.load(Ordering::SeqCst)
    }

    /// The highest epoch seen of a connector; 0 before the first.
    pub(crate) fn epoch(&self, connector_id: &str) -> u64 {
        let epochs = self.desk.epochs.lock().unwrap();
        epochs.iter().filter(|((id, _), _)| id == connector_id).map(|(_, epoch)| *epoch).max().unwrap_or(0)
    }

    /// Takes so long for every delivery from now on.
    pub(crate) fn be_slow(&self, delay: Duration) {
        self.desk.delay_ms.store(u64::try_from(delay.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// How many deliveries were tried.
    pub(crate) fn asked(&self) -> u64 {
        self.desk.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.desk.arrivals.lock().unwrap()
    }

    /// Waits until so many different events have arrived.
    pub(crate) async fn has(&self, events: u64, limit: Duration) {
        let so_far = || self.arrivals().fresh();
        let what = format!("{events} events have arrived (when the wait began: {})", so_far());
        eventually(&what, limit, || async { so_far() >= events }).await;
    }
}

impl Desk {
    async fn receive(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (parts, body) = request.into_parts();
        let complete = body.collect().await.is_ok();
        let delay = Duration::from_millis(self.delay_ms.load(Ordering::SeqCst));
        if !delay.is_zero() {
            // tidy: sleep allowed: a slow target is what the test is about.
            tokio::time::sleep(delay).await;
        }
        let refusal = self.refuse_with.load(Ordering::SeqCst);
        let mut response = Response::new(Full::default());
        if refusal != 0 {
            *response.status_mut() = refusal.try_into().unwrap();
        } else if complete {
            let header = |name: &str| parts.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap();
            let number = |name: &str| header(name).parse().unwrap();
            if self.is_stale(
                (header("esdb-connector-id"), header("forebay-lane").parse().unwrap()),
                number("forebay-epoch"),
            ) {
                *response.status_mut() = STALE;
                return response;
            }
            if self.refused_stream.lock().unwrap().as_deref() == Some(header("esdb-record-stream-id")) {
                self.refused.fetch_add(1, Ordering::SeqCst);
                *response.status_mut() = hyper::StatusCode::SERVICE_UNAVAILABLE;
                return response;
            }
            let (revision, position) = (number("esdb-record-stream-revision"), number("esdb-record-log-position"));
            self.arrivals.lock().unwrap().arrive(header("esdb-record-stream-id"), revision, position);
        }
        response
    }

    /// The epoch is lower than one seen before; else it is remembered.
    fn is_stale(&self, (connector_id, lane): (&str, u32), epoch: u64) -> bool {
        let mut epochs = self.epochs.lock().unwrap();
        let highest = epochs.entry((connector_id.to_owned(), lane)).or_insert(0);
        let is_stale = epoch < *highest && self.fences.load(Ordering::SeqCst);
        *highest = epoch.max(*highest);
        self.stale.fetch_add(u64::from(is_stale), Ordering::SeqCst);
        is_stale
    }
}
