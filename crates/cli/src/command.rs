//! Owns the commands' names, and the options that all of them share.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use url::Url;

use crate::apply::ApplyArgs;
use crate::connectors::ConnectorsArgs;
use crate::nodes::NodesArgs;
use crate::parked::ParkedArgs;
use crate::preview::PreviewArgs;
use crate::quickstart::QuickstartArgs;
use crate::streams::StreamsArgs;
use crate::users::UsersArgs;

/// What the exit codes mean; shown below the help of every command.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the server refused or failed, or a check found something wrong
  2  the command, a file or a setting given to it is wrong
  3  the server cannot be reached or does not answer in time";

/// An operator's command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows the whole way of an event with bundled earthquakes: log, filter, transform, HTTP sink
    #[command(after_help = EXIT_CODES)]
    Quickstart(QuickstartArgs),
    /// Creates, starts, stops, changes and lists connectors
    #[command(after_help = EXIT_CODES)]
    Connectors(ConnectorsArgs),
    /// Makes the connectors declared in a file so
    #[command(after_help = EXIT_CODES)]
    Apply(ApplyArgs),
    /// Appends, reads and subscribes to events
    #[command(after_help = EXIT_CODES)]
    Streams(StreamsArgs),
    /// Creates, changes, lists and deletes users
    #[command(after_help = EXIT_CODES)]
    Users(UsersArgs),
    /// Runs a connector's filter and transform over history, touching no sink
    #[command(after_help = EXIT_CODES)]
    Preview(PreviewArgs),
    /// Lists, retries, replays, edits and drops records that connectors set aside
    #[command(after_help = EXIT_CODES)]
    Parked(ParkedArgs),
    /// Lists the nodes that share the store, and how many connectors each has
    #[command(after_help = EXIT_CODES)]
    Nodes(NodesArgs),
    /// Prints a completion script for a shell
    #[command(after_help = EXIT_CODES)]
    Completions(CompletionsArgs),
}

/// The shell to complete for.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// How to reach the server and how to speak.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct ClientOptions {
    /// The server's address; may carry `user:password@`
    #[arg(long, global = true, env = "FOREBAY_SERVER", hide_env_values = true, value_name = "URL")]
    #[arg(default_value = "http://127.0.0.1:2113", value_parser = parse_server)]
    pub(crate) server: Url,
    /// Signs in as this user; the password comes from --password-file or from FOREBAY_PASSWORD
    #[arg(long, global = true, env = "FOREBAY_USER", hide_env_values = true, value_name = "LOGIN")]
    pub(crate) user: Option<String>,
    /// Signs in with the password in the first line of this file
    #[arg(long, global = true, env = "FOREBAY_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Trusts the certificates in this PEM file besides those of the system
    #[arg(long, global = true, env = "FOREBAY_CA_FILE", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// How long one request may take, such as `30s` or `2m`
    #[arg(long, global = true, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
    /// Writes JSON that programs can rely on instead of text for people
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Writes nothing but results and errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// The operator's commands as a tree of their own, from which the reference is generated.
pub fn command() -> clap::Command {
    Operator::command()
}

#[derive(Debug, Parser)]
#[command(name = "forebay", about = "Connectors next to an event store", after_help = EXIT_CODES)]
struct Operator {
    #[command(subcommand)]
    command: Command,
}

fn parse_server(text: &str) -> Result<Url, String> {
    const EXPECTED: &str = "expected http://HOST:PORT or https://HOST:PORT";
    let url = Url::parse(text).map_err(|error| format!("{error}; {EXPECTED}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(EXPECTED.to_owned());
    }
    Ok(url)
}

/// Reads a duration as people write it; never zero, since a limit of nothing fails always.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; expected such as 30s or 2m"))?;
    if duration.is_zero() { Err("expected more than zero, such as 30s".to_owned()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests;
