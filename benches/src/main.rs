//! Measures the product against a plain client loop in the same run; `cargo xtask bench` starts it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool talks to the terminal it was started in")]

mod clock;
mod latency;
mod load;
mod receiver;
mod connection;
mod grpc;
mod baseline;
mod product;
mod cases;
mod table;
mod soak;
mod catch_up;
mod nodes;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
Usage: forebay-bench --forebay PATH [--quick | --case WORDS]
       forebay-bench soak EVENTS
       forebay-bench catch-up --forebay PATH --client PATH EVENTS
       forebay-bench nodes --forebay PATH CONNECTORS NODES
       forebay-bench receiver [--delay-ms N] [--fail-every N]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["receiver", rest @ ..] => receiver::run(rest),
        ["soak", events] => soak::run(events),
        ["catch-up", "--forebay", binary, "--client", client, events] => {
            catch_up::run(Path::new(binary), Path::new(client), events)
        }
        ["--forebay", binary] => cases::run(Path::new(binary), &load::FULL, None),
        ["--forebay", binary, "--quick"] => cases::run(Path::new(binary), &load::QUICK, None),
        ["--forebay", binary, "--case", words] => cases::run(Path::new(binary), &load::FULL, Some(words)),
        ["nodes", "--forebay", binary, connectors, nodes] => nodes::run(Path::new(binary), connectors, nodes),
        _ => Err(anyhow::anyhow!("not understood: {}\n{USAGE}", words.join(" "))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
