//! The suite that every store passes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay_store::EventStore;
use forebay_store::testing::{StoreUnderTest, run_all};

use super::fixture::Fixture;
use crate::EmbeddedLog;

struct Subject {
    fixture: Fixture,
    log: EmbeddedLog,
}

#[async_trait]
impl StoreUnderTest for Subject {
    fn store(&self) -> Arc<dyn EventStore> {
        Arc::new(self.log.clone())
    }

    async fn reopen(&mut self) -> bool {
        self.log.close().await;
        self.log = self.fixture.open();
        true
    }

    async fn pass_an_hour(&mut self) -> bool {
        self.fixture.clock.advance(Duration::from_secs(3600));
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_a_store() {
    let ran = run_all(|| async {
        let fixture = Fixture::new();
        let log = fixture.open();
        Box::new(Subject { fixture, log }) as Box<dyn StoreUnderTest>
    })
    .await;
    assert!(ran > 50);
}
