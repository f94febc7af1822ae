//! Owns the call of a subscription: opening it behind a place, and reading its messages.

use forebay_event::{Position, RecordedEvent, Revision, StreamName};
use forebay_store::{EventFilter, ReadError, SubscribeError};
use forebay_wire::event_store::client::Empty;
use forebay_wire::event_store::client::streams::read_req::Options;
use forebay_wire::event_store::client::streams::read_req::options::all_options::AllOption;
use forebay_wire::event_store::client::streams::read_req::options::stream_options::RevisionOption;
use forebay_wire::event_store::client::streams::read_req::options::{
    AllOptions, CountOption, FilterOption, StreamOption, SubscriptionOptions,
};
use forebay_wire::event_store::client::streams::read_resp::Content;
use forebay_wire::event_store::client::streams::{ReadReq, ReadResp};
use tonic::{Request, Streaming};

use crate::failure::{Failure, exception};
use crate::filter;
use crate::link::Seat;
use crate::port::Inner;
use crate::read::{self, at, in_time, stream_target, structured_ids};
use crate::recorded::{self, Unreadable};

/// What is subscribed to, and behind which place.
#[derive(Clone, Debug)]
pub(super) enum Followed {
    /// The whole log.
    Log {
        /// Behind this position; from the beginning when there is none.
        behind: Option<Position>,
        /// Which events.
        filter: EventFilter,
        /// How often the server tells where it is, in events examined.
        checkpoint_every: usize,
    },
    /// One stream.
    Stream {
        /// Which.
        stream: StreamName,
        /// Behind this revision; from the beginning when there is none.
        behind: Option<Revision>,
    },
}

/// What a server says in a subscription.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// The next event.
    Event(RecordedEvent),
    /// Everything up to here was examined.
    Checkpoint(Position),
    /// What follows is live.
    CaughtUp,
    /// What follows is history again.
    FellBehind,
}

/// Why a subscription has no next message.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It cannot go on.
    Final(SubscribeError),
    /// It may go on with another call.
    Passing(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Passing(failure)
    }
}

/// An open call.
pub(super) struct Feed {
    answers: Streaming<ReadResp>,
    /// What came first, until it is looked at.
    first: Option<ReadResp>,
    /// The stream, for the error that names it.
    stream: Option<StreamName>,
    _seat: Seat,
}

impl Feed {
    /// Opens the call and waits until the server confirms it.
    pub(super) async fn open(inner: &Inner, followed: &Followed) -> Result<Self, Trouble> {
        let opened = Self::try_open(inner, followed).await;
        if let Err(Trouble::Passing(failure)) = &opened
            && inner.seats.wants_leader()
        {
            inner.leader.complain_of_leader(failure);
        }
        opened
    }

    async fn try_open(inner: &Inner, followed: &Followed) -> Result<Self, Trouble> {
        if let Followed::Log { behind: Some(from), .. } = followed {
            check_end(inner, *from).await?;
        }
        let limit = inner.deadline();
        let seat = inner.seats.take(&inner.leader, limit).await?;
        let message = ReadReq { options: Some(options(followed)) };
        let call = if inner.seats.wants_leader() { inner.to_leader(message) } else { Request::new(message) };
        let stream = match followed {
            Followed::Log { .. } => None,
            Followed::Stream { stream, .. } => Some(stream.clone()),
        };
        let mut client = inner.streams(&seat.connection);
        let answered = in_time(limit, client.read(call)).await;
        let answers = answered.map_err(|failure| judged(failure, stream.as_ref()))?.into_inner();
        let mut feed = Self { answers, first: None, stream, _seat: seat };
        // The first message is the confirmation; a server that holds it back is not waited for without end.
        let first = in_time(limit, feed.answers.message()).await;
        feed.first = first.map_err(|failure| judged(failure, feed.stream.as_ref()))?;
        Ok(feed)
    }

    /// Waits for the next thing that is told. Safe to cancel.
    pub(super) async fn next(&mut self) -> Result<Told, Trouble> {
        loop {
            let answer = match self.first.take() {
                Some(first) => Ok(Some(first)),
                None => self.answers.message().await,
            };
            let answer = answer.map_err(|status| judged(Failure::of(status), self.stream.as_ref()))?;
            let Some(answer) = answer else {
                return Err(Trouble::Passing(Failure::Lost { reason: "the server ended the subscription".to_owned() }));
            };
            match answer.content {
                Some(Content::Event(message)) => {
                    return recorded::read(message).map(Told::Event).map_err(|error| unreadable(&error));
                }
                Some(Content::Checkpoint(told)) => {
                    return Ok(Told::Checkpoint(Position::from_parts(told.commit_position, told.prepare_position)));
                }
                Some(Content::CaughtUp(_)) => return Ok(Told::CaughtUp),
                Some(Content::FellBehind(_)) => return Ok(Told::FellBehind),
                _ => {}
            }
        }
    }
}

/// A store that ends before the place to continue from is another store, or was restored to an earlier state. The leader
/// is asked: another node may only be late.
async fn check_end(inner: &Inner, from: Position) -> Result<(), Trouble> {
    let head = read::head(inner).await.map_err(|error| match error {
        ReadError::Unavailable { reason } => Trouble::Passing(Failure::NotNow { reason }),
        error => Trouble::Final(error.into()),
    })?;
    match head {
        Some(end) if end >= from => Ok(()),
        end => Err(Trouble::Final(SubscribeError::BehindEnd { from, end: end.unwrap_or(Position::START) })),
    }
}

fn judged(failure: Failure, stream: Option<&StreamName>) -> Trouble {
    match (failure, stream) {
        (Failure::Refused(status), Some(stream)) if exception(&status) == Some("stream-deleted") => {
            Trouble::Final(SubscribeError::StreamDeleted { stream: stream.clone() })
        }
        (failure @ Failure::Refused(_), _) => {
            Trouble::Final(ReadError::Unavailable { reason: failure.reason() }.into())
        }
        (failure, _) => Trouble::Passing(failure),
    }
}

fn unreadable(error: &Unreadable) -> Trouble {
    let reason = error.to_string();
    Trouble::Final(match error {
        Unreadable::NoPositions => ReadError::Unavailable { reason }.into(),
        Unreadable::Malformed { .. } => ReadError::Damaged { place: "the log".to_owned(), reason }.into(),
    })
}

fn options(followed: &Followed) -> Options {
    let (target, filter) = match followed {
        Followed::Log { behind, filter, checkpoint_every } => {
            let from = behind.map_or(AllOption::Start(Empty {}), at);
            let all = StreamOption::All(AllOptions { all_option: Some(from) });
            (all, filter::option(filter, *checkpoint_every))
        }
        Followed::Stream { stream, behind } => {
            let from =
                behind.map_or(RevisionOption::Start(Empty {}), |revision| RevisionOption::Revision(revision.get()));
            (stream_target(stream, from), FilterOption::NoFilter(Empty {}))
        }
    };
    Options {
        stream_option: Some(target),
        count_option: Some(CountOption::Subscription(SubscriptionOptions {})),
        filter_option: Some(filter),
        uuid_option: Some(structured_ids()),
        ..Options::default()
    }
}
