//! Owns the tests of transforms: what a script sees of a record and may change of it.

use std::time::Duration;

use bytes::Bytes;
use forebay_event::{ContentType, ProposedEvent, Reshape};

use super::super::{FailureKind, Transformed};
use super::fixture::{
    body, body_kind, changed, data, limits, one, proposed, record, record_of, start, still_works, with_metadata,
};
use crate::limits::HEADERS_MAX;

#[tokio::test]
async fn the_record_has_the_documented_members() {
    let source = "function transform(record) { const r = record; record.value = { all: JSON.parse(JSON.stringify(record)),
        alias: [r.id, r.sequence, r.redacted, r.schema.name, r.schema.format, r.position.stream, r.properties === r.headers] }; }";
    let metadata = r#"{"k":"v","n":1}"#;
    let answer = one(&start(source, limits()), with_metadata(metadata)).await;
    let value: serde_json::Value = serde_json::from_str(&data(&answer)).unwrap();
    let id = "00000000-0000-0000-0000-000000001234";
    let wanted = serde_json::json!({
        "all": {
            "recordId": id,
            "position": { "streamId": "order-1", "streamRevision": 4, "logPosition": 42123 },
            "sequenceId": 1, "isTransformed": false, "isRedacted": false,
            "schemaInfo": { "subject": "OrderPlaced", "type": "json" },
            "headers": { "k": "v", "n": "1" }, "value": {}, "streamId": "order-1",
            "timestamp": "2025-11-21T08:00:00.0000001Z",
        },
        "alias": [id, 1, false, "OrderPlaced", "Json", "order-1", true],
    });
    assert_eq!(value, wanted);
}

#[tokio::test]
async fn an_argument_changed_in_place_counts() {
    let text = "record.value.total *= 2; record.schemaInfo.subject = 'Doubled'; record.headers.by = 'me'; delete record.headers.k;";
    let transform = start(&format!("function transform(record) {{ {text} }}"), limits());
    let given = record_of(&ProposedEvent {
        metadata: Bytes::from_static(br#"{"k":"v","z":"1"}"#),
        ..proposed(r#"{"total":3,"a":[1.50,"x"]}"#)
    });
    let record = changed(one(&transform, given).await);
    assert_eq!(record.data_slice(), br#"{"total":6,"a":[1.5,"x"]}"#);
    assert_eq!(record.subject(), "Doubled");
    assert_eq!(record.headers(), Some(&vec![("z".into(), "1".into()), ("by".into(), "me".into())]));
    assert_eq!(record.event().event_type(), "OrderPlaced");
}

#[tokio::test]
async fn a_returned_record_counts() {
    assert_eq!(data(&body("record.value.a = 1; return record;", "{}").await), r#"{"a":1}"#);
    assert_eq!(data(&body("return { ...record, value: [1] };", "{}").await), "[1]");
    let record =
        changed(body("record.headers.h = 'x'; return { value: 2, schemaInfo: { subject: 'B' } };", "{}").await);
    assert_eq!((record.data_slice(), record.subject()), (&b"2"[..], "B"));
    assert_eq!(record.headers(), Some(&vec![("h".into(), "x".into())]), "the argument's, since the result has none");
    assert_eq!(data(&body("const o = Object.create(null); o.value = 7; return o;", "{}").await), "7");
}

#[tokio::test]
async fn null_drops_and_nothing_else_does() {
    assert!(matches!(body("return null;", "{}").await, Ok(Transformed::Dropped(record)) if !record.is_transformed()));
    assert_eq!(data(&body("record.value = null;", "{}").await), "null");
    assert_eq!(data(&body("return undefined;", "{}").await), "{}");
    for text in [
        "return 1;",
        "return 'a';",
        "return true;",
        "return false;",
        "return [record];",
        "return () => 1;",
        "return {};",
        "return { Value: 1 };",
        "return record.value;",
        "return new Error('x');",
        "return Symbol('a');",
        "return 1n;",
        "return Promise.resolve(record);",
        "record.value = undefined;",
        "delete record.value;",
        "record.value = () => 1;",
        "record.value = Symbol('a');",
        "record.value = 1n;",
        "record.value.self = record.value;",
        "record.value = { toJSON() { return undefined; } };",
    ] {
        assert_eq!(body_kind(text).await, FailureKind::InvalidResult, "{text}");
    }
}

#[tokio::test]
async fn an_unchanged_record_is_still_transformed_and_keeps_its_metadata() {
    let metadata = r#"{"deep":{"er":1}}"#;
    let record = changed(one(&start("function transform(r) {}", limits()), with_metadata(metadata)).await);
    assert_eq!((record.is_transformed(), record.data_slice(), record.headers()), (true, &b"{}"[..], None));
    assert_eq!(record.event().metadata_slice(), metadata.as_bytes());
}

#[tokio::test]
async fn a_record_transformed_before_is_seen_as_it_was_left() {
    let before = record("{}").reshaped(Reshape {
        data: Some("5".into()),
        subject: Some("Second".into()),
        headers: Some(vec![("a".into(), "b".into())]),
    });
    let source = "function transform(r) { r.value = [r.value, r.schemaInfo.subject, r.headers.a, r.isTransformed]; }";
    let record = changed(one(&start(source, limits()), before).await);
    assert_eq!(record.data_slice(), br#"[5,"Second","b",true]"#);
    assert_eq!((record.subject(), record.headers().map(Vec::len)), ("Second", Some(1)));
}

#[tokio::test]
async fn other_content_types_pass_untouched() {
    let bytes = record_of(&ProposedEvent { content_type: ContentType::Bytes, ..proposed("{}") });
    let transform = start("function transform(r) { throw 1; }", limits());
    let answers = transform.apply(vec![bytes.clone(), record("{}"), bytes]).await;
    assert!(
        matches!(&answers[..], [Ok(Transformed::Unchanged(_)), Err(_), Ok(Transformed::Unchanged(_))]),
        "{answers:?}"
    );
}

#[tokio::test]
async fn the_newer_names_write_through() {
    let text = "record.schema.name = 'B'; record.properties.x = 1; record.value = record.schemaInfo.subject;";
    let record = changed(body(text, "{}").await);
    assert_eq!((record.subject(), record.headers().unwrap()[0].1.as_str()), ("B", "1"));
    assert_eq!(changed(body("record.schema = { name: 'C' };", "{}").await).subject(), "C");
    assert_eq!(changed(body("record.properties = { y: 'z' };", "{}").await).headers().unwrap()[0].0, "y");
}

#[tokio::test]
async fn coordinates_cannot_be_changed() {
    let text =
        "record.recordId = 'x'; record.position.logPosition = 1; record.streamId = 'other'; record.position = null;";
    let record = changed(body(text, "{}").await);
    assert_eq!((record.event().stream(), record.event().position().commit()), ("order-1", 42_123));
}

#[tokio::test]
async fn headers_become_texts() {
    let record = changed(
        body("record.headers = { a: 1.5, b: true, c: 'é', d: undefined, e: -0, __proto__x: 1e21 };", "{}").await,
    );
    let headers: Vec<_> = record.headers().unwrap().iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(headers, ["a=1.5", "b=true", "c=é", "e=0", "__proto__x=1e+21"]);
    assert_eq!(changed(body("record.headers = null;", "{}").await).headers(), None, "there were none before");
    for text in [
        "record.headers = 1;",
        "record.headers = [];",
        "record.headers.x = null;",
        "record.headers.x = {};",
        "record.headers.x = [];",
        "record.headers.x = 1n;",
        "record.headers.x = Symbol('x');",
        r"record.headers.x = '\ud800';",
        r"record.headers['\ud800'] = 'x';",
        "for (let i = 0; i < 300; i++) record.headers['h' + i] = i;",
        "record.headers.x = 'a'.repeat(100000);",
        "record.headers = () => 1;",
    ] {
        assert_eq!(body_kind(text).await, FailureKind::InvalidResult, "{text}");
    }
    let most = format!("for (let i = 0; i < {HEADERS_MAX}; i++) record.headers['h' + i] = i;");
    assert_eq!(changed(body(&most, "{}").await).headers().unwrap().len(), HEADERS_MAX);
}

#[tokio::test]
async fn all_headers_taken_away_are_gone() {
    let transform = start("function transform(r) { r.headers = {}; }", limits());
    let record = changed(one(&transform, with_metadata(r#"{"a":"b"}"#)).await);
    assert_eq!(record.headers(), Some(&Vec::new()));
}

#[tokio::test]
async fn subjects_must_be_texts() {
    for text in [
        "record.schemaInfo.subject = ''",
        "record.schemaInfo.subject = 5",
        "delete record.schemaInfo.subject",
        "record.schemaInfo = null",
        "delete record.schemaInfo",
        r"record.schemaInfo.subject = 'a\ud800'",
        "record.schemaInfo.subject = 'a'.repeat(2000)",
    ] {
        assert_eq!(body_kind(text).await, FailureKind::InvalidResult, "{text}");
    }
    // Texts put together are another kind of text inside of the engine.
    let long = "let s = 'a'; for (let i = 0; i < 8; i++) s = s + s; record.schemaInfo.subject = s + '|' + s;";
    assert_eq!(changed(body(long, "{}").await).subject().len(), 513);
}

#[tokio::test]
async fn globals_last_from_record_to_record() {
    let transform =
        start("let seen = 0; const transform = (r) => { seen += 1; r.value = [seen, r.sequenceId]; };", limits());
    let answers = transform.apply(vec![record("{}"); 3]).await;
    assert_eq!(answers.iter().map(data).collect::<Vec<_>>(), ["[1,1]", "[2,2]", "[3,3]"]);
    assert_eq!(data(&one(&transform, record("{}")).await), "[4,4]");
}

#[tokio::test]
async fn order_is_kept_and_one_failure_hurts_no_other() {
    let source = "function transform(r) { if (r.value % 10 === 3) throw new Error('three'); if (r.value % 10 === 5) return null; }";
    let transform = start(source, limits());
    let answers = transform.apply((0..100).map(|number: i32| record(number.to_string())).collect()).await;
    for (number, answer) in answers.iter().enumerate() {
        match (number % 10, answer) {
            (3, Err(failed)) => assert_eq!(failed.record.data_slice(), number.to_string().as_bytes()),
            (5, Ok(Transformed::Dropped(record))) => assert_eq!(record.data_slice(), number.to_string().as_bytes()),
            _ => assert_eq!(data(answer), number.to_string()),
        }
    }
    assert!(transform.apply(Vec::new()).await.is_empty());
}

#[tokio::test]
async fn batches_of_several_callers_take_turns() {
    let transform = std::sync::Arc::new(start("function transform(r) { r.value += 1; }", limits()));
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let transform = std::sync::Arc::clone(&transform);
            tokio::spawn(async move {
                let answers =
                    transform.apply((0..20).map(|number| record((task * 100 + number).to_string())).collect()).await;
                answers.iter().map(data).collect::<Vec<_>>()
            })
        })
        .collect();
    for (task, answers) in tasks.into_iter().enumerate() {
        let wanted: Vec<_> = (0..20).map(|number| (task * 100 + number + 1).to_string()).collect();
        assert_eq!(answers.await.unwrap(), wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_stands_still_while_a_script_runs() {
    let transform = start("function transform(r) { for (let i = 0; i < 300000; i++); }", limits());
    let before = tokio::time::Instant::now();
    still_works(&transform).await;
    assert_eq!(before.elapsed(), Duration::ZERO);
}
