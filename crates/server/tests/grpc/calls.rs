//! Owns the server under test, and requests to it.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use forebay_server::{Config, RunningServer, start};
use forebay_wire::event_store::client::streams::read_req::Options;
use forebay_wire::event_store::client::streams::read_req::options::{
    AllOptions, CountOption, FilterOption, StreamOption, StreamOptions, SubscriptionOptions, UuidOption, all_options,
    stream_options,
};
use forebay_wire::event_store::client::streams::streams_client::StreamsClient;
use forebay_wire::event_store::client::streams::{AppendReq, ReadReq, append_req};
use forebay_wire::event_store::client::{Empty, StreamIdentifier, Uuid as WireUuid, uuid as wire_uuid};
use futures_util::stream;
use tonic::Status;
use tonic::transport::Channel;
use uuid::Uuid;

/// How long anything may take that should happen at once.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) async fn server(data: &Path) -> RunningServer {
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = Config { listen, data: data.to_owned(), append_size_max: 1 << 20, ..Config::default() };
    start(config).await.unwrap()
}

pub(crate) async fn channel(server: &RunningServer) -> Channel {
    Channel::from_shared(format!("http://{}", server.address())).unwrap().connect().await.unwrap()
}

pub(crate) fn named(stream: &str) -> Option<StreamIdentifier> {
    Some(StreamIdentifier { stream_name: stream.to_owned().into() })
}

pub(crate) fn id() -> Option<WireUuid> {
    Some(WireUuid { value: Some(wire_uuid::Value::String(Uuid::new_v4().to_string())) })
}

pub(crate) fn properties() -> HashMap<String, String> {
    [("type", "T"), ("content-type", "application/json")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

pub(crate) fn append_options(stream: &str) -> AppendReq {
    let expected_stream_revision = Some(append_req::options::ExpectedStreamRevision::Any(Empty {}));
    let options = append_req::Options { stream_identifier: named(stream), expected_stream_revision };
    AppendReq { content: Some(append_req::Content::Options(options)) }
}

pub(crate) fn append_event(data: Vec<u8>) -> AppendReq {
    let message =
        append_req::ProposedMessage { id: id(), metadata: properties(), custom_metadata: "".into(), data: data.into() };
    AppendReq { content: Some(append_req::Content::ProposedMessage(message)) }
}

pub(crate) async fn append(client: &mut StreamsClient<Channel>, stream: &str, count: usize) {
    let messages: Vec<_> =
        std::iter::once(append_options(stream)).chain((0..count).map(|_| append_event(b"{}".to_vec()))).collect();
    client.append(stream::iter(messages)).await.unwrap();
}

pub(crate) fn options(target: StreamOption, count: CountOption) -> Options {
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

pub(crate) fn of_stream(stream: &str) -> StreamOption {
    let revision_option = Some(stream_options::RevisionOption::Start(Empty {}));
    StreamOption::Stream(StreamOptions { stream_identifier: named(stream), revision_option })
}

pub(crate) fn of_all() -> StreamOption {
    StreamOption::All(AllOptions { all_option: Some(all_options::AllOption::Start(Empty {})) })
}

pub(crate) fn subscription() -> CountOption {
    CountOption::Subscription(SubscriptionOptions {})
}

pub(crate) fn reading(options: Options) -> ReadReq {
    ReadReq { options: Some(options) }
}

pub(crate) async fn refusal(client: &mut StreamsClient<Channel>, request: ReadReq) -> Status {
    match client.read(request).await {
        Err(status) => status,
        Ok(_) => panic!("the call is to be refused before its first message"),
    }
}

/// Bytes of memory that this process holds, the server included.
pub(crate) fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}
