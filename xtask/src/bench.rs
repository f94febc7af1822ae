//! Owns `cargo xtask bench`: builds what is measured and hands over to the programs that measure.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{clients, workspace};

const WAYS: &str = "--quick, --case WORDS, --soak EVENTS, --catch-up EVENTS and --connectors NUMBER --nodes NUMBER";

/// Measures the product against a plain client loop, then the log against the disk; or soaks the log; or measures how fast
/// an official client catches up; or what many connectors on several nodes cost.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        [] => measure(&[]),
        ["--quick"] => measure(&["--quick"]),
        ["--case", words] => only(words),
        ["--soak", events] => soak(events),
        ["--catch-up", events] => catch_up(events),
        ["--connectors", connectors, "--nodes", number] => nodes(connectors, number),
        _ => bail!("not known: {}; there are {WAYS}", arguments.join(" ")),
    }
}

fn measure(arguments: &[&str]) -> Result<()> {
    build(&["--package", "forebay", "--package", "forebay-bench"])?;
    let binary = workspace::target_directory().join("release").join("forebay");
    workspace::run(bench_program().arg("--forebay").arg(binary).args(arguments))?;
    let mut log = workspace::cargo(&["bench", "--locked", "--package", "forebay-log", "--bench", "log", "--"]);
    workspace::run(log.args(arguments))
}

/// Measures the cases of the product with these words in their name, and nothing else.
fn only(words: &str) -> Result<()> {
    build(&["--package", "forebay", "--package", "forebay-bench"])?;
    let binary = workspace::target_directory().join("release").join("forebay");
    workspace::run(bench_program().arg("--forebay").arg(binary).args(["--case", words]))
}

fn soak(events: &str) -> Result<()> {
    build(&["--package", "forebay-bench"])?;
    workspace::run(bench_program().args(["soak", events]))
}

fn catch_up(events: &str) -> Result<()> {
    build(&["--package", "forebay", "--package", "forebay-bench"])?;
    let client = clients::build_rust()?;
    let binary = workspace::target_directory().join("release").join("forebay");
    let mut bench = bench_program();
    workspace::run(bench.args(["catch-up", "--forebay"]).arg(binary).arg("--client").arg(client).arg(events))
}

fn nodes(connectors: &str, number: &str) -> Result<()> {
    build(&["--package", "forebay", "--package", "forebay-bench"])?;
    let binary = workspace::target_directory().join("release").join("forebay");
    workspace::run(bench_program().args(["nodes", "--forebay"]).arg(binary).args([connectors, number]))
}

fn build(packages: &[&str]) -> Result<()> {
    workspace::run(workspace::cargo(&["build", "--release", "--locked"]).args(packages))
}

fn bench_program() -> Command {
    let mut command = Command::new(workspace::target_directory().join("release").join("forebay-bench"));
    command.current_dir(workspace::root());
    command
}
