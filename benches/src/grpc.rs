//! Owns appends over gRPC, as an application with an official client makes them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use forebay_wire::event_store::client::streams::append_req::options::ExpectedStreamRevision;
use forebay_wire::event_store::client::streams::append_req::{Content, Options, ProposedMessage};
use forebay_wire::event_store::client::streams::streams_client::StreamsClient;
use forebay_wire::event_store::client::streams::{AppendReq, append_resp};
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
