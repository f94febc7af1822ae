//! Owns the tests of transforms: what scripts may do, and what they must not be able to do to this process.

use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay_event::{
    ContentType, Position, ProposedEvent, Record, RecordedEvent, Reshape, Revision, StreamName, Timestamp,
};
use proptest::prelude::{ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use uuid::Uuid;

use super::{FailureKind, ScriptError, Transform, TransformFailure, Transformed, validate};
use crate::limits::{HEADERS_MAX, Limits, MEMORY_BYTES_MIN, MESSAGE_BYTES_MAX, SOURCE_BYTES_MAX};

type Answer = Result<Transformed, TransformFailure>;

fn proposed(data: impl Into<Bytes>) -> ProposedEvent {
    ProposedEvent::json(Uuid::from_u128(0x1234), "OrderPlaced", data)
}

fn record_of(proposed: &ProposedEvent) -> Record {
    let stream = StreamName::new("order-1").unwrap();
    let created = Timestamp::from_ticks(17_637_120_000_000_001);
    Record::of(RecordedEvent::record(proposed, &stream, Revision::new(4), Position::new(42_123), created))
}

fn record(data: impl Into<Bytes>) -> Record {
    record_of(&proposed(data))
}

fn with_metadata(metadata: &str) -> Record {
    record_of(&ProposedEvent { metadata: Bytes::copy_from_slice(metadata.as_bytes()), ..proposed("{}") })
}

/// Generous in time: the machine that runs the tests may be busy.
fn limits() -> Limits {
    Limits { time: Duration::from_secs(2), load_time: Duration::from_secs(5), ..Limits::default() }
}

fn hasty() -> Limits {
    Limits { time: Duration::from_millis(50), load_time: Duration::from_secs(5), ..Limits::default() }
}

fn start(source: &str, limits: Limits) -> Transform {
    Transform::start(source, limits).unwrap_or_else(|error| panic!("{error}: {source}"))
}

async fn one(transform: &Transform, record: Record) -> Answer {
    let mut answers = transform.apply(vec![record]).await;
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

/// Runs the body of a `transform(record)` over `data`.
async fn body(body: &str, data: &str) -> Answer {
    one(&start(&format!("function transform(record) {{ {body} }}"), limits()), record(data.to_owned())).await
}

fn data(answer: &Answer) -> String {
    match answer {
        Ok(Transformed::Changed(record)) => {
            assert!(record.is_transformed());
            String::from_utf8(record.data().to_vec()).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

fn changed(answer: Answer) -> Record {
    match answer {
        Ok(Transformed::Changed(record)) => record,
        other => panic!("{other:?}"),
    }
}

fn failure(answer: Answer) -> TransformFailure {
    answer.expect_err("a failure")
}

fn kind(answer: Answer) -> FailureKind {
    failure(answer).kind
}

async fn body_kind(text: &str) -> FailureKind {
    kind(body(text, "{}").await)
}

/// Checks that a transform still works after whatever was done to it.
async fn still_works(transform: &Transform) {
    assert_eq!(data(&one(transform, record(r#"{"ok":true}"#)).await), r#"{"ok":true}"#);
}

// What a script sees and may change.

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
    let long = "let s = 'a'; for (let i = 0; i < 9; i++) s = s + s; record.schemaInfo.subject = s + '|' + s;";
    assert_eq!(changed(body(long, "{}").await).subject().len(), 1025 - 1024 % 1025 + 1024 - 1);
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

// Data.

#[tokio::test]
async fn data_that_is_not_json_is_a_failure_of_its_own() {
    let transform = start("function transform(r) {}", limits());
    let cases: &[&[u8]] = &[
        b"",
        b" ",
        b"{",
        b"{} {}",
        b"nul",
        b"{'a':1}",
        b"{\"a\":1,}",
        b"[1,]",
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"NaN",
        b"Infinity",
        b"undefined",
        b"\"a\nb\"",
        b"\"\\x41\"",
        b"/**/1",
        b"\xff",
        b"\"\xc3\"",
        b"\xef\xbb\xbf{}",
        b"1\x00",
        b"\"a\x00b\"",
        b"0x10",
        b"1_000",
        b"\"\\ud8\"",
        b"tru\xc3\xa9",
        b"\xed\xa0\x80",
    ];
    let answers = transform.apply(cases.iter().map(|case| record(Bytes::from_static(case))).collect()).await;
    for (case, answer) in cases.iter().zip(answers) {
        let failed = failure(answer);
        assert_eq!(failed.kind, FailureKind::InvalidJson, "{case:?}: {failed}");
        assert_eq!(failed.record.data_slice(), *case);
        assert!(!failed.record.is_transformed());
    }
    still_works(&transform).await;
}

#[tokio::test]
async fn the_message_says_why_data_is_not_json() {
    let transform = start("function transform(r) {}", limits());
    let message = |answer: Answer| failure(answer).message;
    assert!(message(one(&transform, record("\u{feff}{}")).await).contains("byte order mark"));
    assert!(message(one(&transform, record(&b"[\"\xff\"]"[..])).await).contains("not UTF-8 at byte 2"));
    assert!(message(one(&transform, record("{\"a\":}")).await).contains("SyntaxError"));
}

#[tokio::test]
async fn data_goes_in_and_out_whole() {
    for text in [
        r#"{"__proto__":{"x":1},"constructor":"Ferrari","toString":1,"a b":[]}"#,
        r#""\ud83d\ude00 é\u0000\\\"""#,
        r#"{"toJSON":"x","then":1,"value":{"value":2}}"#,
        "[[],{},null,true,-1.5e-7,123456789012]",
        r#""\ud800""#,
        "\"\u{2028}\"",
    ] {
        let out = data(&body("", text).await);
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        assert_eq!(read(&out), read(text), "{text} {out}");
    }
    assert_eq!(data(&body("", r#""\ud800""#).await), r#""\ud800""#);
    assert_eq!(data(&body("", r#"{"b":1,"a":2,"b":3}"#).await), r#"{"b":3,"a":2}"#);
}

#[tokio::test]
async fn data_nested_deeper_than_the_stack_fails_alone() {
    let transform = start("function transform(r) {}", limits());
    let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    assert_eq!(kind(one(&transform, record(deep)).await), FailureKind::StackOverflow);
    let objects = "{\"a\":".repeat(200_000) + "1" + &"}".repeat(200_000);
    assert_eq!(kind(one(&transform, record(objects)).await), FailureKind::StackOverflow);
    still_works(&transform).await;
    let made = body("let a = []; for (let i = 0; i < 200000; i++) a = [a]; record.value = a;", "{}").await;
    assert_eq!(kind(made), FailureKind::StackOverflow);
}

#[tokio::test]
async fn proto_keys_in_data_and_headers_are_plain_members() {
    let text = "record.value = [Object.keys(record.value), ({}).polluted === undefined, Object.keys(record.headers)];";
    let transform = start(&format!("function transform(record) {{ {text} }}"), limits());
    let given = record_of(&ProposedEvent {
        metadata: Bytes::from_static(br#"{"__proto__":"h"}"#),
        ..proposed(r#"{"__proto__":{"polluted":true}}"#)
    });
    let record = changed(one(&transform, given).await);
    assert_eq!(record.data_slice(), br#"[["__proto__"],true,["__proto__"]]"#);
    assert_eq!(record.headers(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_takes_for_json_what_the_strict_parser_takes(texts in prop::collection::vec(almost_json(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let transform = start("function transform(r) {}", limits());
        let records = texts.iter().map(|text| record(text.clone())).collect();
        for (text, answer) in texts.iter().zip(runtime.block_on(transform.apply(records))) {
            let strict = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
            assert_eq!(answer.is_ok(), strict, "{text:?}: {answer:?}");
        }
    }

    #[test]
    fn any_bytes_as_data_and_metadata_get_an_answer(cases in prop::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 1..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let transform = start("function transform(r) { r.headers.a = r.schemaInfo.subject; }", limits());
        let records: Vec<_> = cases.iter().map(|(data, metadata)| record_of(&ProposedEvent {
            metadata: metadata.clone().into(), ..proposed(data.clone())
        })).collect();
        assert_eq!(runtime.block_on(transform.apply(records)).len(), cases.len());
    }
}

fn almost_json() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "{", "}", "[", "]", ",", ":", "\"a\"", "\"", "1", "-", "0", ".", "e", "+", "null", "true", " ", "\n",
        "\\u0041", "\\", "'", "é", "\t", "/", "x",
    ]);
    prop_oneof![prop::collection::vec(pieces, 1..8).prop_map(|pieces| pieces.concat()), "[\\[\\]{}0-9\",:.eE+-]{0,8}"]
}

// Loading.

fn refused(source: &str) -> ScriptError {
    validate(source, limits()).expect_err(source)
}

#[test]
fn scripts_are_checked_when_they_are_loaded() {
    for source in [
        "function transform(record) {}",
        "const transform = (r) => r;",
        "let transform = function (r) {};",
        "var transform = r => {}",
        "class A {} function transform(r) {}",
        "transform = undefined; function transform() {}",
    ] {
        let checked = validate(source, limits());
        assert_eq!(checked.is_ok(), !source.contains("undefined"), "{source}: {checked:?}");
    }
    let error = refused("let a = 1;\nlet b = ;\nfunction transform(r) {}");
    assert!(matches!(error, ScriptError::Syntax { line: 2, column, .. } if column > 0), "{error:?}");
    assert!(error.to_string().contains("line 2"), "{error}");
    assert_eq!(refused(""), ScriptError::Missing);
    assert_eq!(refused("function Transform(r) {}"), ScriptError::Missing);
    let wrong = |found: &str| ScriptError::WrongKind { found: found.to_owned() };
    assert_eq!(refused("const transform = 5;"), wrong("number"));
    assert_eq!(refused("const transform = null;"), wrong("null"));
    assert_eq!(refused("const transform = {};"), wrong("object"));
    assert_eq!(refused("async function transform(r) {}"), wrong("an async function"));
    assert_eq!(refused("function* transform(r) {}"), wrong("a generator"));
    assert_eq!(refused("async function* transform(r) {}"), wrong("an async generator"));
    let error = refused("function transform(r) {}\n\nnull.x;");
    assert!(
        matches!(&error, ScriptError::Threw { message } if message.contains("TypeError") && message.contains("line 3")),
        "{error}"
    );
    assert_eq!(refused("Promise.resolve().then(() => 1); function transform(r) {}"), ScriptError::Asynchronous);
    assert_eq!(refused("function transform(r) {}\0"), ScriptError::ZeroByte { at: 24 });
    assert!(matches!(refused(&" ".repeat(SOURCE_BYTES_MAX + 1)), ScriptError::TooLong { .. }));
    assert!(matches!(refused("export function transform(r) {}"), ScriptError::Syntax { line: 1, .. }));
    assert!(matches!(refused("with ({}) {} function transform(r) {}"), ScriptError::Syntax { .. }), "strict mode");
    assert!(matches!(refused("undeclared = 1; function transform(r) {}"), ScriptError::Threw { .. }), "strict mode");
}

#[test]
fn loading_is_bounded_too() {
    let short = Limits { load_time: Duration::from_millis(100), ..limits() };
    let begun = Instant::now();
    assert_eq!(validate("while (true) {}", short), Err(ScriptError::TimedOut { limit_ms: 100 }));
    assert_eq!(validate("for (;;) try { throw 1 } catch {}", short), Err(ScriptError::TimedOut { limit_ms: 100 }));
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(matches!(
        refused("const a = []; for (;;) a.push('x'.repeat(10000) + a.length);"),
        ScriptError::OutOfMemory { .. }
    ));
    assert!(matches!(refused("function f() { f() + 1 } f();"), ScriptError::StackOverflow { .. }));
    assert!(matches!(
        refused(&("(".repeat(100_000) + "1")),
        ScriptError::StackOverflow { .. } | ScriptError::Syntax { .. }
    ));
    assert!(matches!(refused(&"[".repeat(300_000)), ScriptError::StackOverflow { .. } | ScriptError::Syntax { .. }));
    let stuck = Limits { load_time: Duration::from_millis(20), memory_bytes: 1 << 30, ..limits() };
    assert!(validate("let a = new Array(3e7).join('x'); function transform(r) {}", stuck).is_err());
}

#[test]
fn limits_have_limits() {
    for wrong in [
        Limits { memory_bytes: 0, ..limits() },
        Limits { memory_bytes: MEMORY_BYTES_MIN - 1, ..limits() },
        Limits { stack_bytes: 1, ..limits() },
        Limits { stack_bytes: usize::MAX, ..limits() },
        Limits { time: Duration::ZERO, ..limits() },
        Limits { load_time: Duration::MAX, ..limits() },
        Limits { output_bytes: 0, ..limits() },
    ] {
        let error = validate("function transform(r) {}", wrong).unwrap_err();
        assert!(matches!(error, ScriptError::Limit { .. }), "{error}");
    }
    assert!(
        Transform::start("function transform(r) {}", Limits { memory_bytes: MEMORY_BYTES_MIN, ..limits() }).is_ok()
    );
}

// Time.

#[tokio::test]
async fn endless_scripts_are_interrupted() {
    for text in [
        "while (true) {}",
        "for (;;) { try { while (true) {} } catch (e) {} }",
        "for (;;) { try { while (true) {} } finally { continue; } }",
        "function* g() { while (true) yield 1; } for (const x of g()) {}",
        "[3, 1, 2].sort(() => { while (true) {} });",
        "Array.from({ length: 1e9 }, () => 1);",
        "/(a+)+$/.test('a'.repeat(40) + 'b');",
        "/^(?:a|a?)+$/.test('a'.repeat(60) + 'b');",
        "'x'.replace(/x/, () => { while (true) {} });",
        "Object.defineProperty(record, 'value', { get() { while (true) {} } });",
        "record.value = { toJSON() { while (true) {} } };",
        "record.headers = { get a() { while (true) {} } };",
        "record.headers = new Proxy({}, { ownKeys() { while (true) {} } });",
        "record.schemaInfo = { get subject() { while (true) {} } };",
        "return { get value() { while (true) {} } };",
        "return new Proxy({}, { has() { while (true) {} } });",
        "throw { get message() { while (true) {} } };",
        "const e = new Error('x'); Object.defineProperty(e, 'message', { get() { while (true) {} } }); throw e;",
        "const e = new Error('x'); Object.defineProperty(e, 'name', { get() { while (true) {} } }); throw e;",
    ] {
        let transform = start(&format!("function transform(record) {{ if (record.value.bad) {{ {text} }} }}"), hasty());
        let begun = Instant::now();
        let answers = transform.apply(vec![record(r#"{"bad":1}"#), record("{}")]).await;
        let [bad, good] = answers.try_into().unwrap();
        let bad = bad.err().map(|failed| failed.kind);
        // An object with a getter is no Error: nobody reads its message.
        let wanted = if text.starts_with("throw {") { FailureKind::Threw } else { FailureKind::TimedOut };
        assert_eq!(bad, Some(wanted), "{text}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{text}");
        assert_eq!(data(&good), "{}", "{text}");
    }
}

#[tokio::test]
async fn a_built_in_that_answers_no_interrupt_is_left_behind() {
    let limits = Limits { time: Duration::from_millis(10), memory_bytes: 1 << 30, ..hasty() };
    let source =
        "let seen = 0; function transform(r) { seen += 1; if (r.value.bad) new Array(1e8).join('x'); r.value = seen; }";
    let transform = start(source, limits);
    let begun = Instant::now();
    let answers = transform.apply(vec![record("{}"), record(r#"{"bad":1}"#), record("{}")]).await;
    let waited = begun.elapsed();
    let [before, bad, after] = answers.try_into().unwrap();
    assert_eq!(data(&before), "1");
    let bad = failure(bad);
    assert_eq!(bad.kind, FailureKind::TimedOut);
    assert!(bad.message.contains("cannot be interrupted"), "{} after {waited:?}", bad.message);
    assert_eq!(data(&after), "1", "globals start anew");
}

#[tokio::test]
async fn threads_left_behind_are_bounded() {
    let limits = Limits { time: Duration::from_millis(5), memory_bytes: 1 << 30, ..hasty() };
    let transform = start("function transform(r) { new Array(1e8).join('x'); }", limits);
    let answers = transform.apply(vec![record("{}"); 8]).await;
    let kinds: Vec<_> = answers.into_iter().map(kind).collect();
    assert!(kinds.contains(&FailureKind::TimedOut) && kinds.contains(&FailureKind::Crashed), "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == FailureKind::TimedOut).count(), 3, "{kinds:?}");
}

#[tokio::test]
async fn a_dropped_call_stops_after_the_record_in_hand() {
    let source = "function transform(r) { if (r.value.slow) for (;;); }";
    let transform = start(source, Limits { time: Duration::from_millis(200), ..hasty() });
    let many = transform.apply(vec![record(r#"{"slow":1}"#); 200]);
    assert!(tokio::time::timeout(Duration::from_millis(20), many).await.is_err());
    let begun = Instant::now();
    still_works(&transform).await;
    assert!(begun.elapsed() < Duration::from_secs(10));
}

// Memory and stack.

#[tokio::test]
async fn memory_bombs_fail_alone() {
    for text in [
        "const a = []; for (;;) a.push(new Array(1000).fill(1));",
        "let s = 'x'; for (;;) s += s + 'y'.repeat(1000);",
        "'x'.repeat(5e8);",
        "new ArrayBuffer(1e9);",
        "new Uint8Array(1e9);",
        "new Array(1e8).fill(0);",
        "const m = new Map(); for (let i = 0; ; i++) m.set(i, 'x'.repeat(1000) + i);",
        "record.value = 'x'.repeat(40e6);",
        "record.value = new Array(3e6).fill('aaaaaaaaaaaaaaaaaaaa');",
        "for (;;) { try { const a = []; for (;;) a.push(new Array(1000).fill(1)); } catch (e) { throw e; } }",
    ] {
        let transform =
            start(&format!("function transform(record) {{ if (record.value.bad) {{ {text} }} }}"), limits());
        let answers = transform.apply(vec![record(r#"{"bad":1}"#), record("{}")]).await;
        let [bad, good] = answers.try_into().unwrap();
        let bad = failure(bad);
        assert!(matches!(bad.kind, FailureKind::OutOfMemory), "{text}: {bad}");
        assert_eq!(data(&good), "{}", "{text}");
    }
}

#[tokio::test]
async fn memory_held_in_globals_does_not_starve_later_records() {
    let source =
        "let hoard = []; function transform(r) { if (r.value.bad) for (;;) hoard.push(new Array(1000).fill(r)); }";
    let transform = start(source, limits());
    for _ in 0..5 {
        let answers = transform.apply(vec![record(r#"{"bad":1}"#), record("{}"), record("{}")]).await;
        let [bad, good, other] = answers.try_into().unwrap();
        assert_eq!(kind(bad), FailureKind::OutOfMemory);
        assert_eq!((data(&good), data(&other)), ("{}".into(), "{}".into()));
    }
}

#[tokio::test]
async fn memory_that_runs_out_anywhere_never_ends_the_process() {
    // Each size lets memory run out at another point: while loading, parsing, calling, or writing the result.
    let source = "const kept = []; function transform(r) { kept.push(r); r.value = [r.value, r.value.a]; }";
    for step in 0..24 {
        let limits = Limits { memory_bytes: MEMORY_BYTES_MIN + step * 3_001, ..limits() };
        let size = 2_000 + step * 10_000;
        let transform = start(source, limits);
        let given = format!(r#"{{"a":["{}",{}1]}}"#, "x".repeat(size), "[],".repeat(size / 100));
        for answer in transform.apply(vec![record(given); 12]).await {
            if let Err(failed) = answer {
                assert_eq!(failed.kind, FailureKind::OutOfMemory, "{failed}");
            }
        }
        still_works(&start("function transform(r) {}", limits)).await;
    }
}

#[test]
fn a_script_too_large_for_its_memory_is_refused() {
    for size in [50_000, 100_000, 200_000, 400_000, 900_000] {
        let source = format!("const a = [{}]; function transform(r) {{}}", "'ab',".repeat(size / 5));
        let limits = Limits { memory_bytes: MEMORY_BYTES_MIN, ..limits() };
        if let Err(error) = validate(&source, limits) {
            assert!(matches!(error, ScriptError::OutOfMemory { .. } | ScriptError::Syntax { .. }), "{error}");
        }
    }
    let source = format!("const a = [{}]; function transform(r) {{}}", "'ab',".repeat(180_000));
    assert!(validate(&source, Limits { memory_bytes: MEMORY_BYTES_MIN, ..limits() }).is_err());
}

#[tokio::test]
async fn deep_recursion_fails_alone() {
    for text in [
        "(function f() { f(); })();",
        "const f = (n) => f(n + 1) + 1; f(0);",
        "record.value = { toJSON() { return JSON.stringify(this); } };",
        "const o = { get a() { return this.a; } }; o.a;",
        "const p = new Proxy({}, { get(t, k, r) { return r[k]; } }); p.x;",
        "let a = []; a[0] = a; a.toString = function () { return '' + this; }; '' + a;",
        "let r = 'a'; for (let i = 0; i < 20000; i++) r = '(' + r + ')'; new RegExp(r);",
    ] {
        let transform =
            start(&format!("function transform(record) {{ if (record.value.bad) {{ {text} }} }}"), limits());
        let answers = transform.apply(vec![record(r#"{"bad":1}"#), record("{}")]).await;
        let [bad, good] = answers.try_into().unwrap();
        let bad = failure(bad);
        assert!(
            matches!(bad.kind, FailureKind::StackOverflow | FailureKind::Threw | FailureKind::InvalidResult),
            "{text}: {bad}"
        );
        assert_eq!(data(&good), "{}", "{text}");
    }
    assert_eq!(body_kind("(function f() { f(); })();").await, FailureKind::StackOverflow);
}

#[tokio::test]
async fn results_are_bounded_in_size() {
    let small = Limits { output_bytes: 1000, ..limits() };
    let transform = start("function transform(r) { r.value = 'x'.repeat(r.value); }", small);
    assert_eq!(data(&one(&transform, record("998")).await).len(), 1000);
    let failed = failure(one(&transform, record("999")).await);
    assert_eq!((failed.kind, failed.message.contains("1001")), (FailureKind::InvalidResult, true));
}

// Asynchrony.

#[tokio::test]
async fn asynchronous_work_is_refused_and_forgotten() {
    let source = "let late = 0; function transform(r) {
        if (r.value.chain) { const more = () => { late += 1; return Promise.resolve().then(more); }; more(); }
        if (r.value.promise) return (async () => r)();
        if (r.value.then) return { then(f) { f(r); } };
        r.value = late; }";
    let transform = start(source, limits());
    let cases = [r#"{"chain":1}"#, "{}", r#"{"promise":1}"#, "{}", r#"{"then":1}"#, "{}"];
    let answers = transform.apply(cases.iter().map(|case| record(*case)).collect()).await;
    let [chain, a, promise, b, then, c] = answers.try_into().unwrap();
    for failed in [chain, promise, then] {
        assert_eq!(kind(failed), FailureKind::InvalidResult);
    }
    for answer in [a, b, c] {
        assert_eq!(data(&answer), "0", "no job ever ran");
    }
}

// What a script must not reach.

#[tokio::test]
async fn code_cannot_be_made_from_text() {
    for text in [
        "eval('1')",
        "(0, eval)('1')",
        "new Function('return 1')()",
        "Function('return 1')()",
        "(function () {}).constructor('return 1')()",
        "(() => 1).constructor('return 1')()",
        "(async () => 1).constructor('return 1')()",
        "(function* () {}).constructor('yield 1')()",
        "(async function* () {}).constructor('yield 1')()",
        "transform.constructor('return 1')()",
        "Object.getPrototypeOf(transform).constructor('return 1')()",
        "Reflect.construct(Function, ['return 1'])",
        "class F extends Function {} ; new F('return 1')",
        "setTimeout('1', 0)",
        "globalThis.constructor.constructor('return 1')()",
        "import('std')",
        "record.constructor.constructor('return 1')()",
        "new (Object.getPrototypeOf(async function () {}).constructor)('1')",
    ] {
        let transform = start(
            &format!(
                "function transform(record) {{ record.value = {}; }}",
                text.replace("class F extends Function {} ; ", "")
            ),
            limits(),
        );
        let answer = one(&transform, record("{}")).await;
        assert!(answer.is_err(), "{text}: {answer:?}");
    }
    assert_eq!(
        data(&body("record.value = [transform instanceof Function, typeof Function, typeof eval];", "{}").await),
        r#"[true,"function","undefined"]"#
    );
}

#[tokio::test]
async fn nothing_of_the_machine_can_be_reached() {
    let names = [
        "require",
        "process",
        "std",
        "os",
        "fetch",
        "setTimeout",
        "setInterval",
        "console",
        "print",
        "load",
        "Deno",
        "module",
        "exports",
        "Atomics",
        "SharedArrayBuffer",
        "WebAssembly",
        "performance",
        "WeakRef",
        "FinalizationRegistry",
        "scriptArgs",
    ];
    let text = format!("record.value = {names:?}.filter((name) => globalThis[name] !== undefined);");
    assert_eq!(data(&body(&text, "{}").await), "[]");
    assert_eq!(
        data(&body("record.value = [typeof Date.now(), typeof Math.random()];", "{}").await),
        r#"["number","number"]"#
    );
}

#[tokio::test]
async fn one_record_cannot_reach_into_the_next() {
    for text in [
        "Object.prototype.leak = 1;",
        "({}).__proto__.leak = 1;",
        "record.value.__proto__.leak = 1;",
        "record.constructor.prototype.leak = 1;",
        "Object.getPrototypeOf(record).leak = 1;",
        "Object.getPrototypeOf(record.schemaInfo).leak = 1;",
        "Object.getPrototypeOf(record.position).leak = 1;",
        "Object.defineProperty(Object.prototype, 'leak', { get() { return 1; } });",
        "Object.defineProperty(Object.getPrototypeOf(record), 'headers', { get() { return { leak: 1 }; } });",
        "Object.prototype.toJSON = () => 'leak';",
        "Array.prototype.toJSON = () => 'leak';",
        "String.prototype.toJSON = () => 'leak';",
        "Object.setPrototypeOf(Object.getPrototypeOf(record), { leak: 1 });",
        "record.leak = 1; record.headers.leak = 1; record.schemaInfo.leak = 1; record.position.leak = 1; record.value.leak = 1;",
        "JSON.stringify = () => '\"leak\"'; JSON.parse = () => 'leak';",
    ] {
        let source = format!(
            "function transform(record) {{ if (record.value.bad) {{ {text} }} else {{
                const r = record; const all = [r, r.value, r.headers, r.schemaInfo, r.position, r.value.list];
                r.value.leaked = all.some((o) => 'leak' in o) || r.headers.leak === 1; }} }}"
        );
        let transform = start(&source, limits());
        let answers = transform.apply(vec![record(r#"{"bad":1}"#), record(r#"{"list":["a"]}"#)]).await;
        assert_eq!(data(&answers[1]), r#"{"list":["a"],"leaked":false}"#, "{text}");
    }
}

#[tokio::test]
async fn to_json_and_getters_are_asked_once() {
    let text = "let n = 0; record.value = { get a() { n += 1; return n; }, toJSON() { return { a: this.a, n }; } };";
    assert_eq!(data(&body(text, "{}").await), r#"{"a":1,"n":1}"#);
    let text = "let n = 0; return { get value() { n += 1; return n; }, get headers() { n += 1; return { n }; } };";
    let record = changed(body(text, "{}").await);
    assert_eq!((record.data_slice(), record.headers().unwrap()[0].1.as_str()), (&b"1"[..], "2"));
    assert_eq!(body_kind("record.value = { toJSON() { throw new Error('no'); } };").await, FailureKind::InvalidResult);
    assert_eq!(
        body_kind("Object.defineProperty(record, 'value', { get() { throw new Error('no'); } });").await,
        FailureKind::Threw
    );
    assert_eq!(body_kind("Object.freeze(record); record.value = 1;").await, FailureKind::Threw);
    assert_eq!(data(&body("record.value = new Proxy({ a: 1 }, {});", "{}").await), r#"{"a":1}"#);
}

#[tokio::test]
async fn what_was_thrown_is_told() {
    let message = |answer: Answer| {
        let failed = failure(answer);
        assert_eq!(failed.kind, FailureKind::Threw, "{failed}");
        failed.message
    };
    assert_eq!(message(body("throw new RangeError('too big');", "{}").await), "RangeError: too big (line 1)");
    assert!(message(body("\n\nrecord.value.a.b.c = 1;", "{}").await).ends_with("(line 3)"));
    assert_eq!(message(body("throw 'plain';", "{}").await), "plain");
    assert_eq!(message(body("throw 7;", "{}").await), "7");
    assert_eq!(message(body("throw true;", "{}").await), "true");
    assert!(message(body("throw { message: 'x' };", "{}").await).contains("object"));
    assert!(message(body("throw undefined;", "{}").await).contains("undefined"));
    assert!(message(body("throw new Error('é'.repeat(5000));", "{}").await).len() <= MESSAGE_BYTES_MAX + 32);
    assert!(message(body("const e = new Error('x'); e.stack = 5; e.name = {}; throw e;", "{}").await).contains('x'));
    assert!(message(body(r"throw new Error('\ud800');", "{}").await).len() < 100);
    let failed = failure(body("throw new Error('x');", "{}").await);
    assert_eq!(failed.to_string(), "transform threw: Error: x (line 1)");
    assert_eq!(failed.kind.name(), "threw");
}
