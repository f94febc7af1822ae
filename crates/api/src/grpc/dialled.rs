//! Owns the address that a caller has dialled, which is the one address known to lead here.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::uri::Scheme;
use http::{HeaderMap, Uri, header};

use crate::request::header_text;

/// The ports of addresses that name none: in clear text, and with TLS.
const PORT_UNNAMED: u16 = 80;
const TLS_PORT_UNNAMED: u16 = 443;

/// Host and port that a caller has dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dialled {
    /// Name or address; an IPv6 address without brackets.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
}

impl Dialled {
    /// The address that a request names.
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
        let unnamed = if is_tls { TLS_PORT_UNNAMED } else { PORT_UNNAMED };
        match uri.authority() {
            Some(authority) => parse(authority.as_str(), unnamed),
            None => parse(header_text(headers, header::HOST), unnamed),
        }
    }
}

/// Lays the address next to the request for the service to find.
pub(super) async fn tell_dialled(mut request: Request, next: Next) -> Response {
    if let Some(dialled) = Dialled::of(request.uri(), request.headers()) {
        request.extensions_mut().insert(dialled);
    }
    next.run(request).await
}

fn parse(authority: &str, port_unnamed: u16) -> Option<Dialled> {
    let authority: http::uri::Authority = authority.parse().ok()?;
    let name = authority.host();
    let host = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    // Brackets elsewhere are taken by the parser, although no host has them.
    if host.is_empty() || host.contains(['[', ']']) {
        return None;
    }
    Some(Dialled { host: host.to_owned(), port: authority.port_u16().unwrap_or(port_unnamed) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_told_apart() {
        let told = |authority| parse(authority, PORT_UNNAMED).map(|dialled| (dialled.host, dialled.port));
        assert_eq!(told("localhost:2113"), Some(("localhost".to_owned(), 2113)));
        assert_eq!(told("[::1]:2113"), Some(("::1".to_owned(), 2113)));
        assert_eq!(told("node.test"), Some(("node.test".to_owned(), 80)));
        for no_host in ["", "[]", ":1", "1[1]3", "[1", "1]", "[[::1]]"] {
            assert_eq!(told(no_host), None, "{no_host}");
        }
    }
}
