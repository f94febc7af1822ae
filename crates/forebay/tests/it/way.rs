//! Owns the way from a node to the store: a proxy whose packets can be held back in both directions, as in a network
//! that is cut: no connection ends, no answer comes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

const PIECE_BYTES: usize = 16 << 10;

/// A way to one address. Dropping it ends all its connections.
pub(crate) struct Way {
    pub(crate) address: SocketAddr,
    is_open: Arc<watch::Sender<bool>>,
    /// Counts the times that all connections were to end.
    ended: Arc<watch::Sender<u64>>,
    _running: JoinSet<()>,
}

impl Way {
    /// An open way from an address of this machine to another.
    pub(crate) async fn new(from: IpAddr, target: SocketAddr) -> Self {
        let listener = TcpListener::bind((from, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_open, ended) = (Arc::new(watch::Sender::new(true)), Arc::new(watch::Sender::new(0)));
        let (gate, ends) = (Arc::clone(&is_open), Arc::clone(&ended));
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let (gate, mut ends) = (gate.subscribe(), ends.subscribe());
                ends.mark_unchanged();
                connections.spawn(async move {
                    tokio::select! {
                        () = carry(near, target, gate) => {}
                        _ = ends.changed() => {}
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, is_open, ended, _running: running }
    }

    /// Lets nothing through any more.
    pub(crate) fn cut(&self) {
        self.is_open.send_replace(false);
    }

    /// Lets through what was held back, and what comes.
    pub(crate) fn heal(&self) {
        self.is_open.send_replace(true);
    }

    /// Ends all connections, with what was held back in them, and lets new ones through.
    pub(crate) fn heal_for_new_connections(&self) {
        self.ended.send_modify(|times| *times += 1);
        self.heal();
    }
}

async fn carry(near: TcpStream, target: SocketAddr, mut gate: watch::Receiver<bool>) {
    if gate.wait_for(|open| *open).await.is_err() {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    // When one direction ends the other one does: whoever speaks HTTP/2 has no use for half a connection.
    tokio::select! {
        () = pass(near_read, far_write, gate.clone()) => {}
        () = pass(far_read, near_write, gate) => {}
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut gate: watch::Receiver<bool>) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = from.read(&mut piece).await.unwrap_or(0);
        if gate.wait_for(|open| *open).await.is_err() || length == 0 {
            return;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
