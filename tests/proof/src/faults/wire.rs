//! Owns reading requests from a socket and writing answers to it, byte by byte.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::history::Id;

/// The most bytes that one request may have here.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// What a client sends and has not been read as a request yet.
#[derive(Debug, Default)]
pub(super) struct Unread(Vec<u8>);

impl Unread {
    /// Waits for the first bytes of a request; false when the client has closed.
    pub(super) async fn begins<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> io::Result<bool> {
        if self.0.is_empty() { self.more(stream).await } else { Ok(true) }
    }

    /// Reads one request whole; answers its path and the record that its body names.
    pub(super) async fn request<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> io::Result<Option<(String, Id)>> {
        loop {
            if let Some((path, body, length)) = parse(&self.0)? {
                let id = id_of(&body).ok_or_else(|| broken("the body names no record"))?;
                self.0.drain(..length);
                return Ok(Some((path, id)));
            }
            if self.0.len() > REQUEST_BYTES_MAX {
                return Err(broken("the request is too long"));
            }
            if !self.more(stream).await? {
                return if self.0.is_empty() { Ok(None) } else { Err(broken("the request is cut off")) };
            }
        }
    }

    async fn more<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> io::Result<bool> {
        Ok(stream.read_buf(&mut self.0).await? > 0)
    }
}

/// Path, body and length of the request at the beginning of the bytes; none when it is not whole yet.
fn parse(bytes: &[u8]) -> io::Result<Option<(String, Vec<u8>, usize)>> {
    let Some(head_end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(bytes.get(..head_end).unwrap_or_default()).into_owned();
    let mut lines = head.split("\r\n");
    let path = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .ok_or_else(|| broken("the request has no length"))?;
    let start = head_end + 4;
    Ok(bytes.get(start..start + length).map(|body| (path, body.to_vec(), start + length)))
}

fn id_of(body: &[u8]) -> Option<Id> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(Id { key: value.get("key")?.as_u64()?, number: value.get("number")?.as_u64()? })
}

fn broken(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// The bytes of an answer with an empty body.
pub(super) fn answer(status: u16, lines: &[String]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Whatever\r\n");
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text.push_str("Content-Length: 0\r\n\r\n");
    text.into_bytes()
}

/// Writes bytes and hands them on.
pub(super) async fn write<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}
