//! Owns one kept-alive HTTP/1.1 connection, one request in flight: the plain loop of hyper's everybody would write.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A connection to one address.
pub(crate) struct Connection {
    host: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Opens it; a task of its own drives it.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { host: address.to_string(), sender })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes)> {
        request.headers_mut().entry(HOST).or_insert(self.host.parse()?);
        let exchange = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
        };
        Ok(tokio::time::timeout(ANSWER_LIMIT, exchange).await.context("no answer in time")??)
    }

    /// Sends JSON, or nothing; any other answer than a success is an error with what it says.
    pub(crate) async fn call(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Bytes> {
        let text = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder().method(method.clone()).uri(path).header(CONTENT_TYPE, "application/json");
        let (status, answer) = self.send(request.body(Full::from(text))?).await?;
        if !status.is_success() {
            bail!("{method} {path} answered {status}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(answer)
    }

    /// The same, with a JSON answer.
    pub(crate) async fn ask(&mut self, path: &str) -> Result<Value> {
        let answer = self.call(Method::GET, path, None).await?;
        serde_json::from_slice(&answer).with_context(|| format!("read the answer of {path}"))
    }
}
