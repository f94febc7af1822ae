//! Owns the sorting of SQLite's errors into what should happen next.

use forebay_connector::{Failure, FailureClass};
use rusqlite::{Error, ErrorCode, ffi};

/// What an error asks for. The text holds SQLite's code and message, which name tables and columns but no values.
pub(super) fn failure(error: &Error) -> Failure {
    let Error::SqliteFailure(ffi::Error { code, extended_code }, message) = error else {
        return Failure::stop(FailureClass::Setup, format!("SQLite cannot use the statement: {error}"));
    };
    let message = message.clone().unwrap_or_else(|| ffi::code_to_str(*extended_code).to_owned());
    let reason = format!("SQLite error {extended_code}: {message}");
    match code {
        ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch => Failure::reject(FailureClass::Malformed, reason),
        ErrorCode::TooBig => Failure::reject(FailureClass::TooLarge, reason),
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::SchemaChanged
        | ErrorCode::OperationInterrupted
        | ErrorCode::OperationAborted => Failure::retry(FailureClass::Busy, reason),
        ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory => {
            Failure::retry(FailureClass::Local, reason)
        }
        ErrorCode::CannotOpen
        | ErrorCode::ReadOnly
        | ErrorCode::PermissionDenied
        | ErrorCode::DatabaseCorrupt
        | ErrorCode::NotADatabase
        | ErrorCode::NoLargeFileSupport => Failure::stop(FailureClass::Setup, reason),
        ErrorCode::AuthorizationForStatementDenied => Failure::stop(FailureClass::Unauthorised, reason),
        _ => Failure::stop(FailureClass::Setup, reason),
    }
}

#[cfg(test)]
mod tests {
    use super::failure;
    use crate::sqlite::KIND;
    use forebay_connector::default_action;
    use rusqlite::{Error, ffi};

    #[test]
    fn errors_are_sorted_as_the_kind_says() {
        // Every primary code that SQLite has for errors.
        for code in 1..=26 {
            let failure = failure(&Error::SqliteFailure(ffi::Error::new(code), None));
            let action = default_action(KIND.policy, failure.class).unwrap();
            assert!(action.is(failure.next), "{code}: {action:?} and {:?}", failure.next);
        }
    }
}
