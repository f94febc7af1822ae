//! Many clients at the same time: idle ones, ones that do not read, ones that go away; and what they cost.

use forebay_wire::event_store::client::streams::read_resp::Content;
use forebay_wire::event_store::client::streams::streams_client::StreamsClient;
use futures_util::stream::{self, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::calls::{
    LIMIT, append, append_event, append_options, channel, of_stream, options, reading, resident, server, subscription,
};

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_idle_subscriptions_cost_little_and_all_hear_of_news() {
    const CONNECTIONS: usize = 20;
    const PER_CONNECTION: usize = 250;
    const COST_MAX: usize = 48 << 10;
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    let mut client = StreamsClient::new(channel(&server).await);
    append(&mut client, "idle", 1).await;
    let before = resident();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = StreamsClient::new(channel(&server).await);
        for _ in 0..PER_CONNECTION {
            let mut answers =
                client.read(reading(options(of_stream("idle"), subscription()))).await.unwrap().into_inner();
            while !matches!(answers.message().await.unwrap().unwrap().content, Some(Content::CaughtUp(_))) {}
            held.push(answers);
        }
    }
    let cost = resident().saturating_sub(before) / (CONNECTIONS * PER_CONNECTION);
    println!("one idle subscription of {}, client and server together: {cost} bytes", held.len());
    assert!(cost < COST_MAX, "one idle subscription costs {cost} bytes");
    append(&mut client, "idle", 1).await;
    for answers in &mut held {
        let news = tokio::time::timeout(LIMIT, answers.message()).await.unwrap().unwrap().unwrap();
        assert!(matches!(news.content, Some(Content::Event(_))));
    }
    tokio::time::timeout(LIMIT, server.shutdown()).await.expect("thousands end within the limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_read_cost_one_hand_out_and_hold_up_nobody() {
    const COST_MAX: usize = 2 << 20;
    const EVENTS_SIZE: usize = 500 << 10;
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    let mut client = StreamsClient::new(channel(&server).await);
    for _ in 0..40 {
        let event = append_event(vec![b'x'; EVENTS_SIZE]);
        client.append(stream::iter([append_options("large"), event])).await.unwrap();
    }
    // Each may fill its window and one hand-out, and no more. They share a connection with nobody, because whoever does
    // not read stops everything on a connection.
    let before = resident();
    let mut unreading = StreamsClient::new(channel(&server).await);
    let mut unread = Vec::new();
    for _ in 0..20 {
        unread.push(unreading.read(reading(options(of_stream("large"), subscription()))).await.unwrap());
    }
    let mut lines = Vec::new();
    for _ in 0..20 {
        let mut connection = TcpStream::connect(server.address()).await.unwrap();
        connection.write_all(b"GET /streams/large/subscribe HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        connection.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        lines.push(connection);
    }
    let mut reading_one = client.read(reading(options(of_stream("large"), subscription()))).await.unwrap().into_inner();
    for _ in 0..41 {
        tokio::time::timeout(LIMIT, reading_one.message()).await.expect("others go on").unwrap().unwrap();
    }
    drop(reading_one);
    let cost = resident().saturating_sub(before) / (unread.len() + lines.len());
    println!("one subscription that is not read: {cost} bytes");
    assert!(cost < COST_MAX, "one subscription that is not read costs {cost} bytes");
    tokio::time::timeout(LIMIT, server.shutdown()).await.expect("nobody who does not read is waited for");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_calls_give_back_their_places() {
    // More than may be open at the same time, so that the last would be refused if the others still counted. A client
    // itself gives up a connection on which it has cancelled too many.
    const CONNECTIONS: usize = 34;
    const PER_CONNECTION: usize = 500;
    const AT_ONCE: usize = 100;
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    for _ in 0..CONNECTIONS {
        let client = StreamsClient::new(channel(&server).await);
        let subscribe = |_| {
            let mut client = client.clone();
            async move {
                let answers = client.read(reading(options(of_stream("idle"), subscription()))).await;
                answers.unwrap().into_inner().message().await.unwrap();
            }
        };
        stream::iter(0..PER_CONNECTION).map(subscribe).buffer_unordered(AT_ONCE).for_each(|()| async {}).await;
    }
    append(&mut StreamsClient::new(channel(&server).await), "idle", 1).await;
    tokio::time::timeout(LIMIT, server.shutdown()).await.expect("nothing is left open");
}
