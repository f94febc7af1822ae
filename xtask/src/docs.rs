//! Owns `cargo xtask docs`: the generated pages under `docs/reference/`, and whether they are current.

use anyhow::{Context, Result};

use crate::workspace;

/// Writes the pages anew.
pub(crate) fn write() -> Result<()> {
    generator(&[])
}

/// Fails when a page is not what the code would write.
pub(crate) fn check() -> Result<()> {
    generator(&["--check"]).context("the reference is stale, or could not be built: run `cargo xtask docs`")
}

/// The generator is a package of its own: it builds the whole product, and `tidy` must not.
fn generator(arguments: &[&str]) -> Result<()> {
    let mut command = workspace::cargo(&["run", "--quiet", "--locked", "--package", "forebay-reference", "--"]);
    workspace::run(command.args(arguments))
}
