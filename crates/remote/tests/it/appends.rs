//! Tests of appends whose answer, or whose request, is lost on the way: made exactly once.

use std::time::Duration;

use forebay_event::{ExpectedRevision, ProposedEvent, Revision, StreamName};
use forebay_remote::RemoteStore;
use forebay_store::{
    AppendError, AppendRequest, Appended, Direction, EventStore, PageLimit, ReadError, ReadStream, StreamPoint,
};
use uuid::Uuid;

use crate::node::{LIMIT, Node, impatient_store_at, store_at};
use crate::proxy::{Passing, Proxy};

const CONDITIONS: [ExpectedRevision; 4] = [
    ExpectedRevision::Any,
    ExpectedRevision::StreamExists,
    ExpectedRevision::NoStream,
    ExpectedRevision::Exact(Revision::FIRST),
];

fn events(count: usize) -> Vec<ProposedEvent> {
    (0..count).map(|_| ProposedEvent::json(Uuid::new_v4(), "Happened", "{}")).collect()
}

async fn append(
    store: &RemoteStore,
    stream: &StreamName,
    expected: ExpectedRevision,
    events: Vec<ProposedEvent>,
) -> Result<Appended, AppendError> {
    store.append(AppendRequest { stream: stream.clone(), expected, events }).await
}

async fn ids(store: &RemoteStore, stream: &StreamName) -> Vec<Uuid> {
    let (direction, from, limit) = (Direction::Forward, StreamPoint::Start, PageLimit::events(100));
    match store.read_stream(ReadStream { stream: stream.clone(), direction, from, limit }).await {
        Ok(page) => page.events.iter().map(forebay_event::RecordedEvent::id).collect(),
        Err(ReadError::StreamNotFound { .. }) => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}

/// A stream on which the condition holds.
async fn stream_for(direct: &RemoteStore, expected: ExpectedRevision) -> (StreamName, Vec<Uuid>) {
    let stream = StreamName::new(&format!("s-{}", Uuid::new_v4())).unwrap();
    if !matches!(expected, ExpectedRevision::StreamExists | ExpectedRevision::Exact(_)) {
        return (stream, Vec::new());
    }
    let first = events(1);
    append(direct, &stream, ExpectedRevision::Any, first.clone()).await.unwrap();
    (stream, first.iter().map(|event| event.id).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_is_found_again() {
    // A restart costs the limit of an orderly stop each time, so it is not made under every condition.
    for (restarts, conditions) in [(false, &CONDITIONS[..]), (true, &CONDITIONS[..1])] {
        let mut node = Node::start().await;
        let direct = node.store();
        let proxy = Proxy::start(node.address).await;
        let store = store_at(proxy.address);
        for expected in conditions.iter().copied() {
            let (stream, mut wanted) = stream_for(&direct, expected).await;
            store.head().await.unwrap();
            let new = events(3);
            wanted.extend(new.iter().map(|event| event.id));
            proxy.let_pass(Passing::Requests);
            let (appending, to, proposed) = (store.clone(), stream.clone(), new.clone());
            let appending = tokio::spawn(async move { append(&appending, &to, expected, proposed).await });
            while ids(&direct, &stream).await != wanted {}
            if restarts {
                node.stop().await;
            }
            proxy.cut();
            proxy.let_pass(Passing::All);
            if restarts {
                node.resume().await;
            }
            let answer = tokio::time::timeout(LIMIT, appending).await.unwrap().unwrap().unwrap();
            assert_eq!(answer.last_revision, Some(Revision::new(wanted.len() as u64 - 1)), "{expected}");
            let again = append(&direct, &stream, expected, new).await.unwrap();
            assert_eq!(again, answer, "answered as if nothing had happened: {expected}");
            assert_eq!(ids(&direct, &stream).await, wanted, "made once: {expected}");
        }
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_lost_is_made_again() {
    let mut node = Node::start().await;
    let direct = node.store();
    let proxy = Proxy::start(node.address).await;
    let store = impatient_store_at(proxy.address);
    for expected in CONDITIONS {
        let (stream, mut wanted) = stream_for(&direct, expected).await;
        while store.head().await.is_err() {}
        let new = events(2);
        wanted.extend(new.iter().map(|event| event.id));
        proxy.let_pass(Passing::Answers);
        let appending = append(&store, &stream, expected, new);
        let freed = async {
            // The first attempt has been given up by now, or is about to be.
            tokio::time::timeout(Duration::from_millis(300), std::future::pending::<()>()).await.unwrap_err();
            proxy.cut();
            proxy.let_pass(Passing::All);
        };
        let (answer, ()) = tokio::join!(appending, freed);
        assert_eq!(answer.unwrap().last_revision, Some(Revision::new(wanted.len() as u64 - 1)), "{expected}");
        assert_eq!(ids(&direct, &stream).await, wanted, "{expected}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_appends_end_in_time_and_say_why() {
    let mut node = Node::start().await;
    let store = impatient_store_at(node.address);
    let stream = StreamName::new("s").unwrap();
    append(&store, &stream, ExpectedRevision::Any, events(1)).await.unwrap();
    node.stop().await;
    let refused = tokio::time::timeout(LIMIT, append(&store, &stream, ExpectedRevision::Any, events(1))).await.unwrap();
    assert!(matches!(refused, Err(AppendError::Unavailable { .. })), "{refused:?}");
    let away = store.outage().unwrap();
    assert!(away.reason.contains("127.0.0.1"), "{}", away.reason);
    node.resume().await;
    tokio::time::timeout(LIMIT, store.connected()).await.unwrap().unwrap();
    assert_eq!(store.outage(), None);
    append(&store, &stream, ExpectedRevision::Exact(Revision::FIRST), events(1)).await.unwrap();
    node.stop().await;
}
