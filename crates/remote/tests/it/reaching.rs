//! Tests of finding the leader: told by members, told by a node that does not lead, not there yet.

use std::sync::atomic::Ordering;

use forebay_event::{ExpectedRevision, Position, ProposedEvent, StreamName};
use forebay_remote::{NodeAddress, RemoteStore};
use forebay_store::{
    AppendRequest, EventFilter, EventStore, LogPoint, Notice, PageLimit, SubscribeAll, SubscribeError,
};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::fake::FakeNode;
use crate::node::{LIMIT, Node, clock, store_at};

fn connect(settings: &str) -> RemoteStore {
    RemoteStore::connect(settings.parse().unwrap(), clock()).unwrap()
}

async fn append(store: &RemoteStore) {
    let (stream, expected) = (StreamName::new("s").unwrap(), ExpectedRevision::Any);
    let events = vec![ProposedEvent::json(Uuid::new_v4(), "Happened", "{}")];
    let appending = store.append(AppendRequest { stream, expected, events });
    tokio::time::timeout(LIMIT, appending).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn members_say_who_leads() {
    let mut node = Node::start().await;
    let fake = FakeNode::start(node.address).await;
    // One of the hosts is not there; that is found out and passed over.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for hosts in [format!("esdb+discover://{}", fake.address), format!("esdb://{gone},{}", fake.address)] {
        let store = connect(&format!("{hosts}?tls=false"));
        append(&store).await;
        let server = store.server().unwrap();
        let leader = NodeAddress { host: "127.0.0.1".to_owned(), port: node.address.port() };
        assert_eq!((&server.node, server.version.is_some()), (&leader, true));
    }
    assert!(fake.headers.lock().unwrap().is_empty(), "the follower was asked for members only");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_lead_sends_us_to_the_one_that_does() {
    let mut node = Node::start().await;
    let fake = FakeNode::start(node.address).await;
    let store = connect(&format!("esdb://me:secret@{}?tls=false&connectionName=forebay-1", fake.address));
    append(&store).await;
    assert_eq!(store.server().unwrap().node.port, node.address.port());
    let headers = fake.headers.lock().unwrap().first().cloned().unwrap();
    let header = |name| headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(header("requires-leader"), Some("true"));
    assert_eq!(header("connection-name"), Some("forebay-1"));
    assert_eq!(header("authorization"), Some("Basic bWU6c2VjcmV0"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_read_from_the_preferred_node_and_nothing_else_does() {
    let mut node = Node::start().await;
    let fake = FakeNode::start(node.address).await;
    for (preference, reads) in [("follower", 1), ("leader", 0)] {
        fake.reads.store(0, Ordering::SeqCst);
        let store = connect(&format!("esdb+discover://{}?tls=false&nodePreference={preference}", fake.address));
        append(&store).await;
        let (from, filter) = (LogPoint::Start, EventFilter::ExcludeSystem);
        let subscribe = SubscribeAll { from, filter, limit: PageLimit::events(10), checkpoint_every: 10 };
        let mut subscription = store.subscribe_all(subscribe).await.unwrap();
        while !matches!(subscription.next().await.unwrap(), Notice::CaughtUp { .. }) {}
        append(&store).await;
        while !matches!(subscription.next().await.unwrap(), Notice::Events(_)) {}
        assert_eq!(fake.reads.load(Ordering::SeqCst), reads, "{preference}");
    }
    assert!(fake.headers.lock().unwrap().is_empty(), "nothing that needs the leader is asked of the follower");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_behind_the_end_is_refused_once_the_log_grows_there_again() {
    let mut node = Node::start().await;
    let fake = FakeNode::start(node.address).await;
    let store = connect(&format!("esdb+discover://{}?tls=false&nodePreference=follower", fake.address));
    append(&store).await;
    let end = store.head().await.unwrap().unwrap();
    let from = Position::new(end.commit() + 2);
    let subscribe = |position| {
        let (from, filter) = (LogPoint::At(position), EventFilter::ExcludeSystem);
        SubscribeAll { from, filter, limit: PageLimit::events(10), checkpoint_every: 10 }
    };
    // Two places behind the end: as if there were records that nobody may read.
    let mut subscription = store.subscribe_all(subscribe(from)).await.unwrap();
    assert!(matches!(subscription.next().await.unwrap(), Notice::CaughtUp { position } if position == Some(from)));
    append(&store).await;
    let rewound = tokio::time::timeout(LIMIT, subscription.next()).await.unwrap();
    assert!(
        matches!(rewound, Err(SubscribeError::BehindEnd { from: named, end: told }) if named == from && told == end),
        "{rewound:?}"
    );
    // Once the log has grown beyond the place, nothing is wrong with it.
    append(&store).await;
    append(&store).await;
    let mut subscription = store.subscribe_all(subscribe(from)).await.unwrap();
    let Notice::Events(events) = subscription.next().await.unwrap() else { panic!() };
    assert_eq!(events.first().map(forebay_event::RecordedEvent::position), Some(Position::new(from.commit() + 1)));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_there_yet_is_waited_for() {
    let mut node = Node::start().await;
    node.stop().await;
    let store = store_at(node.address);
    let appending = tokio::spawn({
        let store = store.clone();
        async move { append(&store).await }
    });
    while !store.outage().is_some_and(|away| away.reason.contains("cannot be reached")) {
        tokio::task::yield_now().await;
    }
    node.resume().await;
    appending.await.unwrap();
    assert_eq!(store.outage(), None);
    node.stop().await;
}
