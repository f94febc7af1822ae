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
const TOLD_ELSEWHERE: [&str; 5] = ["state", "errorDetails", "settings", "configuration", "shards"];

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
    if let Some(Value::Array(shards)) = view.get("shards") {
        text.push_str(&format!("\nshards\n{}", shard_table(shards)));
    }
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

/// Which node runs which shard, and how far each is.
fn shard_table(shards: &[Value]) -> String {
    let mut table = Table::headed(&["SHARD", "STATE", "NODE", "POSITION", "LAG", "PARKED"]);
    for shard in shards {
        let told = |key: &str| match shard.get(key) {
            None | Some(Value::Null) => "-".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let node = Some(told("nodeName")).filter(|name| !name.is_empty()).unwrap_or_else(|| told("nodeId"));
        let lag = told("lag");
        table.row(vec![told("shard"), state_of(shard), node, told("position"), lag, told("parked")]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_shard_has_its_line() {
        let shard = |number: u32, node: Value| {
            json!({"shard": number, "generation": 1, "state": "CONNECTOR_STATE_RUNNING", "nodeId": "7",
                "nodeName": node, "position": "12", "lag": 3, "parked": 0})
        };
        let view = json!({"connectorId": "orders", "state": "CONNECTOR_STATE_RUNNING", "settings": {},
            "shards": [shard(0, json!("node-a")), shard(1, json!(""))]});
        let text = rendered(&view).unwrap();
        let lines: Vec<_> = text.lines().skip_while(|line| *line != "shards").collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[2].contains("node-a") && lines[2].contains("running") && lines[3].contains('7'), "{text}");
    }
}
