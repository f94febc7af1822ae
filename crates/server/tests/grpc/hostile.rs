//! Clients that mean harm, or do it without meaning to: each is refused or ended, and nobody else notices.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use forebay_server::{Config, start};
use forebay_wire::event_store::client::streams::AppendReq;
use forebay_wire::event_store::client::streams::streams_client::StreamsClient;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Request};

use crate::calls::{LIMIT, append, append_event, append_options, channel, resident, server};

#[tokio::test(flavor = "multi_thread")]
async fn oversized_messages_and_late_appends_are_refused_and_the_server_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    let mut client = StreamsClient::new(channel(&server).await);
    let too_large = stream::iter([append_options("s"), append_event(vec![b' '; (1 << 20) + 1])]);
    let status = client.append(too_large).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.metadata().get("exception").unwrap(), "maximum-append-size-exceeded");
    assert_eq!(status.metadata().get("maximum-append-size").unwrap(), "1048576");
    let oversized = stream::iter([append_options("s"), append_event(vec![0; 18 << 20])]);
    assert!(client.append(oversized).await.is_err());
    let mut late = Request::new(stream::iter([append_options("s")]).chain_pending());
    late.set_timeout(Duration::from_millis(1));
    // This client keeps the time as well, and may be the first to notice.
    let code = client.append(late).await.unwrap_err().code();
    assert!(matches!(code, Code::DeadlineExceeded | Code::Cancelled), "{code}");
    append(&mut client, "s", 3).await;
    server.shutdown().await;
}

/// A request that never says that it is finished.
trait ChainPending: Sized {
    fn chain_pending(self) -> stream::Chain<Self, stream::Pending<AppendReq>>;
}

impl<S: stream::Stream<Item = AppendReq>> ChainPending for S {
    fn chain_pending(self) -> stream::Chain<Self, stream::Pending<AppendReq>> {
        stream::StreamExt::chain(self, stream::pending())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_frames_end_their_connection_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    // A frame longer than was agreed, a frame cut short, and no frame at all.
    for broken in [&b"\xff\xff\xff\x00\x00\x00\x00\x00\x01"[..], b"\x00\x00\x04", b"not a frame, not even close"] {
        let mut connection = TcpStream::connect(server.address()).await.unwrap();
        connection.write_all(&[PREFACE, broken].concat()).await.unwrap();
        connection.shutdown().await.unwrap();
    }
    append(&mut StreamsClient::new(channel(&server).await), "s", 1).await;
    tokio::time::timeout(LIMIT, server.shutdown()).await.expect("broken connections are not waited for");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_its_connection_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    let hello = [&[22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[7; 300]].concat();
    let endless = [&b"GET / HTTP/1.1\r\nx: "[..], &vec![b'a'; 1 << 20]].concat();
    let many = [&b"GET / HTTP/1.1\r\n"[..], &b"a: b\r\n".repeat(20_000), b"\r\n"].concat();
    for garbage in [vec![0; 1 << 16], vec![255; 1 << 16], hello, endless, many] {
        let mut connection = TcpStream::connect(server.address()).await.unwrap();
        // The server may end the connection before all of it has gone.
        drop(connection.write_all(&garbage).await);
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(LIMIT, connection.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(ended.is_ok(), "garbage is not waited for");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    append(&mut StreamsClient::new(channel(&server).await), "s", 1).await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_when_all_places_are_taken_waits_until_one_is_free() {
    let data = tempfile::tempdir().unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = Config { listen, data: data.path().to_owned(), connections_max: 2, ..Config::default() };
    let server = start(config).await.unwrap();
    let ask = b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut first = TcpStream::connect(server.address()).await.unwrap();
    let second = TcpStream::connect(server.address()).await.unwrap();
    for held in [&first, &second] {
        held.writable().await.unwrap();
        held.try_write(b"GET /ping").unwrap();
    }
    let mut third = TcpStream::connect(server.address()).await.unwrap();
    third.write_all(ask).await.unwrap();
    let mut answer = Vec::new();
    let early = tokio::time::timeout(Duration::from_millis(200), third.read_to_end(&mut answer)).await;
    assert!(early.is_err() && answer.is_empty(), "there is no place yet");
    first.shutdown().await.unwrap();
    drop(first);
    tokio::time::timeout(LIMIT, third.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    drop(second);
    tokio::time::timeout(LIMIT, server.shutdown()).await.unwrap();
}

/// A request that says so much and then goes on for ever.
fn unfinished(messages: Vec<AppendReq>) -> impl stream::Stream<Item = AppendReq> {
    stream::StreamExt::chain(stream::iter(messages), stream::pending())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_is_given_up_gives_back_its_memory() {
    // Together they would hold more than all appends may.
    const APPENDS: usize = 280;
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    let mut client = StreamsClient::new(channel(&server).await);
    for _ in 0..APPENDS {
        let messages = vec![append_options("s"), append_event(vec![b' '; (1 << 20) - 200])];
        let append = client.append(unfinished(messages));
        assert!(tokio::time::timeout(Duration::from_millis(10), append).await.is_err(), "it is not finished");
    }
    append(&mut client, "s", 3).await;
    let whole = stream::iter([append_options("s"), append_event(vec![b' '; (1 << 20) - 200])]);
    client.append(whole).await.unwrap();
    server.shutdown().await;
}

/// A message of 16 MiB of which all but one byte comes.
fn unfinished_message() -> BoxBody<Bytes, Infallible> {
    const LENGTH: u32 = 16 << 20;
    let prefix = Bytes::from([&[0][..], &LENGTH.to_be_bytes()].concat());
    let pieces = std::iter::repeat_n(Bytes::from_static(&[7; 1 << 16]), (LENGTH >> 16) as usize - 1);
    let frames = std::iter::once(prefix).chain(pieces).map(|piece| Ok(Frame::data(piece)));
    StreamBody::new(stream::StreamExt::chain(stream::iter(frames), stream::pending())).boxed()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_never_finished_have_a_bound_together() {
    const CALLS: usize = 24;
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let uri = format!("http://{}/event_store.client.streams.Streams/Append", server.address());
    let call = |_| {
        let request = hyper::Request::post(&uri).header("content-type", "application/grpc").header("te", "trailers");
        client.request(request.body(unfinished_message()).unwrap())
    };
    // Together they are more than all appends may hold, so some are refused; the others wait for their last byte.
    let calls = stream::StreamExt::map(stream::iter(0..CALLS), call);
    let mut answers = std::pin::pin!(stream::StreamExt::buffer_unordered(calls, CALLS));
    let refused = tokio::time::timeout(LIMIT, stream::StreamExt::next(&mut answers)).await;
    let refused = refused.expect("the memory is bounded").unwrap().unwrap();
    let told = |name: &str| refused.headers().get(name).unwrap().to_str().unwrap();
    assert_eq!((told("grpc-status"), told("grpc-message")), ("14", "Server%20Is%20Too%20Busy"));
    let mut client = StreamsClient::new(channel(&server).await);
    append(&mut client, "s", 3).await;
    tokio::time::timeout(LIMIT, server.shutdown()).await.unwrap();
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A frame of HTTP/2: its type, flags, stream and content.
fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), content].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_end_their_connection_or_stand_still() {
    const FRAMES: u32 = 100_000;
    const GROWTH_MAX: usize = 64 << 20;
    // POST / with an authority, and a header without an end.
    const HEAD: &[u8] = &[0x83, 0x86, 0x84, 0x41, 1, b'x'];
    let opened_and_reset = |n: u32| [frame(1, 4, 2 * n + 1, HEAD), frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])].concat();
    let continued = |n: u32| if n == 0 { frame(1, 0, 1, HEAD) } else { frame(9, 0, 1, &[0, 1, b'a', 1, b'b']) };
    let pinged = |_| frame(6, 0, 0, &[0; 8]);
    let settled = |_| frame(4, 0, 0, &[0, 3, 0, 0, 0, 9]);
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    append(&mut StreamsClient::new(channel(&server).await), "s", 1).await;
    type Flood = fn(u32) -> Vec<u8>;
    let floods: [(&str, Flood); 4] =
        [("resets", opened_and_reset), ("continuations", continued), ("pings", pinged), ("settings", settled)];
    for (name, flood) in floods {
        let before = resident();
        let mut connection = TcpStream::connect(server.address()).await.unwrap();
        let bytes: Vec<u8> = PREFACE.iter().copied().chain((0..FRAMES).flat_map(flood)).collect();
        // Nothing is read: the server ends the connection, or takes no more, or has taken all of it for nothing.
        let sent = tokio::time::timeout(Duration::from_secs(2), connection.write_all(&bytes)).await;
        let growth = resident().saturating_sub(before + bytes.len());
        println!("a flood of {name}: {sent:?}, {growth} bytes");
        assert!(growth < GROWTH_MAX, "a flood of {name} costs {growth} bytes");
        append(&mut StreamsClient::new(channel(&server).await), "s", 1).await;
    }
    tokio::time::timeout(LIMIT, server.shutdown()).await.unwrap();
}
