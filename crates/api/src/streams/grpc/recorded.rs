//! Owns writing recorded events and what stands between them; payloads are passed on, never copied.

use std::collections::HashMap;

use forebay_event::{Position, RecordedEvent, Revision, Timestamp};
use forebay_wire::event_store::client::streams::ReadResp;
use forebay_wire::event_store::client::streams::read_resp::read_event::{
    Position as EventPosition, RecordedEvent as WireEvent,
};
use forebay_wire::event_store::client::streams::read_resp::{
    CaughtUp, Checkpoint, Content, Position as WirePosition, ReadEvent, StreamNotFound, SubscriptionConfirmation,
};
use prost_types::Timestamp as WireTimestamp;
use uuid::Uuid;

use super::names::{IdForm, identifier, write_id};

/// An event as it was recorded.
pub(super) fn event(event: &RecordedEvent, form: IdForm) -> ReadResp {
    let position = event.position();
    read_event(Some(recorded(event, form)), None, position)
}

/// A link and what it points to; only the link when that is not there.
pub(super) fn resolved(link: &RecordedEvent, target: Option<&RecordedEvent>, form: IdForm) -> ReadResp {
    let target = target.map(|target| recorded(target, form));
    read_event(target, Some(recorded(link, form)), link.position())
}

fn read_event(event: Option<WireEvent>, link: Option<WireEvent>, position: Position) -> ReadResp {
    let position = Some(EventPosition::CommitPosition(position.commit()));
    answer(Content::Event(ReadEvent { event, link, position }))
}

fn recorded(event: &RecordedEvent, form: IdForm) -> WireEvent {
    let properties = [
        ("type", event.event_type().to_owned()),
        ("created", event.created().ticks().to_string()),
        ("content-type", event.content_type().media_type().to_owned()),
    ];
    WireEvent {
        id: Some(write_id(event.id(), form)),
        stream_identifier: Some(identifier(event.stream())),
        stream_revision: event.revision().get(),
        prepare_position: event.position().prepare(),
        commit_position: event.position().commit(),
        metadata: HashMap::from(properties.map(|(name, value)| (name.to_owned(), value))),
        custom_metadata: event.metadata(),
        data: event.data(),
    }
}

/// There is no such stream.
pub(super) fn stream_not_found(stream: &str) -> ReadResp {
    answer(Content::StreamNotFound(StreamNotFound { stream_identifier: Some(identifier(stream)) }))
}

/// The revision of the first event, which lies behind what was asked for.
pub(super) fn first_revision(revision: Revision) -> ReadResp {
    answer(Content::FirstStreamPosition(revision.get()))
}

/// The last revision of the stream that was read.
pub(super) fn last_revision(revision: Revision) -> ReadResp {
    answer(Content::LastStreamPosition(revision.get()))
}

/// A subscription is open.
pub(super) fn confirmation() -> ReadResp {
    let subscription_id = Uuid::new_v4().to_string();
    answer(Content::Confirmation(SubscriptionConfirmation { subscription_id }))
}

/// Everything up to this position was examined.
pub(super) fn checkpoint(position: Position, now: Timestamp) -> ReadResp {
    answer(Content::Checkpoint(Checkpoint {
        commit_position: position.commit(),
        prepare_position: position.prepare(),
        timestamp: Some(timestamp(now)),
    }))
}

/// History is finished, at this revision of the stream or this position of the log.
pub(super) fn caught_up(revision: Option<Revision>, position: Option<Position>, now: Timestamp) -> ReadResp {
    let position = position
        .map(|position| WirePosition { commit_position: position.commit(), prepare_position: position.prepare() });
    let stream_revision = revision.and_then(|revision| i64::try_from(revision.get()).ok());
    answer(Content::CaughtUp(CaughtUp { timestamp: Some(timestamp(now)), stream_revision, position }))
}

fn timestamp(time: Timestamp) -> WireTimestamp {
    WireTimestamp::from(time.to_system_time())
}

fn answer(content: Content) -> ReadResp {
    ReadResp { content: Some(content) }
}
