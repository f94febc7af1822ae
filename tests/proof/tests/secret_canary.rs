//! The canary: secrets given to a whole server appear in no log, no answer, no metric, no stream and no parked record.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use forebay_connector::settings::SettingsMap;
use forebay_runtime::settings::shared_descriptions;
use forebay_server::{Config, start};
use serde_json::{Map, Value, json};
use tracing_subscriber::filter::LevelFilter;

const CANARY: &str = "c4n4ry";
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Asks over a socket of its own; answers the whole answer, head included.
fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = Vec::new();
    // A subscription does not end; what came until the limit is looked at.
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

/// A target that refuses each request and tells all that it was sent.
fn echoing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut sent = vec![0; 16 * 1024];
            let length = stream.read(&mut sent).unwrap_or(0);
            let head = format!("HTTP/1.1 400 No\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
            drop(stream.write_all(&[head.as_bytes(), &sent[..length]].concat()));
        }
    });
    address
}

fn secret(number: usize) -> String {
    format!("{CANARY}{number:04}{}", "QmFzZTY0".repeat(4))
}

/// Every way to give a secret: the keys that are marked, headers, and URLs that hold one.
fn settings(url: &str) -> Vec<Map<String, Value>> {
    let base = |kind: &str| {
        let mut map = Map::new();
        map.insert("instanceTypeName".into(), kind.into());
        map.insert("subscription:initialPosition".into(), "earliest".into());
        map.insert("errors:onReject".into(), "park".into());
        map
    };
    let mut all = Vec::new();
    let mut number = 0;
    for kind in forebay_sinks::catalog().kinds() {
        for described in (kind.settings)().iter().chain(&shared_descriptions()).filter(|described| described.secret) {
            number += 1;
            let mut map = base(kind.name);
            map.insert("url".into(), url.into());
            map.insert(described.key.replace('*', "Authorization"), secret(number).into());
            all.push(map);
        }
    }
    for (method, key) in [("Basic", "authentication:basic:password"), ("Bearer", "authentication:bearer:token")] {
        number += 1;
        let mut map = base("http-sink");
        map.insert("url".into(), url.into());
        map.insert("authentication:method".into(), method.into());
        map.insert("authentication:basic:username".into(), "user".into());
        map.insert(key.into(), secret(number).into());
        map.insert("defaultHeaders:Authorization-Extra".into(), "plain".into());
        all.push(map);
    }
    for header in ["Authorization", "X-Api-Key"] {
        number += 1;
        let mut map = base("http-sink");
        map.insert("url".into(), url.into());
        map.insert(format!("defaultHeaders:{header}"), format!("Bearer {}", secret(number)).into());
        all.push(map);
    }
    for url in ["http://user:SECRET@127.0.0.1:1/", "https://SECRET@127.0.0.1:1/x", "amqp://user:SECRET@127.0.0.1/"] {
        number += 1;
        let mut map = base("http-sink");
        map.insert("url".into(), url.replace("SECRET", &secret(number)).into());
        all.push(map);
    }
    number += 1;
    let mut unknown = base("http-sink");
    unknown.insert("url".into(), url.into());
    unknown.insert("authentication:basic:pasword".into(), secret(number).into());
    all.push(unknown);
    all
}

fn check(place: &str, text: &str) {
    let Some(at) = text.find(CANARY) else { return };
    let around: String = text.chars().skip(text[..at].chars().count().saturating_sub(160)).take(260).collect();
    panic!("a secret appears in {place}: {around}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_appear_nowhere() {
    tracing_subscriber::fmt().with_ansi(false).with_max_level(LevelFilter::TRACE).with_writer(|| Log).init();
    let data = tempfile::tempdir().unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let server = start(Config { listen, data: data.path().to_owned(), ..Config::default() }).await.unwrap();
    let address = server.address();
    let walked = tokio::task::spawn_blocking(move || walk(address));
    let places = walked.await.unwrap();
    server.shutdown().await;
    assert!(places > 40, "only {places} places were looked at");
    check("the log", &String::from_utf8_lossy(&LOG.lock().unwrap()));
}

/// The preview's way to create takes a URI; one with a name and a password is refused and not told again.
fn refused_uris(address: SocketAddr) -> usize {
    let uris = [
        "amqp://user:SECRET@127.0.0.1/",
        "SECRET://user@127.0.0.1/",
        "user:SECRET@127.0.0.1",
        "console://user:SECRET@127.0.0.1",
        "http://user:SECRET@127.0.0.1:1/",
        "https://SECRET@127.0.0.1:1/x",
        "http://user:SECRET@[::1/",
    ];
    for (number, uri) in uris.iter().enumerate() {
        let body = json!({ "sink": uri.replace("SECRET", &secret(9000 + number)), "enable": true }).to_string();
        let id = format!("uri-{number}");
        let answer = ask(address, "POST", &format!("/connectors/{id}"), &body);
        assert!(answer.starts_with("HTTP/1.1 400"), "{uri}: {answer}");
        check(&format!("the refusal of {uri}"), &answer);
        check("the list of the preview", &ask(address, "GET", "/connectors/list", ""));
    }
    2 * uris.len()
}

fn walk(address: SocketAddr) -> usize {
    let events = json!({ "events": [{ "type": "T", "data": { "n": 1 } }] }).to_string();
    ask(address, "POST", "/streams/canary-1/events", &events);
    let url = format!("http://{}/", echoing());
    let mut places = 0;
    let mut ids = Vec::new();
    for (number, settings) in settings(&url).into_iter().enumerate() {
        let id = format!("canary-{number}");
        let pairs = settings.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()));
        check("a debug print", &format!("{:?}", SettingsMap::from_flat(pairs)));
        let body = json!({ "settings": settings }).to_string();
        let created = ask(address, "POST", &format!("/connectors/{id}"), &body);
        check(&format!("the answer to creating {settings:?} ({id})").replace(CANARY, "…"), &created);
        check("the answer to a preview", &ask(address, "POST", "/preview", &body));
        check(
            "the answer to a reconfiguration",
            &ask(address, "PUT", &format!("/connectors/{id}/settings"), &json!(settings).to_string()),
        );
        places += 4;
        if created.starts_with("HTTP/1.1 200") {
            check("the answer to a start", &ask(address, "POST", &format!("/connectors/{id}/start"), ""));
            ids.push(id);
        }
    }
    places += refused_uris(address);
    assert!(ids.len() >= 4, "too few connectors were taken");
    for id in &ids {
        let delivered = || ask(address, "GET", &format!("/connectors/{id}"), "");
        let mut view = delivered();
        for _ in 0..200 {
            if view.contains("\"parked\":1") || view.contains("RUNNING") || view.contains("FAILED") {
                break;
            }
            view = delivered();
        }
        for suffix in ["", "/checkpoints", "/lifecycle", "/leases", "/parked"] {
            let stream = format!("%24connectors%2F{id}{}", suffix.replace('/', "%2F"));
            check("a stream of a connector", &ask(address, "GET", &format!("/streams/{stream}/events"), ""));
            check("a feed of a connector", &ask(address, "GET", &format!("/streams/{stream}?embed=body"), ""));
            places += 2;
        }
    }
    let document = ask(address, "GET", "/openapi.json", "");
    let (_, document) = document.split_once("\r\n\r\n").unwrap();
    let start = document.find('{').unwrap();
    let end = document.rfind('}').unwrap();
    let document: Value = serde_json::from_str(&document[start..=end]).unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        if methods.get("get").is_some() && !path.contains("subscribe") {
            for id in ids.iter().take(4) {
                let mut path = path.clone();
                while let (Some(open), Some(close)) = (path.find('{'), path.find('}')) {
                    path.replace_range(open..=close, id);
                }
                check(&path, &ask(address, "GET", &path, ""));
                places += 1;
            }
        }
    }
    check("metrics", &ask(address, "GET", "/metrics", ""));
    check("the list", &ask(address, "GET", "/connectors?includeSettings=true", ""));
    check("all events", &ask(address, "GET", "/streams/%24all/events", ""));
    places
}
