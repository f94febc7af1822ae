//! Owns the rules for pages: every relative link leads somewhere, and the map stays short.

use super::report::Finding;
use crate::workspace::{self, TextFile};

/// ARCHITECTURE.md is read in ten minutes.
const ARCHITECTURE_LINES_MAX: usize = 250;

pub(super) fn check(files: &[TextFile]) -> Vec<Finding> {
    let root = workspace::root();
    let exists = |path: &str| root.join(path).exists();
    let pages = files.iter().filter(|file| file.path.ends_with(".md"));
    let mut findings: Vec<Finding> = pages.flat_map(|page| dead_links(page, exists)).collect();
    for file in files.iter().filter(|file| file.path == "ARCHITECTURE.md") {
        let lines = file.text.lines().count();
        if lines > ARCHITECTURE_LINES_MAX {
            let message = format!("{lines} lines, at most {ARCHITECTURE_LINES_MAX}: say it shorter, or in docs/");
            findings.push(Finding::of_file(&file.path, message));
        }
    }
    findings
}

fn dead_links(page: &TextFile, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let folder = page.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    let mut in_listing = false;
    for (index, line) in page.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_listing = !in_listing;
        }
        if in_listing {
            continue;
        }
        for target in targets(line).filter(|target| is_relative(target)) {
            let path = target.split('#').next().unwrap_or_default();
            let known = resolve(folder, path).is_some_and(|resolved| exists(&resolved));
            if !path.is_empty() && !known {
                findings.push(Finding::at(&page.path, index, format!("the link leads nowhere: {target}")));
            }
        }
    }
    findings
}

/// What stands in `](…)`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

fn is_relative(target: &str) -> bool {
    !target.contains("://") && !target.starts_with("mailto:") && !target.contains(' ')
}

/// A path from the root; none if it leaves the workspace.
fn resolve(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> usize {
        let page = TextFile { path: "docs/guides/a.md".to_owned(), text: text.to_owned() };
        dead_links(&page, |path| path == "docs/glossary.md").len()
    }

    #[test]
    fn a_dead_link_is_refused() {
        assert_eq!(findings("see [b](b.md)\n"), 1);
        assert_eq!(findings("see [out](../../../x.md)\n"), 1);
        assert_eq!(findings("see [words](../glossary.md#lease), [web](https://example.com/x), [here](#top)\n"), 0);
        assert_eq!(findings("```\n[x](y)\n```\n"), 0);
    }

    #[test]
    fn a_long_map_is_refused() {
        let file = TextFile { path: "ARCHITECTURE.md".to_owned(), text: "a\n".repeat(ARCHITECTURE_LINES_MAX + 1) };
        assert_eq!(check(&[file]).len(), 1);
    }
}
