//! What becomes of records in each mode, and of those that the server refuses.

use bytes::Bytes;
use forebay_connector::testing::samples::{sample_record, sample_record_of};
use forebay_connector::{FailureClass, Lane, Next, Outcome};
use forebay_event::{ContentType, Position, Record, Reshape};

use super::lane::{batch, batch_of, deliver, target};
use super::server::Server;

fn json(number: u64, data: &str) -> Record {
    sample_record_of(number, ContentType::Json, Bytes::copy_from_slice(data.as_bytes()))
}

fn of_type(record: Record, subject: &str) -> Record {
    record.reshaped(Reshape { subject: Some(subject.to_owned()), ..Reshape::default() })
}

fn refusal(outcome: &Outcome) -> &forebay_connector::Failure {
    let Outcome::Failed(failure) = outcome else { panic!("it was taken: {outcome:?}") };
    assert_eq!(failure.next, Next::Reject, "{failure}");
    failure
}

#[tokio::test]
async fn records_become_rows_in_every_mode() {
    let Some(server) = Server::start().await else { return };
    append_has_everything(&server).await;
    append_as_text_and_bytes(&server).await;
    append_isolates_one_bad_record(&server).await;
    upsert_keeps_one_row_per_key(&server).await;
    statements_are_chosen_by_type(&server).await;
    deferred_constraints_refuse_one_record(&server).await;
    reset_and_replay(&server).await;
    wrong_tables_and_roles_stop(&server).await;
}

async fn clear(server: &Server) {
    server.run("DROP TABLE IF EXISTS forebay_positions").await;
}

async fn append_has_everything(server: &Server) {
    let target = target(server, &[("table", "events"), ("createTable", "true")]);
    let mut sink = target.sink(Lane(0));
    sink.probe().await.unwrap();
    assert_eq!(server.rows("SELECT coalesce(to_regclass('events')::text, 'none')").await, ["none"]);
    // Few records go one by one, many as arrays: the rows are the same.
    assert!(deliver(&mut *sink, &batch(1, 0..3)).await.is_complete());
    assert!(deliver(&mut *sink, &batch(1, 3..60)).await.is_complete());
    let sql = "SELECT concat_ws(' ', position, stream, revision, type, data->>'number', metadata->>'tenant', \
               to_char(created AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), event_id) FROM events ORDER BY position";
    let expected = |number: u64| {
        let id = sample_record(number).event().id();
        let (stream, revision) = (number % 3, number / 3);
        format!("{} order-{stream} {revision} OrderPlaced {number} north 2025-11-21 08:00:00.000000 {id}", 100 + number)
    };
    assert_eq!(server.rows(sql).await, (0..60).map(expected).collect::<Vec<_>>());
    sink.probe().await.unwrap();
    sink.close().await.unwrap();
}

async fn append_as_text_and_bytes(server: &Server) {
    clear(server).await;
    for (kind, table, shown) in [("text", "as_text", "data"), ("bytes", "as_bytes", "encode(data, 'escape')")] {
        let target = target(server, &[("table", table), ("createTable", "true"), ("dataType", kind)]);
        let records = (0..10).map(|n| sample_record_of(n, ContentType::Bytes, Bytes::from_static(b"a\\b'c")));
        clear(server).await;
        assert!(deliver(&mut *target.sink(Lane(0)), &batch_of(1, records.collect())).await.is_complete());
        let rows = server.rows(&format!("SELECT {shown} FROM {table}")).await;
        assert_eq!((rows.len(), rows[0].replace("\\\\", "\\")), (10, "a\\b'c".to_owned()), "{kind}");
    }
}

async fn append_isolates_one_bad_record(server: &Server) {
    clear(server).await;
    let target = target(server, &[("table", "isolated"), ("createTable", "true")]);
    let mut sink = target.sink(Lane(0));
    // The server takes no U+0000 in JSON, which only it can tell.
    let mut records: Vec<_> = (0..30).map(sample_record).collect();
    records[20] = json(20, "{\"canary\":\"a\\u0000b\"}");
    let receipt = deliver(&mut *sink, &batch_of(1, records)).await;
    assert!(receipt.outcomes()[..20].iter().all(|outcome| *outcome == Outcome::Delivered), "{receipt:?}");
    let failure = refusal(&receipt.outcomes()[20]);
    assert!(failure.reason.starts_with("PostgreSQL error 22P05: ") && !failure.reason.contains("canary"), "{failure}");
    let Outcome::Failed(behind) = &receipt.outcomes()[21] else { panic!("{receipt:?}") };
    assert_eq!(behind.next, Next::Retry { after: None });
    assert_eq!(target.sink(Lane(0)).standing().await.unwrap(), Some(Position::new(119)));
    assert!(deliver(&mut *sink, &batch(1, 21..30)).await.is_complete());
    assert_eq!(server.rows("SELECT count(*)::text FROM isolated").await, ["29"]);
}

async fn upsert_keeps_one_row_per_key(server: &Server) {
    clear(server).await;
    let settings = [
        ("mode", "upsert"),
        ("table", "sales.\"orders"),
        ("createTable", "true"),
        ("key", "id"),
        ("columns:id", "$.value.id"),
        ("columns:total", "$.value.total"),
        ("columns:lines", "$.value.lines"),
        ("columns:at", "$.timestamp"),
        ("columns:Stream", "$.position.streamId"),
        ("columnTypes:id", "uuid"),
        ("columnTypes:total", "numeric(10, 2)"),
        ("columnTypes:lines", "jsonb"),
        ("columnTypes:at", "timestamptz"),
        ("deleteTypes", "OrderErased"),
    ];
    let target = target(server, &settings);
    let mut sink = target.sink(Lane(0));
    let id = |n: u8| format!("00000000-0000-0000-0000-00000000000{n}");
    let order = |number, key: u8, rest: &str| json(number, &format!("{{\"id\":\"{}\"{rest}}}", id(key)));
    let records = vec![
        order(0, 1, ",\"total\":1,\"lines\":[1,2]"),
        order(1, 2, ",\"total\":2.5,\"lines\":\"text\""),
        order(2, 1, ",\"total\":3,\"lines\":{\"x\":null}"),
        order(3, 3, ""),
        of_type(order(4, 3, ""), "OrderErased"),
    ];
    let receipt = deliver(&mut *sink, &batch_of(1, records)).await;
    assert!(receipt.is_complete(), "{receipt:?}");
    let sql =
        "SELECT concat_ws(' ', right(id::text, 1), total, lines, \"Stream\") FROM sales.\"\"\"orders\" ORDER BY id";
    assert_eq!(server.rows(sql).await, ["1 3.00 {\"x\": null} order-2", "2 2.50 \"text\" order-1"]);
    let records = vec![order(5, 4, ",\"total\":4"), json(6, "{\"id\":\"canary\"}"), order(7, 5, "")];
    let receipt = deliver(&mut *sink, &batch_of(1, records)).await;
    assert_eq!(receipt.outcomes()[0], Outcome::Delivered);
    let failure = refusal(&receipt.outcomes()[1]);
    assert_eq!(failure.reason, "PostgreSQL error 22P02: invalid input syntax for type uuid: \"…\"");
    let receipt = deliver(&mut *sink, &batch_of(1, vec![json(8, "{}")])).await;
    assert!(refusal(&receipt.outcomes()[0]).reason.contains("key column id"));
}

async fn statements_are_chosen_by_type(server: &Server) {
    clear(server).await;
    server.run("CREATE TABLE totals (stream text PRIMARY KEY, count bigint, last timestamptz)").await;
    let settings = [
        ("mode", "statement"),
        ("createTable", "true"),
        (
            "statements:OrderPlaced",
            "INSERT INTO totals AS t VALUES (:stream, :number, :at) ON CONFLICT (stream) \
             DO UPDATE SET count = t.count + excluded.count, last = excluded.last RETURNING stream;",
        ),
        ("statements:Ignored", "nothing"),
        ("parameters:stream", "$.position.streamId"),
        ("parameters:number", "$.value.number"),
        ("parameters:at", "$.timestamp"),
    ];
    let target = target(server, &settings);
    let mut sink = target.sink(Lane(0));
    sink.probe().await.unwrap();
    let mut records: Vec<_> = (0..30).map(sample_record).collect();
    records.push(of_type(sample_record(30), "Ignored"));
    records.push(of_type(sample_record(31), "Unknown"));
    let receipt = deliver(&mut *sink, &batch_of(1, records)).await;
    assert!(refusal(&receipt.outcomes()[31]).reason.contains("statements:Unknown"));
    assert_eq!(receipt.outcomes()[30], Outcome::Delivered);
    let sums = server.rows("SELECT stream || ' ' || count FROM totals ORDER BY 1").await;
    assert_eq!(sums, ["order-0 135", "order-1 145", "order-2 155"]);
}

async fn deferred_constraints_refuse_one_record(server: &Server) {
    clear(server).await;
    server
        .run(
            "CREATE TABLE parents (id bigint PRIMARY KEY); INSERT INTO parents SELECT generate_series(0, 4); \
             CREATE TABLE children (id bigint REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
        )
        .await;
    let settings = [
        ("mode", "statement"),
        ("createTable", "true"),
        ("statements:*", "INSERT INTO children VALUES (:id)"),
        ("parameters:id", "$.value.number"),
    ];
    let target = target(server, &settings);
    let mut sink = target.sink(Lane(0));
    let mut next = 0;
    for _ in 0..10 {
        let receipt = deliver(&mut *sink, &batch(1, next..8)).await;
        let mut rest = receipt.outcomes().iter().skip_while(|outcome| **outcome == Outcome::Delivered);
        let Some(Outcome::Failed(failure)) = rest.next() else { panic!("{receipt:?}") };
        next = 7 - rest.count() as u64;
        if failure.next == Next::Reject {
            assert!(failure.reason.contains("23503"), "{failure}");
            break;
        }
    }
    assert_eq!((next, server.rows("SELECT count(*)::text FROM children").await), (5, vec!["5".to_owned()]));
}

async fn reset_and_replay(server: &Server) {
    clear(server).await;
    let target = target(server, &[("table", "again"), ("createTable", "true")]);
    let mut sink = target.sink(Lane(0));
    assert_eq!(sink.standing().await.unwrap(), None);
    assert!(deliver(&mut *sink, &batch(1, 3..6)).await.is_complete());
    assert!(deliver(&mut *sink, &batch(1, 1..2)).await.is_complete());
    assert_eq!(target.sink(Lane(0)).standing().await.unwrap(), Some(Position::new(105)));
    let mut sink = target.sink(Lane(0));
    sink.standing().await.unwrap();
    assert!(deliver(&mut *sink, &batch(2, 0..2)).await.is_complete());
    assert_eq!(target.sink(Lane(0)).standing().await.unwrap(), Some(Position::new(101)));
    let rows = server.rows("SELECT position::text FROM again ORDER BY 1").await;
    assert_eq!(rows, ["100", "101", "103", "104", "105"]);
}

async fn wrong_tables_and_roles_stop(server: &Server) {
    let missing = target(server, &[("table", "nowhere")]).sink(Lane(0)).probe().await.unwrap_err();
    assert_eq!((missing.next, missing.class), (Next::Stop, FailureClass::Setup));
    assert!(missing.reason.contains("42P01"), "{missing}");
    server.run("CREATE TABLE narrow (position bigint)").await;
    let narrow = target(server, &[("table", "narrow")]).sink(Lane(0)).probe().await.unwrap_err();
    assert!(narrow.next == Next::Stop && narrow.reason.contains("42703"), "{narrow}");
    let wrong = [("table", "events"), ("authentication:username", "nobody-known")];
    let unknown = target(server, &wrong).sink(Lane(0)).probe().await.unwrap_err();
    assert_eq!((unknown.next, unknown.class), (Next::Stop, FailureClass::Unauthorised));
    server.run("CREATE ROLE reader LOGIN; GRANT SELECT ON events, forebay_positions TO reader").await;
    let reader = target(server, &[("table", "events"), ("authentication:username", "reader")]);
    let receipt = deliver(&mut *reader.sink(Lane(0)), &batch(9, 90..91)).await;
    let Outcome::Failed(failure) = &receipt.outcomes()[0] else { panic!("{receipt:?}") };
    assert_eq!((failure.next, failure.class), (Next::Stop, FailureClass::Unauthorised));
}
