//! Owns a store and the nodes over it, each a process of its own, and connectors that write to PostgreSQL and over HTTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::history::History;
use crate::http::{Http, eventually};
use crate::load::{Flow, stream};
use crate::namespace::{Namespace, Namespaces};
use crate::receiver::Receiver;
use crate::server::Server;
use crate::sql_kills::Database;
use crate::wall_clock::{self, WallClock};
use crate::way::Way;

/// How many nodes there are.
pub(crate) const NODES: usize = 3;
/// Streams that are written to.
pub(crate) const STREAMS: u64 = 12;
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
const SECRET_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A node, the way it has to the store, and the wall clock that it sees.
pub(crate) struct Node {
    pub(crate) server: Server,
    pub(crate) way: Way,
    pub(crate) clock: Option<WallClock>,
    /// Its id in the leases.
    pub(crate) id: String,
}

/// Where a connector delivers.
enum Target {
    Http(Receiver),
    /// Rows into a table, which has no key that would hide a repeat.
    Table(&'static str),
    /// The sink's own table, one row per record.
    Append,
}

/// Everything that takes part.
pub(crate) struct Fleet {
    pub(crate) store: Server,
    pub(crate) nodes: Vec<Node>,
    pub(crate) history: History,
    pub(crate) lease: Duration,
    connectors: Vec<(String, Target)>,
    database: Option<Database>,
    /// The networks of the nodes, if they have their own.
    pub(crate) networks: Option<Namespaces>,
    /// From there to the services outside.
    ways: Vec<Way>,
    _folder: TempDir,
}

impl Fleet {
    /// Starts the store, the nodes and the connectors, and waits until every node runs some.
    pub(crate) async fn start(lease: Duration) -> Self {
        Self::start_in(None, lease).await
    }

    /// The same, with each node in a network of its own if there are some.
    pub(crate) async fn start_in(networks: Option<Namespaces>, lease: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let mut store = Server::prepare(&at("store"), Vec::new(), Vec::new());
        store.launch().await;
        let library = wall_clock::library(folder.path());
        let mut nodes = Vec::new();
        for number in 0..NODES {
            let name = format!("node-{number}");
            let clock = library.as_deref().map(|library| WallClock::new(&at(&format!("clock-{number}")), library));
            let network = networks.as_ref().map(|networks| (networks.hub, &networks.all[number]));
            nodes.push(Node::start(&at(&name), &name, (&store, lease, clock, network)).await);
        }
        let history = History::follow(Http::to(store.address));
        let database = Database::postgres().await;
        let (connectors, ways) = (Vec::new(), Vec::new());
        let mut fleet = Self { store, nodes, history, lease, connectors, database, networks, ways, _folder: folder };
        fleet.learn_ids().await;
        fleet.connect().await;
        fleet.settle().await;
        fleet
    }

    /// Every node tells its name and id, once it has announced itself.
    async fn learn_ids(&mut self) {
        let http = self.nodes[0].server.http.clone();
        let listed = || async { http.get("/nodes").await["nodes"].as_array().cloned().unwrap_or_default() };
        eventually("all nodes know each other", SETTLE_LIMIT, || async { listed().await.len() == NODES }).await;
        for view in listed().await {
            let number: usize = view["name"].as_str().unwrap().strip_prefix("node-").unwrap().parse().unwrap();
            view["id"].as_str().unwrap().clone_into(&mut self.nodes[number].id);
        }
    }

    async fn connect(&mut self) {
        let http = self.nodes[0].server.http.clone();
        for (id, more) in [
            ("http-all", json!({"ordering": "all"})),
            ("http-lanes", json!({"ordering": "stream", "lanes": "4"})),
            ("http-more", json!({"ordering": "stream", "lanes": "2"})),
        ] {
            let receiver = Receiver::start().await;
            receiver.fence();
            let mut settings = json!({
                "instanceTypeName": "http-sink", "url": format!("http://{}/events", self.reach(receiver.address()).await),
                "subscription:filter:scope": "stream", "subscription:filter:filterType": "prefix",
                "subscription:filter:expression": "load-",
            });
            merge(&mut settings, &more);
            self.begin(&http, id, settings).await;
            self.connectors.push((id.to_owned(), Target::Http(receiver)));
        }
        let Some(database) = self.database.take() else { return };
        let port = database.settings()["port"].as_str().unwrap().parse().unwrap();
        let address = self.reach((Ipv4Addr::LOCALHOST, port).into()).await;
        let there = json!({"host": address.ip().to_string(), "port": address.port().to_string()});
        for (id, table) in [("rows-all", "rows_all"), ("rows-lanes", "rows_lanes")] {
            let columns = "(n bigserial, position bigint, stream text, revision bigint)";
            database.run(&format!("CREATE TABLE {table} {columns}")).await;
            let mut settings = database.settings();
            settings["statements:*"] =
                format!("INSERT INTO {table} (position, stream, revision) VALUES (:position, :stream, :revision)")
                    .into();
            merge(&mut settings, &there);
            let lanes = json!({"ordering": "stream", "lanes": "4"});
            merge(&mut settings, &if table == "rows_lanes" { lanes } else { json!({"ordering": "all"}) });
            self.begin(&http, id, settings).await;
            self.connectors.push((id.to_owned(), Target::Table(table)));
        }
        let mut settings = database.settings();
        let not_here = |key: &String| key.starts_with("statements:") || key.starts_with("parameters:");
        settings.as_object_mut().unwrap().retain(|key, _| !not_here(key));
        merge(&mut settings, &there);
        merge(&mut settings, &json!({"mode": "append", "table": "appended", "ordering": "stream", "lanes": "2"}));
        self.begin(&http, "rows-append", settings).await;
        self.connectors.push(("rows-append".to_owned(), Target::Append));
        self.database = Some(database);
    }

    /// Where a node reaches a service that is here.
    async fn reach(&mut self, service: SocketAddr) -> SocketAddr {
        let Some(networks) = &self.networks else { return service };
        let way = Way::new(networks.hub, service).await;
        let address = way.address;
        self.ways.push(way);
        address
    }

    async fn begin(&self, http: &Http, id: &str, mut settings: Value) {
        // Whatever fails meanwhile is tried again, and soon; a session whose owner hangs ends soon.
        let quick =
            json!({"resilience:firstDelayBound:delayMs": "100", "resilience:firstDelayBound:upperLimitMs": "60000"});
        merge(&mut settings, &quick);
        if settings["instanceTypeName"] == "postgres-sink" {
            merge(&mut settings, &json!({"statementTimeoutMs": "3000"}));
        }
        http.post(&format!("/connectors/{id}"), &json!({"settings": settings})).await;
        http.post(&format!("/connectors/{id}/start"), &json!({"from": "earliest"})).await;
    }

    /// Waits until every connector runs and every node has one.
    pub(crate) async fn settle(&self) {
        let is_settled = || {
            let facts = self.history.facts();
            let held: Vec<_> = self.nodes.iter().map(|node| facts.held_by(&node.id).len()).collect();
            held.iter().all(|held| *held > 0) && held.iter().sum::<usize>() == self.connectors.len()
        };
        eventually("every connector runs, and every node has one", SETTLE_LIMIT, || async { is_settled() }).await;
    }

    /// Waits until every connector's lease was taken or renewed since then.
    pub(crate) async fn settle_since(&self, since: Instant) {
        let are_held = || {
            let facts = self.history.facts();
            self.connectors.iter().all(|(id, _)| facts.is_held_since(id, since))
        };
        eventually("every connector runs again", SETTLE_LIMIT, || async { are_held() }).await;
    }

    /// Waits until every node runs as many.
    pub(crate) async fn settle_evenly(&self) {
        let is_even = || {
            let facts = self.history.facts();
            self.nodes.iter().all(|node| facts.held_by(&node.id).len() == self.connectors.len() / NODES)
        };
        eventually("every node runs as many connectors", SETTLE_LIMIT, || async { is_even() }).await;
    }

    /// Begins to write events.
    pub(crate) fn flow(&self, back_limit: Duration) -> Flow {
        Flow::begin(self.store.http.clone(), STREAMS, back_limit)
    }

    /// Waits until everything that was written has arrived everywhere, and fails the test when anything is wrong.
    pub(crate) async fn assert_all_arrived(&self, lengths: &[u64], limit: Duration) {
        let events: u64 = lengths.iter().sum();
        for (id, target) in &self.connectors {
            match target {
                Target::Http(receiver) => {
                    receiver.has(events, limit).await;
                    let arrivals = receiver.arrivals();
                    for (number, length) in (0..).zip(lengths) {
                        assert_eq!(arrivals.length(&stream(number)), *length, "{id}: {}", stream(number));
                    }
                    arrivals.assert_in_order();
                    let repeats: u64 = arrivals.repeats().iter().sum();
                    println!("{id}: {events} events, {repeats} repeats, {} stale deliveries refused", receiver.stale());
                }
                Target::Table(table) => {
                    self.has_rows(table, events, limit).await;
                    assert_eq!(self.account(table).await, format!("{events} {events} 0"), "{id}");
                    println!("{id}: {events} events, each once, in order");
                }
                Target::Append => {
                    self.has_rows("appended", events, limit).await;
                    println!("{id}: {events} events");
                }
            }
        }
        if self.database.is_none() {
            println!("SKIPPED: rows in PostgreSQL");
        }
    }

    /// Waits until some events have come to those who are reached over HTTP.
    pub(crate) async fn some_arrived(&self, events: u64, limit: Duration) {
        for (_, target) in &self.connectors {
            if let Target::Http(receiver) = target {
                receiver.has(events, limit).await;
            }
        }
    }

    async fn has_rows(&self, table: &str, rows: u64, limit: Duration) {
        let database = self.database.as_ref().unwrap();
        let sql = format!("SELECT count(*)::text FROM {table}");
        eventually(&format!("{rows} rows are in {table}"), limit, || async {
            database.text(&sql).await.parse::<u64>().unwrap() >= rows
        })
        .await;
    }

    /// Rows, different events among them, and rows that are out of the order of their stream.
    async fn account(&self, table: &str) -> String {
        let sql = format!(
            "SELECT count(*) || ' ' || count(DISTINCT position) || ' ' || coalesce(sum(is_out), 0) FROM (SELECT position, \
             CASE WHEN revision <> row_number() OVER (PARTITION BY stream ORDER BY n) - 1 THEN 1 ELSE 0 END AS is_out \
             FROM {table}) AS r"
        );
        self.database.as_ref().unwrap().text(&sql).await
    }

    /// The longest time until somebody else had every lease that these nodes had when it began.
    pub(crate) async fn taken_over(&self, victims: &[usize], began: Instant) -> Duration {
        self.history.catch_up().await;
        let mut longest = Duration::ZERO;
        for victim in victims {
            let owner = &self.nodes[*victim].id;
            let held = self.history.facts().held_by(owner);
            for (id, epoch) in held {
                let taken = || self.history.facts().taken_after(&id, (owner, epoch));
                let what = format!("{id} of node-{victim} in epoch {epoch} is taken");
                eventually(&what, SETTLE_LIMIT, || async { taken().is_some() }).await;
                longest = longest.max(taken().unwrap().saturating_duration_since(began));
            }
        }
        longest
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        /// So much of each log is told after a failure.
        const LINES: usize = 60;
        if std::thread::panicking() {
            for (name, server) in self.nodes.iter().map(|node| (&node.id, &node.server)) {
                let log = server.log_text();
                let lines: Vec<_> = log.lines().collect();
                println!("the last lines of {name}:\n{}", lines[lines.len().saturating_sub(LINES)..].join("\n"));
            }
        }
    }
}

impl Node {
    async fn start(
        folder: &Path,
        name: &str,
        (store, lease, clock, network): (&Server, Duration, Option<WallClock>, Option<(IpAddr, &Namespace)>),
    ) -> Self {
        let way = Way::new(network.map_or(Ipv4Addr::LOCALHOST.into(), |(hub, _)| hub), store.address).await;
        let connection = format!("esdb://{}?tls=false", way.address);
        let mut environment = clock.as_ref().map(|clock| clock.environment().to_vec()).unwrap_or_default();
        for (key, value) in [
            ("FOREBAY_LEASE", format!("{}ms", lease.as_millis())),
            ("FOREBAY_SECRET_KEY", SECRET_KEY.to_owned()),
            ("FOREBAY_NODE", name.to_owned()),
            ("FOREBAY_SHUTDOWN_LIMIT", "5s".to_owned()),
        ] {
            environment.push((key.to_owned(), value));
        }
        let mut flags = vec!["--store".to_owned(), connection];
        if network.is_some() {
            flags.extend(["--insecure", "--auth", "off"].map(ToOwned::to_owned));
        }
        let mut server = Server::prepare(folder, flags, environment);
        if let Some((_, namespace)) = network {
            server = server.in_network(namespace.prefix(), namespace.address);
        }
        server.launch().await;
        server.is_ready().await;
        Self { server, way, clock, id: String::new() }
    }
}

impl Server {
    /// Waits until it says that it is ready.
    pub(crate) async fn is_ready(&self) {
        let http = &self.http;
        let what = format!("the node is ready; it logged: {}", self.log_text());
        eventually(&what, SETTLE_LIMIT, || async {
            matches!(http.try_send(Method::GET, "/health/ready", None).await, Ok((200..300, _)))
        })
        .await;
    }
}

fn merge(settings: &mut Value, more: &Value) {
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
}
