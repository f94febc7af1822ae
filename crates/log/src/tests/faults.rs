//! Commits that fail, and stored bytes that change: what is refused, and what goes on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay_store::{AppendError, Direction, EventStore, PageLimit, ReadError, ReadStream, StreamPoint};

use super::fixture::{Fixture, all_data, append, stream};
use crate::EmbeddedLog;
use crate::engine::{FaultPoint, Faults};

/// A fault that can be switched on, at one point of a commit.
fn switch(point: FaultPoint, kind: io::ErrorKind) -> (Arc<AtomicBool>, Faults) {
    let is_on = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_on);
    let faults: Faults =
        Arc::new(
            move |at| {
                if at == point && seen.load(Ordering::SeqCst) { Err(io::Error::from(kind)) } else { Ok(()) }
            },
        );
    (is_on, faults)
}

fn reason(answer: Result<forebay_store::Appended, AppendError>) -> String {
    match answer {
        Err(AppendError::Unavailable { reason }) => reason,
        other => panic!("the append cannot be made: {other:?}"),
    }
}

#[tokio::test]
async fn a_full_disk_refuses_appends_and_not_reads() {
    let fixture = Fixture::new();
    let (is_full, faults) = switch(FaultPoint::Write, io::ErrorKind::StorageFull);
    let log = fixture.open_with(faults);
    append(&log, "orders", 0).await.unwrap();
    is_full.store(true, Ordering::SeqCst);
    assert!(reason(append(&log, "orders", 1).await).contains("no storage space"));
    is_full.store(false, Ordering::SeqCst);
    let again = reason(append(&log, "orders", 1).await);
    assert!(again.contains("must be opened anew"), "{again}");
    assert_eq!(all_data(&log).await.len(), 1, "reads go on");
    log.close().await;

    let log = fixture.open();
    append(&log, "orders", 1).await.unwrap();
    assert_eq!(all_data(&log).await.len(), 2);
    log.close().await;
}

#[tokio::test]
async fn a_failed_sync_poisons_until_reopened() {
    let fixture = Fixture::new();
    let (fails, faults) = switch(FaultPoint::Sync, io::ErrorKind::Other);
    let log = fixture.open_with(faults);
    append(&log, "orders", 0).await.unwrap();
    fails.store(true, Ordering::SeqCst);
    reason(append(&log, "orders", 1).await);
    fails.store(false, Ordering::SeqCst);
    reason(append(&log, "orders", 2).await);
    reason(log.delete(&stream("orders"), forebay_event::ExpectedRevision::Any).await.map(|_| unreachable!()));
    assert_eq!(all_data(&log).await.len(), 1, "what is not known to be durable is not read");
    assert_eq!(log.head().await.unwrap().unwrap().commit(), 1);
    let page = read(&log, "orders").await.unwrap();
    assert_eq!((page.events.len(), page.last_revision.get()), (1, 0));
    log.close().await;

    // Whether the failed append is there is open; repeating it makes it be there once.
    let log = fixture.open();
    append(&log, "orders", 1).await.unwrap();
    assert_eq!(all_data(&log).await, ["{\"n\":0}", "{\"n\":1}"]);
    log.close().await;
}

#[tokio::test]
async fn a_high_water_position_that_cannot_be_written_ends_writing_and_loses_nothing() {
    let fixture = Fixture::new();
    let (fails, faults) = switch(FaultPoint::HighWater, io::ErrorKind::Other);
    let log = fixture.open_with(faults);
    append(&log, "orders", 0).await.unwrap();
    fails.store(true, Ordering::SeqCst);
    append(&log, "orders", 1).await.expect("it is durable");
    let again = reason(append(&log, "orders", 2).await);
    assert!(again.contains("the high-water position was not written"), "{again}");
    assert_eq!(all_data(&log).await.len(), 2);
    log.close().await;

    let (log, report) = fixture.try_open().unwrap();
    assert_eq!((report.last_position, report.high_water), (2, 1));
    append(&log, "orders", 2).await.unwrap();
    log.close().await;
}

async fn read(log: &EmbeddedLog, name: &str) -> Result<forebay_store::StreamPage, ReadError> {
    let limit = PageLimit::events(100);
    let from = StreamPoint::Start;
    log.read_stream(ReadStream { stream: stream(name), direction: Direction::Forward, from, limit }).await
}

#[tokio::test]
async fn a_changed_block_is_refused_by_place_wherever_it_is_read() {
    let fixture = Fixture::new();
    let log = fixture.open();
    for number in 0..5 {
        append(&log, &format!("orders-{number}"), number).await.unwrap();
    }
    let changed = log.shared().with_engine(|engine| {
        let mut stored = engine.stored_block(3);
        let last = stored.len() - 1;
        stored[last] ^= 1;
        engine.overwrite_block(3, &stored);
        Ok(())
    });
    changed.unwrap();
    log.close().await;

    let (log, report) = match fixture.try_open() {
        Ok(opened) => opened,
        Err(error) => {
            assert!(error.to_string().contains("blocks/3"), "{error}");
            let report = crate::verify(fixture.path(), |_| ()).unwrap();
            assert!(!report.is_sound());
            assert!(report.damages.iter().any(|damage| damage.place == "blocks/3"), "{report:?}");
            return;
        }
    };
    log.close().await;
    panic!("the changed block lies in the part that is read when opening: {report}");
}

#[tokio::test]
async fn a_block_that_changes_while_open_is_refused_by_place() {
    let fixture = Fixture::new();
    let log = fixture.open();
    for number in 0..5 {
        append(&log, &format!("orders-{number}"), number).await.unwrap();
    }
    log.close().await;
    let log = fixture.open();
    let overwritten = log.shared().with_engine(|engine| {
        engine.overwrite_block(3, b"not a block");
        Ok(())
    });
    overwritten.unwrap();
    match read(&log, "orders-2").await {
        Err(ReadError::Damaged { place, .. }) => assert_eq!(place, "blocks/3"),
        other => panic!("a damaged block is not handed out: {other:?}"),
    }
    assert_eq!(read(&log, "orders-3").await.unwrap().events.len(), 1, "the others can be read");
    let read_all = forebay_store::ReadAll {
        direction: Direction::Forward,
        from: forebay_store::LogPoint::Start,
        limit: PageLimit::events(100),
        filter: forebay_store::EventFilter::All,
    };
    assert!(matches!(log.read_all(read_all).await, Err(ReadError::Damaged { .. })), "nothing is passed over");
    log.close().await;
}

#[tokio::test]
async fn an_index_that_names_another_event_is_refused() {
    let fixture = Fixture::new();
    let log = fixture.open();
    append(&log, "a", 0).await.unwrap();
    append(&log, "b", 1).await.unwrap();
    let misplaced = log.shared().with_engine(|engine| {
        engine.remove_index("a", 0);
        let mut index = crate::engine::NewEntries::default();
        index.add("a", crate::engine::Placed { revision: 0, position: 2 });
        engine.commit(crate::engine::Change { index, ..crate::engine::Change::default() }).unwrap();
        Ok(())
    });
    misplaced.unwrap();
    match read(&log, "a").await {
        Err(ReadError::Damaged { place, .. }) => assert_eq!(place, "index/a/0"),
        other => panic!("another stream's event is not handed out: {other:?}"),
    }
    log.close().await;
}
