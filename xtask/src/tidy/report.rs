//! Owns the run over all checks and what is said about it.

use std::fmt;

use anyhow::{Result, bail};

use super::{arrows, documents, layout, lockfile, source, tests_rules, text};
use crate::workspace::{self, TextFile};

/// One thing that is wrong, where it is and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) path: String,
    /// From 1; 0 means the file as a whole.
    pub(super) line: usize,
    pub(super) message: String,
}

impl Finding {
    /// A finding about a whole file.
    pub(super) fn of_file(path: &str, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: 0, message: message.into() }
    }

    /// A finding at a line, counted from 0 as iterators do.
    pub(super) fn at(path: &str, index: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: index + 1, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Runs all checks over the workspace and prints what they find.
pub(crate) fn run() -> Result<()> {
    let files = workspace::text_files()?;
    let findings = check(&files);
    for note in source::notes(&files) {
        println!("note: {note}");
    }
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy found {} things to mend", findings.len());
    }
    println!("tidy: {} files, nothing to mend", files.len());
    Ok(())
}

/// One family of rules over all files.
type Check = fn(&[TextFile]) -> Vec<Finding>;

/// Every finding in these files.
fn check(files: &[TextFile]) -> Vec<Finding> {
    let checks: &[Check] = &[
        arrows::check,
        layout::check,
        source::check,
        tests_rules::check,
        text::check,
        documents::check,
        lockfile::check,
    ];
    checks.iter().flat_map(|one| one(files)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_its_line_from_one() {
        assert_eq!(Finding::at("a.rs", 0, "wrong").to_string(), "a.rs:1: wrong");
        assert_eq!(Finding::of_file("a.rs", "wrong").to_string(), "a.rs: wrong");
    }
}
