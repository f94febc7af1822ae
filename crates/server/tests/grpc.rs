//! Tests of the client protocol over real sockets, with requests that no official client would send.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use forebay_server::{Config, RunningServer, start};
use forebay_wire::event_store::client::operations::operations_client::OperationsClient;
use forebay_wire::event_store::client::operations::{SetNodePriorityReq, StartScavengeReq, StopScavengeReq};
use forebay_wire::event_store::client::persistent_subscriptions::ListReq;
use forebay_wire::event_store::client::persistent_subscriptions::persistent_subscriptions_client::PersistentSubscriptionsClient;
use forebay_wire::event_store::client::server_features::server_features_client::ServerFeaturesClient;
use forebay_wire::event_store::client::streams::batch_append_resp::Result as Outcome;
use forebay_wire::event_store::client::streams::read_req::Options;
use forebay_wire::event_store::client::streams::read_req::options::{
    AllOptions, ControlOption, CountOption, FilterOption, StreamOption, StreamOptions, SubscriptionOptions, UuidOption,
    all_options, stream_options,
};
use forebay_wire::event_store::client::streams::read_resp::Content;
use forebay_wire::event_store::client::streams::streams_client::StreamsClient;
use forebay_wire::event_store::client::streams::{
    AppendReq, BatchAppendReq, ReadReq, TombstoneReq, append_req, batch_append_req, tombstone_req,
};
use forebay_wire::event_store::client::users::DetailsReq;
use forebay_wire::event_store::client::users::users_client::UsersClient;
use forebay_wire::event_store::client::{Empty, StreamIdentifier, Uuid as WireUuid, uuid as wire_uuid};
use futures_util::stream;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use uuid::Uuid;

/// How long anything may take that should happen at once.
const LIMIT: Duration = Duration::from_secs(30);

async fn server(data: &Path) -> RunningServer {
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = Config { listen, data: data.to_owned(), append_size_max: 1 << 20, ..Config::default() };
    start(config).await.unwrap()
}

async fn channel(server: &RunningServer) -> Channel {
    Channel::from_shared(format!("http://{}", server.address())).unwrap().connect().await.unwrap()
}

fn named(stream: &str) -> Option<StreamIdentifier> {
    Some(StreamIdentifier { stream_name: stream.to_owned().into() })
}

fn id() -> Option<WireUuid> {
    Some(WireUuid { value: Some(wire_uuid::Value::String(Uuid::new_v4().to_string())) })
}

fn properties() -> HashMap<String, String> {
    [("type", "T"), ("content-type", "application/json")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

fn append_options(stream: &str) -> AppendReq {
    let expected_stream_revision = Some(append_req::options::ExpectedStreamRevision::Any(Empty {}));
    let options = append_req::Options { stream_identifier: named(stream), expected_stream_revision };
    AppendReq { content: Some(append_req::Content::Options(options)) }
}

fn append_event(data: Vec<u8>) -> AppendReq {
    let message =
        append_req::ProposedMessage { id: id(), metadata: properties(), custom_metadata: "".into(), data: data.into() };
    AppendReq { content: Some(append_req::Content::ProposedMessage(message)) }
}

async fn append(client: &mut StreamsClient<Channel>, stream: &str, count: usize) {
    let messages: Vec<_> =
        std::iter::once(append_options(stream)).chain((0..count).map(|_| append_event(b"{}".to_vec()))).collect();
    client.append(stream::iter(messages)).await.unwrap();
}

fn options(target: StreamOption, count: CountOption) -> Options {
    Options {
        read_direction: 0,
        resolve_links: false,
        uuid_option: Some(UuidOption { content: None }),
        control_option: None,
        stream_option: Some(target),
        count_option: Some(count),
        filter_option: Some(FilterOption::NoFilter(Empty {})),
    }
}

fn of_stream(stream: &str) -> StreamOption {
    let revision_option = Some(stream_options::RevisionOption::Start(Empty {}));
    StreamOption::Stream(StreamOptions { stream_identifier: named(stream), revision_option })
}

fn of_all() -> StreamOption {
    StreamOption::All(AllOptions { all_option: Some(all_options::AllOption::Start(Empty {})) })
}

fn subscription() -> CountOption {
    CountOption::Subscription(SubscriptionOptions {})
}

fn reading(options: Options) -> ReadReq {
    ReadReq { options: Some(options) }
}

async fn refusal(client: &mut StreamsClient<Channel>, request: ReadReq) -> Status {
    match client.read(request).await {
        Err(status) => status,
        Ok(_) => panic!("the call is to be refused before its first message"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_read_is_refused_before_its_first_message() {
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    let mut client = StreamsClient::new(channel(&server).await);
    append(&mut client, "gone-ß", 1).await;
    let expected_stream_revision = Some(tombstone_req::options::ExpectedStreamRevision::Any(Empty {}));
    let options_of = tombstone_req::Options { stream_identifier: named("gone-ß"), expected_stream_revision };
    client.tombstone(TombstoneReq { options: Some(options_of) }).await.unwrap();
    for count in [CountOption::Count(u64::MAX), subscription()] {
        let status = refusal(&mut client, reading(options(of_stream("gone-ß"), count))).await;
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.metadata().get("exception").unwrap(), "stream-deleted");
        assert_eq!(status.metadata().get("stream-name").unwrap(), "gone-%C3%9F");
    }
    let backward = Options { read_direction: 1, ..options(of_all(), subscription()) };
    let formless = Options { uuid_option: None, ..options(of_all(), subscription()) };
    let unfiltered = Options { filter_option: None, ..options(of_all(), subscription()) };
    let strange = Options { read_direction: 7, ..options(of_all(), CountOption::Count(1)) };
    for wrong in [backward, formless, unfiltered, strange] {
        assert_eq!(refusal(&mut client, reading(wrong)).await.code(), Code::InvalidArgument);
    }
    assert_eq!(refusal(&mut client, ReadReq { options: None }).await.code(), Code::InvalidArgument);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_to_a_stream_that_is_not_there_waits_and_ends_with_unavailable() {
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    let mut client = StreamsClient::new(channel(&server).await);
    let mut answers = client.read(reading(options(of_stream("later"), subscription()))).await.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap().content.unwrap();
    assert!(matches!(first, Content::Confirmation(_)), "{first:?}");
    let second = answers.message().await.unwrap().unwrap().content.unwrap();
    let Content::CaughtUp(caught_up) = second else { panic!("expected caught up, not {second:?}") };
    assert!(caught_up.timestamp.is_some() && caught_up.stream_revision.is_none() && caught_up.position.is_none());
    append(&mut client, "later", 1).await;
    assert!(matches!(answers.message().await.unwrap().unwrap().content, Some(Content::Event(_))));
    let (ended, ()) = tokio::time::timeout(LIMIT, async { tokio::join!(answers.message(), server.shutdown()) })
        .await
        .expect("stopping does not wait for subscribers");
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_answered_by_correlation_whatever_is_wrong_with_them() {
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    let mut client = StreamsClient::new(channel(&server).await);
    let open = |stream: &str, seconds: i64| {
        let deadline = prost_types::Duration { seconds, nanos: 0 };
        Some(batch_append_req::Options {
            stream_identifier: named(stream),
            expected_stream_position: Some(batch_append_req::options::ExpectedStreamPosition::Any(())),
            deadline_option: Some(batch_append_req::options::DeadlineOption::Deadline(deadline)),
        })
    };
    let piece = |correlation_id: &Option<WireUuid>, options, is_final| {
        let (metadata, data) = (properties(), bytes::Bytes::from_static(b"{}"));
        let message =
            batch_append_req::ProposedMessage { id: id(), metadata, custom_metadata: bytes::Bytes::new(), data };
        let proposed_messages = vec![message];
        BatchAppendReq { correlation_id: correlation_id.clone(), options, proposed_messages, is_final }
    };
    let [in_pieces, late, denied, unknown, unfinished] = [(); 5].map(|()| id());
    let pieces = vec![
        piece(&in_pieces, open("b", i64::MAX), false),
        piece(&late, open("b", -1), true),
        piece(&denied, open("$all", 5), true),
        piece(&unknown, None, true),
        piece(&unfinished, open("b", 5), false),
        piece(&in_pieces, None, true),
    ];
    let mut answers = client.batch_append(stream::iter(pieces)).await.unwrap().into_inner();
    let mut outcomes = HashMap::new();
    while let Some(answer) = answers.message().await.unwrap() {
        let outcome = match answer.result.unwrap() {
            Outcome::Success(_) => "done".to_owned(),
            Outcome::Error(status) => status.details.unwrap().type_url,
        };
        assert!(answer.stream_identifier.is_some());
        outcomes.insert(format!("{:?}", answer.correlation_id), outcome);
    }
    let outcome = |correlation: &Option<WireUuid>| outcomes.get(&format!("{correlation:?}")).map(String::as_str);
    assert_eq!(outcome(&in_pieces), Some("done"));
    assert_eq!(outcome(&late), Some("type.googleapis.com/event_store.client.Timeout"));
    assert_eq!(outcome(&denied), Some("type.googleapis.com/event_store.client.AccessDenied"));
    assert_eq!((outcome(&unknown), outcome(&unfinished)), (None, None));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_served_says_so_and_what_is_advertised_is_served() {
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    let channel = channel(&server).await;
    let details = UsersClient::new(channel.clone()).details(DetailsReq { options: None }).await.unwrap_err();
    assert_eq!((details.code(), details.message().is_empty()), (Code::Unimplemented, false));
    let listed = PersistentSubscriptionsClient::new(channel.clone()).list(ListReq { options: None }).await.unwrap();
    assert!(listed.into_inner().subscriptions.is_empty());
    let features = ServerFeaturesClient::new(channel).get_supported_methods(Empty {}).await.unwrap().into_inner();
    assert!(features.event_store_server_version.split('.').all(|part| part.parse::<u32>().is_ok()));
    let methods: Vec<_> = features.methods.iter().map(|method| method.method_name.as_str()).collect();
    assert!(methods.contains(&"batchappend") && !methods.contains(&"create") && !methods.contains(&"appendsession"));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_obeyed_as_far_as_one_node_can() {
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    let mut operator = OperationsClient::new(channel(&server).await);
    operator.merge_indexes(Empty {}).await.unwrap();
    operator.resign_node(Empty {}).await.unwrap();
    operator.set_node_priority(SetNodePriorityReq { priority: 5 }).await.unwrap();
    let status = operator.start_scavenge(StartScavengeReq { options: None }).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("packs its blocks by itself"), "{}", status.message());
    assert_eq!(operator.restart_persistent_subscriptions(Empty {}).await.unwrap_err().code(), Code::Unimplemented);
    assert_eq!(operator.stop_scavenge(StopScavengeReq { options: None }).await.unwrap_err().code(), Code::NotFound);
    let asked = futures_util::FutureExt::now_or_never(server.stop_asked());
    assert!(asked.is_none(), "nobody has asked yet");
    operator.shutdown(Empty {}).await.unwrap();
    tokio::time::timeout(LIMIT, server.stop_asked()).await.expect("whoever runs the server is told");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_before_the_first_visible_event_is_told_where_the_stream_begins() {
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    let mut client = StreamsClient::new(channel(&server).await);
    append(&mut client, "cut", 50).await;
    let kept = r#"{"$maxCount":2}"#;
    client.append(stream::iter([append_options("$$cut"), append_event(kept.into())])).await.unwrap();
    for (compatibility, count, expected) in [
        (1, 100, vec!["first 48", "48", "49", "last 49"]),
        (1, 1, vec!["first 48", "48", "last 49"]),
        (0, 100, vec!["48", "49"]),
    ] {
        let control_option = Some(ControlOption { compatibility });
        let options = Options { control_option, ..options(of_stream("cut"), CountOption::Count(count)) };
        let mut answers = client.read(reading(options)).await.unwrap().into_inner();
        let mut told = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            told.push(match answer.content.unwrap() {
                Content::FirstStreamPosition(revision) => format!("first {revision}"),
                Content::LastStreamPosition(revision) => format!("last {revision}"),
                Content::Event(event) => event.event.unwrap().stream_revision.to_string(),
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(told, expected, "compatibility {compatibility}, {count} events");
    }
    server.shutdown().await;
}

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

/// Bytes of memory that this process holds, the server included.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_subscriptions_and_clients_that_never_read_cost_little() {
    const CONNECTIONS: usize = 10;
    const PER_CONNECTION: usize = 200;
    const COST_MAX: usize = 64 << 10;
    const EVENTS_SIZE: usize = 500 << 10;
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    let mut client = StreamsClient::new(channel(&server).await);
    for _ in 0..40 {
        let event = append_event(vec![b'x'; EVENTS_SIZE]);
        client.append(stream::iter([append_options("large"), event])).await.unwrap();
    }
    let before = resident();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = StreamsClient::new(channel(&server).await);
        for _ in 0..PER_CONNECTION {
            let mut answers =
                client.read(reading(options(of_stream("idle"), subscription()))).await.unwrap().into_inner();
            answers.message().await.unwrap();
            held.push(answers);
        }
    }
    let cost = resident().saturating_sub(before) / (CONNECTIONS * PER_CONNECTION);
    println!("one idle subscription, client and server together: {cost} bytes");
    assert!(cost < COST_MAX, "one idle subscription costs {cost} bytes");

    // Nobody reads these: each may fill its window and one hand-out, and no more. They share a connection with nobody,
    // because whoever does not read stops everything on a connection.
    let before = resident();
    let mut unreading = StreamsClient::new(channel(&server).await);
    let mut unread = Vec::new();
    for _ in 0..20 {
        unread.push(unreading.read(reading(options(of_stream("large"), subscription()))).await.unwrap());
    }
    append(&mut client, "idle", 1).await;
    for answers in &mut held {
        while !matches!(answers.message().await.unwrap().unwrap().content, Some(Content::Event(_))) {}
    }
    let cost = resident().saturating_sub(before) / unread.len();
    println!("one subscription that is not read: {cost} bytes");
    assert!(cost < 4 * EVENTS_SIZE, "one subscription that is not read costs {cost} bytes");
    tokio::time::timeout(LIMIT, server.shutdown()).await.expect("nobody who does not read is waited for");
}
