//! Writes `docs/reference/` from the code; `cargo xtask docs` runs it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool talks to the terminal it was started in")]

mod folder;
mod page;
mod kinds;
mod commands;
mod routes;

use std::process::ExitCode;

use clap::{Args, Command};
use forebay_server::{CertificatesArgs, LogArgs, ServeOptions};

use page::Page;

fn main() -> ExitCode {
    let only_check = std::env::args().nth(1).is_some_and(|argument| argument == "--check");
    let pages = pages();
    let done = if only_check { folder::check(&pages) } else { folder::write(&pages) };
    match done {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Every generated page; what the code says about itself comes in here and nowhere else.
fn pages() -> Vec<Page> {
    let catalog = forebay_sinks::catalog();
    let mut pages: Vec<Page> = catalog.kinds().iter().map(kinds::kind_page).collect();
    pages.push(kinds::shared_page(&forebay_runtime::settings::shared_descriptions()));
    pages.push(commands::page(whole_command()));
    pages.push(routes::page(&forebay_api::openapi_document()));
    pages.push(page::index(&pages));
    pages
}

/// The binary's command: the operator's commands, and those that are the server's.
fn whole_command() -> clap::Command {
    let serve = ServeOptions::augment_args(Command::new("serve"));
    let log = LogArgs::augment_args(Command::new("log")).about("Checks a data directory that no server has open");
    let certificates = CertificatesArgs::augment_args(Command::new("certificates"));
    let certificates = certificates.about("Makes certificates to try TLS with");
    let serve = serve.about("Runs the server: an event store with connectors built in");
    forebay_cli::command().subcommands([serve, log, certificates])
}
