//! Owns a small HTTP/1.1 server that records what it gets and answers as it is told: the target of tests and benchmarks.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// So many requests are kept unless set otherwise; later ones are counted only.
const REQUESTS_KEPT_DEFAULT: usize = 100_000;
/// The head of a request may have so many bytes.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// The body of a request may have so many bytes.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What arrived in one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The method, as sent.
    pub method: String,
    /// Path and query, as sent.
    pub path: String,
    /// The headers in the order they came, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Received {
    /// The value of a header; the name is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The request as text, as it went over the wire but for the body, which is shown as text.
    pub fn to_text(&self) -> String {
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        format!("{} {}\n{headers}\n{}\n", self.method, self.path, String::from_utf8_lossy(&self.body))
    }
}

/// What goes wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The connection is reset once the head has come; the request is not recorded.
    ResetBeforeBody,
    /// The request is recorded, then the connection is reset without an answer.
    ResetAfterBody,
    /// The answer breaks off in the middle of its body.
    Truncated,
    /// The request is recorded and never answered.
    Silent,
    /// The answer is not HTTP.
    Garbage,
    /// The answer is complete, then the connection is closed without saying so.
    CloseAfter,
}

/// How a request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Headers besides `content-length`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// How long the answer is held back after the request was recorded.
    pub delay: Duration,
    /// What goes wrong.
    pub fault: Fault,
}

impl Reply {
    /// An empty answer with this status.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), delay: Duration::ZERO, fault: Fault::None }
    }

    /// A sound answer with something that goes wrong.
    pub fn fault(fault: Fault) -> Self {
        Self { fault, ..Self::status(200) }
    }

    /// The same with a body.
    #[must_use]
    pub fn with_body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same, held back.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("HTTP/1.1 {} X\r\n{headers}content-length: {}\r\n\r\n", self.status, self.body.len());
        [head.as_bytes(), &self.body].concat()
    }
}

/// How a receiver is set up.
#[derive(Clone, Debug, Default)]
pub struct ReceiverOptions {
    /// Where to listen; a free port of the loopback address when absent.
    pub address: Option<SocketAddr>,
    /// Serves TLS with this configuration.
    pub tls: Option<Arc<ServerConfig>>,
    /// How many requests are kept; later ones are counted only.
    pub requests_kept: Option<usize>,
}

/// Decides the answer of a request from its number (counted from 0) and its content.
pub type Answerer = Box<dyn Fn(u64, &Received) -> Reply + Send + Sync>;

#[derive(Default)]
struct Log {
    requests: Vec<Received>,
    script: VecDeque<Reply>,
    answerer: Option<Arc<Answerer>>,
}

struct Shared {
    log: Mutex<Log>,
    kept_max: usize,
    count: AtomicU64,
    connections: AtomicU64,
    arrived: Notify,
    ok: Vec<u8>,
}

/// A running receiver; dropping it closes the port and every connection.
pub struct Receiver {
    address: SocketAddr,
    secure: bool,
    shared: Arc<Shared>,
    tasks: tokio::task::JoinHandle<()>,
}

impl Receiver {
    /// Listens on a free port of the loopback address.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(ReceiverOptions::default()).await
    }

    /// Listens as told.
    pub async fn start_with(options: ReceiverOptions) -> io::Result<Self> {
        let address = options.address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            log: Mutex::default(),
            kept_max: options.requests_kept.unwrap_or(REQUESTS_KEPT_DEFAULT),
            count: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            arrived: Notify::new(),
            ok: Reply::status(200).to_bytes(),
        });
        let secure = options.tls.is_some();
        let tasks = tokio::spawn(accept(listener, options.tls.map(TlsAcceptor::from), Arc::clone(&shared)));
        Ok(Self { address, secure, shared, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of its root, without a slash at the end. Over TLS the host is `localhost`.
    pub fn url(&self) -> String {
        if self.secure {
            format!("https://localhost:{}", self.address.port())
        } else {
            format!("http://{}", self.address)
        }
    }

    /// Adds answers for the next requests, in order; after the last one every request is answered 200.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.log.lock().script.extend(replies);
    }

    /// Decides answers by a function once the script is used up.
    pub fn answer_with(&self, answerer: impl Fn(u64, &Received) -> Reply + Send + Sync + 'static) {
        self.shared.log.lock().answerer = Some(Arc::new(Box::new(answerer)));
    }

    /// The requests recorded so far, in order.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.log.lock().requests.clone()
    }

    /// The requests recorded since the last call, in order.
    pub fn take_requests(&self) -> Vec<Received> {
        std::mem::take(&mut self.shared.log.lock().requests)
    }

    /// How many requests were recorded or counted.
    pub fn count(&self) -> u64 {
        self.shared.count.load(Ordering::SeqCst)
    }

    /// How many connections were opened.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until so many requests have come.
    pub async fn wait_for(&self, count: u64) {
        loop {
            let arrived = self.shared.arrived.notified();
            let mut arrived = std::pin::pin!(arrived);
            arrived.as_mut().enable();
            if self.count() >= count {
                return;
            }
            arrived.await;
        }
    }

    /// Closes the port and every connection; answers where it listened, so that another can take the place.
    pub async fn stop(mut self) -> SocketAddr {
        self.tasks.abort();
        // The port is free once the task is gone.
        let _ = (&mut self.tasks).await;
        self.address
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        connections.spawn(async move {
            let _ = socket.set_nodelay(true);
            match tls {
                None => serve(socket, &shared, |socket| socket).await,
                Some(tls) => match tls.accept(socket).await {
                    Ok(stream) => serve(stream, &shared, |stream| stream.get_ref().0).await,
                    Err(error) => Err(error),
                },
            }
        });
    }
}

/// Serves one connection until it ends; an error ends it.
async fn serve<S>(mut stream: S, shared: &Shared, socket: impl Fn(&S) -> &TcpStream) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = Vec::with_capacity(16 * 1024);
    while let Some(head_length) = read_head(&mut stream, &mut buffer).await? {
        let (mut request, body_length) = parse_head(buffer.get(..head_length).unwrap_or_default())?;
        let scripted = shared.log.lock().script.pop_front();
        if scripted.as_ref().is_some_and(|reply| reply.fault == Fault::ResetBeforeBody) {
            return socket(&stream).set_zero_linger();
        }
        while buffer.len() < head_length + body_length {
            read_more(&mut stream, &mut buffer).await?;
        }
        request.body = Bytes::copy_from_slice(buffer.get(head_length..head_length + body_length).unwrap_or_default());
        buffer.drain(..head_length + body_length);
        match record(shared, request, scripted) {
            None => stream.write_all(&shared.ok).await?,
            Some(reply) => {
                if !reply.delay.is_zero() {
                    tokio::time::sleep(reply.delay).await;
                }
                if !answer(&mut stream, &reply, &socket).await? {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Answers; says whether the connection goes on.
async fn answer<S>(stream: &mut S, reply: &Reply, socket: &impl Fn(&S) -> &TcpStream) -> io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let whole = reply.to_bytes();
    match reply.fault {
        Fault::None => stream.write_all(&whole).await.map(|()| true),
        Fault::ResetBeforeBody | Fault::ResetAfterBody => socket(stream).set_zero_linger().map(|()| false),
        Fault::Truncated => {
            let cut = whole.len().saturating_sub(reply.body.len().div_ceil(2).max(1));
            stream.write_all(whole.get(..cut).unwrap_or_default()).await?;
            stream.shutdown().await.map(|()| false)
        }
        Fault::Silent => std::future::pending().await,
        Fault::Garbage => stream.write_all(b"this is no HTTP\r\n\r\n").await.map(|()| false),
        Fault::CloseAfter => {
            stream.write_all(&whole).await?;
            stream.shutdown().await.map(|()| false)
        }
    }
}

/// Records a request; answers the reply, or nothing for a plain 200.
fn record(shared: &Shared, request: Received, scripted: Option<Reply>) -> Option<Reply> {
    let (number, reply) = {
        let mut log = shared.log.lock();
        let number = shared.count.load(Ordering::SeqCst);
        let answerer = log.answerer.clone();
        let reply = scripted.or_else(|| answerer.map(|answerer| answerer(number, &request)));
        if log.requests.len() < shared.kept_max {
            log.requests.push(request);
        }
        (number, reply)
    };
    shared.count.store(number + 1, Ordering::SeqCst);
    shared.arrived.notify_waiters();
    reply
}

/// Reads until the buffer holds a whole head; answers its length, or nothing when the other side has closed.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(Some(end + 4));
        }
        if buffer.len() > HEAD_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the head of a request is too large"));
        }
        if buffer.is_empty() {
            if stream.read_buf(buffer).await? == 0 {
                return Ok(None);
            }
        } else {
            read_more(stream, buffer).await?;
        }
    }
}

async fn read_more<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> io::Result<()> {
    if stream.read_buf(buffer).await? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

fn parse_head(head: &[u8]) -> io::Result<(Received, usize)> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(path)) = (first.next(), first.next()) else { return Err(invalid("no request line")) };
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let received = Received { method: method.to_owned(), path: path.to_owned(), headers, body: Bytes::new() };
    if received.header("transfer-encoding").is_some() {
        return Err(invalid("a body without a length"));
    }
    let length = received.header("content-length").map_or(Ok(0), str::parse).map_err(|_| invalid("a wrong length"))?;
    if length > BODY_BYTES_MAX {
        return Err(invalid("the body of a request is too large"));
    }
    Ok((received, length))
}
