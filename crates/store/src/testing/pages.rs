//! Cases of reading in pages: both ways, of streams and of the whole log, by count and bytes, with filters.

use bytes::Bytes;
use forebay_event::{ContentType, Position, ProposedEvent, RecordedEvent};

use super::subject::{ANY, Bench, Case, at, case, event, only, revisions, some_events};
use crate::{
    Direction, EventFilter, FilterSubject, LogPoint, Matcher, PageLimit, ReadAll, ReadError, ReadStream, StreamPoint,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("events come back as they went in", |bench| Box::pin(verbatim(bench))),
        case("a stream in pages", |bench| Box::pin(stream_pages(bench))),
        case("where stream reads begin", |bench| Box::pin(stream_points(bench))),
        case("a stream that is not there", |bench| Box::pin(missing(bench))),
        case("pages end by bytes", |bench| Box::pin(by_bytes(bench))),
        case("the whole log in pages", |bench| Box::pin(all_pages(bench))),
        case("where log reads begin", |bench| Box::pin(all_points(bench))),
        case("filters", |bench| Box::pin(filters(bench))),
        case("large events", |bench| Box::pin(large(bench))),
    ]
}

async fn verbatim(bench: &mut Bench) {
    let stream = bench.fresh_stream();
    let odd = ProposedEvent {
        id: uuid::Uuid::new_v4(),
        event_type: "Größe-事件".to_owned(),
        content_type: ContentType::Bytes,
        data: Bytes::from_static(&[0, 255, 10]),
        metadata: Bytes::from_static(b"\xff{"),
    };
    let empty = ProposedEvent { data: Bytes::new(), ..event("Empty") };
    bench.append(&stream, ANY, vec![odd.clone(), empty.clone()]).await.expect("payloads are opaque");
    let page = bench.page(&stream, Direction::Forward, StreamPoint::Start, 10).await;
    for (stored, proposed) in page.events.iter().zip([odd, empty]) {
        assert_eq!((stored.id(), stored.event_type()), (proposed.id, proposed.event_type.as_str()));
        assert_eq!(stored.content_type(), proposed.content_type);
        assert_eq!((stored.data(), stored.metadata()), (proposed.data, proposed.metadata));
        assert_eq!(stored.stream(), stream.as_str());
    }
}

async fn stream_pages(bench: &mut Bench) {
    let (stream, _) = bench.stream_of(25).await;
    for (direction, mut from) in [(Direction::Forward, StreamPoint::Start), (Direction::Backward, StreamPoint::End)] {
        let mut seen = Vec::new();
        loop {
            let page = bench.page(&stream, direction, from, 10).await;
            assert!(page.events.len() <= 10);
            assert_eq!(page.last_revision.get(), 24);
            seen.extend(revisions(&page.events));
            match page.next {
                Some(next) => from = StreamPoint::At(next),
                None => break,
            }
        }
        let mut wanted: Vec<u64> = (0..25).collect();
        if direction == Direction::Backward {
            wanted.reverse();
        }
        assert_eq!(seen, wanted, "{direction:?}");
    }
}

async fn stream_points(bench: &mut Bench) {
    let (stream, _) = bench.stream_of(5).await;
    let rows: [(Direction, StreamPoint, &[u64]); 9] = [
        (Direction::Forward, StreamPoint::Start, &[0, 1]),
        (Direction::Forward, StreamPoint::End, &[]),
        (Direction::Forward, at(3), &[3, 4]),
        (Direction::Forward, at(9), &[]),
        (Direction::Backward, StreamPoint::End, &[4, 3]),
        (Direction::Backward, StreamPoint::Start, &[0]),
        (Direction::Backward, at(1), &[1, 0]),
        (Direction::Backward, at(9), &[4, 3]),
        (Direction::Backward, at(0), &[0]),
    ];
    for (direction, from, wanted) in rows {
        let page = bench.page(&stream, direction, from, 2).await;
        assert_eq!(revisions(&page.events), wanted, "{direction:?} from {from:?}");
    }
}

async fn missing(bench: &mut Bench) {
    assert!(matches!(bench.unreadable(&bench.fresh_stream()).await, ReadError::StreamNotFound { .. }));
}

async fn by_bytes(bench: &mut Bench) {
    let stream = bench.fresh_stream();
    let kilobyte = || ProposedEvent { data: vec![b'x'; 1000].into(), ..event("Heavy") };
    bench.append(&stream, ANY, (0..6).map(|_| kilobyte()).collect()).await.expect("six kilobytes are taken");
    let read = |limit| ReadStream {
        stream: stream.clone(),
        direction: Direction::Forward,
        from: StreamPoint::Start,
        limit: PageLimit { events: 100, bytes: limit },
    };
    let page = bench.store().read_stream(read(2500)).await.expect("it can be read");
    assert!((2..=3).contains(&page.events.len()), "{} events of 1 kB", page.events.len());
    let page = bench.store().read_stream(read(1)).await.expect("it can be read");
    assert_eq!(page.events.len(), 1, "a page holds at least one event");
    assert_eq!(page.next.map(|next| next.get()), Some(1));
}

async fn read_all(bench: &Bench, direction: Direction, from: LogPoint, events: usize) -> crate::AllPage {
    let read = ReadAll { direction, from, limit: PageLimit::events(events), filter: EventFilter::All };
    bench.store().read_all(read).await.expect("the log can be read")
}

async fn all_pages(bench: &mut Bench) {
    let before = bench.head().await;
    let mut streams = Vec::new();
    for _ in 0..12 {
        streams.push(bench.stream_of(2).await.0);
    }
    let forward = positions(&bench.all_behind(before, &EventFilter::All).await);
    assert!(forward.len() >= 24 && forward.is_sorted_by(|a, b| a < b));

    let mut backward = Vec::new();
    let mut from = LogPoint::End;
    loop {
        let page = read_all(bench, Direction::Backward, from, 5).await;
        backward.extend(positions(&page.events).into_iter().filter(|position| *position > before));
        if page.at_end || page.events.iter().any(|event| event.position() <= before) {
            break;
        }
        from = page.next;
    }
    backward.reverse();
    assert_eq!(backward, forward);
}

async fn all_points(bench: &mut Bench) {
    bench.stream_of(3).await;
    let head = bench.head().await;
    let inclusive = read_all(bench, Direction::Forward, LogPoint::At(head), 10).await;
    assert_eq!((positions(&inclusive.events), inclusive.at_end), (vec![head], true));
    let exclusive = read_all(bench, Direction::Backward, LogPoint::At(head), 1).await;
    assert!(positions(&exclusive.events)[0] < head);
    let from_end = read_all(bench, Direction::Backward, LogPoint::End, 1).await;
    assert_eq!(positions(&from_end.events), [head]);
    for (direction, from) in [(Direction::Forward, LogPoint::End), (Direction::Backward, LogPoint::Start)] {
        let nothing = read_all(bench, direction, from, 10).await;
        assert!(nothing.events.is_empty() && nothing.at_end, "{direction:?} from {from:?}");
    }
    let first = read_all(bench, Direction::Forward, LogPoint::Start, 1).await;
    let again = read_all(bench, Direction::Forward, LogPoint::At(first.events[0].position()), 1).await;
    assert_eq!(again.events[0].id(), first.events[0].id());
    let second = read_all(bench, Direction::Forward, first.next, 1).await;
    assert!(second.events[0].position() > first.events[0].position(), "pages follow each other");
}

async fn filters(bench: &mut Bench) {
    let before = bench.head().await;
    let stream = bench.fresh_stream();
    let typed = ["Placed", "$hidden", "Paid", "Shipped"].map(event).to_vec();
    bench.append(&stream, ANY, typed).await.expect("they are new");
    bench.add(&bench.fresh_stream(), 30).await;
    let types = |events: Vec<RecordedEvent>| -> Vec<String> {
        let own = events.into_iter().filter(|event| event.stream() == stream.as_str());
        own.map(|event| event.event_type().to_owned()).collect()
    };
    let by_type = |matcher| EventFilter::Where(FilterSubject::EventType, matcher);
    let prefixes = Matcher::Prefixes(vec!["P".to_owned(), "Ship".to_owned()]);
    assert_eq!(types(bench.all_behind(before, &by_type(prefixes)).await), ["Placed", "Paid", "Shipped"]);
    let regex = Matcher::regex("^Paid|ipp").expect("it is valid");
    assert_eq!(types(bench.all_behind(before, &by_type(regex)).await), ["Paid", "Shipped"]);
    assert_eq!(types(bench.all_behind(before, &EventFilter::ExcludeSystem).await), ["Placed", "Paid", "Shipped"]);
    assert_eq!(types(bench.all_behind(before, &only(&stream)).await).len(), 4);
    let nothing = by_type(Matcher::Prefixes(vec!["no such type".to_owned()]));
    assert!(bench.all_behind(before, &nothing).await.is_empty());
}

async fn large(bench: &mut Bench) {
    let stream = bench.fresh_stream();
    let heavy = ProposedEvent { data: (0..300_000_u32).map(|n| (n % 251) as u8).collect(), ..event("Heavy") };
    let mut events = some_events(2);
    events.insert(1, heavy.clone());
    bench.append(&stream, ANY, events).await.expect("300 kB are taken");
    let page = bench.page(&stream, Direction::Forward, StreamPoint::Start, 10).await;
    assert_eq!(revisions(&page.events), [0, 1, 2]);
    assert_eq!(page.events[1].data(), heavy.data);
}

fn positions(events: &[RecordedEvent]) -> Vec<Position> {
    events.iter().map(RecordedEvent::position).collect()
}
