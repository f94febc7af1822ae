//! Owns finding the addresses of a host: the system is asked, unless a test answers in its place.

use std::io;
use std::net::SocketAddr;

/// The addresses of a host, at most so many.
pub(super) async fn addresses(host: &str, port: u16, most: usize) -> io::Result<Vec<SocketAddr>> {
    #[cfg(any(test, feature = "testing"))]
    if let Some(answer) = crate::testing::names::answer(host) {
        return answer.map(|address| vec![SocketAddr::new(address, port)]);
    }
    Ok(tokio::net::lookup_host((host, port)).await?.take(most).collect())
}
