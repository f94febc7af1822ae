//! Tests with a server in a process of its own, killed in the middle: nothing acknowledged is lost, nothing repeated.
//!
//! The server is this test program itself, started again to run only the test `child`.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use forebay_event::{ExpectedRevision, ProposedEvent, Revision, StreamName};
use forebay_server::{ServeOptions, run};
use forebay_store::{
    AppendRequest, EventFilter, EventStore, FilterSubject, LogPoint, Matcher, Notice, PageLimit, SubscribeAll,
};
use tokio::sync::watch;
use uuid::Uuid;

use crate::node::{LIMIT, store_at};

/// Tells the test program that it is the server.
const CHILD_DATA: &str = "STORE_UNDER_TEST_DATA";
const CHILD_LISTEN: &str = "STORE_UNDER_TEST_LISTEN";

/// Not a test of its own: the server, when the test program was started as one.
#[test]
fn child() {
    let Ok(data) = std::env::var(CHILD_DATA) else { return };
    let listen = std::env::var(CHILD_LISTEN).ok();
    run(&ServeOptions { data: Some(data.into()), listen, ..ServeOptions::default() });
}

fn spawn(data: &Path, listen: SocketAddr) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::child", "--nocapture"])
        .env(CHILD_DATA, data)
        .env(CHILD_LISTEN, listen.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Appends one event after the other, each exactly behind the last, and tells how many were acknowledged.
async fn write_on(address: SocketAddr, stream: StreamName, acknowledged: watch::Sender<u64>, events: u64) {
    let store = store_at(address);
    for number in 0..events {
        let expected = number
            .checked_sub(1)
            .map_or(ExpectedRevision::NoStream, |last| ExpectedRevision::Exact(Revision::new(last)));
        // Every other append is without a condition, and is found again by its id alone.
        let expected = if number % 2 == 0 { expected } else { ExpectedRevision::Any };
        let event = ProposedEvent::json(Uuid::new_v4(), "Happened", "{}");
        loop {
            let (stream, events) = (stream.clone(), vec![event.clone()]);
            match store.append(AppendRequest { stream, expected, events }).await {
                Ok(appended) => {
                    assert_eq!(appended.last_revision, Some(Revision::new(number)), "made once");
                    break;
                }
                Err(forebay_store::AppendError::Unavailable { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        acknowledged.send_replace(number + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_the_server_costs_neither_writer_nor_reader_anything() {
    const ROUNDS: u64 = 4;
    const EVENTS: u64 = 100 * ROUNDS;
    let all: Vec<_> = (0..EVENTS).collect();
    let count = all.len();
    let data = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut server = spawn(data.path(), address);
    let stream = StreamName::new("s").unwrap();
    let (acknowledged, mut written) = watch::channel(0);
    let writing = tokio::spawn(write_on(address, stream, acknowledged, EVENTS));

    let store = store_at(address);
    store.connected().await.unwrap();
    let filter = EventFilter::Where(FilterSubject::Stream, Matcher::Prefixes(vec!["s".to_owned()]));
    let limit = PageLimit { events: 7, bytes: 1 << 20 };
    let subscribe = SubscribeAll { from: LogPoint::Start, filter, limit, checkpoint_every: 5 };
    let mut subscription = store.subscribe_all(subscribe).await.unwrap();
    let reading = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.len() < count {
            let notice = tokio::time::timeout(LIMIT * 2, subscription.next()).await.expect("it goes on").unwrap();
            if let Notice::Events(events) = notice {
                seen.extend(events.iter().map(|event| event.revision().get()));
            }
        }
        seen
    });
    for round in 1..ROUNDS {
        written.wait_for(|count| *count >= round * EVENTS / ROUNDS).await.unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
        server = spawn(data.path(), address);
    }
    writing.await.unwrap();
    assert_eq!(reading.await.unwrap(), all);
    server.kill().unwrap();
    server.wait().unwrap();
}
