//! Owners of different epochs: the stale one writes nothing.

use std::time::Duration;

use forebay_connector::testing::samples::{SAMPLE_TIME, sample_record};
use forebay_connector::{Batch, Epoch, FailureClass, Lane, Next, Outcome, Receipt, attempt};

use super::lane::{LIMIT, PLAIN, PLAIN_TABLE, assert_exactly, batch, deliver, target};
use super::server::Server;

fn assert_fenced(receipt: &Receipt) {
    for outcome in receipt.outcomes() {
        let Outcome::Failed(failure) = outcome else { panic!("a stale owner wrote: {outcome:?}") };
        assert_eq!((failure.next, failure.class), (Next::Stop, FailureClass::Fenced), "{failure}");
        assert!(failure.reason.contains("newer owner"), "{failure}");
    }
}

#[tokio::test]
async fn a_stale_owner_writes_nothing() {
    let Some(server) = Server::start().await else { return };
    server.run(PLAIN_TABLE).await;
    interleaved_owners(&server).await;
    an_owner_stopped_in_its_transaction(&server).await;
    a_lane_that_is_taken_over(&server).await;
    lanes_are_apart(&server).await;
    a_commit_without_an_answer(&server).await;
}

/// The server hangs in the middle of a commit, which then happens or does not: the next attempt knows.
async fn a_commit_without_an_answer(server: &Server) {
    server.run("TRUNCATE deliveries; DROP TABLE forebay_positions").await;
    server
        .run(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM 1 FROM gate FOR SHARE; RETURN NULL; END $$; \
             CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON deliveries DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION wait()",
        )
        .await;
    let target = target(server, PLAIN);
    let mut sink = target.sink(Lane(0));
    let gate = server.client().await;
    let mut next = 0;
    for is_killed in [true, false, true, false, false, true] {
        let batch = batch(1, next..next + 3);
        gate.batch_execute("BEGIN; SELECT 1 FROM gate FOR UPDATE").await.unwrap();
        tokio::select! {
            receipt = deliver(&mut *sink, &batch) => panic!("the commit did not wait: {receipt:?}"),
            () = wait_for_lock(server) => {}
        }
        if is_killed {
            let kill = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
            gate.batch_execute(kill).await.unwrap();
        }
        gate.batch_execute("COMMIT").await.unwrap();
        assert!(deliver(&mut *sink, &batch).await.is_complete(), "killed: {is_killed}");
        next += 3;
        assert_exactly(server, next).await;
    }
    server.run("DROP TRIGGER wait ON deliveries").await;
}

async fn interleaved_owners(server: &Server) {
    let target = target(server, PLAIN);
    let mut owner = target.sink(Lane(0));
    let mut next = 0;
    for epoch in 1..=20 {
        assert!(deliver(&mut *owner, &batch(epoch, next..next + 3)).await.is_complete());
        let mut newer = target.sink(Lane(0));
        newer.standing().await.unwrap();
        // Written after the newer owner has asked, and before it has claimed.
        assert!(deliver(&mut *owner, &batch(epoch, next + 3..next + 5)).await.is_complete());
        assert!(deliver(&mut *newer, &batch(epoch + 1, next + 3..next + 7)).await.is_complete());
        assert_fenced(&deliver(&mut *owner, &batch(epoch, next + 7..next + 9)).await);
        assert_fenced(&deliver(&mut *owner, &batch(epoch, next + 7..next + 9)).await);
        owner = newer;
        next += 7;
    }
    assert_exactly(server, next).await;
}

/// The old owner hangs after its rows are written and before its commit; the new one takes over; the old one wakes up.
async fn an_owner_stopped_in_its_transaction(server: &Server) {
    server.run("TRUNCATE deliveries; DROP TABLE forebay_positions").await;
    server.run("CREATE TABLE gate (open boolean); INSERT INTO gate VALUES (true)").await;
    let waits = [
        ("mode", "statement"),
        ("createTable", "true"),
        (
            "statements:*",
            "WITH g AS (SELECT 1 FROM gate FOR SHARE) INSERT INTO deliveries SELECT :position, :stream FROM g",
        ),
        ("parameters:position", "$.position.logPosition"),
        ("parameters:stream", "$.position.streamId"),
        ("statementTimeoutMs", "5000"),
    ];
    let target = target(server, &waits);
    let (mut old, mut new) = (target.sink(Lane(0)), target.sink(Lane(0)));
    assert!(deliver(&mut *old, &batch(1, 0..2)).await.is_complete());
    let gate = server.client().await;
    gate.batch_execute("BEGIN; SELECT 1 FROM gate FOR UPDATE").await.unwrap();
    let stale = tokio::spawn(async move { (deliver(&mut *old, &batch(1, 2..4)).await, old) });
    wait_for_lock(server).await;
    // The claim waits for the old transaction, and fails in time rather than going past it.
    let receipt = attempt(&mut *new, &batch(2, 2..4), Duration::from_millis(200)).await;
    assert!(!receipt.is_complete());
    gate.batch_execute("COMMIT").await.unwrap();
    let (receipt, mut old) = stale.await.unwrap();
    let first = receipt.is_complete();
    assert!(deliver(&mut *new, &batch(2, 2..6)).await.is_complete(), "the first owner's commit: {first}");
    assert_fenced(&deliver(&mut *old, &batch(1, 6..8)).await);
    assert_exactly(server, 6).await;
}

async fn wait_for_lock(server: &Server) {
    let sql = "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    while server.rows(sql).await == ["0"] {
        tokio::task::yield_now().await;
    }
}

/// Whoever takes a lane over learns where it stands; the earlier owner is kept out from there on.
async fn a_lane_that_is_taken_over(server: &Server) {
    server.run("TRUNCATE deliveries; DROP TABLE forebay_positions").await;
    let target = target(server, PLAIN);
    let mut old = target.sink(Lane(0));
    assert!(deliver(&mut *old, &batch(1, 0..3)).await.is_complete());
    let mut taker = target.sink(Lane(0));
    let standing = target.sink(Lane(0)).standing().await.unwrap();
    assert!(standing.is_some());
    for _ in 0..2 {
        assert_eq!(taker.take_over(Epoch(2)).await.unwrap(), standing);
    }
    assert_fenced(&deliver(&mut *old, &batch(1, 3..5)).await);
    target.sink(Lane(0)).take_over(Epoch(1)).await.unwrap_err();
    assert_eq!(target.sink(Lane(9)).take_over(Epoch(2)).await.unwrap(), None, "a lane that nobody wrote to");
    assert_exactly(server, 3).await;
}

async fn lanes_are_apart(server: &Server) {
    server.run("TRUNCATE deliveries; DROP TABLE forebay_positions").await;
    let target = target(server, PLAIN);
    // Positions of the lanes interleave, and the higher one is written first.
    let of_lane = |lane: u32, numbers: &[u64]| {
        let records = numbers.iter().map(|number| sample_record(*number)).collect();
        Batch::new(Lane(lane), Epoch(1), SAMPLE_TIME, records).unwrap()
    };
    let (mut odd, mut even) = (target.sink(Lane(7)), target.sink(Lane(8)));
    odd.standing().await.unwrap();
    even.standing().await.unwrap();
    assert!(attempt(&mut *odd, &of_lane(7, &[1, 3, 5]), LIMIT).await.is_complete());
    assert!(attempt(&mut *even, &of_lane(8, &[0, 2, 4]), LIMIT).await.is_complete());
    assert_exactly(server, 6).await;
}
