//! Tests of a whole server over real sockets: both protocols, connectors, stopping, starting again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use forebay_server::{Config, RunningServer, StartError, start};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

type HttpClient = Client<HttpConnector, Full<Bytes>>;

fn config(data: &Path) -> Config {
    let listen = "127.0.0.1:0".parse().unwrap();
    Config { listen, data: data.to_owned(), shutdown_limit: Duration::from_secs(10), ..Config::default() }
}

fn http1() -> HttpClient {
    Client::builder(TokioExecutor::new()).build_http()
}

fn http2() -> HttpClient {
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

async fn send_as(
    client: &HttpClient,
    server: &RunningServer,
    method: &str,
    path: &str,
    (media, body): (&str, String),
) -> (u16, String) {
    let uri = format!("http://{}{path}", server.address());
    let request = Request::builder().method(method).uri(uri).header("content-type", media);
    let response = client.request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn send(server: &RunningServer, method: &str, path: &str, body: Value) -> (u16, Value) {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let (status, body) = send_as(&http1(), server, method, path, ("application/json", text)).await;
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

async fn get(server: &RunningServer, path: &str) -> (u16, Value) {
    send(server, "GET", path, Value::Null).await
}

async fn state_becomes(server: &RunningServer, id: &str, state: &str) -> Value {
    becomes(server, id, |view| view["state"] == state).await
}

async fn becomes(server: &RunningServer, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let wait = async {
        loop {
            let (_, view) = get(server, &format!("/connectors/{id}")).await;
            if is_so(&view) {
                return view;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the state is reached")
}

fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_are_served_on_one_port() {
    let data = tempfile::tempdir().unwrap();
    let server = start(config(data.path())).await.unwrap();
    let event = json!({ "events": [{ "type": "T", "data": { "n": 1 } }] }).to_string();
    let media = "application/json";
    let (status, _) = send_as(&http2(), &server, "POST", "/streams/s/events", (media, event)).await;
    assert_eq!(status, 200);
    let (status, page) = send_as(&http2(), &server, "GET", "/streams/s/events", ("", String::new())).await;
    assert!(status == 200 && page.contains("{\"n\":1}"), "{page}");
    let address = server.address();
    let answer = tokio::task::spawn_blocking(move || {
        let head = "POST /streams/s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nES-EventType: T\r\n";
        raw(address, &format!("{head}Content-Length: 2\r\nConnection: close\r\n\r\n{{}}"))
    });
    let answer = answer.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201") && answer.contains("http://x/streams/s/1"), "{answer}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_appended_is_there_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let server = start(config(data.path())).await.unwrap();
    let body = json!({ "events": [{ "type": "T", "data": 1 }] });
    assert_eq!(send(&server, "POST", "/streams/s/events", body).await.0, 200);
    server.shutdown().await;
    let server = start(config(data.path())).await.unwrap();
    assert_eq!(get(&server, "/streams/s/events").await.1["events"][0]["data"], 1);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_port_or_directory_is_refused_in_one_line() {
    let data = tempfile::tempdir().unwrap();
    let server = start(config(data.path())).await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let same_port = Config { listen: server.address(), ..config(other.path()) };
    let Err(error) = start(same_port).await else { panic!("the port is in use") };
    assert!(error.to_string().starts_with(&format!("cannot listen on {}: ", server.address())), "{error}");
    let Err(error) = start(config(data.path())).await else { panic!("the directory is in use") };
    assert!(error.to_string().ends_with("is in use by another process"), "{error}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_subscriptions_and_does_not_wait_for_clients() {
    let data = tempfile::tempdir().unwrap();
    let server = start(config(data.path())).await.unwrap();
    let uri = format!("http://{}/streams/$all/subscribe", server.address()).parse().unwrap();
    let mut followed = http1().get(uri).await.unwrap();
    let first = followed.body_mut().frame().await.unwrap().unwrap();
    assert!(!first.into_data().unwrap().is_empty());
    let silent = TcpStream::connect(server.address()).unwrap();
    tokio::time::timeout(Duration::from_secs(20), server.shutdown()).await.expect("it stops within its limits");
    while let Some(frame) = followed.body_mut().frame().await {
        assert!(frame.is_ok(), "the answer ends in order");
    }
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn operation_is_told() {
    let data = tempfile::tempdir().unwrap();
    let server = start(config(data.path())).await.unwrap();
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(get(&server, path).await.0, 204, "{path}");
    }
    assert_eq!(get(&server, "/health/live?liveCode=200").await.0, 200);
    assert_eq!(get(&server, "/health/live?liveCode=500").await.0, 400);
    let (_, info) = get(&server, "/info").await;
    assert_eq!((&info["state"], &info["features"]["connectors"]), (&json!("leader"), &json!(true)));
    assert_eq!(get(&server, "/health").await.1["status"], "ok");
    let info = get(&server, "/info").await.1;
    assert_eq!((&info["esVersion"], info["dbVersion"] != info["esVersion"]), (&json!("24.10.0"), true), "{info}");
    let ping = get(&server, "/ping").await.1;
    assert!(ping["text"] == "Ping request successfully handled" && ping["msgTypeId"].is_number(), "{ping}");
    let (_, stats) = get(&server, "/stats").await;
    assert_eq!((&stats["connectors"]["total"], stats["proc"]["id"].is_u64()), (&json!(0), true), "{stats}");
    let (_, gossip) = get(&server, "/gossip").await;
    let member = &gossip["members"][0];
    assert_eq!((&member["state"], &member["isAlive"]), (&json!("Leader"), &json!(true)), "{gossip}");
    assert_eq!(
        (&member["httpEndPointIp"], &gossip["serverPort"]),
        (&json!("127.0.0.1"), &json!(server.address().port()))
    );
    let (_, nodes) = get(&server, "/nodes").await;
    let alone = &nodes["nodes"][0];
    assert_eq!(
        (&alone["state"], &alone["isLeader"], &nodes["nodes"][1]),
        (&json!("active"), &json!(true), &Value::Null)
    );
    let (status, metrics) = get(&server, "/metrics").await;
    assert!(status == 200 && metrics.as_str().unwrap().ends_with("# EOF\n"));
    assert_eq!(get(&server, "/openapi.json").await.1["openapi"], "3.1.0");
    let (status, refused) = get(&server, "/nowhere").await;
    assert_eq!((status, &refused["code"]), (404, &json!(5)));
    assert_eq!(send(&server, "PATCH", "/connectors", Value::Null).await.0, 405);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_lives_its_life_over_http() {
    let data = tempfile::tempdir().unwrap();
    let server = start(config(data.path())).await.unwrap();
    let settings = json!({ "instanceTypeName": "console-sink", "subscription:initialPosition": "earliest" });
    let create = json!({ "name": "My own", "settings": settings });
    assert_eq!(send(&server, "POST", "/connectors/my-own", create.clone()).await, (200, json!({})));
    assert_eq!(send(&server, "POST", "/connectors/my-own", create).await.0, 409);
    let (_, view) = get(&server, "/connectors/my-own").await;
    assert_eq!((&view["state"], &view["name"]), (&json!("CONNECTOR_STATE_STOPPED"), &json!("My own")));
    assert_eq!(view["settings"]["instanceTypeName"], "console-sink");
    let (_, nested) = get(&server, "/connectors/my-own/configuration").await;
    assert_eq!(nested["configuration"]["subscription"]["initialPosition"], "earliest");

    assert_eq!(send(&server, "POST", "/connectors/my-own/start", Value::Null).await.0, 200);
    let running = state_becomes(&server, "my-own", "CONNECTOR_STATE_RUNNING").await;
    assert!(running["progress"].is_object(), "{running}");
    assert_eq!(send(&server, "POST", "/connectors/my-own/start", Value::Null).await.0, 409);
    assert_eq!(send(&server, "DELETE", "/connectors/my-own", Value::Null).await.0, 409);
    assert_eq!(send(&server, "PUT", "/connectors/my-own/rename", json!({ "name": "Other" })).await.0, 200);
    let (_, list) = get(&server, "/connectors?includeSettings=true&state=CONNECTOR_STATE_RUNNING").await;
    assert_eq!((&list["totalSize"], &list["totalCount"]), (&json!(1), &json!(1)));
    assert_eq!(list["items"][0]["name"], "Other");
    assert_eq!(send(&server, "POST", "/connectors/my-own/stop", Value::Null).await.0, 200);
    state_becomes(&server, "my-own", "CONNECTOR_STATE_STOPPED").await;
    assert_eq!(send(&server, "DELETE", "/connectors/my-own", Value::Null).await.0, 200);
    assert_eq!(send(&server, "POST", "/connectors/my-own/start", Value::Null).await.0, 404);
    assert_eq!(get(&server, "/connectors").await.1["totalSize"], 0);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_are_told_over_http() {
    let data = tempfile::tempdir().unwrap();
    let server = start(config(data.path())).await.unwrap();
    // Nobody listens there, and nothing is sent: the way is open once the shards have looked.
    let target = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = json!({ "instanceTypeName": "http-sink", "url": format!("http://{}", target.local_addr().unwrap()),
        "subscription:initialPosition": "earliest", "subscription:shards": "3", "ordering": "all" });
    let (status, answer) = send(&server, "POST", "/connectors/spread", json!({ "settings": settings })).await;
    assert!(status == 400 && answer.to_string().contains("as ordering is all"), "{answer}");
    let mut settings = settings;
    settings["ordering"] = json!("stream");
    assert_eq!(send(&server, "POST", "/connectors/spread", json!({ "settings": settings })).await.0, 200);
    assert!(get(&server, "/connectors/spread").await.1["shards"].is_null());
    assert_eq!(send(&server, "POST", "/connectors/spread/start", Value::Null).await.0, 200);
    let view = becomes(&server, "spread", |view| {
        // Each shard is shown as its node has it, which may be a moment behind what was recorded.
        let shards = view["shards"].as_array().map(Vec::as_slice).unwrap_or_default();
        let all = shards.iter().all(|shard| shard["state"] == "CONNECTOR_STATE_RUNNING");
        view["state"] == "CONNECTOR_STATE_RUNNING" && all
    })
    .await;
    let shards = view["shards"].as_array().unwrap();
    assert_eq!(shards.iter().map(|shard| shard["shard"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    for shard in shards {
        assert_eq!((&shard["state"], &shard["generation"]), (&json!("CONNECTOR_STATE_RUNNING"), &json!(1)), "{shard}");
        assert!(shard["nodeId"].is_string() && shard["progress"].is_object() && shard["lag"].is_u64(), "{shard}");
    }
    let nodes = get(&server, "/nodes").await.1["nodes"][0]["connectors"].clone();
    assert!(nodes.as_object().unwrap().keys().eq(["spread/1.0", "spread/1.1", "spread/1.2"]), "{nodes}");
    let (_, parked) = get(&server, "/connectors/spread/parked").await;
    assert_eq!(parked["records"], 0);
    assert_eq!(send(&server, "POST", "/connectors/spread/stop", Value::Null).await.0, 200);
    state_becomes(&server, "spread", "CONNECTOR_STATE_STOPPED").await;
    assert_eq!(send(&server, "DELETE", "/connectors/spread", Value::Null).await.0, 200);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_commands_are_refused_as_documented() {
    let data = tempfile::tempdir().unwrap();
    let server = start(config(data.path())).await.unwrap();
    let kind = json!({ "settings": { "instanceTypeName": "no-such-sink" } });
    for (method, path, body, expected) in [
        ("POST", "/connectors/x", json!({ "settings": { "instanceTypeName": "console-sink" } }), 400),
        ("POST", "/connectors/unknown-kind", kind, 400),
        ("POST", "/connectors/no-kind", json!({}), 400),
        ("POST", "/connectors/no-one/start", Value::Null, 404),
        ("POST", "/connectors/no-one/start/12x", Value::Null, 400),
        ("POST", "/connectors/no-one/stop", Value::Null, 404),
        ("PUT", "/connectors/no-one/settings", json!({ "instanceTypeName": "console-sink" }), 404),
        ("GET", "/connectors/no-one", Value::Null, 404),
        ("GET", "/connectors/no-one/settings", Value::Null, 404),
        ("GET", "/connectors?page=0", Value::Null, 400),
        ("GET", "/connectors?paging.pageSize=101", Value::Null, 400),
        ("GET", "/connectors?state=RUNNING", Value::Null, 400),
        ("GET", "/kinds/no-such-kind", Value::Null, 404),
    ] {
        let (status, answer) = send(&server, method, path, body).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
        assert!(answer["code"].is_u64() && answer["message"].is_string(), "{method} {path}: {answer}");
    }
    let wrong = json!({ "settings": { "instanceTypeName": "console-sink", "subscription:initialPositon": "x" } });
    let (_, answer) = send(&server, "POST", "/connectors/wrong-key", wrong).await;
    let violation = &answer["details"][0]["fieldViolations"][0];
    assert_eq!(violation["field"], "subscription:initialPositon", "{answer}");
    assert!(violation["description"].as_str().unwrap().contains("initialPosition"), "{answer}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_preview_api_speaks_its_older_words() {
    let data = tempfile::tempdir().unwrap();
    let server = start(config(data.path())).await.unwrap();
    let create = json!({ "Sink": "console://", "Enable": false, "CheckpointInterval": 5 });
    let (status, answer) = send(&server, "POST", "/connectors/older", create.clone()).await;
    assert_eq!((status, answer), (200, json!("")));
    assert_eq!(send(&server, "POST", "/connectors/older", create).await.0, 200, "the same again is a success");
    let other = json!({ "sink": "http://x.test/", "enable": false });
    let (status, text) = send(&server, "POST", "/connectors/older", other).await;
    assert_eq!((status, text), (400, json!("Connector already exists")));
    let (_, list) = get(&server, "/connectors/list").await;
    assert_eq!((&list[0]["sink"], &list[0]["enabled"]), (&json!("console://"), &json!(false)));
    assert_eq!(list[0]["checkpointConfig"]["interval"], 5);
    assert_eq!(send(&server, "POST", "/connectors/older/enable", Value::Null).await.0, 200);
    state_becomes(&server, "older", "CONNECTOR_STATE_RUNNING").await;
    assert_eq!(send(&server, "POST", "/connectors/older/enable", Value::Null).await.0, 200);
    assert_eq!(get(&server, "/connectors/activeOnNode").await.1, json!(["older"]));
    let reset = json!({ "CommitPosition": 1, "PreparePosition": 1 });
    assert_eq!(send(&server, "POST", "/connectors/older/reset", reset.clone()).await.0, 200);
    state_becomes(&server, "older", "CONNECTOR_STATE_RUNNING").await;
    assert_eq!(send(&server, "POST", "/connectors/older/disable", Value::Null).await.0, 200);
    let (status, text) = send(&server, "POST", "/connectors/nobody/enable", Value::Null).await;
    assert_eq!((status, text), (400, json!("Connector does not exist")));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_applied_at_start_and_over_http() {
    let data = tempfile::tempdir().unwrap();
    let files = tempfile::tempdir().unwrap();
    let yaml = "connectors:\n  - id: declared\n    state: running\n    startFrom: earliest\n    settings:\n      instanceTypeName: console-sink\n";
    let path = files.path().join("all.yaml");
    std::fs::write(&path, yaml).unwrap();
    let with_files = || Config { connectors: vec![files.path().to_owned()], ..config(data.path()) };
    let server = start(with_files()).await.unwrap();
    state_becomes(&server, "declared", "CONNECTOR_STATE_RUNNING").await;
    let media = ("application/yaml", yaml.to_owned());
    let (status, changes) = send_as(&http1(), &server, "POST", "/apply?dryRun=true", media).await;
    assert_eq!(status, 200, "{changes}");
    let changes: Value = serde_json::from_str(&changes).unwrap();
    assert_eq!((&changes["changes"][0]["id"], &changes["changes"][0]["actions"]), (&json!("declared"), &json!([])));
    assert_eq!(send_as(&http1(), &server, "POST", "/apply", ("text/plain", String::new())).await.0, 415);
    server.shutdown().await;

    std::fs::write(&path, "connectors: [").unwrap();
    let Err(error) = start(with_files()).await else { panic!("the file is wrong") };
    assert!(matches!(error, StartError::Declared(_)) && error.to_string().contains("all.yaml"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_cannot_manage_connectors() {
    let data = tempfile::tempdir().unwrap();
    let server = start(config(data.path())).await.unwrap();
    let client = http1();
    let from = |origin: String| {
        let uri = format!("http://{}/connectors", server.address());
        let request = Request::builder().uri(uri).header("origin", origin).body(Full::default()).unwrap();
        let answer = client.request(request);
        async { answer.await.unwrap().status().as_u16() }
    };
    assert_eq!(from("http://evil.test".to_owned()).await, 403);
    assert_eq!(from("null".to_owned()).await, 403);
    assert_eq!(from(format!("http://{}", server.address())).await, 200);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_to_this_machine_does_not_manage_it() {
    let data = tempfile::tempdir().unwrap();
    let config = Config { trusted_hosts: vec!["proxy.test".to_owned()], ..config(data.path()) };
    let server = start(config).await.unwrap();
    let (client, port) = (http1(), server.address().port());
    let ask = |path: &str, (header, value): (&str, String)| {
        let uri = format!("http://{}{path}", server.address());
        let request = Request::builder().uri(uri).header(header, value).body(Full::default()).unwrap();
        let answer = client.request(request);
        async { answer.await.unwrap().status().as_u16() }
    };
    let as_host = |path: &str, host: String| ask(path, ("host", host));
    assert_eq!(as_host("/connectors", format!("rebound.test:{port}")).await, 403);
    assert_eq!(as_host("/connectors", "Proxy.test".to_owned()).await, 200, "a proxy of which the operator has said so");
    assert_eq!(ask("/connectors", ("origin", "https://proxy.test".to_owned())).await, 200);
    assert_eq!(ask("/connectors", ("origin", "https://proxy.test.evil.test".to_owned())).await, 403);
    assert_eq!(as_host("/connectors", format!("localhost:{port}")).await, 200);
    assert_eq!(as_host("/health", format!("rebound.test:{port}")).await, 200, "only managing is guarded");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_are_described_and_previews_touch_no_sink() {
    let data = tempfile::tempdir().unwrap();
    let server = start(config(data.path())).await.unwrap();
    let (_, kinds) = get(&server, "/kinds").await;
    assert!(kinds.as_array().unwrap().iter().any(|kind| kind["name"] == "http-sink"));
    let (_, kind) = get(&server, "/kinds/http-sink").await;
    assert!(kind["settings"].as_array().unwrap().iter().any(|setting| setting["key"] == "url"), "{kind}");
    assert!(kind["shared"].as_array().unwrap().iter().any(|one| one["key"] == "subscription:filter:expression"));
    let events: Vec<_> = (0..4).map(|n| json!({ "type": "T", "data": { "n": n } })).collect();
    send(&server, "POST", "/streams/numbers-1/events", json!({ "events": events })).await;
    let settings = json!({ "instanceTypeName": "http-sink", "url": "http://127.0.0.1:1/",
        "subscription:filter:scope": "record", "subscription:filter:filterType": "jsonPath",
        "subscription:filter:expression": "$[?($.value.n > 1)]" });
    let (status, report) = send(&server, "POST", "/preview", json!({ "settings": settings, "last": 4 })).await;
    assert_eq!((status, &report["matched"], &report["skipped"]), (200, &json!(2), &json!(2)), "{report}");
    assert_eq!(report["samples"][0]["data"], json!({ "n": 2 }));
    let wrong = json!({ "settings": { "instanceTypeName": "http-sink" }, "lst": 4 });
    assert_eq!(send(&server, "POST", "/preview", wrong).await.0, 400);
    server.shutdown().await;
}
