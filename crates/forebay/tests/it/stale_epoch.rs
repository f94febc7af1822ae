//! A receiver that remembers the highest epoch refuses an owner of the past, by the recipe of the guide: that owner waits,
//! parks nothing, and nothing is lost.
//!
//! As with `stale_owner`, the second owner works on a copy of what the first had when it was stopped: so the first never
//! learns from its store that it is an owner of the past, and only the receiver can tell it.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::eventually;
use crate::receiver::Receiver;
use crate::server::Server;
use crate::stale_owner::copy;

const LIMIT: Duration = Duration::from_secs(60);
const KEYS: u64 = 6;
/// Events of each key: one that is parked first, those that both owners have, and those that only the first has.
const BOTH: u64 = 20;
const LATER: u64 = 5;
const ID: &str = "fenced";

/// Appends events of all keys, from one revision up to another.
async fn append(server: &Server, (from, to): (u64, u64)) {
    for key in 0..KEYS {
        let id = |revision: u64| format!("{key:08x}-0000-4000-8000-{revision:012x}");
        let events: Vec<Value> = (from..to).map(|n| json!({"id": id(n), "type": "T", "data": {"n": n}})).collect();
        server.http.post(&format!("/streams/key-{key}/events"), &json!({"events": events})).await;
    }
}

async fn parked(server: &Server) -> u64 {
    server.http.get(&format!("/connectors/{ID}/parked")).await["records"].as_u64().unwrap()
}

/// The first owner has parked records and delivers others when it is stopped; the second takes over from a copy.
async fn take_over(folder: &Path, receiver: &Receiver, more: &[(&str, &str)]) -> (Server, Server) {
    let old = Server::start(&folder.join("old")).await;
    receiver.refuse_with(422);
    old.connect(ID, &receiver.url(), more).await;
    append(&old, (0, 1)).await;
    eventually("the first records are parked", LIMIT, || async { parked(&old).await == KEYS }).await;
    receiver.refuse_with(0);
    let keys = old.http.get(&format!("/connectors/{ID}/parked")).await;
    for key in keys["items"].as_array().unwrap().iter().skip(1) {
        let path = format!("/connectors/{ID}/parked/{}/replay", key["key"].as_str().unwrap());
        old.http.post(&path, &json!({})).await;
    }
    receiver.has(KEYS - 1, LIMIT).await;
    receiver.be_slow(Duration::from_millis(20));
    append(&old, (1, BOTH)).await;
    receiver.has(KEYS * BOTH / 4, LIMIT).await;
    old.signal("-STOP").await;
    receiver.be_slow(Duration::ZERO);
    copy(old.data(), &folder.join("new/data"));
    let first = receiver.epoch(ID);
    let new = Server::start(&folder.join("new")).await;
    eventually("the new owner delivers", LIMIT, || async { receiver.epoch(ID) > first }).await;
    (old, new)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_of_the_past_is_refused_by_the_receiver_and_parks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("old")).unwrap();
    let receiver = Receiver::start().await;
    receiver.fence();
    let settings = [
        ("ordering", "stream"),
        ("lanes", "1"),
        ("errors:onReject", "park"),
        ("resilience:firstDelayBound:delayMs", "50"),
    ];
    let (mut old, mut new) = take_over(folder.path(), &receiver, &settings).await;
    old.signal("-CONT").await;
    // The first owner has more to deliver, and a parked key to replay: it tries, and is refused each time.
    let before = receiver.stale();
    append(&old, (BOTH, BOTH + LATER)).await;
    let keys = old.http.get(&format!("/connectors/{ID}/parked")).await;
    let key = keys["items"][0]["key"].as_str().unwrap();
    old.http.post(&format!("/connectors/{ID}/parked/{key}/replay"), &json!({})).await;
    eventually("it was refused again and again", LIMIT, || async { receiver.stale() >= before + 5 * KEYS }).await;
    let told = old.http.get(&format!("/connectors/{ID}")).await;
    assert_eq!(told["progress"]["failing"]["class"], "status", "{told}");
    // One key was parked before; what is written to it waits behind it. No other was parked.
    assert_eq!(parked(&old).await, BOTH + LATER, "{told}");

    // The second owner has all that the first had when it was stopped; the last parked key is replayed there.
    new.http.post(&format!("/connectors/{ID}/parked/{key}/replay"), &json!({})).await;
    receiver.has(KEYS * BOTH, LIMIT).await;
    eventually("nothing is parked", LIMIT, || async { parked(&new).await == 0 }).await;
    receiver.arrivals().assert_in_order();
    assert_eq!(receiver.arrivals().fresh(), KEYS * BOTH, "nothing of the first owner came after that");
    println!("{} deliveries of the first owner were refused, none was parked", receiver.stale());
    old.kill().await;
    new.kill().await;
}
