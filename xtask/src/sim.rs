//! Owns `cargo xtask sim`: builds the simulation and runs seeds of it.

use std::process::Command;

use anyhow::Result;

use crate::workspace;

/// Runs the seeds that the arguments name; a failing one tells how to run it again.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    workspace::run(&mut workspace::cargo(&["build", "--release", "--locked", "--package", "forebay-sim"]))?;
    let program = workspace::target_directory().join("release").join("forebay-sim");
    workspace::run(Command::new(program).args(arguments))
}
