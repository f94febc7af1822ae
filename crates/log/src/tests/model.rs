//! Random work against a naive model: a list of events and the rules, without blocks, index, caches or disk.

use std::collections::HashSet;

use forebay_event::{ExpectedRevision, Position, ProposedEvent, RecordedEvent, Revision, StreamName};
use forebay_store::{
    AppendError, AppendRequest, Direction, EventFilter, EventStore, FilterSubject, LogPoint, Matcher, PageLimit,
    ReadAll, ReadError, ReadStream, StreamMetadata, StreamPoint,
};
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use uuid::Uuid;

use super::fixture::{Fixture, stream};
use crate::EmbeddedLog;

const STREAMS: [&str; 3] = ["a", "b-1", "b"];
const TOMBSTONE: u64 = Revision::MAX.get();

#[derive(Clone, Debug)]
enum Step {
    /// Events of these ids; ids are few, so that appends repeat each other.
    Append(usize, Expected, Vec<u8>),
    Delete(usize, Expected),
    Tombstone(usize, Expected),
    SetMetadata(usize, Option<u64>, Option<u64>),
    ReadStream(usize, bool, Option<u64>, usize),
    ReadAll(bool, u64, usize, Option<usize>),
    Repack,
    Reopen,
}

#[derive(Clone, Copy, Debug)]
enum Expected {
    Any,
    NoStream,
    Exists,
    /// So far below the last revision.
    Below(u64),
    Above,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let expected = || -> BoxedStrategy<Expected> {
        prop_oneof![
            3 => Just(Expected::Any),
            1 => Just(Expected::NoStream),
            1 => Just(Expected::Exists),
            4 => (0..4_u64).prop_map(Expected::Below),
            1 => Just(Expected::Above),
        ]
        .boxed()
    };
    let of = 0..STREAMS.len();
    let step = prop_oneof![
        12 => (of.clone(), expected(), proptest::collection::vec(1..60_u8, 0..5))
            .prop_map(|(of, expected, ids)| Step::Append(of, expected, ids)),
        2 => (of.clone(), expected()).prop_map(|(of, expected)| Step::Delete(of, expected)),
        1 => (of.clone(), expected()).prop_map(|(of, expected)| Step::Tombstone(of, expected)),
        2 => (of.clone(), proptest::option::of(1..4_u64), proptest::option::of(0..9_u64))
            .prop_map(|(of, count, before)| Step::SetMetadata(of, count, before)),
        6 => (of.clone(), any::<bool>(), proptest::option::of(0..12_u64), 1..6_usize)
            .prop_map(|(of, forward, from, limit)| Step::ReadStream(of, forward, from, limit)),
        4 => (any::<bool>(), 0..60_u64, 1..9_usize, proptest::option::of(of))
            .prop_map(|(forward, from, limit, only)| Step::ReadAll(forward, from, limit, only)),
        1 => Just(Step::Repack),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..60)
}

/// An event as the model knows it; ids of the store's own events are not known before.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    stream: String,
    revision: u64,
    id: Option<Uuid>,
}

#[derive(Debug, PartialEq, Eq)]
enum Refused {
    Wrong(Option<u64>),
    Deleted,
}

/// Last revision and position of what was or had been written.
type Outcome = Result<(Option<u64>, Option<u64>), Refused>;

#[derive(Default)]
struct Model {
    events: Vec<Stored>,
    metadata: std::collections::HashMap<String, StreamMetadata>,
}

impl Model {
    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (u64, &'a Stored)> {
        (1..).zip(&self.events).filter(move |(_, event)| event.stream == name)
    }

    fn last(&self, name: &str) -> Option<u64> {
        self.of(name).last().map(|(_, event)| event.revision)
    }

    fn is_soft_deleted(&self, name: &str) -> bool {
        self.metadata.get(name).is_some_and(StreamMetadata::is_soft_deleted)
    }

    fn push(&mut self, name: &str, id: Option<Uuid>) {
        let revision = self.last(name).map_or(0, |last| last + 1);
        self.events.push(Stored { stream: name.to_owned(), revision, id });
    }

    fn set_metadata(&mut self, name: &str, metadata: StreamMetadata) -> Outcome {
        let undeletes = self.is_soft_deleted(name)
            && (metadata.truncate_before().is_none() || metadata.is_soft_deleted())
            && self.last(name) != Some(TOMBSTONE);
        self.write_metadata(name, metadata.clone());
        let answer = (self.last(&format!("$${name}")), Some(self.events.len() as u64));
        if undeletes {
            let first = self.last(name).map_or(0, |last| last + 1);
            self.write_metadata(name, metadata.with_truncate_before(Revision::new(first)));
        }
        Ok(answer)
    }

    fn write_metadata(&mut self, name: &str, metadata: StreamMetadata) {
        self.push(&format!("$${name}"), None);
        self.metadata.insert(name.to_owned(), metadata);
    }

    fn append(&mut self, name: &str, expected: ExpectedRevision, ids: &[Uuid]) -> Outcome {
        let last = self.last(name);
        let soft = self.is_soft_deleted(name);
        let wrong = Err(Refused::Wrong(last));
        if last == Some(TOMBSTONE) {
            return Err(Refused::Deleted);
        }
        let repeated_from = match (expected, last) {
            (ExpectedRevision::StreamExists, _) if soft => return Err(Refused::Deleted),
            (ExpectedRevision::StreamExists, None) if !self.metadata.contains_key(name) => return wrong,
            (ExpectedRevision::Any | ExpectedRevision::StreamExists, _) => None,
            (ExpectedRevision::NoStream, None) => return self.write(name, ids),
            (ExpectedRevision::NoStream, Some(_)) => Some(0),
            (ExpectedRevision::Exact(at), Some(last)) if at.get() == last => return self.write(name, ids),
            (ExpectedRevision::Exact(at), Some(last)) if at.get() < last && !soft => Some(at.get() + 1),
            (ExpectedRevision::Exact(_), _) => return wrong,
        };
        let fresh = expected == ExpectedRevision::NoStream && soft;
        let places: Vec<Option<(u64, u64)>> = match repeated_from {
            None => ids.iter().map(|id| self.newest(name, *id)).collect(),
            Some(from) => (from..).zip(ids).map(|(revision, id)| self.at(name, revision, *id)).collect(),
        };
        match places.iter().position(Option::is_none) {
            None if ids.is_empty() && repeated_from.is_some() && !fresh => wrong,
            None if ids.is_empty() => Ok((last, None)),
            None => Ok(places.last().copied().flatten().map(|(revision, at)| (Some(revision), Some(at))).unwrap()),
            Some(0) if repeated_from.is_none() || fresh => self.write(name, ids),
            Some(_) => wrong,
        }
    }

    fn newest(&self, name: &str, id: Uuid) -> Option<(u64, u64)> {
        self.of(name).filter(|(_, event)| event.id == Some(id)).last().map(|(at, event)| (event.revision, at))
    }

    fn at(&self, name: &str, revision: u64, id: Uuid) -> Option<(u64, u64)> {
        self.of(name)
            .find(|(_, event)| event.revision == revision && event.id == Some(id))
            .map(|(at, event)| (event.revision, at))
    }

    fn write(&mut self, name: &str, ids: &[Uuid]) -> Outcome {
        if ids.is_empty() {
            return Ok((self.last(name), None));
        }
        let first = self.last(name).map_or(0, |last| last + 1);
        for id in ids {
            self.push(name, Some(*id));
        }
        let answer = (self.last(name), Some(self.events.len() as u64));
        if self.is_soft_deleted(name) {
            let metadata = self.metadata[name].clone().with_truncate_before(Revision::new(first));
            self.write_metadata(name, metadata);
        }
        Ok(answer)
    }

    fn end(&mut self, name: &str, expected: ExpectedRevision, tombstone: bool) -> Result<u64, Refused> {
        let last = self.last(name);
        let soft = self.is_soft_deleted(name);
        let known = last.is_some() || self.metadata.contains_key(name);
        if last == Some(TOMBSTONE) || (soft && expected == ExpectedRevision::StreamExists) {
            return Err(Refused::Deleted);
        }
        let fits = match expected {
            ExpectedRevision::Any => known || tombstone,
            ExpectedRevision::NoStream => (last.is_none() || soft) && (known || tombstone),
            ExpectedRevision::StreamExists => known,
            ExpectedRevision::Exact(at) => last == Some(at.get()),
        };
        if !fits {
            return Err(Refused::Wrong(last));
        }
        if tombstone {
            self.events.push(Stored { stream: name.to_owned(), revision: TOMBSTONE, id: None });
        } else {
            self.write_metadata(name, StreamMetadata::soft_deleted());
        }
        Ok(self.events.len() as u64)
    }

    /// Visible revisions of a stream, or why there are none.
    fn visible(&self, name: &str) -> Result<Vec<u64>, &'static str> {
        match self.last(name) {
            Some(TOMBSTONE) => Err("deleted"),
            Some(last) if !self.is_soft_deleted(name) => {
                let metadata = self.metadata.get(name).cloned().unwrap_or_default();
                let by_count = metadata.max_count().map_or(0, |count| (last + 1).saturating_sub(count));
                let first = by_count.max(metadata.truncate_before().map_or(0, Revision::get));
                Ok((first..=last).collect())
            }
            _ => Err("not found"),
        }
    }
}

struct Run {
    fixture: Fixture,
    log: EmbeddedLog,
    model: Model,
}

impl Run {
    async fn step(&mut self, step: &Step) {
        match step {
            Step::Append(of, expected, ids) => self.append(STREAMS[*of], *expected, ids).await,
            Step::Delete(of, expected) => self.end(STREAMS[*of], *expected, false).await,
            Step::Tombstone(of, expected) => self.end(STREAMS[*of], *expected, true).await,
            Step::SetMetadata(of, count, before) => {
                let name = STREAMS[*of];
                let mut metadata = StreamMetadata::default();
                metadata = count.map_or(metadata.clone(), |count| metadata.with_max_count(count));
                metadata =
                    before.map_or(metadata.clone(), |before| metadata.with_truncate_before(Revision::new(before)));
                let found = self.log.set_metadata(&stream(name), ExpectedRevision::Any, metadata.clone()).await;
                assert_eq!(outcome(found), self.model.set_metadata(name, metadata));
            }
            Step::ReadStream(of, forward, from, limit) => self.read_stream(STREAMS[*of], *forward, *from, *limit).await,
            Step::ReadAll(forward, from, limit, only) => self.read_all(*forward, *from, *limit, *only).await,
            Step::Repack => while self.log.writer().repack().await {},
            Step::Reopen => {
                self.log.close().await;
                self.log = self.fixture.open();
            }
        }
    }

    fn expected(&self, name: &str, expected: Expected) -> ExpectedRevision {
        let last = self.model.last(name).filter(|last| *last != TOMBSTONE);
        match expected {
            Expected::Any => ExpectedRevision::Any,
            Expected::NoStream => ExpectedRevision::NoStream,
            Expected::Exists => ExpectedRevision::StreamExists,
            Expected::Above => ExpectedRevision::Exact(Revision::new(last.map_or(0, |last| last + 1))),
            Expected::Below(by) => match last.and_then(|last| last.checked_sub(by)) {
                Some(revision) => ExpectedRevision::Exact(Revision::new(revision)),
                None => ExpectedRevision::NoStream,
            },
        }
    }

    async fn append(&mut self, name: &str, expected: Expected, ids: &[u8]) {
        let ids: Vec<Uuid> = ids.iter().map(|id| Uuid::from_u128(u128::from(*id))).collect();
        let expected = self.expected(name, expected);
        let events = ids.iter().map(|id| ProposedEvent::json(*id, "Happened", vec![b'x'; 50])).collect();
        let found = self.log.append(AppendRequest { stream: stream(name), expected, events }).await;
        assert_eq!(outcome(found), self.model.append(name, expected, &ids), "append to {name} at {expected}");
    }

    async fn end(&mut self, name: &str, expected: Expected, tombstone: bool) {
        let expected = self.expected(name, expected);
        let found = match tombstone {
            true => self.log.tombstone(&stream(name), expected).await,
            false => self.log.delete(&stream(name), expected).await,
        };
        let found = found.map(Position::commit).map_err(refused);
        assert_eq!(found, self.model.end(name, expected, tombstone), "end of {name} at {expected}, {tombstone}");
    }

    async fn read_stream(&self, name: &str, forward: bool, from: Option<u64>, limit: usize) {
        let direction = if forward { Direction::Forward } else { Direction::Backward };
        let point = match from {
            Some(revision) => StreamPoint::At(Revision::new(revision)),
            None if forward => StreamPoint::Start,
            None => StreamPoint::End,
        };
        let read = ReadStream { stream: stream(name), direction, from: point, limit: PageLimit::events(limit) };
        let found = match self.log.read_stream(read).await {
            Ok(page) => Ok(page),
            Err(ReadError::StreamDeleted { .. }) => Err("deleted"),
            Err(ReadError::StreamNotFound { .. }) => Err("not found"),
            Err(other) => panic!("{other}"),
        };
        let wanted = self.model.visible(name).map(|mut visible| {
            visible.retain(|revision| match from {
                Some(from) if forward => *revision >= from,
                Some(from) => *revision <= from,
                None => true,
            });
            if !forward {
                visible.reverse();
            }
            let next = visible.get(limit).copied();
            visible.truncate(limit);
            (visible, next)
        });
        let found = found.map(|page| {
            let revisions: Vec<u64> = page.events.iter().map(|event| event.revision().get()).collect();
            (revisions, page.next.map(Revision::get))
        });
        assert_eq!(found, wanted, "{name} {direction:?} from {from:?}, {limit}");
    }

    async fn read_all(&self, forward: bool, from: u64, limit: usize, only: Option<usize>) {
        let direction = if forward { Direction::Forward } else { Direction::Backward };
        let filter = only.map_or(EventFilter::All, |of| {
            EventFilter::Where(FilterSubject::Stream, Matcher::Prefixes(vec![STREAMS[of].to_owned()]))
        });
        let from = LogPoint::At(Position::new(from));
        let limit = PageLimit::events(limit);
        let page = self.log.read_all(ReadAll { direction, from, limit, filter }).await.unwrap();
        let LogPoint::At(from) = from else { unreachable!() };
        let mut wanted: Vec<(u64, &Stored)> = (1..)
            .zip(&self.model.events)
            .filter(|(at, _)| if forward { *at >= from.commit() } else { *at < from.commit() })
            .filter(|(_, event)| only.is_none_or(|of| event.stream.starts_with(STREAMS[of])))
            .collect();
        if !forward {
            wanted.reverse();
        }
        let is_all = wanted.len() < limit.events;
        wanted.truncate(limit.events);
        compare(&page.events, &wanted);
        assert!(page.at_end || !is_all, "a read that finds all is at the end");
    }
}

fn compare(found: &[RecordedEvent], wanted: &[(u64, &Stored)]) {
    let found = found.iter().map(|event| (event.position().commit(), event.stream(), event.revision().get()));
    let wanted = wanted.iter().map(|(at, event)| (*at, event.stream.as_str(), event.revision));
    assert_eq!(found.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
}

fn outcome(answer: Result<forebay_store::Appended, AppendError>) -> Outcome {
    answer
        .map(|appended| (appended.last_revision.map(Revision::get), appended.position.map(Position::commit)))
        .map_err(refused)
}

fn refused(error: AppendError) -> Refused {
    match error {
        AppendError::WrongExpectedRevision { current, .. } => Refused::Wrong(current.map(Revision::get)),
        AppendError::StreamDeleted { .. } => Refused::Deleted,
        other => panic!("it is refused otherwise: {other}"),
    }
}

#[test]
fn random_work_gives_what_the_model_gives() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let tried = TestRunner::new(config).run(&steps(), |steps| {
        runtime.block_on(async {
            let fixture = Fixture::new();
            let log = fixture.open();
            let mut run = Run { fixture, log, model: Model::default() };
            for step in &steps {
                run.step(step).await;
            }
            run.log.close().await;
            let report = crate::verify(run.fixture.path(), |_| ()).unwrap();
            assert!(report.is_sound(), "{report:?}");
            let streams: HashSet<_> = run.model.events.iter().map(|event| &event.stream).collect();
            assert_eq!((report.events, report.streams), (run.model.events.len() as u64, streams.len() as u64));
        });
        Ok(())
    });
    tried.unwrap();
}

#[test]
fn names_that_begin_alike_are_different_streams() {
    let key = |name: &StreamName| crate::engine::index_key(name.as_str(), 0);
    assert!(!key(&stream("b-1")).starts_with(&key(&stream("b"))[..3]));
}
