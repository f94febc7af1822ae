//! Tests of the SQLite sink against real files.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use forebay_connector::settings::SettingsMap;
use forebay_connector::testing::contract::{Fixture, check_sink};
use forebay_connector::testing::samples::{
    SAMPLE_TIME, batch_of, sample_batch, sample_context, sample_record, sample_record_of,
};
use forebay_connector::{
    Batch, Epoch, FailureClass, Lane, Next, Outcome, ParkedNumbers, Receipt, Sink, Target, attempt,
};
use forebay_event::{ContentType, Position, Record};
use rusqlite::Connection;

use super::KIND;

const LIMIT: Duration = Duration::from_secs(20);
const APPEND: &[(&str, &str)] = &[("table", "events"), ("createTable", "true")];

struct File {
    folder: tempfile::TempDir,
    settings: &'static [(&'static str, &'static str)],
}

impl File {
    fn new(settings: &'static [(&'static str, &'static str)]) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), settings }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("out/events.db")
    }

    fn sink(&self) -> Box<dyn Sink> {
        self.connect().sink(Lane(0))
    }

    fn database(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    /// Rows of one column of text.
    fn rows(&self, sql: &str) -> Vec<String> {
        let database = self.database();
        let mut statement = database.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn positions(&self) -> Vec<String> {
        self.rows("SELECT CAST(position AS text) FROM events ORDER BY rowid")
    }
}

#[async_trait]
impl Fixture for File {
    fn connect(&self) -> Box<dyn Target> {
        let mut map = SettingsMap::from_flat([("path".to_owned(), self.path().to_str().unwrap().to_owned())]);
        self.settings.iter().for_each(|(key, value)| map.insert(key, value));
        (KIND.connect)(&map, &sample_context()).unwrap()
    }

    async fn arrived(&self) -> Vec<String> {
        if self.path().exists() { self.rows("SELECT event_id FROM events ORDER BY rowid") } else { Vec::new() }
    }

    fn identity(&self, number: u64) -> String {
        sample_record(number).event().id().to_string()
    }

    async fn refuse_after(&self, _: usize) -> bool {
        false
    }

    async fn stall(&self) -> bool {
        false
    }

    async fn restart(&self) -> bool {
        false
    }
}

async fn deliver(sink: &mut dyn Sink, numbers: Range<u64>) -> Receipt {
    attempt(sink, &sample_batch(numbers), LIMIT).await
}

fn batch_under(epoch: u64, numbers: Range<u64>) -> Batch {
    Batch::new(Lane(0), Epoch(epoch), SAMPLE_TIME, numbers.map(sample_record).collect()).unwrap()
}

fn json(number: u64, data: &'static str) -> Record {
    sample_record_of(number, ContentType::Json, Bytes::from_static(data.as_bytes()))
}

fn expected(numbers: Range<u64>) -> Vec<String> {
    numbers.map(|number| (100 + number).to_string()).collect()
}

#[tokio::test]
async fn keeps_the_contract() {
    check_sink(&File::new(APPEND)).await;
}

#[tokio::test]
async fn a_row_has_everything_of_its_record() {
    let file = File::new(APPEND);
    assert!(deliver(&mut *file.sink(), 4..5).await.is_complete());
    let sql = "SELECT position || ' ' || stream || ' ' || revision || ' ' || type || ' ' || data || ' ' || metadata \
               || ' ' || created FROM events";
    let row = "104 order-1 1 OrderPlaced {\"number\":4} {\"tenant\":\"north\",\"$correlationId\":\"c1\"} \
               2025-11-21T08:00:00.0000001Z";
    assert_eq!(file.rows(sql), [row]);
}

#[tokio::test]
async fn probe_and_standing_make_no_file() {
    let file = File::new(APPEND);
    let mut sink = file.sink();
    sink.probe().await.unwrap();
    assert_eq!(sink.standing().await.unwrap(), None);
    assert!(!file.path().exists());
    let file = File::new(&[("table", "events")]);
    assert_eq!(file.sink().probe().await.unwrap_err().next, Next::Stop);
}

#[tokio::test]
async fn a_restart_goes_on_where_the_file_stands() {
    let file = File::new(APPEND);
    assert!(deliver(&mut *file.sink(), 0..5).await.is_complete());
    let mut sink = file.sink();
    assert_eq!(sink.standing().await.unwrap(), Some(Position::new(104)));
    assert!(deliver(&mut *sink, 5..8).await.is_complete());
    assert_eq!(file.positions(), expected(0..8));
}

#[tokio::test]
async fn what_an_earlier_owner_wrote_after_the_answer_is_not_written_again() {
    let file = File::new(&[
        ("mode", "statement"),
        ("statements:*", "INSERT INTO events VALUES (:position)"),
        ("parameters:position", "$.position.logPosition"),
        ("createTable", "true"),
    ]);
    std::fs::create_dir(file.folder.path().join("out")).unwrap();
    file.database().execute_batch("CREATE TABLE events (position integer)").unwrap();
    let (mut old, mut new) = (file.sink(), file.sink());
    assert!(attempt(&mut *old, &batch_under(1, 0..2), LIMIT).await.is_complete());
    assert_eq!(new.standing().await.unwrap(), Some(Position::new(101)));
    assert!(attempt(&mut *old, &batch_under(1, 2..4), LIMIT).await.is_complete());
    assert!(attempt(&mut *new, &batch_under(2, 2..6), LIMIT).await.is_complete());
    assert_eq!(file.positions(), expected(0..6));
}

#[tokio::test]
async fn a_reset_writes_again_and_moves_the_position_back() {
    let file = File::new(APPEND);
    assert!(deliver(&mut *file.sink(), 0..6).await.is_complete());
    file.database().execute_batch("DELETE FROM events").unwrap();
    let mut sink = file.sink();
    sink.standing().await.unwrap();
    assert!(deliver(&mut *sink, 0..2).await.is_complete());
    assert_eq!(file.positions(), expected(0..2));
    assert_eq!(file.sink().standing().await.unwrap(), Some(Position::new(101)));
}

/// Records that were parked; the number of each is ten times its own.
fn parked_under(epoch: u64, numbers: impl Iterator<Item = u64> + Clone, oldest: u64) -> Batch {
    let parked = ParkedNumbers { numbers: numbers.clone().map(|number| number * 10).collect(), oldest };
    Batch::new(Lane(0), Epoch(epoch), SAMPLE_TIME, numbers.map(sample_record).collect()).unwrap().of_parked(parked)
}

#[tokio::test]
async fn a_replay_is_written_and_leaves_the_position() {
    let file = File::new(APPEND);
    let mut sink = file.sink();
    sink.standing().await.unwrap();
    assert!(attempt(&mut *sink, &batch_under(1, 3..6), LIMIT).await.is_complete());
    assert!(attempt(&mut *sink, &parked_under(1, 1..2, 10), LIMIT).await.is_complete());
    assert_eq!(file.positions(), ["103", "104", "105", "101"]);
    // Also when it is the first that a sink writes.
    let mut sink = file.sink();
    assert_eq!(sink.standing().await.unwrap(), Some(Position::new(105)));
    assert!(attempt(&mut *sink, &parked_under(2, 2..3, 20), LIMIT).await.is_complete());
    assert_eq!(file.sink().standing().await.unwrap(), Some(Position::new(105)));
    assert_eq!(file.positions(), ["103", "104", "105", "101", "102"]);
}

#[tokio::test]
async fn a_replay_that_was_not_noted_is_not_written_again() {
    let file = File::new(&[
        ("mode", "statement"),
        ("statements:*", "INSERT INTO events VALUES (:position)"),
        ("parameters:position", "$.position.logPosition"),
        ("createTable", "true"),
    ]);
    std::fs::create_dir(file.folder.path().join("out")).unwrap();
    file.database().execute_batch("CREATE TABLE events (position integer)").unwrap();
    assert!(deliver(&mut *file.sink(), 5..9).await.is_complete());
    // A crash between the commit and its note; another key comes first then.
    assert!(attempt(&mut *file.sink(), &parked_under(1, 0..3, 0), LIMIT).await.is_complete());
    let mut sink = file.sink();
    sink.standing().await.unwrap();
    assert!(attempt(&mut *sink, &parked_under(2, 4..5, 0), LIMIT).await.is_complete());
    assert!(attempt(&mut *sink, &parked_under(2, 0..4, 0), LIMIT).await.is_complete());
    assert_eq!(file.positions(), ["105", "106", "107", "108", "100", "101", "102", "104", "103"]);
    // What was heard of goes with the next one, what lies below the oldest too.
    let rows = "SELECT CAST(lane AS text) FROM forebay_positions WHERE lane < 0 ORDER BY lane DESC";
    assert!(attempt(&mut *sink, &parked_under(2, 9..10, 90), LIMIT).await.is_complete());
    assert_eq!(file.rows(rows), ["-91"]);
    // A row of another record under this number says nothing.
    file.database().execute_batch("UPDATE forebay_positions SET position = 7 WHERE lane = -91").unwrap();
    assert!(attempt(&mut *file.sink(), &parked_under(3, 9..10, 90), LIMIT).await.is_complete());
    assert_eq!(file.positions().len(), 11);
    assert_eq!(file.sink().standing().await.unwrap(), Some(Position::new(108)));
}

#[tokio::test]
async fn a_stale_owner_writes_nothing() {
    let file = File::new(APPEND);
    let (mut old, mut new) = (file.sink(), file.sink());
    assert!(attempt(&mut *old, &batch_under(3, 0..2), LIMIT).await.is_complete());
    assert!(attempt(&mut *new, &batch_under(4, 2..4), LIMIT).await.is_complete());
    for _ in 0..2 {
        let receipt = attempt(&mut *old, &batch_under(3, 10..12), LIMIT).await;
        for outcome in receipt.outcomes() {
            let Outcome::Failed(failure) = outcome else { panic!("a stale owner wrote: {outcome:?}") };
            assert_eq!((failure.next, failure.class), (Next::Stop, FailureClass::Fenced));
            assert!(failure.reason.contains("newer owner"), "{failure}");
        }
    }
    assert!(attempt(&mut *new, &batch_under(4, 4..5), LIMIT).await.is_complete());
    assert_eq!(file.positions(), expected(0..5));
}

#[tokio::test]
async fn who_takes_a_lane_over_learns_where_it_stands_and_keeps_earlier_owners_out() {
    let file = File::new(APPEND);
    assert_eq!(file.sink().take_over(Epoch(2)).await.unwrap(), None, "nobody wrote yet");
    let mut old = file.sink();
    assert!(attempt(&mut *old, &batch_under(3, 0..3), LIMIT).await.is_complete());
    let mut taker = file.sink();
    for _ in 0..2 {
        assert_eq!(taker.take_over(Epoch(4)).await.unwrap(), Some(Position::new(102)));
    }
    let receipt = attempt(&mut *old, &batch_under(3, 3..5), LIMIT).await;
    assert!(receipt.outcomes().iter().all(|outcome| *outcome != Outcome::Delivered), "{receipt:?}");
    let stale = file.sink().take_over(Epoch(3)).await.unwrap_err();
    assert_eq!((stale.next, stale.class), (Next::Stop, FailureClass::Fenced));
    assert_eq!(file.positions(), expected(0..3));
}

#[tokio::test]
async fn lanes_have_their_own_rows() {
    let file = File::new(APPEND);
    let target = file.connect();
    assert!(deliver(&mut *target.sink(Lane(0)), 0..5).await.is_complete());
    let mut other = target.sink(Lane(1));
    assert_eq!(other.standing().await.unwrap(), None);
    let batch = Batch::new(Lane(1), Epoch(1), SAMPLE_TIME, vec![sample_record(2), sample_record(7)]).unwrap();
    assert!(attempt(&mut *other, &batch, LIMIT).await.is_complete());
    assert_eq!(file.sink().standing().await.unwrap(), Some(Position::new(104)));
}

#[tokio::test]
async fn attempts_that_are_cut_off_anywhere_lose_and_repeat_nothing() {
    let file = File::new(&[
        ("mode", "statement"),
        ("statements:*", "INSERT INTO events VALUES (:position)"),
        ("parameters:position", "$.position.logPosition"),
        ("createTable", "true"),
    ]);
    std::fs::create_dir(file.folder.path().join("out")).unwrap();
    file.database().execute_batch("CREATE TABLE events (position integer)").unwrap();
    let mut sink = file.sink();
    for round in 0..200 {
        let batch = sample_batch(round * 3..round * 3 + 3);
        let mut limit = Duration::from_micros(round * 37 % 3000);
        while !attempt(&mut *sink, &batch, limit).await.is_complete() {
            limit = LIMIT;
        }
    }
    assert_eq!(file.positions(), expected(0..600));
}

#[tokio::test]
async fn a_file_that_another_program_holds_is_waited_for_or_tried_again() {
    let file = File::new(&[("table", "events"), ("createTable", "true"), ("busyTimeoutMs", "1")]);
    let mut sink = file.sink();
    assert!(deliver(&mut *sink, 0..1).await.is_complete());
    let other = file.database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let receipt = deliver(&mut *sink, 1..2).await;
    let Outcome::Failed(failure) = &receipt.outcomes()[0] else { panic!("{receipt:?}") };
    assert_eq!((failure.next, failure.class), (Next::Retry { after: None }, FailureClass::Busy));
    other.execute_batch("ROLLBACK").unwrap();
    assert!(deliver(&mut *sink, 1..2).await.is_complete());
    assert_eq!(file.positions(), expected(0..2));
}

#[tokio::test]
async fn one_bad_record_is_refused_and_those_before_it_are_kept() {
    let file = File::new(APPEND);
    let mut sink = file.sink();
    let records = vec![sample_record(0), sample_record(1), json(2, "{broken"), sample_record(3)];
    let receipt = attempt(&mut *sink, &batch_of(records), LIMIT).await;
    let [Outcome::Delivered, Outcome::Delivered, Outcome::Failed(bad), Outcome::Failed(behind)] = receipt.outcomes()
    else {
        panic!("{receipt:?}")
    };
    assert_eq!((bad.next, bad.class), (Next::Reject, FailureClass::Malformed));
    assert_eq!(behind.next, Next::Retry { after: None });
    assert_eq!(file.sink().standing().await.unwrap(), Some(Position::new(101)));
    assert!(deliver(&mut *sink, 3..5).await.is_complete());
    assert_eq!(file.positions(), ["100", "101", "103", "104"]);
}

const UPSERT: &[(&str, &str)] = &[
    ("mode", "upsert"),
    ("table", "main.orders"),
    ("createTable", "true"),
    ("key", "id"),
    ("columns:id", "$.value.id"),
    ("columns:total", "$.value.total"),
    ("columns:lines", "$.value.lines"),
    ("columns:stream", "$.position.streamId"),
    ("columnTypes:total", "integer CHECK (total > 0)"),
];

#[tokio::test]
async fn upsert_keeps_one_row_per_key() {
    let mut settings: Vec<_> = UPSERT.to_vec();
    settings.retain(|(key, _)| *key != "columnTypes:total");
    settings.extend([("columnTypes:total", "integer"), ("deleteTypes", "OrderErased")]);
    let file = File::new(settings.leak());
    let mut sink = file.sink();
    let records = vec![
        json(0, r#"{"id":"a","total":1,"lines":[1,2]}"#),
        json(1, r#"{"id":"b","total":2}"#),
        json(2, r#"{"id":"a","total":3,"lines":{"x":null}}"#),
    ];
    assert!(attempt(&mut *sink, &batch_of(records), LIMIT).await.is_complete());
    let all = "SELECT id || ' ' || total || ' ' || coalesce(lines, '-') || ' ' || stream FROM orders ORDER BY id";
    assert_eq!(file.rows(all), ["a 3 {\"x\":null} order-2", "b 2 - order-1"]);
    let erased = json(3, r#"{"id":"a"}"#)
        .reshaped(forebay_event::Reshape { subject: Some("OrderErased".to_owned()), ..Default::default() });
    assert!(attempt(&mut *sink, &batch_of(vec![erased]), LIMIT).await.is_complete());
    assert_eq!(file.rows(all), ["b 2 - order-1"]);
    let receipt = attempt(&mut *sink, &batch_of(vec![json(4, r#"{"total":1}"#)]), LIMIT).await;
    let Outcome::Failed(failure) = &receipt.outcomes()[0] else { panic!("{receipt:?}") };
    assert_eq!(failure.next, Next::Reject);
    assert!(failure.reason.contains("key column id"), "{failure}");
}

#[tokio::test]
async fn null_data_deletes_by_a_key_from_elsewhere() {
    let file = File::new(&[
        ("mode", "upsert"),
        ("table", "orders"),
        ("createTable", "true"),
        ("key", "stream"),
        ("columns:stream", "$.position.streamId"),
        ("columns:number", "$.value.number"),
    ]);
    let mut sink = file.sink();
    assert!(deliver(&mut *sink, 0..3).await.is_complete());
    assert!(attempt(&mut *sink, &batch_of(vec![json(4, "null")]), LIMIT).await.is_complete());
    assert_eq!(file.rows("SELECT stream FROM orders ORDER BY 1"), ["order-0", "order-2"]);
}

#[tokio::test]
async fn a_constraint_refuses_one_record_without_its_values() {
    let file = File::new(APPEND);
    assert!(deliver(&mut *file.sink(), 0..1).await.is_complete());
    let check =
        "CREATE TRIGGER t BEFORE INSERT ON events WHEN new.position = 102 BEGIN SELECT RAISE({}, 'not this one'); END";
    for raise in ["ABORT", "ROLLBACK"] {
        file.database().execute_batch(&format!("DROP TRIGGER IF EXISTS t; {}", check.replace("{}", raise))).unwrap();
        file.database().execute_batch("DELETE FROM events WHERE position > 100").unwrap();
        let mut sink = file.sink();
        sink.standing().await.unwrap();
        let receipt = deliver(&mut *sink, 1..4).await;
        let Outcome::Failed(failure) = &receipt.outcomes()[1] else { panic!("{raise}: {receipt:?}") };
        assert_eq!(receipt.outcomes()[0], Outcome::Delivered);
        assert_eq!(failure.next, Next::Reject);
        assert_eq!(failure.reason, "SQLite error 1811: not this one");
        assert_eq!(file.positions(), ["100", "101"]);
    }
}

#[tokio::test]
async fn statements_are_chosen_by_type() {
    let file = File::new(&[
        ("mode", "statement"),
        ("createTable", "true"),
        ("statements:OrderPlaced", "INSERT INTO orders (id, note) VALUES (:id, ':id' || :note)"),
        ("statements:Ignored", "nothing"),
        ("parameters:id", "$.value.number"),
        ("parameters:note", "$.headers.tenant"),
    ]);
    std::fs::create_dir(file.folder.path().join("out")).unwrap();
    file.database().execute_batch("CREATE TABLE orders (id integer, note text)").unwrap();
    let of_type = |number, subject: &str| {
        let subject = Some(subject.to_owned());
        sample_record(number).reshaped(forebay_event::Reshape { subject, ..Default::default() })
    };
    let mut sink = file.sink();
    sink.probe().await.unwrap();
    let batch = batch_of(vec![sample_record(0), of_type(1, "Ignored"), of_type(2, "Unknown")]);
    let receipt = attempt(&mut *sink, &batch, LIMIT).await;
    assert_eq!(receipt.outcomes()[..2], [Outcome::Delivered, Outcome::Delivered]);
    let Outcome::Failed(failure) = &receipt.outcomes()[2] else { panic!("{receipt:?}") };
    assert!(failure.reason.contains("statements:Unknown"), "{failure}");
    assert_eq!(file.rows("SELECT id || note FROM orders"), ["0:idnorth"]);
    assert_eq!(file.sink().standing().await.unwrap(), Some(Position::new(101)));
}

#[tokio::test]
async fn a_missing_table_stops_the_connector() {
    let file = File::new(&[("table", "events")]);
    std::fs::create_dir(file.folder.path().join("out")).unwrap();
    file.database().execute_batch("CREATE TABLE other (a)").unwrap();
    let mut sink = file.sink();
    assert_eq!(sink.probe().await.unwrap_err().next, Next::Stop);
    let receipt = deliver(&mut *sink, 0..1).await;
    let Outcome::Failed(failure) = &receipt.outcomes()[0] else { panic!("it was written") };
    assert_eq!(failure.next, Next::Stop);
    assert!(failure.reason.contains("no such table"), "{failure}");
}

#[test]
fn wrong_settings_are_named() {
    let wrong = |entries: &[(&str, &str)]| {
        let map = SettingsMap::from_flat(entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        (KIND.connect)(&map, &sample_context()).err().map(|errors| errors.to_string()).unwrap_or_default()
    };
    assert!(wrong(&[("path", "a.db")]).contains("setting table is missing"));
    let text = wrong(&[
        ("path", "a.db"),
        ("mode", "upsert"),
        ("table", "a.b.c"),
        ("columns:id", "value.id"),
        ("key", "id,other"),
        ("columnTypes:id", "text; DROP"),
        ("statements:A", "x"),
    ]);
    for key in ["table", "columns:id", "key", "columnTypes:id", "statements:*"] {
        assert!(text.contains(&format!("setting {key} ")), "{key}: {text}");
    }
    let text = wrong(&[
        ("path", "a.db"),
        ("mode", "statement"),
        ("statements:A", "INSERT INTO t VALUES (:x)"),
        ("statements:B", "COMMIT"),
        ("statements:C", "DELETE FROM a; DELETE FROM b"),
        ("key", "k"),
    ]);
    for key in ["statements:A uses :x", "statements:B", "statements:C", "key"] {
        assert!(text.contains(&format!("setting {key}")), "{key}: {text}");
    }
}
