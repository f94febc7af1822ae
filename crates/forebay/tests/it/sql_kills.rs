//! kill -9 at random moments while rows are written: every event is there once, in the order of its stream.
//!
//! `FOREBAY_KILLS` and `FOREBAY_EVENTS` set the size (the full one is 300 kills), `FOREBAY_SEED` the moments.

#[path = "../../../sinks/tests/it/postgres/server.rs"]
mod postgres;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::eventually;
use crate::kill::{Moments, number_from_environment};
use crate::load::Load;
use crate::server::Server;

const ARRIVE_LIMIT: Duration = Duration::from_secs(120);
/// Rows, different events among them, and rows that are out of the order of their stream.
const ACCOUNT: &str = "SELECT count(*) || ' ' || count(DISTINCT position) || ' ' || coalesce(sum(is_out), 0) FROM \
    (SELECT position, CASE WHEN revision <> row_number() OVER (PARTITION BY stream ORDER BY n) - 1 THEN 1 ELSE 0 END AS \
    is_out FROM deliveries) AS r";

/// Where rows go, and how they are counted there.
pub(crate) struct Database(Place);

enum Place {
    Postgres(Box<postgres::Server>),
    Sqlite(std::path::PathBuf),
}

impl Database {
    pub(crate) async fn postgres() -> Option<Self> {
        let server = postgres::Server::start().await?;
        let table = "CREATE TABLE deliveries (n bigserial, position bigint, stream text, revision bigint)";
        server.run(table).await;
        Some(Self(Place::Postgres(Box::new(server))))
    }

    pub(crate) fn sqlite(folder: &Path) -> Self {
        let path = folder.join("rows.db");
        let table = "CREATE TABLE deliveries (n INTEGER PRIMARY KEY, position integer, stream text, revision integer)";
        rusqlite::Connection::open(&path).unwrap().execute_batch(table).unwrap();
        Self(Place::Sqlite(path))
    }

    pub(crate) fn settings(&self) -> Value {
        let mut settings = json!({
            "mode": "statement", "createTable": "true",
            "statements:*": "INSERT INTO deliveries (position, stream, revision) VALUES (:position, :stream, :revision)",
            "parameters:position": "$.position.logPosition", "parameters:stream": "$.position.streamId",
            "parameters:revision": "$.position.streamRevision",
            "batching:batchSize": "20", "resilience:firstDelayBound:delayMs": "100",
            "subscription:filter:scope": "stream", "subscription:filter:filterType": "prefix",
            "subscription:filter:expression": "load-",
        });
        let more = match &self.0 {
            Place::Postgres(server) => server.settings(),
            Place::Sqlite(path) => vec![("path".to_owned(), path.display().to_string())],
        };
        more.into_iter().for_each(|(key, value)| settings[key] = value.into());
        settings["instanceTypeName"] = match &self.0 {
            Place::Postgres(_) => "postgres-sink".into(),
            Place::Sqlite(_) => "sqlite-sink".into(),
        };
        settings
    }

    pub(crate) async fn run(&self, sql: &str) {
        match &self.0 {
            Place::Postgres(server) => server.run(sql).await,
            Place::Sqlite(path) => {
                let database = rusqlite::Connection::open(path).unwrap();
                database.busy_timeout(ARRIVE_LIMIT).unwrap();
                database.execute_batch(sql).unwrap();
            }
        }
    }

    pub(crate) async fn text(&self, sql: &str) -> String {
        match &self.0 {
            Place::Postgres(server) => server.rows(sql).await.remove(0),
            Place::Sqlite(path) => {
                let database = rusqlite::Connection::open(path).unwrap();
                database.busy_timeout(ARRIVE_LIMIT).unwrap();
                database.query_row(sql, [], |row| row.get(0)).unwrap()
            }
        }
    }

    /// Lets every row take its time, and a statement of a server wait for one second at most.
    pub(crate) async fn be_slow(&self, settings: &mut Value) {
        match &self.0 {
            Place::Postgres(server) => {
                settings["statementTimeoutMs"] = "1000".into();
                let function = "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS \
                     $$ BEGIN PERFORM pg_sleep(0.002); RETURN NULL; END $$; \
                     CREATE TRIGGER linger AFTER INSERT ON deliveries FOR EACH ROW EXECUTE FUNCTION linger()";
                server.run(function).await;
            }
            Place::Sqlite(path) => {
                let trigger = "CREATE TRIGGER linger AFTER INSERT ON deliveries BEGIN \
                     SELECT max(n) FROM (WITH RECURSIVE counter(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter \
                     WHERE n < 20000) SELECT n FROM counter); END";
                rusqlite::Connection::open(path).unwrap().execute_batch(trigger).unwrap();
            }
        }
    }

    /// Forgets all rows and who owned them.
    pub(crate) async fn clear(&self) {
        match &self.0 {
            Place::Postgres(server) => server.run("TRUNCATE deliveries; DROP TABLE IF EXISTS forebay_positions").await,
            Place::Sqlite(path) => {
                let database = rusqlite::Connection::open(path).unwrap();
                database.busy_timeout(ARRIVE_LIMIT).unwrap();
                database.execute_batch("DELETE FROM deliveries; DROP TABLE IF EXISTS forebay_positions").unwrap();
            }
        }
    }

    /// Whether it ends a transaction whose owner says nothing any more.
    pub(crate) fn ends_transactions(&self) -> bool {
        matches!(self.0, Place::Postgres(_))
    }

    /// Whether a sink has a transaction open that has written something.
    pub(crate) async fn has_open_transaction(&self) -> bool {
        match &self.0 {
            Place::Postgres(server) => {
                let sql = "SELECT count(*)::text FROM pg_stat_activity WHERE application_name LIKE 'forebay/%' \
                     AND xact_start IS NOT NULL";
                server.rows(sql).await != ["0"]
            }
            Place::Sqlite(path) => {
                let database = rusqlite::Connection::open(path).unwrap();
                database.busy_timeout(Duration::ZERO).unwrap();
                database.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err()
            }
        }
    }

    pub(crate) async fn has(&self, rows: u64) {
        eventually(&format!("{rows} rows are there"), ARRIVE_LIMIT, || async {
            let count: u64 = self.text("SELECT CAST(count(*) AS text) FROM deliveries").await.parse().unwrap();
            count >= rows
        })
        .await;
    }
}

async fn run(database: Database, folder: &Path, over: &[(&str, &str)]) {
    let kills = number_from_environment("FOREBAY_KILLS", 8);
    let load = Load { streams: 24, events: number_from_environment("FOREBAY_EVENTS", 5_000) };
    let seed = number_from_environment("FOREBAY_SEED", 20_260_101).max(1);
    println!("{kills} kills, {} events, seed {seed}", load.events);
    let mut moments = Moments(seed);
    let share = load.events / (kills + 1);
    let points: Vec<u64> = (0..kills).map(|kill| kill * share + moments.next_below(share)).collect();
    let mut server = Server::start(folder).await;
    let mut settings = database.settings();
    over.iter().for_each(|(key, value)| settings[*key] = (*value).into());
    server.http.post("/connectors/written", &json!({"settings": settings})).await;
    server.http.post("/connectors/written/start", &json!({"from": "earliest"})).await;
    let writing = tokio::spawn(load.write(server.http.clone()));
    for point in points {
        database.has(point).await;
        server.kill().await;
        server.launch().await;
    }
    writing.await.unwrap();
    database.has(load.events).await;
    // A last event behind all others: when it is there, nothing else is under way.
    let body = json!({"events": [{"id": "ffffffff-0000-4000-8000-000000000000", "type": "Last", "data": {}}]});
    server.http.post("/streams/load-last/events", &body).await;
    database.has(load.events + 1).await;
    let rows = load.events + 1;
    assert_eq!(database.text(ACCOUNT).await, format!("{rows} {rows} 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_postgresql_survive_kills_in_one_lane() {
    let Some(database) = Database::postgres().await else { return };
    let folder = tempfile::tempdir().unwrap();
    run(database, folder.path(), &[("ordering", "all")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_postgresql_survive_kills_in_lanes() {
    let Some(database) = Database::postgres().await else { return };
    let folder = tempfile::tempdir().unwrap();
    run(database, folder.path(), &[("ordering", "stream"), ("lanes", "8")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_sqlite_survive_kills() {
    let folder = tempfile::tempdir().unwrap();
    run(Database::sqlite(folder.path()), folder.path(), &[]).await;
}

/// A row stands in the way of one stream, which is parked; when it is gone, kills interrupt the replay.
async fn replay(database: Database, folder: &Path, over: &[(&str, &str)]) {
    const EVENTS: u64 = 800;
    const KILLS: u64 = 6;
    let way = "CREATE UNIQUE INDEX first ON deliveries (stream) WHERE revision = 0; \
               INSERT INTO deliveries (position, stream, revision) VALUES (-1, 'load-1', 0)";
    database.run(way).await;
    let mut server = Server::start(folder).await;
    let mut settings = database.settings();
    [("ordering", "stream"), ("errors:onReject", "park")]
        .iter()
        .chain(over)
        .for_each(|(key, value)| settings[*key] = (*value).into());
    server.http.post("/connectors/written", &json!({"settings": settings})).await;
    server.http.post("/connectors/written/start", &json!({"from": "earliest"})).await;
    Load { streams: 4, events: EVENTS }.write(server.http.clone()).await;
    let parked = async |server: &Server| server.http.get("/connectors/written/parked").await["records"].as_u64();
    eventually("a stream is parked", ARRIVE_LIMIT, || async { parked(&server).await == Some(EVENTS / 4) }).await;
    database.has(EVENTS * 3 / 4 + 1).await;
    database.run("DELETE FROM deliveries WHERE position = -1").await;
    server.http.post("/connectors/written/parked/load-1/replay", &json!({"recordsPerSecond": 60})).await;
    for kill in 1..=KILLS {
        database.has(EVENTS * 3 / 4 + kill * 25).await;
        server.kill().await;
        server.launch().await;
    }
    eventually("nothing is parked", ARRIVE_LIMIT, || async { parked(&server).await == Some(0) }).await;
    assert_eq!(database.text(ACCOUNT).await, format!("{EVENTS} {EVENTS} 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_into_postgresql_survives_kills() {
    let Some(database) = Database::postgres().await else { return };
    let folder = tempfile::tempdir().unwrap();
    replay(database, folder.path(), &[("lanes", "4")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_into_sqlite_survives_kills() {
    let folder = tempfile::tempdir().unwrap();
    replay(Database::sqlite(folder.path()), folder.path(), &[]).await;
}
