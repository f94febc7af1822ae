//! Owns the first users of a fresh log: that they are there, and that they have a password once callers are asked.

use std::io::{self, Write};
use std::path::PathBuf;

use forebay_access::{FIRST_LOGINS, Password, UserError, Users};

use crate::config::{Config, FirstPassword};

/// A file that holds more bytes than this holds no password.
const FILE_SIZE_MAX: u64 = 4096;

/// Why the first users are not as they must be.
#[derive(Debug, thiserror::Error)]
pub enum FirstStartError {
    /// They cannot be read or written.
    #[error(transparent)]
    User(#[from] UserError),
    /// A file with a password cannot be read.
    #[error("the file {} cannot be read: {reason}", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why, in the system's words.
        reason: String,
    },
    /// A file does not begin with a password.
    #[error("the first line of the file {} is not a password: expected 1 to 1024 bytes", .path.display())]
    NoPassword {
        /// Which file.
        path: PathBuf,
    },
    /// The machine gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// A password that was generated cannot be told.
    #[error("a generated password cannot be written to standard error: {reason}")]
    Untold {
        /// Why, in the system's words.
        reason: String,
    },
}

/// Makes the first users when there are none. Those who have no password are given one: what the config says, or,
/// when callers are asked, one that is generated and told on standard error alone.
pub(crate) async fn prepare(users: &Users, config: &Config, asks: bool) -> Result<(), FirstStartError> {
    users.found().await?;
    for (login, first) in FIRST_LOGINS.into_iter().zip([&config.admin_password, &config.ops_password]) {
        match users.details(login).await {
            Ok(user) if !user.has_password() => {}
            Ok(_) | Err(UserError::NotFound { .. }) => continue,
            Err(error) => return Err(error.into()),
        }
        let password = match first {
            FirstPassword::Given(password) => password.clone(),
            FirstPassword::File(path) => from_file(path)?,
            FirstPassword::Generated if !asks => continue,
            // Told before it is kept: a start that breaks off in between tells another one the next time.
            FirstPassword::Generated => generated(login)?,
        };
        users.reset_password(login, password).await?;
        tracing::info!(user = login, "a first password was set");
    }
    Ok(())
}

fn generated(login: &str) -> Result<Password, FirstStartError> {
    let password = Password::generate().ok_or(FirstStartError::Random)?;
    let told = writeln!(
        io::stderr().lock(),
        "forebay: the user {login} has the password {} (generated at this first start, not told again)",
        password.reveal()
    );
    told.map_err(|error| FirstStartError::Untold { reason: error.to_string() })?;
    Ok(password)
}

fn from_file(path: &PathBuf) -> Result<Password, FirstStartError> {
    let unreadable = |error: io::Error| FirstStartError::Unreadable { path: path.clone(), reason: error.to_string() };
    let no_password = || FirstStartError::NoPassword { path: path.clone() };
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_SIZE_MAX {
        return Err(no_password());
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    Password::new(text.lines().next().unwrap_or_default()).ok_or_else(no_password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_file_is_the_password() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, "pass word\nnot this\n").unwrap();
        assert_eq!(from_file(&path).unwrap().reveal(), "pass word");
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(from_file(&path), Err(FirstStartError::NoPassword { .. })));
        std::fs::write(&path, "x".repeat(5000)).unwrap();
        assert!(matches!(from_file(&path), Err(FirstStartError::NoPassword { .. })));
        assert!(matches!(from_file(&directory.path().join("none")), Err(FirstStartError::Unreadable { .. })));
    }
}
