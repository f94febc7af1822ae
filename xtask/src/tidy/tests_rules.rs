//! Owns the rules for tests: no waiting by the clock, no test left out without a reason.

use super::code::{code_lines, tests_begin};
use super::report::Finding;
use super::source::rust_files;
use crate::workspace::TextFile;

/// What a comment on the line, or on the line before it, says to allow a sleep; a reason follows.
const ALLOWED: &str = "tidy: sleep allowed: ";

pub(super) fn check(files: &[TextFile]) -> Vec<Finding> {
    rust_files(files).flat_map(judge).collect()
}

fn judge(file: &TextFile) -> Vec<Finding> {
    let code = code_lines(&file.text);
    let source: Vec<&str> = file.text.lines().collect();
    let first = if holds_only_tests(&file.path) { 0 } else { tests_begin(&code) };
    // Under paused time a sleep of tokio's costs nothing and proves no race.
    let paused = code.iter().any(|line| line.contains("start_paused") || line.contains("time::pause"));
    let mut findings = Vec::new();
    for (index, line) in code.iter().enumerate().skip(first) {
        let sleeps =
            line.contains("thread::sleep") || (!paused && (line.contains("time::sleep") || line.contains(" sleep(")));
        let above = index.checked_sub(1).and_then(|before| source.get(before));
        let allowed = [source.get(index), above].into_iter().flatten().any(|text| gives_reason(text));
        if sleeps && !allowed {
            findings.push(Finding::at(
                &file.path,
                index,
                "a test waits for a condition, or uses tokio's paused time; it does not sleep",
            ));
        }
        if line.trim() == "#[ignore]" {
            findings.push(Finding::at(&file.path, index, "say why the test is left out: `#[ignore = \"reason\"]`"));
        }
    }
    findings
}

fn holds_only_tests(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || path.split('/').any(|part| part == "tests")
}

fn gives_reason(line: &str) -> bool {
    line.split_once(ALLOWED).is_some_and(|(_, reason)| !reason.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        check(&[TextFile { path: path.to_owned(), text: text.to_owned() }]).len()
    }

    #[test]
    fn a_sleeping_test_is_refused() {
        assert_eq!(findings("crates/a/tests/b.rs", "fn x() { std::thread::sleep(d); }\n"), 1);
        assert_eq!(findings("crates/a/src/b.rs", "#[cfg(test)]\nmod tests {\n tokio::time::sleep(d).await;\n}\n"), 1);
        assert_eq!(findings("crates/a/src/b.rs", "fn x() { std::thread::sleep(d); }\n"), 0);
    }

    #[test]
    fn a_reason_or_paused_time_allows_it() {
        let reasoned = format!("// {ALLOWED}the kernel offers no event for this\nstd::thread::sleep(d);\n");
        assert_eq!(findings("crates/a/tests/b.rs", &reasoned), 0);
        assert_eq!(findings("crates/a/tests/b.rs", &format!("// {ALLOWED}\nstd::thread::sleep(d);\n")), 1);
        assert_eq!(
            findings("crates/a/tests/b.rs", "#[tokio::test(start_paused = true)]\ntokio::time::sleep(d).await;\n"),
            0
        );
    }

    #[test]
    fn a_test_left_out_says_why() {
        assert_eq!(findings("crates/a/tests/b.rs", "#[ignore]\nfn x() {}\n"), 1);
        assert_eq!(findings("crates/a/tests/b.rs", "#[ignore = \"needs a broker\"]\nfn x() {}\n"), 0);
    }
}
