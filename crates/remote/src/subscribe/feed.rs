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
use tonic::{Code, Request, Streaming};

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

impl Followed {
    fn stream(&self) -> Option<&StreamName> {
        match self {
            Self::Log { .. } => None,
            Self::Stream { stream, .. } => Some(stream),
        }
    }
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
    /// The log ended before the place to continue from.
    rewound: Option<Rewound>,
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
        let Followed::Log { behind: Some(from), filter, checkpoint_every } = followed else {
            return Self::call(inner, followed).await.map_err(|failure| judged(failure, followed.stream()));
        };
        let (from, end) = (*from, end_of_log(inner).await?);
        let called = Self::call(inner, followed).await;
        if end >= Some(from) {
            return called.map_err(|failure| judged(failure, None));
        }
        let rewound = Rewound { from, end: end.unwrap_or(Position::START) };
        match called {
            Err(Failure::Refused(status)) if status.code() == Code::InvalidArgument => return Err(rewound.into()),
            Err(failure) => return Err(judged(failure, None)),
            // Dropped: a store that was rewound would pass over what it records from now on.
            Ok(_) => {}
        }
        let (filter, checkpoint_every) = (filter.clone(), *checkpoint_every);
        let followed = Followed::Log { behind: end, filter, checkpoint_every };
        let called = Self::call(inner, &followed).await.map_err(|failure| judged(failure, None))?;
        Ok(Self { rewound: Some(rewound), ..called })
    }

    /// Makes the call and waits until it is confirmed.
    async fn call(inner: &Inner, followed: &Followed) -> Result<Self, Failure> {
        let limit = inner.deadline();
        let seat = inner.seats.take(&inner.leader, limit).await?;
        let message = ReadReq { options: Some(options(followed)) };
        let call = if inner.seats.wants_leader() { inner.to_leader(message) } else { Request::new(message) };
        let stream = followed.stream().cloned();
        let mut answers = in_time(limit, inner.streams(&seat.connection).read(call)).await?.into_inner();
        // The first message is the confirmation; a server that holds it back is not waited for without end.
        let first = in_time(limit, answers.message()).await?;
        Ok(Self { answers, first, stream, rewound: None, _seat: seat })
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
                    let event = recorded::read(message).map_err(|error| unreadable(&error))?;
                    return match self.rewound {
                        Some(rewound) if event.position() <= rewound.from => Err(rewound.into()),
                        _ => Ok(Told::Event(event)),
                    };
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

/// The place to continue from, and the end of the log before it.
///
/// Either the store was restored to an earlier state, or is another one; or the place is that of a checkpoint behind the
/// last event that can be read, among records that the server keeps to itself. The two are told apart by what comes: a
/// subscription behind the end hands out nothing up to the place, unless the log grows there once more.
#[derive(Clone, Copy, Debug)]
struct Rewound {
    from: Position,
    end: Position,
}

impl From<Rewound> for Trouble {
    fn from(Rewound { from, end }: Rewound) -> Self {
        Self::Final(SubscribeError::BehindEnd { from, end })
    }
}

/// Where the log ends. The leader is asked: another node may only be late.
async fn end_of_log(inner: &Inner) -> Result<Option<Position>, Trouble> {
    read::head(inner).await.map_err(|error| match error {
        ReadError::Unavailable { reason } => Trouble::Passing(Failure::NotNow { reason }),
        error => Trouble::Final(error.into()),
    })
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
