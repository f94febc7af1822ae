//! Owns which crate may use which: the table, and the check of every manifest against it.

use toml::Table;

use super::report::Finding;
use crate::workspace::TextFile;

/// A package of ours and what it may use: always, and in tests only.
struct Arrow {
    package: &'static str,
    uses: &'static [&'static str],
    uses_in_tests: &'static [&'static str],
}

/// The table of ARCHITECTURE.md, in code. A new crate begins with a line here.
const ARROWS: &[Arrow] = &[
    Arrow { package: "forebay-event", uses: &[], uses_in_tests: &[] },
    Arrow { package: "forebay-store", uses: &["forebay-event"], uses_in_tests: &[] },
    // The log passes the store's conformance suite.
    Arrow {
        package: "forebay-log",
        uses: &["forebay-event", "forebay-store"],
        uses_in_tests: &["forebay-event", "forebay-store"],
    },
    Arrow { package: "forebay-wire", uses: &[], uses_in_tests: &[] },
    // Decisions are tested over a real log.
    Arrow { package: "forebay-access", uses: &["forebay-event", "forebay-store"], uses_in_tests: &["forebay-log"] },
    // The remote store passes the suite over the one server that is always at hand: ours, over real sockets.
    Arrow {
        package: "forebay-remote",
        uses: &["forebay-event", "forebay-store", "forebay-wire"],
        uses_in_tests: &["forebay-store", "forebay-server"],
    },
    Arrow { package: "forebay-connector", uses: &["forebay-event"], uses_in_tests: &[] },
    Arrow { package: "forebay-script", uses: &["forebay-event"], uses_in_tests: &[] },
    // Sinks and sources pass the connector's contract suite. Sinks that write columns find their values by JSONPath.
    Arrow {
        package: "forebay-sinks",
        uses: &["forebay-event", "forebay-connector", "forebay-script"],
        uses_in_tests: &["forebay-event", "forebay-connector"],
    },
    Arrow {
        package: "forebay-sources",
        uses: &["forebay-event", "forebay-connector"],
        uses_in_tests: &["forebay-event", "forebay-connector"],
    },
    // A pipeline is tested over a real store: the embedded log in a temporary folder.
    Arrow {
        package: "forebay-runtime",
        uses: &["forebay-event", "forebay-store", "forebay-connector", "forebay-script"],
        uses_in_tests: &["forebay-log", "forebay-connector", "forebay-store"],
    },
    // Routes are tested over a real store and the real catalogue.
    Arrow {
        package: "forebay-api",
        uses: &[
            "forebay-event",
            "forebay-store",
            "forebay-wire",
            "forebay-access",
            "forebay-runtime",
            "forebay-connector",
        ],
        uses_in_tests: &["forebay-log", "forebay-sinks", "forebay-connector", "forebay-store"],
    },
    Arrow {
        package: "forebay-server",
        uses: &[
            "forebay-event",
            "forebay-store",
            "forebay-log",
            "forebay-wire",
            "forebay-access",
            "forebay-remote",
            "forebay-connector",
            "forebay-sinks",
            "forebay-sources",
            "forebay-script",
            "forebay-runtime",
            "forebay-api",
        ],
        uses_in_tests: &["forebay-connector"],
    },
    // What the CLI shows is what any HTTP client sees; its tests run against answers of their own making.
    Arrow { package: "forebay-cli", uses: &["forebay-event"], uses_in_tests: &[] },
    Arrow { package: "forebay", uses: &["forebay-server", "forebay-cli"], uses_in_tests: &["forebay-event"] },
    // The checkers of the proofs share nothing with what they check but the doors they knock at.
    Arrow {
        package: "forebay-proof",
        uses: &[
            "forebay-event",
            "forebay-store",
            "forebay-log",
            "forebay-connector",
            "forebay-sinks",
            "forebay-script",
            "forebay-runtime",
            "forebay-api",
        ],
        uses_in_tests: &["forebay-server"],
    },
    // The pipeline and the control plane in a simulated world; the checker takes nothing from what it judges.
    Arrow {
        package: "forebay-sim",
        uses: &["forebay-event", "forebay-store", "forebay-connector", "forebay-runtime"],
        uses_in_tests: &[],
    },
    Arrow { package: "forebay-fuzz", uses: &["forebay-proof"], uses_in_tests: &[] },
    // Tools: nothing that ships uses them.
    Arrow { package: "xtask", uses: &[], uses_in_tests: &[] },
    Arrow { package: "forebay-protos", uses: &[], uses_in_tests: &[] },
    Arrow {
        package: "forebay-reference",
        uses: &[
            "forebay-connector",
            "forebay-sinks",
            "forebay-runtime",
            "forebay-api",
            "forebay-server",
            "forebay-cli",
        ],
        uses_in_tests: &[],
    },
    Arrow {
        package: "forebay-bench",
        uses: &["forebay-event", "forebay-store", "forebay-log", "forebay-wire"],
        uses_in_tests: &[],
    },
    // The official client's peer is our own; both are made to do the same. In a workspace of its own.
    Arrow {
        package: "forebay-clients-rust",
        uses: &["forebay-event", "forebay-store", "forebay-remote"],
        uses_in_tests: &[],
    },
];

/// The two kinds of tables in a manifest that draw an arrow.
const NORMAL: &[&str] = &["dependencies", "build-dependencies"];
const IN_TESTS: &[&str] = &["dev-dependencies"];

pub(super) fn check(files: &[TextFile]) -> Vec<Finding> {
    files.iter().filter(|file| file.path.ends_with("Cargo.toml") && file.path != "Cargo.toml").flat_map(judge).collect()
}

fn judge(file: &TextFile) -> Vec<Finding> {
    let manifest: Table = match file.text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![Finding::of_file(&file.path, format!("is not TOML: {error}"))],
    };
    let Some(name) = text_at(&manifest, "package", "name") else { return Vec::new() };
    // A workspace of its own takes no lints from this one.
    let is_own_workspace = manifest.contains_key("workspace");
    if is_own_workspace && ours(&manifest, NORMAL).is_empty() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if !is_own_workspace && !takes_workspace_lints(&manifest) {
        findings
            .push(Finding::of_file(&file.path, "lacks `[lints] workspace = true`, which denies unwrap and indexing"));
    }
    let Some(arrow) = ARROWS.iter().find(|arrow| arrow.package == name) else {
        let message =
            format!("{name} is not in the table of arrows (xtask/src/tidy/arrows.rs): add it, and its reason");
        findings.push(Finding::of_file(&file.path, message));
        return findings;
    };
    for used in ours(&manifest, NORMAL) {
        if !arrow.uses.contains(&used.as_str()) {
            let message = format!("{name} may not use {used}: the arrow is not in ARCHITECTURE.md");
            findings.push(Finding::of_file(&file.path, message));
        }
    }
    for used in ours(&manifest, IN_TESTS) {
        if !arrow.uses.contains(&used.as_str()) && !arrow.uses_in_tests.contains(&used.as_str()) {
            findings.push(Finding::of_file(&file.path, format!("{name} may not use {used}, not even in tests")));
        }
    }
    findings
}

/// The packages of ours that these tables of a manifest name, those under `target.*` included.
fn ours(manifest: &Table, tables: &[&str]) -> Vec<String> {
    let targets = manifest.get("target").and_then(|value| value.as_table());
    let platforms = targets.into_iter().flat_map(|all| all.values().filter_map(|one| one.as_table()));
    let mut found = Vec::new();
    for level in std::iter::once(manifest).chain(platforms) {
        for table in tables.iter().filter_map(|name| level.get(*name)).filter_map(|value| value.as_table()) {
            for (key, value) in table {
                let package = value.get("package").and_then(|name| name.as_str()).unwrap_or(key);
                if package == "forebay" || package == "xtask" || package.starts_with("forebay-") {
                    found.push(package.to_owned());
                }
            }
        }
    }
    found
}

fn takes_workspace_lints(manifest: &Table) -> bool {
    let lints = manifest.get("lints").and_then(|value| value.get("workspace"));
    lints.and_then(|value| value.as_bool()).unwrap_or(false)
}

fn text_at<'a>(manifest: &'a Table, table: &str, key: &str) -> Option<&'a str> {
    manifest.get(table)?.get(key)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(manifest: &str) -> Vec<String> {
        let file = TextFile { path: "crates/x/Cargo.toml".to_owned(), text: manifest.to_owned() };
        check(&[file]).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn an_arrow_that_is_not_in_the_table_is_refused() {
        let found = findings(
            "[package]\nname = \"forebay-sinks\"\n[lints]\nworkspace = true\n[dependencies]\nforebay-runtime.workspace = true\n",
        );
        assert_eq!(found, ["forebay-sinks may not use forebay-runtime: the arrow is not in ARCHITECTURE.md"]);
    }

    #[test]
    fn an_arrow_of_tests_is_not_one_of_code() {
        let in_tests =
            "[package]\nname = \"forebay-runtime\"\n[lints]\nworkspace = true\n[dev-dependencies]\nforebay-log = {}\n";
        assert!(findings(in_tests).is_empty());
        assert_eq!(findings(&in_tests.replace("dev-dependencies", "dependencies")).len(), 1);
    }

    #[test]
    fn a_renamed_package_under_a_platform_is_seen() {
        let found = findings(
            "[package]\nname = \"forebay-event\"\n[lints]\nworkspace = true\n[target.'cfg(unix)'.dependencies]\nx = { package = \"forebay-store\" }\n",
        );
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn a_crate_without_the_lints_or_without_a_line_is_refused() {
        assert_eq!(findings("[package]\nname = \"forebay-extra\"\n").len(), 2);
    }

    #[test]
    fn the_table_has_no_cycle() {
        // Each line may use only what stands above it, so no chain of arrows comes back.
        for (index, arrow) in ARROWS.iter().enumerate() {
            for used in arrow.uses {
                assert!(ARROWS[..index].iter().any(|above| above.package == *used), "{} uses {used}", arrow.package);
            }
        }
    }
}
