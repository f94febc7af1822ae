//! Owns the tests of transforms: what payloads go in and come out.

use bytes::Bytes;
use forebay_event::ProposedEvent;
use proptest::prelude::{ProptestConfig, Strategy, any, prop, prop_oneof, proptest};

use super::super::FailureKind;
use super::fixture::{
    Answer, body, changed, data, failure, kind, limits, one, proposed, record, record_of, start, still_works,
};

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
