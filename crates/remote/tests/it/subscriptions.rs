//! Tests of subscriptions whose connection breaks: they go on behind what was seen, with neither gap nor repeat.

use forebay_event::{ExpectedRevision, ProposedEvent, StreamName};
use forebay_remote::RemoteStore;
use forebay_store::{
    AppendRequest, EventFilter, EventStore, FilterSubject, LogPoint, Matcher, Notice, PageLimit, StreamPoint,
    SubscribeAll, SubscribeStream, Subscription,
};
use uuid::Uuid;

use crate::node::{LIMIT, Node, clock, store_at};
use crate::proxy::{Passing, Proxy};

const LIMIT_OF_PAGE: PageLimit = PageLimit { events: 20, bytes: 1 << 20 };

async fn append(store: &RemoteStore, stream: &StreamName, count: usize) {
    let events = (0..count).map(|_| ProposedEvent::json(Uuid::new_v4(), "Happened", "{}")).collect();
    let request = AppendRequest { stream: stream.clone(), expected: ExpectedRevision::Any, events };
    store.append(request).await.unwrap();
}

async fn all(store: &RemoteStore, filter: EventFilter) -> Box<dyn Subscription> {
    let subscribe = SubscribeAll { from: LogPoint::Start, filter, limit: LIMIT_OF_PAGE, checkpoint_every: 10 };
    store.subscribe_all(subscribe).await.unwrap()
}

/// Reads on until so many events of the stream were seen.
async fn read_to(subscription: &mut Box<dyn Subscription>, stream: &StreamName, seen: &mut Vec<u64>, count: usize) {
    while seen.len() < count {
        let notice = tokio::time::timeout(LIMIT, subscription.next()).await.expect("it goes on").unwrap();
        if let Notice::Events(events) = notice {
            let own = events.iter().filter(|event| event.stream() == stream.as_str());
            seen.extend(own.map(|event| event.revision().get()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_started_again_is_read_on_from() {
    let mut node = Node::start().await;
    let store = node.store();
    let stream = StreamName::new("orders-1").unwrap();
    let only = EventFilter::Where(FilterSubject::Stream, Matcher::Prefixes(vec!["orders-".to_owned()]));
    let here = EventFilter::Where(FilterSubject::Stream, Matcher::regex(r"(?i)^ORDERS-\d$").unwrap());
    let mut subscriptions = vec![
        (all(&store, EventFilter::All).await, Vec::new()),
        (all(&store, only).await, Vec::new()),
        (all(&store, here).await, Vec::new()),
    ];
    let subscribe = SubscribeStream { stream: stream.clone(), from: StreamPoint::Start, limit: LIMIT_OF_PAGE };
    subscriptions.push((store.subscribe_stream(subscribe).await.unwrap(), Vec::new()));
    let mut written = 0;
    for round in 0..4 {
        append(&store, &stream, 30).await;
        append(&store, &StreamName::new("others").unwrap(), 30).await;
        written += 30;
        for (subscription, seen) in &mut subscriptions {
            // Stopped with something read, and something not.
            read_to(subscription, &stream, seen, written - 15).await;
        }
        node.stop().await;
        node.resume().await;
        for (subscription, seen) in &mut subscriptions {
            read_to(subscription, &stream, seen, written).await;
            assert_eq!(*seen, (0..written as u64).collect::<Vec<_>>(), "round {round}");
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_lose_and_repeat_nothing() {
    const EVENTS: usize = 3000;
    let mut node = Node::start().await;
    let proxy = Proxy::start(node.address).await;
    let (direct, store) = (node.store(), store_at(proxy.address));
    let stream = StreamName::new("s").unwrap();
    let mut subscription = all(&store, EventFilter::ExcludeSystem).await;
    let to = stream.clone();
    let writing = tokio::spawn(async move {
        for _ in 0..EVENTS / 10 {
            append(&direct, &to, 10).await;
        }
    });
    let mut seen = Vec::new();
    for cut in 1..=10 {
        read_to(&mut subscription, &stream, &mut seen, cut * EVENTS / 10).await;
        proxy.cut();
    }
    writing.await.unwrap();
    assert_eq!(seen, (0..EVENTS as u64).collect::<Vec<_>>());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_is_noticed_and_read_on_behind() {
    let mut node = Node::start().await;
    let proxy = Proxy::start(node.address).await;
    let alive = "tls=false&keepAliveInterval=100&keepAliveTimeout=200&defaultDeadline=2000";
    let settings = format!("esdb://{}?{alive}", proxy.address).parse().unwrap();
    let store = RemoteStore::connect(settings, clock()).unwrap();
    let (direct, stream) = (node.store(), StreamName::new("s").unwrap());
    let mut seen = Vec::new();
    let mut subscription = all(&store, EventFilter::ExcludeSystem).await;
    append(&direct, &stream, 5).await;
    read_to(&mut subscription, &stream, &mut seen, 5).await;
    // Nobody is told that the way is gone: no end, no reset.
    proxy.let_pass(Passing::Nothing);
    append(&direct, &stream, 5).await;
    while store.outage().is_none() {
        tokio::task::yield_now().await;
    }
    proxy.let_pass(Passing::All);
    read_to(&mut subscription, &stream, &mut seen, 10).await;
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    assert_eq!(store.outage(), None);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_subscriptions_share_few_connections_and_one_that_is_not_read_stops_none() {
    const SUBSCRIPTIONS: usize = 150;
    let mut node = Node::start().await;
    let store = node.store();
    let large = StreamName::new("large").unwrap();
    for _ in 0..20 {
        let event =
            ProposedEvent { data: vec![b'x'; 200 << 10].into(), ..ProposedEvent::json(Uuid::new_v4(), "T", "") };
        let request = AppendRequest { stream: large.clone(), expected: ExpectedRevision::Any, events: vec![event] };
        store.append(request).await.unwrap();
    }
    // Nobody reads these.
    let mut unread = Vec::new();
    let mut read = Vec::new();
    for _ in 0..SUBSCRIPTIONS / 2 {
        unread.push(all(&store, EventFilter::All).await);
        let stream = StreamName::new("small").unwrap();
        let subscribe = SubscribeStream { stream, from: StreamPoint::End, limit: LIMIT_OF_PAGE };
        read.push(store.subscribe_stream(subscribe).await.unwrap());
    }
    let small = StreamName::new("small").unwrap();
    append(&store, &small, 1).await;
    for subscription in &mut read {
        read_to(subscription, &small, &mut Vec::new(), 1).await;
    }
    drop(unread);
    node.stop().await;
}
