//! Owns the sorting of PostgreSQL's errors into what should happen next.

use std::error::Error as _;
use std::io;

use forebay_connector::{Failure, FailureClass, Next};
use tokio_postgres::Error;
use tokio_postgres::error::DbError;

/// A message of a server is cut to so many characters.
const MESSAGE_CHARS_MAX: usize = 300;

/// What an error asks for. The text holds the server's code and message; values in it are left out.
pub(super) fn failure(error: &Error) -> Failure {
    if let Some(error) = error.as_db_error() {
        return of_server(error);
    }
    let text = error.to_string();
    if error.is_closed() {
        return Failure::retry(FailureClass::Connect, "the server closed the connection");
    }
    if text.starts_with("authentication error") || text.starts_with("invalid configuration") {
        return Failure::stop(FailureClass::Unauthorised, chain(error));
    }
    if error.source().is_some_and(|source| source.to_string().contains("does not support TLS")) {
        return Failure::stop(FailureClass::Setup, "the server does not offer secure connections (setting sslMode)");
    }
    match find_io(error) {
        Some(cause) => Failure::retry(FailureClass::Connect, io_cause(cause)),
        None => Failure::retry(FailureClass::Connect, chain(error)),
    }
}

/// Whether an error says for certain that the transaction it was the answer to has left no trace.
pub(super) fn is_undone(error: &Error) -> bool {
    error
        .as_db_error()
        .is_some_and(|error| error.code().code().starts_with("40") || matches!(of_server(error).next, Next::Reject))
}

fn of_server(error: &DbError) -> Failure {
    let code = error.code().code();
    sorted(code, format!("PostgreSQL error {code}: {}", message(code, error.message())))
}

fn sorted(code: &str, reason: String) -> Failure {
    let retry = |class| Failure::retry(class, reason.clone());
    let stop = |class| Failure::stop(class, reason.clone());
    match (code.get(..2).unwrap_or_default(), code) {
        (_, "42501") | ("28", _) => stop(FailureClass::Unauthorised),
        (_, "3D000" | "XX001" | "XX002") => stop(FailureClass::Setup),
        // A plan that was made before a column changed; a new connection makes a new one.
        (_, "0A000") if reason.contains("cached plan") => retry(FailureClass::Busy),
        (_, "57014") => retry(FailureClass::Timeout),
        ("08", _) | (_, "57P01" | "57P02") => retry(FailureClass::Connect),
        // Conflicts, locks, a standby, lack of disk, memory or connections, starting up, trouble of its own.
        ("40" | "25" | "26" | "53" | "55" | "57" | "58" | "XX", _) => retry(FailureClass::Busy),
        ("54", _) => Failure::reject(FailureClass::TooLarge, reason),
        ("21" | "22" | "23" | "27" | "38" | "39" | "44" | "P0", _) => Failure::reject(FailureClass::Malformed, reason),
        _ => stop(FailureClass::Setup),
    }
}

/// The server's message; in errors about data, what stands in quotes is a value.
fn message(code: &str, text: &str) -> String {
    let text: String = text.chars().take(MESSAGE_CHARS_MAX).collect();
    match (text.find('"'), text.rfind('"')) {
        (Some(first), Some(last)) if code.starts_with("22") => {
            let (before, after) = (text.get(..=first).unwrap_or_default(), text.get(last..).unwrap_or_default());
            if first == last { format!("{before}…") } else { format!("{before}…{after}") }
        }
        _ => text,
    }
}

fn find_io(error: &Error) -> Option<&io::Error> {
    let mut next = error.source();
    while let Some(source) = next {
        if let Some(io) = source.downcast_ref() {
            return Some(io);
        }
        next = source.source();
    }
    None
}

fn io_cause(error: &io::Error) -> String {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        let hint = match tls {
            rustls::Error::InvalidCertificate(_) => " (settings sslMode and tls:caCertificate)",
            _ => "",
        };
        return format!("secure connection failed: {tls}{hint}");
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            "the server closed the connection".into()
        }
        _ => error.to_string(),
    }
}

fn chain(error: &Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{message, sorted};
    use crate::postgres::KIND;
    use forebay_connector::default_action;

    #[test]
    fn errors_are_sorted_as_the_kind_says() {
        for code in [
            "08006", "0A000", "21000", "22001", "23505", "25006", "28P01", "3D000", "40001", "42501", "42P01", "53100",
            "54000", "55P03", "57014", "57P01", "57P03", "58030", "XX000", "XX001", "99999",
        ] {
            let failure = sorted(code, "an error".to_owned());
            let action = default_action(KIND.policy, failure.class).unwrap();
            assert!(action.is(failure.next), "{code}: {action:?} and {:?}", failure.next);
        }
    }

    #[test]
    fn values_in_messages_about_data_are_left_out() {
        let cut = "invalid input syntax for type integer: \"…\"";
        assert_eq!(message("22P02", "invalid input syntax for type integer: \"a \"secret\" b\""), cut);
        assert_eq!(message("22003", "value \"12\" is out of range"), "value \"…\" is out of range");
        let constraint = "duplicate key value violates unique constraint \"pk\"";
        assert_eq!(message("23505", constraint), constraint);
    }
}
