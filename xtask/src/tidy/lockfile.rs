//! Owns which crates may never be in the build, checked on `Cargo.lock` so that the rule holds without any tool.

use toml::Table;

use super::report::Finding;
use crate::workspace::TextFile;

/// Crates that may not be in the build, and why. `deny.toml` says the same to cargo-deny.
const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "TLS is rustls with aws-lc-rs, one library and one set of trust roots"),
    ("openssl", "TLS is rustls with aws-lc-rs"),
    ("native-tls", "TLS is rustls with aws-lc-rs"),
    ("ring", "one crypto library: aws-lc-rs"),
    ("reqwest", "HTTP goes through hyper-util, see docs/decisions/0003-hyper-util.md"),
    ("serde_yaml", "no longer maintained: serde-saphyr reads YAML"),
    ("chrono", "timestamps are forebay_event::Timestamp"),
];

/// Who may name a banned crate in the lock file: a part that is never switched on is written there all the same. Whoever
/// switches it on depends on the crate as well, and is refused.
const NAMED_BUT_NOT_BUILT: &[(&str, &str)] = &[("ring", "rustls-webpki")];

/// The one place that packages may come from.
const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(super) fn check(files: &[TextFile]) -> Vec<Finding> {
    files.iter().filter(|file| file.path == "Cargo.lock").flat_map(judge).collect()
}

fn judge(file: &TextFile) -> Vec<Finding> {
    let lock: Table = match file.text.parse() {
        Ok(lock) => lock,
        Err(error) => return vec![Finding::of_file(&file.path, format!("is not TOML: {error}"))],
    };
    let mut findings = Vec::new();
    for package in lock.get("package").and_then(|list| list.as_array()).into_iter().flatten() {
        let name = package.get("name").and_then(|value| value.as_str()).unwrap_or_default();
        let used = package.get("dependencies").and_then(|list| list.as_array()).into_iter().flatten();
        for used in used.filter_map(|entry| entry.as_str()?.split(' ').next()) {
            let banned = BANNED.iter().find(|(banned, _)| *banned == used);
            if let Some((_, reason)) = banned.filter(|_| !NAMED_BUT_NOT_BUILT.contains(&(used, name))) {
                findings.push(Finding::of_file(&file.path, format!("{name} brings {used}: {reason}")));
            }
        }
        let source = package.get("source").and_then(|value| value.as_str());
        if let Some(source) = source.filter(|source| *source != SOURCE) {
            findings.push(Finding::of_file(
                &file.path,
                format!("{name} comes from {source}: packages come from crates.io only"),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> usize {
        check(&[TextFile { path: "Cargo.lock".to_owned(), text: text.to_owned() }]).len()
    }

    #[test]
    fn a_banned_crate_and_a_strange_source_are_refused() {
        assert_eq!(findings("[[package]]\nname = \"a\"\ndependencies = [\"b\", \"ring 0.17.8\"]\n"), 1);
        assert_eq!(findings("[[package]]\nname = \"rustls-webpki\"\ndependencies = [\"ring\"]\n"), 0);
        assert_eq!(findings("[[package]]\nname = \"a\"\nsource = \"git+https://example.com/a\"\n"), 1);
        assert_eq!(findings(&format!("[[package]]\nname = \"a\"\nsource = \"{SOURCE}\"\n")), 0);
    }
}
