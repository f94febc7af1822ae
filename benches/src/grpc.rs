//! Owns calls over gRPC, as an application with an official client makes them.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use forebay_wire::event_store::client::streams::append_req::options::ExpectedStreamRevision;
use forebay_wire::event_store::client::streams::append_req::{Content, Options, ProposedMessage};
use forebay_wire::event_store::client::streams::read_req::options::all_options::AllOption;
use forebay_wire::event_store::client::streams::read_req::options::{
    AllOptions, CountOption, FilterOption, Position, ReadDirection, StreamOption, UuidOption, uuid_option,
};
use forebay_wire::event_store::client::streams::streams_client::StreamsClient;
use forebay_wire::event_store::client::streams::{AppendReq, ReadReq, append_resp, read_req, read_resp};
use forebay_wire::event_store::client::{Empty, StreamIdentifier, Uuid, uuid};
use tonic::transport::{Channel, Endpoint};

use crate::clock::now_us;
use crate::load::{self, Place};

/// One connection that appends event by event.
pub(crate) struct Appender {
    streams: StreamsClient<Channel>,
}

impl Appender {
    /// Connects to a server that speaks clear text.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
        Ok(Self { streams: StreamsClient::new(endpoint.connect().await?) })
    }

    /// Appends events one by one, so many in a second, each with the time of its append.
    pub(crate) async fn append_live(&mut self, places: &[Place], rate: u32) -> Result<()> {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
        for place in places {
            pace.tick().await;
            self.append(*place).await?;
        }
        Ok(())
    }

    async fn append(&mut self, place: Place) -> Result<()> {
        let options = Options {
            stream_identifier: Some(StreamIdentifier { stream_name: load::stream_name(place.stream).into() }),
            expected_stream_revision: Some(ExpectedStreamRevision::Any(Empty {})),
        };
        let message = ProposedMessage {
            id: Some(Uuid { value: Some(uuid::Value::String(::uuid::Uuid::new_v4().to_string())) }),
            metadata: HashMap::from([
                ("type".to_owned(), "OrderPlaced".to_owned()),
                ("content-type".to_owned(), "application/json".to_owned()),
            ]),
            custom_metadata: Bytes::new(),
            data: load::data(place, now_us()).into(),
        };
        let parts = [Content::Options(options), Content::ProposedMessage(message)];
        let requests = parts.map(|content| AppendReq { content: Some(content) });
        let answer = self.streams.append(futures_util::stream::iter(requests)).await?.into_inner();
        match answer.result.context("the answer to an append says nothing")? {
            append_resp::Result::Success(_) => Ok(()),
            append_resp::Result::WrongExpectedVersion(_) => bail!("an append with any revision was refused"),
        }
    }
}

/// How many events of each type lie above one position, up to and including another.
pub(crate) async fn types_between(address: SocketAddr, above: u64, upto: u64) -> Result<BTreeMap<String, u64>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let mut streams = StreamsClient::new(endpoint.connect().await?);
    let position = Position { commit_position: above, prepare_position: above };
    let options = read_req::Options {
        read_direction: ReadDirection::Forwards.into(),
        resolve_links: false,
        uuid_option: Some(UuidOption { content: Some(uuid_option::Content::String(Empty {})) }),
        control_option: None,
        stream_option: Some(StreamOption::All(AllOptions { all_option: Some(AllOption::Position(position)) })),
        count_option: Some(CountOption::Count(upto - above + 1)),
        filter_option: Some(FilterOption::NoFilter(Empty {})),
    };
    let mut answers = streams.read(ReadReq { options: Some(options) }).await?.into_inner();
    let mut types = BTreeMap::new();
    while let Some(answer) = answers.message().await? {
        let Some(read_resp::Content::Event(read)) = answer.content else { continue };
        let event = read.event.context("an answer holds an event")?;
        let event_type = event.metadata.get("type").context("an event has a type")?;
        if event.commit_position > above && event.commit_position <= upto {
            *types.entry(event_type.clone()).or_insert(0) += 1;
        }
    }
    Ok(types)
}
