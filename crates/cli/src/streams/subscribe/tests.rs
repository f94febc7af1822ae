//! Tests of appending, reading and subscribing against a fake server.

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::testing::Fake;

fn events_file(lines: &[Value]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    lines.iter().for_each(|line| writeln!(file, "{line}").unwrap());
    file
}

fn line(stream: &str, n: u32) -> Value {
    json!({"stream": stream, "type": "Counted", "id": uuid::Uuid::from_u128(u128::from(n)), "data": {"n": n}})
}

fn appended_numbers(body: &Value) -> Vec<u64> {
    body["events"].as_array().unwrap().iter().map(|event| event["data"]["n"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn append_groups_a_window_by_stream_and_keeps_each_streams_order() {
    let fake = Fake::answering(|_| (200, r#"{"lastRevision":"1","position":"9"}"#)).await;
    let file = events_file(&[line("a", 1), line("b", 2), line("a", 3), line("b", 4), line("a", 5)]);
    let path = file.path().to_str().unwrap();
    let ran = fake.run(&["streams", "append", path, "--batch", "4", "--json"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&told["appended"], &told["position"]), (&json!(5), &json!(9)));
    let mut of_a = Vec::new();
    for request in fake.seen().iter().filter(|request| request.line() == "POST /streams/a/events") {
        assert_eq!(request.json().get("expectedRevision"), None);
        of_a.extend(appended_numbers(&request.json()));
    }
    assert_eq!(of_a, [1, 3, 5]);
    assert_eq!(fake.seen().len(), 3);
}

#[tokio::test]
async fn append_in_file_order_makes_one_append_after_the_other() {
    let fake = Fake::answering(|_| (200, r#"{"lastRevision":1,"position":9}"#)).await;
    let file = events_file(&[line("a", 1), line("a", 2), line("b", 3), line("a", 4)]);
    let ran = fake.run(&["streams", "append", file.path().to_str().unwrap(), "--in-file-order"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let sent: Vec<_> = fake.seen().iter().map(|request| appended_numbers(&request.json())).collect();
    assert_eq!(sent, [vec![1, 2], vec![3], vec![4]]);
}

#[tokio::test]
async fn data_is_sent_with_all_of_its_digits() {
    let fake = Fake::answering(|_| (200, r#"{"lastRevision":0,"position":1}"#)).await;
    let data = r#"{"n": 12345678901234567890.123456789}"#;
    let args = ["streams", "append", "--stream", "a/b c", "--type", "T", "--data", data];
    let ran = fake.run(&[&args[..], &["--expected-revision", "noStream"]].concat()).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let request = &fake.seen()[0];
    assert_eq!(request.line(), "POST /streams/a%2Fb%20c/events");
    assert!(request.body.contains("12345678901234567890.123456789"), "{}", request.body);
    assert_eq!(request.json()["expectedRevision"], "noStream");
}

#[tokio::test]
async fn an_append_that_fails_on_the_way_says_how_to_go_on() {
    let fake =
        Fake::scripted(&[(200, r#"{"lastRevision":0,"position":1}"#), (507, r#"{"code":8,"message":"disk full"}"#)]);
    let fake = fake.await;
    let file = events_file(&[line("a", 1), line("a", 2), line("a", 3)]);
    let ran = fake.run(&["streams", "append", file.path().to_str().unwrap(), "--batch", "2"]).await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("2 events are appended") && ran.err.contains("--skip 2"), "{}", ran.err);
    assert!(ran.err.contains("append 1 events to stream a: disk full (HTTP 507)"), "{}", ran.err);
}

#[tokio::test]
async fn a_wrong_line_is_named() {
    let fake = Fake::answering(|_| (200, "{}")).await;
    for (text, expected) in [
        ("{\"stream\":\"a\",\"typ\":\"T\"}", "line 1: unknown field `typ`"),
        ("\n{\"type\":\"T\"}", "line 2: no `stream`; expected one in the line, or --stream NAME"),
        ("{\"stream\":\"a\",\"type\":\"T\",\"data\":1,\"dataBase64\":\"\"}", "both `data` and `dataBase64`"),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let ran = fake.run(&["streams", "append", file.path().to_str().unwrap()]).await;
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains(expected), "{}", ran.err);
    }
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn read_follows_pages_to_the_limit() {
    let event = |n: u32| json!({"stream": "a", "revision": n, "position": n + 10, "type": "T", "data": {"n": n}});
    let first = json!({"events": [event(0), event(1)], "next": 2, "lastRevision": 2}).to_string();
    let second = json!({"events": [event(2)], "next": 3, "lastRevision": 2}).to_string();
    let empty = json!({"events": [], "next": 3, "lastRevision": 2}).to_string();
    let fake = Fake::scripted(&[(200, &first), (200, &second), (200, &empty)]).await;
    let ran = fake.run(&["streams", "read", "a"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.out.lines().nth(2).unwrap(), "      12  a@2  T  {\"n\":2}");
    assert_eq!(fake.seen()[1].line(), "GET /streams/a/events?from=2&direction=forward&limit=98");
}

#[tokio::test]
async fn what_is_read_keeps_its_digits_too() {
    let page = r#"{"events":[{"type":"T","data":0.12345678901234567890}],"next":null,"lastRevision":0}"#;
    let fake = Fake::scripted(&[(200, page)]).await;
    let ran = fake.run(&["streams", "read", "a", "--json"]).await;
    assert_eq!(ran.out, "{\"type\":\"T\",\"data\":0.12345678901234567890}\n", "{}", ran.err);
}

#[tokio::test]
async fn all_is_filtered_and_a_stream_is_not() {
    let fake = Fake::scripted(&[(200, r#"{"events":[],"next":7,"atEnd":true}"#)]).await;
    let ran = fake.run(&["streams", "read", "$all", "--type-prefix", "Order", "--backward", "--limit", "5"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(
        fake.seen()[0].line(),
        "GET /streams/$all/events?from=end&direction=backward&limit=5&typePrefix=Order&excludeSystem=true"
    );
    let ran = fake.run(&["streams", "read", "a", "--type-prefix", "Order"]).await;
    assert_eq!(ran.code, 2);
}

#[tokio::test]
async fn a_dropped_subscription_goes_on_behind_the_last_event() {
    let times = AtomicU32::new(0);
    let fake = Fake::answering(move |_| {
        let event = |n: u32| json!({"stream": "a", "revision": n, "position": n, "type": "T", "data": n}).to_string();
        match times.fetch_add(1, Ordering::Relaxed) {
            0 => (200, format!("{}\n\n{}\n{{\"type\":\"cut of", event(4), event(5))),
            _ => (200, format!("{}\n{{\"caughtUp\":{{}}}}\n", event(6))),
        }
    })
    .await;
    let ran = fake.run(&["streams", "subscribe", "a", "--from", "3", "--until-caught-up", "--json"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let revisions: Vec<_> =
        ran.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["revision"].as_u64()).collect();
    assert_eq!(revisions, [Some(4), Some(5), Some(6)]);
    let asked: Vec<_> = fake.seen().iter().map(|request| request.line()).collect();
    assert_eq!(asked, ["GET /streams/a/subscribe?from=3", "GET /streams/a/subscribe?from=5"]);
}

#[tokio::test]
async fn a_subscription_ends_after_its_limit() {
    let fake = Fake::scripted(&[(200, "{\"type\":\"T\",\"revision\":0}\n{\"type\":\"T\",\"revision\":1}\n")]).await;
    let ran = fake.run(&["streams", "subscribe", "a", "--from", "start", "--limit", "1", "--json"]).await;
    assert_eq!((ran.code, ran.out.lines().count()), (0, 1), "{}", ran.err);
}
