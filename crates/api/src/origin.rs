//! Owns where a request comes from: what pages of other sites may do, and the address as the caller has it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::uri::{Authority, Scheme};
use http::{HeaderName, Method, Uri, header};
use tower_http::cors::{Any, CorsLayer};

use crate::request::header_text;
use crate::status::Refusal;

/// Request headers that a page of another site may send.
const REQUEST_HEADERS: &[&str] = &[
    "content-type",
    "authorization",
    "accept",
    "if-none-match",
    "x-requested-with",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "es-eventtype",
    "es-eventid",
    "es-expectedversion",
    "es-requireleader",
    "es-requiremaster",
    "es-harddelete",
    "es-resolvelinktos",
    "es-longpoll",
    "kurrent-eventtype",
    "kurrent-eventid",
    "kurrent-expectedversion",
    "kurrent-requireleader",
    "kurrent-harddelete",
    "kurrent-resolvelinktos",
    "kurrent-longpoll",
];

/// Answer headers that a page of another site may read.
const ANSWER_HEADERS: &[&str] =
    &["location", "etag", "es-position", "kurrent-position", "es-currentversion", "kurrent-currentversion"];

/// Lets pages of any site use the routes it is laid over.
pub(crate) fn any_site() -> CorsLayer {
    let named = |names: &'static [&'static str]| names.iter().map(|name| HeaderName::from_static(name));
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS])
        .allow_headers(named(REQUEST_HEADERS).collect::<Vec<_>>())
        .expose_headers(named(ANSWER_HEADERS).collect::<Vec<_>>())
}

/// Refuses requests that a browser sends for a page of another site.
///
/// A connector writes to files and sends to URLs; without this any page that an operator opens could make one.
/// A page of a trusted host may: a proxy may name this server otherwise than the browser names the proxy.
pub(crate) async fn same_site_only(State(trusted): State<TrustedHosts>, request: Request, next: Next) -> Response {
    let Some(origin) = request.headers().get(header::ORIGIN) else { return next.run(request).await };
    let origin = origin.to_str().unwrap_or_default().to_owned();
    let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
    let is_own = !authority.is_empty() && authority.eq_ignore_ascii_case(host(&request));
    if is_own || trusted.has(authority) {
        next.run(request).await
    } else {
        Refusal::foreign_origin(&origin).into_response()
    }
}

/// Refuses requests that name another host than this machine.
///
/// A page can have its own name lead to the loopback address, and is then of the same site as the server. It cannot
/// choose the host that the browser names: so a server that serves this machine alone is asked for by an address or by
/// `localhost`, whatever comes from elsewhere. Behind a proxy on the same machine it is asked for by the proxy's name,
/// which has to be a trusted one.
pub(crate) async fn this_machine_only(State(trusted): State<TrustedHosts>, request: Request, next: Next) -> Response {
    let host = host(&request);
    if is_this_machine(host) || trusted.has(host) {
        return next.run(request).await;
    }
    Refusal::foreign_host(host).into_response()
}

/// Names by which this server is known to be reached besides its own. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct TrustedHosts {
    names: Arc<[String]>,
}

impl TrustedHosts {
    /// Trusts these names, in any case and at any port.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    /// Whether a host, with or without a port, is one of them.
    fn has(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = authority.host().trim_end_matches('.');
        self.names.iter().any(|trusted| trusted.eq_ignore_ascii_case(name))
    }
}

/// Whether a host, with or without a port, is an address or a name of this machine that no name server can give away.
fn is_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return host.is_empty() };
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.ends_with(".localhost") || bare.parse::<IpAddr>().is_ok()
}

/// Completes the address of requests that HTTP/1.1 leaves without a scheme, so that links in answers lead back here.
pub(crate) async fn over_tls(mut request: Request, next: Next) -> Response {
    if request.uri().authority().is_none()
        && let Ok(authority) = header_text(request.headers(), header::HOST).parse::<Authority>()
    {
        let mut parts = request.uri().clone().into_parts();
        (parts.scheme, parts.authority) = (Some(Scheme::HTTPS), Some(authority));
        if let Ok(whole) = Uri::from_parts(parts) {
            *request.uri_mut() = whole;
        }
    }
    next.run(request).await
}

fn host(request: &Request) -> &str {
    match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => header_text(request.headers(), header::HOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusted_hosts_are_compared_by_name_alone() {
        let trusted = TrustedHosts::new(["Forebay.Example".to_owned()]);
        for host in ["forebay.example", "FOREBAY.example:8443", "forebay.example."] {
            assert!(trusted.has(host), "{host}");
        }
        for host in
            ["", "example", "a.forebay.example", "forebay.example.evil.test", "forebay.example@evil.test", "null"]
        {
            assert!(!trusted.has(host), "{host}");
        }
        assert!(!TrustedHosts::default().has(""));
    }

    #[test]
    fn this_machine_has_addresses_and_one_name() {
        for host in ["localhost", "LocalHost:2113", "a.localhost", "127.0.0.1:2113", "[::1]:2113", "10.0.0.1", ""] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["evil.test", "evil.test:2113", "localhost.evil.test", "127.0.0.1.evil.test", "a b", "notlocalhost"]
        {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
