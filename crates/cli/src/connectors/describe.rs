//! Owns `connectors describe`.

use serde_json::Value;

use crate::client::{Ask, Client};
use crate::failure::Failure;
use crate::output::Output;
use crate::table::Table;

pub(super) async fn describe(client: &Client, kind: Option<&str>, output: &mut Output) -> Result<(), Failure> {
    let answer = match kind {
        Some(kind) => client.ask(Ask::get(&["kinds", kind], format!("describe kind {kind}"))).await?,
        None => client.ask(Ask::get(&["kinds"], "list kinds")).await?,
    };
    if output.is_json() {
        return output.document(&answer);
    }
    output.text(&if kind.is_some() { described(&answer) } else { kinds(&answer) })
}

fn kinds(answer: &Value) -> String {
    let mut table = Table::headed(&["KIND", "TITLE", "SUMMARY"]);
    let list = answer.as_array().or_else(|| answer.get("kinds").and_then(Value::as_array));
    for kind in list.into_iter().flatten() {
        let name = if text(kind, "name").is_empty() { text(kind, "kind") } else { text(kind, "name") };
        table.row(vec![name, text(kind, "title"), text(kind, "summary")]);
    }
    table.render()
}

fn described(kind: &Value) -> String {
    let mut page = format!("{} ({})\n{}\n\n", text(kind, "name"), text(kind, "title"), text(kind, "summary"));
    let mut facts = Table::plain();
    for key in ["guarantee", "lanes", "page"] {
        let value = match kind.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(value) if !value.is_null() => value.to_string(),
            _ => continue,
        };
        // The page may be a manual of many lines, which has no place in a table.
        if value.contains('\n') {
            page.push_str(&format!("{}\n\n", value.trim_end()));
        } else {
            facts.row(vec![key.to_owned(), value]);
        }
    }
    page.push_str(&facts.render());
    let policy = kind.get("policy").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !policy.is_empty() {
        page.push_str("\nafter a failure, unless errors:policy says otherwise\n");
        let mut table = Table::plain();
        policy.iter().for_each(|row| table.row(vec![text(row, "class"), text(row, "action")]));
        page.push_str(&table.render());
    }
    for (key, heading) in [("settings", "settings of this kind"), ("shared", "settings of every connector")] {
        let settings = kind.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if !settings.is_empty() {
            page.push_str(&format!("\n{heading}\n"));
            settings.iter().for_each(|setting| page.push_str(&described_setting(setting)));
        }
    }
    page
}

fn described_setting(setting: &Value) -> String {
    let flag = |key: &str| setting.get(key).and_then(Value::as_bool) == Some(true);
    let mut facts = vec![text(setting, "expected")];
    let words: Vec<&str> =
        setting.get("words").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    if !words.is_empty() {
        facts.push(words.join(" | "));
    }
    if flag("required") {
        facts.push("required".to_owned());
    } else if !text(setting, "default").is_empty() {
        facts.push(format!("default {}", text(setting, "default")));
    }
    if flag("secret") {
        facts.push("secret".to_owned());
    }
    facts.retain(|fact| !fact.is_empty());
    let doc = text(setting, "doc").trim().replace('\n', "\n      ");
    format!("  {}  ({})\n      {doc}\n", text(setting, "key"), facts.join(", "))
}

fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}
