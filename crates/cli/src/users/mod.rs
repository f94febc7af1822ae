//! Owns `users`: the commands and queries on users.

mod args;
mod change;
mod show;

pub use args::UsersArgs;
pub(crate) use args::run;

#[cfg(test)]
mod tests;
