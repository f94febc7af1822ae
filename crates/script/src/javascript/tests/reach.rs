//! Owns the tests of transforms: what a script must not reach, and what it throws.

use super::super::FailureKind;
use super::fixture::{Answer, body, body_kind, changed, data, failure, limits, one, record, start};
use crate::limits::MESSAGE_BYTES_MAX;

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
