//! Parked records that are replayed: written behind later ones of their lane, each once, whatever is cut off.

use forebay_connector::testing::samples::{SAMPLE_TIME, sample_record};
use forebay_connector::{Batch, Epoch, Lane, ParkedNumbers};
use forebay_event::Position;

use super::lane::{PLAIN, PLAIN_TABLE, batch, deliver, target};
use super::server::Server;

/// The number of each is ten times its own.
fn parked(epoch: u64, numbers: impl Iterator<Item = u64> + Clone, oldest: u64) -> Batch {
    let parked = ParkedNumbers { numbers: numbers.clone().map(|number| number * 10).collect(), oldest };
    Batch::new(Lane(0), Epoch(epoch), SAMPLE_TIME, numbers.map(sample_record).collect()).unwrap().of_parked(parked)
}

async fn count(server: &Server) -> Vec<String> {
    server.rows("SELECT count(*) || ' ' || count(DISTINCT position) FROM deliveries").await
}

#[tokio::test]
async fn replays_are_written_once_and_leave_the_position() {
    let Some(server) = Server::start().await else { return };
    server.run(PLAIN_TABLE).await;
    let target = target(&server, PLAIN);
    let mut sink = target.sink(Lane(0));
    assert!(deliver(&mut *sink, &batch(1, 30..50)).await.is_complete());
    assert!(deliver(&mut *sink, &parked(1, 0..2, 0)).await.is_complete());
    // A crash between the commit and its note; another key comes first then, and more in a batch than before.
    assert!(deliver(&mut *sink, &parked(1, 2..12, 0)).await.is_complete());
    let mut sink = target.sink(Lane(0));
    assert_eq!(sink.standing().await.unwrap(), Some(Position::new(149)));
    assert!(deliver(&mut *sink, &parked(2, 20..21, 0)).await.is_complete());
    assert!(deliver(&mut *sink, &parked(2, 2..20, 0)).await.is_complete());
    assert_eq!(count(&server).await, ["41 41"]);
    assert_eq!(target.sink(Lane(0)).standing().await.unwrap(), Some(Position::new(149)));
    // A stale owner replays nothing.
    let mut later = target.sink(Lane(0));
    assert!(deliver(&mut *later, &parked(3, 21..22, 210)).await.is_complete());
    assert!(!deliver(&mut *sink, &parked(2, 22..23, 210)).await.is_complete());
    assert!(deliver(&mut *later, &parked(3, 22..24, 220)).await.is_complete());
    assert_eq!(count(&server).await, ["44 44"]);
    let rows = "SELECT lane::text FROM forebay_positions WHERE lane < 0 ORDER BY forebay_positions.lane DESC";
    assert_eq!(server.rows(rows).await, ["-221", "-231"]);
    // Records in their turn go on from where the lane stood.
    assert!(deliver(&mut *later, &batch(3, 50..53)).await.is_complete());
    assert_eq!(target.sink(Lane(0)).standing().await.unwrap(), Some(Position::new(152)));
}
