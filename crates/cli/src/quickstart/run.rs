//! Owns the quickstart's arguments and its course.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tokio::sync::mpsc;

use super::bundle::Bundle;
use super::ledger::Ledger;
use super::place::Place;
use super::receiver::{Delivery, Receiver};
use super::report;
use super::story::{CONNECTOR, Story};
use crate::failure::Failure;
use crate::output::Output;

/// Deliveries that wait to be printed.
const PRINTED_WAITING_MAX: usize = 1024;
const ASKED_EVERY: Duration = Duration::from_millis(100);

/// Starts a server on a data directory and an address; port 0 is any free one.
pub type StartServer = Box<dyn Fn(PathBuf, SocketAddr) -> Starting + Send + Sync>;
/// A server on its way up.
pub type Starting = Pin<Box<dyn Future<Output = anyhow::Result<LocalServer>> + Send>>;
/// Stops a server.
pub type Stop = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// A server inside this process.
pub struct LocalServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Stops it; what was acknowledged is kept.
    pub stop: Stop,
}

/// How to run the quickstart.
#[derive(Debug, Args)]
pub struct QuickstartArgs {
    /// Ends with a summary when all events have gone their way; fails if one is missing or out of order
    #[arg(long)]
    exit_when_done: bool,
    /// Keeps log and receipts here, and goes on from them the next time, also after kill -9
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Where the server listens; a free port is taken when this one is in use
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:2113")]
    listen: SocketAddr,
    /// How long all of it may take with --exit-when-done
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = crate::command::parse_duration)]
    limit: Duration,
    /// Writes deliveries and summary as lines of JSON
    #[arg(long)]
    json: bool,
    /// Writes only the summary and errors
    #[arg(long, short)]
    quiet: bool,
}

pub(crate) async fn run(args: QuickstartArgs, start: StartServer, output: &mut Output) -> Result<(), Failure> {
    output.speak(args.json, args.quiet);
    let place = Place::open(args.keep.as_deref())?;
    let bundle = Bundle::read()?;
    let ledger = Arc::new(Mutex::new(Ledger::open(&place.receipts(), &bundle)?));
    let (printer, mut printed) = mpsc::channel(PRINTED_WAITING_MAX);
    let receiver = Receiver::start(Arc::clone(&ledger), printer).await?;
    let address = free_address(args.listen, output);
    let server = start(place.data(), address).await.map_err(Failure::Start)?;
    let stop = server.stop;
    let ended = tokio::select! {
        ended = course(&args, server.address, &receiver, &bundle, (&ledger, &mut printed, &mut *output)) => ended,
        () = interrupted() => {
            output.note("\nstopping");
            Ok(())
        }
    };
    stop().await;
    place.close(output);
    ended
}

type Watching<'a> = (&'a Arc<Mutex<Ledger>>, &'a mut mpsc::Receiver<Delivery>, &'a mut Output);

async fn course(
    args: &QuickstartArgs,
    server: SocketAddr,
    receiver: &Receiver,
    bundle: &Bundle,
    (ledger, printed, output): Watching<'_>,
) -> Result<(), Failure> {
    let story = Story::begin(server, receiver.address(), args.json, args.quiet)?;
    output.note(&format!(
        "server     {}  (data {})",
        story.url(),
        if args.keep.is_some() { "kept" } else { "temporary" }
    ));
    output.note(&format!("receiver   {}", receiver.url()));
    let last_position = story.append(bundle, output).await?;
    story.connect(output).await?;
    let all = async {
        while let Some(delivery) = delivered_or_done(&story, ledger, last_position, printed).await? {
            output.delivery(&delivery)?;
        }
        Ok::<(), Failure>(())
    };
    match tokio::time::timeout(args.limit, all).await {
        Ok(ended) => ended?,
        Err(_) => output.note(&format!("not done within {:?}", args.limit)),
    }
    let checked = ledger.lock().unwrap_or_else(PoisonError::into_inner).check();
    report::summary(&checked, bundle, output)?;
    checked.verdict()?;
    if args.exit_when_done {
        return Ok(());
    }
    report::next_steps(story.url(), output)?;
    while let Some(delivery) = printed.recv().await {
        output.delivery(&delivery)?;
    }
    Ok(())
}

/// The next delivery to print, or nothing when all expected ones are there and the connector has read to the end.
async fn delivered_or_done(
    story: &Story,
    ledger: &Mutex<Ledger>,
    last_position: u64,
    printed: &mut mpsc::Receiver<Delivery>,
) -> Result<Option<Delivery>, Failure> {
    loop {
        match tokio::time::timeout(ASKED_EVERY, printed.recv()).await {
            Ok(delivery) => return Ok(delivery),
            Err(_) => {
                let position = story.position().await?;
                let complete = ledger.lock().unwrap_or_else(PoisonError::into_inner).is_complete();
                if complete && position.is_some_and(|position| position >= last_position) {
                    return Ok(None);
                }
            }
        }
    }
}

impl Output {
    fn delivery(&mut self, delivery: &Delivery) -> Result<(), Failure> {
        if self.is_json() {
            return self.line(&delivery.to_json());
        }
        self.note(&delivery.to_string());
        Ok(())
    }
}

/// The wanted address, or any free port of it when it is taken.
fn free_address(wanted: SocketAddr, output: &mut Output) -> SocketAddr {
    if std::net::TcpListener::bind(wanted).is_ok() {
        return wanted;
    }
    output.note(&format!("port {} is taken; another one is used", wanted.port()));
    SocketAddr::new(wanted.ip(), 0)
}

async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

impl Delivery {
    fn to_json(&self) -> Value {
        serde_json::json!({
            "connector": CONNECTOR, "stream": self.stream, "revision": self.revision, "count": self.count,
            "repeated": self.repeated, "body": self.body,
        })
    }
}
