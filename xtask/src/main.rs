//! Our own tools: `cargo xtask tidy | test | docs | bench | sim | mutants | new`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool talks to the terminal it was started in")]

mod workspace;
mod tidy;
mod test_command;
mod clients;
mod docs;
mod bench;
mod sim;
mod mutants;
mod new_sink;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  tidy               checks what neither the compiler nor clippy checks: arrows, names, limits, links
  test               runs every test, after installing what the tests need; ends with the runner's count
  docs [--check]     writes docs/reference/ from the code; --check fails when it is stale
  bench [--quick] [--case WORDS] [--soak EVENTS]
                     measures the product against a plain client loop in the same run
  sim [--seeds N] [--from S] | --seed X
                     runs the pipeline and the control plane in a simulated world
  mutants [WORD]     breaks the code on purpose, and fails when that is not noticed
  new sink NAME      writes a sink's file from the template, declares it and lists it in the catalogue";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["tidy"] => tidy::run(),
        ["test", rest @ ..] => test_command::run(rest),
        ["docs"] => docs::write(),
        ["docs", "--check"] => docs::check(),
        ["bench", rest @ ..] => bench::run(rest),
        ["sim", rest @ ..] => sim::run(rest),
        ["mutants", rest @ ..] => mutants::run(rest),
        ["new", "sink", name] => new_sink::run(name),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(anyhow::anyhow!("not a command: {}\n\n{USAGE}", words.join(" "))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
