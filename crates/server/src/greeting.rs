//! Owns the first moments of a connection: its first byte, and the TLS handshake where there is one.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::certificates::Certificates;

/// A handshake takes at most so long.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// What the first message of TLS begins with.
const HANDSHAKE_RECORD: u8 = 22;
/// What is answered to clear text where TLS is served.
const CLEAR_TEXT_REFUSED: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 57\r\n\
    Connection: close\r\n\r\nthis port is served with TLS: expected https or tls=true\n";

/// A connection that has said something.
pub(crate) enum Greeted {
    /// In clear text.
    Clear(TcpStream),
    /// After a handshake.
    Secure(Box<TlsStream<TcpStream>>),
}

/// Greets a connection; none when it says nothing within the limit, or nothing that can be understood.
pub(crate) async fn greet(
    stream: TcpStream,
    certificates: Option<&Certificates>,
    (limit, stop): (Duration, &CancellationToken),
) -> Option<Greeted> {
    let first = first_byte(&stream, limit, stop).await?;
    let Some(certificates) = certificates else { return Some(Greeted::Clear(stream)) };
    if first != HANDSHAKE_RECORD {
        refuse_clear_text(stream).await;
        return None;
    }
    let handshake = TlsAcceptor::from(certificates.current()).accept(stream);
    let greeted = tokio::select! {
        () = stop.cancelled() => return None,
        greeted = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake) => greeted,
    };
    match greeted {
        Ok(Ok(stream)) => Some(Greeted::Secure(Box::new(stream))),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(limit_ms = HANDSHAKE_TIMEOUT.as_millis(), "a TLS handshake took too long");
            None
        }
    }
}

/// Waits for the first byte: choosing between protocols would wait for it without a limit.
async fn first_byte(stream: &TcpStream, limit: Duration, stop: &CancellationToken) -> Option<u8> {
    let mut first = [0];
    tokio::select! {
        () = stop.cancelled() => None,
        peeked = tokio::time::timeout(limit, stream.peek(&mut first)) => match peeked {
            Ok(Ok(1)) => first.first().copied(),
            _ => None,
        },
    }
}

async fn refuse_clear_text(mut stream: TcpStream) {
    // Whoever does not take the answer is told nothing: the connection ends anyway.
    drop(tokio::time::timeout(HANDSHAKE_TIMEOUT, stream.write_all(CLEAR_TEXT_REFUSED)).await);
    // What the client has sent is taken, so that closing does not reset the connection before the answer is read.
    let mut sent = [0; 4096];
    drop(stream.try_read(&mut sent));
    drop(tokio::time::timeout(HANDSHAKE_TIMEOUT, stream.shutdown()).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_says_its_length() {
        let text = std::str::from_utf8(CLEAR_TEXT_REFUSED).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
