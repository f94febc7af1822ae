//! Owns the rules for Rust files: how they open, how long they are, what may not stand in them.

use super::code::{code_lines, tests_begin};
use super::report::Finding;
use crate::workspace::TextFile;

/// Lines before tests that are refused, that deserve a second look, and that `main.rs` may have.
const LINES_MAX: usize = 800;
const LINES_NOTED: usize = 500;
const MAIN_LINES_MAX: usize = 60;

/// Ends of type names that say nothing, and what to say instead.
const EMPTY_ENDS: &[(&str, &str)] = &[
    ("Manager", "name what it decides or keeps"),
    ("Handler", "name what it does"),
    ("Processor", "a filter keeps or drops, a transform changes"),
    ("Mapper", "a transform changes a record"),
    ("Helper", "name what it does"),
    ("Utils", "name what it does"),
    ("Plugin", "a connector or a kind"),
    ("Destination", "a sink or its target"),
    ("Bookmark", "a checkpoint"),
];

/// Names that are empty when they stand alone.
const EMPTY_NAMES: &[&str] = &["Data", "Info", "Context", "Error"];

pub(super) fn check(files: &[TextFile]) -> Vec<Finding> {
    rust_files(files).flat_map(judge).collect()
}

/// Files that are not refused yet but are worth a look: which, and how long.
pub(super) fn notes(files: &[TextFile]) -> Vec<String> {
    let long = |file: &TextFile| {
        let lines = lines_before_tests(&file.text);
        (lines > LINES_NOTED && lines <= LINES_MAX)
            .then(|| format!("{}: {lines} lines before tests, look twice (refused over {LINES_MAX})", file.path))
    };
    rust_files(files).filter_map(long).collect()
}

pub(super) fn rust_files(files: &[TextFile]) -> impl Iterator<Item = &TextFile> {
    files.iter().filter(|file| file.path.ends_with(".rs") && !file.path.contains("/generated/"))
}

fn judge(file: &TextFile) -> Vec<Finding> {
    let code = code_lines(&file.text);
    let mut findings = Vec::new();
    findings.extend(opening(file));
    findings.extend(length(file, &code));
    findings.extend(front_page(file, &code));
    findings.extend(wildcard_exports(file, &code));
    findings.extend(features(file, &code));
    findings.extend(type_names(file, &code));
    findings.extend(loose_serde(file, &code));
    findings
}

fn lines_before_tests(text: &str) -> usize {
    tests_begin(&code_lines(text)).min(text.lines().count())
}

fn opening(file: &TextFile) -> Option<Finding> {
    let opens = file.text.lines().next().is_some_and(|line| line.starts_with("//! ") && line.len() > "//! ".len());
    (!opens).then(|| Finding::at(&file.path, 0, "open the file with one `//!` sentence that says what it owns"))
}

fn length(file: &TextFile, code: &[String]) -> Option<Finding> {
    let lines = tests_begin(code).min(file.text.lines().count());
    let (max, cure) = if file.path.ends_with("src/main.rs") {
        (MAIN_LINES_MAX, "move the work into a library")
    } else {
        (LINES_MAX, "split it by concept")
    };
    (lines > max).then(|| Finding::of_file(&file.path, format!("{lines} lines before tests, at most {max}: {cure}")))
}

/// `mod.rs` and `lib.rs` are front pages: doc, `mod` lines, re-exports.
fn front_page(file: &TextFile, code: &[String]) -> Vec<Finding> {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let of_tests = file.path.split('/').any(|part| part == "tests");
    if of_tests || (name != "mod.rs" && name != "lib.rs") {
        return Vec::new();
    }
    let before_tests = code.iter().take(tests_begin(code)).enumerate();
    let logic = before_tests.filter(|(_, line)| words(line).any(|word| word == "fn") && declares_function(line));
    logic
        .map(|(index, _)| {
            Finding::at(&file.path, index, format!("{name} is a front page: move the function to a file of its own"))
        })
        .collect()
}

/// Whether a line begins a function, and not a type such as `pub type Connect = fn(…)`.
fn declares_function(line: &str) -> bool {
    let mut previous = "";
    for word in line.split_whitespace() {
        if previous == "fn" && word.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            return true;
        }
        previous = word;
    }
    false
}

fn wildcard_exports(file: &TextFile, code: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut begun: Option<usize> = None;
    for (index, line) in code.iter().enumerate() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("pub use ") || (trimmed.starts_with("pub(") && trimmed.contains(") use ")) {
            begun = Some(index);
        }
        let Some(first) = begun else { continue };
        if line.contains('*') {
            findings.push(Finding::at(
                &file.path,
                first,
                "name what is re-exported: a wildcard hides where a name comes from",
            ));
            begun = None;
        } else if line.contains(';') {
            begun = None;
        }
    }
    findings
}

/// `cfg(feature)` belongs to the `mod` line and the catalogue line of a sink or source, and to `testing` modules.
fn features(file: &TextFile, code: &[String]) -> Vec<Finding> {
    let in_catalogue_crate =
        ["crates/sinks/src/", "crates/sources/src/"].iter().any(|start| file.path.starts_with(start));
    let is_catalogue = in_catalogue_crate && file.path.ends_with("/src/catalog.rs");
    let source: Vec<&str> = file.text.lines().collect();
    let mut findings = Vec::new();
    for (index, line) in code.iter().enumerate() {
        let names_feature = line.contains("feature =")
            && (line.contains("cfg(") || line.contains("cfg!(") || line.contains("cfg_attr("));
        if !names_feature {
            continue;
        }
        let next =
            code.iter().skip(index + 1).map(|one| one.trim()).find(|one| !one.is_empty() && !one.starts_with("#["));
        let on_mod_line = next.is_some_and(|one| one.contains("mod ") || one.starts_with("pub use "));
        let is_testing = source.get(index).is_some_and(|one| one.contains("feature = \"testing\""));
        let allowed = is_catalogue || (on_mod_line && (in_catalogue_crate || is_testing));
        if !allowed {
            let message = "`cfg(feature)` may stand only on the `mod` and catalogue line of a sink or source, or on a `testing` module";
            findings.push(Finding::at(&file.path, index, message));
        }
    }
    findings
}

fn type_names(file: &TextFile, code: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in code.iter().enumerate() {
        let Some(name) = declared_type(line) else { continue };
        for (end, cure) in EMPTY_ENDS {
            if name.ends_with(end) {
                findings.push(Finding::at(&file.path, index, format!("{name}: a name may not end in {end}: {cure}")));
            }
        }
        if EMPTY_NAMES.contains(&name) {
            findings.push(Finding::at(&file.path, index, format!("{name} needs a noun of the domain before it")));
        }
    }
    findings
}

/// The name of the struct, enum or trait that a line declares.
fn declared_type(line: &str) -> Option<&str> {
    let mut parts = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
    let mut first = parts.next()?;
    while matches!(first, "pub" | "crate" | "super" | "in" | "unsafe") {
        first = parts.next()?;
    }
    matches!(first, "struct" | "enum" | "trait").then(|| parts.next()).flatten()
}

/// Flattened and untagged values answer a wrong field with an error that names nothing.
fn loose_serde(file: &TextFile, code: &[String]) -> Vec<Finding> {
    let loose = |line: &str| line.contains("serde(") && words(line).any(|word| matches!(word, "flatten" | "untagged"));
    let found = code.iter().enumerate().filter(|(_, line)| loose(line));
    found
        .map(|(index, _)| Finding::at(&file.path, index, "no `flatten`, no `untagged`: their errors are useless"))
        .collect()
}

/// The words of a line of code.
pub(super) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&[TextFile { path: path.to_owned(), text: text.to_owned() }]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_without_an_opening_sentence_is_refused() {
        assert_eq!(findings("a.rs", "use std::fmt;\n").len(), 1);
        assert_eq!(findings("a.rs", "//!\nuse std::fmt;\n").len(), 1);
        assert!(findings("a.rs", "//! Owns a.\nuse std::fmt;\n").is_empty());
    }

    #[test]
    fn a_long_file_is_refused_and_its_tests_do_not_count() {
        let long = format!("//! Owns a.\n{}", "const A: u8 = 1;\n".repeat(LINES_MAX));
        assert_eq!(findings("a.rs", &long).len(), 1);
        let tests = format!("//! Owns a.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "const A: u8 = 1;\n".repeat(LINES_MAX));
        assert!(findings("a.rs", &tests).is_empty());
        assert_eq!(findings("src/main.rs", &format!("//! Runs.\n{}", "\n".repeat(MAIN_LINES_MAX))).len(), 1);
        let noted = TextFile { path: "a.rs".to_owned(), text: "//! Owns a.\n".repeat(LINES_NOTED + 1) };
        assert_eq!(notes(&[noted]).len(), 1);
    }

    #[test]
    fn a_front_page_with_logic_is_refused() {
        assert_eq!(findings("a/mod.rs", "//! Front.\npub(crate) fn x() {}\n").len(), 1);
        assert!(findings("a/lib.rs", "//! Front: `fn x() {}`.\npub type F = fn(u8) -> u8;\n").is_empty());
    }

    #[test]
    fn a_wildcard_export_is_refused_over_several_lines() {
        assert_eq!(findings("a.rs", "//! A.\npub use b::{\n    c::*,\n};\n").len(), 1);
        assert!(findings("a.rs", "//! A.\npub use b::c;\nlet x = 2 * 3;\n").is_empty());
    }

    #[test]
    fn a_feature_stands_only_where_it_may() {
        let inside = "//! A.\n#[cfg(feature = \"kafka\")]\nfn x() {}\n";
        assert_eq!(findings("crates/sinks/src/http.rs", inside).len(), 1);
        let module = "//! A.\n#[cfg(feature = \"kafka\")]\nmod kafka;\n";
        assert!(findings("crates/sinks/src/lib.rs", module).is_empty());
        assert_eq!(findings("crates/runtime/src/lib.rs", module).len(), 1);
        assert!(findings("crates/store/src/lib.rs", &module.replace("kafka", "testing")).is_empty());
    }

    #[test]
    fn empty_names_are_refused() {
        assert_eq!(findings("a.rs", "//! A.\npub(crate) struct LeaseManager;\n").len(), 1);
        assert_eq!(findings("a.rs", "//! A.\nenum Error {}\n").len(), 1);
        assert!(findings("a.rs", "//! A.\nstruct SinkContext;\nfn f(x: &dyn RequestHandler) {}\n").is_empty());
    }

    #[test]
    fn loose_serde_is_refused() {
        assert_eq!(findings("a.rs", "//! A.\n#[serde(untagged)]\nenum X {}\n").len(), 1);
        assert!(findings("a.rs", "//! A.\nlet x = list.iter().flatten();\n").is_empty());
    }
}
