//! Owns what both clients are made to do, and the comparison of what they were told.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use forebay_event::SystemClock;
use forebay_remote::RemoteStore;
use kurrentdb::Client;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::peer::{Expected, Followed, Kept, New, Peer, Seen, Told, Way};

/// Events of the stream that is read in pages.
const EVENTS: u64 = 10;
/// Nothing that is waited for takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// Lets both do the same to a server, each to streams of its own, then lets both look at the streams of both.
pub(crate) async fn compare(client: &Client, uri: &str) -> usize {
    let settings = uri.parse().expect("our client takes the same connection string");
    let store = RemoteStore::connect(settings, Arc::new(SystemClock::new())).expect("the settings are valid");
    let run = Uuid::new_v4().simple().to_string();
    let theirs = Diary::of(client, &format!("{run}-official")).await;
    let ours = Diary::of(&store, &format!("{run}-ours")).await;
    assert_eq!(theirs.lines.len(), ours.lines.len());
    for (theirs, ours) in theirs.lines.iter().zip(&ours.lines) {
        assert_eq!(theirs, ours, "the official client and ours were told different things");
    }
    let seen = same_events(client, &store, &run).await;
    let live = same_live_events(client, &store, &run).await;
    theirs.lines.len() + seen + live
}

/// What a client was told, line by line; what differs between the two by nature is left out.
struct Diary<'a, P> {
    peer: &'a P,
    name: String,
    lines: Vec<String>,
}

impl<'a, P: Peer> Diary<'a, P> {
    /// Does everything, and writes down what was told.
    async fn of(peer: &'a P, name: &str) -> Self {
        let mut diary = Self { peer, name: name.to_owned(), lines: Vec::new() };
        diary.appends().await;
        diary.deletes().await;
        diary.metadata().await;
        diary
    }

    fn stream(&self, of: &str) -> String {
        format!("{}-{of}", self.name)
    }

    fn note<T: Debug>(&mut self, what: &str, told: Told<T>) {
        self.lines.push(format!("{what}: {told:?}"));
    }

    async fn append(&mut self, of: &str, expected: Expected, events: &[New]) {
        let told = self.peer.append(&self.stream(of), expected, events).await;
        self.note(&format!("append {} to {of} at {expected:?}", events.len()), told.map(|(revision, _)| revision));
    }

    async fn reads(&mut self, of: &str) {
        let ways = [
            Way::Forward(None),
            Way::Forward(Some(3)),
            Way::Forward(Some(99)),
            Way::Backward(None),
            Way::Backward(Some(2)),
        ];
        for way in ways {
            for count in [1, 100] {
                let told = self.peer.read(&self.stream(of), way, count).await;
                let revisions = told.map(|events| events.iter().map(|event| event.revision).collect::<Vec<_>>());
                self.note(&format!("read {count} of {of} {way:?}"), revisions);
            }
        }
    }

    async fn appends(&mut self) {
        let all = [Expected::Any, Expected::NoStream, Expected::Exists, Expected::At(0), Expected::At(7)];
        for expected in [Expected::At(0), Expected::At(7)] {
            self.append("appends", expected, &news(1)).await;
        }
        let first = news(EVENTS);
        self.append("appends", Expected::NoStream, &first).await;
        // The same events once more are no others, whatever was expected.
        for expected in [Expected::NoStream, Expected::Any] {
            self.append("appends", expected, &first).await;
        }
        for expected in all {
            self.append("appends", expected, &news(2)).await;
        }
        self.append("appends", Expected::At(EVENTS + 3), &news(1)).await;
        self.reads("appends").await;
        self.reads("nothing").await;
    }

    async fn deletes(&mut self) {
        self.append("deleted", Expected::Any, &news(4)).await;
        let told = self.peer.delete(&self.stream("deleted"), Expected::At(1)).await;
        self.note("delete at a wrong revision", told);
        let told = self.peer.delete(&self.stream("deleted"), Expected::At(3)).await;
        self.note("delete", told);
        self.reads("deleted").await;
        self.append("deleted", Expected::NoStream, &news(2)).await;
        self.reads("deleted").await;
        let told = self.peer.tombstone(&self.stream("deleted"), Expected::NoStream).await;
        self.note("tombstone at a wrong revision", told);
        let told = self.peer.tombstone(&self.stream("deleted"), Expected::Any).await;
        self.note("tombstone", told);
        self.reads("deleted").await;
        for expected in [Expected::Any, Expected::NoStream, Expected::At(5)] {
            self.append("deleted", expected, &news(1)).await;
        }
        let told = self.peer.delete(&self.stream("deleted"), Expected::Any).await;
        self.note("delete what is gone", told);
        let followed = self.peer.follow(&self.stream("deleted"), None).await;
        let told = match followed {
            Ok(mut followed) => soon(followed.next()).await.map(|_| ()),
            Err(wrong) => Err(wrong),
        };
        self.note("follow what is gone", told);
    }

    async fn metadata(&mut self) {
        self.append("limited", Expected::Any, &news(6)).await;
        let told = self.peer.metadata(&self.stream("limited")).await;
        self.note("metadata of none", told);
        let object = |value: Value| value.as_object().expect("it is an object").clone();
        let bounds: [(Expected, Map<String, Value>); 4] = [
            (Expected::NoStream, object(json!({"$maxCount": 2, "own": [1, "two"]}))),
            (Expected::NoStream, object(json!({"$maxCount": 3}))),
            (Expected::At(0), object(json!({"$tb": 5}))),
            (Expected::Any, object(json!({"$maxAge": 3600}))),
        ];
        for (expected, metadata) in &bounds {
            let told = self.peer.set_metadata(&self.stream("limited"), *expected, metadata).await;
            self.note(&format!("set metadata {metadata:?} at {expected:?}"), told);
            let told = self.peer.metadata(&self.stream("limited")).await;
            self.note("metadata", told);
            self.reads("limited").await;
        }
    }
}

/// Both read the streams of both, each way and with each filter, and follow them to their end.
async fn same_events(client: &Client, store: &RemoteStore, run: &str) -> usize {
    let mut count = 0;
    for owner in ["official", "ours"] {
        for of in ["appends", "limited"] {
            let stream = format!("{run}-{owner}-{of}");
            for way in [Way::Forward(None), Way::Backward(None), Way::Forward(Some(5))] {
                count += same(Peer::read(client, &stream, way, 100).await, Peer::read(store, &stream, way, 100).await);
            }
            let theirs = history(client.follow(&stream, None).await.unwrap()).await;
            count += same(Ok(theirs), Ok(history(store.follow(&stream, None).await.unwrap()).await));
            let theirs = history(client.follow(&stream, Some(4)).await.unwrap()).await;
            count += same(Ok(theirs), Ok(history(store.follow(&stream, Some(4)).await.unwrap()).await));
        }
    }
    let kept = [
        Kept::Streams(format!("{run}-o")),
        Kept::Types("Peer-1".to_owned()),
        Kept::StreamsLike(format!("^{run}-(official|ours)-app")),
    ];
    for kept in kept {
        for forward in [true, false] {
            let theirs = Peer::read_all(client, forward, &kept).await;
            count += same(theirs, Peer::read_all(store, forward, &kept).await);
        }
        let theirs = history(client.follow_all(&kept).await.unwrap()).await;
        count += same(Ok(theirs), Ok(history(store.follow_all(&kept).await.unwrap()).await));
    }
    count
}

/// Both follow a stream and the log past the end of history, while each of them appends in turn.
async fn same_live_events(client: &Client, store: &RemoteStore, run: &str) -> usize {
    let stream = format!("{run}-live");
    let kept = Kept::Streams(stream.clone());
    Peer::append(client, &stream, Expected::NoStream, &news(3)).await.unwrap();
    let mut theirs = (client.follow(&stream, None).await.unwrap(), client.follow_all(&kept).await.unwrap());
    let mut ours = (store.follow(&stream, None).await.unwrap(), store.follow_all(&kept).await.unwrap());
    let mut count = 3;
    for followed in [until_live(&mut theirs.0).await, until_live(&mut theirs.1).await] {
        assert_eq!(followed.len(), count);
    }
    for followed in [until_live(&mut ours.0).await, until_live(&mut ours.1).await] {
        assert_eq!(followed.len(), count);
    }
    for round in 0..4 {
        let told = match round % 2 {
            0 => Peer::append(client, &stream, Expected::Exists, &news(2)).await,
            _ => Peer::append(store, &stream, Expected::Exists, &news(2)).await,
        };
        assert!(told.is_ok(), "{told:?}");
        let expected = take(&mut theirs.0, 2).await;
        for other in [take(&mut theirs.1, 2).await, take(&mut ours.0, 2).await, take(&mut ours.1, 2).await] {
            assert_eq!(expected, other, "live events differ");
        }
        count += 2;
    }
    count
}

fn same(theirs: Told<Vec<Seen>>, ours: Told<Vec<Seen>>) -> usize {
    assert_eq!(theirs, ours, "the official client and ours read different things");
    let events = theirs.expect("it can be read");
    assert!(!events.is_empty(), "there is something to compare");
    events.len()
}

async fn history<F: Followed>(mut followed: F) -> Vec<Seen> {
    until_live(&mut followed).await
}

async fn until_live<F: Followed>(followed: &mut F) -> Vec<Seen> {
    let mut events = Vec::new();
    while let Some(event) = soon(followed.next()).await.expect("it can be followed") {
        events.push(event);
    }
    events
}

async fn take<F: Followed>(followed: &mut F, count: usize) -> Vec<Seen> {
    let mut events = Vec::new();
    while events.len() < count {
        events.extend(soon(followed.next()).await.expect("it can be followed"));
    }
    events
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it comes in time")
}

/// So many events, JSON and others in turn, some with metadata.
fn news(count: u64) -> Vec<New> {
    let new = |number: u64| New {
        id: Uuid::new_v4(),
        event_type: format!("Peer-{}", number % 3),
        is_json: number % 2 == 0,
        data: if number % 2 == 0 { json!({ "n": number }).to_string().into_bytes() } else { vec![0, 159, 146, 150] },
        metadata: if number % 4 == 0 { br#"{"tenant":"north"}"#.to_vec() } else { Vec::new() },
    };
    (0..count).map(new).collect()
}
