//! The suite that every store passes, over our own server; nothing of it is left out.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay_remote::RemoteStore;
use forebay_store::EventStore;
use forebay_store::testing::{StoreUnderTest, cases, run_all};

use crate::node::Node;

struct Subject {
    node: Node,
    store: RemoteStore,
}

#[async_trait]
impl StoreUnderTest for Subject {
    fn store(&self) -> Arc<dyn EventStore> {
        Arc::new(self.store.clone())
    }

    async fn reopen(&mut self) -> bool {
        self.node.stop().await;
        self.node.resume().await;
        true
    }

    async fn pass_an_hour(&mut self) -> bool {
        self.node.clock.advance(Duration::from_secs(3600));
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_remote_store_is_a_store() {
    let ran = run_all(|| async {
        let node = Node::start().await;
        let store = node.store();
        Box::new(Subject { node, store }) as Box<dyn StoreUnderTest>
    })
    .await;
    assert_eq!(ran, cases().len());
    assert!(ran >= 54);
}
