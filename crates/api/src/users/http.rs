//! Owns users over HTTP.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use forebay_access::{Access, NewUser, Password, User};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Asking;
use crate::request::{Payload, UrlPath};
use crate::status::{self, Refusal};

/// The name in a path that stands for whoever asks.
const CURRENT: &str = "$current";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewUserBody {
    login_name: String,
    password: String,
    #[serde(default)]
    full_name: String,
    #[serde(default)]
    groups: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UpdateBody {
    full_name: String,
    groups: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResetBody {
    new_password: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ChangeBody {
    current_password: String,
    new_password: String,
}

/// Lists users.
pub(super) async fn list(State(access): State<Access>) -> Result<Response, Refusal> {
    let users: Vec<_> = access.users().list().await?.iter().map(view).collect();
    Ok(Json(json!({ "users": users })).into_response())
}

/// Creates a user.
pub(super) async fn create(State(access): State<Access>, Payload(body): Payload) -> Result<Response, Refusal> {
    let NewUserBody { login_name, password, full_name, groups } = read(&body)?;
    let password = password_of("password", password)?;
    access.users().create(NewUser { login: login_name, full_name, groups, password }).await?;
    Ok(status::done())
}

/// Shows a user.
pub(super) async fn show(
    State(access): State<Access>,
    UrlPath(login): UrlPath<String>,
    Asking(caller): Asking,
) -> Result<Response, Refusal> {
    let login = if login == CURRENT { caller.login().unwrap_or_default().to_owned() } else { login };
    access.check_self(&caller, &login)?;
    Ok(Json(view(&access.users().details(&login).await?)).into_response())
}

/// Replaces full name and groups.
pub(super) async fn update(
    State(access): State<Access>,
    UrlPath(login): UrlPath<String>,
    Payload(body): Payload,
) -> Result<Response, Refusal> {
    let UpdateBody { full_name, groups } = read(&body)?;
    access.users().update(&login, full_name, groups).await?;
    Ok(status::done())
}

/// Deletes a user.
pub(super) async fn remove(State(access): State<Access>, UrlPath(login): UrlPath<String>) -> Result<Response, Refusal> {
    access.users().delete(&login).await?;
    Ok(status::done())
}

/// Lets a user sign in.
pub(super) async fn enable(State(access): State<Access>, UrlPath(login): UrlPath<String>) -> Result<Response, Refusal> {
    access.users().set_disabled(&login, false).await?;
    Ok(status::done())
}

/// Does not let a user sign in.
pub(super) async fn disable(
    State(access): State<Access>,
    UrlPath(login): UrlPath<String>,
) -> Result<Response, Refusal> {
    access.users().set_disabled(&login, true).await?;
    Ok(status::done())
}

/// Gives a user another password.
pub(super) async fn reset_password(
    State(access): State<Access>,
    UrlPath(login): UrlPath<String>,
    Payload(body): Payload,
) -> Result<Response, Refusal> {
    let ResetBody { new_password } = read(&body)?;
    access.users().reset_password(&login, password_of("newPassword", new_password)?).await?;
    Ok(status::done())
}

/// Replaces the caller's own password.
pub(super) async fn change_password(
    State(access): State<Access>,
    UrlPath(login): UrlPath<String>,
    Asking(caller): Asking,
    Payload(body): Payload,
) -> Result<Response, Refusal> {
    access.check_self(&caller, &login)?;
    let ChangeBody { current_password, new_password } = read(&body)?;
    let current = password_of("currentPassword", current_password)?;
    access.users().change_password(&login, current, password_of("newPassword", new_password)?).await?;
    Ok(status::done())
}

fn view(user: &User) -> Value {
    json!({
        "loginName": user.login,
        "fullName": user.full_name,
        "groups": user.groups,
        "disabled": user.disabled,
        "dateLastUpdated": user.updated.to_string(),
    })
}

/// Reads a body that may hold a password: what is wrong is said without showing any of it.
fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Refusal::bad_request(format!("the body is not as expected at line {line}, column {column}; see /openapi.json"))
    })
}

fn password_of(field: &str, text: String) -> Result<Password, Refusal> {
    Password::new(text).ok_or_else(|| Refusal::field(field, format!("{field} is not valid: expected 1 to 1024 bytes")))
}
