//! Owns the queries on users.

use serde_json::{Value, json};

use crate::client::{Ask, Client};
use crate::failure::Failure;
use crate::output::Output;
use crate::table::Table;

pub(super) async fn list(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let mut answer = client.ask(Ask::get(&["users"], "list users")).await?;
    let Some(Value::Array(users)) = answer.get_mut("users").map(Value::take) else {
        let (action, problem) = ("list users".to_owned(), "it holds no `users`".to_owned());
        return Err(Failure::Answer { action, problem });
    };
    if output.is_json() {
        return output.document(&json!({ "users": users }));
    }
    output.text(&table(&users))
}

pub(super) async fn show(client: &Client, login: &str, output: &mut Output) -> Result<(), Failure> {
    let user = client.ask(Ask::get(&["users", login], format!("show user {login}"))).await?;
    if output.is_json() {
        return output.document(&user);
    }
    output.text(&table(std::slice::from_ref(&user)))
}

fn table(users: &[Value]) -> String {
    let mut table = Table::headed(&["LOGIN", "NAME", "GROUPS", "STATE", "CHANGED"]);
    for user in users {
        let text = |key: &str| user.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let groups = user.get("groups").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let groups: Vec<_> = groups.iter().filter_map(Value::as_str).collect();
        let is_disabled = user.get("disabled").and_then(Value::as_bool).unwrap_or_default();
        let state = if is_disabled { "disabled" } else { "enabled" };
        table.row(vec![
            text("loginName"),
            text("fullName"),
            groups.join(" "),
            state.to_owned(),
            text("dateLastUpdated"),
        ]);
    }
    table.render()
}
