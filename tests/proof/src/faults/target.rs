//! Owns the target: it takes records, keeps the books, and does wrong what it was told to.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Fault;
use super::wire::{Unread, answer, write};
use crate::history::{Arrival, Id};

/// Connections of a target that is asked for more than it has places for.
const BACKLOG: u32 = 64;
/// A target with certificates ends each connection after so many requests, so that it shows the next one.
const REQUESTS_PER_SECURE_CONNECTION: u64 = 40;

/// Decides about a record that has arrived: none when it is taken.
pub type Judge = Box<dyn Fn(Id) -> Option<Fault> + Send + Sync>;

/// What a target does.
#[derive(Default)]
pub struct Behaviour {
    /// What it does wrong.
    pub fault: Option<Fault>,
    /// Once in so many requests.
    pub every: u64,
    /// With so many in a row.
    pub burst: u64,
    /// What it does wrong with records it knows.
    pub judge: Option<Judge>,
    /// The certificates it shows, one connection after the other, beginning anew at the end; none for plain HTTP.
    pub certificates: Vec<TlsAcceptor>,
}

/// A target that runs. Dropping it ends it.
pub struct Target {
    address: SocketAddr,
    site: Arc<Site>,
    task: JoinHandle<()>,
}

struct Site {
    behaviour: Behaviour,
    arrivals: Mutex<Vec<Arrival>>,
    faults: Mutex<Vec<Instant>>,
    strays: AtomicU64,
    requests: AtomicU64,
    connections: AtomicU64,
    is_mended: std::sync::atomic::AtomicBool,
    /// Ends all connections, and is replaced.
    down: Mutex<(CancellationToken, Duration)>,
}

impl Target {
    /// Starts one on a port of its own.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn start(behaviour: Behaviour) -> Self {
        let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let site = Arc::new(Site {
            behaviour,
            arrivals: Mutex::default(),
            faults: Mutex::default(),
            strays: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            is_mended: false.into(),
            down: Mutex::new((CancellationToken::new(), Duration::ZERO)),
        });
        let task = tokio::spawn(Arc::clone(&site).serve(listener, address));
        Self { address, site, task }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it does nothing wrong.
    pub fn mend(&self) {
        self.site.is_mended.store(true, Ordering::SeqCst);
    }

    /// What arrived so far, in order.
    pub fn arrivals(&self) -> Vec<Arrival> {
        lock(&self.site.arrivals).clone()
    }

    /// When it did something wrong.
    pub fn faults(&self) -> Vec<Instant> {
        lock(&self.site.faults).clone()
    }

    /// Requests to another path than the one that was asked for.
    pub fn strays(&self) -> u64 {
        self.site.strays.load(Ordering::SeqCst)
    }

    /// Connections that were taken.
    pub fn connections(&self) -> u64 {
        self.site.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Site {
    async fn serve(self: Arc<Self>, mut listener: TcpListener, address: SocketAddr) {
        loop {
            let (down, mut connections) = (lock(&self.down).0.clone(), JoinSet::new());
            loop {
                tokio::select! {
                    () = down.cancelled() => break,
                    taken = listener.accept() => {
                        let Ok((stream, _)) = taken else { return };
                        connections.spawn(Arc::clone(&self).connection(stream));
                    }
                }
            }
            drop(listener);
            connections.shutdown().await;
            let pause = std::mem::replace(&mut *lock(&self.down), (CancellationToken::new(), Duration::ZERO)).1;
            // tidy: sleep allowed: a target is down for a while by the clock, whatever the client does.
            tokio::time::sleep(pause).await;
            match listen(address) {
                Ok(again) => listener = again,
                Err(error) => panic!("the port cannot be had again: {error}"),
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        // A request is answered in one piece or, where it matters, in pieces: never gathered.
        let _ = stream.set_nodelay(true);
        let certificates = &self.behaviour.certificates;
        let count = certificates.len() as u64;
        let ended = match usize::try_from(number % count.max(1)).ok().and_then(|index| certificates.get(index)) {
            None => self.requests(stream, |stream| stream.set_zero_linger(), u64::MAX).await,
            Some(acceptor) => match acceptor.accept(stream).await {
                Ok(secure) => {
                    let reset =
                        |secure: &tokio_rustls::server::TlsStream<TcpStream>| secure.get_ref().0.set_zero_linger();
                    self.requests(secure, reset, REQUESTS_PER_SECURE_CONNECTION).await
                }
                Err(_) => {
                    lock(&self.faults).push(Instant::now());
                    Ok(())
                }
            },
        };
        // Whatever the client did to the connection is its own affair; what is lost shows in the books.
        drop(ended);
    }

    async fn requests<S>(&self, mut stream: S, reset: impl Fn(&S) -> io::Result<()>, most: u64) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut unread = Unread::default();
        let mut served = 0;
        while served < most && unread.begins(&mut stream).await? {
            let fault = self.next_fault();
            if matches!(fault, Some(Fault::ResetBeforeBody)) {
                self.note_fault();
                return reset(&stream);
            }
            if matches!(fault, Some(Fault::HalfOpen)) {
                self.note_fault();
                return std::future::pending().await;
            }
            let Some((path, id)) = unread.request(&mut stream).await? else { return Ok(()) };
            if path != "/in" {
                self.strays.fetch_add(1, Ordering::SeqCst);
            }
            let judged =
                if self.is_mended() { None } else { self.behaviour.judge.as_ref().and_then(|judge| judge(id)) };
            let fault = judged.or(fault);
            let accepted = fault.as_ref().is_none_or(Fault::takes);
            lock(&self.arrivals).push(Arrival { id, accepted, at: Instant::now() });
            served += 1;
            match fault {
                None => write(&mut stream, &answer(200, &closing(served == most))).await?,
                Some(fault) => {
                    self.note_fault();
                    if !self.misbehave(&mut stream, &reset, fault).await? {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn is_mended(&self) -> bool {
        self.is_mended.load(Ordering::SeqCst)
    }

    fn next_fault(&self) -> Option<Fault> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let Behaviour { fault, every, burst, .. } = &self.behaviour;
        let first = every / 2;
        let is_due = (first..first + burst).contains(&(number % every.max(&1)));
        if is_due && !self.is_mended() { fault.clone() } else { None }
    }

    fn note_fault(&self) {
        lock(&self.faults).push(Instant::now());
    }

    /// Does what the fault says; answers whether the connection goes on.
    async fn misbehave<S>(&self, stream: &mut S, reset: impl Fn(&S) -> io::Result<()>, fault: Fault) -> io::Result<bool>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let taken = answer(200, &[]);
        match fault {
            Fault::ResetBeforeBody | Fault::HalfOpen | Fault::CloseAfterTaking => return Ok(false),
            Fault::ResetAfterBody => return reset(stream).map(|()| false),
            Fault::ResetAfterTaking => {
                write(stream, b"HTTP/1.1 200 OK\r\nContent-Le").await?;
                return reset(stream).map(|()| false);
            }
            Fault::SlowHead(pause) => trickle(stream, &taken, pause).await?,
            Fault::SlowBody(pause) => {
                write(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n").await?;
                trickle(stream, b"01234567890123456789", pause).await?;
            }
            Fault::Silent => return std::future::pending().await,
            Fault::Interim => {
                write(stream, b"HTTP/1.1 100 Continue\r\n\r\n").await?;
                write(stream, b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n").await?;
                write(stream, &taken).await?;
            }
            Fault::Truncated => {
                write(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot so many").await?;
                return Ok(false);
            }
            Fault::WrongLength => {
                write(stream, b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n12345").await?;
                return Ok(false);
            }
            Fault::WrongChunk => {
                write(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n").await?;
                return Ok(false);
            }
            Fault::Garbage => {
                write(stream, b"220 mail.test ESMTP ready\r\n").await?;
                return Ok(false);
            }
            Fault::Surplus => {
                let surplus = [&taken[..], b"HTTP/1.1 500 Not For You\r\nContent-Length: 0\r\n\r\n"].concat();
                write(stream, &surplus).await?;
            }
            Fault::Answer(status, lines) => write(stream, &answer(status, &lines)).await?,
            Fault::Down(pause) => {
                let mut down = lock(&self.down);
                down.1 = pause;
                down.0.cancel();
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn closing(is_last: bool) -> Vec<String> {
    if is_last { vec!["Connection: close".to_owned()] } else { Vec::new() }
}

async fn trickle<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8], pause: Duration) -> io::Result<()> {
    for byte in bytes {
        write(stream, std::slice::from_ref(byte)).await?;
        // tidy: sleep allowed: a slow target is slow by the clock.
        tokio::time::sleep(pause).await;
    }
    Ok(())
}
