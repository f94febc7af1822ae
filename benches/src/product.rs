//! Owns the product under test: its process, what is appended to it, its connectors, what it costs.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hyper::Method;
use serde_json::{Value, json};

use crate::clock::now_us;
use crate::connection::Connection;
use crate::load::{self, Place};

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// Connections that append history, and events that each groups by stream before it appends.
const APPENDERS: u32 = 32;
const GROUPED_EVENTS: usize = 500;

/// Clock ticks of `/proc/PID/stat` in a second, on every Linux we know.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a server is told besides where its data lies and where it listens.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Launch<'a> {
    /// Further arguments.
    pub(crate) flags: &'a [&'a str],
    /// Variables of its environment.
    pub(crate) variables: &'a [(&'a str, &'a str)],
}

/// A running server; killed when dropped.
pub(crate) struct Product {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Drop for Product {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Product {
    /// Starts it on a data directory and a free port, and waits until it says that it is ready.
    pub(crate) async fn start(binary: &Path, data: &Path) -> Result<Self> {
        Self::launch(binary, data, &Launch::default()).await
    }

    /// The same with more to say to it.
    pub(crate) async fn launch(binary: &Path, data: &Path, launch: &Launch<'_>) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = std::fs::File::create(data.with_extension("log"))?;
        let child = Command::new(binary)
            .arg("serve")
            .arg("--data")
            .arg(data)
            .args(["--listen", &address.to_string()])
            .args(launch.flags)
            .envs(launch.variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let mut product = Self { child, address };
        product.wait_until_ready().await?;
        Ok(product)
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let until = tokio::time::Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status} instead of serving");
            }
            if let Ok(mut connection) = Connection::open(self.address).await
                && connection.call(Method::GET, "/health/ready", None).await.is_ok()
            {
                return Ok(());
            }
            if tokio::time::Instant::now() > until {
                bail!("the server is not ready after {} s", START_LIMIT.as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Appends all events; those of a stream in order, streams mixed as in real life.
    pub(crate) async fn append_history(&self, places: &[Place]) -> Result<()> {
        let mut appenders = tokio::task::JoinSet::new();
        for appender in 0..APPENDERS {
            let mine: Vec<Place> =
                places.iter().filter(|place| place.stream % APPENDERS == appender).copied().collect();
            appenders.spawn(append_all(self.address, mine));
        }
        while let Some(ended) = appenders.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// Appends events one by one, so many in a second, each with the time of its append.
    pub(crate) async fn append_live(&self, places: &[Place], rate: u32) -> Result<()> {
        let mut connection = Connection::open(self.address).await?;
        let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
        for place in places {
            pace.tick().await;
            append(&mut connection, place.stream, &[*place]).await?;
        }
        Ok(())
    }

    /// Creates a connector and starts it.
    pub(crate) async fn start_connector(&self, id: &str, settings: &Value) -> Result<()> {
        let mut connection = Connection::open(self.address).await?;
        connection.call(Method::POST, &format!("/connectors/{id}"), Some(&json!({ "settings": settings }))).await?;
        connection.call(Method::POST, &format!("/connectors/{id}/start"), None).await?;
        Ok(())
    }

    /// Stops a connector, waits until it has, and deletes it.
    pub(crate) async fn delete_connector(&self, id: &str) -> Result<()> {
        let mut connection = Connection::open(self.address).await?;
        connection.call(Method::POST, &format!("/connectors/{id}/stop"), None).await?;
        let until = tokio::time::Instant::now() + STOP_LIMIT;
        while self.state(&mut connection, id).await? != "CONNECTOR_STATE_STOPPED" {
            if tokio::time::Instant::now() > until {
                bail!("{id} has not stopped after {} s", STOP_LIMIT.as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
        connection.call(Method::DELETE, &format!("/connectors/{id}"), None).await?;
        Ok(())
    }

    async fn state(&self, connection: &mut Connection, id: &str) -> Result<String> {
        let list = connection.ask(&format!("/connectors?connectorId={id}")).await?;
        let state = list.pointer("/items/0/state").and_then(Value::as_str);
        Ok(state.with_context(|| format!("{id} is not listed: {list}"))?.to_owned())
    }

    /// Forgets the peak of memory so far.
    pub(crate) fn forget_peak(&self) -> Result<()> {
        Ok(std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")?)
    }

    /// The most memory it had resident, in MB of 1,000,000 bytes.
    pub(crate) fn peak_mb(&self) -> Result<f64> {
        self.status_mb("VmHWM:")
    }

    /// The memory it has resident now, in MB of 1,000,000 bytes.
    pub(crate) fn resident_mb(&self) -> Result<f64> {
        self.status_mb("VmRSS:")
    }

    fn status_mb(&self, name: &str) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let line = line.with_context(|| format!("no {name} in the status"))?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024.0 / 1_000_000.0)
    }

    /// Seconds of CPU that it has used.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in parentheses may hold blanks; utime and stime are the 12th and 13th after it.
        let (_, rest) = stat.rsplit_once(')').context("no name in the stat")?;
        let ticks: f64 = rest.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<f64>().ok()).sum();
        Ok(ticks / TICKS_PER_SECOND)
    }
}

async fn append_all(address: SocketAddr, places: Vec<Place>) -> Result<()> {
    let mut connection = Connection::open(address).await?;
    for chunk in places.chunks(GROUPED_EVENTS) {
        let mut sorted = chunk.to_vec();
        // Stable, so the events of a stream stay in order.
        sorted.sort_by_key(|place| place.stream);
        for group in sorted.chunk_by(|one, next| one.stream == next.stream) {
            let Some(first) = group.first() else { continue };
            append(&mut connection, first.stream, group).await?;
        }
    }
    Ok(())
}

async fn append(connection: &mut Connection, stream: u32, places: &[Place]) -> Result<()> {
    let now = now_us();
    let event = |place: &Place| format!("{{\"type\":\"OrderPlaced\",\"data\":{}}}", load::data(*place, now));
    let events: Vec<String> = places.iter().map(event).collect();
    let body = format!("{{\"events\":[{}]}}", events.join(","));
    let path = format!("/streams/{}/events", load::stream_name(stream));
    let request = hyper::Request::post(&path).header("content-type", "application/json");
    let (status, answer) = connection.send(request.body(body.into())?).await?;
    if !status.is_success() {
        bail!("POST {path} answered {status}: {}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}
