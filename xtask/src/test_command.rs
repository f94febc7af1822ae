//! Owns `cargo xtask test`: what the tests need from the machine, and the run that ends with the runner's count.

use std::process::Command;

use anyhow::Result;

use crate::{clients, workspace};

/// A program that some tests start, where Debian has it, and what stays untested without it.
struct Need {
    program: &'static str,
    debian_package: &'static str,
    reason: &'static str,
}

/// Everything the tests take from the machine beyond the toolchain and a C compiler. A test that needs a program not
/// in this table must bring it, or say aloud that it skips.
const NEEDS: &[Need] = &[
    Need {
        program: "curl",
        debian_package: "curl",
        reason: "the commands of the guides, run as a reader would type them",
    },
    // The server's own programs are not on the path, but its package brings this one along.
    Need { program: "pg_ctlcluster", debian_package: "postgresql", reason: "the PostgreSQL sink against a server" },
];

/// Runs the conversations with official clients and the doc tests, then all others; further arguments go to the runner.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    provide();
    // The runner's count must be the last thing on the screen, so clients and doc tests go first.
    clients::run()?;
    workspace::run(workspace::cargo(&["test", "--workspace", "--doc", "--quiet"]).arg("--locked"))?;
    if has_nextest() {
        let mut command = workspace::cargo(&["nextest", "run", "--workspace", "--locked", "--no-fail-fast"]);
        return workspace::run(command.args(arguments));
    }
    println!("cargo-nextest is not installed: running the tests with cargo test");
    let mut command = workspace::cargo(&["test", "--workspace", "--tests", "--locked", "--no-fail-fast"]);
    workspace::run(command.args(arguments))
}

/// Installs what is missing where that is allowed and possible; says aloud what stays untested.
fn provide() {
    let missing = || NEEDS.iter().filter(|need| !workspace::has_program(need.program));
    let packages: Vec<&str> = missing().map(|need| need.debian_package).collect();
    if !packages.is_empty() && may_install() {
        install(&packages);
    }
    for need in missing() {
        println!("SKIPPED: {} needs {}", need.reason, need.program);
    }
}

fn may_install() -> bool {
    workspace::has_program("apt-get") && output_of("id", &["-u"]).is_some_and(|id| id.trim() == "0")
}

/// A failure is not ours: what is still missing afterwards is named as skipped.
fn install(packages: &[&str]) {
    println!("installing what the tests need: {}", packages.join(" "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.arg("-qq").args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        workspace::run(&mut command)
    };
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(packages);
    if let Err(error) = apt(&["update"]).and_then(|()| apt(&install)) {
        println!("could not install: {error:#}");
    }
}

fn has_nextest() -> bool {
    let asked = workspace::cargo(&["nextest", "--version"]).output();
    asked.is_ok_and(|answer| answer.status.success())
}

fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()
}
