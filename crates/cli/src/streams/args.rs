//! Owns the arguments of `streams`, and which command does what.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{append, read, subscribe};
use crate::client::Client;
use crate::command::ClientOptions;
use crate::failure::Failure;
use crate::output::Output;

/// Commands on streams.
#[derive(Debug, Args)]
pub struct StreamsArgs {
    #[command(subcommand)]
    command: StreamsCommand,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

/// What to do with streams.
#[derive(Debug, Subcommand)]
pub(crate) enum StreamsCommand {
    /// Appends events from a file, from standard input or from the command line
    Append(AppendArgs),
    /// Reads events of one stream, or of the whole log as `$all`
    Read(ReadArgs),
    /// Prints events as they are appended, until interrupted
    Subscribe(SubscribeArgs),
}

/// What to append.
#[derive(Debug, Args)]
pub(crate) struct AppendArgs {
    /// A file with one event per line: {"stream"?, "type", "id"?, "data" or "dataBase64", "metadata"?}; `-` reads
    /// standard input
    #[arg(default_value = "-", conflicts_with = "data")]
    pub(super) file: PathBuf,
    /// The stream of lines that name none
    #[arg(long, value_name = "NAME")]
    pub(super) stream: Option<String>,
    /// The type of events that name none
    #[arg(long = "type", value_name = "TYPE")]
    pub(super) event_type: Option<String>,
    /// One event's JSON instead of a file
    #[arg(long, value_name = "JSON", requires_all = ["stream", "event_type"])]
    pub(super) data: Option<String>,
    /// What the stream must be like: `any`, `noStream`, `streamExists` or its last revision
    #[arg(long, value_name = "REVISION", value_parser = parse_expected, requires = "stream")]
    pub(super) expected_revision: Option<String>,
    /// Reads so many lines ahead; those of one stream are appended in one request
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(super) batch: u16,
    /// Keeps the order of the file across streams as well, at the price of more requests
    #[arg(long)]
    pub(super) in_file_order: bool,
    /// Leaves out so many lines at the beginning: those that an interrupted append has confirmed
    #[arg(long, value_name = "LINES", default_value_t = 0)]
    pub(super) skip: u64,
}

/// What to read.
#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    /// The stream, or `$all`
    pub(super) stream: String,
    /// Where to begin: `start`, `end`, a revision, or a position of `$all`
    #[arg(long, value_name = "POINT", value_parser = parse_point)]
    pub(super) from: Option<String>,
    /// Reads towards the beginning
    #[arg(long)]
    pub(super) backward: bool,
    /// Reads at most so many events
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) limit: u64,
    #[command(flatten)]
    pub(super) filter: FilterOptions,
}

/// What to subscribe to.
#[derive(Debug, Args)]
pub(crate) struct SubscribeArgs {
    /// The stream, or `$all`
    pub(super) stream: String,
    /// Where to begin: `start`, `end`, behind a revision, or behind a position of `$all`
    #[arg(long, value_name = "POINT", default_value = "end", value_parser = parse_point)]
    pub(super) from: String,
    /// Ends after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) limit: Option<u64>,
    /// Ends when all events that are there have been printed
    #[arg(long)]
    pub(super) until_caught_up: bool,
    #[command(flatten)]
    pub(super) filter: FilterOptions,
}

/// Which events of `$all`.
#[derive(Clone, Debug, Args)]
pub(crate) struct FilterOptions {
    /// Of `$all`: only streams that begin like this
    #[arg(long, value_name = "PREFIX")]
    pub(super) stream_prefix: Option<String>,
    /// Of `$all`: only events whose type begins like this
    #[arg(long, value_name = "PREFIX")]
    pub(super) type_prefix: Option<String>,
    /// Of `$all`: the system's own events as well
    #[arg(long)]
    pub(super) include_system: bool,
}

impl FilterOptions {
    /// The query parameters that say so; none but for `$all`, where another stream is refused.
    pub(super) fn query(&self, stream: &str) -> Result<Vec<(&'static str, String)>, Failure> {
        let mut query = Vec::new();
        self.stream_prefix.iter().for_each(|prefix| query.push(("streamPrefix", prefix.clone())));
        self.type_prefix.iter().for_each(|prefix| query.push(("typePrefix", prefix.clone())));
        if stream == "$all" {
            query.push(("excludeSystem", (!self.include_system).to_string()));
        } else if !query.is_empty() || self.include_system {
            let found = format!("a filter is given for stream `{stream}`");
            return Err(Failure::usage("STREAM", found, "`$all`, the only stream that is filtered by prefixes"));
        }
        Ok(query)
    }
}

fn parse_point(text: &str) -> Result<String, String> {
    let good = matches!(text, "start" | "end") || text.parse::<u64>().is_ok();
    if good { Ok(text.to_owned()) } else { Err("expected start, end or a number".to_owned()) }
}

fn parse_expected(text: &str) -> Result<String, String> {
    let good = matches!(text, "any" | "noStream" | "streamExists") || text.parse::<u64>().is_ok();
    if good { Ok(text.to_owned()) } else { Err("expected any, noStream, streamExists or a revision".to_owned()) }
}

pub(crate) async fn run(args: StreamsArgs, output: &mut Output) -> Result<(), Failure> {
    let client = Client::new(&args.client)?;
    match args.command {
        StreamsCommand::Append(args) => append::append(&client, args, output).await,
        StreamsCommand::Read(args) => read::read(&client, &args, output).await,
        StreamsCommand::Subscribe(args) => subscribe::subscribe(&client, &args, output).await,
    }
}
