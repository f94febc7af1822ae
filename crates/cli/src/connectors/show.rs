//! Owns `connectors show`.

use serde_json::Value;

use super::wait::{error_of, state_of};
use crate::client::{Ask, Client};
use crate::failure::Failure;
use crate::output::Output;
use crate::settings_file::flatten;
use crate::table::Table;

/// The members that are shown by name, in this order; whatever else the server answers follows.
const SHOWN: [(&str, &str); 7] = [
    ("connectorId", "id"),
    ("name", "name"),
    ("instanceTypeName", "kind"),
    ("position", "position"),
    ("createTime", "created"),
    ("updateTime", "updated"),
    ("deleteTime", "deleted"),
];
const TOLD_ELSEWHERE: [&str; 4] = ["state", "errorDetails", "settings", "configuration"];

pub(super) async fn show(client: &Client, id: &str, output: &mut Output) -> Result<(), Failure> {
    let ask = Ask::get(&["connectors", id], format!("show connector {id}")).query("includeSettings", true);
    let view = client.ask(ask).await?;
    if output.is_json() {
        return output.document(&view);
    }
    output.text(&rendered(&view)?)
}

fn rendered(view: &Value) -> Result<String, Failure> {
    let mut table = Table::plain();
    let mut row = |key: &str, value: String| table.row(vec![key.to_owned(), value]);
    let scalar = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    row("state", state_of(view));
    if let Some(error) = error_of(view) {
        row("error", error);
    }
    for (key, name) in SHOWN {
        if let Some(value) = view.get(key).filter(|value| !value.is_null()) {
            row(name, scalar(value));
        }
    }
    for (key, value) in view.as_object().into_iter().flatten() {
        let shown = SHOWN.iter().any(|(known, _)| known == key) || TOLD_ELSEWHERE.contains(&key.as_str());
        if !shown && !value.is_null() {
            row(key, scalar(value));
        }
    }
    let mut text = table.render();
    let settings = flatten("settings", view.get("settings").unwrap_or(&serde_json::json!({})))?;
    if !settings.is_empty() {
        text.push_str("\nsettings\n");
        for (key, value) in &settings {
            // A script keeps its lines, so that it can be read.
            let value = value.trim_end().replace('\n', "\n      ");
            text.push_str(&format!("  {key} = {value}\n"));
        }
    }
    Ok(text)
}
