//! Owns the place that requests go to: scheme, host and port.

use http::HeaderValue;
use rustls_pki_types::ServerName;
use url::{Host, Url};

/// Scheme, host and port of a target.
#[derive(Clone, Debug)]
pub struct Origin {
    pub(super) host: String,
    pub(super) port: u16,
    /// The name that the certificate must carry, when the scheme is `https`.
    pub(super) server_name: Option<ServerName<'static>>,
    authority: HeaderValue,
    text: String,
}

impl Origin {
    /// The origin of a URL; fails unless its scheme is `http` or `https` and it has a host.
    pub fn of(url: &Url) -> Result<Self, InvalidOrigin> {
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            other => return Err(InvalidOrigin::Scheme(other.to_owned())),
        };
        let host = match url.host().ok_or(InvalidOrigin::Host)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let port = url.port_or_known_default().ok_or(InvalidOrigin::Host)?;
        let in_url = url.host_str().ok_or(InvalidOrigin::Host)?;
        let authority = url.port().map_or_else(|| in_url.to_owned(), |port| format!("{in_url}:{port}"));
        let server_name =
            if secure { Some(ServerName::try_from(host.clone()).map_err(|_| InvalidOrigin::Host)?) } else { None };
        Ok(Self {
            text: format!("{}://{authority}", url.scheme()),
            authority: HeaderValue::try_from(authority).map_err(|_| InvalidOrigin::Host)?,
            host,
            port,
            server_name,
        })
    }

    /// The value of the `host` header; the port is left out when it is the scheme's own.
    pub fn authority(&self) -> &HeaderValue {
        &self.authority
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// A URL has no origin that requests can go to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrigin {
    /// The scheme is another one.
    #[error("the scheme is {0}, not http or https")]
    Scheme(String),
    /// There is no host, or it is not a valid name.
    #[error("there is no valid host")]
    Host,
}
