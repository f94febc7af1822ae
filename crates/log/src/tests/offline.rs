//! The checks and figures of a log that no process has open.

use forebay_event::ExpectedRevision;
use forebay_store::EventStore;

use super::fixture::{Fixture, append, stream};
use crate::{OpenError, info, verify};

#[tokio::test]
async fn a_sound_log_is_told_so_with_its_figures() {
    let fixture = Fixture::new();
    let log = fixture.open();
    for number in 0..30 {
        append(&log, &format!("orders-{}", number % 3), number).await.unwrap();
    }
    log.delete(&stream("orders-0"), ExpectedRevision::Any).await.unwrap();
    log.tombstone(&stream("orders-1"), ExpectedRevision::Any).await.unwrap();
    log.close().await;

    let report = verify(fixture.path(), |_| ()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.events, report.index_entries, report.blocks, report.streams), (32, 32, 32, 4));
    assert_eq!((report.last_position, report.high_water), (32, 32));

    let figures = info(fixture.path(), |_| ()).unwrap();
    assert_eq!((figures.events, figures.streams, figures.blocks, figures.format_version), (32, 4, 32, 1));
    assert_eq!((figures.first_position, figures.last_position), (Some(1), Some(32)));
    assert!(figures.raw_bytes > 0 && figures.stored_bytes > 0 && figures.disk_bytes > 0);
}

#[tokio::test]
async fn missing_and_wrong_index_entries_are_named() {
    let fixture = Fixture::new();
    let log = fixture.open();
    for number in 0..4 {
        append(&log, "orders", number).await.unwrap();
    }
    let removed = log.shared().with_engine(|engine| {
        engine.remove_index("orders", 2);
        Ok(())
    });
    removed.unwrap();
    log.close().await;
    let report = verify(fixture.path(), |_| ()).unwrap();
    let places: Vec<_> = report.damages.iter().map(|damage| damage.place.as_str()).collect();
    assert_eq!(places, ["index/orders/2", "index/orders/3", "index"]);
}

#[test]
fn a_directory_without_a_log_is_refused() {
    let fixture = Fixture::new();
    assert!(matches!(verify(fixture.path(), |_| ()).map(|_| ()), Err(OpenError::NotALog { .. })));
    assert!(matches!(info(&fixture.path().join("none"), |_| ()).map(|_| ()), Err(OpenError::NotALog { .. })));
    assert!(std::fs::read_dir(fixture.path()).unwrap().next().is_none(), "nothing is made");
}

/// A log of five events in five blocks, the block at `position` changed behind the log's back.
async fn with_damaged_block(position: u64) -> Fixture {
    let fixture = Fixture::new();
    let log = fixture.open();
    for number in 0..5 {
        append(&log, &format!("orders-{number}"), number).await.unwrap();
    }
    let changed = log.shared().with_engine(|engine| {
        let mut stored = engine.stored_block(position);
        *stored.last_mut().unwrap() ^= 1;
        engine.overwrite_block(position, &stored);
        Ok(())
    });
    changed.unwrap();
    log.close().await;
    fixture
}

#[tokio::test]
async fn a_damaged_last_block_is_reported_and_the_rest_is_checked() {
    let fixture = with_damaged_block(5).await;
    assert!(matches!(fixture.try_open().map(|_| ()), Err(OpenError::Damaged { .. })), "a server does not open it");
    let report = verify(fixture.path(), |_| ()).unwrap();
    let [damage] = report.damages.as_slice() else { panic!("one line says it all: {report:?}") };
    assert_eq!(damage.place, "blocks/5");
    let meaning = "it is the last block: no event from position 5 on can be read, and a server refuses to open the log";
    assert!(damage.reason.contains("its checksum is") && damage.reason.ends_with(meaning), "{damage:?}");
    assert_eq!((report.blocks, report.events, report.last_position, report.high_water), (5, 4, 4, 5));
    assert!(!report.is_sound());
}

#[tokio::test]
async fn a_damaged_block_between_others_is_reported_with_the_events_it_hides() {
    let fixture = with_damaged_block(2).await;
    let report = verify(fixture.path(), |_| ()).unwrap();
    let [damage] = report.damages.as_slice() else { panic!("one line says it all: {report:?}") };
    assert_eq!(damage.place, "blocks/2");
    assert!(damage.reason.ends_with("the events from position 2 to 2 cannot be read"), "{damage:?}");
    assert_eq!((report.blocks, report.events, report.last_position), (5, 4, 5));
}

#[tokio::test]
async fn what_keeps_a_log_from_being_opened_is_reported_with_its_place() {
    let reported = |fixture: &Fixture| {
        let report = verify(fixture.path(), |_| ()).unwrap();
        let damage = report.damages.into_iter().next_back().unwrap();
        assert!(damage.reason.contains("a server refuses to open the log"), "{damage:?}");
        damage
    };
    let fixture = with_damaged_block(5).await;
    let high_water = fixture.path().join("HIGH-WATER");
    let kept = std::fs::read(&high_water).unwrap();
    std::fs::remove_file(&high_water).unwrap();
    assert_eq!(reported(&fixture).place, high_water.display().to_string());

    std::fs::write(&high_water, &kept).unwrap();
    std::fs::rename(fixture.path().join("engine"), fixture.path().join("elsewhere")).unwrap();
    let damage = reported(&fixture);
    assert_eq!(damage.place, fixture.path().display().to_string());
    assert!(damage.reason.contains("ends at position 0, but position 5 was acknowledged"), "{damage:?}");

    std::fs::write(fixture.path().join("FORMAT"), "something\n").unwrap();
    assert_eq!(reported(&fixture).place, fixture.path().join("FORMAT").display().to_string());
}

#[tokio::test]
async fn a_lost_end_is_reported_when_everything_before_it_is_whole() {
    let fixture = with_damaged_block(5).await;
    let log = fixture.try_open();
    assert!(log.is_err());
    crate::high_water::HighWater::create(&fixture.path().join("HIGH-WATER"), 9).unwrap();
    let report = verify(fixture.path(), |_| ()).unwrap();
    assert_eq!(report.damages.len(), 1, "the damaged block hides where the log ended: {report:?}");

    let fixture = Fixture::new();
    let log = fixture.open();
    append(&log, "orders", 0).await.unwrap();
    log.close().await;
    crate::high_water::HighWater::create(&fixture.path().join("HIGH-WATER"), 3).unwrap();
    let report = verify(fixture.path(), |_| ()).unwrap();
    let damage = report.damages.first().unwrap();
    assert_eq!(damage.place, fixture.path().display().to_string());
    assert!(damage.reason.contains("ends at position 1, but position 3 was acknowledged"), "{damage:?}");
}
