//! Owns a TCP proxy that a test cuts, and that can keep for itself what one side says.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// What passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passing {
    /// Everything.
    All,
    /// What the client says; answers are lost.
    Requests,
    /// What the server says; requests are lost.
    Answers,
    /// Nothing; both sides hear only silence.
    Nothing,
}

/// What connections watch: what passes, and how often everything was cut.
#[derive(Clone, Copy)]
struct Rule {
    passing: Passing,
    cuts: u64,
}

/// A proxy in front of a server.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    rule: Arc<watch::Sender<Rule>>,
    _serving: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Stands in front of a server, and lets everything pass.
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let rule = Arc::new(watch::channel(Rule { passing: Passing::All, cuts: 0 }).0);
        let rules = Arc::clone(&rule);
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server, rules.subscribe()));
            }
        });
        Self { address, rule, _serving: AbortOnDropHandle::new(serving) }
    }

    /// Lets this pass from now on.
    pub(crate) fn let_pass(&self, passing: Passing) {
        self.rule.send_modify(|rule| rule.passing = passing);
    }

    /// Ends all connections where they stand.
    pub(crate) fn cut(&self) {
        self.rule.send_modify(|rule| rule.cuts += 1);
    }
}

async fn pass(client: TcpStream, server: SocketAddr, mut rule: watch::Receiver<Rule>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let cuts = rule.borrow().cuts;
    let (rules, others) = (rule.clone(), rule.clone());
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(from_client, to_server, rules, Passing::Answers) => {}
        () = copy(from_server, to_client, others, Passing::Requests) => {}
        _ = rule.wait_for(|rule| rule.cuts != cuts) => {}
    }
}

/// Copies one way, but for what is said under the rule that keeps this way's words.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, rule: watch::Receiver<Rule>, kept_under: Passing) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read) = from.read(&mut buffer).await {
        let passing = rule.borrow().passing;
        let is_kept = passing == kept_under || passing == Passing::Nothing;
        let Some(said) = buffer.get(..read).filter(|said| !said.is_empty()) else { return };
        if !is_kept && to.write_all(said).await.is_err() {
            return;
        }
    }
}
