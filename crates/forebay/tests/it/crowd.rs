//! Many connectors on three nodes over one store, each a process of its own: all start, spread evenly, outlive the kill of a
//! node, and lose nothing. `FOREBAY_CROWD` sets how many there are; `cargo xtask bench` measures a thousand.

use std::path::Path;
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};

use crate::http::eventually;
use crate::kill::number_from_environment;
use crate::receiver::Receiver;
use crate::server::Server;

const LIMIT: Duration = Duration::from_secs(90);
const NODES: u64 = 3;
const LEASE_S: u64 = 2;
/// Events of each connector's stream before the loss of a node, and as many after it.
const EACH: u64 = 3;
const SECRET_KEY: &str = "0f0e0d0c0b0a09080706050403020100f0e0d0c0b0a090807060504030201000";

/// A node over a store, with a directory of its own.
async fn node(folder: &Path, store: &Server, number: u64) -> Server {
    let directory = folder.join(format!("node-{number}"));
    std::fs::create_dir(&directory).unwrap();
    let config = directory.join("config.toml");
    let text = format!(
        "node = \"node-{number}\"\nstore = \"esdb://{}?tls=false\"\nlease = \"{LEASE_S}s\"\nsecret_key = \"{SECRET_KEY}\"\n",
        store.address
    );
    std::fs::write(&config, text).unwrap();
    // A test's few flags live as long as its process.
    let path: &'static str = Box::leak(config.to_str().unwrap().to_owned().into_boxed_str());
    let node = Server::start_with(&directory, Box::leak(Box::new(["--config", path]))).await;
    eventually("the node is ready", LIMIT, || async {
        matches!(node.http.try_send(Method::GET, "/health/ready", None).await, Ok((200..300, _)))
    })
    .await;
    node
}

/// How many connectors a node says that it has.
async fn own_count(node: &Server) -> u64 {
    let answer = node.http.get("/nodes").await;
    let own = answer["nodes"].as_array().unwrap().iter().find(|listed| listed["isThis"] == true).unwrap();
    own["connectorCount"].as_u64().unwrap()
}

/// Waits until all connectors run, and each node has its share.
async fn all_run(nodes: &[Server], connectors: u64) {
    let running = "/connectors?state=CONNECTOR_STATE_RUNNING&pageSize=1";
    for node in nodes {
        eventually("all connectors run", LIMIT, || async { node.http.get(running).await["totalCount"] == connectors })
            .await;
    }
    let least = connectors / u64::try_from(nodes.len()).unwrap();
    eventually("they are spread evenly", LIMIT, || async {
        let mut counts = Vec::new();
        for node in nodes {
            counts.push(own_count(node).await);
        }
        counts.iter().sum::<u64>() == connectors && counts.iter().all(|count| (least..=least + 1).contains(count))
    })
    .await;
}

async fn append(store: &Server, connectors: u64, from: u64) {
    for stream in 0..connectors {
        let id = |revision: u64| format!("{stream:08x}-0000-4000-8000-{revision:012x}");
        let event = |n: u64| json!({"id": id(n), "type": "T", "data": {"n": n}});
        let events: Vec<Value> = (from..from + EACH).map(event).collect();
        store.http.post(&format!("/streams/crowd-{stream}/events"), &json!({"events": events})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connectors_on_three_nodes_outlive_one_of_them() {
    let connectors = number_from_environment("FOREBAY_CROWD", 30);
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("store")).unwrap();
    let store = Server::start(&folder.path().join("store")).await;
    let receiver = Receiver::start().await;
    receiver.fence();
    let mut nodes = Vec::new();
    for number in 0..NODES {
        nodes.push(node(folder.path(), &store, number).await);
    }
    let begun = Instant::now();
    for number in 0..connectors {
        let filter = format!("^crowd-{number}$");
        let more = [
            ("subscription:filter:scope", "stream"),
            ("subscription:filter:filterType", "regex"),
            ("subscription:filter:expression", filter.as_str()),
            ("errors:onReject", "park"),
        ];
        let index = usize::try_from(number % NODES).unwrap();
        nodes[index].connect(&format!("crowd-{number}"), &receiver.url(), &more).await;
    }
    all_run(&nodes, connectors).await;
    println!("{connectors} connectors run on {NODES} nodes after {:?}", begun.elapsed());
    append(&store, connectors, 0).await;
    receiver.has(connectors * EACH, LIMIT).await;

    let mut lost = nodes.pop().unwrap();
    receiver.arrivals().crash();
    lost.kill().await;
    let begun = Instant::now();
    append(&store, connectors, EACH).await;
    receiver.has(connectors * EACH * 2, LIMIT).await;
    println!("{connectors} connectors have gone on {:?} after a node was killed", begun.elapsed());
    all_run(&nodes, connectors).await;
    receiver.arrivals().assert_in_order();
    assert_eq!(receiver.arrivals().fresh(), connectors * EACH * 2);
    for node in &nodes {
        assert_eq!(node.http.metric("forebay_parked_records").await.unwrap_or(0.0), 0.0);
    }
}
