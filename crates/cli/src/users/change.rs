//! Owns the commands that change users.

use http::Method;
use serde_json::json;

use super::args::{ChangeArgs, CreateArgs, ResetArgs, UpdateArgs};
use crate::client::{Ask, Client};
use crate::failure::Failure;
use crate::output::Output;
use crate::password::first_line;

pub(super) async fn create(client: &Client, args: &CreateArgs, output: &mut Output) -> Result<(), Failure> {
    let CreateArgs { login, full_name, group, password } = args;
    let password = first_line(&password.file)?;
    let body = json!({ "loginName": login, "password": password, "fullName": full_name, "groups": group });
    client.ask(Ask::post(&["users"], format!("create user {login}")).json(&body)).await?;
    done(login, "created", output)
}

pub(super) async fn update(client: &Client, args: &UpdateArgs, output: &mut Output) -> Result<(), Failure> {
    let UpdateArgs { login, full_name, group } = args;
    let body = json!({ "fullName": full_name, "groups": group });
    client.ask(Ask::new(Method::PUT, &["users", login], format!("update user {login}")).json(&body)).await?;
    done(login, "updated", output)
}

/// Enables or disables a user.
pub(super) async fn command(
    client: &Client,
    login: &str,
    word: &'static str,
    output: &mut Output,
) -> Result<(), Failure> {
    client.ask(Ask::post(&["users", login, "command", word], format!("{word} user {login}"))).await?;
    done(login, &format!("{word}d"), output)
}

pub(super) async fn reset_password(client: &Client, args: &ResetArgs, output: &mut Output) -> Result<(), Failure> {
    let login = args.login.as_str();
    let body = json!({ "newPassword": first_line(&args.password.file)? });
    let ask = Ask::post(&["users", login, "command", "reset-password"], format!("reset the password of user {login}"));
    client.ask(ask.json(&body)).await?;
    done(login, "gave another password to", output)
}

pub(super) async fn change_password(client: &Client, args: &ChangeArgs, output: &mut Output) -> Result<(), Failure> {
    let login = args.login.as_str();
    let current = first_line(&args.current_password_file)?;
    let body = json!({ "currentPassword": current, "newPassword": first_line(&args.password.file)? });
    let ask = Ask::post(&["users", login, "command", "change-password"], format!("change the password of {login}"));
    client.ask(ask.json(&body)).await?;
    done(login, "gave another password to", output)
}

pub(super) async fn delete(client: &Client, login: &str, output: &mut Output) -> Result<(), Failure> {
    client.ask(Ask::new(Method::DELETE, &["users", login], format!("delete user {login}"))).await?;
    done(login, "deleted", output)
}

fn done(login: &str, done: &str, output: &mut Output) -> Result<(), Failure> {
    output.done(&format!("{done} user {login}"), &json!({ "loginName": login, "done": done }))
}
