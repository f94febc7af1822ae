//! Owns the tests of transforms: which scripts are taken at all.

use std::time::{Duration, Instant};

use super::super::{ScriptError, Transform, validate};
use super::fixture::limits;
use crate::limits::{Limits, MEMORY_BYTES_MIN, SOURCE_BYTES_MAX};

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
