//! Packing small blocks: invisible to readers, in bounded steps, kept across a reopen.

use forebay_store::{Direction, EventStore, PageLimit, ReadStream, StreamPoint};

use super::fixture::{Fixture, all_data, append, stream};
use crate::EmbeddedLog;

async fn block_count(log: &EmbeddedLog) -> u64 {
    let count = log.shared().with_engine(|engine| {
        let mut blocks = engine.blocks_from(0)?;
        let mut count = 0;
        while blocks.next_block()?.is_some() {
            count += 1;
        }
        Ok(count)
    });
    count.unwrap()
}

#[tokio::test]
async fn small_blocks_become_large_ones_and_nothing_else_changes() {
    let fixture = Fixture::new();
    let log = fixture.open();
    for number in 0..400 {
        append(&log, &format!("orders-{}", number % 7), number).await.unwrap();
    }
    let before = all_data(&log).await;
    assert_eq!(block_count(&log).await, 400);
    while log.writer().repack().await {}
    let packed = block_count(&log).await;
    assert!(packed < 200, "all but the last 16 KiB are packed: {packed} blocks");
    assert_eq!(all_data(&log).await, before);
    log.close().await;

    let log = fixture.open();
    assert_eq!(all_data(&log).await, before);
    let limit = PageLimit::events(100);
    let (from, direction) = (StreamPoint::End, Direction::Backward);
    let page = log.read_stream(ReadStream { stream: stream("orders-3"), direction, from, limit }).await.unwrap();
    assert_eq!(page.events.len(), 57);
    assert!(!log.writer().repack().await, "what is packed stays packed");
    append(&log, "orders-1", 1000).await.unwrap();
    log.close().await;
    let report = crate::verify(fixture.path(), |_| ()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.events, 401);
}

#[tokio::test]
async fn an_idle_log_packs_by_itself() {
    let fixture = Fixture::new();
    let options = crate::LogOptions { repack: true, ..fixture.options() };
    let (log, _) = EmbeddedLog::open(options).unwrap();
    for number in 0..300 {
        append(&log, "orders", number).await.unwrap();
    }
    let packed = async {
        while block_count(&log).await > 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), packed).await.expect("it packs when idle");
    assert_eq!(all_data(&log).await.len(), 300);
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_the_same_while_blocks_are_packed() {
    let fixture = Fixture::new();
    let log = fixture.open();
    for number in 0..500 {
        append(&log, "orders", number).await.unwrap();
    }
    log.close().await;
    let log = fixture.open();
    let reader = {
        let log = log.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                assert_eq!(all_data(&log).await.len(), 500);
            }
        })
    };
    while log.writer().repack().await {}
    reader.await.unwrap();
    log.close().await;
}
