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
