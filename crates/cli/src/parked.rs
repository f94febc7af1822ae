//! Owns `parked`: what connectors set aside, and what is done about it.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::client::{Ask, Client};
use crate::command::ClientOptions;
use crate::failure::Failure;
use crate::numbers::number;
use crate::output::Output;
use crate::table::{Table, shortened};

const PAGE_SIZE: usize = 100;
/// The most pages that are asked for.
const PAGES_MAX: usize = 10_000;
const TEXT_CHARS_MAX: usize = 80;

/// Commands on parked records.
#[derive(Debug, Args)]
pub struct ParkedArgs {
    #[command(subcommand)]
    command: ParkedCommand,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

/// What to do about parked records.
#[derive(Debug, Subcommand)]
enum ParkedCommand {
    /// Lists the keys whose records are parked
    List(OfConnector),
    /// Shows the parked records of a key: payload, error, attempts, the target's answer
    Show(ShowArgs),
    /// Tries the first parked record of a key once
    Retry(OfKey),
    /// Delivers the parked records of a key in order: the first as a probe, then the rest
    Replay(ReplayArgs),
    /// Gives a parked record another payload; the original is kept
    Edit(EditArgs),
    /// Gives up parked records: they are never delivered
    Drop(DropArgs),
}

/// One connector.
#[derive(Debug, Args)]
struct OfConnector {
    /// The connector's id
    id: String,
}

/// One key.
#[derive(Debug, Args)]
struct OfKey {
    /// The connector's id
    id: String,
    /// The key: a stream, or what `ordering` says; `$all` when all records share one
    key: String,
}

/// What to show.
#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    of: OfKey,
    /// Shows at most so many records
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

/// What to replay.
#[derive(Debug, Args)]
struct ReplayArgs {
    #[command(flatten)]
    of: OfKey,
    /// Delivers at most so many records in a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Only says how many records would be replayed
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Replays without asking
    #[arg(long)]
    yes: bool,
}

/// What to change.
#[derive(Debug, Args)]
struct EditArgs {
    #[command(flatten)]
    of: OfKey,
    /// The number of the record, as `show` tells it
    #[arg(long, value_name = "NUMBER")]
    record: u64,
    /// The payload to deliver, as JSON
    #[arg(long, value_name = "JSON", required_unless_present = "file")]
    data: Option<String>,
    /// A file that holds the payload to deliver, of any form
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    file: Option<PathBuf>,
    /// Why; kept with the connector
    #[arg(long)]
    reason: String,
}

/// What to give up.
#[derive(Debug, Args)]
struct DropArgs {
    #[command(flatten)]
    of: OfKey,
    /// The number of one record, as `show` tells it
    #[arg(long, value_name = "NUMBER", required_unless_present = "all")]
    record: Option<u64>,
    /// All parked records of the key
    #[arg(long, conflicts_with = "record")]
    all: bool,
    /// Drops all of them without asking
    #[arg(long, requires = "all")]
    yes: bool,
    /// Why; kept with the connector
    #[arg(long)]
    reason: String,
}

pub(crate) async fn run(args: ParkedArgs, output: &mut Output) -> Result<(), Failure> {
    let client = Client::new(&args.client)?;
    match args.command {
        ParkedCommand::List(args) => list(&client, &args.id, output).await,
        ParkedCommand::Show(args) => show(&client, &args, output).await,
        ParkedCommand::Retry(of) => {
            let told = of.command(&client, "retry", &json!({})).await?;
            tried(&of, &told, output)
        }
        ParkedCommand::Replay(args) => replay(&client, &args, output).await,
        ParkedCommand::Edit(args) => edit(&client, &args, output).await,
        ParkedCommand::Drop(args) => give_up(&client, &args, output).await,
    }
}

impl OfKey {
    async fn command(&self, client: &Client, command: &str, body: &Value) -> Result<Value, Failure> {
        let action = format!("{command} key {} of connector {}", self.key, self.id);
        let path = ["connectors", self.id.as_str(), "parked", self.key.as_str(), command];
        client.ask(Ask::post(&path, action).json(body)).await
    }
}

async fn list(client: &Client, id: &str, output: &mut Output) -> Result<(), Failure> {
    let mut whole = Value::Null;
    let mut items: Vec<Value> = Vec::new();
    for page in 1..=PAGES_MAX {
        let ask = Ask::get(&["connectors", id, "parked"], format!("list what connector {id} has parked"));
        whole = client.ask(ask.query("page", page).query("pageSize", PAGE_SIZE)).await?;
        let found = taken(&mut whole);
        let is_last = found.len() < PAGE_SIZE;
        items.extend(found);
        if is_last {
            break;
        }
    }
    if output.is_json() {
        let count = |key: &str| number(&whole, key);
        let (keys, records, bytes) = (count("keys"), count("records"), count("bytes"));
        return output.document(&json!({ "keys": keys, "records": records, "bytes": bytes, "items": items }));
    }
    if items.is_empty() {
        return output.text("nothing is parked\n");
    }
    let mut table = Table::headed(&["KEY", "RECORDS", "ATTEMPTS", "SINCE", "REPLAYING", "ERROR"]);
    for item in &items {
        let is_replaying = item.get("replaying").and_then(Value::as_bool).unwrap_or(false);
        table.row(vec![
            shortened(&text(item, "key"), TEXT_CHARS_MAX),
            number(item, "records").to_string(),
            number(item, "attempts").to_string(),
            text(item, "since"),
            if is_replaying { "yes" } else { "" }.to_owned(),
            shortened(&error(item), TEXT_CHARS_MAX),
        ]);
    }
    output.text(&table.render())
}

async fn show(client: &Client, args: &ShowArgs, output: &mut Output) -> Result<(), Failure> {
    let OfKey { id, key } = &args.of;
    let mut items: Vec<Value> = Vec::new();
    let mut whole = Value::Null;
    let size = args.limit.clamp(1, PAGE_SIZE);
    for page in 1..=PAGES_MAX {
        let ask = Ask::get(&["connectors", id, "parked", key], format!("show key {key} of connector {id}"));
        whole = client.ask(ask.query("page", page).query("pageSize", size)).await?;
        let found = taken(&mut whole);
        let is_last = found.len() < size;
        items.extend(found);
        if is_last || items.len() >= args.limit {
            break;
        }
    }
    items.truncate(args.limit);
    if output.is_json() {
        if let Some(object) = whole.as_object_mut() {
            object.insert("items".to_owned(), Value::Array(items));
            object.remove("totalSize");
        }
        return output.document(&whole);
    }
    let mut page = format!("key {key} of {id}: {} parked records\n", number(&whole, "records"));
    items.iter().for_each(|item| page.push_str(&described(item)));
    output.text(&page)
}

fn described(record: &Value) -> String {
    let mut table = Table::plain();
    let mut row = |key: &str, value: String| {
        if !value.is_empty() {
            table.row(vec![format!("  {key}"), value]);
        }
    };
    row("event", format!("{}@{} at {}", text(record, "stream"), text(record, "revision"), text(record, "position")));
    row("type", text(record, "type"));
    row("parked", text(record, "parked"));
    row("attempts", text(record, "attempts"));
    row("error", error(record));
    row("answer", flat(&text(record, "answer")));
    for key in ["data", "dataBase64", "original", "originalBase64", "editReason", "metadata", "metadataBase64"] {
        row(key, flat(&text(record, key)));
    }
    format!("\nrecord {}: {}\n{}", text(record, "record"), text(record, "reason"), table.render())
}

async fn replay(client: &Client, args: &ReplayArgs, output: &mut Output) -> Result<(), Failure> {
    let OfKey { id, key } = &args.of;
    let count = args.of.command(client, "replay", &json!({ "dryRun": true })).await?;
    let records = number(&count, "records");
    if args.dry_run {
        return output.done(&format!("{records} parked records of key {key} of {id} would be replayed"), &count);
    }
    agreed(args.yes, &format!("replay {records} parked records of key {key} of {id}"), output)?;
    let told = args.of.command(client, "replay", &json!({ "recordsPerSecond": args.rate })).await?;
    tried(&args.of, &told, output)
}

async fn give_up(client: &Client, args: &DropArgs, output: &mut Output) -> Result<(), Failure> {
    let OfKey { id, key } = &args.of;
    if args.record.is_none() {
        let ask = Ask::get(&["connectors", id, "parked", key], format!("count key {key} of connector {id}"));
        let records = number(&client.ask(ask.query("pageSize", 1)).await?, "records");
        agreed(args.yes, &format!("drop {records} parked records of key {key} of {id} for good"), output)?;
    }
    let body = json!({ "record": args.record, "reason": args.reason });
    let told = args.of.command(client, "drop", &body).await?;
    output.done(&format!("dropped {} parked records of key {key} of {id}", number(&told, "records")), &told)
}

/// Goes on only if it was said or somebody says so now.
fn agreed(yes: bool, what: &str, output: &mut Output) -> Result<(), Failure> {
    if yes {
        output.note(what);
        return Ok(());
    }
    match output.ask(&format!("{what}?"))? {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::Check { problem: format!("nothing was done: asked to {what}, the answer was no") }),
        None => {
            Err(Failure::usage("--yes", format!("nobody is there to be asked whether to {what}"), "--yes to go on"))
        }
    }
}

/// Tells what came of trying the first record; refused again is a failure of the command.
fn tried(of: &OfKey, told: &Value, output: &mut Output) -> Result<(), Failure> {
    let OfKey { id, key } = of;
    let left = number(told, "left");
    match told.get("outcome").and_then(Value::as_str) {
        Some("delivered") => {
            return output.done(&format!("delivered a parked record of key {key} of {id}; {left} are left"), told);
        }
        Some("dropped") => {
            let text =
                format!("key {key} of {id}: its first record was left out, as the policy says, the rest follows");
            return output.done(&text, told);
        }
        Some("waiting") => {
            let text = format!("key {key} of {id} is tried again by itself, {left} records are left: {}", error(told));
            return output.done(&text, told);
        }
        _ => {}
    }
    let problem = format!("key {key} of {id} was refused again, {left} records stay parked: {}", error(told));
    Err(Failure::Check { problem })
}

async fn edit(client: &Client, args: &EditArgs, output: &mut Output) -> Result<(), Failure> {
    let mut body = Map::new();
    body.insert("record".to_owned(), args.record.into());
    body.insert("reason".to_owned(), args.reason.clone().into());
    match (&args.data, &args.file) {
        (Some(data), _) => {
            let data = serde_json::from_str(data)
                .map_err(|error| Failure::usage("--data", error.to_string(), "JSON, or --file for anything else"))?;
            body.insert("data".to_owned(), data);
        }
        (None, Some(path)) => {
            let data = std::fs::read(path).map_err(|error| Failure::File { path: path.clone(), error })?;
            body.insert("dataBase64".to_owned(), STANDARD.encode(data).into());
        }
        (None, None) => return Err(Failure::usage("edit", "there is no payload", "--data JSON or --file FILE")),
    }
    let told = args.of.command(client, "edit", &Value::Object(body)).await?;
    let OfKey { id, key } = &args.of;
    output.done(&format!("edited record {} of key {key} of {id}; the original is kept", args.record), &told)
}

fn taken(page: &mut Value) -> Vec<Value> {
    match page.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn error(value: &Value) -> String {
    match value.get("error") {
        Some(error @ Value::Object(_)) => format!("{}: {}", text(error, "class"), text(error, "message")),
        _ => String::new(),
    }
}

fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// Text of a target or a payload, so that it cannot move the cursor.
fn flat(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::Fake;
    use serde_json::json;

    #[tokio::test]
    async fn a_replay_says_how_many_before_it_acts() {
        let fake = Fake::answering(|seen| match seen.json()["dryRun"].as_bool() {
            Some(true) => (200, json!({"outcome": "dryRun", "records": 7}).to_string()),
            _ => (200, json!({"outcome": "delivered", "left": 6}).to_string()),
        })
        .await;
        let replay = ["parked", "replay", "orders", "order/1", "--rate", "5"];
        let ran = fake.run(&[&replay[..], &["--yes"]].concat()).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, "replay 7 parked records of key order/1 of orders\n"));
        assert_eq!(ran.out, "delivered a parked record of key order/1 of orders; 6 are left\n");
        let seen = fake.seen();
        assert_eq!(seen[1].line(), "POST /connectors/orders/parked/order%2F1/replay");
        assert_eq!(seen[1].json(), json!({"recordsPerSecond": 5}));
        // Without a yes nothing happens: nobody is there to be asked, or the answer is another one.
        let ran = fake.run(&replay).await;
        assert!(ran.code == 2 && ran.err.contains("replay 7 parked records"), "{}", ran.err);
        assert_eq!(fake.run_answering("\n", &replay).await.code, 1);
        assert_eq!(fake.seen().len(), 4);
        assert_eq!(fake.run_answering("yes\n", &replay).await.code, 0);
        assert_eq!(fake.seen().len(), 6);
    }

    #[tokio::test]
    async fn what_is_tried_again_by_itself_is_no_failure() {
        let waiting = json!({"outcome": "waiting", "left": 3, "error": {"class": "status", "message": "503"}});
        let fake = Fake::answering(move |_| (200, waiting.to_string())).await;
        let ran = fake.run(&["parked", "replay", "orders", "k", "--yes"]).await;
        assert_eq!(ran.out, "key k of orders is tried again by itself, 3 records are left: status: 503\n");
    }

    #[tokio::test]
    async fn what_is_refused_again_fails_the_command_with_the_reason() {
        let refused = json!({"outcome": "refused", "left": 3, "error": {"class": "status", "message": "422"}});
        let fake = Fake::answering(move |_| (200, refused.to_string())).await;
        let ran = fake.run(&["parked", "retry", "orders", "k"]).await;
        assert_eq!(ran.code, 1);
        assert!(ran.err.contains("3 records stay parked: status: 422"), "{}", ran.err);
    }

    #[tokio::test]
    async fn a_drop_needs_a_reason_and_says_what_it_means() {
        let fake = Fake::answering(|_| (200, json!({"outcome": "dropped", "records": 2}).to_string())).await;
        assert_eq!(fake.run(&["parked", "drop", "orders", "k", "--all"]).await.code, 2);
        assert_eq!(fake.run(&["parked", "drop", "orders", "k", "--reason", "x"]).await.code, 2);
        assert_eq!(fake.run(&["parked", "drop", "orders", "k", "--all", "--reason", "x"]).await.code, 2);
        let ran = fake.run(&["parked", "drop", "orders", "k", "--all", "--yes", "--reason", "x"]).await;
        assert_eq!((ran.code, ran.out.as_str()), (0, "dropped 2 parked records of key k of orders\n"));
        assert_eq!(fake.seen()[2].json(), json!({"record": null, "reason": "x"}));
    }

    #[tokio::test]
    async fn lists_and_details_are_for_people_and_for_programs() {
        let key = json!({"key": "s-1", "records": 2, "attempts": 1, "error": {"class": "status", "message": "422"}});
        let record = json!({"record": 4, "reason": "rejected", "stream": "s-1", "revision": 2, "answer": "a\u{1b}b"});
        let fake = Fake::answering(move |seen| match seen.target.contains("/parked/") {
            true => (200, json!({"key": "s-1", "records": 2, "items": [record]}).to_string()),
            false => (200, json!({"keys": 1, "records": 2, "bytes": 9, "items": [key]}).to_string()),
        })
        .await;
        let ran = fake.run(&["parked", "list", "orders"]).await;
        assert!(ran.out.contains("s-1") && ran.out.contains("status: 422"), "{}", ran.out);
        let ran = fake.run(&["parked", "list", "orders", "--json"]).await;
        assert!(ran.out.contains("\"bytes\": 9"), "{}", ran.out);
        let ran = fake.run(&["parked", "show", "orders", "s-1"]).await;
        assert!(ran.out.contains("record 4: rejected") && ran.out.contains("a b"), "{}", ran.out);
    }
}
