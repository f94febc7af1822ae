//! Runs seeds of the simulation: `forebay-sim --seeds N --from S [--threads T]`, or `--seed X` with its trace.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    forebay_sim::command(&arguments)
}
