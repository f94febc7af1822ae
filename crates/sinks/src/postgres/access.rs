//! Owns how the server is reached: address, role, and what secures the connection.

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::http::{TlsOptions, client_config};
use forebay_connector::settings::SettingsErrors;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode as DriverSslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::settings::{PostgresSettings, SslMode};

/// The key under which a wrong connection string is reported.
const STRING_KEY: &str = "connectionString";

/// How the server is reached.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) config: Config,
    /// Nothing when the connection is not secured.
    pub(super) tls: Option<MakeRustlsConnect>,
    pub(super) connect_timeout: Duration,
    pub(super) statement_timeout: Duration,
}

impl Access {
    /// Checks the settings; sends nothing.
    pub(super) fn new(settings: &PostgresSettings, connector_id: &str) -> Result<Self, SettingsErrors> {
        let (mut config, mut mode) = (Config::new(), None);
        if let Some(text) = settings.connection_string.as_ref().filter(|text| !text.is_empty()) {
            (config, mode) = parse(text.expose()).ok_or_else(|| {
                SettingsErrors::single(STRING_KEY, "cannot be read", "a connection string of PostgreSQL")
            })?;
        }
        override_parts(&mut config, settings);
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(SettingsErrors::single("host", "is missing", "the server's name, or connectionString"));
        }
        if config.get_user().is_none() {
            return Err(SettingsErrors::single("authentication:username", "is missing", "a role that may connect"));
        }
        for (key, timeout) in
            [("connectTimeoutMs", settings.connect_timeout_ms), ("statementTimeoutMs", settings.statement_timeout_ms)]
        {
            if timeout.0.is_zero() || i32::try_from(timeout.0.as_millis()).is_err() {
                return Err(SettingsErrors::single(key, "is out of bounds", "1 ms to 24 days"));
            }
        }
        config.application_name(format!("forebay/{connector_id}"));
        config.connect_timeout(settings.connect_timeout_ms.0);
        config.tcp_user_timeout(settings.statement_timeout_ms.0);
        let tls = tls(settings, settings.ssl_mode.or(mode).unwrap_or(SslMode::VerifyFull))?;
        config.ssl_mode(if tls.is_some() { DriverSslMode::Require } else { DriverSslMode::Disable });
        let (connect_timeout, statement_timeout) = (settings.connect_timeout_ms.0, settings.statement_timeout_ms.0);
        Ok(Self { config, tls, connect_timeout, statement_timeout })
    }
}

fn override_parts(config: &mut Config, settings: &PostgresSettings) {
    if let Some(host) = settings.host.as_deref().filter(|host| !host.trim().is_empty()) {
        // The driver adds hosts to those it has; one that is given apart takes the place of them all.
        let mut fresh = Config::new();
        fresh.host(host.trim());
        if let Some(port) = config.get_ports().first() {
            fresh.port(settings.port.unwrap_or(*port));
        } else if let Some(port) = settings.port {
            fresh.port(port);
        }
        copy_rest(config, &mut fresh);
        *config = fresh;
    } else if let Some(port) = settings.port {
        let mut fresh = Config::new();
        for host in config.get_hosts() {
            match host {
                tokio_postgres::config::Host::Tcp(name) => fresh.host(name),
                #[cfg(unix)]
                tokio_postgres::config::Host::Unix(path) => fresh.host_path(path),
            };
        }
        fresh.port(port);
        copy_rest(config, &mut fresh);
        *config = fresh;
    }
    if let Some(database) = &settings.database {
        config.dbname(database);
    }
    if let Some(user) = &settings.authentication.username {
        config.user(user);
    }
    if let Some(password) = &settings.authentication.password {
        config.password(password.expose());
    }
}

fn copy_rest(from: &Config, into: &mut Config) {
    if let Some(user) = from.get_user() {
        into.user(user);
    }
    if let Some(password) = from.get_password() {
        into.password(password);
    }
    if let Some(database) = from.get_dbname() {
        into.dbname(database);
    }
    if let Some(options) = from.get_options() {
        into.options(options);
    }
    into.target_session_attrs(from.get_target_session_attrs());
}

/// Reads a connection string in any of its three forms, and what it says about security.
fn parse(text: &str) -> Option<(Config, Option<SslMode>)> {
    let text = text.trim();
    // A semicolon may also stand in a password of the other forms.
    let is_parts = |(first, _): (&str, &str)| !first.contains("://") && first.matches('=').count() == 1;
    if text.split_once(';').is_some_and(is_parts)
        && let Some(parsed) = parse_parts(text)
    {
        return Some(parsed);
    }
    let mut mode = None;
    let mut text = text.to_owned();
    for word in ["verify-full", "verify-ca"] {
        let found = format!("sslmode={word}");
        if text.contains(&found) {
            mode = Some(SslMode::VerifyFull);
            text = text.replace(&found, "sslmode=require");
        }
    }
    let config: Config = text.parse().ok()?;
    let mode = mode.or(match config.get_ssl_mode() {
        DriverSslMode::Disable => Some(SslMode::Disable),
        DriverSslMode::Require => Some(SslMode::Require),
        _ => None,
    });
    Some((config, mode))
}

/// Reads `Key=value;Key=value`.
fn parse_parts(text: &str) -> Option<(Config, Option<SslMode>)> {
    let (mut config, mut mode) = (Config::new(), None);
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=')?;
        let key: String = key.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect();
        let value = value.trim();
        match key.as_str() {
            "host" | "server" => config.host(value),
            "port" => config.port(value.parse().ok()?),
            "database" | "db" => config.dbname(value),
            "username" | "userid" | "user" => config.user(value),
            "password" | "pwd" => config.password(value),
            "sslmode" => {
                mode = match value.to_lowercase().as_str() {
                    "disable" => Some(SslMode::Disable),
                    "require" => Some(SslMode::Require),
                    _ => Some(SslMode::VerifyFull),
                };
                &mut config
            }
            _ => return None,
        };
    }
    Some((config, mode))
}

fn tls(settings: &PostgresSettings, mode: SslMode) -> Result<Option<MakeRustlsConnect>, SettingsErrors> {
    if mode == SslMode::Disable {
        return Ok(None);
    }
    let options = TlsOptions {
        ca_certificate: settings.tls.ca_certificate.clone(),
        client_certificate: settings.tls.client_certificate.clone(),
        client_key: settings.tls.client_key.clone(),
    };
    let wrong = |error: forebay_connector::http::InvalidTls| {
        SettingsErrors::single("tls:*", "cannot be used", error.to_string())
    };
    let mut config: ClientConfig = client_config(&options).map_err(wrong)?;
    if mode == SslMode::Require {
        let provider = aws_lc_rs::default_provider();
        config.dangerous().set_certificate_verifier(Arc::new(AnyCertificate { provider }));
    }
    Ok(Some(MakeRustlsConnect::new(config)))
}

/// Takes any certificate, as `sslMode` `require` says; the server must still hold its key.
#[derive(Debug)]
struct AnyCertificate {
    provider: CryptoProvider,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_forms_of_connection_strings_are_read() {
        for text in [
            "postgresql://u:p%3B@h:6000/d?sslmode=disable",
            "host=h port=6000 dbname=d user=u password='p;' sslmode=disable",
            "Host=h;Port=6000;Database=d;User Id=u;Password=p;SSL Mode=Disable",
        ] {
            let (config, mode) = parse(text).unwrap();
            assert_eq!(
                (config.get_user(), config.get_dbname(), config.get_ports()),
                (Some("u"), Some("d"), &[6000][..])
            );
            assert!(config.get_password().unwrap().starts_with(b"p"));
            assert_eq!(mode, Some(SslMode::Disable));
        }
        assert_eq!(parse("postgresql://u@h/d?sslmode=verify-full").unwrap().1, Some(SslMode::VerifyFull));
        assert_eq!(parse("postgresql://u@h/d").unwrap().1, None);
        assert!(parse("Host=h;Unknown=1").is_none());
    }
}
