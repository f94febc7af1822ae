//! Owns the door for fuzzing: what the headers of a call say.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Uri, header};

use super::call;
use super::dialled::Dialled;

/// The time that a caller gives a call; none when it gives none that can be read.
pub fn call_limit(timeout: &str) -> Option<Duration> {
    call::limit(timeout)
}

/// Host and port that a request with this `Host` has dialled; none when it names none.
pub fn dialled(host: &HeaderValue) -> Option<(String, u16)> {
    let headers = HeaderMap::from_iter([(header::HOST, host.clone())]);
    Dialled::of(&Uri::from_static("/"), &headers).map(|dialled| (dialled.host, dialled.port))
}
