//! Owns the commands that change a connector which is there.

use serde_json::{Value, json};

use super::args::{ReconfigureArgs, RenameArgs, ResetArgs, StartArgs, StopArgs, WaitOptions};
use super::wait::wait_for;
use crate::client::{Ask, Client};
use crate::failure::Failure;
use crate::output::Output;
use crate::settings_file::{self, Settings};

/// What a command does to a connector, and how it is told.
pub(super) struct Effect<'a> {
    pub(super) id: &'a str,
    pub(super) done: &'static str,
    pub(super) wanted: &'static str,
}

pub(super) async fn start(client: &Client, args: &StartArgs, output: &mut Output) -> Result<(), Failure> {
    client.ask(start_request(&args.id, args.from.as_deref())).await?;
    finish(client, &Effect { id: &args.id, done: "started", wanted: "running" }, &args.wait, output).await
}

/// The request that starts a connector, from a point if one is given.
pub(super) fn start_request(id: &str, from: Option<&str>) -> Ask {
    let ask = Ask::post(&["connectors", id, "start"], format!("start connector {id}"));
    match from {
        Some(from) => ask.json(&json!({ "from": from })),
        None => ask,
    }
}

pub(super) async fn stop(client: &Client, args: &StopArgs, output: &mut Output) -> Result<(), Failure> {
    let id = args.id.as_str();
    client.ask(Ask::post(&["connectors", id, "stop"], format!("stop connector {id}"))).await?;
    finish(client, &Effect { id, done: "stopped", wanted: "stopped" }, &args.wait, output).await
}

pub(super) async fn reset(client: &Client, args: &ResetArgs, output: &mut Output) -> Result<(), Failure> {
    let id = args.id.as_str();
    let action = format!("reset connector {id}");
    let ask = match args.to {
        Some(position) => Ask::post(&["connectors", id, "reset", &position.to_string()], action),
        None => Ask::post(&["connectors", id, "reset"], action),
    };
    client.ask(ask).await?;
    finish(client, &Effect { id, done: "reset and started", wanted: "running" }, &args.wait, output).await
}

/// Waits for the effect if that was asked for, and tells it.
pub(super) async fn finish(
    client: &Client,
    effect: &Effect<'_>,
    wait: &WaitOptions,
    output: &mut Output,
) -> Result<(), Failure> {
    let Effect { id, done, wanted } = *effect;
    let mut told = json!({"connectorId": id, "done": done});
    let mut text = format!("{done} connector {id}");
    if wait.wait {
        let view = wait_for(client, id, wanted, wait.wait_limit).await?;
        text = format!("{text}; it is {wanted}");
        if let (Some(told), Some(state)) = (told.as_object_mut(), view.get("state")) {
            told.insert("state".to_owned(), state.clone());
        }
    }
    output.done(&text, &told)
}

pub(super) async fn reconfigure(client: &Client, args: &ReconfigureArgs, output: &mut Output) -> Result<(), Failure> {
    let id = args.id.as_str();
    if !args.settings.has_file() && args.settings.set.is_empty() && args.unset.is_empty() {
        return Err(Failure::usage(
            "reconfigure",
            "nothing to change",
            "--settings FILE, --set KEY=VALUE or --unset KEY",
        ));
    }
    // A file is the whole of the settings; --set and --unset alone change those that are there.
    let before = if args.settings.has_file() { Settings::new() } else { current(client, id).await? };
    let mut settings = args.settings.over(before)?;
    for key in &args.unset {
        if !settings_file::remove(&mut settings, key) {
            let expected = format!("one of: {}", settings.keys().cloned().collect::<Vec<_>>().join(", "));
            return Err(Failure::usage("--unset", format!("`{key}` is not set"), expected));
        }
    }
    let ask = Ask::new(http::Method::PUT, &["connectors", id, "settings"], format!("reconfigure connector {id}"));
    client.ask(ask.json(&json!(settings))).await?;
    let text = format!("reconfigured connector {id}; if it runs, stop and start it to take the settings up");
    output.done(&text, &json!({"connectorId": id, "done": "reconfigured"}))
}

/// The settings of a connector, secrets masked; a mask that is sent back keeps its secret.
async fn current(client: &Client, id: &str) -> Result<Settings, Failure> {
    let action = format!("show the settings of connector {id}");
    let answer = client.ask(Ask::get(&["connectors", id, "settings"], action)).await?;
    settings_file::flatten(&format!("settings of {id}"), answer.get("settings").unwrap_or(&Value::Null))
}

pub(super) async fn rename(client: &Client, args: &RenameArgs, output: &mut Output) -> Result<(), Failure> {
    let id = args.id.as_str();
    let ask = Ask::new(http::Method::PUT, &["connectors", id, "rename"], format!("rename connector {id}"));
    client.ask(ask.json(&json!({ "name": args.name }))).await?;
    let told = json!({"connectorId": id, "done": "renamed", "name": args.name});
    output.done(&format!("renamed connector {id} to {}", args.name), &told)
}

pub(super) async fn delete(client: &Client, id: &str, output: &mut Output) -> Result<(), Failure> {
    let ask = Ask::new(http::Method::DELETE, &["connectors", id], format!("delete connector {id}"));
    client.ask(ask).await?;
    output.done(&format!("deleted connector {id}"), &json!({"connectorId": id, "done": "deleted"}))
}

#[cfg(test)]
mod tests;
