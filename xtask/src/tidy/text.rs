//! Owns the rules for any text file: blanks, tabs, and names that hold on one machine only.

use super::report::Finding;
use crate::workspace::TextFile;

/// Files whose bytes are somebody else's, or a tool's.
const LEFT_ALONE: &[&str] = &["LICENSE", "Cargo.lock"];
const LEFT_ALONE_ENDS: &[&str] = &[".ndjson", ".golden", ".svg"];

/// Paths of one machine; written in two parts, so that this file does not hold what it refuses.
const MACHINE_PATHS: &[(&str, &str)] = &[
    ("/wor", "k/"),
    ("/tm", "p/wt"),
    ("/.lib", "rary"),
    ("share", "d/reference"),
    ("share", "d/design"),
    ("/ro", "ot/"),
];

/// Hosts of package registries: which one is used is the business of the machine that builds.
const REGISTRY_HOSTS: &[(&str, &str)] = &[
    ("index.", "crates.io"),
    ("static.", "crates.io"),
    ("registry.", "npmjs.org"),
    ("files.", "pythonhosted.org"),
    ("pypi", ".org/simple"),
    ("proxy.", "golang.org"),
    ("deb.", "debian.org"),
    ("arti", "factory"),
];

pub(super) fn check(files: &[TextFile]) -> Vec<Finding> {
    files.iter().filter(|file| !is_left_alone(&file.path)).flat_map(judge).collect()
}

fn is_left_alone(path: &str) -> bool {
    let parts = || path.split('/');
    // What a test recorded is compared byte by byte.
    let recorded =
        parts().any(|part| part == "golden") || (path.ends_with(".txt") && parts().any(|part| part == "tests"));
    recorded || LEFT_ALONE.contains(&path) || LEFT_ALONE_ENDS.iter().any(|end| path.ends_with(end))
}

fn judge(file: &TextFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        if line.ends_with([' ', '\t', '\r']) {
            findings.push(Finding::at(&file.path, index, "blanks at the end of the line"));
        }
        if line.contains('\t') {
            findings.push(Finding::at(&file.path, index, "a tab: use spaces"));
        }
        for (first, second) in MACHINE_PATHS {
            let path = format!("{first}{second}");
            if names_path(line, &path) {
                findings.push(Finding::at(&file.path, index, format!("`{path}` is a path of one machine")));
            }
        }
        for (first, second) in REGISTRY_HOSTS {
            let host = format!("{first}{second}");
            if line.contains(&host) {
                findings.push(Finding::at(
                    &file.path,
                    index,
                    format!("`{host}`: which registry is used is not ours to say"),
                ));
            }
        }
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        findings.push(Finding::of_file(&file.path, "the last line does not end"));
    }
    findings
}

/// Whether a path stands in a line as such, and not as the end of a longer name.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line.get(..at).and_then(|start| start.chars().next_back());
        !path.starts_with('/')
            || !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '}' | ']' | '>'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> usize {
        check(&[TextFile { path: "docs/a.md".to_owned(), text: text.to_owned() }]).len()
    }

    #[test]
    fn blanks_and_tabs_are_refused() {
        assert_eq!(findings("a \n"), 1);
        assert_eq!(findings("a\tb\n"), 1);
        assert_eq!(findings("a"), 1);
        assert_eq!(findings("a\n"), 0);
    }

    #[test]
    fn names_of_one_machine_are_refused() {
        assert_eq!(findings(&format!("see {}{}x\n", "/wor", "k/")), 1);
        assert_eq!(findings("frame/works and a net/work/x\n"), 0);
        assert_eq!(findings(&format!("from https://{}{}/x\n", "static.", "crates.io")), 1);
    }

    #[test]
    fn recorded_bytes_are_left_alone() {
        let file = TextFile { path: "tests/golden/a.txt".to_owned(), text: "a \n".to_owned() };
        assert!(check(&[file]).is_empty());
    }
}
