//! Owns the way from a parsed command to an exit code.

use std::process::ExitCode;

use crate::command::{ClientOptions, Command, CompletionsArgs};
use crate::failure::Failure;
use crate::output::Output;
use crate::quickstart::StartServer;
use crate::{apply, connectors, nodes, parked, preview, quickstart, streams, users};

/// What commands need from the binary around them.
pub struct Surroundings {
    /// The whole command tree, for completions: the binary knows commands that this crate does not.
    pub whole: clap::Command,
    /// Starts a server inside this process, for the quickstart.
    pub start_server: StartServer,
}

/// Does what the command says, tells how it ended, and answers the exit code.
pub fn run(command: Command, surroundings: Surroundings) -> ExitCode {
    let mut output = Output::standard();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.failure(&Failure::Output(error));
            return ExitCode::FAILURE;
        }
    };
    ExitCode::from(runtime.block_on(conclude(command, surroundings, &mut output)))
}

/// Runs the command and tells a failure; the exit code.
pub(crate) async fn conclude(command: Command, surroundings: Surroundings, output: &mut Output) -> u8 {
    if let Some(client) = client_options(&command) {
        output.speak(client.json, client.quiet);
    }
    match dispatch(command, surroundings, output).await {
        Ok(()) => 0,
        Err(failure) => {
            output.failure(&failure);
            failure.exit_code()
        }
    }
}

fn client_options(command: &Command) -> Option<&ClientOptions> {
    match command {
        Command::Connectors(args) => Some(&args.client),
        Command::Apply(args) => Some(&args.client),
        Command::Streams(args) => Some(&args.client),
        Command::Users(args) => Some(&args.client),
        Command::Preview(args) => Some(&args.client),
        Command::Parked(args) => Some(&args.client),
        Command::Nodes(args) => Some(&args.client),
        Command::Quickstart(_) | Command::Completions(_) => None,
    }
}

async fn dispatch(command: Command, surroundings: Surroundings, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Quickstart(args) => quickstart::run(args, surroundings.start_server, output).await,
        Command::Connectors(args) => connectors::run(args, output).await,
        Command::Apply(args) => apply::run(args, output).await,
        Command::Streams(args) => streams::run(args, output).await,
        Command::Users(args) => users::run(args, output).await,
        Command::Preview(args) => preview::run(args, output).await,
        Command::Parked(args) => parked::run(args, output).await,
        Command::Nodes(args) => nodes::run(args, output).await,
        Command::Completions(args) => completions(&args, surroundings.whole, output),
    }
}

fn completions(args: &CompletionsArgs, mut whole: clap::Command, output: &mut Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    let name = whole.get_name().to_owned();
    clap_complete::generate(args.shell, &mut whole, name, &mut script);
    output.text(&String::from_utf8_lossy(&script))
}
