//! Owns the arguments of `users`, and which command does what.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{change, show};
use crate::client::Client;
use crate::command::ClientOptions;
use crate::failure::Failure;
use crate::output::Output;

/// Commands on users.
#[derive(Debug, Args)]
pub struct UsersArgs {
    #[command(subcommand)]
    command: UsersCommand,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

/// What to do with users.
#[derive(Debug, Subcommand)]
pub(crate) enum UsersCommand {
    /// Lists users with their groups
    List,
    /// Shows a user
    Show(LoginArgs),
    /// Creates a user
    Create(CreateArgs),
    /// Replaces a user's full name and groups
    Update(UpdateArgs),
    /// Lets a user sign in again
    Enable(LoginArgs),
    /// Does not let a user sign in any more
    Disable(LoginArgs),
    /// Gives a user another password, whatever the present one is
    ResetPassword(ResetArgs),
    /// Replaces one's own password
    ChangePassword(ChangeArgs),
    /// Deletes a user
    Delete(LoginArgs),
}

/// One user.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The user's login name
    pub(super) login: String,
}

/// The user to be.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The user's login name
    pub(super) login: String,
    /// A name for people
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(super) full_name: String,
    /// A group to be in, such as `$ops`; may be repeated
    #[arg(long, value_name = "GROUP")]
    pub(super) group: Vec<String>,
    #[command(flatten)]
    pub(super) password: NewPassword,
}

/// What the user is to be.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The user's login name
    pub(super) login: String,
    /// A name for people
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(super) full_name: String,
    /// A group to be in, such as `$ops`; may be repeated. The user leaves all others
    #[arg(long, value_name = "GROUP")]
    pub(super) group: Vec<String>,
}

/// Whose password.
#[derive(Debug, Args)]
pub(crate) struct ResetArgs {
    /// The user's login name
    pub(super) login: String,
    #[command(flatten)]
    pub(super) password: NewPassword,
}

/// Whose password, and the present one.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// The user's login name
    pub(super) login: String,
    /// A file whose first line is the present password
    #[arg(long, value_name = "FILE")]
    pub(super) current_password_file: PathBuf,
    #[command(flatten)]
    pub(super) password: NewPassword,
}

/// The password to be.
#[derive(Debug, Args)]
pub(crate) struct NewPassword {
    /// A file whose first line is the password to be; `-` is standard input
    #[arg(long = "new-password-file", value_name = "FILE")]
    pub(super) file: PathBuf,
}

pub(crate) async fn run(args: UsersArgs, output: &mut Output) -> Result<(), Failure> {
    let client = Client::new(&args.client)?;
    match args.command {
        UsersCommand::List => show::list(&client, output).await,
        UsersCommand::Show(args) => show::show(&client, &args.login, output).await,
        UsersCommand::Create(args) => change::create(&client, &args, output).await,
        UsersCommand::Update(args) => change::update(&client, &args, output).await,
        UsersCommand::Enable(args) => change::command(&client, &args.login, "enable", output).await,
        UsersCommand::Disable(args) => change::command(&client, &args.login, "disable", output).await,
        UsersCommand::ResetPassword(args) => change::reset_password(&client, &args, output).await,
        UsersCommand::ChangePassword(args) => change::change_password(&client, &args, output).await,
        UsersCommand::Delete(args) => change::delete(&client, &args.login, output).await,
    }
}
