//! Owns where a run begins: start position given, else checkpoint, else settings.

use forebay_event::{Position, RecordedEvent, Revision, StreamName};
use forebay_store::{Direction, EventStore, LogPoint, PageLimit, ReadError, ReadStream, StreamPage, StreamPoint};

use super::checkpoint::Checkpoint;
use super::filter::Source;
use super::tracker::{Mark, SettledRanges};
use crate::settings::{InitialPosition, SubscriptionSettings};

/// Where a run begins.
#[derive(Clone, Debug)]
pub(super) struct Begin {
    /// What to subscribe behind.
    pub(super) origin: Origin,
    /// The place it begins behind; none for the beginning.
    pub(super) mark: Option<Mark>,
    /// What is settled above it already.
    pub(super) settled: SettledRanges,
}

/// What a subscription begins behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A place in the log.
    Log(LogPoint),
    /// A place in the one stream.
    Stream(StreamPoint),
}

/// What is known about where to begin.
pub(super) struct Known<'a> {
    /// Given with the start.
    pub(super) explicit: Option<LogPoint>,
    /// Stored by an earlier run.
    pub(super) checkpoint: Option<Checkpoint>,
    /// The settings.
    pub(super) settings: &'a SubscriptionSettings,
}

/// Why there is no place to begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum BeginError {
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store ends before it.
    #[error(
        "cannot continue behind position {from}: the store ends at {end}; it was restored to an earlier state or is \
         another store, so start the connector from a position that it has"
    )]
    Behind {
        /// What the checkpoint or the order says.
        from: Position,
        /// Where the store ends.
        end: Position,
    },
    /// The stream holds something else there.
    #[error(
        "cannot continue behind revision {revision} of stream {stream}, read at position {position}: the stream ends at \
         revision {last} or holds another event there; the store was restored to an earlier state or is another store, so \
         start the connector from a position that it has"
    )]
    Rewritten {
        /// Which stream.
        stream: StreamName,
        /// What the checkpoint says.
        revision: Revision,
        /// Where in the log that was.
        position: Position,
        /// The last revision that it has.
        last: Revision,
    },
}

/// Decides where to begin. `latest` is turned into the place of the last event, so that it can be stored and a crash
/// before the first checkpoint skips nothing.
pub(super) async fn begin(store: &dyn EventStore, source: &Source, known: Known<'_>) -> Result<Begin, BeginError> {
    let mut settled = SettledRanges::default();
    let point = if let Some(explicit) = known.explicit {
        explicit
    } else if let Some(checkpoint) = known.checkpoint {
        settled = checkpoint.settled;
        if let (Source::Stream(stream), Some(mark)) = (source, checkpoint.mark)
            && let (Some(revision), true) = (mark.revision, checkpoint.stream.as_deref() == Some(stream.as_str()))
        {
            check_past(store, stream, (mark.position, revision)).await?;
            return Ok(Begin { origin: Origin::Stream(StreamPoint::At(revision)), mark: Some(mark), settled });
        }
        checkpoint.mark.map_or(LogPoint::Start, |mark| LogPoint::At(mark.position))
    } else if let Some(position) = known.settings.start_position {
        LogPoint::At(Position::new(position))
    } else {
        match known.settings.initial_position {
            InitialPosition::Latest => LogPoint::End,
            InitialPosition::Earliest => LogPoint::Start,
        }
    };
    match source {
        Source::Log(_) => Ok(in_log(store, point, settled).await?),
        Source::Stream(stream) => {
            if let LogPoint::At(position) = point {
                check_end(store, position).await?;
            }
            Ok(in_stream(store, stream, point, settled).await?)
        }
    }
}

/// Refuses a place behind the end of the store. A subscription to the whole log refuses it by itself; one to a stream
/// would wait for revisions that mean other events.
async fn check_end(store: &dyn EventStore, from: Position) -> Result<(), BeginError> {
    let end = store.head().await?.unwrap_or(Position::START);
    if from > end { Err(BeginError::Behind { from, end }) } else { Ok(()) }
}

/// Refuses to go on in a stream whose past is not the one that was read. What is gone of it by now, is gone.
async fn check_past(
    store: &dyn EventStore,
    stream: &StreamName,
    (position, revision): (Position, Revision),
) -> Result<(), BeginError> {
    check_end(store, position).await?;
    let page = match page(store, stream, Direction::Forward, StreamPoint::At(revision)).await {
        // The subscription says what follows from that.
        Err(ReadError::StreamDeleted { .. }) => return Ok(()),
        page => page?,
    };
    let Some(page) = page else { return Ok(()) };
    let at = page.events.first().filter(|event| event.revision() == revision);
    if page.last_revision < revision || at.is_some_and(|event| event.position() != position) {
        let stream = stream.clone();
        return Err(BeginError::Rewritten { stream, revision, position, last: page.last_revision });
    }
    Ok(())
}

async fn in_log(store: &dyn EventStore, point: LogPoint, settled: SettledRanges) -> Result<Begin, ReadError> {
    let position = match point {
        LogPoint::Start => None,
        LogPoint::At(position) => Some(position),
        LogPoint::End => store.head().await?,
    };
    let point = position.map_or(LogPoint::Start, LogPoint::At);
    let mark = position.map(|position| Mark { position, revision: None });
    Ok(Begin { origin: Origin::Log(point), mark, settled })
}

async fn in_stream(
    store: &dyn EventStore,
    stream: &StreamName,
    point: LogPoint,
    settled: SettledRanges,
) -> Result<Begin, ReadError> {
    let last = match point {
        LogPoint::Start => None,
        LogPoint::End => last_event(store, stream).await?,
        LogPoint::At(position) => last_at_or_before(store, stream, position).await?,
    };
    let point = last.and_then(|mark| mark.revision).map_or(StreamPoint::Start, StreamPoint::At);
    Ok(Begin { origin: Origin::Stream(point), mark: last, settled })
}

async fn last_event(store: &dyn EventStore, stream: &StreamName) -> Result<Option<Mark>, ReadError> {
    let page = page(store, stream, Direction::Backward, StreamPoint::End).await?;
    Ok(page.and_then(|page| page.events.first().map(mark_of)))
}

/// Finds the last event of a stream that is not behind a log position, by bisection over its revisions.
///
/// Positions rise with revisions. Revisions that are not visible answer with the next one that is.
async fn last_at_or_before(
    store: &dyn EventStore,
    stream: &StreamName,
    position: Position,
) -> Result<Option<Mark>, ReadError> {
    let Some(first) = page(store, stream, Direction::Forward, StreamPoint::Start).await? else { return Ok(None) };
    let mut best: Option<Mark> = None;
    let (mut low, mut high) = (0, first.last_revision.get().saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        let there = page(store, stream, Direction::Forward, StreamPoint::At(Revision::new(middle))).await?;
        match there.as_ref().and_then(|page| page.events.first()) {
            Some(event) if event.position() <= position => {
                best = Some(mark_of(event));
                low = event.revision().get().saturating_add(1);
            }
            _ => high = middle,
        }
    }
    Ok(best)
}

async fn page(
    store: &dyn EventStore,
    stream: &StreamName,
    direction: Direction,
    from: StreamPoint,
) -> Result<Option<StreamPage>, ReadError> {
    let read = ReadStream { stream: stream.clone(), direction, from, limit: PageLimit::events(1) };
    match store.read_stream(read).await {
        Ok(page) => Ok(Some(page)),
        Err(ReadError::StreamNotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn mark_of(event: &RecordedEvent) -> Mark {
    Mark { position: event.position(), revision: Some(event.revision()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing::MemoryStore;
    use forebay_connector::Epoch;
    use forebay_store::EventFilter;

    /// Streams `a` and `b` in turn: `a` at positions 1, 3, 5, …, `b` at 2, 4, 6, ….
    async fn interleaved(count: u64) -> std::sync::Arc<MemoryStore> {
        let store = MemoryStore::new();
        for number in 0..count {
            store.add(if number % 2 == 0 { "a" } else { "b" }, "T", "{}").await;
        }
        store
    }

    fn settings() -> SubscriptionSettings {
        SubscriptionSettings::default()
    }

    fn stream(name: &str) -> Source {
        Source::Stream(StreamName::new(name).unwrap())
    }

    #[tokio::test]
    async fn a_position_of_another_stream_finds_the_right_place() {
        let store = interleaved(20).await;
        let settings = settings();
        for position in 1..=20u64 {
            let explicit = Some(LogPoint::At(Position::new(position)));
            let known = Known { explicit, checkpoint: None, settings: &settings };
            let found = begin(store.as_ref(), &stream("b"), known).await.unwrap();
            let wanted = match position / 2 {
                0 => StreamPoint::Start,
                count => StreamPoint::At(Revision::new(count - 1)),
            };
            assert_eq!(found.origin, Origin::Stream(wanted), "position {position}");
        }
    }

    #[tokio::test]
    async fn precedence_is_start_then_checkpoint_then_settings() {
        let store = interleaved(10).await;
        let log = Source::Log(EventFilter::ExcludeSystem);
        let checkpoint = Checkpoint {
            mark: Some(Mark { position: Position::new(4), revision: None }),
            stream: None,
            read: None,
            settled: SettledRanges::new([(Position::new(5), Position::new(7))]),
            epoch: Epoch(1),
        };
        let mut settings = settings();
        let known =
            Known { explicit: Some(LogPoint::Start), checkpoint: Some(checkpoint.clone()), settings: &settings };
        let found = begin(store.as_ref(), &log, known).await.unwrap();
        assert_eq!((found.origin, found.settled), (Origin::Log(LogPoint::Start), SettledRanges::default()));
        let known = Known { explicit: None, checkpoint: Some(checkpoint), settings: &settings };
        let found = begin(store.as_ref(), &log, known).await.unwrap();
        assert_eq!(found.origin, Origin::Log(LogPoint::At(Position::new(4))));
        assert!(found.settled.contains(Position::new(6)));
        for (start_position, initial_position, wanted) in [
            (None, InitialPosition::Latest, LogPoint::At(Position::new(10))),
            (None, InitialPosition::Earliest, LogPoint::Start),
            (Some(3), InitialPosition::Latest, LogPoint::At(Position::new(3))),
        ] {
            settings.start_position = start_position;
            settings.initial_position = initial_position;
            let known = Known { explicit: None, checkpoint: None, settings: &settings };
            assert_eq!(begin(store.as_ref(), &log, known).await.unwrap().origin, Origin::Log(wanted));
        }
    }

    #[tokio::test]
    async fn a_stream_goes_on_by_its_revision() {
        let store = interleaved(10).await;
        let settings = settings();
        let mark = Mark { position: Position::new(4), revision: Some(Revision::new(1)) };
        let checkpoint = Checkpoint {
            mark: Some(mark),
            stream: Some("b".to_owned()),
            read: None,
            settled: SettledRanges::default(),
            epoch: Epoch(1),
        };
        for (name, wanted) in [("b", Revision::new(1)), ("a", Revision::new(1))] {
            let known = Known { explicit: None, checkpoint: Some(checkpoint.clone()), settings: &settings };
            let found = begin(store.as_ref(), &stream(name), known).await.unwrap();
            assert_eq!(found.origin, Origin::Stream(StreamPoint::At(wanted)), "{name}");
        }
        let known = Known { explicit: None, checkpoint: None, settings: &settings };
        assert_eq!(
            begin(store.as_ref(), &stream("none"), known).await.unwrap().origin,
            Origin::Stream(StreamPoint::Start)
        );
    }
}
