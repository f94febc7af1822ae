//! Owns what the quickstart asks of the server, all of it through the public API.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use super::bundle::{Bundle, MAGNITUDE_MIN};
use super::receiver;
use crate::client::{Ask, Client};
use crate::command::ClientOptions;
use crate::connectors::{state_of, wait_for};
use crate::failure::Failure;
use crate::numbers::number;
use crate::output::Output;
use crate::progress::grouped;
use crate::streams::{Appender, Order};

/// The connector's id.
pub(super) const CONNECTOR: &str = "strong-earthquakes";
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
const WAIT_LIMIT: Duration = Duration::from_secs(30);
const BATCH_LINES: usize = 500;

/// The transform: an earthquake as the receiver wants it.
const TRANSFORM: &str = "\
function transform(record) {
  const quake = record.value;
  record.schemaInfo.subject = 'StrongEarthquake';
  record.value = {
    magnitude: quake.mag,
    place: quake.place,
    depthKm: quake.geometry.coordinates[2],
    at: new Date(quake.time).toISOString(),
    page: quake.url,
  };
}
";

/// The conversation with the server.
pub(super) struct Story {
    client: Client,
    receiver: SocketAddr,
}

impl Story {
    /// Speaks with the server at this address.
    pub(super) fn begin(server: SocketAddr, receiver: SocketAddr, json: bool, quiet: bool) -> Result<Self, Failure> {
        let url = format!("http://{server}");
        let server = Url::parse(&url).map_err(|error| Failure::usage("--listen", error.to_string(), "HOST:PORT"))?;
        let options = ClientOptions {
            server,
            user: None,
            password_file: None,
            ca_file: None,
            timeout: REQUEST_LIMIT,
            json,
            quiet,
        };
        Ok(Self { client: Client::new(&options)?, receiver })
    }

    /// The server's URL.
    pub(super) fn url(&self) -> &str {
        self.client.server()
    }

    /// Appends the events that the log does not hold yet; the position of the last one.
    pub(super) async fn append(&self, bundle: &Bundle, output: &mut Output) -> Result<u64, Failure> {
        let mut there = BTreeMap::new();
        let mut last_position = 0;
        for stream in bundle.streams.keys() {
            let (count, position) = self.length(stream).await?;
            last_position = last_position.max(position);
            there.insert(stream.clone(), count);
        }
        let mut appender = Appender::new(self.client.clone(), Order::PerStream, BATCH_LINES);
        let appended = appender.run(&mut bundle.lines_missing(&there), 0, output).await?;
        let count = grouped(appended.events);
        output.note(&format!("appended   {count} earthquakes to {} streams", bundle.streams.len()));
        Ok(last_position.max(appended.last_position))
    }

    /// How many events a stream has, and the position of its last one.
    async fn length(&self, stream: &str) -> Result<(u64, u64), Failure> {
        let ask = Ask::get(&["streams", stream, "events"], format!("read stream {stream}"));
        let ask = ask.query("from", "end").query("direction", "backward").query("limit", 1);
        match self.client.ask(ask).await {
            Ok(page) => {
                let last = page.get("events").and_then(|events| events.get(0));
                Ok(last.map_or((0, 0), |event| (number(event, "revision") + 1, number(event, "position"))))
            }
            Err(failure) if failure.refusal().is_some_and(|refusal| refusal.status == 404) => Ok((0, 0)),
            Err(failure) => Err(failure),
        }
    }

    /// Creates and starts the connector, or points the one that is there at this receiver.
    pub(super) async fn connect(&self, output: &mut Output) -> Result<(), Failure> {
        let settings = self.settings();
        let ask = Ask::get(&["connectors", CONNECTOR], format!("show connector {CONNECTOR}"));
        let known = match self.client.ask(ask).await {
            Ok(view) => view.get("deleteTime").is_none_or(Value::is_null),
            Err(failure) if failure.refusal().is_some_and(|refusal| refusal.status == 404) => false,
            Err(failure) => return Err(failure),
        };
        if known {
            self.point_at_receiver(&settings).await?;
        } else {
            let body = json!({ "name": "Strong earthquakes", "settings": settings });
            self.client.ask(Ask::post(&["connectors", CONNECTOR], format!("create {CONNECTOR}")).json(&body)).await?;
            let start = Ask::post(&["connectors", CONNECTOR, "start"], format!("start {CONNECTOR}"));
            self.client.ask(start.json(&json!({"from": "earliest"}))).await?;
        }
        wait_for(&self.client, CONNECTOR, "running", WAIT_LIMIT).await?;
        let verb = if known { "goes on where it was" } else { "reads from the beginning" };
        output.note(&format!("connector  {CONNECTOR}: magnitude {MAGNITUDE_MIN:.1} and above; {verb}\n"));
        Ok(())
    }

    async fn point_at_receiver(&self, settings: &Value) -> Result<(), Failure> {
        let request = |method, parts: &[&str], verb: &str| Ask::new(method, parts, format!("{verb} {CONNECTOR}"));
        self.client.ask(request(http::Method::POST, &["connectors", CONNECTOR, "stop"], "stop")).await?;
        wait_for(&self.client, CONNECTOR, "stopped", WAIT_LIMIT).await?;
        let reconfigure = request(http::Method::PUT, &["connectors", CONNECTOR, "settings"], "reconfigure");
        self.client.ask(reconfigure.json(settings)).await?;
        self.client.ask(request(http::Method::POST, &["connectors", CONNECTOR, "start"], "start")).await?;
        Ok(())
    }

    fn settings(&self) -> Value {
        json!({
            "instanceTypeName": "http-sink",
            "url": receiver::url(self.receiver),
            "subscription:initialPosition": "earliest",
            "subscription:filter:scope": "record",
            "subscription:filter:filterType": "jsonPath",
            "subscription:filter:expression": format!("$[?($.value.mag >= {MAGNITUDE_MIN:.1})]"),
            "transformer:enabled": "true",
            "transformer:function": TRANSFORM,
            "autocommit:interval": "500",
        })
    }

    /// How far the connector has come by its last checkpoint; fails when it has failed.
    pub(super) async fn position(&self) -> Result<Option<u64>, Failure> {
        let view = self.client.ask(Ask::get(&["connectors", CONNECTOR], format!("show connector {CONNECTOR}"))).await?;
        let state = state_of(&view);
        if state == "failed" {
            let reason = view.get("errorDetails").map(ToString::to_string).unwrap_or_default();
            let wanted = "running".to_owned();
            return Err(Failure::NotReached { id: CONNECTOR.to_owned(), state, wanted, reason });
        }
        Ok(view.get("position").filter(|position| !position.is_null()).map(|_| number(&view, "position")))
    }
}
