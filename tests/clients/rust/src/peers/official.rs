//! Owns the official client as a peer.

use kurrentdb::{
    AppendToStreamOptions, Client, CurrentRevision, DeleteStreamOptions, Error, EventData, ReadAllOptions, ReadStream,
    ReadStreamOptions, StreamMetadata, StreamMetadataResult, StreamPosition, StreamState, SubscribeToAllOptions,
    SubscribeToStreamOptions, Subscription, SubscriptionEvent, SubscriptionFilter, TombstoneStreamOptions,
};
use serde_json::{Map, Value};

use super::peer::{Expected, Followed, Kept, New, Peer, Seen, Told, Way, Wrong};

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        match error {
            Error::WrongExpectedVersion { current: CurrentRevision::Current(revision), .. } => {
                Self::Revision(Some(revision))
            }
            Error::WrongExpectedVersion { current: CurrentRevision::NoStream, .. } => Self::Revision(None),
            Error::ResourceNotFound => Self::NotFound,
            Error::ResourceDeleted => Self::Deleted,
            // Of a delete the client hands on the server's words; of an append it reads them.
            Error::Grpc { message, .. } if message.contains("WrongExpectedVersion") => {
                let actual = message.rsplit_once("Actual version: ").map(|(_, actual)| actual.trim_end_matches('.'));
                Self::Revision(actual.and_then(|actual| actual.parse().ok()))
            }
            other => Self::Other(other.to_string()),
        }
    }
}

fn state(expected: Expected) -> StreamState {
    match expected {
        Expected::Any => StreamState::Any,
        Expected::NoStream => StreamState::NoStream,
        Expected::Exists => StreamState::StreamExists,
        Expected::At(revision) => StreamState::StreamRevision(revision),
    }
}

fn filter(kept: &Kept) -> SubscriptionFilter {
    match kept {
        Kept::Streams(prefix) => SubscriptionFilter::on_stream_name().add_prefix(prefix),
        Kept::Types(prefix) => SubscriptionFilter::on_event_type().add_prefix(prefix),
        Kept::StreamsLike(expression) => SubscriptionFilter::on_stream_name().regex(expression),
    }
}

fn seen(event: &kurrentdb::ResolvedEvent) -> Seen {
    let event = event.get_original_event();
    Seen {
        stream: event.stream_id().to_owned(),
        revision: event.revision,
        position: (event.position.commit, event.position.prepare),
        id: event.id,
        event_type: event.event_type.clone(),
        is_json: event.is_json,
        data: event.data.to_vec(),
        metadata: event.custom_metadata.to_vec(),
        created_s: u64::try_from(event.created.timestamp()).expect("it was created after 1970"),
    }
}

async fn all_of(read: kurrentdb::Result<ReadStream>) -> Told<Vec<Seen>> {
    let mut read = read?;
    let mut events = Vec::new();
    while let Some(event) = read.next().await? {
        events.push(seen(&event));
    }
    Ok(events)
}

impl Followed for Subscription {
    async fn next(&mut self) -> Told<Option<Seen>> {
        loop {
            match self.next_subscription_event().await? {
                SubscriptionEvent::EventAppeared(event) => return Ok(Some(seen(&event))),
                SubscriptionEvent::CaughtUp(_) => return Ok(None),
                _ => {}
            }
        }
    }
}

impl Peer for Client {
    type Followed = Subscription;

    async fn append(&self, stream: &str, expected: Expected, events: &[New]) -> Told<(u64, u64)> {
        let event = |new: &New| {
            let data = if new.is_json {
                let value: Value = serde_json::from_slice(&new.data).expect("it is JSON");
                EventData::json(&new.event_type, &value).expect("it is JSON")
            } else {
                EventData::binary(&new.event_type, new.data.clone().into())
            };
            data.id(new.id).metadata(new.metadata.clone().into())
        };
        let events: Vec<EventData> = events.iter().map(event).collect();
        let options = AppendToStreamOptions::default().stream_state(state(expected));
        let done = self.append_to_stream(stream, &options, events).await?;
        Ok((done.next_expected_version, done.position.commit))
    }

    async fn delete(&self, stream: &str, expected: Expected) -> Told<()> {
        let options = DeleteStreamOptions::default().stream_state(state(expected));
        Ok(self.delete_stream(stream, &options).await.map(drop)?)
    }

    async fn tombstone(&self, stream: &str, expected: Expected) -> Told<()> {
        let options = TombstoneStreamOptions::default().stream_state(state(expected));
        Ok(self.tombstone_stream(stream, &options).await.map(drop)?)
    }

    async fn set_metadata(&self, stream: &str, expected: Expected, metadata: &Map<String, Value>) -> Told<()> {
        let metadata: StreamMetadata =
            serde_json::from_value(Value::Object(metadata.clone())).expect("these keys are known to the client");
        let options = AppendToStreamOptions::default().stream_state(state(expected));
        Ok(self.set_stream_metadata(stream, &options, &metadata).await.map(drop)?)
    }

    async fn metadata(&self, stream: &str) -> Told<Map<String, Value>> {
        match self.get_stream_metadata(stream, &ReadStreamOptions::default()).await? {
            StreamMetadataResult::Success(found) => {
                match serde_json::to_value(found.metadata()).expect("it was JSON") {
                    Value::Object(object) => Ok(object.into_iter().filter(|(_, value)| !value.is_null()).collect()),
                    other => Err(Wrong::Other(other.to_string())),
                }
            }
            StreamMetadataResult::NotFound { .. } => Ok(Map::new()),
            StreamMetadataResult::Deleted { .. } => Err(Wrong::Deleted),
        }
    }

    async fn read(&self, stream: &str, way: Way, count: usize) -> Told<Vec<Seen>> {
        let options = ReadStreamOptions::default().max_count(count);
        let options = match way {
            Way::Forward(None) => options.forwards().position(StreamPosition::Start),
            Way::Forward(Some(revision)) => options.forwards().position(StreamPosition::Position(revision)),
            Way::Backward(None) => options.backwards().position(StreamPosition::End),
            Way::Backward(Some(revision)) => options.backwards().position(StreamPosition::Position(revision)),
        };
        all_of(self.read_stream(stream, &options).await).await
    }

    async fn read_all(&self, forward: bool, kept: &Kept) -> Told<Vec<Seen>> {
        let options = ReadAllOptions::default().filter(filter(kept)).max_count(usize::MAX);
        let options = if forward {
            options.forwards().position(StreamPosition::Start)
        } else {
            options.backwards().position(StreamPosition::End)
        };
        all_of(Client::read_all(self, &options).await).await
    }

    async fn follow(&self, stream: &str, behind: Option<u64>) -> Told<Subscription> {
        let from = behind.map_or(StreamPosition::Start, StreamPosition::Position);
        Ok(self.subscribe_to_stream(stream, &SubscribeToStreamOptions::default().start_from(from)).await)
    }

    async fn follow_all(&self, kept: &Kept) -> Told<Subscription> {
        let options = SubscribeToAllOptions::default().position(StreamPosition::Start).filter(filter(kept));
        Ok(self.subscribe_to_all(&options).await)
    }
}
