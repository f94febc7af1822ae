//! The `forebay` binary: `serve`, `log` and `certificates` go to the server, everything else to the operator's commands.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use forebay_cli::{LocalServer, Starting, Surroundings};
use forebay_server::{CertificatesArgs, Config, LogArgs, ServeOptions};

/// Connectors next to an event store: in order, at least once, nothing lost
#[derive(Parser)]
#[command(name = "forebay", version, arg_required_else_help = true)]
struct Forebay {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the server: an event store with connectors built in
    Serve(ServeOptions),
    /// Checks a data directory that no server has open
    Log(LogArgs),
    /// Makes certificates to try TLS with
    Certificates(CertificatesArgs),
    #[command(flatten)]
    Operator(forebay_cli::Command),
}

fn main() -> ExitCode {
    match Forebay::parse().command {
        Command::Serve(options) => forebay_server::run(&options),
        Command::Log(args) => forebay_server::run_offline(&args),
        Command::Certificates(args) => forebay_server::run_certificates(&args),
        Command::Operator(command) => {
            let surroundings = Surroundings { whole: Forebay::command(), start_server: Box::new(start) };
            forebay_cli::run(command, surroundings)
        }
    }
}

/// The quickstart's server: in this process, with nothing of the environment's config.
fn start(data: PathBuf, listen: SocketAddr) -> Starting {
    Box::pin(async move {
        let server = forebay_server::start(Config { data, listen, ..Config::default() }).await?;
        Ok(LocalServer { address: server.address(), stop: Box::new(|| Box::pin(server.shutdown())) })
    })
}
