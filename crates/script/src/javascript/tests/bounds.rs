//! Owns the tests of transforms: time, memory, stack and asynchronous work.

use std::time::{Duration, Instant};

use super::super::{FailureKind, ScriptError, validate};
use super::fixture::{body, body_kind, data, failure, hasty, kind, limits, one, record, start, still_works};
use crate::limits::{Limits, MEMORY_BYTES_MIN, STACK_BYTES_MAX, STACK_BYTES_MIN};

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
    let limits = Limits { time: Duration::from_millis(40), memory_bytes: 1 << 30, ..hasty() };
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
async fn large_numbers_cost_their_own_record_only() {
    for text in ["2n ** 30000000n;", "let n = 3n; for (;;) n *= n;", "(7n ** 200000n).toString();"] {
        let transform = start(&format!("function transform(record) {{ if (record.value.bad) {{ {text} }} }}"), hasty());
        let answers = transform.apply(vec![record(r#"{"bad":1}"#), record("{}")]).await;
        assert_eq!(data(&answers[1]), "{}", "{text}");
    }
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

#[tokio::test]
async fn memory_bombs_fail_alone() {
    for text in [
        "const a = []; for (;;) a.push(new Array(1000).fill(1));",
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
        "let r = 'a'; for (let i = 0; i < 5000; i++) r = '(' + r + ')'; new RegExp(r);",
    ] {
        let transform =
            start(&format!("function transform(record) {{ if (record.value.bad) {{ {text} }} }}"), limits());
        let answers = transform.apply(vec![record(r#"{"bad":1}"#), record("{}")]).await;
        let [bad, good] = answers.try_into().unwrap();
        let bad = failure(bad);
        assert!(bad.kind != FailureKind::Crashed, "{text}: {bad}");
        assert_eq!(data(&good), "{}", "{text}");
    }
    assert_eq!(body_kind("(function f() { f(); })();").await, FailureKind::StackOverflow);
}

#[tokio::test]
async fn the_stack_of_the_process_is_never_reached() {
    for stack_bytes in [STACK_BYTES_MIN, STACK_BYTES_MAX] {
        let limits = Limits { stack_bytes, memory_bytes: 256 << 20, time: Duration::from_secs(10), ..limits() };
        let source = "function transform(record) {
            const f = (n) => [n].map((m) => f(m + 1)).length;
            const g = (s) => s.replace(/./, (c) => g(s));
            const h = (n) => JSON.stringify({ toJSON: () => h(n + 1) });
            const s = (n) => [2, 1].sort((a, b) => s(n + 1));
            const r = (n) => new Proxy({}, { get: () => r(n + 1) }).x;
            const all = { f, g, h, s, r };
            if (all[record.value]) all[record.value]('0'); }";
        let transform = start(source, limits);
        for name in ["f", "g", "h", "s", "r"] {
            let failed = failure(one(&transform, record(format!("\"{name}\""))).await);
            assert!(matches!(failed.kind, FailureKind::StackOverflow | FailureKind::TimedOut), "{name}: {failed}");
        }
        let deep = "[".repeat(400_000) + &"]".repeat(400_000);
        assert_eq!(kind(one(&transform, record(deep)).await), FailureKind::StackOverflow);
        still_works(&transform).await;
    }
}

#[tokio::test]
async fn results_are_bounded_in_size() {
    let small = Limits { output_bytes: 1000, ..limits() };
    let transform = start("function transform(r) { r.value = 'x'.repeat(r.value); }", small);
    assert_eq!(data(&one(&transform, record("998")).await).len(), 1000);
    let failed = failure(one(&transform, record("999")).await);
    assert_eq!((failed.kind, failed.message.contains("1001")), (FailureKind::InvalidResult, true));
}

#[tokio::test]
async fn texts_too_long_for_the_engine_are_its_own_error() {
    let failed = failure(body("let s = 'x'; for (;;) s += s + 'y';", "{}").await);
    assert!(matches!(failed.kind, FailureKind::Threw | FailureKind::OutOfMemory), "{failed}");
}

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
