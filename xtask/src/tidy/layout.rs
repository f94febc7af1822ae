//! Owns the rules for names and places: of crates, modules, changelog fragments and decisions.

use std::collections::BTreeSet;

use super::code::code_lines;
use super::report::Finding;
use super::source::{rust_files, words};
use crate::workspace::TextFile;

/// Names that gather what has no owner.
const EMPTY_NAMES: &[&str] =
    &["common", "core", "types", "utils", "util", "helpers", "helper", "misc", "prelude", "shared_code"];

/// The ends that a changelog fragment may have.
const FRAGMENT_ENDS: &[&str] = &[".fix.md", ".feature.md", ".breaking.md"];

pub(super) fn check(files: &[TextFile]) -> Vec<Finding> {
    let mut findings = names(files);
    findings.extend(undeclared(files));
    findings.extend(files.iter().filter_map(fragment));
    findings.extend(files.iter().filter_map(decision));
    findings
}

fn names(files: &[TextFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for file in rust_files(files) {
        for part in file.path.trim_end_matches(".rs").split('/') {
            if EMPTY_NAMES.contains(&part) && seen.insert(file.path.clone()) {
                findings.push(Finding::of_file(&file.path, format!("`{part}` names nothing: name what it owns")));
            }
        }
        for (index, line) in code_lines(&file.text).iter().enumerate() {
            let mut pair = words(line).skip_while(|word| *word != "mod").skip(1);
            let declared = line.contains("mod ").then(|| pair.next()).flatten();
            if let Some(name) = declared.filter(|name| EMPTY_NAMES.contains(name)) {
                findings.push(Finding::at(&file.path, index, format!("`mod {name}` names nothing: name what it owns")));
            }
        }
    }
    for file in files.iter().filter(|file| file.path.ends_with("/Cargo.toml")) {
        let folder = file.path.trim_end_matches("/Cargo.toml").rsplit('/').next().unwrap_or_default();
        if EMPTY_NAMES.contains(&folder) {
            findings.push(Finding::of_file(&file.path, format!("a crate called `{folder}` gathers what has no owner")));
        }
    }
    findings
}

/// A file that no `mod` line names is not compiled, and nobody notices.
fn undeclared(files: &[TextFile]) -> Vec<Finding> {
    let lone = |file: &&TextFile| {
        let (folder, name) = file.path.rsplit_once('/')?;
        let (name, folder) = match name.trim_end_matches(".rs") {
            "lib" | "main" | "build" => return None,
            "mod" => (folder.rsplit('/').next()?, folder.rsplit_once('/')?.0),
            stem => (stem, folder),
        };
        let is_module = folder.contains("/src") && !folder.ends_with("/bin");
        (is_module && !declared_in(files, folder, name))
            .then(|| Finding::of_file(&file.path, "no `mod` line names this file, so it is not compiled"))
    };
    rust_files(files).filter_map(|file| lone(&file)).collect()
}

fn declared_in(files: &[TextFile], folder: &str, name: &str) -> bool {
    let parents =
        [format!("{folder}/mod.rs"), format!("{folder}/lib.rs"), format!("{folder}/main.rs"), format!("{folder}.rs")];
    let declares = |text: &str| {
        code_lines(text).iter().any(|line| {
            let mut after = words(line).skip_while(|word| *word != "mod").skip(1);
            line.trim_end().ends_with(';') && after.next() == Some(name)
        })
    };
    files.iter().filter(|file| parents.contains(&file.path)).any(|file| declares(&file.text))
}

fn fragment(file: &TextFile) -> Option<Finding> {
    let name = file.path.strip_prefix("changelog/unreleased/")?;
    let slug = FRAGMENT_ENDS.iter().find_map(|end| name.strip_suffix(end));
    let good = slug.is_some_and(|slug| is_slug(slug) && !file.text.trim().is_empty());
    let message = "name a fragment `<slug>.fix.md`, `.feature.md` or `.breaking.md`, and write a sentence in it";
    (!good).then(|| Finding::of_file(&file.path, message))
}

fn decision(file: &TextFile) -> Option<Finding> {
    let name = file.path.strip_prefix("docs/decisions/")?;
    let slug = name.strip_suffix(".md").and_then(|stem| stem.split_once('-'));
    let good = slug
        .is_some_and(|(number, slug)| number.len() == 4 && number.chars().all(|c| c.is_ascii_digit()) && is_slug(slug));
    (!good).then(|| Finding::of_file(&file.path, "name a decision `NNNN-title.md`, with a number of four digits"))
}

fn is_slug(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn names_that_own_nothing_are_refused() {
        assert_eq!(names(&[file("crates/a/src/utils.rs", "")]).len(), 1);
        assert_eq!(names(&[file("crates/core/src/lib.rs", "")]).len(), 1);
        assert_eq!(names(&[file("crates/a/src/lib.rs", "pub mod types {\n")]).len(), 1);
        assert_eq!(names(&[file("crates/common/Cargo.toml", "")]).len(), 1);
        assert!(names(&[file("crates/a/src/lib.rs", "mod prefix;\nuse std::core;\n")]).is_empty());
    }

    #[test]
    fn a_file_that_nothing_declares_is_refused() {
        let lib = file("crates/a/src/lib.rs", "//! mod gone;\nmod b;\npub(crate) mod c;\n");
        let all =
            [lib, file("crates/a/src/b.rs", ""), file("crates/a/src/c/mod.rs", ""), file("crates/a/src/gone.rs", "")];
        let found = undeclared(&all);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "crates/a/src/gone.rs");
    }

    #[test]
    fn fragments_and_decisions_have_their_names() {
        assert!(fragment(&file("changelog/unreleased/http-sink.feature.md", "Adds it.\n")).is_none());
        assert!(fragment(&file("changelog/unreleased/http_sink.md", "Adds it.\n")).is_some());
        assert!(fragment(&file("changelog/unreleased/http-sink.fix.md", "\n")).is_some());
        assert!(decision(&file("docs/decisions/0004-own-jsonpath.md", "")).is_none());
        assert!(decision(&file("docs/decisions/4-own-jsonpath.md", "")).is_some());
    }
}
