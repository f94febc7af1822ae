//! Owns the measurement of catching up from outside: the official Rust client against a reader in the same process.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use forebay_log::EmbeddedLog;
use forebay_store::{EventFilter, EventStore, LogPoint, Notice, PageLimit, SubscribeAll};
use serde_json::Value;

use crate::product::Product;
use crate::soak;

/// What a connector asks for at once.
const PAGE: PageLimit = PageLimit { events: 500, bytes: 1 << 20 };
/// Each way is measured so often; the best counts, for both alike.
const ROUNDS: usize = 3;

/// Fills a log, reads it through the port in this process, then serves it and lets the client read it.
pub(crate) fn run(binary: &Path, client: &Path, events: &str) -> Result<()> {
    let events: u64 = events.replace('_', "").parse().with_context(|| format!("a number of events, not {events:?}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(binary, client, events))
}

async fn measure(binary: &Path, client: &Path, events: u64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let (log, _) = EmbeddedLog::open(soak::options(&data))?;
    let log: Arc<EmbeddedLog> = Arc::new(log);
    let events = soak::fill(&log, events).await?;
    let mut own = Vec::new();
    for _ in 0..ROUNDS {
        own.push(read_in_process(&*log, events).await?);
    }
    log.close().await;
    drop(log);
    let product = Product::start(binary, &data).await?;
    let mut others = Vec::new();
    for _ in 0..ROUNDS {
        others.push(read_by_client(client, &product, events)?);
    }
    let best = |rates: &[f64]| rates.iter().copied().fold(0.0, f64::max);
    println!("catch-up of {events} events of about 500 bytes, best of {ROUNDS}");
    println!("through the port, in process   {:>10.0} events/s", best(&own));
    println!("through the Rust client        {:>10.0} events/s", best(&others));
    println!("ratio                          {:>10.2}", best(&others) / best(&own));
    Ok(())
}

async fn read_in_process(store: &dyn EventStore, events: u64) -> Result<f64> {
    let begun = Instant::now();
    let subscribe =
        SubscribeAll { from: LogPoint::Start, filter: EventFilter::All, limit: PAGE, checkpoint_every: 1_000 };
    let mut subscription = store.subscribe_all(subscribe).await?;
    let (mut taken, mut size) = (0, 0);
    while taken < events {
        if let Notice::Events(page) = subscription.next().await? {
            taken += page.len() as u64;
            size += page.iter().map(|event| event.data().len()).sum::<usize>();
        }
    }
    if size == 0 {
        bail!("the events hold nothing");
    }
    Ok(rate(taken, begun.elapsed().as_secs_f64()))
}

fn read_by_client(client: &Path, product: &Product, events: u64) -> Result<f64> {
    let uri = format!("esdb://{}?tls=false", product.address);
    let output = Command::new(client).args(["catch-up", &uri, &events.to_string()]).output()?;
    if !output.status.success() {
        bail!("the client ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    let seconds = answer.get("seconds").and_then(Value::as_f64).context("the client does not say how long it took")?;
    Ok(rate(events, seconds))
}

#[expect(clippy::cast_precision_loss, reason = "a count of events fits into a f64 exactly")]
fn rate(events: u64, seconds: f64) -> f64 {
    events as f64 / seconds
}
