//! Owns the measurement of many connectors on several nodes: how long they take to start and to be taken over, and what
//! they cost while nothing happens.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hyper::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::connection::Connection;
use crate::product::{Launch, Product};
use crate::table::Aim;

/// The duration of a lease, in seconds; the default of the product.
const LEASE_S: u64 = 10;
/// How many connections create connectors at once, all nodes together.
const CREATORS: usize = 6;
/// How long it is looked at while nothing happens, and how long it may settle before.
const IDLE: Duration = Duration::from_secs(60);
const SETTLE: Duration = Duration::from_secs(40);
/// Nothing that is waited for takes longer.
const LIMIT: Duration = Duration::from_secs(900);
const POLL: Duration = Duration::from_millis(100);
/// Any key does: the nodes share it and nobody else does.
const SECRET_KEY: &str = "0f0e0d0c0b0a09080706050403020100f0e0d0c0b0a090807060504030201000";

const START_S_MAX: f64 = 60.0;
const KB_EACH_MAX: f64 = 150.0;

/// So many connectors on so many nodes.
#[derive(Clone, Copy, Debug)]
struct Size {
    connectors: usize,
    nodes: usize,
}

/// Runs it with real processes: a store, the nodes, and a target that takes connections.
pub(crate) fn run(binary: &Path, connectors: &str, nodes: &str) -> Result<()> {
    let size = Size {
        connectors: connectors.parse().with_context(|| format!("a number of connectors, not {connectors:?}"))?,
        nodes: nodes.parse().with_context(|| format!("a number of nodes, not {nodes:?}"))?,
    };
    if size.nodes < 2 || size.connectors < size.nodes {
        bail!("two nodes at least, and a connector for each");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(binary, size))
}

async fn measure(binary: &Path, size: Size) -> Result<()> {
    let target = listen().await?;
    let mut crowd = Crowd::start(binary, size).await?;
    println!("{} connectors on {} nodes over one store, lease {LEASE_S} s", size.connectors, size.nodes);
    let before = crowd.memory()?;
    let start_s = crowd.start_connectors(target).await?;
    println!("all run after              {start_s:>10.1} s, spread {:?}", crowd.spread().await?);
    tokio::time::sleep(SETTLE).await;
    let after = crowd.memory()?;
    let kb_each = kb_each(&before, &after, size.connectors);
    println!("memory per connector       {:>10.1} KB on its node, {:.1} KB in the store", kb_each.0, kb_each.1);
    println!("  resident MB before       {before:.1?}\n  resident MB after        {after:.1?}  (store first)");
    let idle = crowd.idle().await?;
    println!("at rest, appends           {:>10.1} /s", idle.appends_per_s);
    for (event_type, per_s) in &idle.by_type {
        println!("  {event_type:<34} {per_s:>8.2} /s");
    }
    println!("at rest, CPU in percent of one processor: store {:.1}, nodes {:.1?}", idle.store_cpu, idle.nodes_cpu);
    let taken_s = crowd.kill_one().await?;
    println!("after kill -9 of one node all run again after {taken_s:.1} s, spread {:?}", crowd.spread().await?);
    let lease = f64::from(u32::try_from(LEASE_S)?);
    let aims = [
        ("seconds until all run", start_s, START_S_MAX),
        ("KB for a connector at rest on its node", kb_each.0, KB_EACH_MAX),
        ("seconds until all run after a loss", taken_s, 2.0 * lease + 5.0),
    ];
    for (what, reached, least) in aims {
        println!("{}", Aim { what, reached: Some(reached), least, at_most: true });
    }
    Ok(())
}

/// A target that takes connections and is never sent anything.
async fn listen() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    Ok(address)
}

/// What a minute without any work has cost.
struct Idle {
    appends_per_s: f64,
    by_type: BTreeMap<String, f64>,
    /// In percent of one processor.
    store_cpu: f64,
    nodes_cpu: Vec<f64>,
}

/// The store and the nodes over it.
struct Crowd {
    size: Size,
    store: Product,
    nodes: Vec<Product>,
    _folder: TempDir,
}

impl Crowd {
    async fn start(binary: &Path, size: Size) -> Result<Self> {
        // Beside the program and not among temporary files, which may lie in memory, where a sync costs nothing.
        let program = std::env::current_exe()?;
        let folder = tempfile::tempdir_in(program.parent().context("the program lies in a folder")?)?;
        let store = Product::start(binary, &folder.path().join("store")).await?;
        let at = format!("esdb://{}?tls=false", store.address);
        let mut nodes = Vec::new();
        for number in 1..=size.nodes {
            let name = format!("node-{number}");
            let lease = format!("{LEASE_S}s");
            let most = size.connectors.to_string();
            let launch = Launch {
                flags: &["--store", &at],
                variables: &[
                    ("FOREBAY_NODE", &name),
                    ("FOREBAY_LEASE", &lease),
                    ("FOREBAY_SECRET_KEY", SECRET_KEY),
                    ("FOREBAY_LIMITS_CONNECTORS", &most),
                ],
            };
            nodes.push(Product::launch(binary, &folder.path().join(name.as_str()), &launch).await?);
        }
        let crowd = Self { size, store, nodes, _folder: folder };
        crowd
            .wait_until("all nodes know each other", async |crowd: &Self| {
                for node in &crowd.nodes {
                    if crowd.listed(node).await?.len() != crowd.size.nodes {
                        return Ok(false);
                    }
                }
                Ok(true)
            })
            .await?;
        Ok(crowd)
    }

    /// Creates and starts all connectors; answers how long it took until all of them ran.
    async fn start_connectors(&self, target: SocketAddr) -> Result<f64> {
        let begun = Instant::now();
        let mut creators = JoinSet::new();
        for creator in 0..CREATORS {
            let address = self.nodes.get(creator % self.nodes.len()).context("there is a node")?.address;
            creators.spawn(create(address, target, (creator..self.size.connectors).step_by(CREATORS)));
        }
        while let Some(ended) = creators.join_next().await {
            ended??;
        }
        println!("created and told to start  {:>10.1} s", begun.elapsed().as_secs_f64());
        self.wait_until("all run", async |crowd: &Self| crowd.all_run().await).await?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Every node says that all run, and what the nodes say they have comes to all.
    async fn all_run(&self) -> Result<bool> {
        for node in &self.nodes {
            let mut connection = Connection::open(node.address).await?;
            let list = connection.ask("/connectors?state=CONNECTOR_STATE_RUNNING&pageSize=1").await?;
            let running = list.get("totalCount").and_then(Value::as_u64).context("a list has a total")?;
            if usize::try_from(running)? != self.size.connectors {
                return Ok(false);
            }
        }
        Ok(self.spread().await?.iter().sum::<u64>() == u64::try_from(self.size.connectors)?)
    }

    /// How many connectors each node has, as it says itself.
    async fn spread(&self) -> Result<Vec<u64>> {
        let mut spread = Vec::new();
        for node in &self.nodes {
            let listed = self.listed(node).await?;
            let own = listed.iter().find(|listed| listed.get("isThis") == Some(&Value::Bool(true)));
            let count = own.and_then(|own| own.get("connectorCount")).and_then(Value::as_u64);
            spread.push(count.context("a node lists itself")?);
        }
        Ok(spread)
    }

    async fn listed(&self, node: &Product) -> Result<Vec<Value>> {
        let answer = Connection::open(node.address).await?.ask("/nodes").await?;
        Ok(answer.get("nodes").and_then(Value::as_array).cloned().unwrap_or_default())
    }

    /// Resident memory of the store and of each node, in MB.
    fn memory(&self) -> Result<Vec<f64>> {
        std::iter::once(&self.store).chain(&self.nodes).map(Product::resident_mb).collect()
    }

    fn cpu(&self) -> Result<Vec<f64>> {
        std::iter::once(&self.store).chain(&self.nodes).map(Product::cpu_s).collect()
    }

    /// What it costs while nothing happens.
    async fn idle(&self) -> Result<Idle> {
        let (head, cpu, begun) = (self.head().await?, self.cpu()?, Instant::now());
        tokio::time::sleep(IDLE).await;
        let (last, used, seconds) = (self.head().await?, self.cpu()?, begun.elapsed().as_secs_f64());
        let percent = |index: usize| {
            let (before, after) = (cpu.get(index).copied().unwrap_or(0.0), used.get(index).copied().unwrap_or(0.0));
            (after - before) * 100.0 / seconds
        };
        let by_type = self.types_between(head, last).await?;
        Ok(Idle {
            appends_per_s: rate(last - head, seconds),
            by_type: by_type.into_iter().map(|(event_type, count)| (event_type, rate(count, seconds))).collect(),
            store_cpu: percent(0),
            nodes_cpu: (1..=self.nodes.len()).map(percent).collect(),
        })
    }

    /// The position of the store's last event; the embedded log counts events.
    async fn head(&self) -> Result<u64> {
        let health = Connection::open(self.store.address).await?.ask("/health").await?;
        let position = health.pointer("/store/lastPosition").and_then(Value::as_str).context("it has a position")?;
        Ok(position.parse()?)
    }

    /// How many events of each type lie between two positions.
    async fn types_between(&self, above: u64, upto: u64) -> Result<BTreeMap<String, u64>> {
        crate::grpc::types_between(self.store.address, above, upto).await
    }

    /// Kills the youngest node; answers how long it took until all connectors ran on the others.
    async fn kill_one(&mut self) -> Result<f64> {
        let lost = self.nodes.pop().context("there is a node")?;
        let begun = Instant::now();
        drop(lost);
        self.wait_until("all run again", async |crowd: &Self| crowd.all_run().await).await?;
        Ok(begun.elapsed().as_secs_f64())
    }

    async fn wait_until(&self, what: &str, holds: impl AsyncFn(&Self) -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        while !holds(self).await? {
            if begun.elapsed() > LIMIT {
                bail!("not within {} s: {what}; {:?}", LIMIT.as_secs(), self.spread().await?);
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

async fn create(node: SocketAddr, target: SocketAddr, numbers: impl Iterator<Item = usize>) -> Result<()> {
    let mut connection = Connection::open(node).await?;
    for number in numbers {
        let id = format!("crowd-{number:04}");
        let settings = json!({
            "instanceTypeName": "http-sink",
            "url": format!("http://{target}/in"),
            "subscription:filter:scope": "stream",
            "subscription:filter:filterType": "prefix",
            "subscription:filter:expression": format!("nobody-writes-{number}-"),
        });
        connection.call(Method::POST, &format!("/connectors/{id}"), Some(&json!({ "settings": settings }))).await?;
        connection.call(Method::POST, &format!("/connectors/{id}/start"), None).await?;
    }
    Ok(())
}

/// What one connector takes in its node and in the store, in KB of 1,000 bytes; the store comes first.
#[expect(clippy::cast_precision_loss, reason = "a count of connectors fits into a f64 exactly")]
fn kb_each(before: &[f64], after: &[f64], connectors: usize) -> (f64, f64) {
    let grown: Vec<f64> = after.iter().zip(before).map(|(after, before)| (after - before) * 1000.0).collect();
    let each = |kb: f64| kb / connectors as f64;
    (each(grown.iter().skip(1).sum()), each(grown.first().copied().unwrap_or(0.0)))
}

#[expect(clippy::cast_precision_loss, reason = "a count of events fits into a f64 exactly")]
fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}
