//! Tests of a server whose events are in a cluster: here, in another server of ours.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use forebay_server::{Config, RunningServer, start};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_secs(2);
const STOP_LIMIT: Duration = Duration::from_secs(50);

fn config(data: &Path, listen: SocketAddr, store: Option<SocketAddr>) -> Config {
    let store = store.map(|address| format!("esdb://{address}?tls=false&defaultDeadline=2000").parse().unwrap());
    Config { listen, data: data.to_owned(), store, lease: LEASE, shutdown_limit: STOP_LIMIT, ..Config::default() }
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn send(address: SocketAddr, method: &str, path: &str, body: Value) -> Option<(u16, Value)> {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let request = Request::builder().method(method).uri(format!("http://{address}{path}"));
    let request = request.header("content-type", "application/json").body(Full::new(Bytes::from(text))).unwrap();
    let response = client.request(request).await.ok()?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    Some((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

async fn get(address: SocketAddr, path: &str) -> (u16, Value) {
    send(address, "GET", path, Value::Null).await.unwrap()
}

/// Asks until the answer is as wanted.
async fn becomes(address: SocketAddr, path: &str, wanted: impl Fn(u16, &Value) -> bool) -> Value {
    let asking = async {
        loop {
            if let Some((status, body)) = send(address, "GET", path, Value::Null).await
                && wanted(status, &body)
            {
                return body;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, asking).await.unwrap_or_else(|_| panic!("{path} does not become what is wanted"))
}

async fn append(address: SocketAddr, number: u64) {
    let event = json!({ "events": [{ "type": "T", "data": { "n": number } }] });
    let appended = send(address, "POST", "/streams/orders/events", event).await;
    assert_eq!(appended.unwrap().0, 200);
}

async fn free_port() -> SocketAddr {
    tokio::net::TcpListener::bind(anywhere()).await.unwrap().local_addr().unwrap()
}

/// Lines that the connector has written, in order.
async fn lines(path: &Path, count: usize) -> Vec<u64> {
    let reading = async {
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let numbers: Vec<_> = text.lines().filter_map(number).collect();
            if numbers.len() >= count {
                return numbers;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, reading).await.expect("the lines are written")
}

fn number(line: &str) -> Option<u64> {
    let record: Value = serde_json::from_str(line).ok()?;
    record.pointer("/data/n").or_else(|| record.pointer("/n"))?.as_u64()
}

async fn stop(server: RunningServer) {
    tokio::time::timeout(LIMIT, server.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_waits_for_its_store_runs_connectors_on_it_and_outlives_its_absence() {
    let (cluster_data, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (cluster_at, at) = (free_port().await, free_port().await);
    let starting = tokio::spawn(start(config(data.path(), at, Some(cluster_at))));

    // Nothing is there: alive, not ready, and why.
    becomes(at, "/health/live", |status, _| status == 204).await;
    assert_eq!(get(at, "/health/ready").await.0, 503);
    let away = |status: u16, body: &Value| status == 503 && body["store"]["unavailableSince"].is_string();
    becomes(at, "/health", away).await;
    let (status, refused) = get(at, "/connectors").await;
    assert!(status == 503 && refused["message"].as_str().unwrap().contains("the store is away since"), "{refused}");

    let cluster = start(config(cluster_data.path(), cluster_at, None)).await.unwrap();
    let server = tokio::time::timeout(LIMIT, starting).await.unwrap().unwrap().unwrap();
    assert_eq!(get(at, "/health/ready").await.0, 204);

    // What is written through this server is in the cluster, and so is what its connectors keep.
    for number in 0..3 {
        append(at, number).await;
    }
    let out = data.path().join("out.jsonl");
    let settings = json!({ "settings": {
        "instanceTypeName": "file-sink", "path": out.display().to_string(), "subscription:initialPosition": "earliest",
        "subscription:filter:scope": "stream", "subscription:filter:expression": "^orders$",
    } });
    let (status, created) = send(at, "POST", "/connectors/copying", settings).await.unwrap();
    assert_eq!(status, 200, "{created}");
    let (status, started) = send(at, "POST", "/connectors/copying/start", Value::Null).await.unwrap();
    assert_eq!(status, 200, "{started}");
    assert_eq!(lines(&out, 3).await, [0, 1, 2]);
    assert_eq!(get(cluster_at, "/streams/orders/events").await.1["lastRevision"], 2);
    let kept = get(cluster_at, "/streams/$all/events?streamPrefix=$forebay/connectors/copying&limit=1000").await.1;
    assert!(!kept["events"].as_array().unwrap().is_empty());
    assert_eq!(get(cluster_at, "/connectors").await.1["totalSize"], 0, "the other server has connectors of its own");

    // The store goes away and comes back.
    stop(cluster).await;
    let body = becomes(at, "/health", away).await;
    assert!(body["store"]["error"].as_str().unwrap().contains("away since"), "{body}");
    let remembered = &body["connectors"][0];
    assert_eq!((&remembered["id"], &remembered["parked"]), (&json!("copying"), &Value::Null), "{body}");
    assert_eq!((get(at, "/health/ready").await.0, get(at, "/health/live").await.0), (503, 204));
    // Longer than the lease: the connector has stopped by itself, and starts again by itself.
    tokio::time::timeout(LEASE * 3, std::future::pending::<()>()).await.unwrap_err();
    let cluster = start(config(cluster_data.path(), cluster_at, None)).await.unwrap();
    becomes(at, "/health/ready", |status, _| status == 204).await;
    append(cluster_at, 3).await;
    append(at, 4).await;
    assert_eq!(lines(&out, 5).await, [0, 1, 2, 3, 4], "it goes on where it was");

    // Without the store nothing can be kept, so stopping does not wait for it.
    stop(cluster).await;
    becomes(at, "/health", away).await;
    let began = std::time::Instant::now();
    stop(server).await;
    assert!(began.elapsed() < STOP_LIMIT / 2, "it took {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_data_directory_has_one_node() {
    let (cluster_data, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cluster = start(config(cluster_data.path(), anywhere(), None)).await.unwrap();
    let server = start(config(data.path(), anywhere(), Some(cluster.address()))).await.unwrap();
    let second = start(config(data.path(), anywhere(), Some(cluster.address()))).await;
    let error = second.err().unwrap().to_string();
    assert!(error.contains("is in use by another process"), "{error}");
    stop(server).await;
    stop(cluster).await;
}
