//! Owns `cargo xtask bench`: builds what is measured and hands over to the bench package.

use anyhow::{Result, bail};

use crate::workspace;

/// What the log's benchmark reads to soak instead.
const SOAK_VARIABLE: &str = "FOREBAY_BENCH_SOAK_EVENTS";

/// Measures the log, then the product against a plain client loop in the same run.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        [] => measure(&[]),
        ["--quick"] => measure(&["--quick"]),
        ["--soak", events] => soak(events),
        _ => bail!("not known: {}; there are --quick and --soak EVENTS", arguments.join(" ")),
    }
}

fn measure(arguments: &[&str]) -> Result<()> {
    workspace::run(&mut workspace::cargo(&[
        "build",
        "--release",
        "--locked",
        "--package",
        "forebay",
        "--package",
        "forebay-bench",
    ]))?;
    let binaries = workspace::target_directory().join("release");
    let mut product = std::process::Command::new(binaries.join("forebay-bench"));
    product.arg("--forebay").arg(binaries.join("forebay")).args(arguments).current_dir(workspace::root());
    workspace::run(&mut product)?;
    workspace::run(workspace::cargo(&["bench", "--locked", "--package", "forebay-log"]).envs(quick(arguments)))
}

fn quick(arguments: &[&str]) -> Option<(&'static str, &'static str)> {
    arguments.contains(&"--quick").then_some(("FOREBAY_BENCH_QUICK", "1"))
}

fn soak(events: &str) -> Result<()> {
    if events.parse::<u64>().is_err() {
        bail!("--soak takes a number of events, not {events:?}");
    }
    workspace::run(workspace::cargo(&["bench", "--locked", "--package", "forebay-log"]).env(SOAK_VARIABLE, events))
}
