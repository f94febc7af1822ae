//! Owns the arguments of `connectors`, and which command does what.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{change, create, describe, list, show};
use crate::client::Client;
use crate::command::{ClientOptions, parse_duration};
use crate::failure::Failure;
use crate::output::Output;
use crate::settings_file::SettingsOptions;

/// Commands on connectors.
#[derive(Debug, Args)]
pub struct ConnectorsArgs {
    #[command(subcommand)]
    command: ConnectorsCommand,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

/// What to do with connectors.
#[derive(Debug, Subcommand)]
pub(crate) enum ConnectorsCommand {
    /// Lists connectors with state and position
    List(ListArgs),
    /// Shows all that is known of one connector; secrets are masked
    Show(ChangeArgs),
    /// Creates a connector; it is stopped unless --start is given
    Create(CreateArgs),
    /// Starts a connector: where it was, or from a point
    Start(StartArgs),
    /// Stops a connector after the batch in hand
    Stop(StopArgs),
    /// Starts a stopped connector anew from the beginning or behind a position
    Reset(ResetArgs),
    /// Changes settings; a running connector takes them up when it is started again
    Reconfigure(ReconfigureArgs),
    /// Gives a connector another name
    Rename(RenameArgs),
    /// Deletes a stopped connector
    Delete(ChangeArgs),
    /// Describes the settings of a kind, or lists the kinds
    Describe(DescribeArgs),
}

/// Which connectors to list.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only in this state; may be repeated
    #[arg(long, value_name = "STATE", value_parser = ["activating", "running", "deactivating", "stopped"])]
    pub(super) state: Vec<String>,
    /// Only of this kind, such as `http-sink`; may be repeated
    #[arg(long, value_name = "KIND")]
    pub(super) kind: Vec<String>,
    /// Deleted ones as well
    #[arg(long)]
    pub(super) deleted: bool,
}

/// One connector.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// The connector's id
    pub(super) id: String,
}

/// What to create.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The connector's id: 5 to 50 letters, digits, hyphens and underscores
    pub(super) id: String,
    /// Its kind, such as `http-sink`; the same as --set instanceTypeName=KIND
    #[arg(long, short, value_name = "KIND")]
    pub(super) kind: Option<String>,
    /// A name to show; the id unless given
    #[arg(long)]
    pub(super) name: Option<String>,
    #[command(flatten)]
    pub(super) settings: SettingsOptions,
    /// Starts it as well; needs --from unless the settings say where to begin
    #[arg(long)]
    pub(super) start: bool,
    /// Where to begin: `earliest`, `latest`, or behind a position
    #[arg(long, value_name = "POINT", requires = "start", value_parser = parse_point)]
    pub(super) from: Option<String>,
    #[command(flatten)]
    pub(super) wait: WaitOptions,
}

/// Where to start.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// The connector's id
    pub(super) id: String,
    /// Where to begin: `earliest`, `latest`, or behind a position; where it was, unless given
    #[arg(long, value_name = "POINT", value_parser = parse_point)]
    pub(super) from: Option<String>,
    #[command(flatten)]
    pub(super) wait: WaitOptions,
}

/// What to stop.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// The connector's id
    pub(super) id: String,
    #[command(flatten)]
    pub(super) wait: WaitOptions,
}

/// Where to reset to.
#[derive(Debug, Args)]
pub(crate) struct ResetArgs {
    /// The connector's id
    pub(super) id: String,
    /// Begins behind this position; at the beginning of the log unless given
    #[arg(long, value_name = "POSITION")]
    pub(super) to: Option<u64>,
    #[command(flatten)]
    pub(super) wait: WaitOptions,
}

/// What to change.
#[derive(Debug, Args)]
pub(crate) struct ReconfigureArgs {
    /// The connector's id
    pub(super) id: String,
    #[command(flatten)]
    pub(super) settings: SettingsOptions,
    /// Takes one setting away, so that its default holds; may be repeated
    #[arg(long, value_name = "KEY", conflicts_with = "settings")]
    pub(super) unset: Vec<String>,
}

/// The other name.
#[derive(Debug, Args)]
pub(crate) struct RenameArgs {
    /// The connector's id
    pub(super) id: String,
    /// The new name: 3 to 50 characters
    pub(super) name: String,
}

/// Which kind.
#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// The kind, such as `http-sink`; all kinds are listed unless given
    pub(super) kind: Option<String>,
}

/// Whether and how long to wait for the effect of a command.
#[derive(Clone, Debug, Args)]
pub(crate) struct WaitOptions {
    /// Waits until the connector runs (or is stopped), and fails if it does not
    #[arg(long)]
    pub(super) wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration, requires = "wait")]
    pub(super) wait_limit: Duration,
}

fn parse_point(text: &str) -> Result<String, String> {
    match text {
        "earliest" | "latest" => Ok(text.to_owned()),
        number if number.parse::<u64>().is_ok() => Ok(number.to_owned()),
        _ => Err("expected earliest, latest or a position such as 1042".to_owned()),
    }
}

pub(crate) async fn run(args: ConnectorsArgs, output: &mut Output) -> Result<(), Failure> {
    let client = Client::new(&args.client)?;
    match args.command {
        ConnectorsCommand::List(args) => list::list(&client, &args, output).await,
        ConnectorsCommand::Show(args) => show::show(&client, &args.id, output).await,
        ConnectorsCommand::Create(args) => create::create(&client, args, output).await,
        ConnectorsCommand::Start(args) => change::start(&client, &args, output).await,
        ConnectorsCommand::Stop(args) => change::stop(&client, &args, output).await,
        ConnectorsCommand::Reset(args) => change::reset(&client, &args, output).await,
        ConnectorsCommand::Reconfigure(args) => change::reconfigure(&client, &args, output).await,
        ConnectorsCommand::Rename(args) => change::rename(&client, &args, output).await,
        ConnectorsCommand::Delete(args) => change::delete(&client, &args.id, output).await,
        ConnectorsCommand::Describe(args) => describe::describe(&client, args.kind.as_deref(), output).await,
    }
}
