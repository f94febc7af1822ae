//! An owner that is stopped in its tracks, and wakes up after another has taken over: it writes no row.
//!
//! Two servers cannot share a data directory, so the second one gets a copy, taken while the first is stopped: what a
//! replicated disk would hold after a failover. `FOREBAY_TAKEOVERS` sets the number of rounds (the full one is 40),
//! `FOREBAY_SEED` the moments.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::kill::{Moments, number_from_environment};
use crate::load::Load;
use crate::server::Server;
use crate::sql_kills::Database;

const EVENTS: u64 = 300;
/// Events that only the second server has, and as many that only the first has after it woke up.
const LATER: u64 = 50;
/// All rows, different events among them, and those that only the first server has: none may be there.
const ACCOUNT: &str = "SELECT count(*) || ' ' || count(DISTINCT position) || ' ' || \
    coalesce(sum(CASE WHEN stream = 'load-stale' THEN 1 ELSE 0 END), 0) FROM deliveries";

async fn append(server: &Server, stream: &str, group: u64) {
    let event =
        |number: u64| json!({"id": format!("{group:08x}-0000-4000-8000-{number:012x}"), "type": "T", "data": {}});
    let body = json!({"events": (0..LATER).map(event).collect::<Vec<_>>()});
    server.http.post(&format!("/streams/{stream}/events"), &body).await;
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// One takeover; answers whether the first owner was stopped while it held a transaction open.
async fn round(database: &Database, folder: &Path, (moment, more): (u64, &Map<String, Value>)) -> bool {
    database.clear().await;
    let mut settings = database.settings();
    for (key, value) in more {
        settings[key] = value.clone();
    }
    std::fs::create_dir(folder.join("old")).unwrap();
    let mut old = Server::start(&folder.join("old")).await;
    Load { streams: 8, events: EVENTS }.write(old.http.clone()).await;
    old.http.post("/connectors/written", &json!({"settings": settings})).await;
    old.http.post("/connectors/written/start", &json!({"from": "earliest"})).await;
    database.has(moment).await;
    old.signal("-STOP").await;
    let was_open = database.has_open_transaction().await;
    copy(old.data(), &folder.join("new/data"));
    let mut new = Server::start(&folder.join("new")).await;
    append(&new, "load-later", 1).await;
    let rows = EVENTS + LATER;
    // A file stays locked while its owner is stopped in a transaction; a server ends such a transaction itself.
    if !was_open || database.ends_transactions() {
        database.has(rows).await;
    }
    old.signal("-CONT").await;
    // Only the new owner has the last of these: it has taken over by then, however long it waited for the lock.
    database.has(rows).await;
    append(&old, "load-stale", 2).await;
    old.reaches("written", "STOPPED").await;
    let told = old.http.get("/connectors/written").await;
    assert!(told.to_string().contains("fenced") && told.to_string().contains("newer owner"), "{told}");
    append(&new, "load-last", 3).await;
    database.has(rows + LATER).await;
    assert_eq!(database.text(ACCOUNT).await, format!("{} {} 0", rows + LATER, rows + LATER));
    old.kill().await;
    new.kill().await;
    was_open
}

async fn takeovers(database: Database, name: &str) {
    let count = number_from_environment("FOREBAY_TAKEOVERS", 3);
    let mut moments = Moments(number_from_environment("FOREBAY_SEED", 20_260_102).max(1));
    // Small transactions that take their time, so that many are stopped in the middle.
    let mut more = json!({"batching:batchSize": "5"});
    database.be_slow(&mut more).await;
    let more = more.as_object().unwrap();
    let mut open = 0;
    for _ in 0..count {
        let folder = tempfile::tempdir().unwrap();
        open += u64::from(round(&database, folder.path(), (1 + moments.next_below(EVENTS * 3 / 4), more)).await);
    }
    println!("{name}: {count} owners were stopped, {open} of them in a transaction; none of them wrote after that");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_wakes_up_writes_no_row_to_postgresql() {
    let Some(database) = Database::postgres().await else { return };
    takeovers(database, "PostgreSQL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_wakes_up_writes_no_row_to_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    takeovers(Database::sqlite(folder.path()), "SQLite").await;
}
