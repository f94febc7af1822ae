//! Owns `connectors list`.

use serde_json::{Value, json};

use super::args::ListArgs;
use super::wait::{error_of, state_of};
use crate::client::{Ask, Client};
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Table, shortened};

const PAGE_SIZE: usize = 100;
/// The most pages that are asked for: more connectors than any server runs.
const PAGES_MAX: usize = 1000;
const ERROR_CHARS_MAX: usize = 60;

pub(super) async fn list(client: &Client, args: &ListArgs, output: &mut Output) -> Result<(), Failure> {
    let items = all_pages(client, args).await?;
    if output.is_json() {
        return output.document(&json!({ "items": items }));
    }
    if items.is_empty() {
        return output.text("no connectors\n");
    }
    let mut table = Table::headed(&["ID", "KIND", "STATE", "POSITION", "CHANGED", "ERROR"]);
    for item in &items {
        let text = |key: &str| match item.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let error = shortened(&error_of(item).unwrap_or_default(), ERROR_CHARS_MAX);
        let state = if item.get("deleteTime").is_some_and(|time| !time.is_null()) {
            "deleted".to_owned()
        } else {
            state_of(item)
        };
        let row =
            [text("connectorId"), text("instanceTypeName"), state, text("position"), text("stateUpdateTime"), error];
        table.row(row.to_vec());
    }
    output.text(&table.render())
}

async fn all_pages(client: &Client, args: &ListArgs) -> Result<Vec<Value>, Failure> {
    let mut items = Vec::new();
    for page in 1..=PAGES_MAX {
        let mut ask = Ask::get(&["connectors"], "list connectors").query("page", page).query("pageSize", PAGE_SIZE);
        for state in &args.state {
            ask = ask.query("state", format!("CONNECTOR_STATE_{}", state.to_uppercase()));
        }
        for kind in &args.kind {
            ask = ask.query("instanceTypeName", kind);
        }
        if args.deleted {
            ask = ask.query("showDeleted", true);
        }
        let mut answer = client.ask(ask).await?;
        let Some(Value::Array(mut found)) = answer.get_mut("items").map(Value::take) else {
            return Err(Failure::Answer {
                action: "list connectors".to_owned(),
                problem: "it holds no `items`".to_owned(),
            });
        };
        let last = found.len() < PAGE_SIZE;
        items.append(&mut found);
        if last {
            break;
        }
    }
    Ok(items)
}
