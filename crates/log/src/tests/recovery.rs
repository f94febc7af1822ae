//! Reopening: what a crash tore off is cut and reported, what was acknowledged must be there, one process at a time.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use forebay_event::{ExpectedRevision, ProposedEvent};
use forebay_store::{AppendRequest, EventStore};

use super::fixture::{Fixture, all_data, append, event, stream};
use crate::OpenError;

/// The engine's last journal file.
fn journal_file(fixture: &Fixture) -> PathBuf {
    let files = fs::read_dir(fixture.path().join("engine")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "jnl")).max().unwrap()
}

/// A log with so many events, closed; answers the journal's content without the zeros at its end.
async fn written(fixture: &Fixture, events: u128) -> Vec<u8> {
    let log = fixture.open();
    for number in 0..events {
        append(&log, "orders", number).await.unwrap();
    }
    log.close().await;
    let mut content = fs::read(journal_file(fixture)).unwrap();
    let end = content.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    content.truncate(end);
    content
}

#[tokio::test]
async fn a_new_log_is_empty_and_an_old_one_is_not() {
    let fixture = Fixture::new();
    let (log, report) = fixture.try_open().unwrap();
    assert!(report.is_new && report.last_position == 0);
    assert_eq!(log.head().await.unwrap(), None);
    append(&log, "orders", 0).await.unwrap();
    log.close().await;

    let (log, report) = fixture.try_open().unwrap();
    assert!(!report.is_new);
    assert_eq!((report.last_position, report.high_water, report.cut_bytes, report.remembered_events), (1, 1, 0, 1));
    assert!(report.replayed_bytes > 0);
    assert_eq!(all_data(&log).await, ["{\"n\":0}"]);
    log.close().await;
}

#[tokio::test]
async fn a_torn_end_is_cut_and_reported() {
    let fixture = Fixture::new();
    let content = written(&fixture, 3).await;
    // The last batch without its end, and nobody was told that it is durable.
    fs::write(journal_file(&fixture), &content[..content.len() - 9]).unwrap();
    crate::high_water::HighWater::create(&fixture.path().join("HIGH-WATER"), 2).unwrap();

    let (log, report) = fixture.try_open().unwrap();
    assert_eq!(report.last_position, 2);
    assert!(report.cut_bytes > 0, "{report}");
    append(&log, "orders", 2).await.unwrap();
    append(&log, "orders", 3).await.unwrap();
    log.close().await;
    let log = fixture.open();
    assert_eq!(all_data(&log).await.len(), 4);
    log.close().await;
}

#[tokio::test]
async fn a_torn_batch_of_full_length_is_cut() {
    let fixture = Fixture::new();
    let two = written(&fixture, 2).await;
    let log = fixture.open();
    append(&log, "orders", 2).await.unwrap();
    log.close().await;
    // The third batch is whole but for one byte, and nobody was told that it is durable.
    let mut three = fs::read(journal_file(&fixture)).unwrap();
    three[two.len() + 60] ^= 1;
    fs::write(journal_file(&fixture), three).unwrap();
    crate::high_water::HighWater::create(&fixture.path().join("HIGH-WATER"), 2).unwrap();

    let (log, report) = fixture.try_open().unwrap();
    assert_eq!(report.last_position, 2);
    assert!(report.cut_bytes > 0);
    log.close().await;
}

#[tokio::test]
async fn damage_before_the_end_of_the_journal_is_refused() {
    let fixture = Fixture::new();
    let content = written(&fixture, 20).await;
    let middle = content.len() / 2;
    for (at, len) in (middle..middle + 120).map(|at| (at, 1)).chain([(middle, 200)]) {
        let mut damaged = content.clone();
        for byte in &mut damaged[at..at + len] {
            *byte ^= 0x55;
        }
        fs::write(journal_file(&fixture), &damaged).unwrap();
        match fixture.try_open().map(|_| ()) {
            Err(OpenError::Damaged { place, .. }) => assert!(place.contains(".jnl at byte"), "{place}"),
            other => panic!("damage of {len} bytes is not passed over: {other:?}"),
        }
        assert_eq!(fs::read(journal_file(&fixture)).unwrap(), damaged, "nothing is changed");
    }
    fs::write(journal_file(&fixture), &content).unwrap();
    let (log, report) = fixture.try_open().unwrap();
    assert_eq!((report.last_position, report.cut_bytes), (20, 0));
    log.close().await;
}

/// What the engine by itself makes of a directory: the keys of its blocks.
fn blocks_without_us(fixture: &Fixture) -> Vec<u64> {
    let database = fjall::Database::builder(fixture.path().join("engine")).open().unwrap();
    let blocks = database.keyspace("blocks", fjall::KeyspaceCreateOptions::default).unwrap();
    blocks.iter().map(|guard| u64::from_be_bytes(guard.key().unwrap().as_ref().try_into().unwrap())).collect()
}

#[tokio::test]
async fn a_page_of_zeros_within_the_journal_is_refused_where_the_engine_drops_what_follows() {
    let fixture = Fixture::new();
    let content = written(&fixture, 60).await;
    let page = (content.len() / 2).next_multiple_of(4096) - 4096;
    let mut damaged = content.clone();
    damaged[page..page + 4096].fill(0);
    let path = journal_file(&fixture);
    let both = |error: Result<_, OpenError>| match error.map(|_: ()| ()) {
        Err(OpenError::Damaged { place, .. }) => {
            assert!(place.contains(&path.display().to_string()), "{place}");
            let at: usize = place.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(at <= page + 4096 && at + 4096 > page, "{at} for the page at {page}");
        }
        other => panic!("whole batches follow the page: {other:?}"),
    };
    fs::write(&path, &damaged).unwrap();
    both(fixture.try_open().map(|_| ()));
    // The journal alone tells, also when a power cut left an old high-water position.
    crate::high_water::HighWater::create(&fixture.path().join("HIGH-WATER"), 1).unwrap();
    both(fixture.try_open().map(|_| ()));
    assert_eq!(fs::read(&path).unwrap(), damaged, "a refusal changes nothing");

    let left = blocks_without_us(&fixture);
    assert!(left.len() < 60, "the engine has learned to see it; this look at the journal may go");
}

#[tokio::test]
async fn a_lost_page_at_the_end_of_the_journal_is_refused_by_the_high_water_position() {
    let fixture = Fixture::new();
    let mut content = written(&fixture, 60).await;
    // Nothing whole follows, so the journal by itself looks torn.
    let page = content.len() - content.len() % 4096;
    content[page - 4096..].fill(0);
    fs::write(journal_file(&fixture), content).unwrap();
    assert!(matches!(fixture.try_open().map(|_| ()), Err(OpenError::BehindHighWater { high_water: 60, .. })));
    assert!(matches!(fixture.try_open().map(|_| ()), Err(OpenError::BehindHighWater { high_water: 60, .. })));
}

#[tokio::test]
async fn a_damaged_list_of_the_engine_is_refused_and_nothing_is_removed() {
    let fixture = Fixture::new();
    written(&fixture, 400).await;
    let keyspace = fixture.path().join("engine/keyspaces/1");
    let tables = || fs::read_dir(keyspace.join("tables")).unwrap().count();
    let before = tables();
    assert!(before > 0, "the workload fills tables");
    let current = keyspace.join("current");
    let kept = fs::read(&current).unwrap();
    fs::remove_file(&current).unwrap();
    for _ in 0..2 {
        match fixture.try_open().map(|_| ()) {
            Err(OpenError::Damaged { place, .. }) => assert_eq!(place, current.display().to_string()),
            other => panic!("the engine would remove the keyspace: {other:?}"),
        }
        assert_eq!(tables(), before);
    }
    fs::write(&current, kept).unwrap();
    fixture.open().close().await;
}

#[tokio::test]
async fn a_damaged_table_is_named() {
    let fixture = Fixture::new();
    written(&fixture, 400).await;
    let folder = fixture.path().join("engine/keyspaces/1/tables");
    let table = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    let mut content = fs::read(&table).unwrap();
    content.truncate(content.len() / 2);
    fs::write(&table, content).unwrap();
    match fixture.try_open().map(|_| ()) {
        Err(OpenError::Damaged { place, .. }) => assert_eq!(place, table.display().to_string()),
        other => panic!("the table is cut: {other:?}"),
    }
}

#[tokio::test]
async fn verify_names_a_table_with_a_changed_byte() {
    let fixture = Fixture::new();
    written(&fixture, 400).await;
    assert!(crate::verify(fixture.path(), |_| ()).unwrap().is_sound());
    let folder = fixture.path().join("engine/keyspaces/1/tables");
    let table = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    let mut content = fs::read(&table).unwrap();
    content[100] ^= 1;
    fs::write(&table, content).unwrap();
    let report = crate::verify(fixture.path(), |_| ()).unwrap();
    let place = table.display().to_string();
    assert!(report.damages.iter().any(|damage| damage.place == place), "{report:?}");
}

/// Found by crash images: the engine stops with a panic at a length that its checksum of the value does not cover.
#[tokio::test]
async fn a_changed_length_in_a_value_file_is_named_and_stops_nothing() {
    const LENGTH_AT: usize = 4 + 16 + 8 + 2;
    let fixture = Fixture::new();
    let log = fixture.open();
    let mut noise = 1_u64;
    for number in 0..40 {
        let data: Vec<u8> = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            noise.to_be_bytes()[0]
        })
        .take(8000)
        .collect();
        let events = vec![ProposedEvent { data: data.into(), ..event(number) }];
        log.append(AppendRequest { stream: stream("orders"), expected: ExpectedRevision::Any, events }).await.unwrap();
    }
    log.close().await;
    let values = fs::read_dir(fixture.path().join("engine/keyspaces/1/blobs")).unwrap();
    let values = values.map(|entry| entry.unwrap().path()).min().unwrap();
    let mut content = fs::read(&values).unwrap();
    content[LENGTH_AT + 2] ^= 1;
    fs::write(&values, content).unwrap();

    let report = crate::verify(fixture.path(), |_| ()).unwrap();
    assert!(report.damages.iter().any(|damage| damage.place == values.display().to_string()), "{report:?}");
    match fixture.try_open() {
        Ok((log, _)) => log.close().await,
        Err(OpenError::Damaged { place, .. }) => assert_eq!(place, values.display().to_string()),
        Err(other) => panic!("the file is damaged: {other}"),
    }
}

#[tokio::test]
async fn an_engine_whose_making_was_interrupted_is_made_anew() {
    let fixture = Fixture::new();
    let engine = fixture.path().join("engine");
    fs::create_dir_all(engine.join("keyspaces")).unwrap();
    fs::write(engine.join("0.jnl"), [0; 5000]).unwrap();
    fs::write(engine.join("lock"), []).unwrap();
    let (log, report) = fixture.try_open().unwrap();
    assert!(report.is_new);
    append(&log, "orders", 0).await.unwrap();
    log.close().await;
    fixture.open().close().await;
}

#[tokio::test]
async fn a_lost_acknowledged_end_is_refused() {
    let fixture = Fixture::new();
    let content = written(&fixture, 5).await;
    fs::write(journal_file(&fixture), &content[..content.len() - 20]).unwrap();
    match fixture.try_open().map(|_| ()) {
        Err(OpenError::BehindHighWater { end: 4, high_water: 5, .. }) => {}
        other => panic!("event 5 was acknowledged: {other:?}"),
    }
    let error = fixture.try_open().map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("ends at position 4, but position 5 was acknowledged"), "{error}");
}

#[tokio::test]
async fn a_missing_engine_or_high_water_is_refused() {
    let fixture = Fixture::new();
    written(&fixture, 2).await;
    fs::rename(fixture.path().join("engine"), fixture.path().join("elsewhere")).unwrap();
    assert!(matches!(fixture.try_open().map(|_| ()), Err(OpenError::BehindHighWater { end: 0, high_water: 2, .. })));
    fs::rename(fixture.path().join("elsewhere"), fixture.path().join("engine")).unwrap();
    fs::remove_file(fixture.path().join("HIGH-WATER")).unwrap();
    match fixture.try_open().map(|_| ()) {
        Err(OpenError::Damaged { place, .. }) => assert!(place.ends_with("HIGH-WATER")),
        other => panic!("the high-water position must be there: {other:?}"),
    }
}

#[tokio::test]
async fn a_newer_or_unknown_format_is_refused() {
    let fixture = Fixture::new();
    written(&fixture, 1).await;
    let write = |text: &str| {
        let mut file = OpenOptions::new().write(true).truncate(true).open(fixture.path().join("FORMAT")).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    write("forebay-log 2\n");
    assert!(matches!(fixture.try_open().map(|_| ()), Err(OpenError::UnknownFormat { found: 2, supported: 1, .. })));
    write("something\n");
    assert!(matches!(fixture.try_open().map(|_| ()), Err(OpenError::Damaged { .. })));
}

#[tokio::test]
async fn a_second_opener_is_refused_by_name_until_the_first_closes() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let error = fixture.try_open().map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }));
    assert!(error.to_string().contains(&fixture.path().display().to_string()));
    assert!(matches!(crate::verify(fixture.path(), |_| ()).map(|_| ()), Err(OpenError::InUse { .. })));
    log.close().await;
    fixture.open().close().await;
}

#[tokio::test]
async fn after_closing_everything_is_refused() {
    use forebay_store::{AppendError, EventFilter, LogPoint, Notice, PageLimit, SubscribeAll, SubscribeError};
    let fixture = Fixture::new();
    let log = fixture.open();
    let subscribe = SubscribeAll {
        from: LogPoint::Start,
        filter: EventFilter::All,
        limit: PageLimit::events(10),
        checkpoint_every: 10,
    };
    let mut subscription = log.subscribe_all(subscribe.clone()).await.unwrap();
    assert!(matches!(subscription.next().await.unwrap(), Notice::CaughtUp { position: None }));
    let waiting = tokio::spawn(async move { subscription.next().await });
    log.close().await;
    assert!(matches!(waiting.await.unwrap(), Err(SubscribeError::Closed)));
    assert!(matches!(append(&log, "orders", 1).await, Err(AppendError::Unavailable { .. })));
    assert!(log.head().await.is_err());
    assert!(matches!(log.subscribe_all(subscribe).await.map(|_| ()), Err(SubscribeError::Closed)));
    log.close().await;
}
