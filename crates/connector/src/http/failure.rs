//! Owns the sorting of transport errors: which cause it was, in words.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

use super::Origin;
use crate::{Failure, FailureClass};

/// The failure to open a connection.
pub(super) fn connect_failure(origin: &Origin, error: &io::Error) -> Failure {
    let class = if error.kind() == io::ErrorKind::TimedOut { FailureClass::Timeout } else { FailureClass::Connect };
    Failure::retry(class, format!("cannot connect to {origin}: {}", io_cause(error)))
}

/// The failure of an exchange on an open connection.
pub(super) fn exchange_failure(origin: &Origin, error: &hyper::Error) -> Failure {
    let cause = match find_io(error) {
        Some(io) => io_cause(io),
        None if error.is_incomplete_message() => "the target closed the connection before it had answered".into(),
        None if error.is_parse() || error.is_parse_status() => format!("the answer is not HTTP: {error}"),
        None if error.is_canceled() || error.is_closed() => "the target closed the connection".into(),
        None => error.to_string(),
    };
    Failure::retry(FailureClass::Connect, format!("request to {origin} failed: {cause}"))
}

/// Whether a connection that had lain idle turned out to be closed.
pub(super) fn is_stale(error: &hyper::Error) -> bool {
    let gone = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionAborted];
    error.is_canceled()
        || error.is_closed()
        || error.is_incomplete_message()
        || find_io(error).is_some_and(|io| gone.contains(&io.kind()))
}

fn find_io(error: &hyper::Error) -> Option<&io::Error> {
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
        return tls_cause(tls);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset by the target".into(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => "connection closed by the target".into(),
        io::ErrorKind::UnexpectedEof => "connection closed by the target in the middle".into(),
        io::ErrorKind::TimedOut => "no answer in time".into(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "no route to the host".into(),
        _ => error.to_string(),
    }
}

fn tls_cause(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the target's certificate has expired".into()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the target's certificate is not valid yet".into()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the target's certificate is for another host".into()
            }
            CertificateError::UnknownIssuer => {
                "the target's certificate is of an unknown issuer (setting tls:caCertificate)".into()
            }
            CertificateError::Revoked => "the target's certificate is revoked".into(),
            other => format!("the target's certificate is not valid: {other}"),
        },
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the target wants a client certificate (setting tls:clientCertificate)".into()
        }
        rustls::Error::AlertReceived(alert) => format!("the target refused the secure connection: {alert:?}"),
        rustls::Error::InvalidMessage(_) => "the target does not speak TLS".into(),
        other => format!("secure connection failed: {other}"),
    }
}
