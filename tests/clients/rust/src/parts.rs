//! Owns the parts of the conversation.

use kurrentdb::{
    AppendToStreamOptions, Client, DeleteStreamOptions, Error, EventData, ReadAllOptions, ReadStreamOptions,
    StreamMetadataBuilder, StreamMetadataResult, StreamPosition, StreamState, SubscribeToAllOptions,
    SubscribeToStreamOptions, SubscriptionEvent, SubscriptionFilter, TombstoneStreamOptions,
};
use serde_json::json;
use uuid::Uuid;

fn fresh(name: &str) -> String {
    format!("{name}-{}", Uuid::new_v4())
}

fn events(count: usize, event_type: &str) -> Vec<EventData> {
    (0..count)
        .map(|n| EventData::json(event_type, &json!({ "n": n })).expect("it is JSON").id(Uuid::new_v4()))
        .collect()
}

fn expecting(state: StreamState) -> AppendToStreamOptions {
    AppendToStreamOptions::default().stream_state(state)
}

async fn revisions(client: &Client, stream: &str) -> kurrentdb::Result<Vec<u64>> {
    let options = ReadStreamOptions::default().position(StreamPosition::Start);
    let mut read = client.read_stream(stream, &options).await?;
    let mut revisions = Vec::new();
    while let Some(event) = read.next().await? {
        revisions.push(event.get_original_event().revision);
    }
    Ok(revisions)
}

/// One part of the conversation.
pub(crate) async fn append_and_read(client: &Client) -> kurrentdb::Result<()> {
    let stream = fresh("größe");
    let written = events(3, "Counted");
    let first = client.append_to_stream(&*stream, &expecting(StreamState::NoStream), written.clone()).await?;
    assert_eq!(first.next_expected_version, 2);
    for state in [StreamState::NoStream, StreamState::Any, StreamState::StreamExists] {
        let again = client.append_to_stream(&*stream, &expecting(state), written.clone()).await?;
        assert_eq!(again.position, first.position);
    }
    assert_eq!(revisions(client, &stream).await?, [0, 1, 2]);
    let wrong = client.append_to_stream(&*stream, &expecting(StreamState::StreamRevision(7)), events(1, "T")).await;
    assert!(matches!(wrong, Err(Error::WrongExpectedVersion { .. })), "{wrong:?}");
    assert!(matches!(revisions(client, &fresh("none")).await, Err(Error::ResourceNotFound)));
    Ok(())
}

/// One part of the conversation.
pub(crate) async fn deletes(client: &Client) -> kurrentdb::Result<()> {
    let stream = fresh("deleted");
    client.append_to_stream(&*stream, &Default::default(), events(2, "Counted")).await?;
    client.delete_stream(&*stream, &DeleteStreamOptions::default()).await?;
    assert!(matches!(revisions(client, &stream).await, Err(Error::ResourceNotFound)));
    client.append_to_stream(&*stream, &Default::default(), events(1, "Counted")).await?;
    assert_eq!(revisions(client, &stream).await?, [2]);
    client.tombstone_stream(&*stream, &TombstoneStreamOptions::default()).await?;
    assert!(matches!(revisions(client, &stream).await, Err(Error::ResourceDeleted)));
    let refused = client.append_to_stream(&*stream, &Default::default(), events(1, "Counted")).await;
    assert!(matches!(refused, Err(Error::ResourceDeleted)), "{refused:?}");
    Ok(())
}

/// One part of the conversation.
pub(crate) async fn metadata(client: &Client) -> kurrentdb::Result<()> {
    let stream = fresh("metadata");
    client.append_to_stream(&*stream, &Default::default(), events(3, "Counted")).await?;
    let said = StreamMetadataBuilder::new().max_count(2).insert_custom_property("own", json!([1])).build();
    client.set_stream_metadata(&*stream, &Default::default(), &said).await?;
    match client.get_stream_metadata(&*stream, &Default::default()).await? {
        StreamMetadataResult::Success(found) => assert_eq!(found.metadata(), &said),
        other => panic!("expected metadata, found {other:?}"),
    }
    assert_eq!(revisions(client, &stream).await?, [1, 2]);
    Ok(())
}

/// One part of the conversation.
pub(crate) async fn read_all(client: &Client) -> kurrentdb::Result<()> {
    let event_type = fresh("Type");
    client.append_to_stream(fresh("all"), &Default::default(), events(3, &event_type)).await?;
    let filter = SubscriptionFilter::on_event_type().add_prefix(&event_type);
    let mut read = client.read_all(&ReadAllOptions::default().position(StreamPosition::Start).filter(filter)).await?;
    let mut found = 0;
    while let Some(event) = read.next().await? {
        assert_eq!(event.get_original_event().event_type, event_type);
        found += 1;
    }
    assert_eq!(found, 3);
    let mut first = client.read_all(&ReadAllOptions::default().position(StreamPosition::Start).max_count(1)).await?;
    let first = first.next().await?.expect("a fresh log holds events");
    assert!(first.get_original_event().event_type.starts_with('$'));
    Ok(())
}

/// One part of the conversation.
pub(crate) async fn subscriptions(client: &Client) -> kurrentdb::Result<()> {
    let stream = fresh("followed");
    client.append_to_stream(&*stream, &Default::default(), events(2, "Followed")).await?;
    let options = SubscribeToStreamOptions::default().start_from(StreamPosition::Start);
    let mut followed = client.subscribe_to_stream(&*stream, &options).await;
    let mut told = Vec::new();
    while told.len() < 5 {
        told.push(match followed.next_subscription_event().await? {
            SubscriptionEvent::Confirmed(_) => "confirmed",
            SubscriptionEvent::EventAppeared(_) => "event",
            SubscriptionEvent::CaughtUp(_) => {
                client.append_to_stream(&*stream, &Default::default(), events(1, "Followed")).await?;
                "caught up"
            }
            _ => "other",
        });
    }
    assert_eq!(told, ["confirmed", "event", "event", "caught up", "event"]);
    Ok(())
}

/// One part of the conversation.
pub(crate) async fn checkpoints(client: &Client) -> kurrentdb::Result<()> {
    let filter = SubscriptionFilter::on_event_type().regex("^no such type$");
    let options = SubscribeToAllOptions::default().position(StreamPosition::Start).filter(filter);
    let mut followed = client.subscribe_to_all(&options).await;
    let mut checkpoints = 0;
    loop {
        match followed.next_subscription_event().await? {
            SubscriptionEvent::Checkpoint(_) => checkpoints += 1,
            SubscriptionEvent::CaughtUp(_) => break,
            SubscriptionEvent::EventAppeared(event) => panic!("nothing matches, but {event:?} came"),
            _ => {}
        }
    }
    assert!(checkpoints > 0);
    Ok(())
}

/// One part of the conversation.
pub(crate) async fn batches(client: &Client) -> kurrentdb::Result<()> {
    let batch = client.batch_append(&Default::default()).await?;
    let stream = fresh("batched");
    for _ in 0..3 {
        batch.append_to_stream(&*stream, StreamState::Any, events(4, "Batched")).await?;
    }
    assert_eq!(revisions(client, &stream).await?.len(), 12);
    Ok(())
}
