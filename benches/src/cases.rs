//! Owns what is measured and in which order: each case on the product, then its requests by the plain loop.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hyper::Method;
use serde_json::{Value, json};

use crate::baseline::Loop;
use crate::clock::now_us;
use crate::connection::Connection;
use crate::grpc::Appender;
use crate::load::{self, Place, Plan};
use crate::product::Product;
use crate::receiver::SLOTS_MAX;
use crate::table::{Aim, Rate, Row, headings};

/// A run without a new event for so long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// One way to deliver.
struct Case {
    name: &'static str,
    /// Settings besides kind, URL and start.
    settings: &'static [(&'static str, &'static str)],
    /// The same way for the plain loop.
    connections: u32,
    batch: usize,
    /// How long the receiver takes for an answer.
    delay_ms: u32,
}

/// How long the slow receiver takes: a target in the same data centre that writes to a disk.
const SLOW_MS: u32 = 5;
/// So many requests tell how fast a strict loop is against the slow receiver.
const SLOW_STRICT_EVENTS: usize = 1_000;

const CASES: &[Case] = &[
    Case { name: "strict: one in flight", settings: &[("ordering", "all")], connections: 1, batch: 1, delay_ms: 0 },
    Case {
        name: "64 lanes by stream",
        settings: &[("ordering", "stream"), ("lanes", "64")],
        connections: 64,
        batch: 1,
        delay_ms: 0,
    },
    Case {
        name: "64 lanes, target takes 5 ms",
        settings: &[("ordering", "stream"), ("lanes", "64")],
        connections: 64,
        batch: 1,
        delay_ms: SLOW_MS,
    },
    Case {
        name: "batches of 500 as a JSON array",
        settings: &[("ordering", "all"), ("mode", "jsonArray"), ("envelope", "false"), ("batching:batchSize", "500")],
        connections: 1,
        batch: 500,
        delay_ms: 0,
    },
];

/// How many connectors run at once for the figure of memory, and how they deliver.
const CROWD: usize = 10;
const CROWD_SETTINGS: &[(&str, &str)] =
    &[("ordering", "all"), ("mode", "jsonArray"), ("envelope", "false"), ("batching:batchSize", "100")];

/// Streams that only the live phase of a case writes to.
const LIVE_STREAMS: u32 = 16;

/// The receiver's process; killed when dropped.
struct Receiver {
    child: Child,
    address: SocketAddr,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Measures everything and prints the table; or only the cases with these words in their name.
pub(crate) fn run(binary: &Path, plan: &Plan, only: Option<&str>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(binary, plan, only))
}

async fn measure(binary: &Path, plan: &Plan, only: Option<&str>) -> Result<()> {
    let (receiver, slow_receiver) = (Receiver::start(0)?, Receiver::start(SLOW_MS)?);
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let product = Product::start(binary, &data).await?;
    let mut places = load::places(plan);
    println!("appending {} events of about 500 bytes to {} streams over HTTP", plan.events, plan.streams);
    let begun = now_us();
    product.append_history(&places).await?;
    println!(
        "appended in {:.1} s, durable; every figure below is of loopback on this machine\n",
        seconds(now_us() - begun)
    );
    println!("{}", headings());
    let mut rows = Vec::new();
    for (index, case) in CASES.iter().enumerate().filter(|(_, case)| only.is_none_or(|words| case.name.contains(words)))
    {
        let receiver = if case.delay_ms == 0 { &receiver } else { &slow_receiver };
        let bench = Bench { plan, receiver, product: &product, case, index };
        let row = bench.run(&mut places).await?;
        println!("{row}");
        rows.push(row);
    }
    if only.is_some() {
        return if rows.is_empty() { bail!("no case has these words in its name") } else { Ok(()) };
    }
    println!("{}", live_over_grpc(plan, &product, &receiver, &mut places).await?);
    drop(product);
    let crowd = crowd(&Product::start(binary, &data).await?, &receiver, places.len()).await?;
    println!("{crowd}\n");
    let slow_strict = slow_strict(&slow_receiver, &places).await?;
    for aim in aims(&rows, &crowd, slow_strict) {
        println!("{aim}");
    }
    Ok(())
}

/// How fast a plain loop is against the slow receiver with one request in flight.
async fn slow_strict(receiver: &Receiver, places: &[Place]) -> Result<f64> {
    let mut control = receiver.connect().await?;
    control.call(Method::GET, "/forget/1", None).await?;
    let few = places.get(..SLOW_STRICT_EVENTS).unwrap_or(places);
    Loop { receiver: receiver.address, slot: 1, connections: 1, batch: 1, headers: Vec::new() }.run(few).await?;
    Ok(rate(&control.ask("/report/1").await?))
}

/// One case in one run.
struct Bench<'a> {
    plan: &'a Plan,
    receiver: &'a Receiver,
    product: &'a Product,
    case: &'a Case,
    index: usize,
}

impl Bench<'_> {
    async fn run(&self, places: &mut Vec<Place>) -> Result<Row> {
        let mut control = self.receiver.connect().await?;
        let (mut rates, mut refused, mut latency_us, mut headers) = (Vec::new(), None, None, Vec::new());
        let (mut peak_mb, mut cpu_s, mut first_ms) = (0.0_f64, 0.0_f64, f64::MAX);
        for round in 0..self.plan.rounds {
            control.call(Method::GET, "/forget/0", None).await?;
            let id = format!("bench-{}-{round}", self.index);
            self.product.forget_peak()?;
            let cpu_before = self.product.cpu_s()?;
            let started = now_us();
            self.product.start_connector(&id, &self.receiver.settings(0, self.case.settings)).await?;
            wait_for(&mut control, 0, places.len()).await?;
            cpu_s = cpu_s.max(self.product.cpu_s()? - cpu_before);
            let report = control.ask("/report/0").await?;
            first_ms = first_ms.min(seconds(number(&report, "/firstUs").saturating_sub(started)) * 1000.0);
            match fault(&report) {
                None => rates.push(rate(&report)),
                Some(fault) => refused = Some(fault),
            }
            headers = read_headers(&report);
            if round + 1 == self.plan.rounds {
                latency_us = Some(self.live(&mut control, places).await?);
            }
            peak_mb = peak_mb.max(self.product.peak_mb()?);
            self.product.delete_connector(&id).await?;
        }
        let rate = refused.map_or(Rate::Measured(rates), Rate::Refused);
        let baseline = Some(self.baseline(&mut control, places, headers).await?);
        Ok(Row { case: self.case.name, rate, baseline, latency_us, peak_mb, cpu_s, first_ms })
    }

    /// Appends events one by one while the connector is live; the latency from append to receipt.
    async fn live(&self, control: &mut Connection, places: &mut Vec<Place>) -> Result<(u64, u64)> {
        control.call(Method::GET, "/forget-latency/0", None).await?;
        let fresh = fresh_places(self.plan, self.index, places)?;
        self.product.append_live(&fresh, self.plan.live_rate).await?;
        wait_for(control, 0, places.len()).await?;
        let report = control.ask("/report/0").await?;
        if let Some(fault) = fault(&report) {
            bail!("{} while live: {fault}", self.case.name);
        }
        Ok((number(&report, "/latency/p50Us"), number(&report, "/latency/p99Us")))
    }

    async fn baseline(
        &self,
        control: &mut Connection,
        places: &[Place],
        headers: Vec<(String, String)>,
    ) -> Result<f64> {
        let mut rates = Vec::new();
        for _ in 0..self.plan.rounds {
            control.call(Method::GET, "/forget/1", None).await?;
            let (connections, batch) = (self.case.connections, self.case.batch);
            Loop { receiver: self.receiver.address, slot: 1, connections, batch, headers: headers.clone() }
                .run(places)
                .await?;
            let report = control.ask("/report/1").await?;
            if let Some(fault) = fault(&report) {
                bail!("the plain loop: {fault}");
            }
            rates.push(rate(&report));
        }
        Rate::Measured(rates).median().context("no round of the plain loop")
    }
}

/// One record in flight again, while the live events come over gRPC: what an official client's user waits for.
async fn live_over_grpc(plan: &Plan, product: &Product, receiver: &Receiver, places: &mut Vec<Place>) -> Result<Row> {
    let (slot, id) = (0, "bench-grpc");
    let mut control = receiver.connect().await?;
    control.call(Method::GET, &format!("/forget/{slot}"), None).await?;
    product.forget_peak()?;
    let (cpu_before, started) = (product.cpu_s()?, now_us());
    product.start_connector(id, &receiver.settings(slot, &[("ordering", "all")])).await?;
    wait_for(&mut control, slot, places.len()).await?;
    let report = control.ask(&format!("/report/{slot}")).await?;
    let first_ms = seconds(number(&report, "/firstUs").saturating_sub(started)) * 1000.0;
    let rate = fault(&report).map_or_else(|| Rate::Measured(vec![rate(&report)]), Rate::Refused);
    control.call(Method::GET, &format!("/forget-latency/{slot}"), None).await?;
    let fresh = fresh_places(plan, CASES.len(), places)?;
    Appender::open(product.address).await?.append_live(&fresh, plan.live_rate).await?;
    wait_for(&mut control, slot, places.len()).await?;
    let report = control.ask(&format!("/report/{slot}")).await?;
    if let Some(fault) = fault(&report) {
        bail!("live over gRPC: {fault}");
    }
    let latency_us = Some((number(&report, "/latency/p50Us"), number(&report, "/latency/p99Us")));
    let (peak_mb, cpu_s) = (product.peak_mb()?, product.cpu_s()? - cpu_before);
    product.delete_connector(id).await?;
    Ok(Row { case: "strict, live events over gRPC", rate, baseline: None, latency_us, peak_mb, cpu_s, first_ms })
}

/// The events of a live phase, in streams that no other phase writes to; they belong to the load from now on.
fn fresh_places(plan: &Plan, phase: usize, places: &mut Vec<Place>) -> Result<Vec<Place>> {
    let first = plan.streams + u32::try_from(phase)? * LIVE_STREAMS;
    let live = |number: u32| Place { stream: first + number % LIVE_STREAMS, revision: number / LIVE_STREAMS };
    let fresh: Vec<Place> = (0..plan.live_events).map(live).collect();
    places.extend(&fresh);
    Ok(fresh)
}

/// Ten connectors at once over the whole log, in a server that was just started.
async fn crowd(product: &Product, receiver: &Receiver, events: usize) -> Result<Row> {
    let mut control = receiver.connect().await?;
    product.forget_peak()?;
    let (cpu_before, started) = (product.cpu_s()?, now_us());
    let slots = 2..(2 + CROWD).min(SLOTS_MAX);
    for slot in slots.clone() {
        product.start_connector(&format!("crowd-{slot}"), &receiver.settings(slot, CROWD_SETTINGS)).await?;
    }
    let (mut refused, mut first_us, mut last_us) = (None, u64::MAX, 0);
    for slot in slots {
        wait_for(&mut control, slot, events).await?;
        let report = control.ask(&format!("/report/{slot}")).await?;
        refused = fault(&report).or(refused);
        first_us = first_us.min(number(&report, "/firstUs"));
        last_us = last_us.max(number(&report, "/lastUs"));
    }
    let all = f64::from(u32::try_from(events * CROWD)?);
    let rate = refused.map_or_else(|| Rate::Measured(vec![all / seconds(last_us - first_us)]), Rate::Refused);
    Ok(Row {
        case: "ten connectors, batches of 100",
        rate,
        baseline: None,
        latency_us: None,
        peak_mb: product.peak_mb()?,
        cpu_s: product.cpu_s()? - cpu_before,
        first_ms: seconds(first_us.saturating_sub(started)) * 1000.0,
    })
}

impl Receiver {
    fn start(delay_ms: u32) -> Result<Self> {
        let own = std::env::current_exe()?;
        let delay = delay_ms.to_string();
        let mut child = Command::new(own)
            .args(["receiver", "--delay-ms", &delay])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().context("the receiver's output")?;
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().parse().context("the receiver did not say where it listens")?;
        Ok(Self { child, address })
    }

    async fn connect(&self) -> Result<Connection> {
        Connection::open(self.address).await
    }

    /// The settings of a connector that delivers to a slot from the beginning of the log.
    fn settings(&self, slot: usize, more: &[(&str, &str)]) -> Value {
        let mut settings = json!({
            "instanceTypeName": "http-sink",
            "url": format!("http://{}/in/{slot}", self.address),
            "subscription:initialPosition": "earliest",
        });
        for (key, value) in more {
            if let Some(entries) = settings.as_object_mut() {
                entries.insert((*key).to_owned(), json!(value));
            }
        }
        settings
    }
}

/// Waits until a slot has booked so many different events.
async fn wait_for(control: &mut Connection, slot: usize, events: usize) -> Result<()> {
    let (mut last, mut last_change) = (0, tokio::time::Instant::now());
    loop {
        let answer = control.call(Method::GET, &format!("/count/{slot}"), None).await?;
        let count: usize = std::str::from_utf8(&answer)?.parse()?;
        if count >= events {
            return Ok(());
        }
        if count != last {
            (last, last_change) = (count, tokio::time::Instant::now());
        }
        if last_change.elapsed() > SILENCE_MAX {
            bail!("{count} of {events} events arrived, and none for {} s", SILENCE_MAX.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Why a report allows no figure.
fn fault(report: &Value) -> Option<String> {
    let counts = ["missing", "inversions", "malformed"].map(|name| (number(report, &format!("/{name}")), name));
    let wrong: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, name)| format!("{count} {name}")).collect();
    (!wrong.is_empty()).then(|| wrong.join(", "))
}

fn rate(report: &Value) -> f64 {
    let events = u32::try_from(number(report, "/distinct")).unwrap_or(u32::MAX).saturating_sub(1);
    f64::from(events) / seconds(number(report, "/lastUs").saturating_sub(number(report, "/firstUs")).max(1))
}

fn read_headers(report: &Value) -> Vec<(String, String)> {
    let pairs = report.get("headers").and_then(Value::as_array).into_iter().flatten();
    let pair = |value: &Value| Some((value.get(0)?.as_str()?.to_owned(), value.get(1)?.as_str()?.to_owned()));
    pairs.filter_map(pair).collect()
}

fn number(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

fn aims(rows: &[Row], crowd: &Row, slow_strict: f64) -> Vec<Aim> {
    let median = |index: usize| rows.get(index).and_then(|row| row.rate.median());
    let strict = median(0);
    let to_loop = strict.zip(rows.first().and_then(|row| row.baseline)).map(|(rate, baseline)| rate / baseline);
    let to_strict = median(1).zip(strict).map(|(lanes, strict)| lanes / strict);
    vec![
        Aim { what: "strict, to the plain loop", reached: to_loop, least: 0.9, at_most: false },
        Aim { what: "64 lanes, to strict", reached: to_strict, least: 4.0, at_most: false },
        Aim {
            what: "64 lanes, to a strict loop, target takes 5 ms",
            reached: median(2).map(|lanes| lanes / slow_strict),
            least: 4.0,
            at_most: false,
        },
        Aim { what: "batches of 500, events/s", reached: median(3), least: 150_000.0, at_most: false },
        Aim { what: "ten connectors, MB", reached: Some(crowd.peak_mb), least: 60.0, at_most: true },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_with_a_gap_or_an_inversion_allows_no_figure() {
        assert_eq!(
            fault(&json!({"missing": 1, "inversions": 2, "repeats": 3})),
            Some("1 missing, 2 inversions".to_owned())
        );
        assert_eq!(fault(&json!({"missing": 0, "repeats": 3})), None);
    }

    #[tokio::test]
    async fn a_dead_port_is_an_error_and_not_a_hang() {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(Connection::open(address).await.is_err());
    }
}
